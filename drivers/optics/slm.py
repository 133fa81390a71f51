"""A spatial light modulator that sets the phase of light pixel by pixel: the interface of its drivers."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from pib_lab.errors import LimitError

Gray = npt.NDArray[np.uint16]
"""Gray levels 0 .. levels - 1 as sent to a panel, (rows, columns), or (batch, rows, columns)."""


@runtime_checkable
class SpatialLightModulator(Protocol):
    """A phase panel. It says when a pattern was handed over, never that it is seen: that is proved by light."""

    @property
    def name(self) -> str:
        """What the panel is called in messages."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of one pattern."""

    @property
    def levels(self) -> int:
        """Gray levels that the panel tells apart: 256 for 8 bit."""

    @property
    def settle_s(self) -> float:
        """Worst time from handing a pattern over until every phase is within one level of where it goes."""

    def open(self) -> None:
        """Connect, and show the dump pattern. Raises DeviceError when the panel cannot be had."""

    def show(self, gray: Gray) -> float:
        """Hand over a pattern of `shape`; returns the host's time in seconds just before it was handed over.

        Raises LimitError for a wrong shape or a level that the panel does not have, DeviceError when not open.
        """

    def park(self) -> float:
        """Show the dump pattern, which spreads light away from the zero order; a flat panel is the brightest state.

        Returns and raises as `show` does.
        """

    def close(self) -> None:
        """Let go of the panel. Idempotent."""


def check_gray(gray: Gray, shape: tuple[int, int], levels: int, name: str) -> None:
    """Raise LimitError unless the last two axes of `gray` have that shape and all levels are below `levels`."""
    if gray.shape[-2:] != shape or gray.ndim not in (2, 3):
        raise LimitError(f"{name}: a pattern of shape {gray.shape} does not fit the panel's {shape}; nothing was shown")
    if not np.issubdtype(gray.dtype, np.integer):
        raise LimitError(f"{name}: a pattern holds whole gray levels, not {gray.dtype}; round it; nothing was shown")
    low, high = (int(gray.min()), int(gray.max())) if gray.size else (0, 0)
    if low < 0 or high >= levels:
        raise LimitError(f"{name}: gray levels {low} to {high} exceed 0 to {levels - 1}; nothing was shown")


def dump_pattern(shape: tuple[int, int], gray_low: int, gray_high: int) -> Gray:
    """Stripes four rows wide of two levels, half a wave apart: light leaves the axis in two orders.

    Four wide, since neighbours that blur into each other would flatten finer ones: with 15 % crosstalk 2 % is left.
    """
    stripe = (np.arange(shape[0]) // 4) % 2
    rows = np.where(stripe == 1, gray_high, gray_low).astype(np.uint16)
    return np.repeat(rows[:, None], shape[1], axis=1)
