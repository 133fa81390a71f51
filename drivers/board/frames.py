"""Frames of the crossbar board's link: COBS, a zero byte as delimiter, CRC-16 and CRC-32. docs/crossbar-board.md.

frame = 00 | COBS(header | payload | CRC-32 of the payload | CRC-16 of all before) | 00
"""

from __future__ import annotations

import binascii
import struct
import zlib
from dataclasses import dataclass

from cobs import cobs

ANSWER = 0x80
"""Added to the kind of a request in its answer."""
MAX_PAYLOAD = 60_000
"""No side sends more in one frame; a board may announce less."""

_HEADER = struct.Struct("<BBHHH")  # kind, status, session, sequence number, length of the payload
_TRAILER = struct.Struct("<IH")
_OVERHEAD = _HEADER.size + _TRAILER.size
_MAX_ENCODED = MAX_PAYLOAD + _OVERHEAD + (MAX_PAYLOAD + _OVERHEAD) // 254 + 2


@dataclass(frozen=True, slots=True)
class Frame:
    """One message. status: 0 in requests; in answers 0 or an error code. session and sequence: 0 to 65535."""

    kind: int
    session: int
    sequence: int
    payload: bytes = b""
    status: int = 0


def crc16(data: bytes) -> int:
    """CRC-16/IBM-3740: polynomial 0x1021, initial value 0xFFFF, not reflected, no final XOR; "123456789": 0x29B1."""
    return binascii.crc_hqx(data, 0xFFFF)


def encode(frame: Frame) -> bytes:
    """The bytes of a frame on the wire, with a delimiter at either end. Raises ValueError beyond MAX_PAYLOAD."""
    if len(frame.payload) > MAX_PAYLOAD:
        raise ValueError(f"a payload of {len(frame.payload)} bytes does not fit into a frame of {MAX_PAYLOAD}")
    header = _HEADER.pack(frame.kind, frame.status, frame.session, frame.sequence, len(frame.payload))
    body = header + frame.payload + struct.pack("<I", zlib.crc32(frame.payload))
    return b"\0" + bytes(cobs.encode(body + struct.pack("<H", crc16(body)))) + b"\0"


def decode(encoded: bytes) -> Frame | None:
    """The frame between two delimiters, or None where anything about it is wrong."""
    try:
        body = bytes(cobs.decode(encoded))
    except cobs.DecodeError:
        return None
    if len(body) < _OVERHEAD:
        return None
    kind, status, session, sequence, length = _HEADER.unpack_from(body)
    if len(body) != length + _OVERHEAD:
        return None
    payload = body[_HEADER.size : _HEADER.size + length]
    check, crc = _TRAILER.unpack_from(body, _HEADER.size + length)
    if crc16(body[:-2]) != crc or zlib.crc32(payload) != check:
        return None
    return Frame(kind, session, sequence, payload, status)


class FrameDecoder:
    """Cuts a stream of bytes into frames. What is broken is dropped and counted, never repaired."""

    def __init__(self) -> None:
        self.broken = 0
        self._buffer = bytearray()
        self._skipping = False

    def feed(self, data: bytes) -> list[Frame]:
        """The whole frames that end in `data`. Memory is bounded: what is too long for a frame is thrown away."""
        frames = []
        self._buffer += data
        *pieces, rest = self._buffer.split(b"\0")
        self._buffer = rest
        for piece in pieces:
            if self._skipping:  # the end of what was too long
                self._skipping = False
                self.broken += 1
                continue
            if not piece:
                continue
            frame = decode(bytes(piece)) if len(piece) <= _MAX_ENCODED else None
            if frame is None:
                self.broken += 1
            else:
                frames.append(frame)
        if len(self._buffer) > _MAX_ENCODED:
            self._buffer.clear()
            self._skipping = True
        return frames

    def reset(self) -> None:
        """Forget what has been received of an unfinished frame."""
        self._buffer.clear()
        self._skipping = False
