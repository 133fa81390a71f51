"""Emulated source-measure units, a switch matrix and the chip behind them, in this process or on sockets, for tests."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from drivers.chip.profiles import load_profile
from drivers.chip.smu_matrix_chip import MemristorSmuMatrix
from drivers.device import FairLock
from drivers.emulators.bench import Bench, BenchOptions
from drivers.emulators.circuit import Resistor
from drivers.emulators.crosspoints import Crosspoint
from drivers.emulators.instrument import EmulatedInstrument
from drivers.emulators.latency import NONE, Latency
from drivers.emulators.matrix_707b import Keithley707B as EmulatedMatrix
from drivers.emulators.server import TcpServer
from drivers.emulators.smu_2400 import Keithley2400 as Emulated2400
from drivers.emulators.smu_2450 import Keithley2450 as Emulated2450
from drivers.emulators.smu_2602b import Keithley2602B as Emulated2602B
from drivers.mock.forming import SOUND, CellDefects
from drivers.wire.dialects import Dialect
from pib_lab.clocks import VirtualClock
from pib_lab.device import Clock, DeviceContext
from pib_lab.errors import LinkError

EASY = {
    "tolerance_siemens": 2e-6,
    "max_pulses": 6,
    "faulty_cells": 0.0,
    "relaxation_siemens": 0.3e-6,
    "step_cycle_to_cycle": 0.1,
    "iv_cubic": 0.0,
}
"""Chip B without born faults, and such that few pulses end a write: what is tested is not the cells."""


class DirectTransport:
    """A transport without a wire: messages go straight to an emulated instrument. `sent` is all that was sent."""

    def __init__(self, instrument: EmulatedInstrument, address: str = "direct") -> None:
        self.instrument, self.address = instrument, address
        self.sent: list[str] = []
        self.dead = False
        self._lock = FairLock(address)

    def open(self) -> None:
        self._require_alive()

    def close(self) -> None:
        pass

    def exclusive(self) -> AbstractContextManager[None]:
        return self._lock.turn("test", 5.0)

    def write(self, message: str) -> None:
        answers = self._execute(message)
        assert answers == [], f"{message!r} was answered by {answers} and nobody reads it"

    def query(self, message: str, *, timeout_s: float | None = None, idempotent: bool = True) -> str:
        answers = self._execute(message)
        assert len(answers) == 1, f"{message!r} was answered by {answers}"
        return answers[0]

    def clear(self) -> None:
        pass

    def reconnect(self) -> None:
        self._require_alive()

    def _execute(self, message: str) -> list[str]:
        self._require_alive()
        self.sent.append(message)
        return self.instrument.execute(message)

    def _require_alive(self) -> None:
        if self.dead:
            raise LinkError(f"{self.address}: the cable is out")


class ScriptedInstrument:
    """Answers each message by what a test wrote down, in that order, and nothing else; for exact traffic."""

    model = "scripted"

    def __init__(self, *traffic: tuple[str, str | None]) -> None:
        self.left = list(traffic)

    def execute(self, message: str) -> list[str]:
        assert self.left, f"{message!r} was sent after the end of the script"
        expected, answer = self.left.pop(0)
        assert message == expected
        return [] if answer is None else [answer]


def smu_2400(ohm: float = 10e3, latency: Latency = NONE) -> tuple[Emulated2400, Resistor, VirtualClock]:
    """An emulated 2400 across a resistor."""
    port, clock = Resistor(ohm), VirtualClock()
    return Emulated2400(port, clock, 1, latency), port, clock


def smu_2450(ohm: float = 10e3, latency: Latency = NONE) -> tuple[Emulated2450, Resistor, VirtualClock]:
    """An emulated 2450 across a resistor."""
    port, clock = Resistor(ohm), VirtualClock()
    return Emulated2450(port, clock, 1, latency), port, clock


def smu_2602b(ohm: float = 10e3, latency: Latency = NONE) -> tuple[Emulated2602B, Resistor, VirtualClock]:
    """An emulated 2602B with the resistor across channel A, another one across channel B."""
    port, clock = Resistor(ohm), VirtualClock()
    return Emulated2602B(port, Resistor(ohm), clock, 1, latency), port, clock


@dataclass
class Station:
    """A whole emulated set-up: 2602B (drive, minus), 2450 (plus), 2400 (bias), 707B, a chip of `lines` rows, columns.

    With scheme "1t1r" the 2400 is on the gates; with "v/3" a second 2400 holds the columns. `swapped`: the 2450 drives.
    """

    clock: Clock = field(default_factory=VirtualClock)
    profile: str = "chip-b"
    override: dict[str, Any] = field(default_factory=dict)
    lines: tuple[int, int] = (16, 16)
    scheme: str = "v/2"
    seed: int = 3
    latency: Latency = NONE
    more: dict[str, Any] = field(default_factory=dict)
    swapped: bool = False
    defects: CellDefects = SOUND
    threshold_v: float = 0.5
    write_v: float = 1.0

    def __post_init__(self) -> None:
        rows, columns = self.lines
        gates = self.scheme == "1t1r"
        profile = load_profile(self.profile, self.override)
        options = BenchOptions(
            bleed_ohm=1e7, gates=gates, threshold_v=self.threshold_v, write_v=self.write_v, defects=self.defects
        )
        self.bench = Bench(profile, rows, columns, self.clock, self.seed, options)
        self.bench.ground("H")
        ports = {letter: self.bench.port(letter) for letter in ("ABCD" + ("E" if self.scheme == "v/3" else ""))}
        self.instruments: dict[str, EmulatedInstrument] = {
            "2602b": Emulated2602B(ports["A"], ports["D"], self.clock, 1, self.latency),
            "2400": Emulated2400(ports["B"], self.clock, 2, self.latency),
            "2450": Emulated2450(ports["C"], self.clock, 3, self.latency),
            "matrix": EmulatedMatrix(self._wire, self.clock, 4, self.latency),
        }
        if "E" in ports:
            self.instruments["bias-columns"] = Emulated2400(ports["E"], self.clock, 5, self.latency)
        self.transports: dict[str, DirectTransport] = {}
        self.servers: dict[str, TcpServer] = {}

    def _wire(self, points: frozenset[Crosspoint]) -> None:
        """Matrix columns 1 to 16 are the chip's rows, 17 to 32 its columns, 33 to 48 its gates."""
        rows, columns = self.lines
        lines = {n: f"row {n}" for n in range(1, rows + 1)} | {16 + n: f"column {n}" for n in range(1, columns + 1)}
        if self.scheme == "1t1r":
            lines |= {32 + n: f"gate {n}" for n in range(1, rows + 1)}
        closed = [(point.row, lines.get(12 * (point.slot - 1) + point.column)) for point in points]
        self.bench.connect([(bus, line) for bus, line in closed if line is not None])

    def serve(self) -> None:
        """Put every instrument on a socket of its own."""
        self.servers = {name: TcpServer(instrument) for name, instrument in self.instruments.items()}

    def close(self) -> None:
        """Stop serving."""
        for server in self.servers.values():
            server.close()

    def options(self) -> dict[str, Any]:
        """The device's options: addresses of the sockets, or names of instruments for `connect`."""
        at = {name: self.servers[name].address if self.servers else name for name in self.instruments}
        channel = {"model": "keithley-2600b", "address": at["2602b"]}
        first, third = (
            {**channel, "channel": "a", "bus": "A"},
            {"model": "keithley-2450", "address": at["2450"], "bus": "C"},
        )
        sources = {
            "drive": third if self.swapped else first,
            "plus": first if self.swapped else third,
            "minus": {**channel, "channel": "b", "bus": "D"},
            "gate" if self.scheme == "1t1r" else "bias": {"model": "keithley-2400", "address": at["2400"], "bus": "B"},
        }
        if "bias-columns" in at:
            sources["bias-columns"] = {"model": "keithley-2400", "address": at["bias-columns"], "bus": "E"}
        rows, columns = self.lines
        return {
            "profile": self.profile,
            "override": self.override,
            "rows": rows,
            "columns": columns,
            "scheme": self.scheme,
            "matrix": {"address": at["matrix"], "settle_s": 0.0},
            "sources": sources,
            **self.more,
        }

    def connect(self, address: str, dialect: Dialect) -> DirectTransport:
        """In place of a transport by address."""
        self.transports[address] = DirectTransport(self.instruments[address], address)
        return self.transports[address]

    def device(self) -> MemristorSmuMatrix:
        """The device, without wires."""
        return MemristorSmuMatrix(self.options(), DeviceContext("chip", 1, self.clock), self.connect)

    def device_by_address(self) -> MemristorSmuMatrix:
        """The device over the sockets of `serve`."""
        return MemristorSmuMatrix(self.options(), DeviceContext("chip", 1, self.clock))

    def truly_on(self) -> list[str]:
        """Outputs that are on and relays that are closed, as the emulators know."""
        return [
            f"{name}.{output}"
            for name, instrument in self.instruments.items()
            for output, on in instrument.outputs().items()
            if on
        ]


def emulate(build: type[MemristorSmuMatrix], context: DeviceContext) -> MemristorSmuMatrix:
    """A device on an emulated station of 3 x 8 lines, for the contract suite."""
    station = Station(clock=context.clock, lines=(3, 8), override=EASY, more={"drive_bits": 2})
    return build(station.options(), context, station.connect)
