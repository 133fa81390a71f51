"""Switch matrices: which bus (matrix row) is connected to which line (matrix column), and a Keithley 707B, in TSP.

A crosspoint is named as the instrument names it: slot, row, column, such as "1A01". "Closed" is what the instrument
believes: a welded relay does not show in it, and is found only by measuring.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import Protocol

from drivers.wire.message import TSP, MessageInstrument
from drivers.wire.transport import Transport
from pib_lab.device import Clock
from pib_lab.errors import ConfigurationError, DeviceError, LimitError

Guard = Callable[[], None]
"""Raises LimitError or DeviceError unless all sources behind the matrix stand at zero or are off."""

ROWS = "ABCDEFGH"
COLUMNS = 12
SLOTS = 6
_CROSSPOINT = re.compile(r"[1-6][A-H](0[1-9]|1[0-2])")


def crosspoint(bus: str, line: int) -> str:
    """The crosspoint of matrix row `bus` ("A" to "H") and matrix column `line`, counted from 1 through all slots.

    The rows of all slots are joined by the backplane. Raises ConfigurationError for what is not on a 707B.
    """
    if bus not in tuple(ROWS):
        raise ConfigurationError(f"matrix row {bus!r} does not exist; choose A to H")
    if not 1 <= line <= SLOTS * COLUMNS:
        raise ConfigurationError(f"matrix column {line} does not exist; choose 1 to {SLOTS * COLUMNS}")
    slot, column = divmod(line - 1, COLUMNS)
    return f"{slot + 1}{bus}{column + 1:02d}"


class SwitchMatrix(Protocol):
    """Closes and opens crosspoints, never while current flows. The link belongs to whoever made it.

    Every method raises LinkError for a link that fails and DeviceError for an instrument that does not do as told.
    """

    def prepare(self) -> None:
        """Check that it is the model it is said to be; all open, break before make, nothing forbidden."""

    def forbid(self, crosspoints: Collection[str]) -> None:
        """Never close these from now on; the instrument refuses them too."""

    def close_only(self, crosspoints: Collection[str]) -> None:
        """Close these and open all others, break before make, read back, settled.

        Raises LimitError, before anything is sent, for a forbidden crosspoint and for two buses on one line, and what
        the guard raises while a source is not at zero. Nothing is sent when nothing would move.
        """

    def open_all(self) -> None:
        """Open everything and read it back; guarded as well."""

    def closed(self) -> frozenset[str]:
        """What the instrument believes to be closed."""


class Keithley707B:
    """A 707B with matrix cards of 8 rows and 12 columns. `guard` is called before any relay moves."""

    def __init__(
        self, transport: Transport, clock: Clock, guard: Guard, settle_s: float = 0.0, name: str = "707B"
    ) -> None:
        self._name = name
        self._link = MessageInstrument(transport, TSP, name=name, model="MODEL 707B")
        self._clock, self._guard, self._settle_s = clock, guard, settle_s
        self._forbidden: frozenset[str] = frozenset()
        self._held: frozenset[str] | None = None

    def prepare(self) -> None:
        """Identity; all open; break before make, read back."""
        self._held = None
        self._link.identify()
        self._link.command("errorqueue.clear()")
        self.open_all()
        self._link.command("channel.connectrule = channel.BREAK_BEFORE_MAKE")
        if self._link.ask("print(channel.connectrule == channel.BREAK_BEFORE_MAKE)").strip() != "true":
            raise DeviceError(f"{self._name}: break-before-make was chosen and does not read back; relays could weld")
        self._link.command('channel.clearforbidden("allslots")')
        self._forbidden = frozenset()

    def forbid(self, crosspoints: Collection[str]) -> None:
        """Add to the forbidden crosspoints of the instrument and of this driver."""
        wanted = _checked(crosspoints, self._name)
        self._forbidden |= wanted
        if wanted:
            self._link.command(f'channel.setforbidden("{",".join(sorted(wanted))}")')

    def close_only(self, crosspoints: Collection[str]) -> None:
        """One exclusive close of the whole set."""
        wanted = _checked(crosspoints, self._name)
        if wanted & self._forbidden:
            raise LimitError(f"{self._name}: {', '.join(sorted(wanted & self._forbidden))} is forbidden; nothing moved")
        lines = [point[0] + point[2:] for point in sorted(wanted)]
        doubled = sorted({line for line in lines if lines.count(line) > 1})
        if doubled:
            raise LimitError(
                f"{self._name}: two buses would be joined by column {doubled[0][1:]} of slot {doubled[0][0]}, source "
                "against source; nothing moved"
            )
        if not wanted:
            self.open_all()
        elif wanted != self._held:
            self._move(f'channel.exclusiveclose("{",".join(sorted(wanted))}")', wanted)

    def open_all(self) -> None:
        """Open everything, also what it believes to be open already, and read it back."""
        self._move('channel.open("allslots")', frozenset())

    def closed(self) -> frozenset[str]:
        """Ask the instrument."""
        answer = self._link.ask('print(channel.getclose("allslots"))').strip()
        if answer == "nil":
            return frozenset()
        return _checked([part.strip() for part in re.split("[,;]", answer) if part.strip()], self._name, DeviceError)

    def _move(self, command: str, wanted: frozenset[str]) -> None:
        self._guard()
        self._held = None
        self._link.command(command)
        found = self.closed()
        if found != wanted:
            raise DeviceError(
                f"{self._name}: reads back {_some(found - wanted)} closed that should be open and "
                f"{_some(wanted - found)} open that should be closed; look at the relays before going on"
            )
        self._held = wanted
        self._clock.sleep_s(self._settle_s)


def _checked(
    crosspoints: Collection[str], name: str, error: type[ConfigurationError | DeviceError] = ConfigurationError
) -> frozenset[str]:
    for point in crosspoints:
        if not _CROSSPOINT.fullmatch(point):
            raise error(f"{name}: {point!r} is no crosspoint; write slot, row and column, such as 1A01")
    return frozenset(crosspoints)


def _some(points: frozenset[str]) -> str:
    return ", ".join(sorted(points)[:4]) + (" ..." if len(points) > 4 else "") if points else "nothing"
