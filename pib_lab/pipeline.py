"""One batch of delay: the units measure the next batch while what the last one taught is worked out.

What is computed depends on the order of batches alone, never on how fast a thread is: the next batch is always measured
before the update is programmed, whether or not the arithmetic was done by then.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from pib_lab.errors import ConfigurationError
from pib_lab.learner import LocalLearner
from pib_lab.lessons import Change, LearnRecord
from pib_lab.teaching import Lesson, LocalTeacher, Plane, Teacher, study


class Pipeline:
    """Arithmetic on a thread of its own; the thread that calls is the only one that touches the units."""

    def __init__(self, learners: Sequence[LocalLearner]) -> None:
        self._learners = learners
        self._worker = ThreadPoolExecutor(1, "arithmetic")  # starts no thread before it is given work

    def teach(
        self, lesson: Lesson, measure_next: Callable[[], Lesson]
    ) -> tuple[list[LearnRecord], list[Plane], Lesson]:
        """Work out `lesson` while `measure_next` is called, then program every unit; returns the next lesson as well.

        Raises what either of them raises; when measuring does, nothing is programmed.
        """
        working = self._worker.submit(_work_out, self._learners, lesson)
        ahead = measure_next()
        changes, planes = working.result()
        records = [learner.carry_out(change) for learner, change in zip(self._learners, changes, strict=True)]
        return records, planes, ahead

    def close(self) -> None:
        """End the thread. Idempotent."""
        self._worker.shutdown()


def _work_out(learners: Sequence[LocalLearner], lesson: Lesson) -> tuple[list[Change], list[Plane]]:
    batch, planes = study(lesson)
    pairs = zip(learners, lesson.traces, strict=True)
    return [learner.work_out(batch, trace) for learner, trace in pairs], planes


def require_local(learners: Sequence[LocalLearner], teacher: Teacher) -> None:
    """Raise ConfigurationError for what cannot be worked out while units measure: perturbation, and peers' methods."""
    for learner in learners:
        if learner.rule.settings and learner.config.train:
            raise ConfigurationError(
                f"schedule.delay: unit {learner.name} learns by rule {learner.rule.name}, which measures; "
                "set schedule.delay = 0"
            )
    if type(teacher) is not LocalTeacher:  # one that is derived from it may do more, and would not be asked
        raise ConfigurationError("schedule.delay: only local learning can be delayed; set schedule.delay = 0")
