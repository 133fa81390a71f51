"""Messages of the crossbar board that carry no arrays: who it is, limits, outputs, state. docs/crossbar-board.md.

Little endian throughout. Voltages in millivolts or microvolts, currents in nanoamperes, conductances in picosiemens,
times in nanoseconds or milliseconds, as each field's suffix says. `decode` raises ProtocolError for a payload of the
wrong length or content: firmware answers with BAD_REQUEST, a host drops the link. Only the standard library is needed.
"""

from __future__ import annotations

import struct
from dataclasses import astuple, dataclass, fields
from enum import IntEnum, IntFlag
from typing import Any

from pib_lab.errors import LinkError

VERSION = 1
MAX_DEADMAN_MS = 1000
DEFAULT_DEADMAN_MS = 500


class ProtocolError(LinkError):
    """A payload that is not what its kind of message says."""


class Kind(IntEnum):
    """Kinds of requests; an answer has ANSWER added."""

    HELLO = 0x01
    STATUS = 0x02
    HEARTBEAT = 0x03
    ABORT = 0x04
    OUTPUTS = 0x05
    GATE = 0x06
    LIMITS = 0x07
    WINDOW = 0x08
    SET_RANGE = 0x09
    GET_RANGE = 0x0A
    MEASURE = 0x10
    READ_CELLS = 0x11
    WRITE = 0x12
    PULSE = 0x13


class Status(IntEnum):
    """What an answer's status says; the payload of an error is a text in ASCII."""

    OK = 0
    BAD_REQUEST = 1
    UNKNOWN_KIND = 2
    NO_SESSION = 3
    STALE = 4
    BEYOND_LIMIT = 5
    OUTPUTS_OFF = 6
    GATE_FIRST = 7
    TOO_LONG = 8
    WRONG_VERSION = 9
    DEADMAN = 10
    HARDWARE = 11


class Outputs(IntFlag):
    """What a board switches on and off; pulses need both."""

    NONE = 0
    ROW_DRIVERS = 1
    WORD_LINES = 2
    ALL = 3


OUTPUT_NAMES = {Outputs.ROW_DRIVERS: "row drivers", Outputs.WORD_LINES: "word lines"}

VERIFIED = 1
"""Flag of a WRITE and in Identity.flags: each pulse is followed by a verify read."""


@dataclass(frozen=True, slots=True)
class Hello:
    """Opens a session: the version spoken, and the dead-man time wished for."""

    version: int
    deadman_ms: int

    def encode(self) -> bytes:
        """Four bytes."""
        return struct.pack("<HH", self.version, self.deadman_ms)

    @classmethod
    def decode(cls, payload: bytes) -> Hello:
        """Raises ProtocolError."""
        return cls(*unpack("<HH", payload))


@dataclass(frozen=True, slots=True)
class BoardLimits:
    """Hard limits that the board holds. charge_fc: of one pulse (column current limit times width); rate: of a cell."""

    drive_uv: int
    column_na: int
    pulse_mv: int
    pulse_ns: int
    charge_fc: int
    pulse_rate_hz: int
    gate_mv: int

    def encode(self) -> bytes:
        """Seven u32."""
        return _LIMITS.pack(*astuple(self))

    @classmethod
    def decode(cls, payload: bytes) -> BoardLimits:
        """Raises ProtocolError."""
        return cls(*unpack(_LIMITS.format, payload))

    def tightened(self, other: BoardLimits) -> BoardLimits:
        """The lesser of each."""
        return BoardLimits(*map(min, astuple(self), astuple(other)))


_LIMITS = struct.Struct("<7I")


@dataclass(frozen=True, slots=True)
class Identity:
    """A board's answer to HELLO: what it is, which chip it carries, what it can do, and the limits in force.

    serials: at most 16 ASCII characters; dac_full_uv: output of the highest DAC code; ranges_na: full scales of the
    column ADCs in rising order; verify_full_ps: full scale of verify reads; max_request_ms: no request may take longer.
    """

    version: int
    board_serial: str
    chip_serial: str
    arrays: int
    rows: int
    columns: int
    dac_bits: int
    adc_bits: int
    flags: int
    max_pulses: int
    low_ps: int
    high_ps: int
    dac_full_uv: int
    sample_ns: int
    pulse_ns: int
    verify_ns: int
    deadman_ms: int
    max_request_ms: int
    max_payload: int
    limits: BoardLimits
    ranges_na: tuple[int, ...]

    def encode(self) -> bytes:
        """The fixed fields, the limits, then the number of ranges and each of them."""
        values = [getattr(self, field.name) for field in fields(self)[:19]]
        values[1:3] = [text.encode("ascii") for text in values[1:3]]
        ranges = struct.pack(f"<H{len(self.ranges_na)}I", len(self.ranges_na), *self.ranges_na)
        return _IDENTITY.pack(*values) + self.limits.encode() + ranges

    @classmethod
    def decode(cls, payload: bytes) -> Identity:
        """Raises ProtocolError."""
        fixed, rest = payload[: _IDENTITY.size], payload[_IDENTITY.size :]
        version, board, chip, *values = unpack(_IDENTITY.format, fixed)
        limits, ranges = BoardLimits.decode(rest[: _LIMITS.size]), rest[_LIMITS.size :]
        (count,) = unpack("<H", ranges[:2])
        found = unpack(f"<{count}I", ranges[2:])
        try:
            serials = [name.rstrip(b"\0").decode("ascii") for name in (board, chip)]
        except UnicodeDecodeError:
            raise ProtocolError("the board's identity holds a serial number that is not ASCII") from None
        if not found or list(found) != sorted(set(found)) or found[0] == 0:
            raise ProtocolError("the board's identity holds ranges that do not rise")
        made: list[Any] = [version, *serials, *values, limits, found]
        return cls(*made)


_IDENTITY = struct.Struct("<H16s16sHHHBBHHIIIIIIHHH")


@dataclass(frozen=True, slots=True)
class State:
    """A board's answer to STATUS. deadman: its timer has switched outputs off, and no OUTPUTS has come since."""

    outputs: Outputs
    deadman: bool
    gate_mv: int
    deadman_ms: int
    broken_frames: int
    requests: int

    def encode(self) -> bytes:
        """14 bytes."""
        return struct.pack("<BBHHII", *astuple(self))

    @classmethod
    def decode(cls, payload: bytes) -> State:
        """Raises ProtocolError."""
        outputs, deadman, *rest = unpack("<BBHHII", payload)
        return cls(outputs_of(outputs), bool(deadman), *rest)


@dataclass(frozen=True, slots=True)
class Window:
    """The rows and pairs of an array that a unit uses; all others keep their word lines low and do not conduct."""

    array: int
    rows: int
    pairs: int

    def encode(self) -> bytes:
        """Six bytes."""
        return struct.pack("<HHH", *astuple(self))

    @classmethod
    def decode(cls, payload: bytes) -> Window:
        """Raises ProtocolError."""
        return cls(*unpack("<HHH", payload))


@dataclass(frozen=True, slots=True)
class Range:
    """Full scale of an array's column ADCs."""

    array: int
    full_scale_na: int

    def encode(self) -> bytes:
        """Six bytes."""
        return struct.pack("<HI", *astuple(self))

    @classmethod
    def decode(cls, payload: bytes) -> Range:
        """Raises ProtocolError."""
        return cls(*unpack("<HI", payload))


@dataclass(frozen=True, slots=True)
class Pulse:
    """Raw pulses to one cell of a window: SET where the amplitude is positive, RESET where it is negative."""

    array: int
    row: int
    column: int
    amplitude_mv: int
    width_ns: int
    count: int
    period_us: int

    def encode(self) -> bytes:
        """18 bytes."""
        return struct.pack("<HHHhIHI", *astuple(self))

    @classmethod
    def decode(cls, payload: bytes) -> Pulse:
        """Raises ProtocolError."""
        return cls(*unpack("<HHHhIHI", payload))


def outputs_of(mask: int) -> Outputs:
    """Raises ProtocolError for bits that mean nothing."""
    if mask & ~int(Outputs.ALL):
        raise ProtocolError(f"an output mask of {mask:#x} names outputs that do not exist")
    return Outputs(mask)


def encode_u8(value: int) -> bytes:
    """Payload of OUTPUTS, HEARTBEAT and ABORT."""
    return struct.pack("<B", value)


def decode_u8(payload: bytes) -> int:
    """Raises ProtocolError."""
    return int(unpack("<B", payload)[0])


def encode_u16(value: int) -> bytes:
    """Payload of GATE and GET_RANGE, and of the answer to PULSE."""
    return struct.pack("<H", value)


def decode_u16(payload: bytes) -> int:
    """Raises ProtocolError."""
    return int(unpack("<H", payload)[0])


def unpack(layout: str, payload: bytes) -> tuple[Any, ...]:
    """`struct.unpack`, with ProtocolError for a payload of another length."""
    try:
        return struct.unpack(layout, payload)
    except struct.error:
        wanted = struct.calcsize(layout)
        raise ProtocolError(f"a payload of {len(payload)} bytes where {wanted} belong") from None
