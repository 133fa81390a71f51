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
    np.testing.assert_allclose(signal, given / given.std(), rtol=1e-5)


@pytest.mark.parametrize("rectify", [True, False])
def test_the_gradient_is_that_of_the_frozen_map(rectify: bool) -> None:
    """backward agrees with finite differences of forward(learn=False) wherever nothing is clipped."""
    made, given = conditioner(rectify=rectify), values(scale=1.0)
    made.forward(given, learn=True)
    signal = made.forward(given, learn=False)
    weights = np.random.default_rng(1).standard_normal(signal.shape).astype(np.float32)
    gradient = made.backward(signal, weights)
    step = np.float32(1e-2)
    numeric = weights * (made.forward(given + step, False) - made.forward(given - step, False)) / (2 * step)
    inside = (signal > 0.01) & (signal < 0.99) if rectify else np.ones_like(signal, bool)
    np.testing.assert_allclose(gradient[inside], numeric[inside], atol=1e-3)


def test_no_gradient_where_the_signal_was_clipped() -> None:
    """A response below 0 or above full drive cannot be moved by this batch."""
    made = conditioner()
    signal = made.forward(values(), learn=True)
    gradient = made.backward(signal, np.ones_like(signal))
    assert not gradient[(signal == 0.0) | (signal == 1.0)].any()
    assert gradient[(signal > 0.0) & (signal < 1.0)].all()


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
