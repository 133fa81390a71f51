"""Camera frames on the desktop: gray, with regions, saturated and dead pixels, beside the SLM's mask."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import synthetic_run
from hypothesis import given
from hypothesis import strategies as st
from panels_bench import Panels, panels
from PySide6.QtCore import QPointF
from test_gui_maps import MASK, PAIR, taken

from data.recorder import Recorder
from gui.bridge import Mailbox
from gui.frame_layers import PIXEL_COLOURS, PixelKind, averaged, frame_counts, outlines, pixel_kinds, pixel_text
from gui.model import History, RunModel, Topic
from gui.panels.maps import MapsPanel
from pib_lab.events import CheckpointTaken, MapTaken, RunFinished
from pib_lab.frames import CameraFrame, FrameTaken
from pib_lab.records import Passes

__all__ = ["panels"]

STARTED = replace(synthetic_run.started(), units=(MASK, PAIR))


def frame(step: int = 4, shape: tuple[int, int] = (12, 16)) -> FrameTaken:
    """Counts of 10; (3, 5) saturated within region 1, (9, 9) saturated in none, (0, 0) dead and bright."""
    pixels = np.full(shape, 10, np.uint16)
    pixels[3, 5] = pixels[9, 9] = pixels[0, 0] = 255
    regions = np.array([(0, 0, 2, 2), (2, 4, 2, 3)], np.int32)
    return FrameTaken(step, "mask", CameraFrame(pixels, 250, regions, np.array([(0, 0)], np.int32)))


def mask(step: int = 4) -> MapTaken:
    none = np.zeros((5, 9), np.int32)
    return MapTaken(step, "mask", np.ones((5, 9), np.float32), none.astype(np.int8), none)


def shown(panels: Panels, *events: FrameTaken | MapTaken) -> MapsPanel:
    panels.feed([STARTED, *events])
    panel = panels.show(MapsPanel)
    panels.qtbot.waitExposed(panel)
    return panel


def test_optical_unit_shows_its_mask_and_its_frame(panels: Panels) -> None:
    """Side by side, with the counts of what is drawn; no faults and no wear, which it cannot have."""
    panel = shown(panels, mask(3), frame(4))
    assert panel.parameters.plot.isVisible()
    assert panel.parameters.plot.titleLabel.text == "SLM mask: phase (rad)"
    assert panel.camera.plot.isVisible()
    assert not panel.faults.plot.isVisible()
    assert not panel.wear.plot.isVisible()
    assert not panel.legend.isVisible()
    assert panel.saturated_label.text() == "saturated 2 (1.0%, 1 in regions)"
    assert panel.left_out_label.text() == "dead or hot 1"
    assert panel.regions_label.text() == "regions 2"
    assert panel.taken_label.text() == "frame of step 4, mask of step 3"


def test_frame_comes_before_the_first_map(panels: Panels) -> None:
    """It alone is shown, and words say how often the mask is sent."""
    panel = shown(panels, frame())
    assert panel.camera.plot.isVisible()
    assert not panel.parameters.plot.isVisible()
    assert "schedule.maps_every" in panel.taken_label.text()


def test_other_units_keep_their_maps(panels: Panels) -> None:
    """From an optical unit to a crossbar and back: each shows what it has."""
    panel = shown(panels, mask(), frame(), taken())
    panel.unit_box.setCurrentText("hidden")
    assert panel.faults.plot.isVisible()
    assert panel.wear.plot.isVisible()
    assert panel.legend.isVisible()
    assert not panel.camera.plot.isVisible()
    assert not panel.frame_legend.isVisible()
    panel.unit_box.setCurrentText("mask")
    assert panel.camera.plot.isVisible()
    assert not panel.wear.plot.isVisible()


def test_newer_frame_is_shown(panels: Panels) -> None:
    """The picture and its counts follow the run."""
    panel = shown(panels, frame(4))
    dark = replace(frame().frame, pixels=np.full((12, 16), 3, np.uint16))
    panels.desk.model.take(FrameTaken(5, "mask", dark))
    panels.wait(lambda: panel.taken_label.text().startswith("frame of step 5"))
    assert panel.saturated_label.text() == "saturated 0 (0.0%)"
    assert panel.camera.image.image.max() == 3.0


def test_marks_have_the_colours_of_their_legend(panels: Panels) -> None:
    """Saturated and dead pixels are drawn over the gray, all others let it through."""
    panel = shown(panels, frame())
    marks = panel.camera.marks
    marks.render()
    assert marks.qimage.pixelColor(5, 3).name().upper() == PIXEL_COLOURS[PixelKind.SATURATED]
    assert marks.qimage.pixelColor(0, 0).name().upper() == PIXEL_COLOURS[PixelKind.LEFT_OUT]
    assert marks.qimage.pixelColor(1, 1).alpha() == 0


def test_pointing_at_a_pixel_tells_its_counts_and_region(panels: Panels) -> None:
    """Beside the frame the hint is about frames."""
    panel = shown(panels, frame())
    box = panel.camera.plot.getViewBox()
    panel.canvas.scene().sigMouseMoved.emit(box.mapViewToScene(QPointF(5.5, 3.5)))
    assert panel.hover_label.text().startswith("row 3, column 5:  255 counts, saturated   |   region 1: mean of 50.8")
    panel.canvas.scene().sigMouseMoved.emit(QPointF(-50.0, -50.0))
    assert panel.hover_label.text().startswith("Point at the mask or at the frame")


def test_no_saturated_pixel_of_a_large_frame_is_lost(panels: Panels) -> None:
    """A megapixel is drawn in blocks; a single saturated pixel is still marked."""
    large = frame(shape=(1024, 1024))
    large.frame.pixels[1023, 700] = 255
    panel = shown(panels, large)
    marks = panel.camera.marks.image
    assert marks.size < 1024 * 1024 / 4
    assert np.count_nonzero(marks[-1] == PixelKind.SATURATED) == 1


def test_words_about_a_pixel() -> None:
    """Counts alone; left out although it is bright; not of a region."""
    assert pixel_text(frame().frame, 11, 15) == "row 11, column 15:  10 counts"
    assert pixel_text(frame().frame, 0, 0).startswith(
        "row 0, column 0:  255 counts, left out of every mean   |   region 0"
    )
    assert pixel_text(frame().frame, 9, 9) == "row 9, column 9:  255 counts, saturated"


def test_dead_pixel_is_never_counted_as_saturated() -> None:
    """What is left out of every mean may be as bright as it likes."""
    made = frame().frame
    told = frame_counts(made, pixel_kinds(made))
    assert (told.saturated, told.in_regions, told.left_out, told.regions) == (2, 1, 1, 2)


def test_regions_are_closed_boxes() -> None:
    """Five corners each, then a gap."""
    across, down = outlines(frame().frame)
    assert across[6:11].tolist() == [4.0, 7.0, 7.0, 4.0, 4.0]
    assert down[6:11].tolist() == [2.0, 2.0, 4.0, 4.0, 2.0]
    assert np.isnan(across[[5, 11]]).all()


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**31))
def test_averaging_keeps_the_mean_of_every_block(rows: int, columns: int, tall: int, wide: int, seed: int) -> None:
    """Also of those at the edges that are not whole."""
    pixels = np.random.default_rng(seed).integers(0, 4096, (rows, columns)).astype(np.uint16)
    small = averaged(pixels, (tall, wide))
    assert small.shape == (-(-rows // tall), -(-columns // wide))
    for row in range(small.shape[0]):
        for column in range(small.shape[1]):
            block = pixels[row * tall : (row + 1) * tall, column * wide : (column + 1) * wide]
            assert small[row, column] == pytest.approx(block.mean(), rel=1e-4)


def test_model_keeps_the_newest_frame_of_each_unit() -> None:
    """From live events and from a run file; maps are refreshed."""
    model = RunModel()
    model.take(STARTED)
    model.take_changes()
    model.take(frame(4))
    assert Topic.MAPS in model.take_changes()
    columns = {name: np.zeros(0) for name in ("i_xz", "i_zy", "h_z", "loss", "saturated")}
    names = ("step", "batch_accuracy", "learning_rate", "pulses", "ceiling_bits", "epoch", "elapsed_s")
    passes = ("training", "verify", "scan", "calibration", "evaluation")
    steps = {name: np.zeros(0) for name in (*names, *(f"{kind}_passes" for kind in passes))}
    model.take(History(STARTED, steps, {"mask": columns, "hidden": columns}, [], [frame(9)]))
    assert model.frames["mask"].step == 9


def test_recorded_frames_are_shown_and_replayed(panels: Panels) -> None:
    """The last one of a run file at once, and in a replay those that were kept, with no hardware."""
    folder = panels.out / "seen"
    with Recorder.create(folder, STARTED, CheckpointTaken(0, {})) as recorder:
        for event in (frame(2), mask(2), frame(5), RunFinished("finished", 5, {}, Passes(), 0, 1.0)):
            recorder.record(event)
    panel = panels.show(MapsPanel)
    panels.desk.open_run(folder)
    panels.wait(lambda: panel.taken_label.text() == "frame of step 5, mask of step 2")
    panels.desk.replay_run(folder, 1000.0)
    model = panels.desk.model
    panels.wait(lambda: model.replay and model.state == "finished")
    assert model.frames["mask"].step == 5
    panels.wait(lambda: panel.taken_label.text() == "frame of step 5, mask of step 2")


def test_waiting_frames_coalesce() -> None:
    """However fast they come, one of each unit waits for the window."""
    box = Mailbox(10)
    for step in range(100):
        box.put(frame(step))
    assert [item.step for item in box.take(10) if isinstance(item, FrameTaken)] == [99]
