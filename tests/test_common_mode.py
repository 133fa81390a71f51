"""The mean of the two cells of a pair carries no signal: what keeps it mid-window, and what moves it."""

from __future__ import annotations

from typing import Any

import numpy as np
from learning_bench import Log, crossbar, trainer

from pib_lab.events import Event, StepDone
from pib_lab.experiment import Fault, Schedule
from pib_lab.fault_kinds import FaultKind
from pib_lab.learner import LocalLearner
from pib_lab.lessons import LearnerConfig
from pib_lab.objectives import ConditionalEntropy, CrossEntropy
from pib_lab.quantities import Array, Mask
from pib_lab.updates import Accumulator

STEPS = Schedule(epochs=20, batch=32)


def train(learners: list[LocalLearner], learning_rate: float = 0.02) -> list[Mask]:
    """60 steps; for each learner, the pairs of which a cell's target was ever at a rail."""
    railed = [np.zeros(learner.parameters.accumulator.target.shape[:2], np.bool_) for learner in learners]

    def look(event: Event) -> None:
        if isinstance(event, StepDone):
            for learner, seen in zip(learners, railed, strict=True):
                target = learner.parameters.accumulator.target
                seen |= ((target <= 0.0) | (target >= 1.0)).any(axis=-1)

    made = trainer(Log(react=look), learners, schedule=STEPS, learning_rate=learning_rate)
    made.start()
    assert made.run().status == "finished"
    return railed


def offset(learner: LocalLearner) -> Array:
    """How far each pair's mean is from mid-window, as held by the chip, in the chip's levels."""
    parameters = learner.unit.spec.parameters
    held = learner.parameters.believed().mean(axis=-1) - 0.5 * (parameters.low + parameters.high)
    return np.asarray(np.abs(held) / level(learner))


def level(learner: LocalLearner) -> float:
    """Distance of two programmable levels."""
    return learner.unit.spec.parameters.resolution


def pairs(**config: Any) -> list[LocalLearner]:
    """The small network with other settings of its learners."""
    return [
        LocalLearner(crossbar(16, 8, "ideal", "hidden"), ConditionalEntropy(), LearnerConfig(True, **config), 1),
        LocalLearner(crossbar(8, 4, "ideal", "read-out"), CrossEntropy(), LearnerConfig(False, **config), 2),
    ]


def test_training_leaves_the_mean_of_a_pair_alone() -> None:
    """Gradients of the cells of a pair are opposite, and so are Adam's steps: the mean stays where it began."""
    learners = pairs()
    for learner, railed in zip(learners, train(learners), strict=True):
        moved = np.abs(learner.parameters.accumulator.target[..., 0] - 0.5) > 0.1
        assert np.count_nonzero(moved & ~railed) > 10  # so the pairs were trained
        assert offset(learner)[~railed].max() < 1.0
        assert np.abs(learner.parameters.accumulator.target[~railed].mean(axis=-1) - 0.5).max() < 1e-5


def test_a_centred_pair_meets_both_rails_at_once() -> None:
    """Clipping does not move the mean of a pair that is mid-window: its cells are clipped together."""
    learners = pairs(init_scale=0.8)  # wide, so that many cells start near a rail
    for learner, railed in zip(learners, train(learners, learning_rate=0.05), strict=True):
        assert np.count_nonzero(railed) > 10
        assert offset(learner).max() < 1.0


def test_clipping_moves_the_mean_of_a_pair_that_is_off_already() -> None:
    """The cell that is nearer to its rail is clipped first; its partner goes on alone."""
    accumulator = Accumulator(np.array([[0.95, 0.25]], np.float32), 0.0)
    accumulator.add(np.array([[0.2, -0.2]], np.float32))
    np.testing.assert_allclose(accumulator.target, [[1.0, 0.05]], atol=1e-6)


def test_the_partner_of_a_stuck_cell_moves_alone() -> None:
    """The mean of such a pair leaves the middle, by compensation and by learning; healthy pairs keep theirs."""
    learners = pairs()
    made = trainer(Log(), learners, schedule=STEPS, faults=[Fault(step=3, fraction=0.1, kind="low")])
    made.start()
    made.run()
    for learner in learners:
        stuck = (learner.parameters.faults != FaultKind.HEALTHY).any(axis=-1)
        assert offset(learner)[stuck].max() > 0.1 * learner.unit.spec.parameters.span / level(learner)
        assert offset(learner)[~stuck].max() < 1.0


def test_perturbation_moves_the_mean_and_centring_brings_it_back() -> None:
    """SPSA draws a sign for each cell: the mean wanders, unless `rule.centring` pulls it back."""
    wandered = []
    for centring in (0.0, 0.1):
        learners = pairs(rule="spsa", centring=centring)
        train(learners)
        targets = np.concatenate([learner.parameters.accumulator.target.reshape(-1, 2) for learner in learners])
        wandered.append(float(np.sqrt(np.mean(np.square(targets.mean(axis=-1) - 0.5)))))
    free, centred = wandered
    assert free > 0.02
    assert centred < 0.5 * free
