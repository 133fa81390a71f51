"""What the tests of learning share: small crossbars, a small task, and wrappers that break a unit or hide a part."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from drivers.chip.mock_chip import MockCrossbar, MockMemristorChip
from pib_lab.clocks import VirtualClock
from pib_lab.control import Commands
from pib_lab.device import DeviceContext, UnitRequest
from pib_lab.entropy import input_gram
from pib_lab.evaluation import Material
from pib_lab.events import Event, StateChanged
from pib_lab.experiment import Limits, Schedule
from pib_lab.learner import LocalLearner
from pib_lab.lessons import LearnBatch, LearnerConfig
from pib_lab.objectives import ConditionalEntropy, CrossEntropy, Objective
from pib_lab.quantities import Array, Labels, Mask
from pib_lab.training import Trainer
from pib_lab.unit import CancelToken, Measurement, PhysicalUnit, SafeReport, UnitSpec


def crossbar(
    n_in: int = 16, n_out: int = 8, profile: str = "ideal", name: str = "layer", seed: int = 3, **override: Any
) -> MockCrossbar:
    """An open mock crossbar on a chip of its own."""
    chip = MockMemristorChip({"profile": profile, "override": override}, DeviceContext("chip", seed, VirtualClock()))
    unit = chip.unit(UnitRequest(name, n_in, n_out))
    unit.open()
    return unit


@dataclass(frozen=True)
class Split:
    """Features and labels."""

    x: Array
    y: Labels


def task(n: int = 96, features: int = 16, classes: int = 4, seed: int = 0) -> Split:
    """Noisy class prototypes in 0..1, classes in turn so that every batch holds several."""
    prototypes = np.random.default_rng(100).uniform(0.0, 1.0, (classes, features))
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    x = np.clip(prototypes[labels] + 0.25 * rng.standard_normal((n, features)), 0.0, 1.0)
    return Split(x.astype(np.float32), labels.astype(np.int64))


def batch_of(split: Split, number: int = 1, rate: float = 0.02, classes: int = 4) -> LearnBatch:
    """What a learner is given besides its drive."""
    x_gram = input_gram(torch.from_numpy(split.x)).numpy()
    return LearnBatch(number, split.y, classes, x_gram, rate)


def learner(
    unit: PhysicalUnit, objective: Objective | None = None, *, rectify: bool = True, seed: int = 5, **config: Any
) -> LocalLearner:
    """A started and calibrated learner."""
    made = LocalLearner(unit, objective or ConditionalEntropy(), LearnerConfig(rectify=rectify, **config), seed)
    made.start()
    made.calibrate(task(features=unit.spec.drive.size).x)
    return made


def teach(made: LocalLearner, steps: int, rate: float = 0.02) -> list[float]:
    """The unit's losses over some steps on one and the same batch."""
    split = task(features=made.unit.spec.drive.size)
    losses = []
    for step in range(steps):
        made.forward(split.x, learn=True)
        losses.append(made.learn(batch_of(split, step, rate)).loss)
    return losses


def network(
    profile: str = "ideal", wrap: Callable[[MockCrossbar], PhysicalUnit] = lambda unit: unit
) -> list[LocalLearner]:
    """Two learners, not started: a hidden unit 16 -> 8 and a read-out 8 -> 4."""
    hidden, read_out = wrap(crossbar(16, 8, profile, "hidden")), wrap(crossbar(8, 4, profile, "read-out"))
    return [
        LocalLearner(hidden, ConditionalEntropy(), LearnerConfig(rectify=True), 1),
        LocalLearner(read_out, CrossEntropy(), LearnerConfig(rectify=False), 2),
    ]


class Wrapped:
    """A unit that only offers the central interface and what it is told to keep, for others to break further."""

    def __init__(self, unit: MockCrossbar):
        self.unit = unit
        self.made_safe = 0

    @property
    def spec(self) -> UnitSpec:
        return self.unit.spec

    def open(self) -> None:
        self.unit.open()

    def program(self, parameters: Array, where: Mask | None = None) -> Array:
        return self.unit.program(parameters, where)

    def measure(self, drive: Array, *, cancel: CancelToken) -> Measurement:
        return self.unit.measure(drive, cancel=cancel)

    def make_safe(self) -> SafeReport:
        self.made_safe += 1
        return self.unit.make_safe()

    def close(self) -> None:
        self.unit.close()


class Linear(Wrapped):
    """Offers the pull-back as well, and spoils or interrupts the measurement of which `spoil` is told the number."""

    spoil: Callable[[int, Measurement], Measurement] = staticmethod(lambda number, made: made)

    def __init__(self, unit: MockCrossbar):
        super().__init__(unit)
        self.measured = 0

    def measure(self, drive: Array, *, cancel: CancelToken) -> Measurement:
        self.measured += 1
        return self.spoil(self.measured, self.unit.measure(drive, cancel=cancel))

    def pullback(self, drive: Array, d_response: Array) -> Array:
        return self.unit.pullback(drive, d_response)


@dataclass
class Log:
    """A recorder that keeps events, and may react to them."""

    events: list[Event] = field(default_factory=list)
    react: Callable[[Event], None] = lambda event: None

    def __call__(self, event: Event) -> None:
        self.events.append(event)
        self.react(event)

    def of(self, kind: type[Any]) -> list[Any]:
        """Events of one kind, in order."""
        return [event for event in self.events if isinstance(event, kind)]


def trainer(log: Log, learners: list[LocalLearner] | None = None, **changes: Any) -> Trainer:
    """A trainer of the small network: 6 steps in 2 epochs, evaluated and kept once an epoch."""
    options: dict[str, Any] = {"seed": 1, "learning_rate": 0.02, "limits": Limits(), "commands": Commands()}
    material = changes.pop("material", Material(task(96), task(24, seed=1), task(24, seed=2), 4))
    schedule = Schedule(epochs=2, batch=32, entropies_every=2, maps_every=3)
    made = learners or network()
    return Trainer(made, material, changes.pop("schedule", schedule), log, **(options | changes))


def started(log: Log, learners: list[LocalLearner] | None = None, **changes: Any) -> Trainer:
    """A trainer of the small network, programmed and ranged."""
    made = trainer(log, learners, **changes)
    made.start()
    return made


def states(log: Log) -> list[str]:
    """States of the run, in order."""
    return [event.state.value for event in log.of(StateChanged)]
