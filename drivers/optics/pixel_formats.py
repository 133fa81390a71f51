"""From a buffer as cameras send it to right-justified counts. Pure arithmetic; names are GenICam's (PFNC)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from drivers.optics.camera import Pixels
from pib_lab.errors import DeviceError

_WHOLE = {"Mono8": 8, "Mono10": 10, "Mono12": 12, "Mono14": 14, "Mono16": 16}
_PACKED = {"Mono10p": 10, "Mono12p": 12, "Mono12Packed": 12}

FORMATS = {**_WHOLE, **_PACKED}
"""Bits of a count in each format that can be read."""


def decode(
    data: bytes, pixel_format: str, rows: int, columns: int, padding: int = 0, bits: int | None = None
) -> Pixels:
    """Counts (rows, columns) of a buffer whose lines end with `padding` bytes.

    bits: those that matter where a camera sends fewer than the format holds, left-justified (12 of Mono16: count times
    16). Raises DeviceError for a format that is none of FORMATS, for a buffer that is too short, and for low bits that
    are not zero.
    """
    if pixel_format not in FORMATS:
        raise DeviceError(f"pixel format {pixel_format} cannot be read; choose one of {', '.join(FORMATS)}")
    raw = np.frombuffer(data, np.uint8)
    if pixel_format in _WHOLE:
        width = 1 if pixel_format == "Mono8" else 2
        lines = _lines(raw, rows, columns * width, padding)
        counts = lines.astype(np.uint16) if width == 1 else np.ascontiguousarray(lines).view("<u2").astype(np.uint16)
    else:
        counts = _unpack(raw, pixel_format, rows, columns, padding)
    return justify(counts, pixel_format, bits or FORMATS[pixel_format])


def justify(counts: Pixels, pixel_format: str, bits: int) -> Pixels:
    """Counts of `bits` bits out of left-justified ones. Raises DeviceError for low bits that are not zero."""
    shift = FORMATS[pixel_format] - bits
    if shift < 0 or (counts & ((1 << shift) - 1)).any():
        raise DeviceError(f"counts in {pixel_format} are not {bits} left-justified bits; mend significant_bits")
    return np.asarray(counts >> shift, np.uint16)


def _lines(raw: npt.NDArray[np.uint8], rows: int, used: int, padding: int) -> npt.NDArray[np.uint8]:
    """The bytes used (rows, used) of lines with padding."""
    if raw.size < rows * (used + padding) - padding:
        raise DeviceError(f"a buffer of {raw.size} bytes is too short for {rows} lines of {used} bytes")
    if padding == 0:
        return raw[: rows * used].reshape(rows, used)
    whole = np.zeros(rows * (used + padding), np.uint8)
    whole[: min(raw.size, whole.size)] = raw[: whole.size]
    return whole.reshape(rows, used + padding)[:, :used]


def _unpack(raw: npt.NDArray[np.uint8], name: str, rows: int, columns: int, padding: int) -> Pixels:
    """Lines without padding may run on in the middle of a group of pixels: the buffer is one stream of bits then."""
    bits = _PACKED[name]
    if padding:
        raise DeviceError(
            f"{name} with padded lines cannot be read; choose a width that needs none, or an unpacked format"
        )
    count = rows * columns
    group, size = (4, 5) if bits == 10 else (2, 3)  # pixels, and the bytes that hold them
    groups = -(-count // group)
    if raw.size < -(-count * bits // 8):
        raise DeviceError(f"a buffer of {raw.size} bytes is too short for {count} pixels of {name}")
    whole = np.zeros(groups * size, np.uint16)
    whole[: min(raw.size, whole.size)] = raw[: whole.size]
    b = whole.reshape(groups, size)
    if name == "Mono12Packed":  # GigE Vision's: high bytes outside, both low nibbles in the middle
        parts = [b[:, 0] << 4 | b[:, 1] & 0xF, b[:, 2] << 4 | b[:, 1] >> 4]
    elif name == "Mono12p":
        parts = [b[:, 0] | (b[:, 1] & 0xF) << 8, b[:, 1] >> 4 | b[:, 2] << 4]
    else:
        parts = [(b[:, k] >> 2 * k) | (b[:, k + 1] & (1 << 2 * k + 2) - 1) << 8 - 2 * k for k in range(4)]
    return np.asarray(np.stack(parts, axis=1).reshape(-1)[:count].reshape(rows, columns), np.uint16)
