"""The reader: live while a run writes, columns and status, and clear errors for files that are no good."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from recording import STARTED, checkpoint, endless, expected, one_of_each, same

from data.layout import RUN_FILE
from data.reader import Reader
from data.recorder import Recorder
from pib_lab.errors import RunFileError
from pib_lab.events import Event, StepDone

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of every kind of event; tests that change it copy it."""
    folder = tmp_path_factory.mktemp("finished")
    with Recorder.create(folder, STARTED, checkpoint(0)) as recorder:
        for event in one_of_each():
            recorder.record(event)
    return folder


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    """A run file that a test may spoil."""
    path = tmp_path / RUN_FILE
    path.write_bytes((finished / RUN_FILE).read_bytes())
    return path


def test_columns_of_steps_equal_the_events(finished: Path) -> None:
    """Columns of the run and of each unit hold what the steps' events say."""
    with Reader(finished) as reader:
        steps = [event for event in reader.events() if isinstance(event, StepDone)]
        columns, unit = reader.steps(), reader.unit_steps("read-out")
    assert columns["elapsed_s"].tolist() == [event.elapsed_s for event in steps]
    assert columns["training_passes"].tolist() == [event.passes.training for event in steps]
    np.testing.assert_array_equal(unit["i_zy"], [event.units[1].i_zy for event in steps])


def test_evaluations_maps_and_status_are_at_hand(finished: Path) -> None:
    """The summary of a failed run: its status, its metrics, its evaluations and the last map of each unit."""
    with Reader(finished / RUN_FILE) as reader:
        status = reader.status()
        assert (status.status, status.steps_done, status.total_steps) == ("failed", 2, 60)
        assert status.metrics["test_accuracy"] == 0.25
        assert status.metrics["validation_accuracy"] == 0.5
        assert [event.split for event in reader.evaluations()] == ["validation"]
        assert reader.maps("read-out").steps.tolist() == [3]
        assert reader.maps("hidden-1").last is not None


def test_a_unit_that_does_not_exist_is_named_with_those_that_do(finished: Path) -> None:
    """Asking for an unknown unit lists the known ones."""
    with Reader(finished) as reader, pytest.raises(RunFileError, match="hidden-1, read-out"):
        reader.unit_steps("hidden-9")


def test_units_and_limits_are_attributes_that_any_viewer_shows(finished: Path) -> None:
    """Quantities in the file carry their units."""
    with h5py.File(finished / RUN_FILE) as file:
        assert file["steps/table"].attrs["elapsed_s"] == "s"
        assert file["steps/units/hidden-1"].attrs["full_scale"] == "A"
        assert file["maps/hidden-1/parameters"].attrs["unit"] == "S"
        assert file["units/hidden-1"].attrs["drive_limits"].tolist() == [0.0, 0.2]
        assert file.attrs["schema"] == STARTED.schema


def test_a_run_can_be_read_while_it_is_written(tmp_path: Path) -> None:
    """A live reader sees, after a refresh, every event that the writer has reported in the meantime, and no other."""
    pace = 30
    command = [sys.executable, "tests/recording.py", str(tmp_path), str(pace)]
    environment = {"PYTHONPATH": str(ROOT), "PATH": ""}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    truth: list[Event] = [STARTED, checkpoint(0), *itertools.islice(endless(), 4 * pace)]

    with subprocess.Popen(command, cwd=ROOT, env=environment, **pipes) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        reader = None
        for block in range(1, 5):
            process.stdin.write("go\n")
            process.stdin.flush()
            assert all(process.stdout.readline() == "recorded\n" for _ in range(pace))
            reader = reader or Reader(tmp_path)
            reader.refresh()
            found = list(reader.events())
            recorded = expected(truth[: 2 + block * pace])
            assert len(found) == len(recorded)
            assert all(map(same, recorded, found))
        assert reader is not None
        assert reader.status().status == "running"
        process.kill()


def test_rows_beyond_the_last_whole_event_are_ignored(copied: Path) -> None:
    """When a table lacks a row that the order of events names, the replay ends before that event."""
    with h5py.File(copied, "r+") as file:
        file["steps/units/read-out"].resize((1,))
    with Reader(copied) as reader:
        steps = [event.step for event in reader.events() if isinstance(event, StepDone)]
        assert steps == [0]
        assert len(reader.steps()["step"]) == 1


@pytest.mark.parametrize("part", [0.0, 0.01, 0.3, 0.9, 0.999])
def test_a_truncated_file_is_a_clear_error(copied: Path, part: float) -> None:
    """A file cut anywhere is told as damaged, whatever HDF5 says about it."""
    whole = copied.read_bytes()
    copied.write_bytes(whole[: int(part * len(whole))])
    with pytest.raises(RunFileError, match=r"damaged or truncated|not an HDF5 file"), Reader(copied) as reader:
        list(reader.events())


def test_a_truncated_file_of_a_killed_run_is_a_clear_error(copied: Path, tmp_path: Path) -> None:
    """A file that was never closed and has lost its end never yields anything but whole events or a clear error."""
    recorder = Recorder.create(tmp_path / "live", STARTED, checkpoint(0))
    for event in itertools.islice(endless(), 40):
        recorder.record(event)
    content = (tmp_path / "live" / RUN_FILE).read_bytes()
    recorder.close()
    copied.write_bytes(content[:60_000])
    with pytest.raises(RunFileError, match="damaged or truncated"), Reader(copied) as reader:
        list(reader.events())


def test_a_file_that_is_not_hdf5_is_a_clear_error(tmp_path: Path) -> None:
    """Garbage is told as such."""
    (tmp_path / RUN_FILE).write_bytes(b"not a run" * 1000)
    with pytest.raises(RunFileError, match="not an HDF5 file"):
        Reader(tmp_path)


def test_an_hdf5_file_of_something_else_is_a_clear_error(tmp_path: Path) -> None:
    """Another program's HDF5 file is told as such."""
    h5py.File(tmp_path / "other.h5", "w").close()
    with pytest.raises(RunFileError, match="not a run file of PIB Lab"):
        Reader(tmp_path / "other.h5")


def test_a_missing_file_is_a_clear_error(tmp_path: Path) -> None:
    """A folder without a run says how to find one."""
    with pytest.raises(RunFileError, match="pib-lab list runs"):
        Reader(tmp_path)


def test_an_unknown_schema_version_is_refused(copied: Path) -> None:
    """A file of another schema names both versions and what wrote it."""
    with h5py.File(copied, "r+") as file:
        file.attrs["schema"] = 99
    with pytest.raises(RunFileError, match=r"schema version 99.*reads version 1.*pib-lab"):
        Reader(copied)


def test_a_run_file_without_its_parts_is_a_clear_error(copied: Path) -> None:
    """A missing table is told as damage."""
    with h5py.File(copied, "r+") as file:
        del file["order"]
    with pytest.raises(RunFileError, match="damaged"), Reader(copied) as reader:
        list(reader.events())
