"""The figures of light at tiny sizes: what is compared is comparable, and what is counted is counted."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

import pib_lab
from benchmarks import light_accuracy, light_drift, light_masks, light_rate, light_rules
from benchmarks.light import SHIFT, Bench, Scene, linear, train_mask
from benchmarks.runs import Job, Result
from data.datasets import Split
from drivers.mock.optics_profile import load_optics_profile
from pib_lab.assembly import make_learners, make_units
from pib_lab.clocks import VirtualClock
from pib_lab.experiment import Dataset, Schedule, parse_experiment
from pib_lab.registry import find_driver
from protocols import read

TINY = Scene(
    Dataset(name="digits", limit=64, validation=0.05),
    regions=8,
    schedule=Schedule(epochs=2, batch=32),
    learning_rate=0.02,
    camera_px=12,
)
SMALL = ["schedule.epochs=1", "dataset.limit=128", "dataset.validation=0.05", "schedule.entropies_every=0"]


@pytest.fixture(autouse=True)
def few_masks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two random masks instead of sixteen."""
    monkeypatch.setattr(light_masks, "MASKS", 2)


def test_training_a_mask_takes_three_passes_a_sample_and_step() -> None:
    """One forward, and two along a pattern of the sample's own."""
    bench, data = Bench(TINY, 1, 64), TINY.data(1)
    train_mask(TINY, bench, data, 1)
    assert bench.passes == 4 * 32 * 3
    assert bench.true_correlation() == pytest.approx(math.exp(-bench.clock.now_s() / 36000.0))


def test_a_figure_of_masks_is_the_same_each_time() -> None:
    """Same seed, same numbers, for the trained mask and for all its peers."""
    found = light_masks.compare(TINY, 3)
    assert found == light_masks.compare(TINY, 3)
    assert found.passes == 384
    assert 0.0 < found.correlation < 1.0


def test_the_linear_read_out_separates_what_a_line_can() -> None:
    """Two classes on either side of a plane, with the penalty chosen on validation data."""
    rng = np.random.default_rng(1)
    splits = []
    for _ in range(3):
        x = rng.normal(size=(200, 5)).astype(np.float32)
        splits.append(Split(x, (x[:, 0] > 0).astype(np.int64)))
    validation, test = linear(*splits)
    assert validation > 0.95
    assert test > 0.95
    assert math.isnan(linear(splits[0], splits[1], None)[1])


def test_all_rules_get_the_same_number_of_passes() -> None:
    """Accuracy by physical pass: SPSA and each kind of shift spend as many in each step."""
    spent = set()
    for method in light_rules.METHODS:
        points = light_rules.curve((light_rules.scene_of(TINY, method, 0.02), 1), looks=2)
        spent.add(tuple(passes for passes, _, _ in points))
    assert spent == {(0, 384)}


def test_the_plot_of_the_rules_has_a_panel_for_each_basis(tmp_path: Path) -> None:
    """A picture is written for curves of all methods."""
    curves: dict[str, list[light_rules.Curve]] = {
        method: [((0, 0.5, 0.5), (384, 0.6, 0.6)), ((0, 0.4, 0.5), (384, 0.7, 0.7))] for method in light_rules.METHODS
    }
    light_rules.plot(curves, tmp_path / "figures" / "rules.png")
    assert (tmp_path / "figures" / "rules.png").stat().st_size > 10_000


def test_the_frame_by_frame_path_uses_the_settled_frame_rate() -> None:
    """At least 95 % of what settling and exposure allow, the learning included, in virtual time."""
    frames, allowed_hz, measuring_hz, training_hz = light_rate.rates(1, {}, steps=1, batch=16)
    assert frames == 48
    assert 0.95 * allowed_hz < training_hz <= measuring_hz < 1.05 * allowed_hz


def test_drift_of_the_figure_halves_the_field_correlation_during_training() -> None:
    """The time until the test split is measured is what the drift is set by."""
    experiment = pib_lab.open("optical-digits", overrides=light_drift.SETTINGS).experiment
    foreseen = pib_lab.open("optical-digits", overrides=light_drift.SETTINGS).check()
    _, correlation = light_accuracy.light_hours(experiment, foreseen)
    duration_s = light_drift.training_s(light_drift.SETTINGS)
    assert 0.98 * foreseen.measuring_s < duration_s < foreseen.measuring_s
    assert correlation == pytest.approx(math.exp(-foreseen.measuring_s / 36000.0))


@pytest.mark.parametrize("protocol", ["optical-digits", "hybrid-digits"])
def test_one_unit_alone_is_the_first_with_the_read_out_behind_it(protocol: str, tmp_path: Path) -> None:
    """Of both protocols, the whole network and its peer train and measure the test split."""
    whole = pib_lab.open(protocol, overrides=SMALL).experiment
    alone = light_accuracy.alone(whole)
    assert [(unit.inputs, unit.outputs) for unit in alone.units] == [(64, 128), (128, 10)]
    for experiment in (whole, alone):
        run = pib_lab.open(experiment).train(tmp_path / str(len(experiment.units)))
        assert run.error is None
        assert run.safe
        assert "test_accuracy" in run.metrics


@pytest.mark.parametrize(
    ("protocol", "regions", "digital"),
    [("optical-digits", [128] * 3, 17_664), ("optical-mnist", [256] * 3, 35_328), ("hybrid-digits", [128], 0)],
)
def test_the_shipped_optical_protocols_are_within_their_sizes(
    protocol: str, regions: Sequence[int], digital: int
) -> None:
    """Camera regions and digital weights are those that the figures state, and every unit gets its learner."""
    experiment = parse_experiment(read(protocol)[1])
    factories = {name: find_driver(hardware.driver, False, name)[1] for name, hardware in experiment.hardware.items()}
    devices, units = make_units(experiment, factories, VirtualClock())
    learners = make_learners(experiment, units)
    assert [unit.spec.response.size for unit in units if unit.spec.response.unit == "counts"] == list(regions)
    assert sum(learner.unit.spec.parameters.size for learner in learners if not learner.parameters.cells) == digital
    for device in devices.values():
        device.close()


def test_the_fast_panel_is_the_same_bench_but_for_its_speed() -> None:
    """No noise, drift or blur is weaker in the profile of `optical-mnist` than in that of all other figures."""
    slow, fast = (load_optics_profile(name).model_dump() for name in ("bench-a", "bench-a-fast"))
    assert {key for key in slow if slow[key] != fast[key]} == {"latency_s", "response_s"}
    rig = pib_lab.open("optical-mnist").experiment.hardware["rig"]
    assert rig.options["profile"] == "bench-a-fast"
    assert not set(rig.options["override"]) - {"camera_rows", "camera_columns"}


def test_drift_is_all_in_which_the_rows_of_its_figure_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    """Same settings and seed for both; rows are paired by seed in the order in which runs come back."""
    asked: list[Job] = []

    def runs(jobs: Sequence[Job], processes: int) -> Iterator[Result]:
        asked.extend(jobs)
        for job in jobs:
            drifts = not job.overrides[-1].endswith("drift_s=0.0")
            yield Result(job, {"test_accuracy": 0.97 + 0.001 * job.seed - 0.005 * drifts})

    monkeypatch.setattr(light_drift, "run_all", runs)
    section = light_drift.light_drift((1, 2, 3), 1)
    assert {job.overrides[:-1] for job in asked} == {light_drift.SETTINGS}
    assert sorted(job.seed for job in asked) == [1, 1, 2, 2, 3, 3]
    assert "| 1 | 97.20 ± 0.06 % |  |" in section
    assert "| 0.5 | 96.70 ± 0.06 % | -0.5 ± 0.0 |" in section


def test_the_default_of_the_figures_shifts_each_sample_by_itself() -> None:
    """The rule that the figure of rules compares with others is the one that the figure of masks uses."""
    method = light_rules.METHODS["shift, hadamard, one a sample"]
    assert (SHIFT.rule, SHIFT.basis, SHIFT.modes) == (method["rule"], method["basis"], method["modes"])
