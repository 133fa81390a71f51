"""The gradient of a black box's own loss from two measurements: simultaneous perturbation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pib_lab.quantities import Array


@dataclass(frozen=True)
class Perturbed:
    """gradient: dL/d(normalised parameters); loss: mean of both sides; held: what the unit holds now."""

    gradient: Array
    loss: float
    held: Array


def perturb(
    centre: Array,
    size: float,
    rng: np.random.Generator,
    program: Callable[[Array], Array],
    measure_loss: Callable[[], float],
) -> Perturbed:
    """SPSA (Spall, 1992): gradient = (L+ - L-) d / mean(d^2), with d the difference of the parameters *applied*.

    centre: normalised parameters; both sides are centre +- size s, s random signs, within 0..1. `program` returns what
    was applied, which need not be what was asked for. The estimate is unbiased over draws of s.
    """
    signs: Array = rng.choice(np.array([-1.0, 1.0], np.float32), size=centre.shape)
    losses, applied = [], []
    for direction in (size, -size):
        applied.append(program(np.clip(centre + np.float32(direction) * signs, 0.0, 1.0)))
        losses.append(measure_loss())
    shift = applied[0] - applied[1]
    gradient = (losses[0] - losses[1]) * shift / np.float32(max(float(np.mean(shift * shift)), 1e-12))
    return Perturbed(gradient.astype(np.float32), 0.5 * (losses[0] + losses[1]), applied[1])
