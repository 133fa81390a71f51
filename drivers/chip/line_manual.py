"""A chip whose rows are driven as vectors, in a person's hands: a row at the read voltage at most, one pair sensed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from drivers.board.protocol import Outputs
from drivers.chip.board_chip import MemristorBoard
from drivers.chip.mock_chip import MockMemristorChip
from drivers.controls import Control, Measured, control_named, require_output
from pib_lab.capabilities import LimitsCurrent
from pib_lab.device import UnitRequest
from pib_lab.errors import ConfigurationError, DeviceError
from pib_lab.unit import CancelToken, PhysicalUnit, SafeReport

USER = "manual"
OUTPUTS = "outputs"
"""All of a chip's drivers together: they have an order of their own, which the device keeps."""


@dataclass(frozen=True)
class _Reach:
    """What a device tells and does beside its unit. known: its identity; switch, is_on: of all its outputs."""

    known: Callable[[], Mapping[str, str]]
    switch: Callable[[bool], None]
    is_on: Callable[[], bool]


class LineManual:
    """Row `row` stands at `drive` while pair `pair` is measured, all other rows at 0 V. drive_v, current_a: limits."""

    def __init__(self, name: str, unit: PhysicalUnit, reach: _Reach, drive_v: float) -> None:
        self._name, self._unit, self._reach = name, unit, reach
        self._drive_v = min(unit.spec.drive.high, drive_v)
        self._row = self._pair = 0
        self._level_v = 0.0

    def open(self) -> None:
        """Connect; outputs stay off."""
        self._unit.open()

    def identity(self) -> dict[str, str]:
        """What the device tells of itself."""
        return dict(self._reach.known())

    def controls(self) -> list[Control]:
        """Row, pair and level."""
        rows, pairs = self._unit.spec.drive.size, self._unit.spec.response.size
        return [
            Control("row", self._row, high=rows - 1, whole=True, help="that is driven"),
            Control("pair", self._pair, high=pairs - 1, whole=True, help="of columns whose difference is measured"),
            Control("drive", self._level_v, "V", 0.0, self._drive_v, help="on the row, while it is measured"),
        ]

    def set(self, name: str, value: object) -> None:
        """Remember it for the next measurement: rows stand at 0 V between two."""
        checked = control_named(self.controls(), name).checked(value)
        if name == "row":
            self._row = int(checked)
        elif name == "pair":
            self._pair = int(checked)
        else:
            self._level_v = float(checked)

    def outputs(self) -> dict[str, bool]:
        """All together, as read back."""
        return {OUTPUTS: self._reach.is_on()}

    def switch(self, output: str, on: bool) -> None:
        """All together, in the device's order."""
        require_output(output, (OUTPUTS,))
        self._reach.switch(on)

    def measure(self) -> list[Measured]:
        """The pair's difference of currents, and what conductance that would be."""
        if not self._reach.is_on():
            raise ConfigurationError("switch the outputs on first: nothing can be measured while they are off")
        drive = np.zeros((1, self._unit.spec.drive.size), np.float32)
        drive[0, self._row] = self._level_v
        made = self._unit.measure(drive, cancel=CancelToken())
        note = "at the end of its range" if made.saturated[0, self._pair] else ""
        current_a = float(made.values[0, self._pair])
        found = [Measured(f"pair {self._pair} current", current_a, "A", note)]
        if self._level_v > 0.0 and not note:
            words = f"row {self._row}, pair {self._pair} conductance"
            found.append(Measured(words, current_a / self._level_v, "S", "difference of the two cells"))
        return found

    def make_safe(self) -> SafeReport:
        """All outputs off and read back."""
        made = self._unit.make_safe()
        return SafeReport(self._name, made.confirmed, made.not_confirmed, made.detail)

    def close(self) -> None:
        """Let go of the device. Idempotent."""
        self._unit.close()


def board_manual(device: MemristorBoard, name: str, drive_v: float, current_a: float) -> LineManual:
    """The first array of a board. No I/O."""
    p = device.profile
    unit = _unit(device, p.rows, p.columns // 2, current_a)

    def is_on() -> bool:
        with device.session.link(USER) as board:
            return board.state().outputs != Outputs.NONE

    def known() -> dict[str, str]:
        with device.session.link(USER) as board:
            told = board.identity
            return {"board": told.board_serial, "chip": told.chip_serial}

    def switch(on: bool) -> None:
        with device.session.link(USER) as board:
            if on:
                board.switch_on()
            elif still_on := board.switch_off():
                raise DeviceError(f"board: {', '.join(still_on)} read back on; switch the board off at its supply")

    return LineManual(name, unit, _Reach(known, switch, is_on), drive_v)


def mock_manual(device: MockMemristorChip, name: str, drive_v: float, current_a: float) -> LineManual:
    """One array of a mock chip, which has nothing that could be switched: it remembers what it was told."""
    p = device.profile
    unit = _unit(device, p.rows, p.columns // 2, current_a)
    on = [False]

    def switch(wanted: bool) -> None:
        on[0] = wanted

    return LineManual(name, unit, _Reach(lambda: {"mock chip": device.serial}, switch, lambda: on[0]), drive_v)


def _unit(device: MemristorBoard | MockMemristorChip, rows: int, pairs: int, current_a: float) -> PhysicalUnit:
    plain = device.unit(UnitRequest(USER, rows, pairs))
    if isinstance(plain, LimitsCurrent) and current_a < plain.current_limit_a():
        return device.unit(UnitRequest(USER, rows, pairs, {"current_limit_a": current_a}))
    return plain
