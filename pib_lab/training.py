"""The orchestrator: the only loop. Batches in; local learning at every unit; events out.

Nothing travels backwards between units: each learner is given its own measurement, the Gram matrix of the network's
input and the targets. Steps are counted from 1; an event's step is the number of steps completed when it was made
(of faults, scans and the evaluations around a fault: the step that they precede).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from pib_lab.accounts import Accounts
from pib_lab.checkpoints import restore_run, snapshot_run
from pib_lab.control import Commands
from pib_lab.errors import Cancelled, DeviceError, LimitError, PibError
from pib_lab.evaluation import Examiner, Material
from pib_lab.events import CheckpointTaken, RunFinished
from pib_lab.experiment import Fault, Health, Limits, Scan, Schedule
from pib_lab.health import HealthWatch
from pib_lab.learner import LocalLearner
from pib_lab.pipeline import Pipeline, require_local
from pib_lab.preparation import prepare
from pib_lab.records import Passes, RunState
from pib_lab.states import RunStates
from pib_lab.teaching import Lesson, LocalTeacher, Teacher, lesson_of, step_done, study
from pib_lab.timetable import Timetable
from pib_lab.upkeep import Publish, Upkeep, cancel_by, keeping_rejected, make_all_safe


class Trainer:
    """Runs one training from a given step to the end, and leaves every output off whatever happens."""

    def __init__(
        self,
        learners: Sequence[LocalLearner],
        material: Material,
        schedule: Schedule,
        publish: Publish,
        *,
        seed: int,
        learning_rate: float,
        limits: Limits,
        faults: Sequence[Fault] = (),
        scan: Scan | None = None,
        health: Health | None = None,
        commands: Commands | None = None,
        teacher: Teacher | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.learners = list(learners)
        self.step = 0
        self.accounts = Accounts(self.learners, limits.pulses, clock)
        self.metrics = self.accounts.metrics
        self._timetable = Timetable(schedule, len(material.train.y), seed, learning_rate)
        self.steps_per_epoch, self.total_steps = self._timetable.steps_per_epoch, self._timetable.total_steps
        self._material, self._schedule, self._publish = material, schedule, publish
        commands = commands or Commands()
        watch = HealthWatch(self.learners, health or Health(), publish, lambda: commands.post("pause"))
        self._upkeep = Upkeep(self.learners, faults, scan or Scan(), self.accounts.budget, seed, publish, watch)
        self._examiner = Examiner(self.learners, material, schedule.evaluation_batch, self.accounts, publish)
        self._states = RunStates(commands, self.accounts, publish)
        self._teacher: Teacher = teacher or LocalTeacher()
        self._pipeline = Pipeline(self.learners)
        self._ahead: Lesson | None = None  # a batch that was measured before the last update was programmed
        self._kept_step = 0
        if schedule.delay:
            require_local(self.learners, self._teacher)
        cancel_by(commands.cancel, self.learners)

    @property
    def state(self) -> RunState:
        """Where the run stands."""
        return self._states.now

    @property
    def passes(self) -> Passes:
        """Passes so far, all units."""
        return self.accounts.passes

    def pulses(self) -> int:
        """Programming pulses so far, all units."""
        return self.accounts.budget.pulses()

    # The run

    def start(self) -> None:
        """Program, range and calibrate every unit, in the order of the signal.

        Raises ConfigurationError for data that cannot fill a batch, LimitError when programming or a first scan would
        overdraw `limits.pulses`. When a device, a limit or the operator stops it, outputs are off and the end of the
        run is published by the time that is raised.
        """
        first = self._material.train.x[self._timetable.batch(1)]
        try:
            with keeping_rejected(self.learners, self._publish, lambda: self.step):
                prepare(self.learners, first, self.accounts, self._upkeep)
        except Cancelled:
            self._end("aborted", "")
            raise
        except (DeviceError, LimitError) as problem:
            self._end("failed", str(problem))
            raise

    def run(self) -> RunFinished:
        """Train to the end, until aborted, or until something fails; make every unit safe; say how it ended."""
        status, error, between_steps = "failed", "", False
        failure: BaseException | None = None
        try:
            self._states.to(RunState.RUNNING, self.step)
            with keeping_rejected(self.learners, self._publish, lambda: self.step):
                while self.step < self.total_steps and self._states.obey(self.step):
                    self._one_step()
                if self.step >= self.total_steps:
                    self._conclude()
                    status = "finished"
                else:
                    status, between_steps = "aborted", True
        except (Cancelled, KeyboardInterrupt):
            status = "aborted"
        except PibError as problem:
            error, failure = str(problem), problem
        except BaseException as problem:  # whatever it was, outputs go off first; then it is raised again
            error, failure = f"{type(problem).__name__}: {problem}", problem
        try:
            finished = self._end(status, error, keep=between_steps)
        except PibError as problem:  # the recorder's own failure is what ended the run, or ends it now
            if failure is None:
                raise
            raise failure from problem
        if failure is not None:
            raise failure
        return finished

    def _end(self, status: str, error: str, *, keep: bool = False) -> RunFinished:
        """Outputs off first; then, with `keep`, a checkpoint, and how the run ended."""
        safe = make_all_safe(self.learners, self._publish)
        self._pipeline.close()
        elapsed_s = self.accounts.watch.elapsed_s
        finished = RunFinished(status, self.step, self.metrics, self.passes, self.pulses(), elapsed_s, error, safe)
        if keep:
            self._keep()
        self._states.to(RunState(status), self.step, error)
        self._publish(finished)
        return finished

    # A step

    def _one_step(self) -> None:
        """One batch through all units, and all units updated.

        With `schedule.delay`, the next batch is measured before this one's update is programmed, unless something
        comes between them for which every update must be in place.
        """
        self._upkeep.spare_step(self.step + 1)
        lesson, self._ahead = self._ahead or self._measure(self.step + 1), None
        if self._looks_ahead(self.step + 1):
            records, planes, self._ahead = self._pipeline.teach(lesson, lambda: self._measure(lesson.step + 1))
        else:
            batch, planes = study(lesson)
            records = self._teacher.teach(self.learners, batch)
        self.step += 1
        self.accounts.note_step(records)
        epoch = self._timetable.epoch(self.step)
        self._publish(step_done(self.learners, lesson, records, planes, epoch, self.accounts))
        self._at_intervals()

    def _measure(self, step: int) -> Lesson:
        """The batch of `step` through all units, after the faults that strike before it."""
        signal = self._material.train.x[self._timetable.batch(step)]
        spent = self._upkeep.strike(step, self._examiner.validate, signal)
        self.accounts.passes += spent  # not in one line: validations have added theirs meanwhile
        for learner in self.learners:
            signal = learner.forward(signal, learn=True)
            assert learner.trace is not None
            self.accounts.passes += Passes(training=learner.trace.passes)
        return self._lesson(step)

    def _lesson(self, step: int) -> Lesson:
        return lesson_of(self.learners, self._material.train, self._material.classes, self._timetable, step)

    def _looks_ahead(self, step: int) -> bool:
        """Whether the batch after `step` is measured before the update of `step`: by counting alone."""
        return bool(self._schedule.delay) and self._timetable.runs_on(step) and not self._upkeep.due_between(step)

    def _at_intervals(self) -> None:
        if self._timetable.evaluates(self.step):
            self._examiner.validate(self.step)
        if self._timetable.maps(self.step):
            self._examiner.maps(self.step)
        elif self._timetable.logs(self.step):
            self._examiner.frames(self.step)
        self.accounts.passes += self._upkeep.scan_after(self.step)
        if self._timetable.keeps(self.step):
            self._keep()

    def _conclude(self) -> None:
        """The end of training: final maps, and the only look at the test split."""
        self._examiner.maps(self.step)
        self._examiner.test(self.step)
        delayed = sum(self._looks_ahead(step) for step in range(1, self.total_steps))
        self.accounts.conclude(self.step * self._schedule.batch, delayed if self._schedule.delay else None)

    # The end, and beginning again

    def _keep(self) -> None:
        """Publish a checkpoint, unless this step has one."""
        if self.step != self._kept_step:
            self._publish(CheckpointTaken(self.step, self.snapshot()))
            self._kept_step = self.step

    def snapshot(self) -> dict[str, Any]:
        """All that a resume needs, by path."""
        samples = self._schedule.batch if self._schedule.delay else 0
        return snapshot_run(self.accounts, self.learners, self._ahead is not None, samples)

    def restore(self, step: int, state: dict[str, Any]) -> None:
        """Go back to the checkpoint taken after `step` (instead of `start`).

        Raises ConfigurationError when the checkpoint is of another network.
        """
        ahead = restore_run(self.accounts, self.learners, state)
        self.step = self._kept_step = step
        self._ahead = self._lesson(step + 1) if ahead else None
