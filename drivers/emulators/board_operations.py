"""What the emulated board does with its arrays: windows, ranges, vectors, readings, writes and pulses.

Each operation takes a request's payload and the limits in force, and returns the answer's payload; it raises Refused or
ProtocolError before anything is done.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from drivers.board.frames import MAX_PAYLOAD
from drivers.board.protocol import (
    BoardLimits,
    Kind,
    Pulse,
    Range,
    Status,
    Window,
    decode_u16,
    encode_u16,
)
from drivers.board.vectors import Integers, Measure, ReadCells, Readings, Write, Written, code_type
from drivers.chip.profiles import MemristorProfile
from drivers.emulators.board_array import ChipArray, RawPulse, SharedCells
from drivers.mock.forming import CellDefects
from drivers.mock.frontend import range_series
from pib_lab.device import Clock
from pib_lab.quantities import Array, Mask

MAX_REQUEST_MS = 1000


class Refused(Exception):
    """A request that is answered with an error."""

    def __init__(self, status: Status, text: str) -> None:
        super().__init__(text)
        self.status = status


class Operations:
    """All arrays of a chip. seeds: what their cells are drawn from, together with their number; defects: of each
    array; shared: cells of another emulator in the place of array 0, which is then the only one.

    Faults of the front end, set from outside: `clamp_a`, at which readings clamp, and `offset_a`, which adds to them.
    `gate_mv`: of the word lines.
    """

    def __init__(
        self,
        profile: MemristorProfile,
        seeds: list[int],
        clock: Clock,
        count: int,
        defects: CellDefects,
        shared: SharedCells | None = None,
    ) -> None:
        self._profile, self._seeds, self._clock, self.count = profile, seeds, clock, count
        defects.check(profile.rows, profile.columns)
        self._defects, self._shared = defects, shared
        self.clamp_a, self.offset_a = math.inf, 0.0
        self.gate_mv = 0
        self.ranges_na = tuple(round(full * 1e9) for full in range_series(profile.range_min_a, profile.range_max_a))
        self.arrays: dict[int, ChipArray] = {}
        self.passive: dict[int, Callable[[bytes, BoardLimits], bytes]] = {
            Kind.WINDOW: self._use_window,
            Kind.SET_RANGE: self._set_range,
            Kind.GET_RANGE: self._get_range,
        }
        self.energised: dict[int, Callable[[bytes, BoardLimits], bytes]] = {  # need outputs on
            Kind.MEASURE: self._measure,
            Kind.READ_CELLS: self._read_cells,
            Kind.WRITE: self._write,
            Kind.PULSE: self._pulse,
        }

    def array(self, number: int) -> ChipArray:
        """An array by its number; its cells are made when it is first used. Raises Refused."""
        if number >= self.count:
            raise Refused(Status.BAD_REQUEST, f"array {number} of {self.count}")
        if number not in self.arrays:
            seeds = [*self._seeds, number]
            made = ChipArray(self._profile, seeds, self._clock, self.ranges_na[-1], self._defects, self._shared)
            self.arrays[number] = made
        return self.arrays[number]

    def _use_window(self, payload: bytes, limits: BoardLimits) -> bytes:
        wanted, p = Window.decode(payload), self._profile
        if not (1 <= wanted.rows <= p.rows and 1 <= wanted.pairs <= p.columns // 2):
            raise Refused(Status.BAD_REQUEST, f"an array has {p.rows} rows of {p.columns // 2} pairs")
        self.array(wanted.array).use(wanted.rows, wanted.pairs)
        return payload

    def _set_range(self, payload: bytes, limits: BoardLimits) -> bytes:
        wanted = Range.decode(payload)
        array = self.array(wanted.array)
        array.full_scale_na = next(
            (full for full in self.ranges_na if full >= wanted.full_scale_na), self.ranges_na[-1]
        )
        return Range(wanted.array, array.full_scale_na).encode()

    def _get_range(self, payload: bytes, limits: BoardLimits) -> bytes:
        number = decode_u16(payload)
        return Range(number, self.array(number).full_scale_na).encode()

    def _measure(self, payload: bytes, limits: BoardLimits) -> bytes:
        request, p = Measure.decode(payload), self._profile
        arrays = [self.array(number) for number in request.arrays]
        vectors, rows = request.codes.shape
        if not arrays or any(array.rows != rows for array in arrays):
            raise Refused(Status.BAD_REQUEST, f"{rows} rows do not fit the windows of {list(request.arrays)}")
        top = 2**p.dac_bits - 1
        highest = int(request.codes.max(initial=0))
        if highest > top or highest * round(p.v_read_v * 1e6) > (limits.drive_uv + 0.5) * top:
            raise Refused(Status.BEYOND_LIMIT, f"drive code {highest}; limit {limits.drive_uv} uV")
        duration_s = vectors * (p.settle_s + p.conversion_s)
        self._bounded(duration_s)
        self._fits(vectors * sum(array.pairs for array in arrays))
        self._clock.sleep_s(duration_s)
        volts: Array = request.codes.astype(np.float32) * np.float32(p.v_read_v / top)
        held = limits.drive_uv * 1e-6, self._column_a(limits), self.offset_a
        answers = [self._codes(array.respond(volts, *held), array.full_scale_na * 1e-9) for array in arrays]
        codes = np.concatenate([readings.codes.reshape(-1) for readings in answers])
        saturated = np.concatenate([readings.saturated.reshape(-1) for readings in answers])
        return Readings(codes, saturated).encode(p.adc_bits)

    def _codes(self, digitised: tuple[Array, Mask], full: float) -> Readings:
        values, saturated = digitised
        lsb = full / (2 ** (self._profile.adc_bits - 1) - 1)
        return Readings(np.rint(values * np.float32(1.0 / lsb)), saturated)

    def _read_cells(self, payload: bytes, limits: BoardLimits) -> bytes:
        request, p = ReadCells.decode(payload), self._profile
        array = self.array(request.array)
        if not request.rows or request.first_row + request.rows > array.rows:
            raise Refused(Status.BAD_REQUEST, f"rows beyond the {array.rows} in use")
        if request.full_scale_na not in self.ranges_na:
            raise Refused(Status.BAD_REQUEST, f"no range of {request.full_scale_na} nA")
        self._may_read(limits)
        duration_s = 2 * request.rows * (p.settle_s + p.conversion_s)
        self._bounded(duration_s)
        self._fits(2 * request.rows * array.pairs)
        self._clock.sleep_s(duration_s)
        full_a = request.full_scale_na * 1e-9
        seen = array.sense(request.first_row, request.rows, full_a, self._column_a(limits), self.offset_a)
        return self._codes(seen, full_a).encode(p.adc_bits)

    def _may_read(self, limits: BoardLimits) -> None:
        """Single cells are read at the full drive."""
        if round(self._profile.v_read_v * 1e6) > limits.drive_uv:
            raise Refused(Status.BEYOND_LIMIT, f"read voltage beyond the limit of {limits.drive_uv} uV")

    def _column_a(self, limits: BoardLimits) -> float:
        """Where the front end clamps a column's current."""
        return min(limits.column_na * 1e-9, self.clamp_a)

    def _write(self, payload: bytes, limits: BoardLimits) -> bytes:
        request, p = Write.decode(payload), self._profile
        array, (rows, columns) = self.array(request.array), request.mask.shape
        if not rows or columns != 2 * array.pairs or request.first_row + rows > array.rows:
            raise Refused(Status.BAD_REQUEST, f"{rows} rows of {columns} cells do not fit the window in use")
        if not 1 <= request.max_pulses <= p.max_pulses:
            raise Refused(Status.BEYOND_LIMIT, f"{request.max_pulses} pulses; this board gives 1 to {p.max_pulses}")
        if request.target_ps.size and not (
            p.g_min_siemens * 1e12 - 1 <= request.target_ps.min()
            and request.target_ps.max() <= p.g_max_siemens * 1e12 + 1
        ):
            raise Refused(Status.BEYOND_LIMIT, "a target outside the conductance window")
        duration_s = rows * columns * request.max_pulses * p.pulse_s
        if request.verified:
            self._may_read(limits)
            duration_s += 2 * rows * (request.max_pulses + 1) * p.verify_s
        self._bounded(duration_s)
        start = None if request.start_ps is None else _siemens(request.start_ps)
        # Verify reads go through the same front end: the loop leads the reading, offset and all, to the target.
        shift = np.float32(self.offset_a / p.v_read_v) if request.verified else np.float32(0.0)
        target = _siemens(request.target_ps) - shift
        done = array.write(request.first_row, request.mask, target, start, request.max_pulses)
        believed = np.rint((done.believed + shift).astype(np.float64) * 1e12)
        return Written(done.verify_passes, believed, done.pulses, done.missed).encode()

    def _pulse(self, payload: bytes, limits: BoardLimits) -> bytes:
        request = Pulse.decode(payload)
        array = self.array(request.array)
        if request.row >= array.rows or request.column >= 2 * array.pairs:
            raise Refused(Status.BAD_REQUEST, "a cell outside the window in use")
        if not request.count or not request.width_ns or request.period_us * 1000 < request.width_ns:
            raise Refused(Status.BAD_REQUEST, "pulses need a count, a width and a period that holds it")
        beyond = {
            "amplitude": abs(request.amplitude_mv) > limits.pulse_mv,
            "width": request.width_ns > limits.pulse_ns,
            "charge": limits.column_na * request.width_ns > limits.charge_fc * 1000,
            "rate": limits.pulse_rate_hz * request.period_us < 1_000_000,
        }
        if any(beyond.values()):
            raise Refused(Status.BEYOND_LIMIT, f"pulse {', '.join(name for name in beyond if beyond[name])}")
        self._bounded(request.count * request.period_us * 1e-6)
        times = request.width_ns * 1e-9, self.gate_mv * 1e-3, request.count, request.period_us * 1e-6
        array.pulse(request.row, request.column, RawPulse(request.amplitude_mv * 1e-3, *times))
        return encode_u16(request.count)

    def _fits(self, readings: int) -> None:
        if readings * code_type(self._profile.adc_bits).itemsize + (readings + 7) // 8 > MAX_PAYLOAD:
            raise Refused(Status.BAD_REQUEST, "the answer would not fit into a frame")

    def _bounded(self, duration_s: float) -> None:
        if duration_s * 1000.0 > MAX_REQUEST_MS * (1.0 + 1e-9):
            raise Refused(Status.TOO_LONG, f"could take {duration_s:.3g} s; send it in parts")


def _siemens(picosiemens: Integers) -> Array:
    return np.asarray(picosiemens * 1e-12, np.float32)
