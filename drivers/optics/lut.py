"""The look-up table of a phase panel: from gray level to phase, and back to the level that comes nearest."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from drivers.optics.slm import Gray
from pib_lab.errors import ConfigurationError, LimitError
from pib_lab.quantities import Array64

TURN = 2.0 * math.pi
_STEPS = 16
"""Entries of the inverse table for each gray level: they place the boundary of two levels to a 32nd of an even step."""


class PhaseLut:
    """phases_rad (levels,): the phase that each gray level makes, in any order, of any range.

    Raises ConfigurationError for a table that is not one finite number for each of two or more levels.
    """

    def __init__(self, phases_rad: npt.ArrayLike) -> None:
        self.phases_rad: Array64 = np.asarray(phases_rad, np.float64)
        if self.phases_rad.ndim != 1 or self.phases_rad.size < 2 or not np.isfinite(self.phases_rad).all():
            raise ConfigurationError("phase table: must hold one finite phase in rad for each of two or more levels")
        cells = _STEPS * self.phases_rad.size
        middles: Array64 = (np.arange(cells, dtype=np.float64) + 0.5) * (TURN / cells)
        self._inverse = nearest_levels(middles, self.phases_rad)

    @classmethod
    def linear(cls, levels: int) -> PhaseLut:
        """Levels evenly over one turn, the last a step below 2 pi."""
        return cls(np.arange(levels) * (TURN / levels))

    @property
    def levels(self) -> int:
        """Number of gray levels."""
        return int(self.phases_rad.size)

    def to_phase(self, gray: Gray) -> Array64:
        """Phases in rad that gray levels make, same shape."""
        return np.asarray(self.phases_rad[gray])

    def to_gray(self, phase_rad: npt.ArrayLike) -> Gray:
        """The level whose phase comes nearest on the circle, same shape; phases are taken modulo 2 pi.

        Raises LimitError for a phase that is not a finite number.
        """
        turns = np.asarray(phase_rad, np.float64) * (1.0 / TURN)
        if not np.isfinite(turns).all():
            raise LimitError("phase pattern: holds values that are not finite numbers; nothing was shown")
        cells = self._inverse.size
        place = np.floor((turns - np.floor(turns)) * cells).astype(np.int64)
        return np.asarray(self._inverse[np.minimum(place, cells - 1)])

    def worst_error_rad(self) -> float:
        """Half the widest gap between neighbouring phases on the circle: what rounding to levels can cost."""
        on_circle = np.unique(np.mod(self.phases_rad, TURN))
        gaps = np.diff(np.append(on_circle, on_circle[0] + TURN))
        return 0.5 * float(gaps.max())


def nearest_levels(phase_rad: Array64, phases_rad: Array64) -> Gray:
    """For each phase (n,) the first level of `phases_rad` (levels,) at the least distance on the circle."""
    on_circle, first = np.unique(np.mod(phases_rad, TURN), return_index=True)
    wanted = np.mod(phase_rad, TURN)
    above = np.searchsorted(on_circle, wanted) % on_circle.size
    below = (above - 1) % on_circle.size
    to_above, to_below = (_circular(on_circle[place] - wanted) for place in (above, below))
    return np.asarray(first[np.where(to_above < to_below, above, below)], np.uint16)


def _circular(difference_rad: Array64) -> Array64:
    return np.abs(np.mod(difference_rad + math.pi, TURN) - math.pi)
