"""A batch that has been measured, how learners are taught from it, and what a step's record says of each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from pib_lab.accounts import Accounts
from pib_lab.entropy import input_gram
from pib_lab.evaluation import Samples, information_planes
from pib_lab.events import StepDone
from pib_lab.learner import LocalLearner
from pib_lab.lessons import LearnBatch, LearnRecord, Trace
from pib_lab.quantities import Array, Labels
from pib_lab.records import NAN, UnitStep
from pib_lab.timetable import Timetable


class Teacher(Protocol):
    """How learners are taught from what they measured. The mission's way is `LocalTeacher`; peers are in baselines."""

    def teach(self, learners: Sequence[LocalLearner], batch: LearnBatch) -> list[LearnRecord]:
        """Let every learner learn from its last forward pass."""


class LocalTeacher:
    """Each learner improves its own local loss. The order does not matter: no learner looks at another."""

    def teach(self, learners: Sequence[LocalLearner], batch: LearnBatch) -> list[LearnRecord]:
        """One local step of every learner."""
        return [learner.learn(batch) for learner in learners]


@dataclass(frozen=True)
class Lesson:
    """One batch that every unit has measured, to be learned from.

    step: counted from 1; x (batch, features); traces, full_scales (NaN where fixed): of every unit; logged: whether
    entropies are asked for.
    """

    step: int
    x: Array
    labels: Labels
    classes: int
    learning_rate: float
    logged: bool
    traces: tuple[Trace, ...]
    full_scales: tuple[float, ...]

    @property
    def accuracy(self) -> float:
        """Fraction of the batch that the read-out has told rightly."""
        return float((self.traces[-1].signal.argmax(axis=1) == self.labels).mean())


def lesson_of(
    learners: Sequence[LocalLearner], train: Samples, classes: int, timetable: Timetable, step: int
) -> Lesson:
    """What the learners have last measured, which was the batch of `step`."""
    index = timetable.batch(step)
    traces = tuple(learner.trace for learner in learners if learner.trace is not None)
    scales = tuple(learner.full_scale() for learner in learners)
    rate, logged = timetable.learning_rate(step), timetable.logs(step)
    return Lesson(step, train.x[index], train.y[index], classes, rate, logged, traces, scales)


Plane = tuple[float, float, float]


def study(lesson: Lesson) -> tuple[LearnBatch, list[Plane]]:
    """What reaches each learner, and (I(X; Z), I(Z; Y), H(Z)) of each unit; arithmetic only."""
    x_gram = input_gram(torch.from_numpy(lesson.x))
    outputs = [trace.signal for trace in lesson.traces]
    planes = information_planes(outputs, x_gram, lesson.labels) if lesson.logged else [(NAN, NAN, NAN)] * len(outputs)
    return LearnBatch(lesson.step, lesson.labels, lesson.classes, x_gram.numpy(), lesson.learning_rate), planes


def step_done(
    learners: Sequence[LocalLearner],
    lesson: Lesson,
    records: Sequence[LearnRecord],
    planes: Sequence[Plane],
    epoch: int,
    accounts: Accounts,
) -> StepDone:
    """The record of a step, with the accounts as they stand after it."""
    rows = zip(learners, records, planes, lesson.traces, lesson.full_scales, strict=True)
    units = tuple(
        UnitStep(learner.name, record.loss, *plane, record.pulses, record.cells_written, trace.saturated, full_scale)
        for learner, record, plane, trace, full_scale in rows
    )
    totals = (accounts.passes, accounts.budget.pulses(), math.log2(len(lesson.labels)), accounts.watch.elapsed_s)
    return StepDone(lesson.step, epoch, lesson.accuracy, lesson.learning_rate, units, *totals)
