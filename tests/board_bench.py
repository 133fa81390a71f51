"""Emulated boards for tests: behind a wire without a link in virtual time, or on a real link with a unit before it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from drivers.board.crossbar_board import CrossbarBoard
from drivers.board.frames import Frame
from drivers.board.link import BoardLink
from drivers.board.protocol import VERSION, Hello, Kind, Outputs, Window, encode_u8, encode_u16
from drivers.chip.board_chip import BoardCrossbar, MemristorBoard
from drivers.chip.limits import ElectricalLimits
from drivers.chip.profiles import load_profile
from drivers.emulators.board import start
from drivers.emulators.board_faults import FrameFaults, Wire
from drivers.emulators.board_firmware import Firmware
from pib_lab.clocks import RealClock, VirtualClock
from pib_lab.device import DeviceContext, UnitRequest
from pib_lab.quantities import Array
from pib_lab.unit import CancelToken

SMALL = {"rows": 16, "columns": 8}
"""Arrays of 16 rows of 4 pairs: quick to make."""
SESSION = 77


def bare(profile: str = "ideal", **override: Any) -> Firmware:
    """A board that nobody has spoken to; its dead-man timer is on the same virtual clock as its cells."""
    return Firmware(load_profile(profile, SMALL | override), 3, VirtualClock())


@dataclass
class Talk:
    """Frames to a firmware by hand, in one session."""

    firmware: Firmware = field(default_factory=bare)
    session: int = SESSION
    sequence: int = 0

    def __post_init__(self) -> None:
        self.ask(Kind.HELLO, Hello(VERSION, 500).encode())

    def ask(self, kind: int, payload: bytes = b"", sequence: int | None = None) -> Frame:
        """Send a request with the next number, or with one of choice."""
        if sequence is None:
            self.sequence += 1
            sequence = self.sequence
        answer = self.firmware.receive(Frame(kind, self.session, sequence, payload))
        assert answer is not None
        return answer

    def energise(self, gate_mv: int = 2500) -> None:
        """Gate, word lines, row drivers, and a window on array 0."""
        self.ask(Kind.WINDOW, Window(0, 4, 2).encode())
        self.ask(Kind.GATE, encode_u16(gate_mv))
        self.ask(Kind.OUTPUTS, encode_u8(Outputs.WORD_LINES))
        self.ask(Kind.OUTPUTS, encode_u8(Outputs.ALL))
        assert self.firmware.outputs == Outputs.ALL


class VirtualBoard:
    """A host's board with the firmware right behind it: time moves only by waiting."""

    def __init__(self, profile: str = "ideal", **override: Any) -> None:
        self.firmware = bare(profile, **override)
        self.clock = VirtualClock()
        self.to_board, self.to_host = FrameFaults(1), FrameFaults(2)
        self.link = BoardLink("test", self.wire, now_s=self.clock.now_s)
        self.board = CrossbarBoard(self.link, ElectricalLimits(0.2, 5e-3), 2.5)

    def wire(self) -> Wire:
        """A new connection to the same board."""
        return Wire(self.firmware, self.clock, self.to_board, self.to_host)


class Rig:
    """A unit of the real driver, open, on an emulated board behind a TCP port or a pseudo-terminal."""

    def __init__(
        self,
        inputs: int = 4,
        outputs: int = 3,
        profile: str = "ideal",
        override: dict[str, Any] | None = None,
        unit_options: dict[str, Any] | None = None,
        guard: Any = None,
        **served: Any,
    ) -> None:
        self.watch = VirtualClock()
        override = SMALL | (override or {})
        self.server = start(profile=profile, override=override, seed=5, **({"watch": self.watch} | served))
        options = {"address": self.server.address, "profile": profile, "override": override, "timeout_s": 0.05}
        self.device = MemristorBoard(options, DeviceContext("chip", 1, RealClock(), guard))
        self.unit: BoardCrossbar = self.device.unit(UnitRequest("unit", inputs, outputs, unit_options or {}))

    def __enter__(self) -> Rig:
        self.unit.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.unit.close()
        self.device.close()
        self.server.close()

    @property
    def shape(self) -> tuple[int, ...]:
        return self.unit.spec.parameters.shape

    def uniform(self, seed: int = 1) -> Array:
        """Random conductances."""
        return np.random.default_rng(seed).uniform(0.0, 40e-6, self.shape).astype(np.float32)

    def drive(self, batch: int, seed: int = 2) -> Array:
        """Random read voltages."""
        return np.random.default_rng(seed).uniform(0.0, 0.2, (batch, self.shape[0])).astype(np.float32)

    def measure(self, drive: Array) -> Array:
        """Measured responses."""
        return self.unit.measure(drive, cancel=CancelToken()).values
