"""A local objective of one's own, compared with a shipped one on the same chip, seed and data.

In a package of yours, register the class under the entry-point group `pib_lab.objectives` and name it in the protocol.
Here it is put to work through the Python API alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from drivers.chip.mock_chip import MockMemristorChip
from pib_lab.clocks import VirtualClock
from pib_lab.device import DeviceContext, UnitRequest
from pib_lab.entropy import input_gram, label_gram, standardise
from pib_lab.learner import LocalLearner
from pib_lab.lessons import LearnBatch, LearnerConfig
from pib_lab.objectives import ConditionalEntropy, Context, Objective


@dataclass(frozen=True)
class KernelAlignment:
    """Minus the uncentred alignment of the response's Gram matrix with that of the labels."""

    def loss(self, z: torch.Tensor, context: Context) -> torch.Tensor:
        """-<K_z, K_y> / (|K_z| |K_y|), from standardised responses z (n, d)."""
        unit = standardise(z)
        gram = unit @ unit.T
        target = label_gram(context.labels)
        return -(gram * target).sum() / (gram.norm() * target.norm())


def train(objective: Objective, steps: int = 30) -> list[float]:
    """Losses of one crossbar of 16 pairs that learns to tell three noisy patterns apart."""
    chip = MockMemristorChip({"profile": "chip-b"}, DeviceContext("chip", 1, VirtualClock()))
    unit = chip.unit(UnitRequest("hidden", 32, 16))
    unit.open()
    learner = LocalLearner(unit, objective, LearnerConfig(rectify=True), seed=1)
    learner.start()
    rng = np.random.default_rng(1)
    patterns, losses = rng.random((3, 32)), []
    for step in range(steps):
        labels = rng.integers(0, 3, 64)
        x = np.clip(patterns[labels] + 0.3 * rng.standard_normal((64, 32)), 0, 1).astype(np.float32)
        learner.forward(x, learn=True)
        gram = input_gram(torch.from_numpy(x)).numpy()
        losses.append(learner.learn(LearnBatch(step, labels, 3, gram, learning_rate=0.02)).loss)
    unit.make_safe()
    unit.close()
    return losses


if __name__ == "__main__":
    for objective in (KernelAlignment(), ConditionalEntropy()):
        losses = train(objective)
        print(f"{type(objective).__name__}: {losses[0]:.3f} -> {losses[-1]:.3f}")
