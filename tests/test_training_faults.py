"""The orchestrator and faults: strikes, scans, and the budget of wear."""

from __future__ import annotations

import numpy as np
import pytest
from learning_bench import Linear, Log, network, started, states, task

from pib_lab.errors import LimitError
from pib_lab.evaluation import Material
from pib_lab.events import (
    Evaluated,
    FaultsScanned,
    FaultsStruck,
    MadeSafe,
    MapTaken,
    Message,
    StepDone,
)
from pib_lab.experiment import Fault, Limits, Scan


def test_faults_strike_before_the_stated_step() -> None:
    """Only the named unit, before step 3, evaluated before, after and once compensated; maps know the cells."""
    log = Log()
    fault = Fault(step=3, fraction=0.2, unit="hidden")
    made = started(log, faults=(fault,))
    made.run()
    (struck,), (scanned,) = log.of(FaultsStruck), log.of(FaultsScanned)
    assert (struck.step, struck.unit, struck.cells) == (3, "hidden", round(0.2 * 16 * 8 * 2))
    events = [event for event in log.events if not isinstance(event, Message)]
    at = events.index(struck)
    around = events[at - 2 : at + 4]
    assert [type(event) for event in around] == [StepDone, Evaluated, FaultsStruck, Evaluated, FaultsScanned, Evaluated]
    assert [event.step for event in around if isinstance(event, Evaluated)] == [3, 3, 3]
    assert [event.step for event in events[:at] if isinstance(event, StepDone)] == [1, 2]
    assert scanned.found == struck.cells
    assert (scanned.recall, scanned.precision) == (1.0, 1.0)
    assert scanned.passes > 0
    assert made.passes.scan == scanned.passes
    maps = [event for event in log.of(MapTaken) if event.unit == "hidden"]
    assert np.count_nonzero(maps[-1].faults) == struck.cells


def test_all_units_are_struck_before_any_is_scanned() -> None:
    """Evaluate, strike all, evaluate, scan all, evaluate; the passes of it are counted as evaluation."""
    log = Log()
    made = started(log, faults=(Fault(step=2, fraction=0.1), Fault(step=2, fraction=0.1, unit="hidden")))
    made.run()
    events = [event for event in log.events if not isinstance(event, Message)]
    first = events.index(log.of(FaultsStruck)[0])
    kinds = [type(event) for event in events[first - 1 : first + 7]]
    assert kinds == [Evaluated, *[FaultsStruck] * 3, Evaluated, *[FaultsScanned] * 2, Evaluated]
    assert made.passes.evaluation == (5 * 24 + 24) * 2


def test_without_a_scan_a_fault_is_evaluated_twice() -> None:
    """Nothing is compensated, so there is no third evaluation."""
    log = Log()
    started(log, faults=(Fault(step=2, fraction=0.1),), scan=Scan(after_faults=False)).run()
    assert [event.step for event in log.of(Evaluated)] == [2, 2, 3, 6, 6]


def test_a_fault_without_validation_data_is_not_evaluated() -> None:
    """An empty validation split is skipped, at the fault as elsewhere."""
    log = Log()
    material = Material(task(96), task(0), task(24, seed=2), 4)
    assert started(log, material=material, faults=(Fault(step=2, fraction=0.1),)).run().status == "finished"
    assert [event.split for event in log.of(Evaluated)] == ["test"]


def test_a_scan_is_foreseen_by_the_wear_budget() -> None:
    """What just suffices for a scan does not for the scan and a step: the run stops before the strike."""
    log = Log()
    started(log, faults=(Fault(step=2, fraction=0.1),)).run()
    budget = log.of(StepDone)[0].pulses + sum(event.pulses for event in log.of(FaultsScanned))
    log = Log()
    with pytest.raises(LimitError, match="scan less often"):
        started(log, faults=(Fault(step=2, fraction=0.1),), limits=Limits(pulses=budget)).run()
    assert [event.step for event in log.of(StepDone)] == [1]
    assert not log.of(FaultsStruck)


def test_faults_before_the_first_step_strike_every_unit() -> None:
    """step = 0 and unit = "*": all units, each with a seed of its own."""
    log = Log()
    started(log, faults=(Fault(step=0, fraction=0.1),), scan=Scan(after_faults=False)).run()
    assert [event.unit for event in log.of(FaultsStruck)] == ["hidden", "read-out"]
    assert not log.of(FaultsScanned)
    assert log.events.index(log.of(FaultsStruck)[0]) < log.events.index(log.of(StepDone)[0])


def test_scheduled_scans_run_at_start_and_every_k_steps() -> None:
    """at_start before the run, then every 4 steps; both units each time."""
    log = Log()
    started(log, scan=Scan(at_start=True, every=4)).run()
    assert [event.unit for event in log.of(FaultsScanned)] == ["hidden", "read-out"] * 2


def test_real_units_are_neither_struck_nor_scanned_without_the_means() -> None:
    """A warning each, and the run goes on."""
    log = Log()
    made = started(log, network(wrap=Linear), faults=(Fault(step=2, fraction=0.1),), scan=Scan(every=5))
    assert made.run().status == "finished"
    assert len(log.of(Message)) == 4
    assert {event.level for event in log.of(Message)} == {"warning"}


def test_the_wear_budget_is_not_overdrawn() -> None:
    """The run stops, refused by the limit, before the step that could overdraw it; outputs off."""
    log = Log()
    made = started(log)
    budget = made.pulses() + 900
    made = started(log, limits=Limits(pulses=budget))
    with pytest.raises(LimitError, match=r"limits\.pulses"):
        made.run()
    assert 0 < made.step < made.total_steps
    assert made.pulses() <= budget
    assert states(log)[-1] == "failed"
    assert len(log.of(MadeSafe)) == 2


@pytest.mark.parametrize("compensate", [True, False])
def test_conditioning_is_set_anew_after_compensation_only(compensate: bool) -> None:
    """Compensation ends with a calibration of every unit, counted as such; without it there is none."""
    log = Log()
    made = started(log, faults=[Fault(step=2, fraction=0.3)], scan=Scan(compensate=compensate))
    before = made.passes.calibration
    after = made.run().passes.calibration
    assert (after >= before + 2 * 32) if compensate else (after == before)
