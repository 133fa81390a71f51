"""The export: records in formats that every tool reads."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import synthetic_run

from data.export import export_events, export_run
from data.recorder import Recorder
from pib_lab.errors import RunFileError
from pib_lab.events import CheckpointTaken, Event, MapTaken, StepDone

SIZES = {"hidden-1": (4, 3), "read-out": (3, 2)}


@pytest.fixture(scope="module")
def made() -> list[Event]:
    """Events of a small run."""
    return synthetic_run.events(total_steps=20, sizes=SIZES)


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_record_has_its_file(made: list[Event], tmp_path: Path) -> None:
    """Steps, units, evaluations, a map file per unit, protocol and summary are written and reported."""
    files = export_events(made, tmp_path)
    assert {file.name for file in files} == {
        "steps.csv",
        "units.csv",
        "evaluations.csv",
        "maps-hidden-1.npz",
        "maps-read-out.npz",
        "protocol.toml",
        "summary.json",
    }
    assert all(file.is_file() for file in files)


def test_steps_keep_every_digit(made: list[Event], tmp_path: Path) -> None:
    """A number read back from steps.csv equals the recorded one."""
    export_events(made, tmp_path)
    rows = _rows(tmp_path / "steps.csv")
    steps = [event for event in made if isinstance(event, StepDone)]
    assert [float(row["batch_accuracy"]) for row in rows] == [event.batch_accuracy for event in steps]
    assert [int(row["passes_training"]) for row in rows] == [event.passes.training for event in steps]


def test_units_are_in_long_form_with_blanks_for_what_was_not_computed(made: list[Event], tmp_path: Path) -> None:
    """One row per step and unit; a NaN is an empty cell."""
    export_events(made, tmp_path)
    rows = _rows(tmp_path / "units.csv")
    assert len(rows) == 20 * len(SIZES)
    assert {row["unit"] for row in rows} == set(SIZES)
    assert [row["i_xz"] == "" for row in rows if row["unit"] == "read-out"] == [step % 5 != 0 for step in range(20)]


def test_maps_are_stacked_over_steps(made: list[Event], tmp_path: Path) -> None:
    """An NPZ holds the maps of all steps at which they were taken."""
    export_events(made, tmp_path)
    maps = np.load(tmp_path / "maps-hidden-1.npz")
    taken = [event for event in made if isinstance(event, MapTaken) and event.unit == "hidden-1"]
    assert maps["step"].tolist() == [event.step for event in taken]
    np.testing.assert_array_equal(maps["parameters"], np.stack([event.parameters for event in taken]))
    assert maps["faults"].shape == maps["pulses"].shape == (2, 4, 3, 2)


def test_the_summary_is_strict_json(made: list[Event], tmp_path: Path) -> None:
    """No NaN, and the accuracy, passes and wear that a script would ask for."""
    export_events(made, tmp_path)
    summary = json.loads((tmp_path / "summary.json").read_text(), parse_constant=pytest.fail)
    assert summary["status"] == "finished"
    assert summary["metrics"]["test_accuracy"] == 0.9722
    assert summary["passes"]["verify"] == 5000
    assert summary["units"][0]["wear"]["total"] > 0


def test_a_run_cut_short_is_exported_as_far_as_it_went(made: list[Event], tmp_path: Path) -> None:
    """Without steps or maps the tables are empty but there, and the status says it."""
    files = export_events(made[:2], tmp_path)
    assert not [file for file in files if file.suffix == ".npz"]
    assert _rows(tmp_path / "steps.csv") == []
    assert json.loads((tmp_path / "summary.json").read_text())["status"] == "unfinished"


def test_a_recorded_run_is_exported_beside_it_by_default(made: list[Event], tmp_path: Path) -> None:
    """export_run reads the run file and makes the folder "export"."""
    folder = tmp_path / "run"
    with Recorder.create(folder, synthetic_run.started(sizes=SIZES), CheckpointTaken(0, {})) as recorder:
        for event in made[1:]:
            recorder.record(event)
    files = export_run(folder)
    assert {file.parent for file in files} == {folder / "export"}
    assert len(_rows(folder / "export" / "steps.csv")) == 20


def test_a_target_that_cannot_be_written_is_a_clear_error(made: list[Event], tmp_path: Path) -> None:
    """A file in the place of the folder is reported with its path."""
    folder = tmp_path / "run"
    with Recorder.create(folder, synthetic_run.started(sizes=SIZES), CheckpointTaken(0, {})) as recorder:
        recorder.record(made[1])
    blocked = tmp_path / "blocked"
    blocked.write_text("")
    with pytest.raises(RunFileError, match="blocked"):
        export_run(folder, blocked)
