"""From a drive to phases on the panel's grid of macro pixels. Pure arithmetic."""

from __future__ import annotations

import math
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt
import scipy.linalg

from pib_lab.errors import ConfigurationError
from pib_lab.quantities import Array

EncoderKind = Literal["macro-pixels", "hadamard", "random"]
Grid = tuple[int, int]


class Encoder(Protocol):
    """Puts drives (batch, n_in), in rad, on a grid of macro pixels."""

    def phases(self, drive: Array) -> Array:
        """Phases (batch, rows, columns) in rad, before the mask is added."""


def make_encoder(kind: EncoderKind, inputs: int, grid: Grid, seed: int) -> Encoder:
    """The encoder that a protocol names. Raises ConfigurationError for more inputs than the grid can show."""
    if kind == "macro-pixels":
        return MacroPixels(inputs, grid)
    return Projection(kind, inputs, grid, seed)


class MacroPixels:
    """Each input fills a patch of the grid: phase = its drive. An n x n drive stays an image.

    A square number of inputs is drawn as an image over the whole grid, nearest neighbour; any other number as equal
    runs along the rows. Macro pixels left over carry 0.
    """

    def __init__(self, inputs: int, grid: Grid) -> None:
        cells = math.prod(grid)
        if inputs > cells:
            raise ConfigurationError(
                f"{inputs} inputs do not fit a grid of {grid[0]} x {grid[1]} macro pixels; choose a finer grid or the "
                "encoder hadamard or random"
            )
        self._grid, self.place = grid, _places(inputs, grid)

    def phases(self, drive: Array) -> Array:
        """Phases (batch, rows, columns) in rad."""
        shown = np.where(self.place >= 0, drive[:, np.maximum(self.place, 0)], np.float32(0.0))
        return np.asarray(shown.reshape(len(drive), *self._grid), np.float32)


def _places(inputs: int, grid: Grid) -> npt.NDArray[np.intp]:
    """For each macro pixel, in the order of rows, the input it shows; -1: none."""
    rows, columns = grid
    side = math.isqrt(inputs)
    if side * side == inputs and side <= min(grid):
        down, across = (np.arange(size) * side // size for size in grid)
        return np.asarray((down[:, None] * side + across[None, :]).ravel(), np.intp)
    run = rows * columns // inputs
    place = np.arange(rows * columns) // run
    return np.asarray(np.where(place < inputs, place, -1), np.intp)


class Projection:
    """Every input reaches every macro pixel: phases = drive @ P, entries +-1 / sqrt(n_in).

    hadamard: n_in rows of a Sylvester matrix, drawn by the seed, cut to the grid; random: independent signs.
    """

    def __init__(self, kind: EncoderKind, inputs: int, grid: Grid, seed: int) -> None:
        self._grid = grid
        cells, rng = math.prod(grid), np.random.Generator(np.random.PCG64(seed))
        if kind == "hadamard":
            order = 1 << max(cells - 1, inputs - 1, 1).bit_length()
            signs = scipy.linalg.hadamard(order)[rng.permutation(order)[:inputs], :cells]
        else:
            signs = rng.choice((-1.0, 1.0), size=(inputs, cells))
        self.matrix: Array = np.asarray(signs / math.sqrt(inputs), np.float32)

    def phases(self, drive: Array) -> Array:
        """Phases (batch, rows, columns) in rad."""
        return np.asarray((drive @ self.matrix).reshape(len(drive), *self._grid), np.float32)
