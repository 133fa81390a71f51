"""Figure: the shipped optical protocols against their peers, with what each is made of."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pib_lab
from benchmarks.light import digital_weights, linear
from benchmarks.runs import Job, Result, data_dir, percent, run_all
from data.datasets import load
from drivers.mock.optics_profile import load_optics_profile
from pib_lab.check import DryRun
from pib_lab.experiment import Experiment

PROTOCOLS = ("optical-digits", "hybrid-digits", "optical-mnist")
GOAL = 0.96
LIGHT = "mock-optical-rig"

PEERS = {
    "all weights learn, each unit by itself": "whole",
    "hidden weights frozen, read-out learns": "frozen",
    "one optical unit alone, read-out learns": "alone",
}


def light_accuracy(seeds: Sequence[int], processes: int, protocols: Sequence[str] = PROTOCOLS) -> str:
    """The section of docs/benchmarks.md; `protocols`: some of them only, or files."""
    lines = [
        "### Networks of light, and of light and memristors",
        "",
        f"`python -m benchmarks light-accuracy`; seeds {', '.join(map(str, seeds))}; `bench-a` (`optical-mnist`: "
        "`bench-a-fast`, the same but for a faster panel): shot noise at a mean of a fifth of full well, 8 bit, 15 % "
        "crosstalk, drift on, and `chip-b` in `hybrid-digits`. Masks are flat and stay as they are; what learns are "
        "the weights behind the camera, each layer by its own loss. Hours are those of the rig, settling included. "
        f"Goal: {GOAL:.0%}.",
        "",
        "| network | test accuracy | camera regions | digital weights | memristor pairs | passes of training | hours | "
        "field correlation at the end |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for protocol in protocols:
        experiment = pib_lab.open(protocol).experiment
        for title, kind in PEERS.items():
            wanted = alone(experiment) if kind == "alone" else experiment
            method = "frozen" if kind == "frozen" else "pib"
            jobs = [Job(method, wanted, seed, ("schedule.entropies_every=0",)) for seed in seeds]
            results = []
            for job, result in zip(jobs, run_all(jobs, processes), strict=True):
                results.append(result)
                print(f"  {protocol}, {kind}, seed {job.seed}: {result.metrics} {result.error}", flush=True)
            lines.append(_row(f"`{experiment.name}`: {title}", wanted, results))
        lines.append(_raw_row(experiment, seeds))
    return "\n".join([*lines, ""])


def alone(experiment: Experiment) -> Experiment:
    """The first optical unit, and the read-out right behind it."""
    first, last = experiment.units[0], experiment.units[-1]
    last = last.model_copy(update={"inputs": first.outputs, "after": None, "device": experiment.device_of(last)})
    used = {experiment.device_of(unit) for unit in (first, last)}
    hardware = {name: device for name, device in experiment.hardware.items() if name in used}
    return experiment.model_copy(update={"units": (first, last), "hardware": hardware})


def light_hours(experiment: Experiment, foreseen: DryRun) -> tuple[float, float]:
    """Hours of the whole run on the rig, and the field correlation at their end by the profile's law."""
    rig = next(device for device in experiment.hardware.values() if device.driver == LIGHT)
    profile = load_optics_profile(rig.options["profile"], rig.options.get("override", {}))
    seconds = foreseen.measuring_s
    return seconds / 3600.0, math.exp(-seconds / profile.drift_s) if profile.drift_s else 1.0


def _row(title: str, experiment: Experiment, results: Sequence[Result]) -> str:
    failed = [result.error for result in results if result.error]
    if failed:
        raise RuntimeError(f"{title}: {failed[0]}")
    lab = pib_lab.open(experiment, data_dir=data_dir())
    foreseen = lab.check()
    light = [unit for unit in experiment.units if experiment.hardware[experiment.device_of(unit)].driver == LIGHT]
    pairs = sum(
        unit.inputs * unit.outputs
        for unit in experiment.units
        if "memristor" in experiment.hardware[experiment.device_of(unit)].driver
    )
    hours, correlation = light_hours(experiment, foreseen)
    accuracy = percent([result.metrics["test_accuracy"] for result in results])
    regions = f"{len(light)} x {light[0].outputs}"
    return (
        f"| {title} | {accuracy} | {regions} | {foreseen.digital_weights:,} | {pairs:,} | "
        f"{results[0].passes['training']:,} | {hours:.1f} | {correlation:.2f} |"
    )


def _raw_row(experiment: Experiment, seeds: Sequence[int]) -> str:
    found, weights = [], 0
    for seed in seeds:
        data = load(experiment.dataset, seed, data_dir())
        found.append(linear(data.train, data.validation, data.test)[1])
        weights = digital_weights(data.features, data.classes)
    return f"| `{experiment.name}`: raw pixels, linear classifier | {percent(found)} | | {weights:,} | | | | |"
