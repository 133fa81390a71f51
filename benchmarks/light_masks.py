"""Figure: a phase mask trained on its own loss against frozen masks, on the same regions, with the same read-out."""

from __future__ import annotations

import math
import multiprocessing
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from benchmarks.light import Bench, Scene, digital_weights, linear, train_mask
from benchmarks.runs import mean_se, percent
from data.datasets import DataSet
from pib_lab.experiment import Dataset, Schedule

MASKS = 16

DIGITS, MNIST = Dataset(name="digits"), Dataset(name="mnist", resolution=16, limit=6000)
SIXTY = Schedule(epochs=60, batch=128, floor=0.2)
SCENES: dict[str, Scene] = {
    "digits, 10": Scene(DIGITS, 10, SIXTY, 0.025),
    "digits, 16": Scene(DIGITS, 16, SIXTY, 0.0125),
    "digits, 32": Scene(DIGITS, 32, SIXTY, 0.0125),
    "mnist, 64": Scene(MNIST, 64, Schedule(epochs=26, batch=256, floor=0.2), 0.0125, camera_px=32),
}
"""Depth of the drive and learning rate: chosen on validation data of seeds 101 and 102."""

GOALS = {"digits, 10": 17.0, "digits, 16": 11.0, "digits, 32": 3.0, "mnist, 64": 5.0}


@dataclass(frozen=True)
class Found:
    """Test accuracies of one seed; passes: of training the mask, no read-outs; correlation: of the field, after it."""

    trained: float
    turn: float
    range: float
    flat: float
    raw: float
    passes: int
    correlation: float


def light_masks(seeds: Sequence[int], processes: int, names: Sequence[str] = tuple(SCENES)) -> str:
    """The section of docs/benchmarks.md."""
    lines = [
        "### A trained phase mask against frozen ones",
        "",
        f"`python -m benchmarks light-masks`; seeds {', '.join(map(str, seeds))}; one optical unit on `bench-a`: 16 x "
        "16 macro pixels, 8 bit, 15 % crosstalk, shot noise at a mean of a fifth of full well, drift on. Training: "
        "parameter shift on the unit's own loss, each sample along a random Hadamard pattern of its own. Every mask "
        "gets the same linear read-out, fitted to responses of all training samples measured once under it, penalty "
        f"chosen on validation data; of {MASKS} frozen random masks, the best on validation data. Random phases: over "
        "a whole turn, or over the range that keeps drive and mask below a turn (no wraps), the trained mask's own.",
        "",
        "| data, regions | trained | best random, whole turn | best random, no wraps | flat mask | "
        "trained minus whole turn | trained minus no wraps | raw pixels, linear | "
        "digital weights: read-out, of raw pixels | passes of training | field correlation after |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        for name in names:
            scene = SCENES[name]
            found = []
            for seed, one in zip(seeds, pool.imap(partial(compare, scene), seeds), strict=True):
                found.append(one)
                print(f"  {name} regions, seed {seed}: {one}", flush=True)
            lines.append(_row(name, scene, found))
    goals = ", ".join(f"{name} regions: +{goal:g}" for name, goal in GOALS.items())
    return "\n".join([*lines, "", f"Goals, in points above the best random mask: {goals}.", ""])


def compare(scene: Scene, seed: int) -> Found:
    """Frozen masks first, then the trained one, on the bench of one seed each."""
    data = scene.data(seed)
    rng = np.random.default_rng((seed, 0x3A5C))
    turn, _ = best_random(scene, data, seed, rng, wrap=True)
    ranged, flat = best_random(scene, data, seed, rng, wrap=False)
    bench = Bench(scene, seed, data.features)
    train_mask(scene, bench, data, seed)
    passes, correlation = bench.passes, bench.true_correlation()
    trained = bench.read_out(data)[1]
    raw = linear(data.train, data.validation, data.test)[1]
    return Found(trained, turn, ranged, flat, raw, passes, correlation)


def best_random(scene: Scene, data: DataSet, seed: int, rng: np.random.Generator, *, wrap: bool) -> tuple[float, float]:
    """Test accuracy of the best of the random masks on validation data, and of the flat mask."""
    bench = Bench(scene, seed, data.features, wrap)
    parameters = bench.unit.spec.parameters
    best, best_mask = -math.inf, np.empty(0, np.float32)
    for _ in range(MASKS):
        mask = rng.uniform(parameters.low, parameters.high, parameters.shape).astype(np.float32)
        bench.unit.program(mask)
        validation, _ = bench.read_out(data, test=False)
        if validation > best:
            best, best_mask = validation, mask
    bench.unit.program(best_mask)
    best_test = bench.read_out(data)[1]
    middle = 0.5 * (parameters.low + parameters.high)
    bench.unit.program(np.full(parameters.shape, middle, np.float32))
    return best_test, bench.read_out(data)[1]


def _row(name: str, scene: Scene, found: Sequence[Found]) -> str:
    classes, data = 10, scene.data(1)
    trained = [one.trained for one in found]
    cells = [name, percent(trained)]
    for peer in ("turn", "range", "flat"):
        cells.append(percent([getattr(one, peer) for one in found]))
    for peer in ("turn", "range"):
        cells.append(difference(trained, [getattr(one, peer) for one in found]))
    cells.append(percent([one.raw for one in found]))
    cells.append(f"{digital_weights(scene.regions, classes)}, {digital_weights(data.features, classes)}")
    cells.append(f"{found[0].passes:,}")
    cells.append(f"{np.mean([one.correlation for one in found]):.2f}")
    return f"| {' | '.join(cells)} |"


def difference(first: Sequence[float], second: Sequence[float]) -> str:
    """Points, paired, with the standard error."""
    mean, error = mean_se([100 * (a - b) for a, b in zip(first, second, strict=True)])
    return f"{mean:+.1f} ± {error:.1f}"
