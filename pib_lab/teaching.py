"""How learners are taught from what they measured, and what a step's record says of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from pib_lab.capabilities import Ranges
from pib_lab.events import NAN, UnitStep
from pib_lab.learner import LearnBatch, LearnRecord, LocalLearner


class Teacher(Protocol):
    """How learners are taught from what they measured. The mission's way is `LocalTeacher`; peers are in baselines."""

    def teach(self, learners: Sequence[LocalLearner], batch: LearnBatch) -> list[LearnRecord]:
        """Let every learner learn from its last forward pass."""


class LocalTeacher:
    """Each learner improves its own local loss. The order does not matter: no learner looks at another."""

    def teach(self, learners: Sequence[LocalLearner], batch: LearnBatch) -> list[LearnRecord]:
        """One local step of every learner."""
        return [learner.learn(batch) for learner in learners]


def unit_steps(
    learners: Sequence[LocalLearner],
    records: Sequence[LearnRecord],
    planes: Sequence[tuple[float, float, float]],
    saturated: Sequence[float],
) -> tuple[UnitStep, ...]:
    """A step's record of every unit."""
    return tuple(
        UnitStep(
            learner.name,
            record.loss,
            *plane,
            record.pulses,
            record.cells_written,
            clipped,
            learner.unit.full_scale() if isinstance(learner.unit, Ranges) else NAN,
        )
        for learner, record, plane, clipped in zip(learners, records, planes, saturated, strict=True)
    )
