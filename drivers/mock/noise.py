"""Noise: fast Gaussian numbers, and random telegraph noise from traps that switch each cell between two states."""

from __future__ import annotations

import copy
import functools
import math
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from drivers.chip.profiles import MemristorProfile
from pib_lab.quantities import Array

CLASSES = 5
"""Switching rates are log-spaced over this many classes; their Lorentzians add up to about 1/f between the extremes."""


@functools.cache
def _quantiles() -> Array:
    """The normal distribution as 2**16 equally likely values, scaled to unit variance; they reach 4.3 deviations."""
    half = [NormalDist().inv_cdf((k + 0.5) / 2**16) for k in range(2**15)]
    both = np.array(half + [-value for value in half])
    return np.asarray(both / both.std(), np.float32)


def gaussian(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Standard normal numbers from 16 random bits each: several times faster than numpy's own, and as good for noise
    that a converter of few bits will round."""
    codes = np.frombuffer(rng.bytes(2 * math.prod(shape)), np.uint16)
    return _quantiles().take(codes).reshape(shape)


class Telegraph:
    """Two-state traps, one a cell: relative deviation +-a_i, log-normal a_i with rms sqrt(fraction) * read_noise.

    Each trap switches at its class's rate either way, so that over t it is found flipped with
    p = (1 - exp(-2 rate t)) / 2.
    """

    def __init__(self, cells: int, profile: MemristorProfile, rng: np.random.Generator) -> None:
        self.active = profile.read_noise > 0.0 and profile.telegraph_fraction > 0.0
        self.deviation: Array = np.zeros(cells, np.float32)
        self._at_s = 0.0
        if not self.active:
            return
        rms = profile.read_noise * math.sqrt(profile.telegraph_fraction)
        amplitude = np.exp(profile.telegraph_spread * rng.standard_normal(cells, np.float32))
        amplitude *= rms * math.exp(-(profile.telegraph_spread**2))  # E[exp(2 s n)] = exp(2 s^2)
        self.deviation = np.where(rng.random(cells) < 0.5, -amplitude, amplitude).astype(np.float32)
        self._classes = np.array_split(rng.permutation(cells), CLASSES)
        self._rates_hz = np.geomspace(profile.telegraph_slow_hz, profile.telegraph_fast_hz, CLASSES)

    def advance(self, now_s: float, rng: np.random.Generator) -> None:
        """Let traps switch until `now_s`.

        A Poisson number of cells is picked with replacement: with mean -N ln(1 - p) each cell is picked at least once
        with probability p exactly, and no random number is spent on cells that stay.
        """
        elapsed_s = now_s - self._at_s
        self._at_s = now_s
        if not self.active or elapsed_s <= 0.0:
            return
        for members, rate_hz in zip(self._classes, self._rates_hz, strict=True):
            if not members.size:
                continue
            stay = 0.5 + 0.5 * math.exp(-2.0 * float(rate_hz) * elapsed_s)
            picked = members[rng.integers(members.size, size=rng.poisson(-members.size * math.log(stay)))]
            self.deviation[picked] = -self.deviation[picked]

    def part(self, index: npt.NDArray[np.int64]) -> Telegraph:
        """The traps of some cells, with their own state from now on."""
        made = copy.copy(self)
        made.deviation = self.deviation[index]
        if self.active:
            place = np.full(self.deviation.size, -1)
            place[index] = np.arange(index.size)
            made._classes = [place[members][place[members] >= 0] for members in self._classes]
        return made

    def snapshot(self) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]] | float]:
        """The state of all traps and its time."""
        return {"telegraph": self.deviation.copy(), "telegraph_at_s": self._at_s}

    def restore(self, deviation: Array, at_s: float) -> None:
        """Go back to a snapshot."""
        self.deviation = deviation.astype(np.float32).copy()
        self._at_s = at_s
