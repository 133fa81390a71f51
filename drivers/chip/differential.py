"""What every crossbar of differential pairs shares: the arithmetic of pairs, whatever drives and senses them."""

from __future__ import annotations

import numpy as np

from pib_lab.faults import compensate_pairs, pair_reach, pair_targets
from pib_lab.quantities import Array, Mask
from pib_lab.unit import UnitSpec


class DifferentialPairs:
    """Mixin of units whose parameters are conductances (n_in, n_out, 2) in siemens, read as g+ minus g-.

    The unit sets `_spec`, whose parameter limits are the window. The response is drive @ (g+ - g-) as far as the chip
    is linear.
    """

    _spec: UnitSpec

    @property
    def spec(self) -> UnitSpec:
        """Shapes, units and limits."""
        return self._spec

    def pullback(self, drive: Array, d_response: Array) -> Array:
        """dL/dG+ = drive^T dL/dI and dL/dG- = -dL/dG+, shape (n_in, n_out, 2): both cells of a pair learn."""
        gradient: Array = np.asarray(drive, np.float32).T @ np.asarray(d_response, np.float32)
        return np.stack([gradient, -gradient], axis=-1)

    def initial_parameters(self, rng: np.random.Generator, scale: float) -> Array:
        """Pairs around mid-window: g+- = mid +- w span / 2 with w = clip(N(0, scale), -1, 1)."""
        window = self._spec.parameters
        n_in, n_out, _ = window.shape
        weight = np.clip(rng.standard_normal((n_in, n_out), np.float32) * np.float32(scale), -1.0, 1.0)
        middle, half = np.float32((window.low + window.high) / 2), np.float32(window.span / 2)
        pairs = np.stack([middle + weight * half, middle - weight * half], axis=-1)
        return np.asarray(np.clip(pairs, np.float32(window.low), np.float32(window.high)))

    def compensate(self, wanted: Array, held: Array, faulty: Mask) -> Array:
        """Where one cell of a pair is faulty, its partner takes over the wanted difference, within the window."""
        return compensate_pairs(wanted, held, faulty, self._spec.parameters.low, self._spec.parameters.high)

    def weights(self, parameters: Array) -> Array:
        """Differences of the pairs, in siemens."""
        return np.asarray(parameters[..., 0] - parameters[..., 1])

    def reach(self, held: Array, faulty: Mask) -> tuple[Array, Array]:
        """Differences that the healthy cells of each pair can make, within the window."""
        return pair_reach(held, faulty, self._spec.parameters.low, self._spec.parameters.high)

    def realise(self, weights: Array, held: Array, faulty: Mask) -> Array:
        """Pairs around mid-window; where one cell is faulty, its partner makes the whole difference."""
        return pair_targets(weights, held, faulty, self._spec.parameters.low, self._spec.parameters.high)
