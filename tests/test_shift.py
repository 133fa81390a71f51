"""The parameter shift: exact where theory says so, against autograd of an independent formula, and wrong elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from coherent_bench import TURN, Light, intensities, light_learner, true_gradient
from hypothesis import given, settings
from hypothesis import strategies as st
from learning_bench import batch_of, task, teach

from pib_lab.blocks import blocks_of
from pib_lab.checkpoints import restore_learner, snapshot_learner
from pib_lab.errors import ConfigurationError
from pib_lab.learner import LocalLearner
from pib_lab.modes import Modes, Sweep
from pib_lab.objectives import Context
from pib_lab.quantities import Array
from pib_lab.rules import Found


def found_and_true(unit: Light, basis: str, **config: object) -> tuple[Found, Array, LocalLearner]:
    """What a whole sweep of the rule finds, and what autograd says."""
    made = light_learner(unit, rule="shift", basis=basis, modes=1000, **config)
    split = task()
    made.forward(split.x, learn=True)
    assert made.trace is not None
    batch, mask = batch_of(split), made.parameters.believed()
    context = Context(torch.from_numpy(batch.labels), batch.classes, torch.from_numpy(batch.x_gram))
    return made.rule.find(made.trace, context), true_gradient(unit, made.trace.drive, mask, context), made


def error(found: Array, true: Array) -> float:
    """Root mean square, relative to the true one."""
    return float(np.linalg.norm(found - true) / np.linalg.norm(true))


@pytest.mark.parametrize("basis", ["pixel", "hadamard"])
@pytest.mark.parametrize("levels", [0, 256])
def test_a_sweep_gives_the_whole_gradient(basis: str, levels: int) -> None:
    """Of the local loss, conditioning included, to float precision; also on a mask of 256 levels."""
    found, true, _ = found_and_true(Light(levels=levels), basis)
    assert error(found.gradient, true) < 1e-4


def test_blocks_give_the_mean_gradient_of_each() -> None:
    """A block moves as one: what is found is the gradient's mean over it."""
    found, true, _ = found_and_true(Light(), "block", block=2)
    index = blocks_of((4, 4), 2)
    means = np.array([true[index == number].mean() for number in range(4)])
    assert error(found.gradient, means[index]) < 1e-4


def test_unmodulated_light_spoils_hadamard_patterns_only() -> None:
    """A zero order leaves single pixels exact, and adds a second frequency to patterns of +1 and -1."""
    found, true, _ = found_and_true(Light(reference=1.0), "pixel")
    assert error(found.gradient, true) < 1e-4
    found, true, _ = found_and_true(Light(reference=1.0), "hadamard")
    assert error(found.gradient, true) > 0.1


def slope(unit: Light, pattern: Array, shift: float, factor: float) -> tuple[Array, Array]:
    """dz/dt of every response along a pattern: by shifts of the mask, and by autograd."""
    unit.open()
    drive, mask = np.pi * task().x[:5], np.full((4, 4), 2.0, np.float32)
    sides = []
    for sign in (1.0, -1.0):
        unit.program(np.mod(mask + np.float32(sign * shift) * pattern, np.float32(TURN)))
        sides.append(unit.measure(drive, cancel=light_learner(Light()).cancel).values)
    along = torch.from_numpy(pattern.astype(np.float64).ravel())

    def moved(step: torch.Tensor) -> torch.Tensor:
        return intensities(unit, drive, torch.from_numpy(mask.astype(np.float64).ravel()) + step * along)

    true = torch.autograd.functional.jacobian(moved, torch.zeros((), dtype=torch.float64))
    return factor * (sides[0] - sides[1]), true.numpy()


def test_smooth_patterns_are_not_exact() -> None:
    """Along a cosine over the mask, neither form of the shift gives the slope: only the three bases are offered."""
    smooth = np.cos(np.linspace(0.0, np.pi, 16)).reshape(4, 4).astype(np.float32)
    for shift, factor in ((np.pi / 2, 0.5), (np.pi / 4, 1.0)):
        measured, true = slope(Light(), smooth, shift, factor)
        assert error(measured, true) > 0.1


def test_the_form_of_pixels_is_blind_to_hadamard_patterns() -> None:
    """Shifted by pi / 2, a pattern of +1 and -1 gives nothing at all; by pi / 4, the slope."""
    pattern = Modes((4, 4), "hadamard", 1).patterns([6])[0]
    measured, true = slope(Light(), pattern, np.pi / 2, 0.5)
    assert np.abs(measured).max() < 1e-4 * np.abs(true).max()
    measured, true = slope(Light(), pattern, np.pi / 4, 1.0)
    assert error(measured, true) < 1e-4


@given(st.tuples(st.integers(1, 6), st.integers(1, 6)), st.integers(1, 4))
@settings(max_examples=40, deadline=None)
def test_patterns_are_orthogonal(shape: tuple[int, int], block: int) -> None:
    """Every basis: patterns of the mask's shape that do not overlap, as many as it says."""
    for basis in ("pixel", "block"):
        modes = Modes(shape, basis, block)  # type: ignore[arg-type]
        flat = modes.patterns(range(modes.size)).reshape(modes.size, -1)
        gram = flat @ flat.T
        np.testing.assert_array_equal(gram, np.diag(np.diag(gram)))
        assert (flat.sum(axis=0) == 1.0).all()


def test_hadamard_patterns_are_all_but_the_constant_one() -> None:
    """N - 1 patterns of +1 and -1, orthogonal to each other and to the constant one."""
    modes = Modes((4, 8), "hadamard", 1)
    flat = modes.patterns(range(modes.size)).reshape(modes.size, -1)
    np.testing.assert_array_equal(flat @ flat.T, 32 * np.eye(31))
    assert not flat.sum(axis=1).any()


@given(st.integers(1, 12), st.lists(st.integers(1, 7), min_size=1, max_size=12))
@settings(max_examples=40, deadline=None)
def test_a_sweep_takes_each_pattern_once(size: int, counts: list[int]) -> None:
    """Whatever the steps are, no pattern comes again before all have come; a snapshot goes on as the original."""
    rng, sweep, other = np.random.default_rng(0), Sweep(size), Sweep(size)
    taken = [number for count in counts for number in sweep.take(count, rng)]
    for start in range(0, len(taken) - size + 1, size):
        assert sorted(taken[start : start + size]) == list(range(size))
    other.restore(sweep.snapshot())
    assert other.take(5, np.random.default_rng(1)) == sweep.take(5, np.random.default_rng(1))


def test_a_step_costs_two_passes_a_mode_and_sample() -> None:
    """Five modes on 96 samples, or on 10 of them."""
    for samples, passes in ((0, 2 * 5 * 96), (10, 2 * 5 * 10)):
        made, split = light_learner(Light(), rule="shift", modes=5, samples=samples), task()
        made.forward(split.x, learn=True)
        assert made.learn(batch_of(split)).passes == passes


def mean_gradient(steps: int, unit: Light | None = None, **config: object) -> tuple[Array, Array]:
    """What many steps at one mask find on average, and what autograd says."""
    unit, split = unit or Light(), task()
    made = light_learner(unit, rule="shift", **config)
    made.forward(split.x, learn=True)
    assert made.trace is not None
    batch, held = batch_of(split), made.parameters.accumulator.held
    context = Context(torch.from_numpy(batch.labels), batch.classes, torch.from_numpy(batch.x_gram))
    gradients = []
    for _ in range(steps):
        made.parameters.accumulator.held = held
        gradients.append(made.rule.find(made.trace, context).gradient)
    true = true_gradient(unit, made.trace.drive, made.parameters.physical(held), context)
    return np.mean(gradients, axis=0), true


def test_some_modes_stand_for_all() -> None:
    """Sixteen steps of 3 of 16 modes are three sweeps: their mean is the gradient."""
    assert error(*mean_gradient(16, modes=3)) < 1e-4


def test_some_samples_stand_for_all() -> None:
    """The mean over many steps on random thirds of the batch comes close to the gradient."""
    assert error(*mean_gradient(60, modes=16, samples=32)) < 0.25


@pytest.mark.parametrize(("basis", "block"), [("pixel", 1), ("block", 2), ("hadamard", 1)])
def test_learning_by_shifts_lowers_the_loss(basis: str, block: int) -> None:
    """Forty steps of a few modes each, on a mask of 256 levels."""
    losses = teach(light_learner(Light((8, 2), levels=256), rule="shift", basis=basis, block=block, modes=8), 40)
    assert np.mean(losses[-5:]) < losses[0] - 0.1


def test_a_step_leaves_no_shift_behind() -> None:
    """After a step the mask is within a programming step of its targets, however it was shifted meanwhile."""
    made = light_learner(Light(levels=256), rule="shift", modes=3)
    teach(made, 4)
    accumulator = made.parameters.accumulator
    away = np.abs(accumulator.held - accumulator.target)
    assert float(np.minimum(away, 1 - away).max()) <= 1 / 256


def test_a_snapshot_in_mid_sweep_goes_on_bit_for_bit() -> None:
    """A restored learner takes the modes that are left, and the same steps."""
    first = light_learner(Light(), rule="shift", modes=5, samples=30)
    teach(first, 2)
    second = light_learner(Light(), rule="shift", modes=5, samples=30, seed=99)
    restore_learner(second, snapshot_learner(first))
    assert teach(first, 3) == teach(second, 3)
    np.testing.assert_array_equal(first.parameters.accumulator.target, second.parameters.accumulator.target)


def test_a_mask_without_hadamard_patterns_is_refused() -> None:
    """Twelve pixels are no power of 2."""
    with pytest.raises(ConfigurationError, match=r"power of 2.*12"):
        light_learner(Light((3, 4)), rule="shift", basis="hadamard")


def test_levels_that_cannot_be_shifted_exactly_are_refused() -> None:
    """A quarter of a turn is no whole number of 10 levels."""
    with pytest.raises(ConfigurationError, match=r"0.25 of their period exactly"):
        light_learner(Light(levels=10), rule="shift")
