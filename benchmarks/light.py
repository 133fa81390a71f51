"""What the figures of trained phase masks share: one optical unit on the simulated bench, its learner, its read-out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from benchmarks.runs import data_dir
from data.datasets import DataSet, Split, load
from drivers.optics.optical_rig import MockOpticalRig, MockOpticalUnit
from pib_lab.assembly import part_seed
from pib_lab.clocks import VirtualClock
from pib_lab.device import DeviceContext, UnitRequest
from pib_lab.experiment import Dataset, Schedule
from pib_lab.learner import LocalLearner
from pib_lab.lessons import LearnBatch, LearnerConfig
from pib_lab.objectives import RidgeEntropy
from pib_lab.quantities import Array
from pib_lab.timetable import Timetable
from pib_lab.unit import CancelToken

CONSTRAINTS = (1.0, 0.1, 0.01)
"""Ridge penalties of the linear read-out that validation chooses from, as 1 / C of the logistic regression."""

SHIFT = LearnerConfig(rectify=False, rule="shift", basis="hadamard", modes=1, init_scale=0.01)
"""Every sample along a random Hadamard pattern of its own; a mask that starts all but flat."""


@dataclass(frozen=True)
class Scene:
    """One optical unit on profile bench-a, and how its mask is trained. learning_rate: as a fraction of the range.

    camera_px: side of the region of interest that the camera reads; region_px: side of a region.
    """

    dataset: Dataset
    regions: int
    schedule: Schedule
    learning_rate: float
    depth_rad: float = 3.14
    camera_px: int = 24
    region_px: int = 2
    config: LearnerConfig = SHIFT

    def data(self, seed: int) -> DataSet:
        """The same split for every method of a seed."""
        return load(self.dataset, seed, data_dir())

    def scaled(self, **changes: Any) -> Scene:
        """With other values."""
        return replace(self, **changes)


class Bench:
    """The rig of one seed with one open unit. `passes`: frames so far."""

    def __init__(self, scene: Scene, seed: int, features: int, wrap: bool = False) -> None:
        options = {
            "profile": "bench-a",
            "encoder": {"grid": [16, 16], "depth_rad": scene.depth_rad, "wrap": wrap},
            "regions": {"size": scene.region_px},
            "override": {"camera_rows": scene.camera_px, "camera_columns": scene.camera_px},
        }
        self.clock = VirtualClock()
        self.rig = MockOpticalRig(options, DeviceContext("rig", part_seed(seed, "device", "rig"), self.clock))
        self.unit: MockOpticalUnit = self.rig.unit(UnitRequest("light", features, scene.regions))
        self.unit.open()
        self.passes = 0

    def responses(self, x: Array) -> Array:
        """Counts (n, regions) for features (n, n_in) in 0 to 1."""
        measured = self.unit.measure(x * np.float32(self.unit.spec.drive.high), cancel=CancelToken())
        self.passes += measured.passes
        return measured.values

    def read_out(self, data: DataSet, test: bool = True) -> tuple[float, float]:
        """Accuracy on validation and (or NaN) test data of a linear read-out fitted to responses measured right now."""
        train, validation = (Split(self.responses(split.x), split.y) for split in (data.train, data.validation))
        examined = Split(self.responses(data.test.x), data.test.y) if test else None
        return linear(train, validation, examined)

    def true_correlation(self) -> float:
        """Field correlation of the medium now with that at the start, by the profile's law."""
        drift_s = self.rig.bench.profile.drift_s
        return float(np.exp(-self.clock.now_s() / drift_s)) if drift_s else 1.0


def linear(train: Split, validation: Split, test: Split | None) -> tuple[float, float]:
    """Accuracies on validation and (or NaN) test data of a linear classifier of standardised features.

    Its penalty is chosen on validation data. It has (features + 1) x classes weights.
    """
    from sklearn.linear_model import LogisticRegression  # costs a second, and only figures of light need it

    mean, scale = train.x.mean(axis=0), train.x.std(axis=0) + np.float32(1e-6)
    best, best_accuracy = None, -1.0
    for constraint in CONSTRAINTS:
        fitted = LogisticRegression(C=1.0 / constraint, max_iter=1000).fit((train.x - mean) / scale, train.y)
        accuracy = float(fitted.score((validation.x - mean) / scale, validation.y))
        if accuracy > best_accuracy:
            best, best_accuracy = fitted, accuracy
    assert best is not None
    tested = float("nan") if test is None else float(best.score((test.x - mean) / scale, test.y))
    return best_accuracy, tested


def digital_weights(features: int, classes: int) -> int:
    """Of a linear classifier, offsets included."""
    return (features + 1) * classes


def train_mask(
    scene: Scene, bench: Bench, data: DataSet, seed: int, watch: Callable[[int], None] | None = None
) -> LocalLearner:
    """Train the unit's mask on its own loss; `watch` is called with the passes of training so far after each step.

    The learner has no read-out and asks none: its loss is the ridge classifier's entropy of its own responses.
    """
    learner = LocalLearner(bench.unit, RidgeEntropy(), scene.config, seed)
    learner.start()
    timetable = Timetable(scene.schedule, len(data.train), seed, scene.learning_rate)
    gram = np.eye(scene.schedule.batch, dtype=np.float32)  # the input's: without beta the loss does not look at it
    spent = 0
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for step in range(1, timetable.total_steps + 1):
            index = timetable.batch(step)
            learner.forward(data.train.x[index], learn=True)
            assert learner.trace is not None
            spent += learner.trace.passes
            labels = data.train.y[index]
            record = learner.learn(LearnBatch(step, labels, data.classes, gram, timetable.learning_rate(step)))
            spent += record.passes
            if watch is not None:
                watch(spent)
    finally:
        torch.set_num_threads(threads)
    bench.passes += spent
    return learner
