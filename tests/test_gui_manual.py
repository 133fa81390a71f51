"""Manual control and traffic on the desktop: through the buttons and fields that a person uses."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import event_samples
import pytest
from gui_bench import LIVE_MS
from hypothesis import given
from hypothesis import strategies as st
from panels_bench import Panels, panels
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QComboBox, QLineEdit

from gui import processes, theme, wording
from gui.desk import Desk
from gui.manual_view import ManualView, read_number, shown_number
from gui.panels.instruments import InstrumentsPanel
from gui.processes import Order
from gui.protocol_devices import devices_of, has_links
from pib_lab.errors import ConfigurationError

__all__ = ["panels"]

HERE = Path(__file__).parent
DEVICES = ("chip", "mock", "dead", "doubtful", "broken")


@pytest.fixture
def protocol(panels: Panels, monkeypatch: pytest.MonkeyPatch) -> str:
    """One with all kinds of device, and `fake_manual.py` in the place of `pib-lab`."""
    monkeypatch.setattr(processes, "PROGRAM", (sys.executable, str(HERE / "fake_manual.py")))
    tables = [f'[hardware.{name}]\ndriver = "memristor-board"\n' for name in DEVICES]
    path = panels.folder / "hands.toml"
    path.write_text("".join(tables) + '[hardware.weights]\ndriver = "digital-weights"\n')
    return str(path)


def told(panels: Panels) -> list[str]:
    """What the process was started with, and told."""
    return (panels.out / "told.txt").read_text(encoding="utf-8").splitlines()


def shown(panels: Panels, protocol: str) -> InstrumentsPanel:
    panel = panels.show(InstrumentsPanel)
    panels.desk.choose_protocol(protocol)
    return panel


def take(panels: Panels, protocol: str, device: str = "chip") -> tuple[InstrumentsPanel, ManualView]:
    """The device in hand."""
    panel = shown(panels, protocol)
    view = panel.manual
    view.device_box.setCurrentText(device)
    panels.qtbot.mouseClick(view.take_button, Qt.MouseButton.LeftButton)
    panels.wait(lambda: view.form.isVisible())
    return panel, view


def answered(panels: Panels, view: ManualView) -> None:
    panels.wait(lambda: view.form.isEnabled())


def put(panels: Panels, view: ManualView, text: str) -> None:
    """Type a level and press Set."""
    row = view._rows["drive"]
    assert isinstance(row.field, QLineEdit)
    row.field.setText(text)
    panels.qtbot.mouseClick(row.button, Qt.MouseButton.LeftButton)
    answered(panels, view)


def test_device_is_taken_set_switched_and_measured(panels: Panels, protocol: str) -> None:
    """Through the widgets; what is in force is what the device has answered."""
    _, view = take(panels, protocol)
    assert "REAL HARDWARE" in view.state_label.text()
    assert view.identity.text() == "source: MODEL 2400"
    put(panels, view, "100 mV")
    row = view._rows["drive"]
    assert isinstance(row.field, QLineEdit)
    assert row.field.text() == "100 mV"
    assert view.outputs["source"].text() == "source: off, switch on"
    panels.qtbot.mouseClick(view.outputs["source"], Qt.MouseButton.LeftButton)
    answered(panels, view)
    assert view.outputs["source"].isChecked()
    assert view.outputs["source"].text() == "source: ON, switch off"
    panels.qtbot.mouseClick(view.measure_button, Qt.MouseButton.LeftButton)
    answered(panels, view)
    assert view.readings.text() == "current:  100 µA  (at its limit)"
    assert [json.loads(line) for line in told(panels)[1:]] == [
        {"do": "set", "name": "drive", "value": 0.1},
        {"do": "switch", "output": "source", "on": True},
        {"do": "measure"},
    ]


def test_refusal_is_shown_and_the_device_stays_in_hand(panels: Panels, protocol: str) -> None:
    """A level beyond the limits, and words that are no number, which are not even sent."""
    _, view = take(panels, protocol)
    put(panels, view, "0.3")
    assert "nothing was sent" in view.message.text()
    put(panels, view, "a lot")
    assert "'a lot' is not a number of V" in view.message.text()
    assert len(told(panels)) == 2
    assert panels.desk.manual is not None
    put(panels, view, "0.2")
    assert not view.message.isVisible()


def test_letting_go_switches_off_and_says_so(panels: Panels, protocol: str) -> None:
    """Then another device, or a run, can be taken."""
    _, view = take(panels, protocol)
    panels.qtbot.mouseClick(view.leave_button, Qt.MouseButton.LeftButton)
    panels.wait(lambda: panels.desk.manual is None)
    assert view.message.text() == "all outputs were read back off"
    panels.wait(lambda: view.take_button.isVisible())
    assert not view.form.isVisible()


def test_what_is_not_confirmed_off_is_red(panels: Panels, protocol: str) -> None:
    """By name, in the colour of what is bad."""
    _, view = take(panels, protocol, "doubtful")
    panels.qtbot.mouseClick(view.leave_button, Qt.MouseButton.LeftButton)
    panels.wait(lambda: panels.desk.manual is None)
    assert view.message.text().startswith("NOT confirmed off: source")
    assert theme.current().bad in view.message.styleSheet()


def test_device_that_cannot_be_connected_says_why(panels: Panels, protocol: str) -> None:
    """And the desktop is free again."""
    view = shown(panels, protocol).manual
    view.device_box.setCurrentText("dead")
    panels.qtbot.mouseClick(view.take_button, Qt.MouseButton.LeftButton)
    panels.wait(lambda: panels.desk.manual is None)
    panels.wait(lambda: "could not be connected" in view.message.text())
    assert view.take_button.isEnabled()


def test_device_that_fails_in_hand_is_told_and_let_go(panels: Panels, protocol: str) -> None:
    """Its process has made it safe; the notice is for the whole window."""
    _, view = take(panels, protocol, "broken")
    with panels.qtbot.waitSignal(panels.desk.noticed, timeout=LIVE_MS) as caught:
        panels.qtbot.mouseClick(view.measure_button, Qt.MouseButton.LeftButton)
    assert caught.args == ["error", "manual control: no answer"]
    panels.wait(lambda: panels.desk.manual is None)


def test_only_idle_devices_can_be_taken(panels: Panels, protocol: str) -> None:
    """While a run goes on its devices are its own; while a device is in hand no run is started."""
    panel = shown(panels, protocol)
    panels.feed([event_samples.started(), event_samples.step(1)])
    panel.refresh(panels.desk.model)
    assert not panel.manual.take_button.isEnabled()
    assert "a run goes on" in panel.manual.state_label.text()
    panels.desk.take_by_hand("chip")
    assert panels.desk.manual is None
    panels.desk.model.take(event_samples.finished())
    panel.refresh(panels.desk.model)
    assert panel.manual.take_button.isEnabled()
    panels.desk.take_by_hand("chip")
    with panels.qtbot.waitSignal(panels.desk.noticed) as caught:
        assert panels.desk.start(Order("good")) is None
    assert caught.args is not None
    assert "chip is controlled by hand" in caught.args[1]


def test_badge_says_what_is_in_hand(panels: Panels, protocol: str) -> None:
    """Real hardware that is switched by hand cannot be overlooked."""
    take(panels, protocol)
    assert wording.badge(panels.desk.model) == ("REAL BY HAND", "real")
    panels.desk.let_go()
    panels.wait(lambda: panels.desk.manual is None)
    assert wording.badge(panels.desk.model)[0] == "NO RUN"


def test_closing_the_desktop_lets_go(panels: Panels, protocol: str) -> None:
    """The end of its input is what makes a device safe."""
    take(panels, protocol)
    process = panels.desk.manual
    assert process is not None
    panels.desk.close()
    panels.wait(lambda: process.poll() == 0)


def test_stop_ends_a_process_that_has_not_opened_its_device(panels: Panels, protocol: str) -> None:
    """It is ended at once: there is nothing to ask yet."""
    shown(panels, protocol)
    panels.desk.take_by_hand("chip")
    process = panels.desk.manual
    assert process is not None
    panels.desk.stop()
    panels.wait(lambda: panels.desk.last_stop is not None and panels.desk.last_stop.done)
    assert process.poll() is not None
    panels.wait(lambda: panels.desk.manual is None)


def test_real_rig_process_is_stopped_with_its_light_off(panels: Panels, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the real program on a mock rig: pattern and light by hand, then STOP confirms the light off."""
    monkeypatch.setattr(processes, "PROGRAM", (sys.executable, "-m", "pib_lab.cli"))
    monkeypatch.setenv("PYTHONPATH", str(HERE.parent))
    _, view = take(panels, "optical-digits", "rig")
    assert view.device_box.findText("weights") < 0
    pattern = view._rows["pattern"].field
    assert isinstance(pattern, QComboBox)
    pattern.setCurrentText("flat")
    pattern.activated.emit(pattern.currentIndex())
    answered(panels, view)
    view.outputs["light"].click()
    answered(panels, view)
    view.measure_button.click()
    answered(panels, view)
    assert view.readings.text().startswith("mean:")
    panels.desk.stop()
    panels.wait(lambda: panels.desk.last_stop is not None and panels.desk.last_stop.done)
    assert panels.desk.last_stop is not None
    assert panels.desk.last_stop.safe
    assert [device.name for device in panels.desk.last_stop.devices] == ["rig"]
    panels.wait(lambda: panels.desk.manual is None)


def test_traffic_is_kept_of_what_has_links(panels: Panels, protocol: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the box checked, of real devices only: mocks have no links, and would refuse."""
    panel = shown(panels, protocol)
    panel.traffic_box.click()
    panels.desk.take_by_hand("chip")
    panels.wait(lambda: panels.desk.manual is not None and panels.desk.manual.folder is not None)
    assert told(panels)[0].endswith("--traffic")
    panels.desk.let_go()
    panels.wait(lambda: panels.desk.manual is None)
    monkeypatch.setattr(processes, "PROGRAM", (sys.executable, str(HERE / "fake_program.py")))
    orders: list[Order] = []
    monkeypatch.setattr(processes, "start", lambda order, out: orders.append(order) or (_ for _ in ()).throw(OSError))
    for order in (Order(protocol), Order("memristor-digits"), Order(protocol, mock=True)):
        with pytest.raises(OSError):  # noqa: PT011 - the stand-in's own
            panels.desk.start(order)
    assert [order.traffic for order in orders] == [True, False, False]
    assert "--traffic" in orders[0].arguments(Path("runs"))
    assert "--traffic" not in replace(orders[0], traffic=False).arguments(Path("runs"))


def test_traffic_of_the_device_in_hand_is_shown(panels: Panels, protocol: str) -> None:
    """The newest lines of its own folder, as they come; they stay to be read once it is let go."""
    panel, _ = take(panels, protocol)
    manual = panels.desk.manual
    assert manual is not None
    assert manual.folder is not None
    manual.folder.mkdir()
    line = {"t_s": 1.5, "address": "COM1", "way": "sent", "text": ":OUTP ON\n"}
    (manual.folder / "traffic.jsonl").write_text(json.dumps(line) + "\n")
    panels.wait(lambda: "COM1  > :OUTP ON" in panel.traffic.toPlainText())
    panels.desk.let_go()
    panels.wait(lambda: panels.desk.manual is None)
    panel._look()
    assert "COM1  > :OUTP ON" in panel.traffic.toPlainText()


def test_devices_are_those_of_the_protocol(tmp_path: Path) -> None:
    """None of a text that cannot be read; only real ones have links."""
    assert devices_of("optical-digits") == {"rig": "mock-optical-rig", "weights": "digital-weights"}
    assert not has_links("optical-digits")
    assert has_links("memristor-board-digits")
    (tmp_path / "bad.toml").write_text("hardware = 3")
    assert devices_of(str(tmp_path / "bad.toml")) == {}
    assert devices_of("no-such") == {}


@given(st.floats(-1e3, 1e3, allow_nan=False), st.sampled_from(["V", "A", "s", "counts", "levels", ""]))
def test_shown_numbers_are_read_back(value: float, unit: str) -> None:
    """To the digits that are shown."""
    assert read_number(shown_number(value, unit), unit) == pytest.approx(value, rel=1e-5, abs=1e-17)


@pytest.mark.parametrize(
    ("text", "unit", "value"), [("100m", "V", 0.1), ("100 mV", "V", 0.1), ("1e-3", "A", 1e-3), ("2u", "A", 2e-6)]
)
def test_numbers_are_read_as_people_write_them(text: str, unit: str, value: float) -> None:
    """With a prefix, with a unit, with neither."""
    assert read_number(text, unit) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "V", "1 A", "1,5 V", "1 2", "..", "--1"])
def test_what_is_no_number_is_refused(text: str) -> None:
    """With an example of what is one."""
    with pytest.raises(ConfigurationError, match="is not a number of V, such as 100 mV"):
        read_number(text, "V")


def test_desk_without_a_protocol_has_nothing_to_take(panels: Panels) -> None:
    """The button is there, and cannot be pressed."""
    panel = panels.show(InstrumentsPanel)
    assert isinstance(panels.desk, Desk)
    assert panel.manual.take_button.isVisible()
    assert not panel.manual.take_button.isEnabled()
