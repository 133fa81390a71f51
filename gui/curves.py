"""Curves that grow with a run: points kept in arrays, and what is drawn of them."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float64]

MOST_POINTS = 131_072
"""That a curve keeps: a run of weeks must not fill the memory of the desktop. Its file has them all."""

NEWEST = 16_384
"""Points of a long curve that are kept as they came."""

_FIRST_ROOM = 1024
_FEW = 16


class Curve:
    """Points (step, value), steps ascending. Values that are not numbers are left out: they were not computed.

    Beyond MOST_POINTS, what is older than the NEWEST is kept coarser: of each group of points the smallest value and
    the largest. version: changes when points change that were there before.
    """

    def __init__(self) -> None:
        self._steps = np.empty(_FIRST_ROOM)
        self._values = np.empty(_FIRST_ROOM)
        self._room = _FIRST_ROOM
        self._count = 0
        self._coarse = 0  # points at the beginning that are extremes of groups
        self._group = 4  # points of the run in each
        self.version = 0

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
        if self._count == MOST_POINTS:
            self._coarsen()
        if self._count == self._room:
            self._grow(self._room + 1)
        self._steps[self._count] = step
        self._values[self._count] = value
        self._count += 1

    def extend(self, steps: npt.NDArray[Any], values: npt.NDArray[Any]) -> None:
        """Add many points; both arrays are (points,)."""
        there = ~np.isnan(values)
        if not there.all():
            steps, values = steps[there], values[there]
        end = self._count + len(values)
        if end > self._room:
            self._grow(end)
        self._steps[self._count : end] = steps
        self._values[self._count : end] = values
        self._count = end
        if end > MOST_POINTS:
            self._coarsen()
            self._steps, self._values = self._steps[:MOST_POINTS].copy(), self._values[:MOST_POINTS].copy()
            self._room = MOST_POINTS

    def cut(self, step: float) -> None:
        """Forget the points after `step`: a resumed run does those steps again."""
        self._count = int(np.searchsorted(self.steps, step, side="right"))
        self._coarse = min(self._coarse, self._count)
        self.version += 1

    def value_at(self, step: float) -> float:
        """The value at the last point that is not after `step`; NaN before the first."""
        place = int(np.searchsorted(self.steps, step, side="right")) - 1
        return float(self._values[place]) if place >= 0 else math.nan

    def _coarsen(self) -> None:
        """Keep at most three quarters of MOST_POINTS: extremes of groups, and the newest points as they are."""
        self._replace(self._coarse, self._count - NEWEST, self._group)
        while self._coarse > MOST_POINTS // 2:
            self._replace(0, self._coarse, 4)
            self._group *= 2
        self.version += 1

    def _replace(self, begin: int, end: int, size: int) -> None:
        """Put extremes of groups of `size` points in the place of those from `begin` to `end`, of whole groups."""
        end = begin + (end - begin) // size * size
        made = begin + 2 * (end - begin) // size
        left = self._count - end
        for kept, fresh in zip(
            (self._steps, self._values), extremes(self._steps[begin:end], self._values[begin:end], size), strict=True
        ):
            kept[begin:made] = fresh
            kept[made : made + left] = kept[end : self._count].copy()
        self._coarse, self._count = made, made + left

    def _grow(self, need: int) -> None:
        self._room = max(need, min(2 * max(need, self._room), MOST_POINTS))
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


def extremes(steps: Numbers, values: Numbers, size: int) -> tuple[Numbers, Numbers]:
    """Of each group of `size` points the smallest and the largest value, at its first step and in its middle.

    steps, values: (groups x size,); returns (2 x groups,) of both.
    """
    groups, at = values.reshape(-1, size), steps.reshape(-1, size)
    if size <= _FEW:  # column by column: numpy is slow along short rows
        low = functools.reduce(np.minimum, (groups[:, place] for place in range(size)))
        high = functools.reduce(np.maximum, (groups[:, place] for place in range(size)))
    else:
        low, high = groups.min(axis=1), groups.max(axis=1)
    drawn = np.stack([low, high], axis=1).ravel()
    return np.stack([at[:, 0], at[:, size // 2]], axis=1).ravel(), drawn


def thinned(steps: Numbers, values: Numbers, most: int) -> tuple[Numbers, Numbers]:
    """At most about `most` points that look the same: of each group its smallest and its largest value."""
    if len(steps) <= most:
        return steps, values
    size = math.ceil(2 * len(steps) / most)
    whole = len(steps) // size * size
    places, drawn = extremes(steps[:whole], values[:whole], size)
    return np.concatenate([places, steps[whole:]]), np.concatenate([drawn, values[whole:]])


class Thinned:
    """What is drawn of a curve that grows, smoothed and thinned, at the cost of its new points alone.

    most: points, about; window: of the smoothing; extreme: of each group its smallest and its largest value, else its
    last.
    """

    def __init__(self, most: int, window: int = 1, *, extreme: bool = True) -> None:
        self.most, self.window = most, window
        self._extreme = extreme
        self._curve: Curve | None = None
        self._version, self._size = 0, 1
        self._done = 0  # points of the curve, whole groups
        self._parts: tuple[list[Numbers], list[Numbers]] = ([], [])

    def of(self, curve: Curve) -> tuple[Numbers, Numbers]:
        """Steps and values to be drawn of all that the curve holds now, (points,) each; not to be written to."""
        size = self._size_for(len(curve))
        if curve is not self._curve or curve.version != self._version or size != self._size:
            self._curve, self._version, self._size = curve, curve.version, size
            self._done, self._parts = 0, ([], [])
        if size == 1:
            return curve.steps, smoothed(curve.values, self.window)
        whole = len(curve) // size * size
        if whole > self._done:
            self._add(curve, whole, size)
        rest = curve.steps[whole:], self._means(curve, whole, len(curve))
        return (np.concatenate([*self._parts[0], rest[0]]), np.concatenate([*self._parts[1], rest[1]]))

    def _size_for(self, count: int) -> int:
        """Points of a group: a power of two, so that groups stay as they are while the curve doubles."""
        groups = max(1, self.most // 2 if self._extreme else self.most)
        return 1 if count <= self.most else 1 << (math.ceil(count / groups) - 1).bit_length()

    def _add(self, curve: Curve, whole: int, size: int) -> None:
        steps, means = curve.steps[self._done : whole], self._means(curve, self._done, whole)
        fresh = extremes(steps, means, size) if self._extreme else (steps[size - 1 :: size], means[size - 1 :: size])
        for parts, points in zip(self._parts, fresh, strict=True):
            parts[:] = [np.concatenate([*parts, points])]
        self._done = whole

    def _means(self, curve: Curve, begin: int, end: int) -> Numbers:
        first = max(0, begin - self.window + 1)
        return smoothed(curve.values[first:end], self.window)[begin - first :]
