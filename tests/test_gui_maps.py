"""Maps and health: what an operator sees of cells, faults and wear, and the lights of the strip."""

from __future__ import annotations

from dataclasses import replace

import event_samples
import numpy as np
import pytest
import synthetic_run
from cli_tools import PROTOCOL
from hypothesis import given
from hypothesis import strategies as st
from panels_bench import Panels, panels
from PySide6.QtCore import QPointF
from PySide6.QtWidgets import QLabel

from gui import theme
from gui.map_layers import FAULT_COLOURS, cell_text, fault_layer, parameter_layer, shrunk, views_of, wear_layer
from gui.model import Lost
from gui.panels.health import HealthPanel
from gui.panels.maps import MapsPanel
from pib_lab.events import FaultsScanned, FaultsStruck, MadeSafe, MapTaken, Message
from pib_lab.fault_kinds import FaultKind

__all__ = ["panels"]

PAIR = synthetic_run.started(sizes={"hidden": (6, 4)}).units[0]
MASK = replace(
    PAIR, name="mask", parameter_unit="rad", parameter_limits=(0.0, 2 * np.pi), parameter_shape=(5, 9), driver="rig"
)


def taken(step: int = 3, unit: str = "hidden") -> MapTaken:
    """A map of pairs: row 2, column 1 holds 10 and 30 uS; its second cell is stuck high, and has taken 1,234 pulses."""
    cells, pulses = np.full((6, 4, 2), 20e-6, np.float32), np.zeros((6, 4, 2), np.int32)
    faults = np.zeros((6, 4, 2), np.int8)
    cells[2, 1], pulses[2, 1], faults[2, 1, 1] = (10e-6, 30e-6), (7, 1234), FaultKind.STUCK_HIGH
    return MapTaken(step, unit, cells, faults, pulses)


def shown(panels: Panels, *more: MapTaken) -> MapsPanel:
    """The panel with these maps of `PAIR` and `MASK`."""
    started = replace(synthetic_run.started(), units=(PAIR, MASK))
    panels.feed([started, *more])
    panel = panels.show(MapsPanel)
    panels.qtbot.waitExposed(panel)
    return panel


def point(panel: MapsPanel, row: float, column: float) -> str:
    """Move the pointer to a cell of the fault map; the words that appear."""
    box = panel.faults.plot.getViewBox()
    panel.canvas.scene().sigMouseMoved.emit(box.mapViewToScene(QPointF(column, row)))
    return panel.hover_label.text()


def test_pointing_at_a_cell_tells_all_that_is_known_of_it(panels: Panels) -> None:
    """Row, column, conductance, pulses and since which step it is faulty; the step of the first map that knew it."""
    panel = shown(panels, taken(3), taken(9))
    expected = "row 2, column 1:  g⁺ 10 µS, 7 pulses   |   g⁻ 30 µS, 1\u2009234 pulses, stuck high since step 3"
    assert point(panel, 2.5, 1.5) == expected
    assert point(panel, 2.99, 0.01) == "row 2, column 0:  g⁺ 20 µS, 0 pulses   |   g⁻ 20 µS, 0 pulses"
    assert point(panel, 900, 900).startswith("Point at a cell")


def test_faults_have_the_colours_of_their_legend(panels: Panels) -> None:
    """The picture's colours are those of the legend, which counts each kind."""
    panel = shown(panels, taken())
    image = panel.faults.image
    image.render()
    pixel = image.qimage.pixelColor(1, 2).name().upper()
    assert pixel == FAULT_COLOURS[FaultKind.STUCK_HIGH]
    assert image.qimage.pixelColor(0, 0).name().upper() == FAULT_COLOURS[FaultKind.HEALTHY]
    assert panel.counts[FaultKind.STUCK_HIGH].text() == "stuck high 1 (2.1%)"
    assert panel.counts[FaultKind.HEALTHY].text() == "healthy 47 (97.9%)"


def test_newer_map_and_scan_are_shown(panels: Panels) -> None:
    """A fault that a scan finds appears although no newer map has come."""
    panel = shown(panels, taken())
    codes = taken().faults.copy()
    codes[0, 3, 0] = FaultKind.OPEN
    panels.desk.model.take(FaultsScanned(7, "hidden", codes, 2, 64, 10, 1.0, 1.0))
    panels.wait(lambda: panel.counts[FaultKind.OPEN].text().startswith("open 1"))
    assert "open since step 7" in point(panel, 0.5, 3.5)


def test_wear_can_be_hidden_and_units_and_views_chosen(panels: Panels) -> None:
    """Each unit offers the views that its parameters have; wear has a box of its own."""
    mask = MapTaken(3, "mask", np.zeros((5, 9), np.float32), np.zeros((5, 9), np.int8), np.zeros((5, 9), np.int32))
    panel = shown(panels, taken(), mask)
    views = [panel.view_box.itemText(place) for place in range(panel.view_box.count())]
    assert views == ["g⁺ − g⁻", "g⁺", "g⁻"]
    panel.unit_box.setCurrentText("mask")
    assert panel.view_box.count() == 1
    assert panel.parameters.image.image.shape == (5, 9)
    assert point(panel, 4.5, 8.5) == "row 4, column 8:  0 rad, 0 pulses"
    panel.wear_box.click()
    assert not panel.wear.plot.isVisible()


def test_chosen_unit_stays_when_maps_come(panels: Panels) -> None:
    """A newer map of another unit does not change what is looked at, nor how far it is zoomed in."""
    mask = MapTaken(3, "mask", np.zeros((5, 9), np.float32), np.zeros((5, 9), np.int8), np.zeros((5, 9), np.int32))
    panel = shown(panels, taken(), mask)
    panel.unit_box.setCurrentText("mask")
    panel.parameters.plot.setXRange(2, 5, padding=0)
    panels.desk.model.take(taken(8))
    panels.desk.model.take(replace(mask, step=8))
    panels.wait(lambda: panel.taken_label.text() == "step 8")
    assert panel.unit_box.currentText() == "mask"
    (low, high), _ = panel.parameters.plot.viewRange()
    assert (round(low), round(high)) == (2, 5)
    panel.whole_button.click()
    (low, high), _ = panel.parameters.plot.viewRange()
    assert (round(low), round(high)) == (0, 9)


def test_large_map_shows_every_fault(panels: Panels) -> None:
    """A single faulty cell among 784 x 512 pairs is still seen where a pixel shows several cells."""
    unit = synthetic_run.started(sizes={"wide": (784, 512)}).units[0]
    cells, faults = np.zeros((784, 512, 2), np.float32), np.zeros((784, 512, 2), np.int8)
    faults[783, 511, 1] = FaultKind.STUCK_LOW
    panels.feed([replace(synthetic_run.started(), units=(unit,))])
    panels.desk.model.take(MapTaken(1, "wide", cells, faults, faults.astype(np.int32)))
    panel = panels.show(MapsPanel)
    panel.show_model(panels.desk.model)
    picture = panel.faults.image.image
    assert picture.shape[0] < 784
    assert picture[-1, -1] == FaultKind.STUCK_LOW
    assert np.count_nonzero(picture) == 1


def test_panel_says_what_will_appear_before_the_first_map(panels: Panels) -> None:
    """An empty panel is not blank."""
    panel = panels.show(MapsPanel)
    label = panel.findChild(QLabel, "empty")
    assert label is not None
    assert label.isVisible()
    assert "schedule.maps_every" in label.text()


def test_phases_have_colours_that_close() -> None:
    """0 and 2 pi are the same phase; conductances have a scale with two ends, differences one with a middle."""
    mask = MapTaken(
        3, "mask", np.full((5, 9), np.pi, np.float32), np.zeros((5, 9), np.int8), np.zeros((5, 9), np.int32)
    )
    layer = parameter_layer(MASK, mask, 0)
    assert (layer.title, layer.colours, layer.low) == ("phase (rad)", "CET-CBC1", 0.0)
    assert layer.high == pytest.approx(2 * np.pi)
    difference = parameter_layer(PAIR, taken(), 0)
    assert (difference.title, difference.colours) == ("g⁺ − g⁻ (µS)", "CET-CBD1")
    assert (difference.low, difference.high) == (pytest.approx(-40.0), pytest.approx(40.0))
    assert difference.values[2, 1] == pytest.approx(-20.0)
    assert parameter_layer(PAIR, taken(), 2).values[2, 1] == pytest.approx(30.0)


def test_fault_of_either_cell_is_seen_in_the_difference() -> None:
    """A pair is shown as faulty when one of its cells is; each cell has a view of its own."""
    assert [fault_layer(PAIR, taken().faults, view)[2, 1] for view in range(3)] == [2, 0, 2]


def test_few_worn_cells_do_not_hide_the_others() -> None:
    """Where a few cells took nearly all pulses, the scale is logarithmic, and says so."""
    assert wear_layer(PAIR, taken(), 0).title == "log₁₀ of pulses"
    even = replace(taken(), pulses=np.full((6, 4, 2), 30, np.int32))
    assert (wear_layer(PAIR, even, 0).title, wear_layer(PAIR, even, 0).high) == ("pulses", 60.0)


def test_cell_without_a_step_is_only_called_faulty() -> None:
    """What is not known is not invented."""
    text = cell_text(PAIR, taken(), None, None, 2, 1)
    assert text.endswith("stuck high")


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**31))
def test_shrunk_map_loses_no_fault(rows: int, columns: int, tall: int, wide: int, seed: int) -> None:
    """Each block holds the largest code of its cells."""
    codes = np.random.default_rng(seed).integers(0, 5, (rows, columns)).astype(np.uint8)
    small = shrunk(codes, (tall, wide))
    assert small.shape == (-(-rows // tall), -(-columns // wide))
    for row in range(rows):
        for column in range(columns):
            assert small[row // tall, column // wide] >= codes[row, column]
    assert small.max() == codes.max()


def test_every_shape_of_parameters_has_a_view() -> None:
    """Units of other shapes are shown as rows of the first axis."""
    for shape in ((7,), (3, 4), (3, 4, 5)):
        unit = replace(PAIR, parameter_shape=shape)
        none = np.zeros(shape)
        told = MapTaken(1, "odd", none.astype(np.float32), none.astype(np.int8), none.astype(np.int32))
        assert views_of(unit) == ("parameters",)
        assert parameter_layer(unit, told, 0).values.ndim == 2


def lights(panels: Panels) -> tuple[HealthPanel, dict[str, tuple[str, str]]]:
    """The strip, and value and level by the name of each light."""
    panel = panels.show(HealthPanel)
    found = [light.reading for light in panel.lights]
    return panel, {reading.name: (reading.value, reading.level.value) for reading in found if reading is not None}


def test_healthy_run_is_green(panels: Panels) -> None:
    """A live run without trouble has no light that asks for a hand."""
    panels.feed([event_samples.started(), event_samples.step(1), event_samples.map_taken(1)])
    panel, shown = lights(panels)
    assert shown["Link"] == ("live", "good")
    assert shown["Clipped"] == ("1.0%", "good")
    assert shown["Faulty cells"] == ("0.0%", "good")
    assert not panel.words.isVisible()


def test_clipped_readings_turn_red_at_the_protocols_limit(panels: Panels) -> None:
    """The limit is the protocol's; the words say of which unit, and what will happen."""
    protocol = event_samples.started()
    steps = event_samples.step(1)
    clipped = replace(steps, units=(replace(steps.units[0], saturated=0.3), steps.units[1]))
    panels.feed([protocol, clipped])
    panel, shown = lights(panels)
    assert shown["Clipped"] == ("30.0%", "bad")
    assert "hidden-1: 30.0% of readings" in panel.words.text()
    assert panel.lights[2].sign.text() == "■"
    assert theme.current().bad in panel.lights[2].sign.styleSheet()


def test_outputs_that_are_not_confirmed_off_are_red(panels: Panels) -> None:
    """Which unit is named, and what to do."""
    panels.feed([event_samples.started(), MadeSafe("hidden-1", ("word lines",), (), "")])
    panels.desk.model.take(MadeSafe("read-out", (), ("read voltage",), "no answer"))
    panel, shown = lights(panels)
    assert shown["Outputs"] == ("NOT confirmed off", "bad")
    assert "NOT confirmed off: read-out" in panel.words.text()


def test_killed_run_leaves_link_and_outputs_red(panels: Panels) -> None:
    """What nobody has said to be off is not shown as off."""
    panels.feed([event_samples.started(), event_samples.step(1)])
    panels.desk.model.take(Lost("its process has died", killed=True))
    shown = lights(panels)[1]
    assert shown["Link"] == ("lost", "bad")
    assert shown["Outputs"] == ("not known", "bad")


def test_drift_and_struck_cells_ask_for_a_look(panels: Panels) -> None:
    """A unit that moved away from its reference, and one that was struck and not scanned since, are told of."""
    told = "unit hidden-1: correlation 0.42 with its reference, below health.min_correlation = 0.5: zeroed anew"
    well = told.replace("0.42", "0.97").partition(",")[0]
    struck = FaultsStruck(9, "hidden-1", "mixed", 0.2, "none", 5)
    panels.feed([event_samples.started(), event_samples.map_taken(5), Message("warning", told, 8), struck])
    panel, shown = lights(panels)
    assert shown["Correlation"] == ("0.42 at step 8", "look")
    assert shown["Faulty cells"] == ("0.0%", "look")
    assert "was struck and not scanned" in panel.words.text()
    panels.desk.model.take(Message("info", well, 12))
    assert lights(panels)[1]["Correlation"] == ("0.97 at step 12", "good")


def test_worn_out_budget_is_red(panels: Panels) -> None:
    """Pulses are compared with the budget of the protocol."""
    started = replace(event_samples.started(), protocol_text=PROTOCOL + "[limits]\npulses = 500\n")
    panels.feed([started, event_samples.step(20)])
    assert lights(panels)[1]["Wear"] == ("96% of budget", "look")


def test_strip_takes_no_more_room_than_it_needs(panels: Panels) -> None:
    """The lights stay a strip however high the window is."""
    panels.feed([event_samples.started(), event_samples.step(1)])
    panel, _ = lights(panels)
    assert panel.maximumHeight() < 100
