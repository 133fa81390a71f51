"""Messages of the crossbar board that carry arrays: measurements, readings and writes of cells.

Payloads are coded in bulk. Arrays of bits are packed eight to a byte, lowest bit first. An ADC code is two's
complement in 2 bytes for converters of up to 16 bits and in 4 bytes beyond. `decode` raises ProtocolError.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from drivers.board.protocol import ProtocolError, unpack
from pib_lab.quantities import Mask

Integers = npt.NDArray[Any]


def code_type(adc_bits: int) -> np.dtype[Any]:
    """How an ADC of so many bits puts a code on the wire."""
    return np.dtype("<i2" if adc_bits <= 16 else "<i4")


@dataclass(frozen=True, slots=True)
class Measure:
    """Drive vectors for the same rows of one or more arrays: codes (vectors, rows), u16."""

    arrays: tuple[int, ...]
    codes: Integers

    def encode(self) -> bytes:
        """Counts, arrays, codes."""
        vectors, rows = self.codes.shape
        head = struct.pack(f"<BxHH{len(self.arrays)}H", len(self.arrays), vectors, rows, *self.arrays)
        return head + self.codes.astype("<u2").tobytes()

    @classmethod
    def decode(cls, payload: bytes) -> Measure:
        """Raises ProtocolError."""
        count, vectors, rows = unpack("<BxHH", payload[:6])
        arrays = unpack(f"<{count}H", payload[6 : 6 + 2 * count])
        return cls(arrays, _array(payload[6 + 2 * count :], "<u2", (vectors, rows)))


@dataclass(frozen=True, slots=True)
class Readings:
    """ADC codes and which of them clipped, any shape; the answer to MEASURE (arrays, vectors, pairs flattened)."""

    codes: Integers
    saturated: Mask

    def encode(self, adc_bits: int) -> bytes:
        """Codes, then one bit each."""
        return self.codes.astype(code_type(adc_bits)).tobytes() + _pack(self.saturated)

    @classmethod
    def decode(cls, payload: bytes, count: int, adc_bits: int) -> Readings:
        """`count` readings, flat. Raises ProtocolError."""
        size = count * code_type(adc_bits).itemsize
        return cls(_array(payload[:size], code_type(adc_bits).str, (count,)), _unpack(payload[size:], count))


@dataclass(frozen=True, slots=True)
class ReadCells:
    """Each of these rows of a window alone at the DAC's full scale, both columns of a pair sensed apart."""

    array: int
    first_row: int
    rows: int
    full_scale_na: int

    def encode(self) -> bytes:
        """Ten bytes."""
        return struct.pack("<HHHI", self.array, self.first_row, self.rows, self.full_scale_na)

    @classmethod
    def decode(cls, payload: bytes) -> ReadCells:
        """Raises ProtocolError."""
        return cls(*unpack("<HHHI", payload))


@dataclass(frozen=True, slots=True)
class Write:
    """Targets in picosiemens for the cells of `rows` rows from `first_row` where `mask` (rows, columns) is True.

    verified: read, pulse and read again until within the tolerance; else `start_ps` says what each cell is believed to
    hold, and the pulses that lead a mean cell from there to the target are given blindly.
    """

    array: int
    first_row: int
    mask: Mask
    target_ps: Integers
    start_ps: Integers | None
    max_pulses: int

    @property
    def verified(self) -> bool:
        """True when cells are read between pulses."""
        return self.start_ps is None

    def encode(self) -> bytes:
        """Counts, mask, targets, and starts of an unverified write."""
        rows, columns = self.mask.shape
        head = struct.pack("<HHHHHH", self.array, self.first_row, rows, columns, self.max_pulses, int(self.verified))
        start = b"" if self.start_ps is None else self.start_ps.astype("<i4").tobytes()
        return head + _pack(self.mask) + self.target_ps.astype("<i4").tobytes() + start

    @classmethod
    def decode(cls, payload: bytes) -> Write:
        """Raises ProtocolError."""
        array, first_row, rows, columns, max_pulses, flags = unpack("<HHHHHH", payload[:12])
        if flags > 1:
            raise ProtocolError(f"unknown flags {flags:#x} in a write")
        packed = (rows * columns + 7) // 8
        mask = _unpack(payload[12 : 12 + packed], rows * columns).reshape(rows, columns)
        count, rest = int(np.count_nonzero(mask)), payload[12 + packed :]
        target = _array(rest[: 4 * count], "<i4", (count,))
        start = None if flags else _array(rest[4 * count :], "<i4", (count,))
        if flags and len(rest) != 4 * count:
            raise ProtocolError(f"a verified write of {count} cells with {len(rest)} bytes of targets")
        return cls(array, first_row, mask, target, start, max_pulses)


@dataclass(frozen=True, slots=True)
class Written:
    """The answer to WRITE, cell by cell: what each is believed to hold (picosiemens), pulses it got, and misses."""

    verify_passes: int
    believed_ps: Integers
    pulses: Integers
    missed: Mask

    def encode(self) -> bytes:
        """Verify passes, beliefs, pulses, one bit for each miss."""
        beliefs, pulses = self.believed_ps.astype("<i4").tobytes(), self.pulses.astype("<u2").tobytes()
        return struct.pack("<I", self.verify_passes) + beliefs + pulses + _pack(self.missed)

    @classmethod
    def decode(cls, payload: bytes, count: int) -> Written:
        """For `count` cells. Raises ProtocolError."""
        (passes,) = unpack("<I", payload[:4])
        believed = _array(payload[4 : 4 + 4 * count], "<i4", (count,))
        pulses = _array(payload[4 + 4 * count : 4 + 6 * count], "<u2", (count,))
        return cls(passes, believed, pulses, _unpack(payload[4 + 6 * count :], count))


def _array(data: bytes, layout: str, shape: tuple[int, ...]) -> Integers:
    wanted = math.prod(shape) * np.dtype(layout).itemsize
    if len(data) != wanted:
        raise ProtocolError(f"an array of {len(data)} bytes where {wanted} belong")
    return np.frombuffer(data, layout).reshape(shape)


def _pack(bits: Mask) -> bytes:
    return np.packbits(bits.reshape(-1), bitorder="little").tobytes()


def _unpack(data: bytes, count: int) -> Mask:
    if len(data) != (count + 7) // 8:
        raise ProtocolError(f"{len(data)} bytes of flags where {(count + 7) // 8} belong")
    bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")
    if bits[count:].any():
        raise ProtocolError("flags beyond the last one")
    return bits[:count].astype(np.bool_)
