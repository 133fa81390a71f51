"""A real device for tests of the lab: the mock chip's physics, with a source on a socket as its only output."""

from __future__ import annotations

import os
import signal
import socket
from typing import Any

import numpy as np

from drivers.chip.mock_chip import MockCrossbar, MockMemristorChip
from drivers.safe.commands import SafeAction
from drivers.safe.guardian import Guardian
from drivers.safe.recipes import keithley_2400
from pib_lab.device import DeviceContext, UnitRequest
from pib_lab.quantities import Array, Counts, Mask
from pib_lab.unit import CancelToken, Measurement, SafeReport


class SourcedCrossbar(MockCrossbar):
    """Its source is on while it is used and goes off in `make_safe`; `mute`: then it is not commanded at all."""

    chip: UnguardedChip

    def measure(self, drive: Array, *, cancel: CancelToken) -> Measurement:
        self.chip.energise()
        return super().measure(drive, cancel=cancel)

    def program(self, parameters: Array, where: Mask | None = None) -> Array:
        self.chip.energise()
        return super().program(parameters, where)

    def make_safe(self) -> SafeReport:
        if self.chip.mute:
            return SafeReport(self.spec.name, (), ("source",), "the link is dead")
        self.chip.say(":OUTP OFF")
        return SafeReport(self.spec.name, ("source",))


class SitedCrossbar(SourcedCrossbar):
    """Knows where its cells are."""

    def chip_serial(self) -> str:
        return self.chip.serial

    def cell_sites(self) -> Counts:
        """Each unit has an array of its own; the pairs' cells are neighbouring columns."""
        n_in, n_out, _ = self.spec.parameters.shape
        rows, columns = np.divmod(np.arange(2 * n_in * n_out, dtype=np.int32), 2 * n_out)
        array = np.full_like(rows, self.chip.names.index(self.spec.name))
        return np.stack([array, rows, columns], axis=-1).reshape(n_in, n_out, 2, 3)


class UnguardedChip(MockMemristorChip):
    """Says neither how it is made safe nor where its cells are.

    Options: port; mute: see above; kill_guardian_after: so many uses of its source; lazy: it asks for its guard only
    when the source is not on already.
    """

    is_mock = False
    mock_driver = "mock-memristor-chip"
    crossbar = SourcedCrossbar

    def __init__(self, options: dict[str, Any], context: DeviceContext) -> None:
        own = {"port", "mute", "kill_guardian_after", "lazy"}
        super().__init__({key: value for key, value in options.items() if key not in own}, context)
        self.port, self.mute = int(options["port"]), bool(options.get("mute", False))
        self._left = int(options.get("kill_guardian_after", 0))
        self._lazy, self._on = bool(options.get("lazy", False)), False
        self.names: list[str] = []
        self._wire: socket.socket | None = None

    def unit(self, request: UnitRequest) -> MockCrossbar:
        unit = self.crossbar(self, request, self._context)
        unit.chip = self
        self.names += [request.name] if request.name not in self.names else []
        return unit

    def energise(self) -> None:
        self._left -= 1
        guard = self._context.guard
        if self._left == 0 and isinstance(guard, Guardian):
            os.kill(guard.pid, signal.SIGKILL)
            os.waitid(os.P_PID, guard.pid, os.WEXITED | os.WNOWAIT)
        if not (self._lazy and self._on):
            self._context.require_guard()
        self.say(":OUTP ON")
        self._on = True

    def say(self, message: str) -> None:
        if self._wire is None:
            self._wire = socket.create_connection(("127.0.0.1", self.port))
        self._wire.sendall(f"{message}\n:OUTP?\n".encode())
        self._wire.recv(16)

    def close(self) -> None:
        super().close()
        if self._wire is not None:
            self._wire.close()


class SourcedChip(UnguardedChip):
    """Says how it is made safe, and where its cells are."""

    crossbar = SitedCrossbar

    def safe_actions(self) -> list[SafeAction]:
        return [keithley_2400(self._context.name, f"TCPIP0::127.0.0.1::{self.port}::SOCKET")]
