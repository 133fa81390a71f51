"""What each step is made of and what is due after it: by counting alone. Steps are counted from 1."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from pib_lab.batches import batches
from pib_lab.experiment import Schedule


class Timetable:
    """The schedule of one run over `samples` training samples."""

    def __init__(self, schedule: Schedule, samples: int, seed: int, learning_rate: float):
        self._schedule, self._samples, self._seed, self._learning_rate = schedule, samples, seed, learning_rate
        self.steps_per_epoch = samples // schedule.batch
        self.total_steps = schedule.epochs * self.steps_per_epoch

    def epoch(self, step: int) -> int:
        """Counted from 1."""
        return 1 + (step - 1) // max(1, self.steps_per_epoch)

    def batch(self, step: int) -> npt.NDArray[np.int64]:
        """Indices of the training samples (batch,). Raises ConfigurationError when not one batch can be filled."""
        epoch = self.epoch(step) - 1
        order = batches(self._samples, self._schedule.batch, self._seed, epoch)
        return np.asarray(order[step - 1 - epoch * self.steps_per_epoch])

    def learning_rate(self, step: int) -> float:
        """As a fraction of the parameter's range."""
        if self._schedule.decay == "constant":
            return self._learning_rate
        least = self._schedule.floor * self._learning_rate
        return least + 0.5 * (self._learning_rate - least) * (1.0 + math.cos(math.pi * (step - 1) / self.total_steps))

    def logs(self, step: int) -> bool:
        """Whether entropies are computed in `step`: the first, and then at the interval."""
        every = self._schedule.entropies_every
        return bool(every) and (step - 1) % every == 0

    def evaluates(self, step: int) -> bool:
        """Whether the validation split is measured after `step`."""
        return self._due(step, self._schedule.evaluate_every)

    def maps(self, step: int) -> bool:
        """Whether maps are taken after `step`."""
        return bool(self._schedule.maps_every) and self._due(step, self._schedule.maps_every)

    def keeps(self, step: int) -> bool:
        """Whether a checkpoint is taken after `step`."""
        return self._due(step, self._schedule.checkpoint_every)

    def runs_on(self, step: int) -> bool:
        """Whether the next batch follows `step` at once: nothing is due between them."""
        return step < self.total_steps and not (self.evaluates(step) or self.maps(step) or self.keeps(step))

    def _due(self, step: int, every: int) -> bool:
        return step % (every or self.steps_per_epoch) == 0  # 0: once an epoch
