"""The orchestrator: the only loop. Batches in; local learning at every unit; events out.

Nothing travels backwards between units: each learner is given its own measurement, the Gram matrix of the network's
input and the targets. Steps are counted from 1; an event's step is the number of steps completed when it was made
(of faults, scans and the evaluations around a fault: the step that they precede).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from pib_lab.batches import batches
from pib_lab.clocks import Stopwatch
from pib_lab.control import Commands
from pib_lab.entropy import input_gram
from pib_lab.errors import Cancelled, ConfigurationError, DeviceError, LimitError, PibError
from pib_lab.evaluation import Material, Samples, evaluate_split, information_planes, take_maps
from pib_lab.events import NAN, CheckpointTaken, Passes, RunFinished, RunState, StateChanged, StepDone
from pib_lab.experiment import Fault, Limits, Scan, Schedule
from pib_lab.learner import LearnBatch, LocalLearner
from pib_lab.quantities import Array
from pib_lab.teaching import LocalTeacher, Teacher, unit_steps
from pib_lab.upkeep import Publish, Upkeep, keeping_rejected, make_all_safe
from pib_lab.wear import WearBudget

__all__ = ["LocalTeacher", "Material", "Samples", "Teacher", "Trainer"]


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
        commands: Commands | None = None,
        teacher: Teacher | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.learners = list(learners)
        self.state = RunState.IDLE
        self.step = 0
        self.passes = Passes()
        self._material, self._schedule, self._publish = material, schedule, publish
        self._seed, self._learning_rate = seed, learning_rate
        self._budget = WearBudget(self.learners, limits.pulses)
        self._upkeep = Upkeep(self.learners, faults, scan or Scan(), self._budget, seed, publish)
        self._commands = commands or Commands()
        self._teacher: Teacher = teacher or LocalTeacher()
        self._clock = clock
        self._watch = Stopwatch(clock)
        self.metrics: dict[str, float] = {}
        self.steps_per_epoch = len(material.train.y) // schedule.batch
        self.total_steps = schedule.epochs * self.steps_per_epoch
        self._kept_step = 0
        for learner in self.learners:
            learner.cancel = self._commands.cancel

    # The run

    def start(self) -> None:
        """Program, range and calibrate every unit, in the order of the signal.

        Raises ConfigurationError for data that cannot fill a batch, LimitError when programming or a first scan would
        overdraw `limits.pulses`. When a device, a limit or the operator stops it, outputs are off and the end of the
        run is published by the time that is raised.
        """
        first = batches(len(self._material.train.y), self._schedule.batch, self._seed, 0)[0]
        try:
            with keeping_rejected(self.learners, self._publish, lambda: self.step):
                self._prepare(first)
        except Cancelled:
            self._end("aborted", "")
            raise
        except (DeviceError, LimitError) as problem:
            self._end("failed", str(problem))
            raise

    def _prepare(self, first: npt.NDArray[np.int64]) -> None:
        self._budget.spare(self._budget.foresee_writes(self.learners), "the first programming")
        for learner in self.learners:
            learner.start()
            self._budget.note_writes(learner.faults.size)
            self.passes += Passes(verify=learner.wear()[1])
        self.passes += self._calibrate(first)
        self.passes += self._upkeep.scan_at_start()

    def _calibrate(self, index: npt.NDArray[np.int64]) -> Passes:
        """Range and conditioning of every unit from one batch, in the order of the signal."""
        signal, spent = self._material.train.x[index], Passes()
        for learner in self.learners:
            signal, passes = learner.calibrate(signal)
            spent += Passes(calibration=passes)
        return spent

    def run(self) -> RunFinished:
        """Train to the end, until aborted, or until something fails; make every unit safe; say how it ended."""
        status, error, between_steps = "failed", "", False
        failure: BaseException | None = None
        try:
            self._to(RunState.RUNNING)
            with keeping_rejected(self.learners, self._publish, lambda: self.step):
                while self.step < self.total_steps and self._obey():
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
        elapsed_s = self._watch.elapsed_s
        finished = RunFinished(status, self.step, self.metrics, self.passes, self.pulses(), elapsed_s, error, safe)
        if keep:
            self._keep()
        self._to(RunState(status), error)
        self._publish(finished)
        return finished

    def _obey(self) -> bool:
        """Carry out waiting commands; False to end the run."""
        verb = self._commands.take()
        while verb is not None or self.state is RunState.PAUSED:
            if verb in ("abort", "safe"):
                self._to(RunState.ABORTING, f"{verb} asked for")
                return False
            if verb == "pause" and self.state is RunState.RUNNING:
                self._to(RunState.PAUSED)
            elif verb == "resume" and self.state is RunState.PAUSED:
                self._to(RunState.RUNNING)
            verb = self._commands.take(wait=self.state is RunState.PAUSED)
        return True

    def _to(self, state: RunState, reason: str = "") -> None:
        self.state = state
        if state is RunState.RUNNING:
            self._watch.go()
        else:  # a pause is no work
            self._watch.hold()
        self._publish(StateChanged(state, self.step, reason))

    def _one_step(self) -> None:
        self._upkeep.spare_step(self.step + 1)
        epoch, position = divmod(self.step, self.steps_per_epoch)
        index = batches(len(self._material.train.y), self._schedule.batch, self._seed, epoch)[position]
        x, labels = self._material.train.x[index], self._material.train.y[index]
        spent = self._upkeep.strike(self.step + 1, self._validate, x)
        self.passes += spent  # not in one line: validations have added theirs meanwhile
        rate = self._rate()
        x_gram = input_gram(torch.from_numpy(x))
        outputs = self._forward(x)
        batch = LearnBatch(self.step + 1, labels, self._material.classes, x_gram.numpy(), rate)
        every = self._schedule.entropies_every
        logged = every and self.step % every == 0
        planes = information_planes(outputs, x_gram, labels) if logged else [(NAN, NAN, NAN)] * len(outputs)
        saturated = [learner.trace.saturated if learner.trace else 0.0 for learner in self.learners]
        records = self._teacher.teach(self.learners, batch)
        self.step += 1
        self.passes += Passes(
            training=sum(record.passes for record in records), verify=sum(record.verify_passes for record in records)
        )
        self._budget.note_step(
            sum(record.pulses for record in records), sum(record.cells_written for record in records)
        )
        units = unit_steps(self.learners, records, planes, saturated)
        accuracy = float((outputs[-1].argmax(axis=1) == labels).mean())
        totals = (self.passes, self.pulses(), math.log2(len(labels)), self._watch.elapsed_s)
        self._publish(StepDone(self.step, epoch + 1, accuracy, rate, units, *totals))
        self._at_intervals()

    def _rate(self) -> float:
        if self._schedule.decay == "constant":
            return self._learning_rate
        return 0.5 * self._learning_rate * (1.0 + math.cos(math.pi * self.step / self.total_steps))

    def _forward(self, x: Array) -> list[Array]:
        outputs: list[Array] = []
        signal = x
        for learner in self.learners:
            signal = learner.forward(signal, learn=True)
            assert learner.trace is not None
            self.passes += Passes(training=learner.trace.passes)
            outputs.append(signal)
        return outputs

    def _due(self, every: int) -> bool:
        """Whether something is due after the present step; 0 is once an epoch."""
        return self.step % (every or self.steps_per_epoch) == 0

    def _at_intervals(self) -> None:
        schedule = self._schedule
        if self._due(schedule.evaluate_every):
            self._validate(self.step)
        if schedule.maps_every and self._due(schedule.maps_every):
            self._publish_maps()
        self.passes += self._upkeep.scan_after(self.step)
        if self._due(schedule.checkpoint_every):
            self._keep()

    def _conclude(self) -> None:
        """The end of training: final maps, and the only look at the test split."""
        self._publish_maps()
        self._evaluate("test", self._material.test, self.step)
        updates = max(1, self.step * self._schedule.batch * len(self.learners))
        self.metrics["training_passes_per_sample_per_update"] = self.passes.training / updates
        cells = sum(learner.accumulator.held.size for learner in self.learners)
        self.metrics["pulses_per_parameter"] = self.pulses() / cells

    # Measuring without learning

    def _evaluate(self, split: str, samples: Samples, step: int) -> None:
        """Accuracy and the read-out's loss on a split, unless it is empty; conditioning frozen."""
        if not len(samples.y):
            return
        result, passes = evaluate_split(self.learners, split, samples, self._schedule.evaluation_batch, step)
        self.passes += passes
        self.metrics[f"{split}_accuracy"] = result.accuracy
        self._publish(result)

    def _validate(self, step: int) -> None:
        self._evaluate("validation", self._material.validation, step)

    def _publish_maps(self) -> None:
        for taken in take_maps(self.learners, self.step):
            self._publish(taken)

    def pulses(self) -> int:
        """Programming pulses so far, all units."""
        return self._budget.pulses()

    # The end, and beginning again

    def _keep(self) -> None:
        """Publish a checkpoint, unless this step has one."""
        if self.step != self._kept_step:
            self._publish(CheckpointTaken(self.step, self.snapshot()))
            self._kept_step = self.step

    def snapshot(self) -> dict[str, Any]:
        """All that a resume needs, by path."""
        state: dict[str, Any] = {f"passes/{key}": getattr(self.passes, key) for key in Passes.__dataclass_fields__}
        state |= self._budget.snapshot()
        state["elapsed_s"] = self._watch.elapsed_s
        state["validation_accuracy"] = self.metrics.get("validation_accuracy", NAN)
        for learner in self.learners:
            state |= {f"{learner.name}/{key}": value for key, value in learner.snapshot().items()}
        return state

    def restore(self, step: int, state: dict[str, Any]) -> None:
        """Go back to the checkpoint taken after `step` (instead of `start`).

        Raises ConfigurationError when the checkpoint is of another network.
        """
        try:
            self.passes = Passes(**{key: int(state[f"passes/{key}"]) for key in Passes.__dataclass_fields__})
            self._budget.restore(state)
            self._watch = Stopwatch(self._clock, float(state["elapsed_s"]))
            if math.isfinite(state["validation_accuracy"]):
                self.metrics["validation_accuracy"] = float(state["validation_accuracy"])
            for learner in self.learners:
                prefix = f"{learner.name}/"
                part = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
                self.passes += Passes(calibration=learner.restore(part))
        except KeyError as missing:
            raise ConfigurationError(f"the checkpoint does not fit this protocol: {missing} is not in it") from None
        self.step = self._kept_step = step
