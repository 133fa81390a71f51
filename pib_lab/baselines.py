"""The peers' ways of training the same units, for comparison. Each says what it must be granted beyond measurements."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from pib_lab.capabilities import RevealsParameters
from pib_lab.errors import ConfigurationError
from pib_lab.learner import LocalLearner
from pib_lab.lessons import LearnBatch, LearnRecord
from pib_lab.objectives import Context, CrossEntropy, evaluate
from pib_lab.quantities import Array

Transfer = Callable[[LocalLearner], Array]
"""The linear map (n_in, n_out) from drive to response that a peer believes a unit to have."""


def exact_transfer(learner: LocalLearner) -> Array:
    """In-situ backpropagation that is granted the true conductances at every step, free of charge and of read noise
    (telegraph noise among it): spread, relaxation, stuck cells and line resistance included."""
    if not isinstance(learner.unit, RevealsParameters):
        raise ConfigurationError(f"unit {learner.name}: only a mock reveals its true conductances")
    return learner.unit.true_transfer()


def stale_transfer(learner: LocalLearner) -> Array:
    """A digital twin that knows every write command, and nothing that the chip made of it: no spread, no stuck cells,
    no line resistance. The forward pass is measured; only the backward pass uses the twin."""
    target = learner.parameters.accumulator.target * np.float32(learner.unit.spec.parameters.span)
    difference: Array = target[..., 0] - target[..., 1]
    return difference


class Backpropagation:
    """Global cross-entropy, errors carried back through a believed transfer; forward pass measured on the units."""

    def __init__(self, transfer: Transfer, objective: CrossEntropy | None = None):
        self._transfer = transfer
        self._objective = objective or CrossEntropy()

    def teach(self, learners: Sequence[LocalLearner], batch: LearnBatch) -> list[LearnRecord]:
        """One step of backpropagation through all units."""
        last = learners[-1]
        if last.trace is None:
            raise ConfigurationError("nothing has been measured yet")
        context = Context(torch.from_numpy(batch.labels), batch.classes, torch.from_numpy(batch.x_gram))
        loss, d_signal = evaluate(self._objective, last.trace.signal, context)
        records: list[LearnRecord] = []
        for learner in reversed(learners):
            trace = learner.trace
            assert trace is not None
            d_drive = learner.conditioner.backward(trace.values, d_signal) @ self._transfer(learner).T
            records.append(learner.apply(batch, loss, d_signal))
            d_signal = learner.lines.signal_gradient(d_drive)
        return records[::-1]
