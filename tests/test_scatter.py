"""The parameter shift with patterns of its own for each sample, on phases that stay within limits."""

from __future__ import annotations

import numpy as np
import pytest
from coherent_bench import Light, ScatteredLight, light_learner
from learning_bench import batch_of, learner, task, teach
from test_shift import error, found_and_true, mean_gradient

from drivers.optics.optical_rig import MockOpticalRig
from pib_lab.blocks import blocks_of
from pib_lab.checkpoints import restore_learner, snapshot_learner
from pib_lab.clocks import VirtualClock
from pib_lab.device import DeviceContext, UnitRequest
from pib_lab.errors import ConfigurationError


@pytest.mark.parametrize("basis", ["pixel", "hadamard"])
@pytest.mark.parametrize("scatter", [True, False])
def test_all_patterns_give_the_whole_gradient(basis: str, scatter: bool) -> None:
    """With as many patterns as there are, in whatever order each sample sees them, to float precision."""
    found, true, _ = found_and_true(ScatteredLight(), basis, scatter=scatter)
    assert error(found.gradient, true) < 1e-4


def test_blocks_give_the_mean_gradient_of_each() -> None:
    """A block moves as one: what is found is the gradient's mean over it."""
    found, true, _ = found_and_true(ScatteredLight(), "block", block=2)
    index = blocks_of((4, 4), 2)
    means = np.array([true[index == number].mean() for number in range(4)])
    assert error(found.gradient, means[index]) < 1e-4


@pytest.mark.parametrize(("basis", "modes", "samples"), [("hadamard", 1, 0), ("pixel", 1, 0), ("hadamard", 2, 32)])
def test_one_random_pattern_a_sample_is_right_on_average(basis: str, modes: int, samples: int) -> None:
    """The mean of sixteen times as many steps is four times nearer to the gradient: no bias is left."""
    config = {"basis": basis, "modes": modes, "samples": samples}
    few, many = (error(*mean_gradient(steps, ScatteredLight(), **config)) for steps in (16, 256))
    assert many < 0.4
    assert many < 0.4 * few


def test_each_sample_is_shifted_both_ways_along_a_pattern_of_its_own() -> None:
    """The two sides of a sample follow each other at once, so that drift between them is small."""
    unit, split = ScatteredLight(), task()
    made = light_learner(unit, rule="shift", basis="hadamard", modes=1)
    made.forward(split.x, learn=True)
    made.learn(batch_of(split))
    (shift,) = unit.shifts
    assert shift.shape == (2 * 96, 4, 4)
    np.testing.assert_array_equal(shift[0::2], -shift[1::2])
    np.testing.assert_allclose(np.abs(shift), np.pi / 4, rtol=1e-6)
    assert len(np.unique(shift[0::2], axis=0)) > 10


def test_without_scatter_all_samples_share_a_pattern() -> None:
    """The unit then still needs no programming for it."""
    unit, split = ScatteredLight(), task()
    made = light_learner(unit, rule="shift", modes=2, scatter=False)
    made.forward(split.x, learn=True)
    programmed = len(unit.asked)
    made.learn(batch_of(split))
    assert [len(np.unique(shift[0::2], axis=0)) for shift in unit.shifts] == [1, 1]
    assert len(unit.asked) == programmed + 1


@pytest.mark.parametrize(("basis", "block"), [("pixel", 1), ("block", 2), ("hadamard", 1)])
def test_learning_lowers_the_loss_within_the_limits(basis: str, block: int) -> None:
    """Forty steps on a mask of 256 levels that is not periodic."""
    unit = ScatteredLight((8, 2), levels=256)
    losses = teach(light_learner(unit, rule="shift", basis=basis, block=block, modes=2), 40)
    assert np.mean(losses[-5:]) < losses[0] - 0.1
    assert 0.0 <= np.min(unit.asked) <= np.max(unit.asked) <= unit.spec.parameters.high * (1 + 1e-6)


def test_a_snapshot_goes_on_bit_for_bit() -> None:
    """A restored learner draws the same patterns, and takes the same steps."""
    config = {"rule": "shift", "modes": 2, "samples": 30}
    first, second = (light_learner(ScatteredLight(), seed=seed, **config) for seed in (5, 99))
    teach(first, 2)
    restore_learner(second, snapshot_learner(first))
    assert teach(first, 3) == teach(second, 3)
    np.testing.assert_array_equal(first.parameters.accumulator.target, second.parameters.accumulator.target)


def test_scatter_is_refused_where_it_is_not_offered() -> None:
    """A unit that is only programmed has one mask for all samples of a batch."""
    with pytest.raises(ConfigurationError, match=r"rule\.scatter needs a unit that shifts each sample"):
        light_learner(Light(), rule="shift", scatter=True)


def test_bounded_phases_that_must_be_programmed_are_refused() -> None:
    """A shift would lead beyond the limits, and nothing goes round."""
    unit = Light()
    unit.spec = ScatteredLight().spec
    with pytest.raises(ConfigurationError, match="needs periodic phases"):
        light_learner(unit, rule="shift")


def test_a_rig_goes_on_bit_for_bit() -> None:
    """With noise, drift and settling of the bench: a restored unit measures and learns as the first one does."""
    made, clocks = [], [VirtualClock(), VirtualClock()]
    for clock, seed in zip(clocks, (5, 99), strict=True):
        unit = MockOpticalRig({}, DeviceContext("rig", 3, clock)).unit(UnitRequest("layer", 16, 10))
        unit.open()
        made.append(learner(unit, rule="shift", basis="hadamard", modes=1, samples=20, seed=seed))
    first, second = made
    teach(first, 2)
    restore_learner(second, snapshot_learner(first))
    clocks[1].time_s = clocks[0].time_s
    assert teach(first, 2) == teach(second, 2)
    np.testing.assert_array_equal(first.parameters.accumulator.target, second.parameters.accumulator.target)
