"""The recorder: lossless, refuses what would destroy a run, survives kill -9, tells what to do when a write fails."""

from __future__ import annotations

import dataclasses
import itertools
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import synthetic_run
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from recording import STARTED, checkpoint, endless, expected, last_map, one_of_each, same, state

from data.layout import RUN_FILE
from data.reader import Reader
from data.recorder import Recorder
from data.recovery import recover
from pib_lab.errors import RunFileError
from pib_lab.events import CheckpointTaken, Event, Message, RunFinished

ROOT = Path(__file__).parents[1]


def record(folder: Path, events: list[Event], *, close: bool = True) -> Recorder:
    recorder = Recorder.create(folder, STARTED, checkpoint(0))
    for event in events:
        recorder.record(event)
    if close:
        recorder.close()
    return recorder


def replay(folder: Path) -> list[Event]:
    with Reader(folder) as reader:
        return list(reader.events())


def first(events: Any, count: int) -> list[Event]:
    return list(itertools.islice(events, count))


def test_every_kind_of_event_comes_back_in_order(tmp_path: Path) -> None:
    """A replay yields the events that were recorded, of every kind, equal and in the same order."""
    recorded = [STARTED, checkpoint(0), *one_of_each()]
    record(tmp_path, recorded[2:])
    replayed = replay(tmp_path)
    assert [type(event).__name__ for event in replayed] == [type(event).__name__ for event in recorded]
    for was, now in zip(recorded, replayed, strict=True):
        assert same(was, now), (was, now)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    texts=st.lists(st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=300), max_size=5),
    steps=st.lists(st.integers(-(2**63), 2**63 - 1), min_size=5, max_size=5),
)
def test_any_text_and_number_comes_back(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], steps: list[int]
) -> None:
    """Messages of any characters and any 64-bit step come back equal."""
    messages = [Message("info", text, step) for text, step in zip(texts, steps, strict=False)]
    folder = tmp_path_factory.mktemp("run")
    record(folder, list(messages))
    assert replay(folder)[2:] == messages


def test_a_text_too_long_for_its_column_is_cut_with_an_ellipsis(tmp_path: Path) -> None:
    """Texts of tables that do not fit are cut visibly, between characters."""
    record(tmp_path, [Message("info", "µ" * 3000)])
    message = replay(tmp_path)[-1]
    assert isinstance(message, Message)
    assert message.text == "µ" * 998 + "…"


def test_the_protocol_text_is_never_cut(tmp_path: Path) -> None:
    """A protocol of a megabyte is kept whole."""
    long = dataclasses.replace(STARTED, protocol_text="# µ\n" * 200_000)
    Recorder.create(tmp_path, long, checkpoint(0)).close()
    with Reader(tmp_path) as reader:
        assert reader.started == long


def test_a_second_run_into_the_same_folder_is_refused(tmp_path: Path) -> None:
    """A folder that holds a run is left as it is, with the ways out named."""
    record(tmp_path, one_of_each())
    before = (tmp_path / RUN_FILE).read_bytes()
    with pytest.raises(RunFileError, match=r"already holds a run.*--out.*--resume"):
        Recorder.create(tmp_path, STARTED, checkpoint(0))
    assert (tmp_path / RUN_FILE).read_bytes() == before


def test_a_second_writer_is_refused_while_the_first_is_alive(tmp_path: Path) -> None:
    """Neither create, resume nor recover may touch a folder whose recorder is open."""
    recorder = record(tmp_path, [], close=False)
    for attempt in (
        lambda: Recorder.create(tmp_path, STARTED, checkpoint(0)),
        lambda: Recorder.resume(tmp_path),
        lambda: recover(tmp_path),
    ):
        with pytest.raises(RunFileError, match="another run is writing here"):
            attempt()
    recorder.record(Message("info", "still here"))
    recorder.close()
    assert replay(tmp_path)[-1] == Message("info", "still here")


def test_a_folder_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    """A file in the place of the folder is told as such."""
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RunFileError, match=r"cannot be made.*--out"):
        Recorder.create(tmp_path / "file" / "run", STARTED, checkpoint(0))


def test_a_read_only_folder_is_a_clear_error(tmp_path: Path) -> None:
    """A folder that may not be written to is told as such."""
    tmp_path.chmod(0o500)
    try:
        (tmp_path / "probe").touch()
        pytest.skip("this user may write anywhere")
    except PermissionError:
        with pytest.raises(RunFileError, match=r"cannot be written to.*--out"):
            Recorder.create(tmp_path, STARTED, checkpoint(0))
    finally:
        tmp_path.chmod(0o700)


@contextmanager
def disk_full_at(size: int) -> Iterator[None]:
    """No file grows beyond `size` inside the block; it ends before pytest writes its own log, a file as well."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_in_mid_run_ends_it_with_what_was_recorded(tmp_path: Path, monkeypatch: Any) -> None:
    """A failed flush raises, closing stays silent, and what had been recorded can be resumed."""
    monkeypatch.setattr("data.room.RESERVE_BYTES", 200_000)  # filled sooner
    recorder = record(tmp_path, first(endless(), 12), close=False)
    with disk_full_at((tmp_path / RUN_FILE).stat().st_size):
        with pytest.raises(RunFileError, match="disk has free space"):
            list(map(recorder.record, endless(12)))
        recorder.close()
    resumed, _, held = Recorder.resume(tmp_path)
    resumed.close()
    assert same(held.state, state(held.step))


def test_a_disk_that_is_full_from_the_start_leaves_no_half_file(tmp_path: Path) -> None:
    """When the file cannot be made, the folder is free for the next try."""
    with disk_full_at(4096), pytest.raises(RunFileError, match="disk has free space"):
        Recorder.create(tmp_path, STARTED, checkpoint(0))
    assert not (tmp_path / RUN_FILE).exists()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"training/step": 1.5}, "was int at first and is float"),
        ({"hidden-1/unit/g": np.zeros((5, 4), np.float32)}, "must not change"),
        ({"hidden-1/unit/rng": "x" * 5000}, "must be at most 4096 bytes"),
        ({"hidden-1/new": 1}, "hidden-1/new differ"),
    ],
)
def test_a_checkpoint_of_another_structure_is_refused(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    """Names, shapes, types and room for texts are fixed by the first checkpoint, and the error names the culprit."""
    recorder = record(tmp_path, [], close=False)
    with pytest.raises(RunFileError, match=says):
        recorder.record(CheckpointTaken(5, state(5) | change))
    recorder.close()


@pytest.mark.parametrize("value", [object(), [1], 2**64, np.array(["text"])])
def test_a_value_that_cannot_be_stored_is_refused_at_once(tmp_path: Path, value: Any) -> None:
    """A state with an unknown type of value is refused when the run starts, by name."""
    with pytest.raises(RunFileError, match="'odd'"):
        Recorder.create(tmp_path, STARTED, CheckpointTaken(0, {"odd": value}))


def test_events_of_unknown_units_and_maps_of_wrong_shape_are_refused(tmp_path: Path) -> None:
    """What does not fit the structure declared at the start is an error, not a silent loss."""
    recorder = record(tmp_path, [], close=False)
    with pytest.raises(RunFileError, match="did not start with"):
        recorder.record(synthetic_run.map_taken(0, synthetic_run.started().units[1]))
    with pytest.raises(RunFileError, match="does not fit"):
        recorder.record(synthetic_run.map_taken(0, synthetic_run.started().units[0]))
    recorder.close()


def test_nothing_can_be_recorded_after_closing(tmp_path: Path) -> None:
    """A closed recorder says so."""
    recorder = record(tmp_path, [])
    recorder.close()
    with pytest.raises(RunFileError, match="closed"):
        recorder.record(Message("info", "too late"))


def test_tables_of_a_finished_run_are_compressed(tmp_path: Path) -> None:
    """Closing a finished run leaves an ordinary file with every table compressed and nothing else in the folder."""
    record(tmp_path, one_of_each())
    with h5py.File(tmp_path / RUN_FILE) as file:
        assert file["steps/table"].compression == "gzip"
        assert file["order"].compression == "gzip"
        assert file.id.get_filesize() < 200_000  # what was reserved has been given back
    assert sorted(path.name for path in tmp_path.iterdir()) == [RUN_FILE, "writer.lock"]


def test_a_torn_checkpoint_leaves_the_one_before(tmp_path: Path) -> None:
    """When the newest slot's content does not match its seal, the older checkpoint is the one that counts."""
    record(tmp_path, [checkpoint(5), checkpoint(10)])
    with h5py.File(tmp_path / RUN_FILE, "r+") as file:
        slots = [file[f"checkpoints/slot-{i}"] for i in (0, 1)]
        newest = max(slots, key=lambda slot: int(slot["seal"][0]["step"]))
        newest["state/hidden-1/unit/g"][0, 0, 0] += 1
    with Reader(tmp_path) as reader:
        assert same(reader.checkpoint(), checkpoint(5))
    recorder, _, held = Recorder.resume(tmp_path)
    recorder.close()
    assert held.step == 5


def test_resume_drops_what_came_after_the_checkpoint(tmp_path: Path) -> None:
    """After a resume the file holds the events up to the checkpoint and those of the second session."""
    head = first(endless(), 14)
    ending = RunFinished("aborted", 11, {}, head[0].passes, 0, 1.0)  # type: ignore[union-attr]
    record(tmp_path, [*head, ending])
    recorder, started, held = Recorder.resume(tmp_path)
    assert started == STARTED
    assert same(held, checkpoint(held.step))
    again = dataclasses.replace(STARTED, first_step=held.step, started_unix_s=STARTED.started_unix_s + 60)
    tail = first(endless(held.step), 20)
    recorder.record(again)
    for event in tail:
        recorder.record(event)
    recorder.close()
    cut = next(i for i in reversed(range(len(head))) if isinstance(head[i], CheckpointTaken)) + 1
    recorded = [STARTED, checkpoint(0), *head[:cut], again, *tail]
    assert all(map(same, replay(tmp_path), expected(recorded)))
    assert len(replay(tmp_path)) == len(recorded)
    assert isinstance(replay(tmp_path / "run.h5.before-recovery")[-1], RunFinished)


def test_resume_without_a_run_makes_nothing(tmp_path: Path) -> None:
    """Resuming a folder without a run is refused and leaves it empty."""
    with pytest.raises(RunFileError, match="no run file"):
        Recorder.resume(tmp_path)
    assert not list(tmp_path.iterdir())


def test_recover_up_to_a_checkpoint_that_is_gone_is_refused(tmp_path: Path) -> None:
    """Only the last two checkpoints are held; an older one is a clear error."""
    record(tmp_path, [checkpoint(5), checkpoint(10), checkpoint(15)])
    with pytest.raises(RunFileError, match="no checkpoint of step 5"):
        recover(tmp_path, upto_step=5)
    assert replay(recover(tmp_path, upto_step=10))[-1].step == 10  # type: ignore[union-attr]


@pytest.mark.parametrize("lines", [1, 7, 23, 64, 150])
def test_a_killed_run_can_be_read_recovered_and_resumed(tmp_path: Path, lines: int) -> None:
    """After kill -9 at any moment, every event reported as recorded is there, and the run goes on from a checkpoint."""
    command = [sys.executable, "tests/recording.py", str(tmp_path)]
    environment = {"PYTHONPATH": str(ROOT), "PATH": ""}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment) as process:
        assert process.stdout is not None
        for _ in range(lines):
            assert process.stdout.readline() == "recorded\n"
        process.kill()
    with Reader(tmp_path) as reader:
        found = list(reader.events())
        assert reader.status().status == "killed"
        assert reader.checkpoint() is not None
    assert len(found) >= 2 + lines
    truth = [STARTED, checkpoint(0), *first(endless(), len(found) - 2)]
    for was, now in zip(truth, found, strict=True):
        lost = isinstance(now, CheckpointTaken) and not now.state
        assert same(CheckpointTaken(now.step, {}) if lost else was, now)

    assert len(replay(recover(tmp_path))) in (len(found), len(found) + 1)
    recorder, _, held = Recorder.resume(tmp_path)
    for event in first(endless(held.step), 10):
        recorder.record(event)
    recorder.close()
    assert same(held, checkpoint(held.step))
    with Reader(tmp_path) as reader:
        assert reader.steps()["step"].tolist() == list(range(len(reader.steps()["step"])))
        assert same(last_map(list(reader.events())), reader.maps("hidden-1").last)
