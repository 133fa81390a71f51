"""Figure: a deep optical network that learns while its medium becomes another one, against one that stays as it is."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import pib_lab
from benchmarks.light_masks import difference
from benchmarks.runs import Job, data_dir, percent, run_all

PROTOCOL = "optical-digits"
CORRELATIONS = (1.0, 0.5)
GOAL = 0.5
WEIGHTS = ("weights-1", "weights-2", "read-out")
SETTINGS = (
    "schedule.entropies_every=0",
    "schedule.checkpoint_every=2000",
    "schedule.epochs=128",
    "schedule.batch=32",
    "schedule.floor=0.5",
    "rule.learning_rate=0.01",
    "conditioning.momentum=0.1",
    *(f"units.{name}.rule.ridge=0.3" for name in WEIGHTS),
)
"""The same for all rows; chosen on validation data of seeds 101 and 102, on a simplified copy of the bench."""


def light_drift(seeds: Sequence[int], processes: int, more: Sequence[str] = ()) -> str:
    """The section of docs/benchmarks.md; `more`: further overrides, to try it out."""
    settings = (*SETTINGS, *more)
    duration_s = training_s(settings)
    found: dict[float, list[float]] = {correlation: [] for correlation in CORRELATIONS}
    jobs = [Job("pib", PROTOCOL, seed, (*settings, _drift(duration_s, c))) for seed in seeds for c in CORRELATIONS]
    correlations = itertools.cycle(CORRELATIONS)
    for job, result, correlation in zip(jobs, run_all(jobs, processes), correlations, strict=False):
        if result.error:
            raise RuntimeError(result.error)
        found[correlation].append(result.metrics["test_accuracy"])
        print(f"  correlation {correlation}, seed {job.seed}: {result.metrics}", flush=True)
    still = found[1.0]
    drift_h = duration_s / -math.log(GOAL) / 3600.0
    lines = [
        "### Drift during training",
        "",
        f"`python -m benchmarks light-drift`; seeds {', '.join(map(str, seeds))}; `{PROTOCOL}` with "
        f"{', '.join(f'`{text}`' for text in settings[2:])}, the same in all rows and chosen on validation data. "
        f"Training takes {duration_s / 3600.0:.1f} h of the rig's time, validations included, in which the medium's "
        "**field** correlation falls from 1 to the number below (0.5: to 1/e in "
        f"{drift_h:.1f} h; `bench-a` has 10 h). Nothing is calibrated again and nothing fitted at the end: the weights "
        "behind the camera follow as they learn. The test split is measured right after the last step, while the "
        f"medium moves on. The goal is 1 point at {GOAL:g}.",
        "",
        "| field correlation after training | test accuracy | minus no drift, paired |",
        "|---|---|---|",
    ]
    for correlation, accuracies in found.items():
        against = "" if correlation == 1.0 else difference(accuracies, still)
        lines.append(f"| {correlation:g} | {percent(accuracies)} | {against} |")
    return "\n".join([*lines, ""])


def _drift(duration_s: float, correlation: float) -> str:
    """The override with which the field correlation falls from 1 to `correlation` in that time."""
    return f"hardware.rig.override.drift_s={duration_s / -math.log(correlation) if correlation < 1.0 else 0.0!r}"


def training_s(settings: Sequence[str]) -> float:
    """Time on the rig until training is over: all passes but those of the test split."""
    lab = pib_lab.open(PROTOCOL, overrides=settings, data_dir=data_dir())
    foreseen = lab.check()
    passes = foreseen.passes
    light = sum(unit.device == "rig" for unit in lab.experiment.units)
    tested = light * len(lab.data().test)
    return foreseen.measuring_s * (1.0 - tested / (passes.total - passes.verify))
