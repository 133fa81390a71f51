"""The orchestrator: the only loop. Batches in; local learning at every unit; events out.

Nothing travels backwards between units: each learner is given its own measurement, the Gram matrix of the network's
input and the targets. Steps are counted from 1; an event's step is the number of steps completed when it was made
(of faults and scans: the step that they precede).
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch

from pib_lab.batches import batches
from pib_lab.control import Commands
from pib_lab.entropy import information_plane, input_gram, label_gram
from pib_lab.errors import Cancelled, ConfigurationError, LimitError, PibError, ResponseError
from pib_lab.events import (
    NAN,
    BatchRejected,
    CheckpointTaken,
    Evaluated,
    Event,
    FaultsScanned,
    FaultsStruck,
    MadeSafe,
    MapTaken,
    Message,
    Passes,
    RunFinished,
    RunState,
    StateChanged,
    StepDone,
    UnitStep,
)
from pib_lab.experiment import Fault, Limits, Scan, Schedule
from pib_lab.faults import can_scan, score
from pib_lab.learner import LearnBatch, LearnRecord, LocalLearner
from pib_lab.objectives import CrossEntropy
from pib_lab.quantities import Array, Labels
from pib_lab.capabilities import CountsWear, InjectsFaults, Ranges, ReportsFaults

Publish = Callable[[Event], None]


class Samples(Protocol):
    """Features (n, features) in 0..1 and labels (n,)."""

    @property
    def x(self) -> Array: ...

    @property
    def y(self) -> Labels: ...


@dataclass(frozen=True)
class Material:
    """What is learned from. Validation may be empty; the test split is looked at once, when training is over."""

    train: Samples
    validation: Samples
    test: Samples
    classes: int


class Teacher(Protocol):
    """How learners are taught from what they measured. The mission's way is `LocalTeacher`; peers are in baselines."""

    def teach(self, learners: Sequence[LocalLearner], batch: LearnBatch) -> list[LearnRecord]:
        """Let every learner learn from its last forward pass."""


class LocalTeacher:
    """Each learner improves its own local loss. The order does not matter: no learner looks at another."""

    def teach(self, learners: Sequence[LocalLearner], batch: LearnBatch) -> list[LearnRecord]:
        """One local step of every learner."""
        return [learner.learn(batch) for learner in learners]


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
        self._seed, self._learning_rate, self._limits = seed, learning_rate, limits
        self._faults, self._scan = tuple(faults), scan or Scan()
        self._commands = commands or Commands()
        self._teacher: Teacher = teacher or LocalTeacher()
        self._clock = clock
        self.metrics: dict[str, float] = {}
        self.steps_per_epoch = len(material.train.y) // schedule.batch
        self.total_steps = schedule.epochs * self.steps_per_epoch
        self._largest_step_pulses = 0
        for learner in self.learners:
            learner.cancel = self._commands.cancel

    # The run

    def start(self) -> None:
        """Program, range and calibrate every unit, in the order of the signal."""
        for learner in self.learners:
            learner.start()
        self._count_verify()
        signal = self._material.train.x[batches(len(self._material.train.y), self._schedule.batch, self._seed, 0)[0]]
        for learner in self.learners:
            signal, passes = learner.calibrate(signal)
            self.passes += Passes(calibration=passes)
        if self._scan.at_start:
            self._scan_units(self.learners)

    def run(self) -> RunFinished:
        """Train to the end, until aborted, or until something fails; make every unit safe; say how it ended."""
        started_s = self._clock()
        status, error = "failed", ""
        failure: BaseException | None = None
        try:
            self._to(RunState.RUNNING)
            with self._keeping_rejected():
                while self.step < self.total_steps and self._obey():
                    self._one_step(started_s)
                if self.step >= self.total_steps:
                    self._conclude()
                    status = "finished"
                else:
                    status = "aborted"
        except (Cancelled, KeyboardInterrupt):
            status = "aborted"
        except PibError as problem:
            error, failure = str(problem), problem
        except BaseException as problem:  # whatever it was, outputs go off first; then it is raised again
            error, failure = f"{type(problem).__name__}: {problem}", problem
        safe = self._make_safe()
        finished = RunFinished(
            status, self.step, self.metrics, self.passes, self.pulses(), self._clock() - started_s, error, safe
        )
        try:
            self._to(RunState(status), error)
            self._publish(finished)
        except PibError as problem:  # the recorder's own failure is what ended the run, or ends it now
            failure = failure or problem
        if failure is not None:
            raise failure
        return finished

    @contextlib.contextmanager
    def _keeping_rejected(self) -> Iterator[None]:
        """Save the measurement that a learner refused, then let the run fail."""
        try:
            yield
        except ResponseError as problem:
            for learner in self.learners:
                if learner.rejected is not None:
                    bad = learner.rejected
                    self._publish(BatchRejected(self.step, learner.name, str(problem), bad.drive, bad.values))
            raise

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
        self._publish(StateChanged(state, self.step, reason))

    def _one_step(self, started_s: float) -> None:
        self._strike(self.step + 1)
        self._spare_wear()
        epoch, position = divmod(self.step, self.steps_per_epoch)
        index = batches(len(self._material.train.y), self._schedule.batch, self._seed, epoch)[position]
        x, labels = self._material.train.x[index], self._material.train.y[index]
        rate = self._rate()
        x_gram = input_gram(torch.from_numpy(x))
        outputs = self._forward(x)
        batch = LearnBatch(self.step + 1, labels, self._material.classes, x_gram.numpy(), rate)
        planes = self._planes(outputs, x_gram, labels)
        saturated = [learner.trace.saturated if learner.trace else 0.0 for learner in self.learners]
        records = self._teacher.teach(self.learners, batch)
        self.step += 1
        self.passes += Passes(
            training=sum(record.passes for record in records), verify=sum(record.verify_passes for record in records)
        )
        self._largest_step_pulses = max(self._largest_step_pulses, sum(record.pulses for record in records))
        units = tuple(
            UnitStep(
                learner.name,
                record.loss,
                *plane,
                record.pulses,
                record.cells_written,
                clipped,
                learner.unit.full_scale() if isinstance(learner.unit, Ranges) else NAN,
            )
            for learner, record, plane, clipped in zip(self.learners, records, planes, saturated, strict=True)
        )
        accuracy = float((outputs[-1].argmax(axis=1) == labels).mean())
        ceiling = math.log2(len(labels))
        elapsed_s = self._clock() - started_s
        self._publish(
            StepDone(self.step, epoch + 1, accuracy, rate, units, self.passes, self.pulses(), ceiling, elapsed_s)
        )
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

    def _planes(
        self, outputs: Sequence[Array], x_gram: torch.Tensor, labels: Labels
    ) -> list[tuple[float, float, float]]:
        every = self._schedule.entropies_every
        if not every or self.step % every:
            return [(NAN, NAN, NAN)] * len(outputs)
        y_gram = label_gram(torch.from_numpy(labels))
        return [information_plane(torch.from_numpy(z), x_gram, y_gram) for z in outputs]

    def _at_intervals(self) -> None:
        schedule = self._schedule

        def due(every: int) -> bool:
            return self.step % (every or self.steps_per_epoch) == 0

        if due(schedule.evaluate_every) and len(self._material.validation.y):
            self.evaluate("validation", self._material.validation)
        if schedule.maps_every and due(schedule.maps_every):
            self._publish_maps()
        if self._scan.every and due(self._scan.every):
            self._scan_units(self.learners)
        if due(schedule.checkpoint_every):
            self._publish(CheckpointTaken(self.step, self.snapshot()))

    def _conclude(self) -> None:
        """The end of training: final maps, and the only look at the test split."""
        self._publish_maps()
        if len(self._material.test.y):
            self.evaluate("test", self._material.test)
        updates = max(1, self.step * self._schedule.batch * len(self.learners))
        self.metrics["training_passes_per_sample_per_update"] = self.passes.training / updates
        cells = sum(learner.accumulator.held.size for learner in self.learners)
        self.metrics["pulses_per_parameter"] = self.pulses() / cells

    # Measuring without learning

    def evaluate(self, split: str, samples: Samples) -> Evaluated:
        """Accuracy and the read-out's loss on a split, with conditioning frozen."""
        read_out = self.learners[-1].objective
        gain = read_out.gain if isinstance(read_out, CrossEntropy) else CrossEntropy().gain
        right, loss = 0, 0.0
        for x, y in _blocks(samples, self._schedule.evaluation_batch):
            signal = x
            for learner in self.learners:
                signal = learner.forward(signal, learn=False)
                self.passes += Passes(evaluation=len(x))
            right += int((signal.argmax(axis=1) == y).sum())
            logits = torch.from_numpy(np.float32(gain) * signal)
            loss += float(torch.nn.functional.cross_entropy(logits, torch.from_numpy(y))) * len(y)
        count = len(samples.y)
        result = Evaluated(self.step, split, right / count, loss / count / math.log(2.0), count)
        self.metrics[f"{split}_accuracy"] = result.accuracy
        self._publish(result)
        return result

    def _publish_maps(self) -> None:
        for learner in self.learners:
            counts = isinstance(learner.unit, CountsWear)
            pulses = learner.unit.pulses() if counts else np.zeros(learner.faults.shape, np.int32)  # type: ignore[attr-defined]
            self._publish(MapTaken(self.step, learner.name, learner.held_parameters(), learner.faults.copy(), pulses))

    # Faults and wear

    def _strike(self, step: int) -> None:
        """Faults that the protocol schedules for `step` (those before the first strike before step 1)."""
        for number, fault in enumerate(self._faults):
            if max(fault.step, 1) != step:
                continue
            struck = [learner for learner in self.learners if fault.unit in ("*", learner.name)]
            for position, learner in enumerate(struck):
                self._strike_unit(learner, fault, step, seed=self._seed + 7919 * (number + 1) + position)
            if self._scan.after_faults:
                self._scan_units([learner for learner in struck if isinstance(learner.unit, InjectsFaults)])

    def _strike_unit(self, learner: LocalLearner, fault: Fault, step: int, seed: int) -> None:
        if not isinstance(learner.unit, InjectsFaults):
            self._publish(Message("warning", f"unit {learner.name} is real: the scheduled fault is left out", step))
            return
        cells = learner.unit.inject_faults(fault.kind, fault.fraction, fault.cluster, seed)
        self._publish(FaultsStruck(step, learner.name, fault.kind, fault.fraction, fault.cluster, cells))

    def _scan_units(self, learners: Sequence[LocalLearner]) -> None:
        for learner in learners:
            if not can_scan(learner.unit):
                self._publish(Message("warning", f"unit {learner.name} cannot read its cells: not scanned", self.step))
                continue
            verify_before = learner.wear()[1]
            result = learner.scan(self._scan.reads)
            pulses = result.pulses
            if self._scan.compensate:
                pulses += learner.compensate()[1]
            verify = learner.wear()[1] - verify_before
            self.passes += Passes(scan=result.passes, verify=verify)
            recall, precision = NAN, NAN
            if isinstance(learner.unit, ReportsFaults):
                recall, precision = score(learner.faults, learner.unit.true_faults())
            found = int(np.count_nonzero(learner.faults))
            self._publish(
                FaultsScanned(
                    self.step + 1, learner.name, learner.faults.copy(), found, result.passes, pulses, recall, precision
                )
            )

    def _spare_wear(self) -> None:
        """Stop before the wear budget is overdrawn: a step could cost twice the costliest so far, the first a pulse a
        parameter."""
        budget = self._limits.pulses
        if budget is None:
            return
        foreseen = 2 * self._largest_step_pulses or sum(learner.faults.size for learner in self.learners)
        if self.pulses() + foreseen > budget:
            raise LimitError(
                f"limits.pulses: {self.pulses():,} of {budget:,} pulses are spent and the next step could cost "
                f"{foreseen:,}; raise the budget or lower rule.learning_rate"
            )

    def pulses(self) -> int:
        """Programming pulses so far, all units."""
        return sum(learner.wear()[0] for learner in self.learners)

    def _count_verify(self) -> None:
        self.passes = replace(self.passes, verify=sum(learner.wear()[1] for learner in self.learners))

    # The end, and beginning again

    def _make_safe(self) -> bool:
        """Command every unit's outputs off and read them back, last unit first."""
        reports = [learner.unit.make_safe() for learner in reversed(self.learners)]
        for report in reports:
            with contextlib.suppress(PibError):  # a recorder that has failed fails again on the run's last events
                self._publish(MadeSafe(report.unit, report.confirmed, report.not_confirmed, report.detail))
        return all(report.safe for report in reports)

    def snapshot(self) -> dict[str, Any]:
        """All that a resume needs, by path."""
        state: dict[str, Any] = {f"passes/{key}": getattr(self.passes, key) for key in Passes.__dataclass_fields__}
        state["largest_step_pulses"] = self._largest_step_pulses
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
            self._largest_step_pulses = int(state["largest_step_pulses"])
            if math.isfinite(state["validation_accuracy"]):
                self.metrics["validation_accuracy"] = float(state["validation_accuracy"])
            for learner in self.learners:
                prefix = f"{learner.name}/"
                part = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
                self.passes += Passes(calibration=learner.restore(part))
        except KeyError as missing:
            raise ConfigurationError(f"the checkpoint does not fit this protocol: {missing} is not in it") from None
        self.step = step


def _blocks(samples: Samples, size: int) -> Iterator[tuple[Array, Labels]]:
    for begin in range(0, len(samples.y), size):
        yield samples.x[begin : begin + size], samples.y[begin : begin + size]
