"""Tuning, the same for every method: the same number of trials over its own learning rate, batch and options, judged on
validation data, with seeds that the figures do not use. Choices are kept in tuned.json."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.runs import Job, run_all

CHOICES = Path(__file__).with_name("tuned.json")
TUNING_SEEDS = (101, 102)

Grid = dict[str, tuple[str, ...]]
"""Values to choose from, by the key of an override; "*" in a key stands for every hidden unit."""

COMMON: Grid = {
    "rule.learning_rate": ("0.005", "0.01", "0.02", "0.04"),
    "schedule.batch": ("128", "256", "512"),
    "rule.deadband": ("1.0", "2.0", "4.0"),
    "conditioning.headroom": ("2.0", "3.0", "4.0"),
}
LOCAL: Grid = {"units.*.objective.temperature": ("0.1", "0.2", "0.4")}
FLOAT: Grid = {
    "rule.learning_rate": ("0.001", "0.002", "0.005", "0.01", "0.02", "0.05"),
    "schedule.batch": ("64", "128", "256", "512"),
}


def grid_of(method: str) -> Grid:
    """What is tuned for a method."""
    if method == "float":
        return FLOAT
    return COMMON | LOCAL if method == "pib" else COMMON


def trials(method: str, count: int, hidden: Sequence[str]) -> list[tuple[str, ...]]:
    """`count` different random points of the method's grid, as overrides; the same every time."""
    rng = np.random.default_rng(20260)
    grid, found = grid_of(method), []
    while len(found) < count:
        point: list[str] = []
        for key, values in grid.items():
            value = values[int(rng.integers(len(values)))]
            names = hidden if "*" in key else ("",)
            point += [f"{key.replace('*', name)}={value}" for name in names]
        if tuple(point) not in found:
            found.append(tuple(point))
    return found


def tune(name: str, protocol: str, method: str, fixed: Sequence[str], hidden: Sequence[str], count: int, processes: int) -> None:
    """Try `count` points for `method` and remember the best by mean validation accuracy under `name/method`."""
    points = trials(method, count, hidden)
    jobs = [Job(method, protocol, seed, (*fixed, *point)) for point in points for seed in TUNING_SEEDS]
    scores: dict[tuple[str, ...], list[float]] = {point: [] for point in points}
    for job, result in zip(jobs, run_all(jobs, processes), strict=True):
        scores[job.overrides[len(fixed) :]].append(0.0 if result.error else result.metrics["validation_accuracy"])
    ranked = sorted(scores.items(), key=lambda item: -float(np.mean(item[1])))
    for point, values in ranked:
        print(f"  {method}: validation {np.mean(values):.4f}  {' '.join(point)}", flush=True)
    chosen = json.loads(CHOICES.read_text()) if CHOICES.exists() else {}
    chosen[f"{name}/{method}"] = {
        "overrides": list(ranked[0][0]),
        "validation": float(np.mean(ranked[0][1])),
        "trials": count,
        "seeds": list(TUNING_SEEDS),
    }
    CHOICES.write_text(json.dumps(chosen, indent=1, sort_keys=True) + "\n")


def chosen(name: str, method: str) -> tuple[str, ...]:
    """What tuning chose for `name/method`."""
    return tuple(json.loads(CHOICES.read_text())[f"{name}/{method}"]["overrides"])
