"""Mending: signals move to lines that can hold their weights, and sound weights make up for what others cannot."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from learning_bench import batch_of, crossbar, learner, task, teach

from pib_lab.baselines import stale_transfer
from pib_lab.checkpoints import restore_learner, snapshot_learner
from pib_lab.mending import assign_lines, fit_weights
from pib_lab.quantities import Array
from pib_lab.repair import compensate, find_faults, mend


def _case(seed: int, n_in: int = 12, n_out: int = 5) -> tuple[Array, Array, Array, Array]:
    rng = np.random.default_rng(seed)
    wanted = rng.uniform(-1, 1, (n_in, n_out)).astype(np.float32)
    low, high = np.full_like(wanted, -1), np.full_like(wanted, 1)
    stuck = rng.random(wanted.shape) < 0.4
    low[stuck] = high[stuck] = rng.uniform(-1, 1, int(stuck.sum()))
    mixed = rng.standard_normal((n_in, n_in)) * 0.3 + np.eye(n_in)
    return wanted, low, high, (rng.random((200, n_in)) @ mixed).astype(np.float32)


def _mismatch(wanted: Array, low: Array, high: Array, variance: Array) -> float:
    return float((variance[:, None] * np.square(wanted - np.clip(wanted, low, high))).sum())


@given(st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_lines_are_permuted_and_never_for_the_worse(seed: int) -> None:
    """Every signal has one line, and the mismatch is at most that of any of a few other orders."""
    wanted, low, high, drive = _case(seed)
    variance = drive.var(axis=0)
    order = assign_lines(wanted, low, high, variance)
    assert sorted(order) == list(range(len(wanted)))
    found = _mismatch(wanted[order], low, high, variance[order])
    rng = np.random.default_rng(seed)
    for other in [np.arange(len(wanted)), *(rng.permutation(len(wanted)) for _ in range(5))]:
        assert found <= _mismatch(wanted[other], low, high, variance[other]) + 1e-5


def test_a_signal_that_never_changes_is_put_on_the_dead_line() -> None:
    """A line that can hold nothing does no harm under a signal without variance."""
    wanted = np.array([[1.0], [0.5], [-1.0]], np.float32)
    low, high = np.array([[0.0], [-1], [-1]], np.float32), np.array([[0.0], [1], [1]], np.float32)
    assert assign_lines(wanted, low, high, np.array([1.0, 1.0, 0.0], np.float32))[0] == 2


@given(st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_fitted_weights_are_within_reach_and_never_worse_than_clipping(seed: int) -> None:
    """The response to the drive, offsets aside, is at least as near to the wanted one as with each weight clipped."""
    wanted, low, high, drive = _case(seed)
    fitted = fit_weights(wanted, low, high, drive)
    assert (fitted >= low).all()
    assert (fitted <= high).all()
    centred = drive - drive.mean(axis=0)

    def error(weights: Array) -> float:
        return float(np.square(centred @ (weights - wanted)).sum())

    assert error(fitted) <= 1.02 * error(np.clip(wanted, low, high)) + 1e-6


def test_a_twin_signal_takes_over_a_lost_weight() -> None:
    """Two signals that are always alike: the sound weight becomes the sum of both."""
    drive = np.repeat(np.random.default_rng(0).random((100, 1)), 2, axis=1).astype(np.float32)
    wanted = np.array([[0.3], [0.4]], np.float32)
    fitted = fit_weights(wanted, np.array([[0.0], [-1]], np.float32), np.array([[0.0], [1]], np.float32), drive)
    np.testing.assert_allclose(fitted, [[0.0], [0.7]], atol=0.01)


def test_a_drive_that_never_changes_leaves_the_weights_clipped() -> None:
    """Nothing is known of correlations then."""
    wanted, low, high, drive = _case(0)
    np.testing.assert_array_equal(fit_weights(wanted, low, high, np.ones_like(drive)), np.clip(wanted, low, high))


def test_mending_brings_the_response_back_and_keeps_the_order_of_outputs() -> None:
    """After 40 % of the cells have failed, the responses come much nearer to those before than partners alone bring."""
    errors = {}
    split = task(256)
    for how in ("partners", "mend"):
        made = learner(crossbar(16, 8))
        teach(made, 20)
        before = made.forward(split.x, learn=True)
        made.unit.inject_faults("mixed", 0.4, "none", 4)
        find_faults(made, reads=2)
        written = mend(made, split.x)[0] if how == "mend" else compensate(made)[0]
        assert written > 0
        made.calibrate(split.x)
        errors[how] = float(np.abs(made.forward(split.x, learn=True) - before).mean())
    assert errors["mend"] < 0.6 * errors["partners"]


def test_moved_signals_are_restored_from_a_snapshot_and_carry_gradients_back() -> None:
    """Lines are part of the state, and an error at a line goes to the signal that it carries."""
    made = learner(crossbar(16, 8))
    made.unit.inject_faults("mixed", 0.4, "none", 4)
    find_faults(made, reads=2)
    moved = mend(made, task(64).x)[1]
    assert moved == np.count_nonzero(made.lines.carried != np.arange(16)) > 0
    other = learner(crossbar(16, 8))
    restore_learner(other, snapshot_learner(made))
    np.testing.assert_array_equal(other.lines.carried, made.lines.carried)
    d_drive = np.arange(16, dtype=np.float32)[None]
    np.testing.assert_allclose(
        made.lines.signal_gradient(d_drive)[0][made.lines.carried] / made.unit.spec.drive.span, d_drive[0]
    )
    assert stale_transfer(made).shape == (16, 8)


def test_the_optimiser_moves_with_the_signals() -> None:
    """Moments of a signal's weights are found at its new line."""
    made = learner(crossbar(16, 8))
    teach(made, 5)
    moments = snapshot_learner(made)["optimiser/m"]
    made.unit.inject_faults("mixed", 0.4, "none", 4)
    find_faults(made, reads=2)
    mend(made, task(64).x)
    np.testing.assert_array_equal(snapshot_learner(made)["optimiser/m"], moments[made.lines.carried])


def test_learning_goes_on_after_signals_have_moved() -> None:
    """The gradient that is programmed belongs to the line, so that the loss keeps falling."""
    made = learner(crossbar(16, 8))
    split = task(256)
    made.unit.inject_faults("mixed", 0.3, "none", 4)
    find_faults(made, reads=2)
    mend(made, split.x)
    losses = []
    for step in range(40):
        made.forward(split.x, learn=True)
        losses.append(made.learn(batch_of(split, step, rate=0.02)).loss)
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize("fraction", [0.0, 0.3])
def test_what_is_realised_makes_the_weights(fraction: float) -> None:
    """Targets that a crossbar gives for weights within reach make just these weights, and leave faulty cells."""
    unit = crossbar(16, 8)
    rng = np.random.default_rng(1)
    limits = unit.spec.parameters
    held = rng.uniform(limits.low, limits.high, limits.shape).astype(np.float32)
    faulty = rng.random(limits.shape) < fraction
    low, high = unit.reach(held, faulty)
    weights = np.clip(rng.uniform(-1, 1, low.shape).astype(np.float32) * limits.span, low, high)
    targets = unit.realise(weights, held, faulty)
    np.testing.assert_allclose(unit.weights(targets), weights, atol=1e-5 * limits.span)
    np.testing.assert_array_equal(targets[faulty], held[faulty])
    limits.check_limits(targets[~faulty], "targets")
