"""Simultaneous perturbation: what it estimates, from what was applied."""

from __future__ import annotations

import numpy as np

from pib_lab.perturbation import perturb
from pib_lab.quantities import Array

SLOPE = np.array([1.0, -2.0, 0.5], np.float32)


def estimates(resolution: float, count: int = 4000) -> Array:
    """Mean gradient of the loss SLOPE . p on a unit that is programmed in steps of `resolution`."""
    rng = np.random.default_rng(0)
    held = [np.zeros(3, np.float32)]

    def program(wanted: Array) -> Array:
        held.append((np.rint(wanted / resolution) * resolution).astype(np.float32))
        return held[-1]

    centre = np.full(3, 0.5, np.float32)
    gradients = [perturb(centre, 0.05, rng, program, lambda: float(SLOPE @ held[-1])).gradient for _ in range(count)]
    return np.asarray(np.mean(gradients, axis=0))


def test_the_estimate_is_unbiased() -> None:
    """Over many draws of signs the mean is the gradient, also where the shift applied is not the one asked for."""
    for resolution in (1e-4, 0.03):
        np.testing.assert_allclose(estimates(resolution), SLOPE, atol=0.15)


def test_both_sides_stay_within_the_limits() -> None:
    """At a rail the perturbation is clipped, and the estimate goes by what was applied."""
    asked: list[Array] = []

    def program(wanted: Array) -> Array:
        asked.append(wanted)
        return wanted

    rng = np.random.default_rng(1)
    found = perturb(np.array([0.0, 1.0], np.float32), 0.1, rng, program, lambda: float(asked[-1].sum()))
    assert np.min(asked) >= 0.0
    assert np.max(asked) <= 1.0
    np.testing.assert_array_equal(found.held, asked[-1])
