"""Camera frames: kept without a pass, told at low rate, thinned out in the run file, the latest shown."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import synthetic_run
from learning_bench import Linear, Log, crossbar, network, started
from optics_bench import RealRig
from recording import STARTED, checkpoint, same

from data.frame_choice import FrameChoice
from data.layout import RUN_FILE
from data.reader import Reader
from data.recorder import Recorder
from drivers.optics.optical_rig import MockOpticalRig
from drivers.optics.unit import OpticalUnit
from gui.history import read_history
from pib_lab import bus, wire_format
from pib_lab.capabilities import SeesFrames
from pib_lab.clocks import VirtualClock
from pib_lab.device import DeviceContext, UnitRequest
from pib_lab.events import CheckpointTaken, RunFinished, StepDone
from pib_lab.experiment import Schedule
from pib_lab.frames import CameraFrame, FrameTaken
from pib_lab.learner import LocalLearner
from pib_lab.records import Passes
from pib_lab.status import RunStatus
from pib_lab.unit import CancelToken, PhysicalUnit

NO = CancelToken()
FINISHED = RunFinished("finished", 9, {}, Passes(), 0, 1.0)


def opened(kind: str, options: dict[str, Any]) -> OpticalUnit:
    """A layer of 9 regions, of the mock rig, which exposes whole batches, or of a real one, frame by frame."""
    context = DeviceContext("rig", 3, VirtualClock())
    device = MockOpticalRig(options, context) if kind == "mock" else RealRig(context, **options).device
    unit = device.unit(UnitRequest("layer", 16, 9))
    unit.open()
    return unit


def drive(batch: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(1).uniform(0.0, 2.0, (batch, 16)).astype(np.float32)


@pytest.mark.parametrize("kind", ["mock", "real"])
def test_last_frame_is_the_one_that_was_measured(kind: str) -> None:
    """Means over the frame's regions are the last row of the responses; before a measurement there is no frame."""
    unit = opened(kind, {})
    assert isinstance(unit, SeesFrames)
    assert unit.last_frame() is None
    made = unit.measure(drive(5), cancel=NO)
    frame = unit.last_frame()
    assert frame is not None
    means = [frame.pixels[top : top + tall, left : left + wide].mean() for top, left, tall, wide in frame.regions]
    np.testing.assert_allclose(means, made.values[-1], rtol=1e-6)
    assert frame.saturated_level > 0
    held = frame.pixels if frame.pixels.base is None else frame.pixels.base
    assert held.size == frame.pixels.size  # no block of frames is kept for its last one
    assert made.passes == 5


def test_bad_pixels_of_a_calibration_are_in_the_frame(tmp_path: Path) -> None:
    """Rows and columns of those that are left out of every mean."""
    dark = np.zeros((48, 48), np.float32)
    bad = np.zeros(dark.shape, np.bool_)
    bad[3, 7] = bad[40, 1] = True
    np.savez(tmp_path / "dark.npz", dark=dark, bad=bad)
    small = {"override": {"camera_rows": 48, "camera_columns": 48}, "dark": str(tmp_path / "dark.npz")}
    unit = opened("mock", small)
    unit.measure(drive(1), cancel=NO)
    frame = unit.last_frame()
    assert frame is not None
    assert frame.bad.tolist() == [[3, 7], [40, 1]]


class Seeing(Linear):
    """A unit that says that it has a camera."""

    def last_frame(self) -> CameraFrame | None:
        return synthetic_run.frame_taken(self.measured).frame


def test_run_tells_of_frames_where_entropies_or_maps_are_due() -> None:
    """entropies_every = 2, maps_every = 3: after steps 1, 3, 5 and 6 and at the end; nothing is measured for it."""
    log, plain = Log(), Log()
    schedule = Schedule(epochs=2, batch=32, entropies_every=2, maps_every=3)

    def wrap(unit: Any) -> PhysicalUnit:
        return Seeing(unit) if unit.spec.name == "hidden" else Linear(unit)

    seen = started(log, network(wrap=wrap), schedule=schedule).run()
    blind = started(plain, network(wrap=Linear), schedule=schedule).run()
    assert [(event.step, event.unit) for event in log.of(FrameTaken)] == [(at, "hidden") for at in (1, 3, 5, 6, 6)]
    assert not plain.of(FrameTaken)
    assert seen.passes == blind.passes


def test_unit_that_has_measured_nothing_tells_nothing() -> None:
    """No empty frame is made up."""

    class Blind(Linear):
        def last_frame(self) -> CameraFrame | None:
            return None

    log = Log()
    started(log, network(wrap=Blind)).run()
    assert not log.of(FrameTaken)
    assert isinstance(LocalLearner(Blind(crossbar()), *_parts()).unit, SeesFrames)


def _parts() -> tuple[Any, Any, int]:
    like = network()[0]
    return like.objective, like.config, 1


def test_frame_travels_whole() -> None:
    """What the other end of the wire unpacks is equal, type and shape included."""
    event = synthetic_run.frame_taken(4)
    assert same(wire_format.decode(wire_format.encode(event)), event)


def test_only_the_latest_frame_waits() -> None:
    """Of two frames of one unit the older one is dropped; one of another unit, and steps, stay."""
    box = bus.Mailbox(10)
    step = synthetic_run.step_done(1, STARTED.units, 60)
    for event in (synthetic_run.frame_taken(1), step, synthetic_run.frame_taken(1, "read-out")):
        box.put(event)
    box.put(synthetic_run.frame_taken(2))
    box.close()
    taken = iter(box.take, None)
    assert [(type(event), event.step) for event in taken] == [(StepDone, 1), (FrameTaken, 1), (FrameTaken, 2)]  # type: ignore[union-attr]


def test_late_viewer_is_told_of_the_newest_frame() -> None:
    """A run's status keeps one frame a unit for who attaches later."""
    status = RunStatus()
    for step in (1, 2):
        status.show(synthetic_run.frame_taken(step))
    assert [event.step for event in status.backlog() if isinstance(event, FrameTaken)] == [2]


def test_file_keeps_fewer_and_fewer_frames() -> None:
    """All at first, then every 2nd, every 4th; a run ten times as long keeps not even twice as many."""
    large = synthetic_run.frame_taken(1, shape=(1024, 1024))
    choice = FrameChoice()
    kept = [step for step in range(1, 1001) if choice.wants(replace(large, step=step))]
    assert kept[:8] == list(range(1, 9))
    assert kept[8:12] == [10, 12, 14, 16]
    assert len([step for step in kept if step <= 100]) < 40
    assert len(kept) < 80
    resumed = FrameChoice({"hidden-1": len(kept)})
    assert not resumed.wants(large)


def test_last_frame_of_a_run_is_in_its_file(tmp_path: Path) -> None:
    """Left out at first, it is written before the end; a replay gives it, and the reader by name."""
    like = synthetic_run.frame_taken(0)
    large = [
        FrameTaken(step, like.unit, replace(like.frame, pixels=np.full((2048, 2048), step, np.uint16)))
        for step in range(1, 7)
    ]
    with Recorder.create(tmp_path, STARTED, checkpoint(0)) as recorder:
        for event in (*large, FINISHED):
            recorder.record(event)
    with Reader(tmp_path) as reader:
        replayed = [event for event in reader.events() if not isinstance(event, CheckpointTaken)][1:]
        assert [event.step for event in replayed if isinstance(event, FrameTaken)] == [1, 2, 3, 4, 6]
        assert isinstance(replayed[-1], RunFinished)
        newest = reader.last_frame("hidden-1")
        assert newest is not None
        assert same(newest, large[-1])
        assert reader.last_frame("read-out") is None


def test_growing_file_writes_no_frame_twice(tmp_path: Path) -> None:
    """Before it is closed, 40 small frames take not much more than their own compressed size."""
    recorder = Recorder.create(tmp_path, STARTED, checkpoint(0))
    path = tmp_path / RUN_FILE
    recorder.record(synthetic_run.frame_taken(0))
    with h5py.File(path, "r", libver="latest", swmr=True) as file:
        before = file.id.get_filesize()
    for step in range(1, 41):
        recorder.record(synthetic_run.frame_taken(step))
    with h5py.File(path, "r", libver="latest", swmr=True) as file:
        grown = file.id.get_filesize() - before
        assert len(file["frames/hidden-1/regions"]) == 16  # as they were before: not stored again
    recorder.close()
    assert grown < 40 * 4000


def test_file_of_before_there_were_frames_is_read(tmp_path: Path) -> None:
    """Without the group, a run file opens, replays and has no frame."""
    with Recorder.create(tmp_path, STARTED, checkpoint(0)) as recorder:
        recorder.record(synthetic_run.step_done(1, STARTED.units, 60))
        recorder.record(FINISHED)
    with h5py.File(tmp_path / RUN_FILE, "r+") as file:
        del file["frames"]
    with Reader(tmp_path) as reader:
        assert len(list(reader.events())) == 4
        assert reader.last_frame("hidden-1") is None
    Recorder.resume(tmp_path)[0].close()


def test_history_of_a_run_brings_its_last_frame(tmp_path: Path) -> None:
    """The desktop shows it at once when it attaches or opens a recorded run."""
    with Recorder.create(tmp_path, STARTED, checkpoint(0)) as recorder:
        for event in (synthetic_run.frame_taken(1), synthetic_run.frame_taken(2), FINISHED):
            recorder.record(event)
    history, _ = read_history(tmp_path)
    assert [event.step for event in history.maps if isinstance(event, FrameTaken)] == [2]
    assert not any(isinstance(event, FrameTaken) for event in history.others)
