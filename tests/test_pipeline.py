"""One batch of delay: counted, never timed; and nothing of it is lost by an interruption."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from learning_bench import Linear, Log, Wrapped, network, started, task, trainer
from test_resume import PROTOCOL

import pib_lab
from data.reader import Reader
from drivers.chip.mock_chip import MockCrossbar
from pib_lab.baselines import Backpropagation, stale_transfer
from pib_lab.control import Commands, Verb
from pib_lab.errors import ConfigurationError
from pib_lab.evaluation import Material
from pib_lab.events import CheckpointTaken, Event, FaultsScanned, MapTaken, StepDone
from pib_lab.experiment import Fault, Limits, Scan, Schedule
from pib_lab.learner import LocalLearner
from pib_lab.lessons import Change, LearnBatch, LearnRecord, Trace
from pib_lab.quantities import Array

LONG = Material(task(320), task(24, seed=1), task(24, seed=2), 4)  # ten steps an epoch


def schedule(delay: int, epochs: int = 1, **changes: Any) -> Schedule:
    return Schedule(epochs=epochs, batch=32, delay=delay, **changes)


class Remembering(LocalLearner):
    """Keeps the record of every change that it carries out."""

    records: list[LearnRecord]

    def carry_out(self, change: Change, worn: tuple[int, int] | None = None) -> LearnRecord:
        self.records = [*getattr(self, "records", []), super().carry_out(change, worn)]
        return self.records[-1]


def remembering(profile: str = "ideal", kind: type[Remembering] = Remembering) -> list[Any]:
    return [kind(plain.unit, plain.objective, plain.config, seed) for seed, plain in enumerate(network(profile))]


def numbers(log: Log) -> list[str]:
    """All that must not depend on threads or interruptions, times left out."""
    found = []
    for event in log.events:
        if isinstance(event, StepDone):
            found.append(repr((event.step, event.batch_accuracy, event.units, event.passes, event.pulses)))
        elif isinstance(event, CheckpointTaken):
            found.append(
                repr({key: np.asarray(value).tobytes() for key, value in event.state.items() if key != "elapsed_s"})
            )
    return found


def test_an_update_is_programmed_after_exactly_one_more_batch() -> None:
    """A batch is measured with the parameters of the batch before the last, the first two with those of the start."""
    learners = remembering()
    started(Log(), learners, material=LONG, schedule=schedule(1)).run()
    for made in learners:
        assert [record.batch_id for record in made.records] == list(range(1, 11))
        assert [record.parameter_version for record in made.records] == list(range(1, 11))
        assert [record.measured_version for record in made.records] == [0, *range(9)]


def test_without_delay_every_batch_sees_every_update() -> None:
    """Each batch is measured with the parameters that the batch before it left."""
    learners = remembering()
    started(Log(), learners, material=LONG, schedule=schedule(0)).run()
    for made in learners:
        assert [record.measured_version for record in made.records] == list(range(10))


def test_every_update_is_in_place_where_something_is_due() -> None:
    """Before evaluations, scans and strikes nothing is measured ahead, and the metrics count the batches that were."""
    learners, log = remembering(), Log()
    faults, scan = (Fault(step=6, fraction=0.1, unit="hidden"),), Scan(refit=False)
    plan = schedule(1, evaluate_every=4)
    result = started(log, learners, material=LONG, schedule=plan, faults=faults, scan=scan).run()
    ahead = [record.parameter_version - 1 - record.measured_version for record in learners[1].records]
    assert log.of(FaultsScanned)
    # nothing before batch 1; evaluations before batches 5 and 9; the strike before batch 6
    assert [number for number, delayed in enumerate(ahead, 1) if not delayed] == [1, 5, 6, 9]
    assert result.metrics["delayed_batches"] == 6


class Counting(Remembering):
    """Says how many batches have been measured and worked out, and lets the test wait for it."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.changed, self.measured, self.worked_out = threading.Condition(), 0, 0

    def until(self, holds: Callable[[], bool]) -> None:
        with self.changed:
            assert self.changed.wait_for(holds, timeout=30)

    def forward(self, signal: Array, learn: bool) -> Array:
        conditioned = super().forward(signal, learn)
        with self.changed:
            self.measured += learn
            self.changed.notify_all()
        return conditioned

    def work_out(self, batch: LearnBatch, trace: Trace) -> Change:
        change = super().work_out(batch, trace)
        with self.changed:
            self.worked_out += 1
            self.changed.notify_all()
        return change


class Late(Counting):
    """Works a batch out only once the next one has been measured."""

    def work_out(self, batch: LearnBatch, trace: Trace) -> Change:
        if threading.current_thread() is not threading.main_thread():
            self.until(lambda: self.measured > batch.batch_id)
        return super().work_out(batch, trace)


class Early(Counting):
    """Measures a batch only once the one before it has been worked out."""

    def forward(self, signal: Array, learn: bool) -> Array:
        if learn:
            self.until(lambda: self.worked_out >= self.measured)
        return super().forward(signal, learn)


def test_the_speed_of_the_arithmetic_changes_nothing() -> None:
    """Whether it is over before the next measurement begins or starts only after it, numbers are equal."""
    logs = []
    for kind in (Late, Early):
        logs.append(Log())
        started(logs[-1], remembering("chip-b", kind), material=LONG, schedule=schedule(1)).run()
    assert numbers(logs[0]) == numbers(logs[1])
    assert len(logs[0].of(StepDone)) == 10


def test_a_delayed_run_learns_as_well() -> None:
    """The small task is learned about as well with one batch of delay as without."""
    accuracies = [
        started(Log(), network(), material=LONG, schedule=schedule(delay, epochs=6)).run().metrics["test_accuracy"]
        for delay in (0, 1)
    ]
    assert min(accuracies) > 0.9
    assert abs(accuracies[0] - accuracies[1]) <= 0.1


@pytest.mark.parametrize("stop", [3, 4, 10, 14])
def test_an_aborted_run_goes_on_with_the_batch_that_was_measured_ahead(stop: int) -> None:
    """Bit-identical to the straight run, wherever it was stopped: in the pipeline, and where it was drained."""
    straight, commands = Log(), Commands()
    started(straight, network("chip-b"), material=LONG, schedule=schedule(1, epochs=2, checkpoint_every=4)).run()

    def react(event: Event) -> None:
        if isinstance(event, StepDone) and event.step == stop:
            commands.post("abort")

    first, second = Log(react=react), Log()
    plan = schedule(1, epochs=2, checkpoint_every=4)
    learners = network("chip-b")
    started(first, learners, material=LONG, schedule=plan, commands=commands).run()
    kept = first.of(CheckpointTaken)[-1]
    assert kept.step == stop
    assert kept.state["ahead"] == (stop in (3, 14))
    again = network("chip-b")
    resumed = trainer(second, again, material=LONG, schedule=plan)
    resumed.restore(kept.step, kept.state)
    for old, new in zip(learners, again, strict=True):
        new.unit._clock.time_s = old.unit._clock.time_s  # type: ignore[attr-defined]
    resumed.run()
    assert numbers(straight)[-len(numbers(second)) :] == numbers(second)
    assert len(second.of(StepDone)) == 20 - stop


class AbortAfter(Commands):
    """Aborts once so many steps are done."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self._left = steps

    def take(self, wait: bool = False) -> Verb | None:
        self._left -= 1
        return "abort" if self._left < 0 else None


def test_a_run_file_holds_the_batch_that_was_measured_ahead(tmp_path: Path) -> None:
    """A run that is stopped and resumed from its file ends with the numbers of one that was not."""
    path, small = tmp_path / "small.toml", [f"schedule.{key}" for key in ("delay=1", "batch=32", "epochs=1")]
    path.write_text(PROTOCOL, encoding="utf-8")
    straight = pib_lab.open(path, overrides=small).train(tmp_path / "straight")
    stopped = pib_lab.open(path, overrides=small).train(tmp_path / "stopped", commands=AbortAfter(3))
    assert stopped.status == "aborted"
    resumed = pib_lab.reopen(stopped.folder).train(resume=stopped.folder)
    assert (resumed.metrics, resumed.passes, resumed.pulses) == (straight.metrics, straight.passes, straight.pulses)
    assert resumed.metrics["delayed_batches"] > 3
    with Reader(resumed.folder) as one, Reader(straight.folder) as other:
        maps = [[event for event in reader.events() if isinstance(event, MapTaken)] for reader in (one, other)]
    assert len(maps[0]) == len(maps[1]) == 2
    for ours, theirs in zip(*maps, strict=True):
        np.testing.assert_array_equal(ours.parameters, theirs.parameters)


def test_a_failing_measurement_ahead_programs_nothing_more() -> None:
    """The batch before it was worked out, and is given up with the run; outputs are off."""

    def fail(number: int, made: Any) -> Any:
        if number > 5:
            made.values[0, 0] = np.nan
        return made

    def wrap(unit: MockCrossbar) -> Linear:
        made = Linear(unit)
        if unit.spec.name == "hidden":
            made.spoil = fail  # type: ignore[method-assign]
        return made

    log, learners = Log(), network(wrap=wrap)
    made = started(log, learners, material=LONG, schedule=schedule(1))
    with pytest.raises(Exception, match="not finite"):
        made.run()
    assert made.state.value == "failed"
    assert learners[0].parameters.version == made.step


@pytest.mark.parametrize(
    ("learners", "teacher", "message"),
    [
        (lambda: network(wrap=Wrapped), None, "learns by rule spsa"),
        (network, Backpropagation(stale_transfer), "only local learning"),
    ],
    ids=["perturbation", "backpropagation"],
)
def test_what_cannot_be_delayed_is_refused(
    learners: Callable[[], Sequence[LocalLearner]], teacher: Any, message: str
) -> None:
    """Perturbation measures while it learns, and peers look across units; the way out is named."""
    with pytest.raises(ConfigurationError, match=f"{message}.*set schedule.delay = 0"):
        trainer(Log(), list(learners()), schedule=schedule(1), teacher=teacher, limits=Limits())
