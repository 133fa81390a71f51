"""A memristor array behind source-measure units and a switch matrix: up to 16 x 16 lines, pairs on adjoining columns.

How a response is measured is the option `measure`, and `how` tells it:

- "analog": rows are held at the read voltage or at ground through the matrix, and each column's current is measured at
  0 V: a sum that the array makes. A drive between nothing and full goes out bit by bit: with B bits, plane b drives the
  rows whose code has bit b, and I = sum_b 2^b I_b / (2^B - 1), added in software. A sample takes up to B readings of
  each pair; a plane without a driven row is not measured, for nothing drives it.
- "cell-reads": every cell is read alone once per call, and the products with the drives are summed in software. No
  sneak paths, no line drops: a twin of the array, not an analog product.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from drivers.chip.bias_schemes import Bus, Scheme, count_disturbs
from drivers.chip.differential import DifferentialPairs
from drivers.chip.limits import ElectricalLimits
from drivers.chip.probe import ChipProbe
from drivers.chip.profiles import Use, load_real_profile
from drivers.chip.smu_matrix_acts import safe_action
from drivers.chip.smu_matrix_costs import unit_costs
from drivers.chip.smu_matrix_limits import check_pulses, check_write, limits_within
from drivers.chip.smu_matrix_options import parse_options
from drivers.chip.smu_matrix_probe import GatedProbe, PassiveProbe
from drivers.chip.smu_matrix_rig import Connect, SmuMatrixRig, connect_by_address
from drivers.chip.smu_matrix_writing import PulseLadder
from drivers.device import DeviceSession
from drivers.safe import recipes as safe_recipes
from drivers.safe.commands import SafeAction
from pib_lab.capabilities import UnitCosts
from pib_lab.device import DeviceContext, UnitRequest
from pib_lab.errors import ConfigurationError, DeviceError
from pib_lab.experiment import check_options
from pib_lab.quantities import Array, Counts, Mask, Quantity
from pib_lab.unit import CancelToken, Measurement, SafeReport, UnitSpec


class MemristorSmuMatrix:
    """One array. Units lie side by side: the rows from the first on, columns in the order in which units were asked
    for. Options: see `drivers.chip.smu_matrix_options`."""

    is_mock = False
    mock_driver = "mock-memristor-chip"

    def __init__(self, options: dict[str, Any], context: DeviceContext, connect: Connect | None = None) -> None:
        where = f"hardware.{context.name}"
        self.options = parse_options(options, where)
        self.profile = load_real_profile(self.options.profile, self.options.override)
        self.serial = self.options.serial
        self.context = context
        self._connect = connect or functools.partial(connect_by_address, traffic=context.traffic)
        self._current_limit_a = self.profile.current_limit_a
        self._columns: dict[str, tuple[int, int, int]] = {}
        self.cancel = CancelToken()
        self.disturbs: Counts = np.zeros((self.options.rows, self.options.columns), np.int32)
        check_write(self.profile, self.options, where)
        self.session = DeviceSession(f"chip {self.serial}", self._open_rig, SmuMatrixRig.close)

    def electrical_limits(self, use: Use) -> ElectricalLimits:
        """What lines and cells may be driven with now, for that use; see `limits_within`."""
        return limits_within(self.profile, self.options, self._current_limit_a, use)

    def _open_rig(self, kind: type[SmuMatrixRig] = SmuMatrixRig, use: Use = Use.WRITING) -> SmuMatrixRig:
        p, o = self.profile, self.options
        sense_range_a = min(1.3 * o.rows * p.g_max_siemens * p.v_read_v, self._current_limit_a)
        reading, pulsing = self.electrical_limits(Use.READING), self.electrical_limits(use)
        rig = kind(o, reading, pulsing, sense_range_a, self.context, self._connect)
        rig.open()
        rig.stopped = lambda: self.cancel.cancelled
        return rig

    def unit(self, request: UnitRequest) -> SmuMatrixUnit:
        """A unit on the next free columns; one of the same name and shape is on the same.

        Raises ConfigurationError when the array is too small.
        """
        o, shape = self.options, (request.inputs, request.outputs)
        held = self._columns.get(request.name)
        if held is None or held[1:] != shape:
            first = max((at + 2 * outputs for at, _, outputs in self._columns.values()), default=0)
            if held is not None or request.inputs > o.rows or first + 2 * request.outputs > o.columns:
                raise ConfigurationError(
                    f"unit {request.name}: {request.inputs} rows and {2 * request.outputs} columns do not fit on an "
                    f"array of {o.rows} x {o.columns} of which {first} columns are taken"
                )
            self._columns[request.name] = held = (first, *shape)
        unit = SmuMatrixUnit(self, request, held[0])
        self._current_limit_a = min(self._current_limit_a, unit.current_limit_a())
        check_pulses(self.electrical_limits(Use.WRITING), self.options, f"hardware.{self.context.name}")
        return unit

    def probe(self, rows: int, columns: int) -> ChipProbe:
        """Bring-up of the first rows and columns."""
        kind = GatedProbe if self.options.scheme is Scheme.TRANSISTOR else PassiveProbe
        return kind(self, rows, columns, self._open_rig)

    def safe_actions(self) -> list[SafeAction]:
        """The drive first, then what holds and senses the other lines, then gates, then the matrix.

        Were a bias to fall before the drive, half-selected cells would see all of it. Channels of a 2600B that belong
        to different stages go off apart.
        """
        o, name = self.options, self.context.name
        channels: dict[tuple[int, str], list[str]] = {}
        actions = []
        for bus, source in o.sources.items():
            stage = {Bus.DRIVE: 0, Bus.GATE: 2}.get(bus, 1)
            if source.model == "keithley-2600b":
                channels.setdefault((stage, source.address), []).append(f"smu{source.channel}")
            else:
                actions.append(dataclasses.replace(safe_action(f"{name}.{bus}", source), stage=stage))
        for (stage, address), of in channels.items():
            action = safe_recipes.keithley_2600(f"{name}.{'+'.join(of)}", address, of)
            actions.append(dataclasses.replace(action, stage=stage))
        matrix = safe_recipes.keithley_707(f"{name}.matrix", o.matrix.address)
        return [*actions, dataclasses.replace(matrix, stage=3)]

    def close(self) -> None:
        """Nothing is left once all units are closed. Idempotent."""


class SmuMatrixUnit(DifferentialPairs):
    """One layer: `n_in` rows, `n_out` pairs from column `first` on."""

    def __init__(self, chip: MemristorSmuMatrix, request: UnitRequest, first: int) -> None:
        name, n_in, n_out = request.name, request.inputs, request.outputs
        check_options(dict(request.options), ("drive_limit_v", "current_limit_a"), f"units.{name}.options")
        p, o = chip.profile, chip.options
        self._chip, self._profile, self._options, self._first = chip, p, o, first
        self._session, self._clock = chip.session, chip.context.clock
        self._read_v = min(p.v_read_v, float(request.options.get("drive_limit_v", math.inf)))
        self._limit_a = min(p.current_limit_a, float(request.options.get("current_limit_a", math.inf)))
        if not (self._read_v > 0.0 and self._limit_a > 0.0):
            raise ConfigurationError(f"unit {name}: limits of drive and current must be positive")
        self._codes = 2**o.drive_bits - 1
        self._spec = UnitSpec(
            name=name,
            drive=Quantity("V", (n_in,), 0.0, self._read_v, self._read_v / self._codes),
            response=Quantity("A", (n_out,)),
            parameters=Quantity("S", (n_in, n_out, 2), p.g_min_siemens, p.g_max_siemens, p.level_siemens),
            settle_s=o.matrix.settle_s,
        )
        self._believed: Array = np.full((n_in, n_out, 2), np.nan, np.float32)
        self._pulses: Counts = np.zeros((n_in, n_out, 2), np.int32)
        self._misses: Counts = np.zeros((n_in, n_out, 2), np.int32)
        self._verify_passes = 0
        self._cancel = CancelToken()

    def how(self) -> str:
        """How a response comes about, for records."""
        if self._options.measure == "cell-reads":
            return "digital sum of cell reads (a twin): each cell read alone, products summed in software"
        return (
            f"analog column sums, {self._options.drive_bits} bit planes weighted in software, up to "
            f"{self.readings_per_sample} readings of a column a sample"
        )

    @property
    def readings_per_sample(self) -> int:
        """Column currents measured for one sample at most; 0 when samples are not measured but computed."""
        return 2 * self._spec.response.size * self._options.drive_bits if self._options.measure == "analog" else 0

    # PhysicalUnit

    def open(self) -> None:
        """Connect, as one of the units that share the array; outputs stay off."""
        self._session.open(self._spec.name)

    def close(self) -> None:
        """Let go of the unit; the last one to close makes the instruments safe and disconnects."""
        self._session.close(self._spec.name)

    def make_safe(self) -> SafeReport:
        """All sources of the array to zero and off, all relays open, read back; what does not answer is named."""
        outputs = (*(str(bus) for bus in self._options.sources), "matrix")
        return self._session.switch_off(self._spec.name, outputs, SmuMatrixRig.make_safe)

    def measure(self, drive: Array, *, cancel: CancelToken) -> Measurement:
        """Difference currents (batch, n_out) in amperes for drives (batch, n_in) in volts, a pass a sample.

        Raises LimitError beyond the read voltage, DeviceError when not open, Cancelled between samples.
        """
        name, drive = self._spec.name, np.asarray(drive, np.float32)
        self._spec.drive.check_batch(drive, f"{name}: drive")
        started_s = self._clock.now_s()
        with self._session.link(name) as rig:
            cancel.raise_if_cancelled()
            rig.energise()
            if self._options.measure == "cell-reads":
                values, saturated = self._sum_cells(rig, drive, cancel)
            else:
                values, saturated = self._sum_planes(rig, drive, cancel)
        return Measurement(values, saturated, len(drive), started_s, self._clock.now_s())

    def _sum_planes(self, rig: SmuMatrixRig, drive: Array, cancel: CancelToken) -> tuple[Array, Mask]:
        codes = np.rint(drive * np.float32(self._codes / self._read_v)).astype(np.int64)
        values = np.zeros((len(drive), self._spec.response.size), np.float32)
        saturated = np.zeros(values.shape, np.bool_)
        rows = range(self._spec.drive.size)
        for sample, code in enumerate(codes):
            cancel.raise_if_cancelled()
            for bit in range(self._options.drive_bits):
                driven = np.flatnonzero(code >> bit & 1).tolist()
                if not driven:
                    continue
                for pair, plus, minus in self._pairs():
                    seen = rig.sense(driven, plus, minus, rows, self._read_v, check=pair == 0)
                    values[sample, pair] += np.float32((seen.plus_a - seen.minus_a) * 2**bit / self._codes)
                    saturated[sample, pair] |= seen.plus_clipped or seen.minus_clipped
                    saturated[sample] |= seen.starved
        return values, saturated

    def _sum_cells(self, rig: SmuMatrixRig, drive: Array, cancel: CancelToken) -> tuple[Array, Mask]:
        shape = self._spec.parameters.shape
        cells, clipped = self._read(rig, np.ones(shape, np.bool_), cancel)
        hidden = (drive > 0.0) @ clipped.any(axis=-1)  # samples that a clipped cell takes part in
        return np.asarray(drive @ self.weights(cells), np.float32), np.asarray(hidden, np.bool_)

    def program(self, parameters: Array, where: Mask | None = None) -> Array:
        """Write conductances (n_in, n_out, 2) where `where` with verified pulses; return what the cells read last.

        Cells that have never been written nor read are read. Raises LimitError outside the window, ConfigurationError
        for a wrong shape, DeviceError when not open, Cancelled between pulses; cells whose last pulse was not followed
        by a reading are then read by the next call.
        """
        p, shape, name = self._profile, self._spec.parameters.shape, self._spec.name
        parameters = np.asarray(parameters, np.float32)
        where = np.ones(shape, np.bool_) if where is None else where
        if parameters.shape != shape or where.shape != shape:
            raise ConfigurationError(f"{name}: parameters and mask must have the shape {shape}")
        self._spec.parameters.check_limits(parameters[where], f"{name}: conductances")
        levels = np.rint((parameters - np.float32(p.g_min_siemens)) / np.float32(p.level_siemens))
        target = levels * np.float32(p.level_siemens) + np.float32(p.g_min_siemens)
        with self._session.link(name) as rig:
            unknown = np.isnan(self._believed) & ~where
            if where.any() or unknown.any():
                rig.energise()
            self._believed[unknown] = self._read(rig, unknown, self._cancel)[0][unknown]
            if where.any():
                self._write(rig, target, where)
        return self._believed.copy()

    def _write(self, rig: SmuMatrixRig, target: Array, where: Mask) -> None:
        """Read, stop within the tolerance, else one pulse by the ladder; up to the profile's pulse budget."""
        ladder = PulseLadder(target, self._profile, self._options.write)
        active = where.copy()
        for attempt in range(self._profile.max_pulses + 1):
            reading, _ = self._read(rig, active, self._cancel)
            self._verify_passes += int(np.count_nonzero(active.any(axis=-1)))
            self._believed[active] = reading[active]
            active &= np.abs(target - self._believed) > np.float32(self._profile.tolerance_siemens)
            if attempt == self._profile.max_pulses or not active.any():
                break
            voltages = ladder.next(self._believed)
            for row, pair, polarity in np.argwhere(active):
                self._cancel.raise_if_cancelled()
                self._pulse(rig, int(row), int(pair), int(polarity), float(voltages[row, pair, polarity]))
        self._misses[where] = (self._misses[where] + 1) * active[where]

    def _pulse(self, rig: SmuMatrixRig, row: int, pair: int, polarity: int, voltage_v: float) -> None:
        column = self._first + 2 * pair + polarity
        self._pulses[row, pair, polarity] += 1  # counted before it is sent: what fails halfway may have worn the cell
        count_disturbs(self._chip.disturbs, self._options.scheme, row, column, 1)
        self._believed[row, pair, polarity] = np.nan  # until it is read again
        rig.pulse(row, column, voltage_v)

    def _pairs(self) -> Iterator[tuple[int, int, int]]:
        """(pair, plus column, minus column)."""
        for pair in range(self._spec.response.size):
            yield pair, self._first + 2 * pair, self._first + 2 * pair + 1

    def _read(self, rig: SmuMatrixRig, where: Mask, cancel: CancelToken) -> tuple[Array, Mask]:
        """Conductances of the pairs that hold a cell of `where`, each row alone; and which of them were clipped.

        The current at the read voltage V is G V (1 + k (V / V_read)^2) / (1 + k). Others come back as NaN.
        """
        p = self._profile
        bend = (1.0 + p.iv_cubic * (self._read_v / p.v_read_v) ** 2) / (1.0 + p.iv_cubic)
        cells, clipped = np.full(where.shape, np.nan, np.float32), np.zeros(where.shape, np.bool_)
        for row in range(where.shape[0]):
            cancel.raise_if_cancelled()
            check = True
            for pair, plus, minus in self._pairs():
                if where[row, pair].any():
                    seen = rig.sense((row,), plus, minus, (row,), self._read_v, check)
                    if seen.starved:
                        raise DeviceError(
                            f"{self._spec.name}: the drive does not hold {self._read_v:g} V on row {row + 1}; look for "
                            "a short on that row, and raise the limit of current only if there is none"
                        )
                    check = False
                    cells[row, pair] = np.array((seen.plus_a, seen.minus_a)) / (self._read_v * bend)
                    clipped[row, pair] = seen.plus_clipped, seen.minus_clipped
        return cells, clipped

    # Capabilities

    def device_name(self) -> str:
        """Of the array with its instruments."""
        return self._chip.context.name

    def cancel_with(self, token: CancelToken) -> None:
        """Writes stop between pulses once `token` is set, and no answer is waited for much longer."""
        self._cancel = self._chip.cancel = token

    def read_parameters(self, *, cancel: CancelToken) -> tuple[Array, int]:
        """Each cell at the read voltage, its row alone driven, both columns of a pair sensed: n_in n_out passes."""
        name, shape = self._spec.name, self._spec.parameters.shape
        with self._session.link(name) as rig:
            cancel.raise_if_cancelled()
            rig.energise()
            cells, _ = self._read(rig, np.ones(shape, np.bool_), cancel)
        return cells, shape[0] * shape[1]

    def pulses(self) -> Counts:
        """Programming pulses of each cell since the unit was made."""
        return self._pulses.copy()

    def verify_passes(self) -> int:
        """Pairs read to verify writes so far."""
        return self._verify_passes

    def write_misses(self) -> Counts:
        """Consecutive writes of each cell that ended outside the tolerance."""
        return self._misses.copy()

    def chip_serial(self) -> str:
        """As the protocol tells it: instruments do not know what they are wired to."""
        return self._chip.serial

    def cell_sites(self) -> Counts:
        """Array 0, and row and column of each cell on it."""
        row, pair, polarity = np.indices(self._spec.parameters.shape, np.int32)
        return np.stack([np.zeros_like(row), row, self._first + 2 * pair + polarity], axis=-1)

    def half_select_disturbs(self) -> Counts:
        """Pulses of other cells, of any unit of this array, of which each cell saw a part."""
        n_in, n_out, _ = self._spec.parameters.shape
        block = self._chip.disturbs[:n_in, self._first : self._first + 2 * n_out]
        return block.reshape(n_in, n_out, 2).copy()

    def costs(self) -> UnitCosts:
        """Bounds, and times with those of links, relays and conversions."""
        n_in, n_out, _ = self._spec.parameters.shape
        return unit_costs(self._options, (n_in, n_out), self._read_v, self._profile.max_pulses)

    def current_limit_a(self) -> float:
        """Compliance of every source on a line: the profile's, or a tighter one of the protocol."""
        return self._limit_a
