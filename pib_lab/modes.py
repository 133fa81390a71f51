"""Patterns over a phase mask, and how far along each a shift tells the slope of a coherent response.

A pattern of ones and zeros shifted by t makes the field E = R + e^{it} A, with R the light of the rest, so that the
intensity is a sinusoid of frequency 1 in t: dz/dt = [z(+pi/2) - z(-pi/2)] / 2. A pattern of +1 and -1 over the whole
mask makes E = e^{it} A + e^{-it} B, of frequency 2: dz/dt = z(+pi/4) - z(-pi/4). Both are exact. Light that no
parameter modulates (a zero order) is part of R, but spoils the second form, as do parameters that stay as they are.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from pib_lab.blocks import blocks_of
from pib_lab.errors import ConfigurationError
from pib_lab.quantities import Array, Counts

Basis = Literal["pixel", "block", "hadamard"]


class Modes:
    """An orthogonal set of patterns over a mask.

    "pixel": single ones; "block": ones on blocks of `block` x `block`; "hadamard": the Walsh-Hadamard patterns but for
    the constant one, to which intensities are blind. size: how many; shift: of each side, in periods; slope: dz/dt in
    1/rad is slope * (z+ - z-). Raises ConfigurationError for a mask that has none of these.
    """

    def __init__(self, shape: tuple[int, ...], basis: Basis, block: int):
        self._shape, self._basis = shape, basis
        self._blocks: Counts = blocks_of(shape, block if basis == "block" else 1)
        pixels = self._blocks.size
        if basis == "hadamard" and (pixels < 2 or pixels & (pixels - 1)):
            raise ConfigurationError(
                f"rule.basis: hadamard patterns need a power of 2 of parameters, at least 2, and {shape} are {pixels}; "
                'choose basis "block" or "pixel"'
            )
        self.size = pixels - 1 if basis == "hadamard" else int(self._blocks.max()) + 1
        self.shift, self.slope = (1 / 8, 1.0) if basis == "hadamard" else (1 / 4, 0.5)

    def patterns(self, numbers: npt.ArrayLike) -> Array:
        """Patterns (n, *shape of the mask) of numbers (n,), each from 0 to size - 1."""
        wanted = np.asarray(numbers)[:, None]
        if self._basis != "hadamard":
            ones = self._blocks.ravel() == wanted
            return np.asarray(ones, np.float32).reshape(-1, *self._shape)
        parity = np.arange(self._blocks.size) & (wanted + 1)
        for bits in (16, 8, 4, 2, 1):
            parity ^= parity >> bits
        return np.asarray(1.0 - 2.0 * (parity & 1), np.float32).reshape(-1, *self._shape)


class Sweep:
    """Numbers 0 to size - 1 in random order, each once before any comes again."""

    def __init__(self, size: int):
        self._order: Counts = np.arange(size, dtype=np.int32)
        self._next = size

    def take(self, count: int, rng: np.random.Generator) -> list[int]:
        """The next `count` numbers."""
        taken = []
        for _ in range(count):
            if self._next == len(self._order):
                self._order, self._next = rng.permutation(self._order), 0
            taken.append(int(self._order[self._next]))
            self._next += 1
        return taken

    def snapshot(self) -> dict[str, np.ndarray | int]:
        """The order, and where in it."""
        return {"order": self._order.copy(), "next": self._next}

    def restore(self, state: dict[str, np.ndarray | int]) -> None:
        """Go back to a snapshot."""
        self._order, self._next = np.array(state["order"], np.int32), int(state["next"])
