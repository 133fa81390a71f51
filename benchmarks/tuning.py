"""Tuning, the same for every method: the same number of trials over its own learning rate, batch and options, judged on
validation data, with seeds that the figures do not use. Choices are kept in tuned.json."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import pib_lab
from benchmarks.runs import Job, run_all

CHOICES = Path(__file__).with_name("tuned.json")

Grid = dict[str, tuple[str, ...]]
"""Values to choose from, by the key of an override; "*" in a key stands for every hidden unit."""

CHIP: Grid = {
    "rule.learning_rate": ("0.01", "0.02", "0.03", "0.05"),
    "rule.deadband": ("1.0", "2.0", "4.0"),
    "conditioning.headroom": ("2.0", "3.0", "4.0"),
}
LOCAL: Grid = {
    "units.*.objective.temperature": ("0.06", "0.12", "0.25"),
    "units.*.objective.ridge": ("0.3", "1.0", "3.0"),
}
FLOAT: Grid = {"rule.learning_rate": ("0.001", "0.002", "0.005", "0.01", "0.02", "0.05")}


def grid_of(method: str, batches: tuple[str, ...]) -> Grid:
    """What is tuned for a method."""
    if method == "float":
        return FLOAT | {"schedule.batch": batches}
    common = CHIP | {"schedule.batch": batches}
    return common | LOCAL if method == "pib" else common


def trials(grid: Grid, count: int, hidden: Sequence[str]) -> list[tuple[str, ...]]:
    """`count` different random points of the grid, as overrides; the same every time."""
    rng = np.random.default_rng(20260)
    found: list[tuple[str, ...]] = []
    while len(found) < count:
        point: list[str] = []
        for key, values in grid.items():
            value = values[int(rng.integers(len(values)))]
            names = hidden if "*" in key else ("",)
            point += [f"{key.replace('*', name)}={value}" for name in names]
        if tuple(point) not in found:
            found.append(tuple(point))
    return found


def tune(
    name: str,
    protocol: str,
    method: str,
    *,
    grid: Grid,
    fixed: Sequence[str],
    short: Sequence[str],
    hidden: Sequence[str],
    count: int,
    seeds: Sequence[int],
    processes: int,
) -> None:
    """Choose overrides for `method` by validation accuracy, and keep them under `name/method`.

    First the protocol's own settings and `count` random points, in runs shortened by `short`; then, as short runs
    favour small batches, the best point of each batch size in full runs.
    """
    points = [_settings_of(protocol, grid, hidden), *trials(grid, count, hidden)]
    ranked = _ranked(method, protocol, points, (*fixed, *short), seeds, processes)
    best_of_batch = {_batch(point): point for point, _ in reversed(ranked)}
    finalists = list(best_of_batch.values())
    if short:
        ranked = _ranked(method, protocol, finalists, fixed, seeds, processes)
    keep(name, method, ranked[0], count, seeds)


def keep(name: str, method: str, best: tuple[tuple[str, ...], float], count: int, seeds: Sequence[int]) -> None:
    """Write what was chosen into tuned.json."""
    chosen = json.loads(CHOICES.read_text()) if CHOICES.exists() else {}
    chosen[f"{name}/{method}"] = {
        "overrides": list(best[0]),
        "validation": best[1],
        "trials": count + 1,
        "seeds": list(seeds),
    }
    CHOICES.write_text(json.dumps(chosen, indent=1, sort_keys=True) + "\n")


def _ranked(
    method: str,
    protocol: str,
    points: Sequence[tuple[str, ...]],
    fixed: Sequence[str],
    seeds: Sequence[int],
    processes: int,
) -> list[tuple[tuple[str, ...], float]]:
    """Points with their mean validation accuracy, the best first."""
    jobs = [Job(method, protocol, seed, (*fixed, *point)) for point in points for seed in seeds]
    scores: dict[tuple[str, ...], list[float]] = {point: [] for point in points}
    for job, result in zip(jobs, run_all(jobs, processes), strict=True):
        scores[job.overrides[len(fixed) :]].append(0.0 if result.error else result.metrics["validation_accuracy"])
    ranked = sorted(((point, float(np.mean(found))) for point, found in scores.items()), key=lambda item: -item[1])
    for point, accuracy in ranked:
        print(f"  {method}: validation {accuracy:.4f}  {' '.join(point)}", flush=True)
    return ranked


def _settings_of(protocol: str, grid: Grid, hidden: Sequence[str]) -> tuple[str, ...]:
    """The protocol's own values of the grid's keys, as overrides."""
    experiment = pib_lab.open(protocol).experiment
    point: list[str] = []
    for key in grid:
        if "*" in key:
            option = key.rsplit(".", 1)[-1]
            units = {unit.name: unit for unit in experiment.units}
            point += [f"{key.replace('*', name)}={units[name].objective.options[option]}" for name in hidden]
        else:
            table, field = key.split(".")
            point.append(f"{key}={getattr(getattr(experiment, table), field)}")
    return tuple(point)


def _batch(point: tuple[str, ...]) -> str:
    return next(text for text in point if text.startswith("schedule.batch"))


def chosen(name: str, method: str) -> tuple[str, ...]:
    """What tuning chose for `name/method`."""
    return tuple(json.loads(CHOICES.read_text())[f"{name}/{method}"]["overrides"])


def trials_of(name: str, method: str) -> int:
    """How many points were tried for `name/method`."""
    return int(json.loads(CHOICES.read_text())[f"{name}/{method}"]["trials"])
