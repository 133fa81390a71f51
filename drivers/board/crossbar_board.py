"""The serial crossbar board by its operations: vectors measured, cells read and written, pulses, ranges, outputs.

Everything is checked against the tighter of the chip's and the board's limits before it is sent, and cut into requests
that fit into a frame and into the time that the board allows for one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar

import numpy as np

from drivers.board.link import BoardLink
from drivers.board.protocol import (
    OUTPUT_NAMES,
    BoardLimits,
    Kind,
    Outputs,
    Pulse,
    Range,
    State,
    Window,
    decode_u16,
    encode_u16,
)
from drivers.board.vectors import Integers, Measure, ReadCells, Readings, Write, Written, code_type
from drivers.chip.limits import ElectricalLimits
from pib_lab.errors import ConfigurationError, DeviceError, LimitError
from pib_lab.quantities import Mask

Message = TypeVar("Message")

_ANYTHING = ElectricalLimits(math.inf, math.inf)
_HEADS = 64
"""Bytes of a payload besides its arrays, with room."""


class CrossbarBoard:
    """One board on one link. chip: what its lines may be driven with to read; gate_v: word-line bias of all access;
    permit: asked each time before outputs go on, and raises where they must not; pulses: what a cell may get as a
    pulse, when that is less than the board allows.

    Raises what BoardLink raises, and LimitError before anything is sent; DeviceError for an output that does not
    go off on opening.
    """

    def __init__(
        self,
        link: BoardLink,
        chip: ElectricalLimits,
        gate_v: float,
        permit: Callable[[], None] = lambda: None,
        pulses: ElectricalLimits = _ANYTHING,
    ) -> None:
        self.identity = link.identity
        self._link, self._gate_v, self._permit = link, gate_v, permit
        self._own, self._pulses = chip, pulses
        self._in_force = link.identity.limits
        if hanging := self.switch_off():
            raise DeviceError(
                f"{self._name}: {', '.join(hanging)} were told to go off and read back on; switch the board off at its "
                "supply and have it mended"
            )
        self.tighten(chip)

    def tighten(self, chip: ElectricalLimits) -> None:
        """Let the board hold what is tighter of these, those of pulses, and the limits in force, for all its arrays.

        The board knows no limit of power: that one is held here alone.
        """
        self._own = self._own.tightened(chip)
        own, pulses, now = self._own, self._pulses, self._in_force
        wanted = replace(
            now,
            drive_uv=_lowered(now.drive_uv, own.voltage_v * 1e6),
            column_na=_lowered(now.column_na, min(own.current_a, pulses.current_a) * 1e9),
            pulse_mv=_lowered(now.pulse_mv, pulses.voltage_v * 1e3),
            charge_fc=_lowered(now.charge_fc, pulses.charge_c * 1e15),
            pulse_rate_hz=_lowered(now.pulse_rate_hz, pulses.pulse_rate_hz),
            gate_mv=_lowered(now.gate_mv, min(own.gate_v, pulses.gate_v) * 1e3),
        )
        self._in_force = self._ask(Kind.LIMITS, wanted.encode(), BoardLimits.decode)
        if self._in_force != wanted:
            raise DeviceError(f"{self._name}: took limits {self._in_force}, not the {wanted} asked for")
        now = self._in_force
        board = ElectricalLimits(now.drive_uv * 1e-6, now.column_na * 1e-9, gate_v=now.gate_mv * 1e-3)
        self._read_limits = self._own.tightened(board)

    @property
    def read_limits(self) -> ElectricalLimits:
        """What rows may be driven with to read, and the gate."""
        return self._read_limits

    @property
    def pulse_limits(self) -> ElectricalLimits:
        """What a cell may get as a pulse."""
        now = self._in_force
        board = ElectricalLimits(
            now.pulse_mv * 1e-3,
            now.column_na * 1e-9,
            charge_c=now.charge_fc * 1e-15,
            pulse_rate_hz=now.pulse_rate_hz,
            gate_v=now.gate_mv * 1e-3,
        )
        return self._pulses.tightened(board)

    def close(self) -> None:
        """Outputs off, as far as the link allows, and let go of it. Never raises."""
        self._link.close()

    # Outputs

    def switch_on(self) -> None:
        """Gate bias, word lines, then row drivers (at 0 V between vectors), each read back. Nothing when all are on."""
        if self._link.outputs == Outputs.ALL:
            return
        self._permit()
        self.read_limits.check_gate(self._gate_v, f"{self._name}: word lines")
        wanted_mv = round(self._gate_v * 1000)
        if (gate_mv := self._ask(Kind.GATE, encode_u16(wanted_mv), decode_u16)) != wanted_mv:
            raise DeviceError(f"{self._name}: the gate bias reads back as {gate_mv} mV, not {wanted_mv} mV")
        for wanted in (Outputs.WORD_LINES, Outputs.ALL):
            if (on := self._link.switch(wanted)) != wanted:
                raise DeviceError(f"{self._name}: {on!r} reads back on where {wanted!r} was asked for")

    def bias_gate(self, gate_v: float) -> None:
        """Use this word-line bias from the next `switch_on`; when it changes, outputs go off first.

        Raises LimitError beyond the limits, DeviceError for outputs that stay on.
        """
        self.read_limits.check_gate(gate_v, f"{self._name}: word lines")
        if gate_v == self._gate_v:
            return
        if still_on := self.switch_off():
            raise DeviceError(f"{self._name}: {', '.join(still_on)} read back on; the gate bias stays as it is")
        self._gate_v = gate_v

    def switch_off(self) -> tuple[str, ...]:
        """Row drivers, then word lines off; returns the outputs that read back on all the same."""
        on = self._link.switch(Outputs.NONE)
        return tuple(name for output, name in OUTPUT_NAMES.items() if output & on)

    def state(self) -> State:
        """Outputs, dead-man timer and counters, as the board tells them."""
        return self._ask(Kind.STATUS, b"", State.decode)

    # Arrays

    def use(self, window: Window) -> None:
        """Use these rows and pairs of an array. Raises ConfigurationError for a window that the board does not have."""
        here = self.identity
        if window.array >= here.arrays or window.rows > here.rows or 2 * window.pairs > here.columns:
            raise ConfigurationError(
                f"{self._name}: array {window.array} with {window.rows} rows of {window.pairs} pairs is wanted, but it "
                f"has {here.arrays} arrays of {here.rows} rows of {here.columns // 2} pairs"
            )
        if self._ask(Kind.WINDOW, window.encode(), Window.decode) != window:
            raise DeviceError(f"{self._name}: uses another window of array {window.array} than was asked for")

    def set_range(self, array: int, full_scale_a: float) -> float:
        """Choose an array's ADC range; returns the full scale in force, in amperes, as read back."""
        wanted = Range(array, round(full_scale_a * 1e9))
        return self._ask(Kind.SET_RANGE, wanted.encode(), Range.decode).full_scale_na * 1e-9

    def measure(self, arrays: Sequence[int], pairs: int, codes: Integers) -> Readings:
        """ADC codes and what clipped (arrays, vectors, pairs), for DAC codes (vectors, rows) on the rows of each."""
        here, limits, (vectors, rows) = self.identity, self.read_limits, codes.shape
        level_v = float(codes.max(initial=0)) * here.dac_full_uv * 1e-6 / (2**here.dac_bits - 1)
        limits.check_voltage(level_v, limits.current_a, f"{self._name}: rows")
        sample_s = here.sample_ns * 1e-9  # all of these arrays convert at once
        kind = code_type(here.adc_bits)
        bytes_each = max(2 * rows, len(arrays) * pairs * (kind.itemsize + 1))
        most = self._share(bytes_each, sample_s, f"one vector of {rows} rows")
        values = np.empty((len(arrays), vectors, pairs), kind)
        clipped = np.empty(values.shape, np.bool_)
        for start in range(0, vectors, most):
            part = slice(start, min(start + most, vectors))
            shape = (len(arrays), part.stop - start, pairs)
            request = Measure(tuple(arrays), codes[part]).encode()
            made = self._readings(Kind.MEASURE, request, shape, shape[1] * sample_s)
            values[:, part], clipped[:, part] = made.codes, made.saturated
        return Readings(values, clipped)

    def read_cells(self, window: Window, full_scale_a: float) -> Readings:
        """ADC codes and what clipped (rows, pairs, 2), each row alone at the DAC's full scale, columns sensed apart."""
        here, kind = self.identity, code_type(self.identity.adc_bits)
        self.read_limits.check_voltage(here.dac_full_uv * 1e-6, self.read_limits.current_a, f"{self._name}: rows")
        row_s = 2.0 * here.sample_ns * 1e-9
        most = self._share(2 * window.pairs * (kind.itemsize + 1), row_s, "one row of cells")
        values = np.empty((window.rows, window.pairs, 2), kind)
        clipped = np.empty(values.shape, np.bool_)
        for first in range(0, window.rows, most):
            rows = min(most, window.rows - first)
            request = ReadCells(window.array, first, rows, round(full_scale_a * 1e9)).encode()
            made = self._readings(Kind.READ_CELLS, request, (rows, window.pairs, 2), rows * row_s)
            values[first : first + rows], clipped[first : first + rows] = made.codes, made.saturated
        return Readings(values, clipped)

    def write(self, array: int, mask: Mask, target_ps: Integers, start_ps: Integers | None, max_pulses: int) -> Written:
        """Write the cells of an array where `mask` (rows, columns of its window); one entry a cell, in C order.

        start_ps: None to verify each pulse; else what the cells are believed to hold, to pulse blindly from there.
        """
        done = [part for _, part in self.write_in_parts(array, mask, target_ps, start_ps, max_pulses)]
        if len(done) == 1:
            return done[0]
        return Written(
            sum(part.verify_passes for part in done),
            np.concatenate([part.believed_ps for part in done] or [np.empty(0, np.int32)]),
            np.concatenate([part.pulses for part in done] or [np.empty(0, np.uint16)]),
            np.concatenate([part.missed for part in done] or [np.empty(0, np.bool_)]),
        )

    def write_in_parts(
        self, array: int, mask: Mask, target_ps: Integers, start_ps: Integers | None, max_pulses: int
    ) -> Iterator[tuple[slice, Written]]:
        """As `write`, request by request: the rows of each, sent when it is asked for, and what it did to their cells.

        Whoever does not ask for the next one leaves the rest unwritten.
        """
        here, (rows, columns) = self.identity, mask.shape
        self._check_write(verified=start_ps is None)
        pulses_s = columns * max_pulses * here.pulse_ns * 1e-9
        row_s = pulses_s + (2 * (max_pulses + 1) * here.verify_ns * 1e-9 if start_ps is None else 0.0)
        most = self._share(columns * 9, row_s, f"one row of {columns} cells")
        ends = np.concatenate([[0], np.cumsum(np.count_nonzero(mask, axis=1))])
        for first in range(0, rows, most):
            last = min(first + most, rows)
            cells = slice(int(ends[first]), int(ends[last]))
            if cells.start == cells.stop:
                continue
            start = None if start_ps is None else start_ps[cells]
            request = Write(array, first, mask[first:last], target_ps[cells], start, max_pulses).encode()
            decode = partial(Written.decode, count=cells.stop - cells.start)
            yield slice(first, last), self._ask(Kind.WRITE, request, decode, (last - first) * row_s)

    def _check_write(self, *, verified: bool) -> None:
        """The board sizes the pulses of a write itself: of at most `pulse_mv`, through cells that end in the window.

        Power V min(I_column, G_high V), charge I_column width, rate 1 / (width + verify read).
        """
        here, what = self.identity, f"{self._name}: write"
        if verified:  # it reads as `read_cells` does
            self.read_limits.check_voltage(here.dac_full_uv * 1e-6, self.read_limits.current_a, f"{what}, reading")
        level_v, column_a = self._in_force.pulse_mv * 1e-3, self._in_force.column_na * 1e-9
        width_s = here.pulse_ns * 1e-9
        period_s = width_s + (here.verify_ns * 1e-9 if verified else 0.0)
        self._pulses.check_voltage(level_v, min(column_a, here.high_ps * 1e-12 * level_v), what)
        self._pulses.check_train(column_a, width_s, period_s, what)

    def pulse(
        self,
        array: int,
        row: int,
        column: int,
        level_v: float,
        width_s: float,
        count: int,
        period_s: float,
        current_a: float | None = None,
    ) -> int:
        """Raw pulses to one cell, SET with a positive level, RESET with a negative one; returns how many it got.

        current_a: what the cell's gate lets through, for the check of power; None: all that the column may carry. The
        charge is counted as the board does, with what the column may carry.
        """
        limits, what = self.pulse_limits, f"{self._name}: pulse"
        limits.check_voltage(level_v, limits.current_a if current_a is None else current_a, what)
        limits.check_train(limits.current_a, width_s, period_s, what, energised=self._link.outputs == Outputs.ALL)
        width_ns = round(width_s * 1e9)
        if width_ns > self._in_force.pulse_ns:
            raise LimitError(f"{what}: a width of {width_s:g} s is beyond the limit of {self._in_force.pulse_ns} ns")
        self._share(0, count * period_s, f"{count} pulses")
        wanted = Pulse(array, row, column, round(level_v * 1000), width_ns, count, round(period_s * 1e6))
        return self._ask(Kind.PULSE, wanted.encode(), decode_u16, count * period_s)

    # Requests

    @property
    def _name(self) -> str:
        return f"board {self.identity.board_serial}"

    def _share(self, bytes_each: int, seconds_each: float, what: str) -> int:
        """How many of something fit into one request. Raises DeviceError when not even one does."""
        by_size = (self.identity.max_payload - _HEADS) // max(bytes_each, 1)
        by_time = int(self.identity.max_request_ms * 1e-3 / seconds_each) if seconds_each > 0.0 else by_size
        if min(by_size, by_time) < 1:
            raise DeviceError(f"{self._name}: {what} is more than the board takes in one request")
        return min(by_size, by_time)

    def _readings(self, kind: Kind, payload: bytes, shape: tuple[int, ...], busy_s: float) -> Readings:
        count, bits = math.prod(shape), self.identity.adc_bits
        made = self._ask(kind, payload, partial(Readings.decode, count=count, adc_bits=bits), busy_s)
        return Readings(made.codes.reshape(shape), made.saturated.reshape(shape))

    def _ask(self, kind: Kind, payload: bytes, decode: Callable[[bytes], Message], busy_s: float = 0.0) -> Message:
        return self._link.understood(decode, self._link.request(kind, payload, busy_s))


def _lowered(now: int, limit: float) -> int:
    """The lesser, in whole units of the message; at least 1, for a limit of 0 does not exist in it."""
    return max(1, round(min(now, limit)))
