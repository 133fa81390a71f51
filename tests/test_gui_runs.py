"""The list of runs and the list of instruments: what an operator finds in them, and what their buttons do."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import event_samples
import pytest
from event_samples import map_taken, step
from panels_bench import Panels, panels
from PySide6.QtCore import QUrl
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import QTableWidget

from data.recorder import Recorder
from gui.instrument_list import instruments, traffic_tail
from gui.model import RunModel
from gui.panels.instruments import InstrumentsPanel
from gui.panels.runs import RunsPanel
from gui.processes import Order
from gui.run_list import RunLine, RunList
from pib_lab.events import CheckpointTaken, Evaluated, Event, MadeSafe, Message, RunStarted
from pib_lab.procedure_events import ProcedureStarted

__all__ = ["panels"]

STEPS = [step(index) for index in range(1, 21)]
EVALUATED = [Evaluated(10, "validation", 0.5, 0.2, 90), Evaluated(20, "validation", 0.75, 0.2, 90)]


def record(panels: Panels, name: str, *events: Event, ends: str = "finished", mock: bool = True) -> Path:
    """A recorded run of 20 steps."""
    started: RunStarted = event_samples.started(mock=mock, run_id=name)
    folder = panels.out / name
    with Recorder.create(folder, started, CheckpointTaken(0, {})) as recorder:
        for event in (*STEPS, *events, *([event_samples.finished(ends)] if ends else ())):
            recorder.record(event)
    return folder


def cells(table: QTableWidget, column: int = 0) -> list[str]:
    """Texts of one column."""
    model = table.model()
    return [str(model.index(row, column).data()) for row in range(model.rowCount())]


def listed(panels: Panels, count: int) -> RunsPanel:
    """The panel once it has read so many runs."""
    panel = panels.show(RunsPanel)
    panels.wait(lambda: panel.table.rowCount() == count)
    return panel


def choose(panel: RunsPanel, *names: str) -> None:
    """Select these runs, and no others."""
    panel.table.clearSelection()
    panel.table.setSelectionMode(QTableWidget.SelectionMode.MultiSelection)
    for name in names:
        panel.table.selectRow(cells(panel.table).index(name))
    panel.table.setSelectionMode(QTableWidget.SelectionMode.ExtendedSelection)


def curves(panel: RunsPanel) -> list[str]:
    """Names of the curves that are drawn."""
    return [item.name() for item in panel.plot.getPlotItem().listDataItems()]


def test_runs_are_listed_and_searched(panels: Panels) -> None:
    """Every word that is typed has to be in the name, the protocol, the status or the kind of devices."""
    record(panels, "monday")
    record(panels, "tuesday", ends="aborted", mock=False)
    (panels.out / "broken").mkdir()
    (panels.out / "broken" / "run.h5").write_bytes(b"not HDF5")
    panel = listed(panels, 3)
    rows = dict(zip(cells(panel.table), cells(panel.table, 1), strict=True))
    assert rows == {"monday": "finished", "tuesday": "aborted", "broken": "unreadable"}
    panel.search_edit.setText("small finished")
    assert cells(panel.table) == ["monday"]
    assert cells(panel.table, 2) == ["96.00 %"]
    panel.search_edit.setText("real")
    assert cells(panel.table) == ["tuesday"]
    panel.search_edit.clear()
    assert panel.count.text().startswith("3 of 3 runs")


def test_chosen_run_is_previewed(panels: Panels) -> None:
    """What it was, and its curves: of the network, or of each unit."""
    record(panels, "monday", *EVALUATED)
    panel = listed(panels, 1)
    choose(panel, "monday")
    panels.wait(lambda: curves(panel) == ["monday"])
    assert "small (mock), finished" in panel.about.text()
    assert "test accuracy 0.96" in panel.about.text()
    values = panel.plot.getPlotItem().listDataItems()[0].getData()
    assert (list(values[0]), list(values[1])) == ([10.0, 20.0], [50.0, 75.0])  # percent
    panel.curve_box.setCurrentText("I(Z;Y)")
    assert curves(panel) == ["monday hidden-1", "monday read-out"]
    assert "I(Z;Y) (bits)" in panel.plot.getAxis("left").labelString()


def test_curves_of_two_runs_are_compared(panels: Panels) -> None:
    """Each run has a colour of its own in one plot."""
    record(panels, "monday", *EVALUATED)
    record(panels, "tuesday", *EVALUATED)
    panel = listed(panels, 2)
    choose(panel, "monday", "tuesday")
    panels.wait(lambda: sorted(curves(panel)) == ["monday", "tuesday"])
    colours = {item.opts["pen"].color().name() for item in panel.plot.getPlotItem().listDataItems()}
    assert len(colours) == 2
    assert "2 runs" in panel.about.text()
    assert not panel.open_button.isEnabled()


def test_selection_stays_when_a_run_is_added(panels: Panels) -> None:
    """The list reads itself anew; what was chosen stays chosen."""
    record(panels, "monday")
    panel = listed(panels, 1)
    choose(panel, "monday")
    record(panels, "tuesday")
    panel.reload()
    panels.wait(lambda: panel.table.rowCount() == 2)
    assert [line.folder.name for line in panel.chosen] == ["monday"]


def test_run_is_opened_and_replayed(panels: Panels) -> None:
    """Open shows the recorded run, Replay shows how it went, with no hardware."""
    record(panels, "monday", map_taken(5))
    panel = listed(panels, 1)
    choose(panel, "monday")
    panel.open_button.click()
    panels.wait(lambda: panels.desk.model.name == "monday" and panels.desk.model.state == "finished")
    panel.speed_box.setCurrentIndex(panel.speed_box.count() - 1)
    panel.replay_button.click()
    panels.wait(lambda: panels.desk.model.replay and panels.desk.model.state == "finished")


def test_killed_run_is_resumed(panels: Panels, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a run that ended too early can be resumed; the order names its folder."""
    orders: list[Order] = []
    monkeypatch.setattr(panels.desk, "start", orders.append)
    killed = record(panels, "killed", ends="")
    record(panels, "whole")
    panel = listed(panels, 2)
    choose(panel, "whole")
    assert not panel.resume_button.isEnabled()
    choose(panel, "killed")
    panel.resume_button.click()
    assert [order.resume for order in orders] == [killed]


def test_report_and_export_are_made_by_another_process(panels: Panels, monkeypatch: pytest.MonkeyPatch) -> None:
    """The desktop draws no report itself; it is shown in the browser once it is written."""
    shown: list[QUrl] = []
    monkeypatch.setattr(QDesktopServices, "openUrl", shown.append)
    folder = record(panels, "monday")
    panel = listed(panels, 1)
    choose(panel, "monday")
    panel.export_button.click()
    panels.wait(lambda: panel.message.text() == f"exported into {folder}")
    panel.report_button.click()
    panels.wait(lambda: bool(shown))
    assert (folder / "report.txt").exists()
    assert (folder / "export.txt").exists()
    assert shown[0].fileName() == "report.html"


def test_run_is_read_again_only_after_it_has_changed(panels: Panels, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long list costs little each time it is looked at."""
    folder = record(panels, "monday")
    lines = RunList()
    first = lines.read([folder])
    monkeypatch.setattr("gui.run_list.read_line", lambda path: RunLine(path, "read again"))
    assert lines.read([folder]) == first
    (folder / "run.h5").touch()
    assert lines.read([folder])[0].status == "read again"


PROTOCOL = """
[hardware.chip]
driver = "memristor-board"
address = "serial:/dev/ttyACM0"
serial = "b-17"
[limits]
current = "2 mA"
"""


def test_instruments_tell_identity_limits_outputs_and_last_error(panels: Panels) -> None:
    """A line for each device, from the protocol and the events."""
    started = replace(event_samples.started(), protocol_text=PROTOCOL)
    panels.feed([started, Message("error", "read-out: no answer within 1 s", 7), Message("warning", "read-out: hm")])
    panel = panels.show(InstrumentsPanel)
    texts = [panel.table.item(0, column).text() for column in range(panel.table.columnCount())]  # type: ignore[union-attr]
    assert texts == [
        "chip",
        "mock-memristor-chip",
        "serial:/dev/ttyACM0, b-17",
        "hidden-1, read-out",
        "0 to 200 mV",
        "2 mA",
        "in use",
        "step 7: read-out: no answer within 1 s",
    ]
    for unit in ("hidden-1", "read-out"):
        panels.desk.model.take(MadeSafe(unit, ("read voltage",), (), ""))
    panels.wait(lambda: panel.table.item(0, 6).text() == "off")  # type: ignore[union-attr]
    panels.desk.model.take(MadeSafe("read-out", (), ("word lines",), "no answer"))
    panels.wait(lambda: panel.table.item(0, 6).text() == "NOT confirmed off: word lines")  # type: ignore[union-attr]


def test_device_is_off_only_when_all_its_units_said_so() -> None:
    """One unit of two that is off leaves the device in use."""
    model = RunModel()
    model.take(event_samples.started())
    model.live = True
    model.take(MadeSafe("hidden-1", ("read voltage",), (), ""))
    assert [device.outputs for device in instruments(model)] == ["in use"]


def test_error_of_another_device_is_not_taken_for_this_ones() -> None:
    """A name inside a longer one is another name."""
    model = RunModel()
    model.take(event_samples.started())
    model.take(Message("error", "read-out-2: no answer"))
    assert instruments(model)[0].error == ""


def test_device_of_a_procedure_is_listed() -> None:
    """A bring-up has one device, known from its first event."""
    model = RunModel()
    model.take(ProcedureStarted("run", "contact-check", "contact-check", "chip", False, 0.0))
    assert [device.name for device in instruments(model)] == ["chip"]


def test_traffic_is_shown_as_it_grows(panels: Panels) -> None:
    """The newest lines of the run's traffic, whole ones only."""
    folder = panels.out / "fed"
    folder.mkdir()
    sent = {"t_s": 1.5, "address": "tcp:a", "way": "sent", "text": "*IDN?\n"}
    got = {"t_s": 1.6, "address": "tcp:a", "way": "got", "hex": "00 ff"}
    text = json.dumps({"t_s": 0.0, "began": "now"}) + "\n" + json.dumps(sent) + "\n" + json.dumps(got) + '\n{"t_s": 2'
    (folder / "traffic.jsonl").write_text(text, encoding="ascii")
    assert traffic_tail(folder) == ["     1.500  tcp:a  > *IDN?\\n", "     1.600  tcp:a  < [00 ff]"]
    assert traffic_tail(panels.out) == []
    panels.feed([event_samples.started()])
    panel = panels.show(InstrumentsPanel)
    panels.wait(lambda: "*IDN?" in panel.traffic.toPlainText())


def test_long_traffic_begins_with_a_whole_line(panels: Panels) -> None:
    """Of a long record its end is read, and no half line is shown."""
    line = json.dumps({"t_s": 1.0, "address": "a", "way": "sent", "text": "x" * 90}) + "\n"
    (panels.out / "traffic.jsonl").write_text(line * 2000, encoding="ascii")
    tail = traffic_tail(panels.out)
    assert len(tail) == 200
    assert len(set(tail)) == 1


def test_start_on_real_hardware_is_confirmed_by_its_dry_run(panels: Panels, monkeypatch: pytest.MonkeyPatch) -> None:
    """Start shows the dry run in this panel and starts nothing; what drives nothing real starts at once."""
    orders: list[Order] = []
    monkeypatch.setattr(panels.desk, "start", orders.append)
    panel = panels.show(InstrumentsPanel)
    panels.desk.protocol = "memristor-digits"
    panels.desk.ask_start()
    assert [order.protocol for order in orders] == ["memristor-digits"]
    panels.desk.protocol = "memristor-board-digits"
    panels.desk.ask_start()
    panels.wait(panel.view.isVisible)
    assert len(orders) == 1
    assert "REAL hardware" in panel.view.heading.text()
    panel.view.yes.click()
    assert [order.protocol for order in orders] == ["memristor-digits", "memristor-board-digits"]
    panels.desk.ask_start()
    assert len(orders) == 3


def test_dry_run_that_finds_no_real_device_starts_at_once(panels: Panels, monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver that is not known to be a mock is believed when its dry run says so."""
    orders: list[Order] = []
    monkeypatch.setattr(panels.desk, "start", orders.append)
    panels.show(InstrumentsPanel)
    panels.desk.protocol = "my-own-mock"
    panels.desk.ask_start()
    panels.wait(lambda: len(orders) == 1)


def test_protocol_that_the_dry_run_refuses_is_told(panels: Panels) -> None:
    """A mistake found on Start is a notice, and nothing starts."""
    panels.show(InstrumentsPanel)
    told: list[str] = []
    panels.desk.noticed.connect(lambda level, text: told.append(f"{level}: {text}"))
    panels.desk.protocol = "wrong"
    panels.desk.ask_start()
    panels.wait(lambda: bool(told))
    assert told[0].startswith("error: rule.learning_rate: input should be greater than 0")
    assert panels.started() == []
