"""The orchestrator: states, order of events, and outputs off on every way out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from learning_bench import Linear, Log, Wrapped, network, started, states, trainer

from drivers.chip.mock_chip import MockCrossbar
from pib_lab.baselines import Backpropagation, exact_transfer, stale_transfer
from pib_lab.control import Commands
from pib_lab.errors import ConfigurationError, DeviceError, ResponseError, RunFileError
from pib_lab.events import (
    BatchRejected,
    CheckpointTaken,
    Evaluated,
    Event,
    MadeSafe,
    MapTaken,
    RunFinished,
    StateChanged,
    StepDone,
)
from pib_lab.experiment import Schedule
from pib_lab.learner import LocalLearner
from pib_lab.records import Passes, RunState
from pib_lab.unit import Measurement, SafeReport


def linear(spoil: Callable[[int, Measurement], Measurement]) -> list[LocalLearner]:
    """The small network, whose hidden unit's measurements pass through `spoil`."""

    def wrap(unit: MockCrossbar) -> Linear:
        made = Linear(unit)
        if unit.spec.name == "hidden":
            made.spoil = spoil
        return made

    return network(wrap=wrap)


def after_step(step: int, act: Callable[[], None]) -> Callable[[Event], None]:
    """A view that acts when it sees a step done."""

    def react(event: Event) -> None:
        if isinstance(event, StepDone) and event.step == step:
            act()

    return react


def test_events_come_in_order() -> None:
    """Running; per step its record, then at the epoch's end evaluation, maps and checkpoint; then the end."""
    log = Log()
    started(log).run()
    kinds = [type(event) for event in log.events]
    epoch = [StepDone, StepDone, StepDone, Evaluated, MapTaken, MapTaken, CheckpointTaken]
    end = [MapTaken, MapTaken, Evaluated, MadeSafe, MadeSafe, StateChanged, RunFinished]
    assert kinds == [StateChanged, *epoch, *epoch, *end]
    assert states(log) == ["running", "finished"]
    assert [event.step for event in log.of(StepDone)] == [1, 2, 3, 4, 5, 6]
    assert [event.epoch for event in log.of(StepDone)] == [1, 1, 1, 2, 2, 2]


def test_training_learns() -> None:
    """A few epochs on an easy task reach a good accuracy on the test split, and the metrics say so."""
    log = Log()
    result = started(log, schedule=Schedule(epochs=15, batch=32)).run()
    assert result.status == "finished"
    assert result.metrics["test_accuracy"] > 0.9
    assert result.metrics["test_accuracy"] == log.of(Evaluated)[-1].accuracy


def test_passes_are_counted_by_purpose() -> None:
    """Training: one a sample, unit and step; evaluation and calibration apart; verify as the units count it."""
    log = Log()
    made = started(log)
    calibration = made.passes.calibration
    assert made.passes == Passes(verify=sum(learner.wear()[1] for learner in made.learners), calibration=calibration)
    assert calibration >= 2 * 32
    result = made.run()
    assert result.passes.training == 6 * 32 * 2
    assert result.passes.evaluation == (2 * 24 + 24) * 2
    assert result.passes.calibration == calibration
    assert result.passes.verify == sum(learner.wear()[1] for learner in made.learners)
    assert result.metrics["training_passes_per_sample_per_update"] == 1.0


def test_entropies_are_logged_every_k_steps() -> None:
    """With entropies_every = 2 on steps 1, 3 and 5, in bits under the ceiling log2 n; NaN between."""
    log = Log()
    started(log).run()
    for done in log.of(StepDone):
        values = [value for unit in done.units for value in (unit.i_xz, unit.i_zy, unit.h_z)]
        if done.step % 2:
            assert all(-0.2 < value <= done.ceiling_bits == 5.0 for value in values)
        else:
            assert np.isnan(values).all()


def test_the_learning_rate_decays_to_nothing() -> None:
    """A cosine from the protocol's rate."""
    log = Log()
    started(log).run()
    rates = [event.learning_rate for event in log.of(StepDone)]
    np.testing.assert_allclose(rates, 0.01 * (1 + np.cos(np.pi * np.arange(6) / 6)))


def test_pause_and_resume_at_step_boundaries() -> None:
    """Commands posted by a view during a step are obeyed before the next one."""
    commands = Commands()
    log = Log()

    def react(event: Event) -> None:
        if isinstance(event, StepDone) and event.step == 2:
            commands.post("pause")
        if isinstance(event, StateChanged) and event.state is RunState.PAUSED:
            commands.post("resume")

    log.react = react
    assert started(log, commands=commands).run().status == "finished"
    assert [(event.state.value, event.step) for event in log.of(StateChanged)] == [
        ("running", 0),
        ("paused", 2),
        ("running", 2),
        ("finished", 6),
    ]


@pytest.mark.parametrize("verb", ["abort", "safe"])
def test_abort_and_safe_end_the_run_after_the_step(verb: str) -> None:
    """The step that goes on is finished, outputs go off, the run says it was aborted; the test split is not seen."""
    commands = Commands()
    log = Log(react=after_step(2, lambda: commands.post(verb)))
    result = started(log, commands=commands).run()
    assert (result.status, result.step, result.safe) == ("aborted", 2, True)
    assert states(log) == ["running", "aborting", "aborted"]
    assert len(log.of(MadeSafe)) == 2
    assert not log.of(Evaluated)


def test_a_paused_run_can_be_aborted() -> None:
    """No resume is needed first."""
    commands = Commands()
    log = Log(react=after_step(1, lambda: (commands.post("pause"), commands.post("abort"))[0]))
    assert started(log, commands=commands).run().status == "aborted"
    assert states(log) == ["running", "paused", "aborting", "aborted"]


def test_safe_interrupts_a_measurement() -> None:
    """A measurement that is going on is cancelled, not waited for; the step does not count."""
    commands = Commands()

    def spoil(number: int, made: Measurement) -> Measurement:
        if number == 4:
            commands.post("safe")
        return made

    log = Log()
    result = started(log, linear(spoil), commands=commands).run()
    assert result.status == "aborted"
    assert result.step == len(log.of(StepDone)) < 3
    assert len(log.of(MadeSafe)) == 2


def test_commands_out_of_turn_change_nothing() -> None:
    """Resume while running, pause twice: obeyed where they make sense, ignored elsewhere."""
    commands = Commands()
    for verb in ("resume", "pause", "pause", "resume"):
        commands.post(verb)
    log = Log()
    assert started(log, commands=commands).run().status == "finished"
    assert states(log) == ["running", "paused", "running", "finished"]


def test_an_unknown_command_is_refused() -> None:
    """The message names the known ones."""
    with pytest.raises(ConfigurationError, match="pause, resume, abort or safe"):
        Commands().post("stop")


@pytest.mark.parametrize(
    ("problem", "status", "raised"),
    [
        (DeviceError("the link is dead"), "failed", True),
        (RuntimeError("a bug"), "failed", True),
        (KeyboardInterrupt(), "aborted", False),
    ],
    ids=["device", "bug", "ctrl-c"],
)
def test_outputs_go_off_whatever_happens(problem: BaseException, status: str, raised: bool) -> None:
    """A dead link, a bug and Ctrl-C in mid-step all make every unit safe, last unit first, and are recorded."""

    def spoil(number: int, made: Measurement) -> Measurement:
        if number == 4:
            raise problem
        return made

    log = Log()
    made = started(log, linear(spoil))
    if raised:
        with pytest.raises(type(problem)):
            made.run()
    else:
        made.run()
    assert [event.unit for event in log.of(MadeSafe)] == ["read-out", "hidden"]
    assert all(learner.unit.made_safe == 1 for learner in made.learners)  # type: ignore[attr-defined]
    finished = log.events[-1]
    assert isinstance(finished, RunFinished)
    assert finished.status == status
    assert str(problem) in finished.error or not raised
    assert states(log)[-1] == status


def test_what_could_not_be_confirmed_off_is_said() -> None:
    """A unit that does not read back off makes the whole run not safe."""

    class Stubborn(Linear):
        def make_safe(self) -> SafeReport:
            return SafeReport(self.spec.name, confirmed=(), not_confirmed=("read voltage",))

    log = Log()
    result = started(log, network(wrap=Stubborn)).run()
    assert not result.safe
    assert log.of(MadeSafe)[0].not_confirmed == ("read voltage",)


@pytest.mark.parametrize("kind", [StepDone, MadeSafe, CheckpointTaken, RunFinished])
def test_a_recorder_that_fails_ends_the_run_safely(kind: type[Event]) -> None:
    """A full disk at any event: every unit is made safe all the same, and the error is the recorder's."""

    def react(event: Event) -> None:
        if isinstance(event, kind):
            full.append(True)
        if full:
            raise RunFileError("the disk is full")

    full: list[bool] = []
    made = started(Log(react=react), network(wrap=Linear))
    with pytest.raises(RunFileError, match="full"):
        made.run()
    assert all(learner.unit.made_safe == 1 for learner in made.learners)  # type: ignore[attr-defined]


@pytest.mark.parametrize("number", [4, 9])
def test_a_batch_that_cannot_be_learned_from_is_saved(number: int) -> None:
    """A NaN, in a training batch or in an evaluation, fails the run, safely, with drive and response recorded."""

    def spoil(at: int, made: Measurement) -> Measurement:
        if at == number:
            made.values[0, 0] = np.nan
        return made

    log = Log()
    made = started(log, linear(spoil))
    with pytest.raises(ResponseError, match="not finite"):
        made.run()
    (rejected,) = log.of(BatchRejected)
    assert rejected.unit == "hidden"
    assert rejected.drive.shape[1] == 16
    assert np.isnan(rejected.response[0, 0])
    assert states(log)[-1] == "failed"
    assert log.events.index(rejected) < log.events.index(log.of(MadeSafe)[0])
    assert len(log.of(MadeSafe)) == 2


def test_a_nan_during_perturbation_is_saved_too() -> None:
    """A black box's shifted measurements are refused and recorded in the same way."""

    class BlackBox(Wrapped):
        measured = 0

        def measure(self, drive: Any, *, cancel: Any) -> Measurement:
            made = super().measure(drive, cancel=cancel)
            self.measured += 1
            if self.measured == 3:
                made.values[0, 0] = np.nan
            return made

    log = Log()
    made = started(log, network(wrap=BlackBox))
    with pytest.raises(ResponseError):
        made.run()
    assert len(log.of(BatchRejected)) == 1


def test_an_aborted_run_keeps_its_last_step() -> None:
    """A checkpoint of the step after which the run was aborted, once outputs are off, and only one."""
    for step, taken in ((2, [2]), (3, [3])):
        commands, log = Commands(), Log()
        log.react = after_step(step, lambda commands=commands: commands.post("abort"))  # type: ignore[misc]
        started(log, commands=commands).run()
        assert [event.step for event in log.of(CheckpointTaken)] == taken


class Ticking(Log):
    """A log with a clock: every step that is published takes a second, every pause a hundred."""

    def __init__(self, time_s: float, react: Callable[[Event], None] = lambda event: None):
        super().__init__(react=react)
        self.time_s = time_s

    def __call__(self, event: Event) -> None:
        if isinstance(event, StepDone):
            self.time_s += 1.0
        elif isinstance(event, StateChanged) and event.state is RunState.PAUSED:
            self.time_s += 100.0
        super().__call__(event)


def test_elapsed_time_leaves_pauses_out() -> None:
    """A pause of 100 s after step 2 is no time at work."""
    commands = Commands()

    def react(event: Event) -> None:
        if isinstance(event, StepDone) and event.step == 2:
            commands.post("pause")
        elif isinstance(event, StateChanged) and event.state is RunState.PAUSED:
            commands.post("resume")

    log = Ticking(50.0, react)
    finished = started(log, commands=commands, clock=lambda: log.time_s).run()
    assert "paused" in states(log)
    assert [event.elapsed_s for event in log.of(StepDone)] == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    assert finished.wall_s == 6.0


def test_elapsed_time_goes_on_after_a_resume() -> None:
    """The seconds before the checkpoint count, those between the sessions do not."""
    log = Ticking(0.0)
    started(log, clock=lambda: log.time_s).run()
    checkpoint = log.of(CheckpointTaken)[0]
    later = Ticking(7000.0)
    again = trainer(later, clock=lambda: later.time_s)
    again.restore(checkpoint.step, checkpoint.state)
    assert again.run().wall_s == 6.0
    assert [event.elapsed_s for event in later.of(StepDone)] == [3.0, 4.0, 5.0]


def test_a_make_safe_that_raises_hides_no_other_report() -> None:
    """The unit is reported as not confirmed, with what was raised; the other one is made safe all the same."""

    class Raising(Linear):
        def make_safe(self) -> SafeReport:
            if self.spec.name == "read-out":
                raise OSError("the vendor's library has crashed")
            return super().make_safe()

    log = Log()
    assert not started(log, network(wrap=Raising)).run().safe
    first, second = log.of(MadeSafe)
    assert (first.unit, first.confirmed, first.not_confirmed) == ("read-out", (), ("all outputs",))
    assert "OSError: the vendor's library has crashed" in first.detail
    assert (second.unit, second.not_confirmed) == ("hidden", ())


def test_no_split_but_the_test_split_is_seen_once() -> None:
    """Validation at every epoch, test at the end only."""
    log = Log()
    started(log).run()
    assert [event.split for event in log.of(Evaluated)] == ["validation", "validation", "test"]


@pytest.mark.parametrize("transfer", [exact_transfer, stale_transfer])
def test_the_peers_train_the_same_units(transfer: Any) -> None:
    """Backpropagation through the true and through the believed transfer both learn the task on the ideal chip."""
    log = Log()
    result = started(log, teacher=Backpropagation(transfer), schedule=Schedule(epochs=12, batch=32)).run()
    assert result.metrics["test_accuracy"] > 0.9
    assert result.metrics["training_passes_per_sample_per_update"] == 1.0


def test_a_peer_that_needs_the_truth_is_refused_on_real_units() -> None:
    """Only mocks reveal their conductances."""
    made = started(Log(), network(wrap=Linear), teacher=Backpropagation(exact_transfer))
    with pytest.raises(ConfigurationError, match="only a mock"):
        made.run()


def test_a_checkpoint_of_another_network_is_refused() -> None:
    """The missing name is in the message."""
    state = started(Log()).snapshot()
    del state["hidden/held"]
    with pytest.raises(ConfigurationError, match="'held' is not in it"):
        trainer(Log()).restore(3, state)


def test_a_run_continues_from_a_checkpoint_as_if_nothing_had_happened() -> None:
    """Steps 4 to 6 after a restore equal those of the straight run, bit for bit, metrics included."""
    straight, resumed = Log(), Log()
    whole = started(straight).run()
    checkpoint = straight.of(CheckpointTaken)[0]
    again = trainer(resumed)
    again.restore(checkpoint.step, checkpoint.state)
    rest = again.run()

    def numbers(log: Log) -> list[Any]:
        steps = [(event.step, event.passes, event.pulses, event.units) for event in log.of(StepDone)][-3:]
        return [*steps, *log.of(Evaluated)[-2:]]

    assert repr(numbers(resumed)) == repr(numbers(straight))
    assert rest.metrics == whole.metrics
    assert rest.passes == whole.passes
