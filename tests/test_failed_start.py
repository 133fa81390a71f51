"""A run that ends before its first step: outputs are off, and what happened is on record."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pib_lab
from data.reader import Reader
from drivers.chip.mock_chip import MockCrossbar
from pib_lab.control import Commands
from pib_lab.errors import DeviceError, LimitError, LinkError, ResponseError, RunFileError
from pib_lab.events import BatchRejected, MadeSafe, RunFinished
from pib_lab.lab import Lab
from pib_lab.unit import Measurement, SafeReport

SMALL = ["dataset.limit=128", "schedule.epochs=1", "schedule.batch=64", "scan.at_start=false"]


def small(*overrides: str) -> Lab:
    return pib_lab.open("memristor-digits", overrides=[*SMALL, *overrides])


@pytest.fixture
def blind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every reading of the chip is NaN."""
    plain = MockCrossbar.measure

    def measure(unit: MockCrossbar, drive: Any, *, cancel: Any) -> Measurement:
        found = plain(unit, drive, cancel=cancel)
        return replace(found, values=np.full_like(found.values, np.nan))

    monkeypatch.setattr(MockCrossbar, "measure", measure)


@pytest.mark.usefixtures("blind")
def test_a_first_measurement_that_is_not_a_number_is_saved(tmp_path: Path) -> None:
    """The run fails safely while it calibrates, and its file holds the batch and the end."""
    run = small().train(tmp_path)
    assert isinstance(run.error, ResponseError)
    assert (run.status, run.safe) == ("failed", True)
    assert run.pulses > 0  # the chip had been programmed
    with Reader(run.folder) as reader:
        events = list(reader.events())
    (rejected,) = (event for event in events if isinstance(event, BatchRejected))
    assert rejected.unit == "hidden-1"
    assert np.isnan(rejected.response).all()
    assert sum(isinstance(event, MadeSafe) for event in events) == 3
    assert isinstance(events[-1], RunFinished)


@pytest.mark.usefixtures("blind")
def test_a_run_without_a_first_step_cannot_be_resumed(tmp_path: Path) -> None:
    """There is no state to go on from, and the message says what to do."""
    folder = small().train(tmp_path).folder
    with pytest.raises(RunFileError, match="start the run again"):
        pib_lab.reopen(folder).train(resume=folder)


def test_an_interrupt_during_preparation_aborts_the_run_safely(tmp_path: Path) -> None:
    """Cancelled before the first measurement: aborted, not failed, and every output was read back off."""
    commands = Commands()
    commands.cancel.cancel()
    run = small().train(tmp_path, commands=commands)
    assert (run.status, run.error, run.safe) == ("aborted", None, True)


def test_the_first_programming_is_within_the_wear_budget(tmp_path: Path) -> None:
    """A budget below one pulse a cell is refused before a single pulse."""
    run = small("limits.pulses=5000").train(tmp_path)
    assert isinstance(run.error, LimitError)
    assert run.pulses == 0


def test_a_unit_that_cannot_be_switched_off_hides_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """`make_safe` of the lab goes through all units, whatever a driver raises, and says what was not confirmed."""
    plain = MockCrossbar.make_safe

    def crash(unit: MockCrossbar) -> SafeReport:
        if unit.spec.name == "hidden-2":
            raise OSError("the vendor's library has crashed")
        return plain(unit)

    monkeypatch.setattr(MockCrossbar, "make_safe", crash)
    reports = small().make_safe()
    assert [(report.unit, report.safe) for report in reports] == [
        ("read-out", True),
        ("hidden-2", False),
        ("hidden-1", True),
    ]
    assert "crashed" in reports[1].detail


def dies_at(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """The link is dead when this unit is opened, and no unit can be confirmed off."""
    plain = MockCrossbar.open

    def dead(unit: MockCrossbar) -> None:
        if unit.spec.name == name:
            raise LinkError("the link is dead")
        plain(unit)

    monkeypatch.setattr(MockCrossbar, "open", dead)
    monkeypatch.setattr(MockCrossbar, "make_safe", lambda unit: SafeReport(unit.spec.name, (), ("read voltage",)))


def test_a_device_that_was_never_connected_is_not_in_doubt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run has switched nothing on there: it says what to check, and claims neither off nor NOT confirmed."""
    dies_at(monkeypatch, "hidden-1")
    with pytest.raises(LinkError, match="the link is dead") as problem:
        small().train(tmp_path)
    text = str(problem.value)
    assert text.startswith("hardware.chip could not be connected")
    assert "pib-lab list instruments" in text
    assert "never answered this run" in text
    assert "its state is unknown" in text
    assert "confirmed" not in text
    assert list(tmp_path.iterdir()) == []


def test_outputs_in_doubt_after_a_failed_opening_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link that dies once a unit of it is open, and a unit that does not confirm: the error says both."""
    dies_at(monkeypatch, "hidden-2")
    with pytest.raises(DeviceError) as problem:
        small().train(tmp_path)
    assert str(problem.value) == "the link is dead; outputs were NOT confirmed off: hidden-1 (read voltage)"
    assert list(tmp_path.iterdir()) == []


def test_a_finished_run_is_not_resumed(tmp_path: Path) -> None:
    """The test split is looked at once: a finished run is refused, and its file stays as it was."""
    folder = small().train(tmp_path).folder
    before = (folder / "run.h5").read_bytes()
    with pytest.raises(RunFileError, match="has finished"):
        pib_lab.reopen(folder).train(resume=folder)
    assert (folder / "run.h5").read_bytes() == before
