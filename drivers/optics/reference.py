"""Has the medium moved? One pattern that never changes, and how alike its frames are to one that was kept."""

from __future__ import annotations

import math

import numpy as np

from drivers.optics.camera import Pixels
from drivers.optics.rig import Rig
from drivers.optics.slm import Gray
from pib_lab.quantities import Array, Array64, Mask
from pib_lab.unit import CancelToken

REFERENCE_SEED = 23
"""Of the pattern that drift is looked for with."""
MOST_PIXELS = 4096
"""Pixels compared, spread over the frame: a thousand speckles tell a correlation to 3 %."""


def reference_phases(grid: tuple[int, int]) -> Array:
    """Phases (rows, columns) of the reference pattern, drawn evenly over a turn."""
    rng = np.random.Generator(np.random.PCG64(REFERENCE_SEED))
    return np.asarray(rng.uniform(0.0, 2.0 * math.pi, grid), np.float32)


class Reference:
    """A frame that was kept, as counts (pixels,), or none yet."""

    def __init__(self) -> None:
        self.kept: Array | None = None

    def compare(self, rig: Rig, gray: Gray, renew: bool, cancel: CancelToken) -> tuple[float, int]:
        """Correlation of the intensities of a frame of `gray` (rows, columns) with the one kept, and the frames taken.

        Without one, or with `renew`, the frame is kept, and the correlation is 1. Raises what exposing raises.
        """
        seen: list[Array] = []

        def take(start: int, pixels: Pixels, clipped: Mask) -> None:
            seen.append(pixels.reshape(-1)[spread(pixels.size)].astype(np.float32))

        taken = rig.expose(lambda start, stop: gray[None], 1, take, cancel)
        if self.kept is None or renew or self.kept.shape != seen[0].shape:
            self.kept = seen[0]
            return 1.0, taken
        return correlation(self.kept, seen[0]), taken


def correlation(first: Array | Array64, second: Array | Array64) -> float:
    """Pearson's coefficient of two lists of counts; 0 where one does not vary."""
    a, b = (np.asarray(part, np.float64) - np.mean(part, dtype=np.float64) for part in (first, second))
    size = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / size if size > 0.0 else 0.0


def spread(size: int) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    """At most MOST_PIXELS indices, spread evenly over `size` pixels."""
    return np.linspace(0, size - 1, min(MOST_PIXELS, size)).round().astype(np.intp)
