"""What a run has cost and reached so far: passes, wear, seconds of work, accuracies."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pib_lab.capabilities import CountsDisturbs, Digital
from pib_lab.clocks import Stopwatch
from pib_lab.learner import LocalLearner
from pib_lab.lessons import LearnRecord
from pib_lab.records import NAN, Passes, disturbs_key
from pib_lab.wear import WearBudget


class Accounts:
    """The totals of one run, over all its sessions."""

    def __init__(self, learners: Sequence[LocalLearner], pulses: int | None, clock: Callable[[], float]):
        self.passes = Passes()
        self.metrics: dict[str, float] = {}
        self.budget = WearBudget(learners, pulses)
        self.watch = Stopwatch(clock)
        self._clock = clock
        self._learners = learners
        self._cells = sum(learner.parameters.cells for learner in learners)
        digital = [learner.unit for learner in learners if isinstance(learner.unit, Digital)]
        self._physical = len(learners) - len(digital)
        self._digital_weights = sum(unit.digital_weights() for unit in digital)

    def note_step(self, records: Sequence[LearnRecord]) -> None:
        """A step has cost this, beyond its measurements."""
        self.passes += Passes(
            training=sum(record.passes for record in records), verify=sum(record.verify_passes for record in records)
        )
        self.budget.note_step(sum(record.pulses for record in records), sum(record.cells_written for record in records))

    def conclude(self, samples: int, delayed: int | None) -> None:
        """The last metrics; `samples`: learned from by every unit; `delayed`: batches that were measured before the
        update of the batch before them, or None where none can be. Digital units have no passes and no pulses, and so
        no part in what is told of an update or of a parameter."""
        if delayed is not None:
            self.metrics["delayed_batches"] = float(delayed)
        self.metrics["training_passes_per_sample_per_update"] = self.passes.training / max(1, samples * self._physical)
        self.metrics["pulses_per_parameter"] = self.budget.pulses() / max(1, self._cells)
        if self._digital_weights:
            self.metrics["digital_weights"] = float(self._digital_weights)
        for learner in self._learners:
            if isinstance(learner.unit, CountsDisturbs):
                self.metrics[disturbs_key(learner.name)] = float(learner.unit.half_select_disturbs().max())

    def snapshot(self) -> dict[str, Any]:
        """What a resume needs."""
        state: dict[str, Any] = {f"passes/{key}": getattr(self.passes, key) for key in Passes.__dataclass_fields__}
        state |= self.budget.snapshot()
        state["elapsed_s"] = self.watch.elapsed_s
        state["validation_accuracy"] = self.metrics.get("validation_accuracy", NAN)
        return state

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go back to a snapshot. Raises KeyError for one that lacks something."""
        self.passes = Passes(**{key: int(state[f"passes/{key}"]) for key in Passes.__dataclass_fields__})
        self.budget.restore(state)
        self.watch = Stopwatch(self._clock, float(state["elapsed_s"]))
        if math.isfinite(state["validation_accuracy"]):
            self.metrics["validation_accuracy"] = float(state["validation_accuracy"])
