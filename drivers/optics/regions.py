"""From camera frames to responses: the mean counts of a grid of boxes. Pure arithmetic."""

from __future__ import annotations

import math

import numpy as np

from drivers.optics.camera import Pixels
from pib_lab.errors import ConfigurationError
from pib_lab.quantities import Array, Counts, Mask


class Regions:
    """`count` boxes of size x size pixels, spread evenly over frames of `shape`.

    bad: pixels (rows, columns) left out of every mean, from a calibration of the camera. Raises ConfigurationError when
    the boxes do not fit without overlap, or when a box has no sound pixel.
    """

    def __init__(self, count: int, size: int, shape: tuple[int, int], bad: Mask | None = None) -> None:
        self.count, self.size, self.shape = count, size, shape
        self.corners = _corners(count, size, shape)
        self.boxes: Counts = np.pad(self.corners, ((0, 0), (0, 2)), constant_values=size).astype(np.int32)
        """Top, left, height and width of each."""
        sound = np.ones(shape, np.bool_) if bad is None else ~bad
        if sound.shape != shape:
            raise ConfigurationError(f"regions: a map of bad pixels {sound.shape} does not fit frames of {shape}")
        offsets = np.arange(size)
        rows = self.corners[:, 0, None, None] + offsets[:, None]
        columns = self.corners[:, 1, None, None] + offsets[None, :]
        self._index = np.asarray((rows * shape[1] + columns).reshape(count, -1), np.intp)
        self._sound = sound.reshape(-1)[self._index]
        self._weights: Array = (self._sound / np.maximum(self._sound.sum(1, keepdims=True), 1)).astype(np.float32)
        if not self._sound.any(axis=1).all():
            dead = int(np.argmin(self._sound.any(axis=1)))
            raise ConfigurationError(f"regions: region {dead} has no sound pixel; move the regions or make them larger")

    def means(self, pixels: Pixels | Array) -> Array:
        """Mean counts (batch, count) of frames (batch, rows, columns)."""
        boxes = pixels.reshape(len(pixels), -1)[:, self._index].astype(np.float32)
        return np.asarray(np.einsum("brp,rp->br", boxes, self._weights), np.float32)

    def any_true(self, mask: Mask) -> Mask:
        """(batch, count): True where a sound pixel of the region is True in `mask` (batch, rows, columns)."""
        boxes = mask.reshape(len(mask), -1)[:, self._index]
        return np.asarray((boxes & self._sound).any(axis=2))


def _corners(count: int, size: int, shape: tuple[int, int]) -> np.ndarray[tuple[int, int], np.dtype[np.intp]]:
    """Top left corners (count, 2): the arrangement whose boxes lie farthest apart."""
    rows, columns = shape
    best, pitch = 0, 0
    for down in range(1, count + 1):
        across = math.ceil(count / down)
        room = min(rows // down, columns // across)
        if room > pitch:
            best, pitch = down, room
    if count < 1 or size < 1 or pitch < size:
        raise ConfigurationError(
            f"regions: {count} boxes of {size} x {size} pixels do not fit frames of {rows} x {columns}; choose fewer "
            "or smaller ones, or a larger region of interest"
        )
    across = math.ceil(count / best)
    down_px, across_px = rows / best, columns / across
    numbers = np.arange(count)
    top = ((numbers // across) + 0.5) * down_px - 0.5 * size
    left = ((numbers % across) + 0.5) * across_px - 0.5 * size
    return np.asarray(np.stack([np.floor(top), np.floor(left)], axis=1), np.intp)
