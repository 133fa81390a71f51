"""Measuring without learning: accuracy on whole splits, maps of parameters, the information plane."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from pib_lab.capabilities import CountsWear
from pib_lab.entropy import information_plane, label_gram
from pib_lab.events import Evaluated, MapTaken, Passes
from pib_lab.learner import LocalLearner
from pib_lab.objectives import CrossEntropy
from pib_lab.quantities import Array, Labels


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

    One pass a sample and unit. Raises ResponseError for a response that is not finite or too often saturated.
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
    return result, Passes(evaluation=count * len(learners))


def take_maps(learners: Sequence[LocalLearner], step: int) -> Iterator[MapTaken]:
    """What every unit is believed to hold, its known faults and its wear; nothing is measured."""
    for learner in learners:
        unit = learner.unit
        pulses = unit.pulses() if isinstance(unit, CountsWear) else np.zeros(learner.faults.shape, np.int32)
        yield MapTaken(step, learner.name, learner.held_parameters(), learner.faults.copy(), pulses)


def information_planes(
    outputs: Sequence[Array], x_gram: torch.Tensor, labels: Labels
) -> list[tuple[float, float, float]]:
    """(I(X; Z), I(Z; Y), H(Z)) in bits of each unit's conditioned response (batch, n)."""
    y_gram = label_gram(torch.from_numpy(labels))
    return [information_plane(torch.from_numpy(z), x_gram, y_gram) for z in outputs]
