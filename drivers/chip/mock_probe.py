"""Bring-up of the mock chip: its own physics behind the probe's interface, on the mock's clock."""

from __future__ import annotations

import math
import zlib
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager

import numpy as np

from drivers.chip.limits import ElectricalLimits
from drivers.chip.mock_chip import MockCrossbar, MockMemristorChip
from drivers.chip.probe import Line, LineKind, LineReading, Pulse, ReferenceReading
from drivers.chip.profiles import Use, electrical_limits
from drivers.mock.bringup_physics import GATE_ON_V, Defects, LineNetwork, SwitchingCells
from drivers.mock.frontend import digitise, pick_range, range_series
from drivers.mock.noise import gaussian
from pib_lab.device import Clock, DeviceContext, UnitRequest
from pib_lab.errors import ConfigurationError
from pib_lab.procedure import validated
from pib_lab.quantities import Array64, Counts, Mask
from pib_lab.unit import CancelToken, PhysicalUnit, SafeReport

READ_GATE_V = 2.5
TRAPS_S = 1e-3
"""Traps are let switch so often: the fastest ones take ten times as long."""
REFERENCES_SIEMENS = (10e-6, 100e-6)


class MockProbe:
    """A probe over the cells of one mock unit. Outputs are on while something is driven, as far as its link tells."""

    def __init__(self, chip: MockMemristorChip, unit: MockCrossbar, clock: Clock, defects: Defects, seed: int) -> None:
        self._chip, self._unit, self._clock, self._defects = chip, unit, clock, defects
        physics = self._physics = unit.physics
        self._shape = (physics.shape[0], 2 * physics.shape[1])
        self._network = LineNetwork(*self._shape, defects)
        self._rng = np.random.Generator(np.random.SFC64([seed, zlib.crc32(chip.serial.encode())]))
        self._switching = SwitchingCells(physics.cells, self._shape[1], defects, self._rng)
        self._traps_at_s = 0.0
        profile = physics.profile
        self._ranges = range_series(profile.range_min_a, profile.range_max_a)

    # ChipProbe

    @property
    def serial(self) -> str:
        """As the chip's options say."""
        return self._chip.serial

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self._shape

    @property
    def window_siemens(self) -> tuple[float, float]:
        """Of the profile."""
        return self._physics.profile.g_min_siemens, self._physics.profile.g_max_siemens

    @property
    def read_v(self) -> float:
        """Of the profile."""
        return self._physics.profile.v_read_v

    @property
    def read_gate_v(self) -> float:
        """0: a mock's gates are up while it is read, at no voltage that matters."""
        return 0.0

    @property
    def limits(self) -> ElectricalLimits:
        """Of the profile, to form."""
        return electrical_limits(self._physics.profile, Use.FORMING)

    def planned_limits(self, *, held: bool) -> ElectricalLimits:
        """As `limits`."""
        return self.limits

    def open(self) -> None:
        """Open the unit behind it."""
        self._unit.open()

    def close(self) -> None:
        """Close the unit behind it."""
        self._unit.close()

    def make_safe(self) -> SafeReport:
        """As the unit behind it."""
        return self._unit.make_safe()

    def pulses(self) -> Counts:
        """Through this probe and by scans through the unit behind it."""
        return self._physics.cells.pulses.reshape(self._shape).copy()

    def read_map(self, *, cancel: CancelToken) -> Array64:
        """Row by row: the row at the read voltage, its gate up, all columns sensed."""
        rows = []
        for row in range(self._shape[0]):
            cancel.raise_if_cancelled()
            rows.append(self._read_row(row))
        return np.array(rows)

    def read_cell(self, row: int, column: int) -> float:
        """From one reading of its row."""
        return float(self._read_row(row, column)[0])

    @contextmanager
    def _energised(self) -> Iterator[None]:
        name = self._unit.spec.name
        with self._chip.session.link(name) as link, link.energised(name):
            yield

    def _read_row(self, row: int, column: int | None = None) -> Array64:
        """One row driven, its gate up: siemens of all columns, or of one."""
        sensed = slice(None) if column is None else slice(column, column + 1)
        if self._network.plain:
            self._clock.sleep_s(self._physics.profile.settle_s + self._physics.profile.conversion_s)
            with self._energised():
                current = self._noisy()[row, sensed] * self.read_v
            return self._digitised(current) / self.read_v
        gates = np.arange(self._shape[0]) == row
        return self._sensed(np.where(gates, self.read_v, 0.0), gates)[sensed] / self.read_v

    def _sensed(self, rows_v: Array64, gates_up: Mask) -> Array64:
        """Column currents with all lines held."""
        p = self._physics.profile
        self._clock.sleep_s(p.settle_s + p.conversion_s)
        pad_v = np.concatenate([rows_v, np.zeros(self._shape[1]), np.where(gates_up, READ_GATE_V, 0.0)])
        with self._energised():
            supplied = self._network.pad_currents(self._noisy(), pad_v, gates_up)
        return self._digitised(-supplied[self._shape[0] : sum(self._shape)])

    def _digitised(self, current: Array64) -> Array64:
        """As the front end reads it, each value in the smallest range that holds it."""
        p = self._physics.profile
        seen = np.asarray(current * self._defects.gain + self._defects.offset_a, np.float32)
        for index in range(len(seen)):
            full_scale_a = pick_range(self._ranges, max(abs(float(seen[index])), p.range_min_a))
            digitise(seen[index : index + 1], full_scale_a, p.adc_bits)
        return seen.astype(np.float64)

    def _noisy(self) -> Array64:
        """Conductances (rows, columns) now, with read noise."""
        physics, p = self._physics, self._physics.profile
        physics.age(self._clock.now_s())
        if self._clock.now_s() - self._traps_at_s >= TRAPS_S:
            self._traps_at_s = self._clock.now_s()
            physics.telegraph.advance(self._traps_at_s, self._rng)
        seen = physics.cells.effective * (physics.telegraph.deviation + np.float32(1.0))
        white = p.read_noise * math.sqrt(1.0 - p.telegraph_fraction)
        return np.asarray((seen * (1.0 + white * gaussian(self._rng, seen.shape))).reshape(self._shape), np.float64)

    # Capabilities

    def pulse(self, row: int, column: int, pulse: Pulse, count: int = 1) -> None:
        """Pulses at the highest rate that the limits allow, or 1 us apart."""
        limits, what = self.limits, f"cell ({row}, {column})"
        limits.check_gate(pulse.gate_v, what)
        period_s = max(2.0 * pulse.width_s, 1.0 / limits.pulse_rate_hz)
        limits.check_pulse(
            pulse.level_v, pulse.current_a, pulse.width_s, period_s, what, energised=pulse.gate_v >= GATE_ON_V
        )
        reached = self._reached(row, column)
        with self._energised():
            for _ in range(count):
                self._clock.sleep_s(period_s)
                if reached:
                    self._switching.pulse(row, column, pulse.level_v, pulse.gate_v, self._clock.now_s())
                else:
                    self._physics.cells.pulses[row * self._shape[1] + column] += 1  # sent all the same: wear
        self._physics.rewire()

    def sweep(
        self, row: int, column: int, levels_v: Array64, gate_v: float, compliance_a: float
    ) -> tuple[Array64, Mask]:
        """Each level acts as one pulse of it; I = G V (1 + k (V / V_read)^2) / (1 + k) up to the compliance."""
        p, limits, what = self._physics.profile, self.limits, f"cell ({row}, {column})"
        limits.check_gate(gate_v, what)
        limits.check_voltage(float(np.abs(levels_v).max(initial=0.0)), compliance_a, what)
        currents = np.zeros(len(levels_v))
        reached = self._reached(row, column)
        with self._energised():
            for point, level_v in enumerate(levels_v):
                self._clock.sleep_s(1e-3)
                if reached:
                    self._switching.pulse(row, column, float(level_v), gate_v, self._clock.now_s())
                    bend = (1.0 + p.iv_cubic * (level_v / p.v_read_v) ** 2) / (1.0 + p.iv_cubic)
                    currents[point] = self._noisy()[row, column] * level_v * bend
        clamped = np.abs(currents) > compliance_a
        self._physics.rewire()
        return np.clip(currents, -compliance_a, compliance_a), np.asarray(clamped)

    def has_gates(self) -> bool:
        """One a row."""
        return True

    def line_current(
        self, driven: Collection[Line], level_v: float, sensed: Line, *, gates_v: float = 0.0, within_a: float = 0.0
    ) -> LineReading:
        """Solved from the network of lines and cells, which has settled; the source clamps at its limit of current."""
        on_gate = sensed.kind is LineKind.GATE
        limits = electrical_limits(self._physics.profile, Use.GATES if on_gate else Use.FORMING)
        limits.check_voltage(level_v, limits.current_a, str(sensed))
        gate_v = max([gates_v, *(level_v for line in driven if line.kind is LineKind.GATE)])
        limits.check_gate(gate_v, "gates")
        rows, columns = self._shape
        pad_v = np.zeros(2 * rows + columns)
        pad_v[rows + columns :] = gates_v
        for line in driven:
            pad_v[self._node(line)] = level_v
        self._clock.sleep_s(self._physics.profile.settle_s + self._physics.profile.conversion_s)
        with self._energised():
            supplied = self._network.pad_currents(self._noisy(), pad_v, pad_v[rows + columns :] >= GATE_ON_V)
        current = float(supplied[self._node(sensed)]) * (1.0 if sensed in driven else -1.0)
        seen_a = current * self._defects.gain + self._defects.offset_a
        return LineReading(min(max(seen_a, -limits.current_a), limits.current_a), abs(seen_a) > limits.current_a)

    def references(self) -> list[ReferenceReading]:
        """Two resistors beside the array, read by the same front end."""
        found = []
        for nominal in REFERENCES_SIEMENS:
            current = nominal * self.read_v * self._defects.gain + self._defects.offset_a
            found.append(ReferenceReading(f"{nominal * 1e6:g} uS", nominal, current / self.read_v))
        return found

    def offsets(self) -> Array64:
        """All rows at 0 V, gates down."""
        return self._sensed(np.zeros(self._shape[0]), np.zeros(self._shape[0], np.bool_))

    def column_currents(self, drive_v: Array64) -> Array64:
        """All gates up: the analog sum. Raises LimitError beyond the read voltage."""
        electrical_limits(self._physics.profile, Use.READING).check_voltage(float(np.abs(drive_v).max()), 0.0, "rows")
        return self._sensed(np.asarray(drive_v, np.float64), np.ones(self._shape[0], np.bool_))

    def strongest_write(self) -> Pulse:
        """A mock's writes are steps of conductance: as strong as the profile lets a write be."""
        p = self._physics.profile
        limits = electrical_limits(p, Use.WRITING)
        return Pulse(limits.voltage_v, p.pulse_s, 0.0, min(limits.current_a, p.g_max_siemens * limits.voltage_v))

    def scan_unit(self) -> PhysicalUnit:
        """The mock unit over the same cells."""
        return self._unit

    def _reached(self, row: int, column: int) -> bool:
        d = self._defects
        return row not in d.open_rows and row not in d.open_gates and column not in d.open_columns

    def _node(self, line: Line) -> int:
        rows, columns = self._shape
        start, count = {
            LineKind.ROW: (0, rows),
            LineKind.COLUMN: (rows, columns),
            LineKind.GATE: (rows + columns, rows),
        }[line.kind]
        if not 0 <= line.index < count:
            raise ConfigurationError(f"{line} does not exist; there are {count} of them, counted from 0")
        return start + line.index


class WarmMockProbe(MockProbe):
    """With a temperature sensor."""

    def temperature_k(self) -> float:
        """As the options say."""
        assert self._defects.temperature_k is not None
        return self._defects.temperature_k


def make_mock_probe(chip: MockMemristorChip, rows: int, columns: int, context: DeviceContext) -> MockProbe:
    """A probe for an array of that size; `defects` of the chip's options are validated here.

    Raises ConfigurationError for defects that do not exist or are not on the array.
    """
    where = f"hardware.{context.name}.defects"
    if not isinstance(chip.defects, Mapping):
        raise ConfigurationError(f"{where}: must be a table of defects")
    defects = validated(Defects, dict(chip.defects), where)
    _within_array(defects, rows, columns, where)
    unit = chip.unit(UnitRequest("chip", rows, columns // 2))
    kind = MockProbe if defects.temperature_k is None else WarmMockProbe
    return kind(chip, unit, context.clock, defects, context.seed)


def _within_array(defects: Defects, rows: int, columns: int, where: str) -> None:
    bounds = {"rows": rows, "columns": columns, "gates": rows}
    for name, value in defects:
        kind = name.rpartition("_")[2]
        if kind in bounds:
            limit = bounds[kind] - (1 if name.startswith("shorted") else 0)
            bad = [line for line in value if not 0 <= line < limit]
        elif name in ("unformable", "shorting", "over_reset"):
            bad = [cell for cell in value if not (0 <= cell[0] < rows and 0 <= cell[1] < columns)]
        else:
            continue
        if bad:
            raise ConfigurationError(f"{where}.{name}: {bad} is not on an array of {rows} x {columns}")
