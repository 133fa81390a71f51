"""The dry run against what runs really cost."""

from __future__ import annotations

from pathlib import Path

import pytest

import pib_lab
from pib_lab.check import DryRun
from pib_lab.errors import ConfigurationError
from pib_lab.lab import Lab

SMALL = ["dataset.limit=128", "schedule.epochs=2", "schedule.batch=32", "scan.reads=2"]


def small(*overrides: str) -> Lab:
    return pib_lab.open("memristor-digits", overrides=[*SMALL, *overrides])


def check(*overrides: str) -> DryRun:
    return small(*overrides).check()


def with_faults(tmp_path: Path, *overrides: str) -> Lab:
    """The small protocol with two strikes, one of them of one unit only, and scans on every occasion."""
    text = small().protocol_text + (
        '\n[[faults]]\nstep = 0\nfraction = 0.1\n\n[[faults]]\nstep = 3\nfraction = 0.1\nunit = "hidden-2"\n'
    )
    path = tmp_path / "struck.toml"
    path.write_text(text, encoding="utf-8")
    return pib_lab.open(path, overrides=["scan.every=3", *overrides])


def test_passes_are_those_of_the_run(tmp_path: Path) -> None:
    """Training, evaluation and scans to the pass, faults and compensation included; verify and pulses are bounds."""
    lab = with_faults(tmp_path)
    foreseen, done = lab.check(), lab.train(tmp_path)
    assert done.status == "finished"
    for kind in ("training", "evaluation", "scan"):
        assert getattr(foreseen.passes, kind) == getattr(done.passes, kind) > 0, kind
    assert 0 < done.passes.verify <= foreseen.passes.verify
    assert 0 < done.pulses <= foreseen.pulses_max


def test_without_verification_scans_and_pulses_are_bounds(tmp_path: Path) -> None:
    """Open-loop programming: no verify passes, and a scan may need further sets of reads."""
    lab = with_faults(tmp_path, "hardware.chip.profile=gong-2018-reram-es", "limits.current=1 mA")
    foreseen, done = lab.check(), lab.train(tmp_path)
    assert done.status == "finished"
    assert foreseen.passes.verify == done.passes.verify == 0
    assert done.passes.scan <= foreseen.passes.scan
    assert done.pulses <= foreseen.pulses_max


def test_perturbation_costs_two_more_passes_and_writes() -> None:
    """By SPSA every training sample passes each unit three times, and every update may write three times."""
    exact, shifted = check("scan.at_start=false"), check("scan.at_start=false", "rule.name=spsa")
    cells = sum(unit.parameters for unit in exact.units)
    assert shifted.passes.training == 3 * exact.passes.training
    assert exact.writes_max == cells * (1 + exact.steps)
    assert shifted.writes_max == cells * (1 + 3 * exact.steps)


def test_a_unit_that_is_not_trained_is_written_once() -> None:
    """A frozen unit costs its first programming and its passes."""
    free, frozen = check("scan.at_start=false"), check("scan.at_start=false", "units.hidden-1.train=false")
    assert free.writes_max - frozen.writes_max == 64 * 64 * 2 * free.steps
    assert free.passes.training == frozen.passes.training


def test_times_are_those_of_the_profile() -> None:
    """Settling and conversion of every pass; pulse and verify times of the bounds."""
    times = {"settle_s": 2e-3, "conversion_s": 3e-3, "pulse_s": 5e-6, "verify_s": 7e-4}
    dry = check(*(f"hardware.chip.override.{key}={value}" for key, value in times.items()))
    assert dry.measuring_s == pytest.approx((dry.passes.total - dry.passes.verify) * 5e-3)
    assert dry.programming_s == pytest.approx(dry.pulses_max * 5e-6 + dry.passes.verify * 7e-4)
    assert dry.writes_at_10us_s == pytest.approx(dry.writes_max * 10e-6)
    assert dry.writes_at_1ms_s == pytest.approx(dry.writes_max * 1e-3)


def test_a_budget_below_the_bound_is_pointed_out() -> None:
    """A warning in pulses, not in writes."""
    dry = check("limits.pulses=1000")
    assert f"up to {dry.pulses_max:,} pulses are foreseen" in " ".join(dry.warnings)
    assert not check().warnings


ECHO = """
name = "echo"
[dataset]
name = "digits"
[hardware.box]
driver = "template"
[[units]]
name = "only"
inputs = 64
outputs = 10
objective = "cross-entropy"
[schedule]
epochs = 1
batch = 64
[scan]
at_start = true
"""


def test_a_driver_that_tells_no_costs_is_named(tmp_path: Path) -> None:
    """What could not be counted is said, and nothing is made up."""
    (tmp_path / "echo.toml").write_text(ECHO, encoding="utf-8")
    dry = pib_lab.open(tmp_path / "echo.toml").check()
    assert "only: the driver tells no costs" in " ".join(dry.warnings)
    assert (dry.passes.scan, dry.passes.verify, dry.pulses_max) == (0, 0, dry.writes_max)


def test_a_current_limit_that_nothing_enforces_is_refused(tmp_path: Path) -> None:
    """A unit that limits no current cannot keep the protocol's limit."""
    (tmp_path / "echo.toml").write_text(ECHO + '[limits]\ncurrent = "1 mA"\n', encoding="utf-8")
    with pytest.raises(ConfigurationError, match="only limits no current; leave"):
        pib_lab.open(tmp_path / "echo.toml").check()


LIGHT = """
name = "light"
[dataset]
name = "digits"
limit = 64
[hardware.rig]
driver = "mock-optical-rig"
[[units]]
name = "light"
inputs = 64
outputs = 10
objective = "cross-entropy"
[schedule]
epochs = 1
batch = 32
[rule]
name = "shift"
basis = "hadamard"
modes = 2
"""


def test_shifts_of_light_are_foretold(tmp_path: Path) -> None:
    """Two passes more a sample and pattern, as in the run, and a mask is only programmed with the updates."""
    path = tmp_path / "light.toml"
    path.write_text(LIGHT, encoding="utf-8")
    lab = pib_lab.open(path)
    foreseen, done = lab.check(), lab.train(tmp_path)
    assert done.status == "finished"
    assert foreseen.passes.training == done.passes.training == foreseen.steps * 32 * (1 + 2 * 2)
    assert foreseen.writes_max == 256 * (1 + foreseen.steps)
