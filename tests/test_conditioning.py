"""What stands between two units: range, rectify, clip, and the gradient back through it."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest

from pib_lab.conditioning import Conditioner
from pib_lab.quantities import Array


def values(n: int = 200, d: int = 5, seed: int = 0, scale: float = 1e-6) -> Array:
    rng = np.random.default_rng(seed)
    return (scale * (rng.standard_normal((n, d)) * np.arange(1, d + 1) + 2.0)).astype(np.float32)


def conditioner(
    d: int = 5, range: Literal["column", "unit"] = "column", rectify: bool = True, momentum: float = 0.1
) -> Conditioner:
    return Conditioner(d, range=range, rectify=rectify, headroom=3.0, momentum=momentum)


def test_a_hidden_units_signal_fits_the_next_drive() -> None:
    """Signals lie in 0..1, about half of them rectified away, few clipped at full drive."""
    signal = conditioner().forward(values(), learn=True)
    assert signal.min() == 0.0
    assert signal.max() <= 1.0
    assert 0.4 < float((signal == 0.0).mean()) < 0.6
    assert float((signal == 1.0).mean()) < 0.02


def test_the_read_outs_signal_is_in_standard_deviations() -> None:
    """Neither rectified nor clipped: every column has mean 0 and spread 1."""
    signal = conditioner(rectify=False).forward(values(), learn=True)
    np.testing.assert_allclose(signal.mean(axis=0), 0.0, atol=1e-4)
    np.testing.assert_allclose(signal.std(axis=0), 1.0, rtol=1e-4)


def test_one_gain_for_the_whole_unit_keeps_columns_apart() -> None:
    """With range "unit" there is no offset and the columns keep their ratio."""
    given = values()
    signal = conditioner(range="unit", rectify=False).forward(given, learn=True)
    np.testing.assert_allclose(signal, given / np.sqrt(np.mean(given.astype(np.float64) ** 2)), rtol=1e-5)


@pytest.mark.parametrize("rectify", [True, False])
@pytest.mark.parametrize("range", ["column", "unit"])
def test_the_gradient_goes_through_the_statistics(range: Literal["column", "unit"], rectify: bool) -> None:
    """backward agrees with finite differences of forward(learn=True), whose offset and scale are the batch's own."""
    given, rng = values(scale=1.0), np.random.default_rng(1)
    weights = rng.standard_normal(given.shape)
    gradient = conditioner(range=range, rectify=rectify).backward(given, weights.astype(np.float32))

    def loss(shifted: Array) -> float:
        return float((weights * conditioner(range=range, rectify=rectify).forward(shifted, learn=True)).sum())

    for _ in (1, 2, 3):
        direction = rng.standard_normal(given.shape).astype(np.float32)
        step = np.float32(1e-3)
        numeric = (loss(given + step * direction) - loss(given - step * direction)) / (2 * float(step))
        assert numeric == pytest.approx(float((gradient * direction).sum()), rel=0.02, abs=0.05)


def test_growing_a_column_changes_nothing_downstream() -> None:
    """The gradient has no component along a common gain or offset of a column: nothing drives it to the rails."""
    given = values(scale=1.0)
    weights = np.random.default_rng(1).standard_normal(given.shape).astype(np.float32)
    gradient = conditioner(rectify=False).backward(given, weights)
    np.testing.assert_allclose(gradient.sum(axis=0), 0.0, atol=1e-3)
    np.testing.assert_allclose((gradient * given).sum(axis=0), 0.0, atol=1e-2)


def test_an_evaluation_is_conditioned_by_the_running_statistics() -> None:
    """A sample's signal does not depend on those it is measured with."""
    made = conditioner()
    made.forward(values(), learn=True)
    other = values(seed=1)
    np.testing.assert_array_equal(made.forward(other, False)[:3], made.forward(other[:3], False))


def test_a_dead_column_is_not_blown_up() -> None:
    """Noise a million times smaller than the live columns stays small after conditioning."""
    given = values()
    given[:, 2] = np.float32(1e-12) * np.random.default_rng(2).standard_normal(len(given)).astype(np.float32)
    signal = conditioner().forward(given, learn=True)
    assert np.abs(signal[:, 2]).max() < 1e-2


def test_a_unit_that_gives_nothing_gives_a_finite_signal() -> None:
    """All responses 0: no division by 0."""
    signal = conditioner().forward(np.zeros((4, 5), np.float32), learn=True)
    assert not signal.any()


def test_only_learning_moves_the_statistics() -> None:
    """An evaluation leaves offset and scale as they were."""
    made = conditioner()
    made.forward(values(), learn=True)
    before = made.snapshot()
    made.forward(values(seed=1, scale=1e-5), learn=False)
    after = made.snapshot()
    assert all(np.array_equal(before[key], after[key]) for key in before)


def test_the_start_is_forgotten_as_in_a_plain_mean() -> None:
    """After k batches the statistics are their mean, as long as 1 / k exceeds the momentum."""
    made, batches = conditioner(momentum=0.05), [values(seed=seed) for seed in range(4)]
    for batch in batches:
        made.forward(batch, learn=True)
    expected = np.mean([batch.mean(axis=0) for batch in batches], axis=0)
    np.testing.assert_allclose(made.offset, expected, rtol=1e-5)


def test_a_snapshot_brings_everything_back() -> None:
    """A restored conditioner continues exactly as the first would have."""
    first, second = conditioner(), conditioner()
    first.forward(values(), learn=True)
    second.restore(first.snapshot())
    for made in (first, second):
        made.forward(values(seed=1), learn=True)
    np.testing.assert_array_equal(first.forward(values(seed=2), False), second.forward(values(seed=2), False))
