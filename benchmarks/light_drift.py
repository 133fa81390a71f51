"""Figure: a deep optical network that learns while its medium becomes another one, against one that stays as it is."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pib_lab
from benchmarks.light_masks import difference
from benchmarks.runs import Job, data_dir, percent, run_all

PROTOCOL = "optical-digits"
CORRELATIONS = (1.0, 0.8, 0.5)
GOAL = 0.5
SETTINGS = ("schedule.entropies_every=0", "schedule.batch=64", "schedule.floor=0.5", "conditioning.momentum=0.2")
"""The same for all rows; batch, floor and momentum chosen on validation data of seeds 101 and 102 at the correlation of
the goal."""


def light_drift(seeds: Sequence[int], processes: int, more: Sequence[str] = ()) -> str:
    """The section of docs/benchmarks.md; `more`: further overrides, to try it out."""
    settings = (*SETTINGS, *more)
    duration_s = training_s(settings)
    found: dict[float, list[float]] = {}
    for correlation in CORRELATIONS:
        drift_s = duration_s / -math.log(correlation) if correlation < 1.0 else 0.0
        overrides = (*settings, f"hardware.rig.override.drift_s={drift_s!r}")
        jobs = [Job("pib", PROTOCOL, seed, overrides) for seed in seeds]
        found[correlation] = []
        for job, result in zip(jobs, run_all(jobs, processes), strict=True):
            if result.error:
                raise RuntimeError(result.error)
            found[correlation].append(result.metrics["test_accuracy"])
            print(f"  correlation {correlation}, seed {job.seed}: {result.metrics}", flush=True)
    still = found[1.0]
    lines = [
        "### Drift during training",
        "",
        f"`python -m benchmarks light-drift`; seeds {', '.join(map(str, seeds))}; `{PROTOCOL}` with "
        f"{', '.join(text.split('.', 1)[-1] for text in settings[1:])}, the same in all rows and chosen on validation "
        f"data. Training takes {duration_s / 3600.0:.1f} h of the rig's time, in which the medium's **field** "
        "correlation falls from 1 to the number below; nothing is calibrated again and nothing fitted at the end: the "
        f"weights behind the camera follow as they learn. The goal is 1 point at {GOAL:g}.",
        "",
        "| field correlation after training | test accuracy | minus no drift, paired |",
        "|---|---|---|",
    ]
    for correlation, accuracies in found.items():
        against = "" if correlation == 1.0 else difference(accuracies, still)
        lines.append(f"| {correlation:g} | {percent(accuracies)} | {against} |")
    return "\n".join([*lines, ""])


def training_s(settings: Sequence[str]) -> float:
    """Time on the rig until training is over: all passes but those of the test split."""
    lab = pib_lab.open(PROTOCOL, overrides=settings, data_dir=data_dir())
    foreseen = lab.check()
    passes = foreseen.passes
    light = sum(unit.device == "rig" for unit in lab.experiment.units)
    tested = light * len(lab.data().test)
    return foreseen.measuring_s * (1.0 - tested / (passes.total - passes.verify))
