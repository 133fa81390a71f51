"""The budget of programming pulses: a run ends before it is overdrawn."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pib_lab.capabilities import Costs
from pib_lab.errors import LimitError
from pib_lab.faults import can_scan
from pib_lab.learner import LocalLearner


class WearBudget:
    """Ends a run before its budget of pulses (`limits.pulses`) is overdrawn.

    While nothing has been written, a write is foreseen to cost the most pulses that the unit's driver gives one: a
    bound. From then on it is twice what a write has cost so far, if that is less: an estimate with room. A step is
    foreseen to cost twice the costliest so far, the first one write of every parameter, and one more for each setting
    that the rule measures (two for a pair of perturbations); a scan two writes of every cell that is tested, and a
    third where healthy cells are then to take over.
    """

    def __init__(self, learners: Sequence[LocalLearner], limit: int | None):
        self._learners, self._limit = learners, limit
        self._largest_step_pulses = 0
        self._writes = 0  # of cells, by every programming of every unit

    @property
    def limited(self) -> bool:
        """Whether there is a budget at all."""
        return self._limit is not None

    def pulses(self) -> int:
        """Programming pulses so far, all units."""
        return sum(learner.wear()[0] for learner in self._learners)

    def note_writes(self, cells: int) -> None:
        """So many cells have been written."""
        self._writes += cells

    def note_step(self, pulses: int, written: int) -> None:
        """A step has cost this."""
        self._largest_step_pulses = max(self._largest_step_pulses, pulses)
        self._writes += written

    def foresee_writes(self, learners: Sequence[LocalLearner], writes: int = 1) -> int:
        """Pulses that so many writes of every usable parameter of these units could cost."""
        likely = 2.0 * self.pulses() / self._writes if self._writes else math.inf
        foreseen = 0
        for learner in learners:
            cells = writes * int(np.count_nonzero(learner.parameters.usable))
            if isinstance(learner.unit, Costs):
                likely_here = min(likely, learner.unit.costs().pulses_per_write_max)
            else:
                likely_here = likely if self._writes else 1.0
            foreseen += math.ceil(cells * likely_here)
        return foreseen

    def foresee_step(self) -> int:
        """Pulses that the next step could cost."""
        if self._largest_step_pulses:
            return 2 * self._largest_step_pulses
        return sum(
            self.foresee_writes([learner], 1 + learner.rule.settings)
            for learner in self._learners
            if learner.config.train
        )

    def foresee_scan(self, learners: Sequence[LocalLearner], writes: int) -> int:
        """Pulses that a scan of these units could cost, with so many writes of every cell."""
        return self.foresee_writes([learner for learner in learners if can_scan(learner.unit)], writes)

    def spare(self, foreseen: int, what: str) -> None:
        """Raise LimitError when `what`, which could cost `foreseen` pulses, could overdraw the budget."""
        if self._limit is None:
            return
        spent = self.pulses()
        if spent + foreseen > self._limit:
            raise LimitError(
                f"limits.pulses: {spent:,} of {self._limit:,} pulses are spent and {what} could cost {foreseen:,}; "
                "raise the budget, lower rule.learning_rate or scan less often"
            )

    def snapshot(self) -> dict[str, int]:
        """What a resume needs."""
        return {"largest_step_pulses": self._largest_step_pulses, "writes": self._writes}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go back to a snapshot. Raises KeyError for one that lacks something."""
        self._largest_step_pulses, self._writes = int(state["largest_step_pulses"]), int(state["writes"])
