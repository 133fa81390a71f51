"""Bring-up behind source-measure units and a switch matrix: single lines, single cells, slow sweeps.

Bring-up has a rig of its own, for it senses rows and gates too, which training forbids. One source drives (bus
"drive"), another one senses at 0 V or at the same level (bus "plus"), the gates have theirs; all other lines are on
ground.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

import numpy as np

from drivers.chip.bias_schemes import Bus, Scheme, select
from drivers.chip.limits import GATE_MAX_A, ElectricalLimits
from drivers.chip.probe import Line, LineKind, LineReading, Pulse
from drivers.chip.profiles import Use
from drivers.chip.smu_matrix_limits import check_others
from drivers.chip.smu_matrix_rig import SmuMatrixRig
from drivers.smu.interface import Reading, SourceMeasureUnit
from pib_lab.errors import ConfigurationError, DeviceError
from pib_lab.quantities import Array64, Counts, Mask
from pib_lab.unit import CancelToken, SafeReport

if TYPE_CHECKING:
    from drivers.chip.smu_matrix_chip import MemristorSmuMatrix

_NAME = "chip"
SETTLE_WAIT_S = 0.02
"""Between two readings of a line's current that are compared."""
SETTLE_READINGS = 40
"""So often a line is read again before it is said not to settle: about a second."""
AGREE = 0.05
"""Of the current: by so much two readings of a settled line may differ, for cells are noisy."""


class BringUpRig(SmuMatrixRig):
    """A rig that may also sense rows; a gate still never meets a drive, nor another line the gate's source."""

    def _set_up(self, bus: Bus, smu: SourceMeasureUnit) -> None:
        super()._set_up(bus, smu)
        if bus is Bus.PLUS:  # leakage is far below what columns carry: the range follows by itself
            smu.source_voltage(self._limits.current_a, level_range_v=self._limits.voltage_v)

    def _forbidden(self) -> list[str]:
        o = self._options
        if o.scheme is not Scheme.TRANSISTOR:
            return []
        points = [o.row_point(Bus.GATE, row) for row in range(o.rows)]
        points += [o.column_point(Bus.GATE, column) for column in range(o.columns)]
        drives = [bus for bus in self._sources if bus is not Bus.GATE]
        return points + [o.gate_point(bus, row) for bus in drives for row in range(o.rows)]

    def line_current(
        self,
        driven: Collection[Line],
        level_v: float,
        sensed: Line,
        gates_v: float,
        raised: Collection[int],
        within_a: float,
    ) -> LineReading:
        """As `SensesLines.line_current`; raised: rows whose gates are at `gates_v`. A gate is sensed while driven."""
        o = self._options
        buses = {line: Bus.DRIVE for line in driven if line != sensed}
        buses[sensed] = Bus.GATE if sensed.kind is LineKind.GATE else Bus.PLUS
        self._matrix.close_only(self._all_points(buses, raised if gates_v > 0.0 else ()))
        self._limit_drive(self._limits.current_a)
        levels = [(Bus.GATE, gates_v)] if gates_v > 0.0 and o.scheme is Scheme.TRANSISTOR else []
        if sensed.kind is LineKind.GATE:
            levels = [(Bus.GATE, level_v)]
        else:
            levels += [(Bus.DRIVE, level_v)] if Bus.DRIVE in buses.values() else []
            levels += [(Bus.PLUS, level_v)] if sensed in driven else []
        with self._levels(levels):
            reading, settled = self._settled(self._sources[buses[sensed]], within_a)
        sign = 1.0 if sensed in driven else -1.0
        if not reading.sound:
            limit_a = GATE_MAX_A if sensed.kind is LineKind.GATE else self._limits.current_a
            return LineReading(float(np.copysign(limit_a, sign * reading.current_a)), True, settled)
        return LineReading(sign * reading.current_a, settled=settled)

    def _settled(self, smu: SourceMeasureUnit, within_a: float) -> tuple[Reading, bool]:
        """The second of two successive readings that agree; else the last one of many, and False."""
        before = smu.read()
        for _ in range(SETTLE_READINGS):
            self._context.clock.sleep_s(SETTLE_WAIT_S)
            now = smu.read()
            if _agree(before, now, within_a):
                return now, True
            before = now
        return before, False

    def hold(
        self, row: int, column: int, levels_v: Array64, gate_v: float, compliance_a: float
    ) -> tuple[Array64, Mask]:
        """Currents of one cell at each level, row minus column (1t1r: no other cell conducts)."""
        self._matrix.close_only(self._points(select(Scheme.TRANSISTOR, self._shape, row, column)))
        self._limit_drive(compliance_a)
        currents, clamped = np.zeros(len(levels_v)), np.zeros(len(levels_v), np.bool_)
        drive = self._sources[Bus.DRIVE]
        with self._levels([(Bus.GATE, gate_v), (Bus.DRIVE, 0.0)]):
            highest_v, what = float(np.abs(levels_v).max(initial=0.0)), f"cell ({row}, {column})"
            # a slow sweep is no pulse: neither its charge nor its rate is limited
            self._limits.check_pulse(highest_v, compliance_a, 0.0, math.inf, what, energised=self._gate_up(gate_v))
            for point, level_v in enumerate(levels_v):
                self._to(Bus.DRIVE, -float(level_v))
                reading = drive.read()
                clamped[point] = not reading.sound
                currents[point] = -reading.current_a
            self._to(Bus.DRIVE, 0.0)
        return np.clip(np.nan_to_num(currents), -compliance_a, compliance_a), clamped

    def give(self, row: int, column: int, pulse: Pulse) -> bool:
        """One pulse with its own width, gate and current limit in the place of the options'."""
        write = self._options.write.model_copy(update={"width_s": pulse.width_s, "gate_v": pulse.gate_v})
        self._options = self._options.model_copy(update={"write": write})
        self._pulse_limit_a = min(self._limits.current_a, pulse.current_a)
        return self.pulse(row, column, pulse.level_v)

    @property
    def _shape(self) -> tuple[int, int]:
        return self._options.rows, self._options.columns

    def _all_points(self, buses: dict[Line, Bus], raised: Collection[int]) -> list[str]:
        o = self._options
        points = [o.row_point(buses.get(Line(LineKind.ROW, i), Bus.GROUND), i) for i in range(o.rows)]
        points += [o.column_point(buses.get(Line(LineKind.COLUMN, i), Bus.GROUND), i) for i in range(o.columns)]
        if o.scheme is Scheme.TRANSISTOR:
            up = {Line(LineKind.GATE, i): Bus.GATE for i in raised} | buses
            points += [o.gate_point(up.get(Line(LineKind.GATE, i), Bus.GROUND), i) for i in range(o.rows)]
        return points


def _agree(first: Reading, second: Reading, within_a: float) -> bool:
    if not (first.sound and second.sound):
        return first.sound == second.sound
    return abs(second.current_a - first.current_a) <= max(within_a, AGREE * abs(second.current_a))


class SmuMatrixProbe:
    """A probe over the first rows and columns of the array."""

    def __init__(
        self,
        device: MemristorSmuMatrix,
        rows: int,
        columns: int,
        open_rig: Callable[[type[BringUpRig], Use], SmuMatrixRig],
    ) -> None:
        o = device.options
        if rows > o.rows or columns > o.columns:
            raise ConfigurationError(f"array: {rows} x {columns} cells, but {o.rows} x {o.columns} lines are wired")
        self._device, self._shape, self._open_rig = device, (rows, columns), open_rig
        self._rig: BringUpRig | None = None
        self._pulses: Counts = np.zeros(self._shape, np.int32)

    # ChipProbe

    @property
    def serial(self) -> str:
        """As the protocol tells it: instruments do not know what they are wired to."""
        return self._device.serial

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self._shape

    @property
    def window_siemens(self) -> tuple[float, float]:
        """Of the profile."""
        return self._device.profile.g_min_siemens, self._device.profile.g_max_siemens

    @property
    def read_v(self) -> float:
        """Of the profile."""
        return self._device.profile.v_read_v

    @property
    def read_gate_v(self) -> float:
        """Of the device's options."""
        return self._device.options.gate_read_v if self.has_gates() else 0.0

    @property
    def limits(self) -> ElectricalLimits:
        """Of pulses, and what the instruments are set up with: of the profile, within what the scheme allows."""
        return self._device.electrical_limits(Use.FORMING)

    def planned_limits(self, *, held: bool) -> ElectricalLimits:
        """As `limits`; a level that is held stays within what a write may have."""
        return self._device.electrical_limits(Use.WRITING) if held else self.limits

    def open(self) -> None:
        """Connect and set everything up; outputs stay off."""
        if self._rig is None:
            rig = self._open_rig(BringUpRig, Use.FORMING)
            assert isinstance(rig, BringUpRig)
            self._rig = rig

    def close(self) -> None:
        """Make safe and disconnect. Idempotent."""
        if self._rig is not None:
            self._rig.close()
            self._rig = None

    def make_safe(self) -> SafeReport:
        """All sources to zero and off, all relays open, read back; what does not answer is named."""
        if self._rig is None:
            outputs = (*(str(bus) for bus in self._device.options.sources), "matrix")
            return SafeReport(_NAME, (), outputs, "not open: nothing was read back")
        confirmed, doubtful, detail = self._rig.make_safe()
        return SafeReport(_NAME, confirmed, doubtful, detail)

    def pulses(self) -> Counts:
        """Pulses through this probe, and points of sweeps that could write."""
        return self._pulses.copy()

    def read_map(self, *, cancel: CancelToken) -> Array64:
        """Cell by cell, two columns at a time."""
        values = np.empty(self._shape)
        for row in range(self._shape[0]):
            cancel.raise_if_cancelled()
            for column in range(0, self._shape[1], 2):
                values[row, column : column + 2] = self._read(row, column)
        return values

    def read_cell(self, row: int, column: int) -> float:
        """With the other cell of its pair."""
        return float(self._read(row, column - column % 2)[column % 2])

    def _read(self, row: int, column: int) -> Array64:
        """Siemens of the cells in two neighbouring columns; infinite where the current was clipped."""
        seen = self._energised().sense((row,), column, column + 1, (row,), self.read_v)
        if seen.starved:
            raise DeviceError(f"row {row}: the drive does not hold its voltage; look for a short with contact-check")
        currents = np.array([seen.plus_a, seen.minus_a])
        return np.where([seen.plus_clipped, seen.minus_clipped], np.inf, currents / self.read_v)

    def _energised(self) -> BringUpRig:
        if self._rig is None:
            raise DeviceError(f"{_NAME}: not open; call open() first")
        self._rig.energise()
        return self._rig

    # Capabilities

    def pulse(self, row: int, column: int, pulse: Pulse, count: int = 1) -> None:
        """One after the other under the array's bias scheme, as fast as the rig may, counted before each is sent."""
        limits, what = self.limits, f"cell ({row}, {column})"
        limits.check_gate(pulse.gate_v if self.has_gates() else 0.0, what)
        limits.check_pulse(pulse.level_v, pulse.current_a, pulse.width_s, math.inf, what)
        rig = self._energised()
        for _ in range(count):
            self._pulses[row, column] += 1
            rig.give(row, column, pulse)

    def has_gates(self) -> bool:
        """Whether the scheme is that of transistors."""
        return self._device.options.scheme is Scheme.TRANSISTOR

    def line_current(
        self, driven: Collection[Line], level_v: float, sensed: Line, *, gates_v: float = 0.0, within_a: float = 0.0
    ) -> LineReading:
        """The drive's source on the driven lines, another one on the sensed line."""
        limits = self._device.electrical_limits(Use.WRITING)
        self.limits.check_gate(max(gates_v, level_v if sensed.kind is LineKind.GATE else 0.0), "gates")
        if sensed.kind is LineKind.GATE:
            if set(driven) != {sensed}:
                raise ConfigurationError(f"{sensed}: a gate is sensed alone, with nothing else driven")
        else:
            limits.check_voltage(level_v, 0.0, str(sensed))
        return self._energised().line_current(driven, level_v, sensed, gates_v, range(self._shape[0]), within_a)


class PassiveProbe(SmuMatrixProbe):
    """Without transistors: cells that are not selected see a part of each pulse, and must stay below the threshold."""

    def check_others(self, level_v: float, what: str) -> None:
        """By the array's bias scheme and the threshold of its options."""
        check_others(self._device.options, level_v, what)

    def pulse(self, row: int, column: int, pulse: Pulse, count: int = 1) -> None:
        """As any pulse; refused where another cell might be written."""
        self.check_others(pulse.level_v, f"cell ({row}, {column})")
        super().pulse(row, column, pulse, count)


class GatedProbe(SmuMatrixProbe):
    """With transistors: one cell's current can be told from all others, so that it can be swept."""

    def sweep(
        self, row: int, column: int, levels_v: Array64, gate_v: float, compliance_a: float
    ) -> tuple[Array64, Mask]:
        """Each level held and measured; those beyond the switching threshold count as pulses."""
        limits, what = self._device.electrical_limits(Use.WRITING), f"cell ({row}, {column})"
        self.limits.check_gate(gate_v, what)
        limits.check_voltage(float(np.abs(levels_v).max(initial=0.0)), compliance_a, what)
        threshold_v = self._device.options.write.threshold_v
        self._pulses[row, column] += int(np.count_nonzero(np.abs(levels_v) >= threshold_v))
        return self._energised().hold(row, column, levels_v, gate_v, compliance_a)
