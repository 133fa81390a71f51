"""The gradient of a black box's own loss from two measurements: simultaneous perturbation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pib_lab.blocks import blocks_of
from pib_lab.quantities import Array


@dataclass(frozen=True)
class Perturbed:
    """gradient: dL/d(normalised parameters); loss: mean of all sides; held: what the unit holds now."""

    gradient: Array
    loss: float
    held: Array


def perturb(
    centre: Array,
    size: float,
    rng: np.random.Generator,
    program: Callable[[Array], Array],
    measure_loss: Callable[[], float],
    *,
    pairs: int = 1,
    block: int = 1,
    periodic: bool = False,
) -> Perturbed:
    """SPSA (Spall, 1992): gradient = (L+ - L-) d / mean(d^2), with d the difference of the parameters *applied*.

    centre: normalised parameters; both sides are centre +- size s, s random signs, within 0..1. `program` returns what
    was applied, which need not be what was asked for. The estimate is unbiased over draws of s; it is the mean of
    `pairs` draws. Parameters of one block (`block` long and wide, `pib_lab.blocks`) share a sign. `periodic`: both
    sides go round instead of stopping at the ends, and d is the shorter way round, so `size` must be below 1/4.
    """
    gradients, losses = [], []
    for _ in range(pairs):
        gradient, pair, held = _pair(centre, size, rng, program, measure_loss, block, periodic)
        gradients.append(gradient)
        losses.append(pair)
    return Perturbed(np.mean(gradients, axis=0), float(np.mean(losses)), held)


def _pair(
    centre: Array,
    size: float,
    rng: np.random.Generator,
    program: Callable[[Array], Array],
    measure_loss: Callable[[], float],
    block: int,
    periodic: bool,
) -> tuple[Array, float, Array]:
    index = blocks_of(centre.shape, block)
    signs: Array = rng.choice(np.array([-1.0, 1.0], np.float32), size=int(index.max()) + 1)[index]
    losses, applied = [], []
    for direction in (size, -size):
        side = centre + np.float32(direction) * signs
        applied.append(program(np.mod(side, np.float32(1.0)) if periodic else np.clip(side, 0.0, 1.0)))
        losses.append(measure_loss())
    shift = applied[0] - applied[1]
    if periodic:
        shift -= np.rint(shift)
    gradient = (losses[0] - losses[1]) * shift / np.float32(max(float(np.mean(shift * shift)), 1e-12))
    return gradient.astype(np.float32), 0.5 * (losses[0] + losses[1]), applied[1]
