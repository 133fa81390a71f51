"""Curves that grow with a run: points kept in arrays, and what is drawn of them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float64]

_FIRST_ROOM = 1024


class Curve:
    """Points (step, value), steps ascending. Values that are not numbers are left out: they were not computed."""

    def __init__(self) -> None:
        self._steps = np.empty(_FIRST_ROOM)
        self._values = np.empty(_FIRST_ROOM)
        self._room = _FIRST_ROOM
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def steps(self) -> Numbers:
        """Steps, (points,); a view that the next `append` may leave behind."""
        return self._steps[: self._count]

    @property
    def values(self) -> Numbers:
        """Values, (points,); a view that the next `append` may leave behind."""
        return self._values[: self._count]

    @property
    def last(self) -> float:
        """The newest value; NaN when there is none."""
        return float(self._values[self._count - 1]) if self._count else math.nan

    def append(self, step: float, value: float) -> None:
        """Add a point."""
        if value != value:
            return
        if self._count == self._room:
            self._grow(self._room + 1)
        self._steps[self._count] = step
        self._values[self._count] = value
        self._count += 1

    def extend(self, steps: npt.NDArray[Any], values: npt.NDArray[Any]) -> None:
        """Add many points; both arrays are (points,)."""
        there = ~np.isnan(values)
        end = self._count + int(np.count_nonzero(there))
        if end > self._room:
            self._grow(end)
        self._steps[self._count : end] = steps[there]
        self._values[self._count : end] = values[there]
        self._count = end

    def cut(self, step: float) -> None:
        """Forget the points after `step`: a resumed run does those steps again."""
        self._count = int(np.searchsorted(self.steps, step, side="right"))

    def value_at(self, step: float) -> float:
        """The value at the last point that is not after `step`; NaN before the first."""
        place = int(np.searchsorted(self.steps, step, side="right")) - 1
        return float(self._values[place]) if place >= 0 else math.nan

    def _grow(self, need: int) -> None:
        self._room = max(need, 2 * self._room)
        for name in ("_steps", "_values"):
            grown = np.empty(self._room)
            grown[: self._count] = getattr(self, name)[: self._count]
            setattr(self, name, grown)


def smoothed(values: Numbers, window: int) -> Numbers:
    """Mean of each value and the `window - 1` before it (fewer at the beginning), (points,)."""
    if window <= 1 or len(values) < 2:
        return values
    window = min(window, len(values))
    sums = np.cumsum(values)
    counts = np.minimum(np.arange(1, len(values) + 1), window)
    sums[window:] -= sums[:-window].copy()
    return np.asarray(sums / counts, np.float64)


def thinned(steps: Numbers, values: Numbers, most: int) -> tuple[Numbers, Numbers]:
    """At most about `most` points that look the same: of each group its smallest and its largest value."""
    if len(steps) <= most:
        return steps, values
    size = math.ceil(2 * len(steps) / most)
    whole = len(steps) // size * size
    groups = values[:whole].reshape(-1, size)
    drawn = np.stack([groups.min(axis=1), groups.max(axis=1)], axis=1).ravel()
    at = steps[:whole].reshape(-1, size)
    places = np.stack([at[:, 0], at[:, size // 2]], axis=1).ravel()
    return np.concatenate([places, steps[whole:]]), np.concatenate([drawn, values[whole:]])
