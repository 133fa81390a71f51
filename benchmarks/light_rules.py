"""Figure: accuracy against physical passes, for the rules that train a mask. A table, and a plot for each basis."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import tuning
from benchmarks.light import Bench, Scene, train_mask
from benchmarks.light_masks import SCENES
from benchmarks.runs import mean_se, percent
from pib_lab.experiment import Schedule

PLOT = Path(__file__).resolve().parents[1] / "docs" / "figures" / "light-rules.png"
SCENE = "digits, 10"
BASES = ("pixel", "block", "hadamard")
BLOCK = 4
LOOKS = 6
"""Read-outs in the course of training; the first is of the mask before it."""

METHODS: dict[str, dict[str, Any]] = {
    "SPSA": {"rule": "spsa", "perturbation": 0.03},
    **{
        f"shift, {basis}, {how}": {"rule": "shift", "basis": basis, "block": BLOCK, "modes": 1, "scatter": scatter}
        for basis in BASES
        for how, scatter in (("one pattern for the batch", False), ("one a sample", True))
    },
}
RATES = (0.00625, 0.0125, 0.025, 0.05)
TUNED_ON = (101, 102)

Curve = tuple[tuple[int, float, float], ...]
"""Passes of training, validation accuracy, test accuracy."""


def light_rules(seeds: Sequence[int], processes: int, *, tune: bool, schedule: Schedule | None = None) -> str:
    """The section of docs/benchmarks.md; `schedule` instead of the figure's, to try it out."""
    base = SCENES[SCENE] if schedule is None else SCENES[SCENE].scaled(schedule=schedule)
    os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        if tune:
            for method in METHODS:
                trials = [(rate, seed) for rate in RATES for seed in TUNED_ON]
                jobs = [(scene_of(base, method, rate), seed) for rate, seed in trials]
                found = [made[-1][1] for made in pool.imap(partial(curve, looks=1), jobs)]
                scores = np.array(found).reshape(len(RATES), -1).mean(axis=1)
                best = int(scores.argmax())
                print(f"  {method}: {dict(zip(RATES, scores.round(4).tolist(), strict=True))}", flush=True)
                chosen = (f"rule.learning_rate={RATES[best]}",)
                tuning.keep("light-rules", method, (chosen, float(scores[best])), len(RATES) - 1, TUNED_ON)
        curves: dict[str, list[Curve]] = {}
        for method in METHODS:
            scene = scene_of(base, method, rate_of(method))
            curves[method] = list(pool.imap(partial(curve, looks=LOOKS), [(scene, seed) for seed in seeds]))
            print(f"  {method}: {curves[method]}", flush=True)
    plot(curves, PLOT)
    return _section(seeds, curves)


def scene_of(base: Scene, method: str, rate: float) -> Scene:
    """The scene in which a method trains."""
    return base.scaled(config=replace(base.config, **METHODS[method]), learning_rate=rate)


def rate_of(method: str) -> float:
    """The learning rate that was chosen for a method."""
    return float(tuning.chosen("light-rules", method)[0].partition("=")[2])


def curve(job: tuple[Scene, int], looks: int) -> Curve:
    """Accuracies of a linear read-out in the course of one training: at its start (with several looks) and its end."""
    scene, seed = job
    data = scene.data(seed)
    bench, points = Bench(scene, seed, data.features), []
    steps = scene.schedule.epochs * (len(data.train) // scene.schedule.batch)
    due = set(np.linspace(steps / max(looks - 1, 1), steps, max(looks - 1, 1)).round().astype(int).tolist())
    done = 0

    def watch(spent: int) -> None:
        nonlocal done
        done += 1
        if done in due:
            points.append((spent, *bench.read_out(data)))

    if looks > 1:
        flat = Bench(scene, seed, data.features)
        parameters = flat.unit.spec.parameters
        flat.unit.program(np.full(parameters.shape, 0.5 * (parameters.low + parameters.high), np.float32))
        points.append((0, *flat.read_out(data)))
    train_mask(scene, bench, data, seed, watch)
    return tuple(points)


def plot(curves: dict[str, list[Curve]], path: Path) -> None:
    """A panel for each basis, SPSA in all: mean test accuracy, with its standard error as a band."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, len(BASES), figsize=(11.0, 3.6), sharey=True, layout="constrained")
    for panel, basis in zip(panels, BASES, strict=True):
        for method, found in curves.items():
            if method != "SPSA" and f", {basis}," not in method:
                continue
            passes = [point[0] for point in found[0]]
            means, errors = np.array([mean_se([one[i][2] for one in found]) for i in range(len(passes))]).T * 100.0
            line = panel.plot(passes, means, "o-", markersize=3, label=method)[0]
            panel.fill_between(passes, means - errors, means + errors, color=line.get_color(), alpha=0.2)
        panel.set_title(f"basis: {basis}")
        panel.set_xlabel("passes of training")
        panel.legend(fontsize=7, loc="lower right")
    panels[0].set_ylabel("test accuracy, %")
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def _section(seeds: Sequence[int], curves: dict[str, list[Curve]]) -> str:
    passes = [point[0] for point in next(iter(curves.values()))[0]]
    best = max(curves, key=lambda method: float(np.mean([one[-1][1] for one in curves[method]])))
    lines = [
        "### Rules that train a phase mask, by physical pass",
        "",
        f"`python -m benchmarks light-rules`; seeds {', '.join(map(str, seeds))}; {SCENE.replace(',', ':')} regions on "
        "`bench-a`, drift on, flat start. Test accuracy of a linear read-out fitted to fresh responses, after so many "
        f"passes of training (the read-out's own are not among them); three passes a sample and step for all. Learning "
        f"rates: the best of {len(RATES)} on validation data of seeds {TUNED_ON[0]} and {TUNED_ON[1]}. Blocks: "
        f"{BLOCK} x {BLOCK}.",
        "",
        f"| rule | rate | {' | '.join(f'{count:,}' for count in passes)} |",
        f"|---|---|{'---|' * len(passes)}",
    ]
    for method, found in curves.items():
        cells = [percent([one[i][2] for one in found]) for i in range(len(passes))]
        lines.append(f"| {method} | {rate_of(method):g} | {' | '.join(cells)} |")
    note = f"Best on validation data at the end: {best}. ![Accuracy against passes, a plot for each basis]"
    return "\n".join([*lines, "", f"{note}(figures/{PLOT.name})", ""])
