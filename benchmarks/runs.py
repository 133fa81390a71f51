"""Training runs for comparison: the same units, data, noise and seeds for every method; results as plain numbers."""

from __future__ import annotations

import math
import multiprocessing
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

import pib_lab
from data.datasets import load
from data.reader import Reader
from pib_lab import baselines
from pib_lab.batches import batches
from pib_lab.events import Evaluated, Event, FaultsScanned
from pib_lab.experiment import Experiment
from pib_lab.teaching import Teacher

METHODS = {
    "pib": "local bottlenecks (PIB)",
    "exact": "in-situ backprop, reads every conductance exactly",
    "stale": "backprop through a stale twin",
    "frozen": "hidden units frozen, read-out trained",
    "float": "float network (the ceiling)",
}


@dataclass(frozen=True)
class Job:
    """One run: a method on a protocol, by name or as it is, with overrides and a seed."""

    method: str
    protocol: str | Experiment
    seed: int
    overrides: tuple[str, ...] = ()


@dataclass(frozen=True)
class Result:
    """What a job measured. `evaluations` are (step, split, accuracy) in order."""

    job: Job
    metrics: dict[str, float]
    evaluations: tuple[tuple[int, str, float], ...] = ()
    passes: dict[str, int] = field(default_factory=dict)
    scans: tuple[dict[str, float], ...] = ()
    wall_s: float = 0.0
    error: str = ""


def data_dir() -> Path | None:
    """Where MNIST lies: PIB_LAB_DATA, or the folder `shared/datasets` beside the project, where there is one."""
    if "PIB_LAB_DATA" in os.environ:
        return Path(os.environ["PIB_LAB_DATA"])
    beside = Path(__file__).resolve().parents[2] / "shared" / "datasets"
    return beside if beside.is_dir() else None


def teacher(method: str) -> Teacher | None:
    """Who teaches; None is every unit on its own."""
    if method == "exact":
        return baselines.Backpropagation(baselines.exact_transfer)
    if method == "stale":
        return baselines.Backpropagation(baselines.stale_transfer)
    return None


def run(job: Job) -> Result:
    """Do one job in this process, on one thread."""
    torch.set_num_threads(1)
    if job.method == "float":
        return _run_float(job)
    overrides = [text for text in job.overrides if text]
    if job.method == "frozen":
        names = [unit.name for unit in pib_lab.open(job.protocol).experiment.units[:-1]]
        overrides += [f"units.{name}.train=false" for name in names]
    lab = pib_lab.open(job.protocol, seed=job.seed, overrides=overrides, data_dir=data_dir())
    with tempfile.TemporaryDirectory() as out:
        done = lab.train(Path(out), teacher=teacher(job.method))
        if done.error is not None:
            return Result(job, done.metrics, error=str(done.error))
        with Reader(done.folder) as reader:
            events = list(reader.events())
    passes = {name: getattr(done.passes, name) for name in ("training", "verify", "scan", "calibration", "evaluation")}
    return Result(
        job, done.metrics | {"pulses": done.pulses}, _evaluations(events), passes, _scans(events), done.wall_s
    )


def _evaluations(events: Sequence[Event]) -> tuple[tuple[int, str, float], ...]:
    return tuple((event.step, event.split, event.accuracy) for event in events if isinstance(event, Evaluated))


def _scans(events: Sequence[Event]) -> tuple[dict[str, float], ...]:
    return tuple(
        {
            "step": event.step,
            "found": event.found,
            "cells": event.faults.size,
            "recall": event.recall,
            "precision": event.precision,
            "passes": event.passes,
            "pulses": event.pulses,
        }
        for event in events
        if isinstance(event, FaultsScanned)
    )


def run_all(jobs: Sequence[Job], processes: int) -> Iterator[Result]:
    """Do the jobs, `processes` at a time; results as they come, in the order of the jobs."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = "1"  # for the children: two runs on two cores beat one run on both
    with multiprocessing.get_context("spawn").Pool(processes, maxtasksperchild=4) as pool:
        yield from pool.imap(run, jobs, chunksize=1)


def _run_float(job: Job) -> Result:
    """The same widths as a float network with batch normalisation and ReLU, Adam and cosine decay, on the same data."""
    experiment: Experiment = pib_lab.open(job.protocol, seed=job.seed, overrides=job.overrides).experiment
    data = load(experiment.dataset, experiment.seed, data_dir())
    torch.manual_seed(job.seed)
    layers: list[torch.nn.Module] = []
    for unit in experiment.units:
        layers += [torch.nn.Linear(unit.inputs, unit.outputs), torch.nn.BatchNorm1d(unit.outputs), torch.nn.ReLU()]
    network = torch.nn.Sequential(*layers[:-2])
    schedule = experiment.schedule
    steps = schedule.epochs * (len(data.train) // schedule.batch)
    optimiser = torch.optim.Adam(network.parameters(), lr=experiment.rule.learning_rate)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    x, y = torch.from_numpy(data.train.x), torch.from_numpy(data.train.y)
    for epoch in range(schedule.epochs):
        for index in batches(len(y), schedule.batch, experiment.seed, epoch):
            chosen = torch.from_numpy(np.array(index))
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(network(x[chosen]), y[chosen]).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            decay.step()
    network.eval()
    metrics = {}
    with torch.no_grad():
        for split, samples in (("validation", data.validation), ("test", data.test)):
            if len(samples):
                right = network(torch.from_numpy(samples.x)).argmax(dim=1) == torch.from_numpy(samples.y)
                metrics[f"{split}_accuracy"] = float(right.float().mean())
    return Result(job, metrics)


def mean_se(values: Sequence[float]) -> tuple[float, float]:
    """Mean and standard error of the mean; 0 for a single value."""
    spread = float(np.std(values, ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else 0.0
    return float(np.mean(values)), spread


def percent(values: Sequence[float]) -> str:
    """Mean and standard error in percent, as in 97.12 ± 0.05 %, from fractions."""
    mean, error = mean_se(values)
    return f"{100 * mean:.2f} ± {100 * error:.2f} %" if len(values) > 1 else f"{100 * mean:.2f} %"
