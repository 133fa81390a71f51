"""Measuring without learning: accuracy on whole splits, maps of parameters, the information plane."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from pib_lab.accounts import Accounts
from pib_lab.capabilities import CountsWear, Digital, SeesFrames
from pib_lab.entropy import information_plane, label_gram
from pib_lab.events import Evaluated, MapTaken
from pib_lab.frames import FrameTaken
from pib_lab.learner import LocalLearner
from pib_lab.objectives import CrossEntropy
from pib_lab.quantities import Array, Labels
from pib_lab.records import Passes


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


def evaluate_split(
    learners: Sequence[LocalLearner], split: str, samples: Samples, block: int, step: int
) -> tuple[Evaluated, Passes]:
    """Accuracy, and the read-out's cross-entropy in bits, with conditioning frozen; `block` samples at a time.

    One pass a sample and physical unit. Raises ResponseError for a response that is not finite or too often saturated.
    """
    read_out = learners[-1].objective
    gain = read_out.gain if isinstance(read_out, CrossEntropy) else CrossEntropy().gain
    right, nats, count = 0, 0.0, len(samples.y)
    for begin in range(0, count, block):
        signal, labels = samples.x[begin : begin + block], samples.y[begin : begin + block]
        for learner in learners:
            signal = learner.forward(signal, learn=False)
        right += int((signal.argmax(axis=1) == labels).sum())
        logits = torch.from_numpy(np.float32(gain) * signal)
        nats += float(torch.nn.functional.cross_entropy(logits, torch.from_numpy(labels))) * len(labels)
    result = Evaluated(step, split, right / count, nats / count / math.log(2.0), count)
    physical = sum(not isinstance(learner.unit, Digital) for learner in learners)
    return result, Passes(evaluation=count * physical)


class Examiner:
    """Measures without learning, publishes what it finds, and keeps the accounts of it."""

    def __init__(
        self,
        learners: Sequence[LocalLearner],
        material: Material,
        block: int,
        accounts: Accounts,
        publish: Callable[[Evaluated | MapTaken | FrameTaken], None],
    ):
        self._learners, self._material, self._block = learners, material, block
        self._accounts, self._publish = accounts, publish

    def validate(self, step: int) -> None:
        """Accuracy and the read-out's loss on the validation split, unless it is empty."""
        self._evaluate("validation", self._material.validation, step)

    def test(self, step: int) -> None:
        """The same on the test split."""
        self._evaluate("test", self._material.test, step)

    def maps(self, step: int) -> None:
        """Maps of every unit, and what the cameras saw."""
        for taken in take_maps(self._learners, step):
            self._publish(taken)
        self.frames(step)

    def frames(self, step: int) -> None:
        """The last frame of every unit that sees frames."""
        for learner in self._learners:
            frame = learner.unit.last_frame() if isinstance(learner.unit, SeesFrames) else None
            if frame is not None:
                self._publish(FrameTaken(step, learner.name, frame))

    def _evaluate(self, split: str, samples: Samples, step: int) -> None:
        if not len(samples.y):
            return
        result, passes = evaluate_split(self._learners, split, samples, self._block, step)
        self._accounts.passes += passes
        self._accounts.metrics[f"{split}_accuracy"] = result.accuracy
        self._publish(result)


def take_maps(learners: Sequence[LocalLearner], step: int) -> Iterator[MapTaken]:
    """What every unit is believed to hold, its known faults and its wear; nothing is measured."""
    for learner in learners:
        unit = learner.unit
        pulses = unit.pulses() if isinstance(unit, CountsWear) else np.zeros(learner.parameters.faults.shape, np.int32)
        yield MapTaken(step, learner.name, learner.parameters.believed(), learner.parameters.faults.copy(), pulses)


def information_planes(
    outputs: Sequence[Array], x_gram: torch.Tensor, labels: Labels
) -> list[tuple[float, float, float]]:
    """(I(X; Z), I(Z; Y), H(Z)) in bits of each unit's conditioned response (batch, n)."""
    y_gram = label_gram(torch.from_numpy(labels))
    return [information_plane(torch.from_numpy(z), x_gram, y_gram) for z in outputs]
