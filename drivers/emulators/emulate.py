"""Starts emulators: one instrument across a single cell, or a whole bench; what `pib-lab emulate` and tests use."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

from drivers.chip.profiles import load_profile
from drivers.emulators import board
from drivers.emulators.bench import Bench, BenchOptions, single_cells
from drivers.emulators.bench_file import BOARD, PORTS, BenchFile, Instrument
from drivers.emulators.board_array import SharedCells
from drivers.emulators.circuit import Port
from drivers.emulators.control import Control, ControlServer, Server
from drivers.emulators.crosspoints import Crosspoint
from drivers.emulators.instrument import EmulatedInstrument
from drivers.emulators.latency import LIKE_REAL, NONE, Latency
from drivers.emulators.matrix_707b import Keithley707B, Wiring
from drivers.emulators.server import PtyServer, TcpServer
from drivers.emulators.smu_2400 import Keithley2400
from drivers.emulators.smu_2450 import Keithley2450
from drivers.emulators.smu_2602b import Keithley2602B
from drivers.mock.forming import CellDefects
from pib_lab.clocks import RealClock, VirtualClock
from pib_lab.device import Clock

MODELS = tuple(PORTS)


class Running:
    """Servers by instrument name, with the control port of all of them. `close`, or leave the `with`, to end."""

    def __init__(self, servers: dict[str, Server], bench: Bench | None, host: str, control_port: int | None) -> None:
        self.servers, self.bench = servers, bench
        self.control = Control(servers, bench)
        self.control_server: ControlServer | None = None
        if control_port is not None:
            self.control_server = ControlServer(self.control, host, control_port)

    @property
    def addresses(self) -> dict[str, str]:
        """What to put into a protocol, by instrument name."""
        return {name: server.address for name, server in self.servers.items()}

    def close(self) -> None:
        """Stop all servers. Idempotent."""
        for server in self.servers.values():
            server.close()
        if self.control_server is not None:
            self.control_server.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def start_one(
    model: str,
    profile: str = "chip-b",
    seed: int = 0,
    *,
    port: int = 0,
    pty: bool = False,
    host: str = "127.0.0.1",
    control_port: int | None = None,
    clock: Clock | None = None,
    latency: Latency = LIKE_REAL,
    virgin: bool = False,
) -> Running:
    """One instrument: a source-measure unit with each channel across a cell of its own, a matrix wired to nothing, or a
    crossbar board with its chip. virgin: cells are still to be formed.

    port 0: any free one. Raises ConfigurationError for an unknown profile or a port that is taken.
    """
    defects = CellDefects(virgin=virgin)
    if model == BOARD:
        served = board.start(
            port=port,
            pty=pty,
            profile=profile,
            seed=seed,
            clock=clock or (VirtualClock() if latency == NONE else RealClock()),
            latency=latency,
            host=host,
            defects=defects,
        )
        with _closing_on_error(served):
            return Running({model: served}, None, host, control_port)
    clock = clock or RealClock()
    options = BenchOptions(defects=defects)
    bench, ports = single_cells(load_profile(profile), clock, seed, max(1, PORTS[model]), options)
    instrument = build(model, ports, lambda closed: None, clock, seed, latency)
    server: Server = PtyServer(instrument) if pty else TcpServer(instrument, host, port)
    with _closing_on_error(server):
        return Running({model: server}, bench if PORTS[model] else None, host, control_port)


def start_bench(
    file: BenchFile,
    *,
    host: str = "127.0.0.1",
    control_port: int | None = None,
    clock: Clock | None = None,
    latency: Latency = LIKE_REAL,
) -> Running:
    """All instruments of a bench file, wired to its chip. control_port: instead of the file's.

    Raises ConfigurationError for wiring that names no line of the chip, and for ports that are taken.
    """
    clock, chip = clock or RealClock(), file.chip
    options = BenchOptions(
        chip.contact_ohm,
        chip.bleed_ohm,
        chip.gates,
        threshold_v=chip.threshold_v,
        write_v=chip.write_v,
        defects=chip.defects,
    )
    bench = Bench(load_profile(chip.profile, chip.override), chip.rows, chip.columns, clock, chip.seed, options)
    for bus in file.wiring.grounded:
        bench.ground(bus)
    for bus, lines in file.wiring.fixed.items():
        for line in lines:
            bench.wire(bus, line)
    for line in file.wiring.columns.values():
        bench.check_line(line)
    columns = {_column(name): line for name, line in file.wiring.columns.items()}
    with contextlib.ExitStack() as started:
        servers: dict[str, Server] = {}
        for position, wanted in enumerate(file.instruments):
            if wanted.model == BOARD:
                servers[wanted.name] = _board(wanted, file, bench, clock, host, latency)
            else:
                ports = [bench.port(bus) for bus in wanted.buses]
                instrument = build(wanted.model, ports, _matrix(bench, columns), clock, chip.seed + position, latency)
                servers[wanted.name] = PtyServer(instrument) if wanted.pty else TcpServer(instrument, host, wanted.port)
            started.callback(servers[wanted.name].close)
        running = Running(servers, bench, host, file.control_port if control_port is None else control_port)
        started.pop_all()
        return running


def _board(
    wanted: Instrument, file: BenchFile, bench: Bench, clock: Clock, host: str, latency: Latency
) -> board.BoardServer:
    """A board with a chip of its own, or with the bench's as its only array."""
    chip, override = wanted.chip or file.chip, (wanted.chip or file.chip).override
    if wanted.chip is None:
        override = {**override, "rows": file.chip.rows, "columns": file.chip.columns}
    return board.start(
        port=wanted.port,
        pty=wanted.pty,
        profile=chip.profile,
        seed=chip.seed,
        override=override,
        clock=clock,
        latency=latency,
        arrays=wanted.chip.arrays if wanted.chip else 1,
        chip_serial=chip.serial,
        host=host,
        defects=chip.defects,
        shared=None if wanted.chip else SharedCells(bench.cells, bench.telegraph, bench.forming, bench.lock),
    )


def build(
    model: str, ports: Sequence[Port], wiring: Wiring, clock: Clock, seed: int, latency: Latency
) -> EmulatedInstrument:
    """The instrument of that model on its ports; `wiring` is what a matrix drives."""
    makers: dict[str, Callable[[], EmulatedInstrument]] = {
        "smu-2400": lambda: Keithley2400(ports[0], clock, seed, latency),
        "smu-2450": lambda: Keithley2450(ports[0], clock, seed, latency),
        "smu-2602b": lambda: Keithley2602B(ports[0], ports[1], clock, seed, latency),
        "matrix-707b": lambda: Keithley707B(wiring, clock, seed, latency),
    }
    return makers[model]()


def _matrix(bench: Bench, columns: dict[tuple[int, int], str]) -> Wiring:
    """What the matrix does to the bench: its rows are buses, its columns lead to lines or to open ends."""

    def line(point: Crosspoint) -> str:
        return columns.get((point.slot, point.column), f"open end {point.slot}:{point.column:02d}")

    def connect(closed: frozenset[Crosspoint]) -> None:
        bench.connect([(point.row, line(point)) for point in closed])

    return connect


def _column(name: str) -> tuple[int, int]:
    slot, _, column = name.partition(":")
    return int(slot), int(column)


@contextlib.contextmanager
def _closing_on_error(server: Server) -> Any:
    try:
        yield
    except BaseException:
        server.close()
        raise
