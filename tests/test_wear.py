"""The budget of pulses: what is foreseen before anything is written, and after."""

from __future__ import annotations

import pytest
from learning_bench import Linear, Log, crossbar, trainer

from pib_lab.errors import LimitError
from pib_lab.events import MadeSafe
from pib_lab.experiment import Limits
from pib_lab.learner import LocalLearner
from pib_lab.lessons import LearnerConfig
from pib_lab.objectives import CrossEntropy
from pib_lab.unit import PhysicalUnit
from pib_lab.wear import WearBudget


def unstarted(unit: PhysicalUnit, **config: object) -> LocalLearner:
    return LocalLearner(unit, CrossEntropy(), LearnerConfig(rectify=False, **config), 2)  # type: ignore[arg-type]


def test_a_budget_that_the_first_programming_could_overdraw_is_refused() -> None:
    """10,000 pulses for 8,192 cells of up to 12 pulses a write: refused before anything is pulsed, outputs off."""
    log, learner = Log(), unstarted(crossbar(64, 64, "chip-b"))
    made = trainer(log, [learner], limits=Limits(pulses=10_000))
    with pytest.raises(LimitError, match=r"0 of 10,000 pulses are spent and the first programming could cost 98,304"):
        made.start()
    assert made.pulses() == 0
    assert len(log.of(MadeSafe)) == 1


def test_after_the_first_writes_twice_their_mean_is_foreseen() -> None:
    """But never more than the driver's most; nothing for cells that are known to be faulty."""
    learner = unstarted(crossbar(16, 8, "chip-b"))
    budget = WearBudget([learner], None)
    assert budget.foresee_writes([learner]) == 256 * 12
    learner.start()
    budget.note_writes(256)
    mean = budget.pulses() / 256
    assert budget.foresee_writes([learner]) == pytest.approx(min(2 * mean, 12) * 256, abs=1)
    assert budget.foresee_scan([learner], 3) == pytest.approx(3 * budget.foresee_writes([learner]), abs=1)
    learner.parameters.faults[:8] = 1
    assert budget.foresee_writes([learner]) == pytest.approx(min(2 * mean, 12) * 128, abs=1)


@pytest.mark.parametrize(("rule", "writes"), [("pullback", 1), ("spsa", 3)])
def test_the_first_step_is_foreseen_as_writes_of_all(rule: str, writes: int) -> None:
    """One write of every parameter, three by perturbation; then twice the costliest step so far."""
    learner = unstarted(crossbar(16, 8), rule=rule)
    budget = WearBudget([learner], None)
    assert budget.foresee_step() == writes * 256 * 3
    budget.note_step(50, 40)
    budget.note_step(30, 20)
    assert budget.foresee_step() == 100


def test_a_unit_that_tells_no_costs_is_taken_to_need_a_pulse_a_write() -> None:
    """As long as nothing is known of it."""
    learner = unstarted(Linear(crossbar(16, 8)))
    assert WearBudget([learner], None).foresee_writes([learner]) == 256
