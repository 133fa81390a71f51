"""What a procedure's run needs around it: the device opened for it and left off, and a view that may fail."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Protocol

from pib_lab.device import Device
from pib_lab.errors import DeviceError, LinkError, PibError
from pib_lab.guarding import Watch, may_be_on, not_connected, told_doubt
from pib_lab.procedure_events import ProcedureEvent
from pib_lab.unit import SafeReport


class View(Protocol):
    """Watches a procedure."""

    def show(self, event: ProcedureEvent) -> None:
        """Take note of `event`, without delay."""


class NeverBegun(Exception):
    """Carries what ended a procedure before its device was open."""

    def __init__(self, why: PibError) -> None:
        super().__init__(str(why))
        self.why = why


class Detachable:
    """A view, or none; one that fails is let go, for it must not end what it watches."""

    def __init__(self, view: View | None) -> None:
        self._view = view

    def show(self, event: ProcedureEvent) -> None:
        """Show it as long as there is a view."""
        if self._view is not None:
            try:
                self._view.show(event)
            except Exception:  # whatever it was: outputs are on, and the procedure knows when they may go off
                self._view = None


class Switched(Protocol):
    """What a session needs of a chip's probe, a rig's access, or a device in a person's hands."""

    def open(self) -> None:
        """Connect; outputs stay off until they are needed."""

    def make_safe(self) -> SafeReport:
        """All outputs off and read back. Never raises; says what was NOT confirmed."""

    def close(self) -> None:
        """Let go of the device. Idempotent."""


class Session:
    """The device opened for one procedure: guarded, made safe and closed whatever happens."""

    def __init__(
        self,
        device: Device,
        probe: Switched,
        watch: Watch | None,
        name: str,
        tell: Callable[[SafeReport], None],
    ) -> None:
        self._device, self._probe, self._watch, self._name, self._tell = device, probe, watch, name, tell
        self._doubtful: tuple[str, ...] = ()
        self.begun = False

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        """Raises DeviceError in the place of an error after which outputs were not confirmed off."""
        try:
            with contextlib.ExitStack() as stack:
                if self._watch is not None:
                    stack.callback(self._watch.end)
                    self._watch.begin({self._name: self._device})
                stack.callback(self._probe.close)
                if self._watch is not None:
                    self._watch.opening(self._name)
                self._open()
                stack.callback(self._off)
                self.begun = True
                yield
        except PibError as problem:
            if self._doubtful:
                raise DeviceError(f"{problem}; {told_doubt(self._doubtful, self._watch)}") from problem
            raise
        if self._doubtful:
            raise DeviceError(told_doubt(self._doubtful, self._watch))

    def _open(self) -> None:
        """What could not be opened because nothing answered has switched nothing on, and is not in doubt."""
        try:
            self._probe.open()
        except PibError as problem:
            if may_be_on(problem):
                self._off()
                raise
            if self._watch is not None:
                self._watch.refused(self._name, self._name, first=True)
            if isinstance(problem, LinkError):
                raise not_connected(problem, self._name) from problem
            raise

    def _off(self) -> None:
        report = self._probe.make_safe()
        self._tell(report)
        self._doubtful = report.not_confirmed
        if self._watch is not None and report.safe:
            self._watch.confirmed(self._name)
