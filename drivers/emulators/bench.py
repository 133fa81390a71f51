"""A test bench in numbers: one memristor chip, the lines of its package, buses wired to lines, ports on the buses.

What is solved: cells between row and column lines with the profile's nonlinear i-v, closed contacts of `contact_ohm`,
optional bleeds from every line to ground, and the clamped sources of all ports. Floating lines take the voltage that
the network gives them. Left out: resistance along the lines, capacitance (all settles at once), read disturb.

Programming is quasi-static: a cell that sees more than `threshold_v` gets one pulse at once, and one more for each
decade of time beyond 1 ms that it stays there. A pulse moves it, up (SET) for a positive voltage from row to column and
down (RESET) for a negative one, by the profile's step times (|V| - threshold_v) / (write_v - threshold_v), at most 2,
with the profile's soft bound, asymmetry and spread. Beyond twice `write_v` the cell breaks down and sticks high.

Virgin cells (`defects`) move by nothing but forming: when both the voltage across the cell and its gate's reach the
cell's forming voltage (`drivers.mock.forming`). Without gates the voltage across it stands for the gate's: no
transistor holds the current.
"""

from __future__ import annotations

import threading
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np

from drivers.chip.profiles import MemristorProfile
from drivers.emulators.bench_circuit import LEAK_SIEMENS, Curve, Network, Solution, solve
from drivers.emulators.circuit import Drive, Mode, Operating
from drivers.emulators.switching import Switching
from drivers.mock.forming import SOUND, CellDefects, Forming
from drivers.mock.memristor import Cells
from drivers.mock.noise import Telegraph
from pib_lab.device import Clock
from pib_lab.errors import ConfigurationError
from pib_lab.quantities import Array64, Mask

OFF_SIEMENS = 1e-12
"""A cell whose transistor is off."""


@dataclass(frozen=True, slots=True)
class BenchOptions:
    """contact_ohm: a closed relay and its leads; bleed_ohm: from every line to ground, None: lines float;
    gates: 1T1R, one gate line a row, which conducts from gate_on_v; threshold_v, write_v, defects: see the module."""

    contact_ohm: float = 1.0
    bleed_ohm: float | None = None
    gates: bool = False
    gate_on_v: float = 0.7
    threshold_v: float = 0.5
    write_v: float = 1.0
    defects: CellDefects = SOUND


class Bench:
    """`rows` x `columns` cells. Lines are named "row 1", "column 3", "gate 2"; buses by any other name.

    All methods may be called from several threads: each instrument has one of its own.
    """

    def __init__(
        self,
        profile: MemristorProfile,
        rows: int,
        columns: int,
        clock: Clock,
        seed: int,
        options: BenchOptions | None = None,
    ) -> None:
        self.profile, self.shape, self.options = profile, (rows, columns), options or BenchOptions()
        made, lived, formed = np.random.SeedSequence(seed).spawn(3)
        born = np.random.Generator(np.random.SFC64(made))
        self.cells = Cells((rows, columns, 1), profile, clock.now_s(), born)
        self.telegraph = Telegraph(self.cells.count, profile, born)
        former = np.random.Generator(np.random.SFC64(formed))
        self.forming = Forming(self.cells, columns, self.options.defects, former)
        self._rng, self._clock = np.random.Generator(np.random.SFC64(lived)), clock
        self._switching = Switching(self.cells, self.forming, self.options.threshold_v, self.options.write_v)
        self._curve = Curve(profile.iv_cubic, profile.v_read_v)
        names = [f"row {i}" for i in range(1, rows + 1)] + [f"column {j}" for j in range(1, columns + 1)]
        names += [f"gate {i}" for i in range(1, rows + 1)] if self.options.gates else []
        self._nodes = {name: node for node, name in enumerate(names)}
        self._lines = len(names)
        self._drives: dict[str, Drive] = {}
        self._grounded: frozenset[str] = frozenset()
        self._fixed: frozenset[tuple[str, str]] = frozenset()
        self._switched: frozenset[tuple[str, str]] = frozenset()
        self._node_v: Array64 = np.zeros(self._lines)
        self._wired: Array64 | None = None
        self._gated: tuple[frozenset[tuple[str, str]], frozenset[str]] | None = None
        self.lock = threading.RLock()

    # Wiring

    def port(self, bus: str) -> BenchPort:
        """The terminals of a source on a bus, against ground. Raises ConfigurationError for a bus that is taken."""
        with self.lock:
            if bus in self._drives or bus in self._grounded:
                raise ConfigurationError(f"bus {bus!r} is taken already; wire the instrument to another one")
            self._add(bus)
            self._drives[bus] = Drive(Mode.OPEN)
        return BenchPort(self, bus)

    def ground(self, bus: str) -> None:
        """Tie a bus to ground for good. Raises ConfigurationError when a port drives it."""
        with self.lock:
            if bus in self._drives:
                raise ConfigurationError(f"bus {bus!r} carries an instrument; tie another one to ground")
            self._add(bus)
            self._grounded |= {bus}

    def wire(self, bus: str, line: str) -> None:
        """Connect bus and chip line for good, through one contact. Raises ConfigurationError for an unknown line."""
        self.check_line(line)
        with self.lock:
            self._add(bus)
            self._fixed |= {(bus, line)}
            self._wired = None

    def connect(self, contacts: Collection[tuple[str, str]]) -> None:
        """From now on exactly these (bus, line) contacts are closed, besides those wired for good.

        What is no line is a stub without anything behind it, which can still short two buses.
        """
        with self.lock:
            self._pass_time()
            for bus, line in sorted(contacts):  # numbers of nodes decide the last bits of a solution
                self._add(bus)
                self._add(line)
            self._switched, self._wired = frozenset(contacts), None
            self._pass_time()

    def check_line(self, line: str) -> None:
        """Raise ConfigurationError unless the chip has this line."""
        if self._nodes.get(line, self._lines) >= self._lines:
            kinds = "rows, columns, gates" if self.options.gates else "rows and columns"
            raise ConfigurationError(
                f"line {line!r} does not exist; the chip has {self.shape[0]} x {self.shape[1]} cells with lines for "
                f'its {kinds}, named like "row 1"'
            )

    def _add(self, bus: str) -> None:
        if bus not in self._nodes:
            self._nodes[bus] = len(self._nodes)
            self._node_v = np.append(self._node_v, 0.0)

    # Ports

    def drive(self, bus: str, drive: Drive) -> None:
        """What the port on `bus` forces from now on; cells feel it at once."""
        with self.lock:
            if drive != self._drives[bus]:
                self._pass_time()
                self._drives[bus] = drive
                self._pass_time()

    def operating(self, bus: str) -> Operating:
        """True voltage and current of the port, with the cells' own noise."""
        with self.lock:
            self._pass_time()
            drive = self._drives[bus]
            if self.options.gates and bus in self._gate_buses():
                solution = self._solve_gates()
            else:
                self.telegraph.advance(self._clock.now_s(), self._rng)
                solution = self._solve(self._noisy())
            if drive.mode is Mode.OPEN:
                return Operating(float(solution.node_v[self._nodes[bus]]), 0.0, False)
            return solution.operating[self._nodes[bus]]

    # Truth

    def state(self) -> dict[str, Any]:
        """Conductances in siemens, FaultKind codes, pulses so far, voltage of each node, closed contacts."""
        with self.lock:
            self._pass_time()
            solution = self._solve(self._conductance())
            return {
                "conductances": self._conductance().tolist(),
                "faults": self.cells.faults.reshape(self.shape).tolist(),
                "pulses": self.cells.pulses.reshape(self.shape).tolist(),
                "volts": {name: float(solution.node_v[node]) for name, node in self._nodes.items()},
                "contacts": sorted(self._fixed | self._switched),
            }

    def set_conductances(self, conductances: Any) -> None:
        """Put all cells to these values (rows, columns), in siemens. Raises ConfigurationError for what cannot be."""
        try:
            values = np.asarray(conductances, np.float32)
        except (TypeError, ValueError):
            values = np.empty(0, np.float32)
        if values.shape != self.shape or not np.isfinite(values).all() or (values < 0.0).any():
            raise ConfigurationError(f"conductances must be {self.shape[0]} rows of {self.shape[1]} numbers, 0 or more")
        with self.lock:
            self.forming.finish()
            self.cells.written[:] = self.cells.effective[:] = values.reshape(-1)
            self.cells.direction[:] = 0.0

    def strike(self, kind: str, fraction: float, seed: int) -> int:
        """Strike healthy cells with faults, as the mock chip does; returns how many. Raises ConfigurationError."""
        with self.lock:
            return self.cells.strike(kind, fraction, None, np.random.Generator(np.random.SFC64(seed)))

    def _conductance(self) -> Array64:
        return np.asarray(self.cells.effective.reshape(self.shape), np.float64)

    def _noisy(self) -> Array64:
        p = self.profile
        seen = self._conductance() * (1.0 + self.telegraph.deviation.reshape(self.shape))
        if p.read_noise:
            white = p.read_noise * (1.0 - p.telegraph_fraction) ** 0.5
            seen *= 1.0 + white * self._rng.standard_normal(self.shape)
        return np.maximum(seen, 0.0)

    def _pass_time(self) -> None:
        """Let the cells feel what they see now; called before and after anything changes."""
        self.cells.age(self._clock.now_s())
        if self._reach_v() <= self.options.threshold_v:  # no node can be far enough from another one
            self._switching.rest()
            return
        solution = self._solve(self._conductance())
        rows, columns = self.shape
        across = solution.node_v[:rows, None] - solution.node_v[None, rows : rows + columns]
        gates = np.abs(across)
        if self.options.gates:
            across = np.where(self._gates_on(solution)[:, None], across, 0.0)
            gates = np.repeat(self._gates_v(solution), columns)
        self._switching.feel(across.reshape(-1), gates.reshape(-1), self._clock.now_s(), self._rng)

    def _reach_v(self) -> float:
        """The largest voltage between any two nodes besides gates that the sources could make."""
        levels, gates = [0.0], self._gate_buses()
        for bus, drive in self._drives.items():
            if bus in gates:
                continue
            if drive.mode is Mode.VOLTAGE:
                levels.append(drive.level)
            elif drive.mode is Mode.CURRENT and drive.level != 0.0:
                levels += [drive.limit, -drive.limit]
        return max(levels) - min(levels)

    def _gate_buses(self) -> frozenset[str]:
        """Buses that lead to gates alone, which no other bus leads to: what they carry does not reach the cells."""
        contacts = self._fixed | self._switched
        if self._gated is None or self._gated[0] != contacts:
            reached = {(bus, line) for bus, line in contacts if not line.startswith("gate ")}
            held: dict[str, set[str]] = {}
            for bus, line in contacts - reached:
                held.setdefault(line, set()).add(bus)
            mixed = {bus for bus, _ in reached} | {bus for buses in held.values() if len(buses) > 1 for bus in buses}
            self._gated = contacts, frozenset(bus for bus, _ in contacts) - mixed
        return self._gated[1]

    def _gates_v(self, solution: Solution) -> Array64:
        rows, columns = self.shape
        return solution.node_v[rows + columns : 2 * rows + columns]

    def _gates_on(self, solution: Solution) -> Mask:
        return np.asarray(self._gates_v(solution) >= self.options.gate_on_v)

    def _linear(self) -> Array64:
        """Conductance matrix of contacts, bleeds and leaks; made anew when the wiring has changed."""
        if self._wired is not None and len(self._wired) == len(self._nodes):
            return self._wired
        linear = np.diag(np.full(len(self._nodes), LEAK_SIEMENS))
        if self.options.bleed_ohm is not None:
            linear[range(self._lines), range(self._lines)] += 1.0 / self.options.bleed_ohm
        contact = 1.0 / self.options.contact_ohm
        for bus, line in self._fixed | self._switched:
            a, b = self._nodes[bus], self._nodes[line]
            linear[[a, b], [a, b]] += contact
            linear[[a, b], [b, a]] -= contact
        self._wired = linear
        return linear

    def _solve(self, conductance: Array64) -> Solution:
        if self.options.gates:
            gates_on = self._gates_on(self._solve_gates())
            conductance = np.where(gates_on[:, None], conductance, np.minimum(conductance, OFF_SIEMENS))
        solution = solve(Network(self._linear(), conductance, self._curve), self._held(), self._node_v)
        self._node_v = solution.node_v
        return solution

    def _solve_gates(self) -> Solution:
        """Without the cells: what is on gates is right already, for no cell draws a current from them."""
        network = Network(self._linear(), np.zeros(self.shape), self._curve)
        return solve(network, self._held(), self._node_v)

    def _held(self) -> dict[int, Drive]:
        drives = {self._nodes[bus]: drive for bus, drive in self._drives.items() if drive.mode is not Mode.OPEN}
        return drives | {self._nodes[bus]: Drive(Mode.VOLTAGE, 0.0, np.inf) for bus in self._grounded}


class BenchPort:
    """One pair of terminals: high on a bus of the bench, low on ground."""

    def __init__(self, bench: Bench, bus: str) -> None:
        self._bench, self._bus = bench, bus

    def drive(self, drive: Drive) -> None:
        """From now on, drive the bus like this."""
        self._bench.drive(self._bus, drive)

    def operating(self) -> Operating:
        """Solve the bench as all its ports drive it now."""
        return self._bench.operating(self._bus)


def single_cells(
    profile: MemristorProfile, clock: Clock, seed: int, count: int = 1, options: BenchOptions | None = None
) -> tuple[Bench, list[BenchPort]]:
    """A bench, and ports across cells (1, 1), (2, 1), ...: column 1 is grounded, there is no matrix."""
    bench = Bench(profile, count, 1, clock, seed, options)
    bench.ground("ground")
    bench.wire("ground", "column 1")
    ports = []
    for row in range(1, count + 1):
        bench.wire(f"bus {row}", f"row {row}")
        ports.append(bench.port(f"bus {row}"))
    return bench, ports
