"""The analog front end: DAC on the rows, ADC with programmable full scale on the sensed columns."""

from __future__ import annotations

import math

import numpy as np

from pib_lab.errors import LimitError
from pib_lab.quantities import Array, Mask

_SERIES = (1.0, 2.0, 5.0)


def range_series(low: float, high: float) -> tuple[float, ...]:
    """Full scales in the 1-2-5 series from `low` to `high`, both included (rounded outwards to the series)."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    series = [float(f"{step:g}e{decade}") for decade in range(first - 1, last + 1) for step in _SERIES]
    below = [value for value in series if value <= low * (1.0 + 1e-9)]
    inside = [value for value in series if below[-1] <= value < high * (1.0 - 1e-9)]
    return (*inside, next(value for value in series if value >= high * (1.0 - 1e-9)))


def pick_range(ranges: tuple[float, ...], value: float) -> float:
    """The smallest range not below `value`, or the largest there is. Raises LimitError unless `value` is positive."""
    if not value > 0.0:
        raise LimitError(f"a full scale of {value:g} is not positive; the range was left as it is")
    return next((item for item in ranges if item >= value * (1.0 - 1e-6)), ranges[-1])


def quantise_drive(drive: Array, full_scale: float, bits: int) -> Array:
    """What a unipolar DAC of `bits` over 0..full_scale puts out, always as a new array; 0 bits: `drive` itself."""
    if bits == 0:
        return drive.copy()
    lsb = np.float32(full_scale / (2**bits - 1))
    codes = drive * (np.float32(1.0) / lsb)
    np.rint(codes, out=codes)
    codes *= lsb
    return codes


def digitise(current: Array, full_scale: float, bits: int) -> Mask:
    """Quantise `current` in place as a bipolar ADC over +-full_scale does, and clip; True where it clipped.

    2**bits - 1 codes, zero among them; 0 bits: clipped at full scale but not quantised.
    """
    saturated = np.asarray(np.abs(current) > np.float32(full_scale))
    if bits:
        lsb = np.float32(full_scale / (2 ** (bits - 1) - 1))
        current *= np.float32(1.0) / lsb
        np.rint(current, out=current)
        current *= lsb
    if saturated.any():
        np.clip(current, -full_scale, full_scale, out=current)
    return saturated
