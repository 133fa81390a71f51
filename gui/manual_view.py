"""One device in a person's hands: its controls within their limits, its outputs, what was measured. Never modal."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import Qt
from PySide6.QtWidgets import (
    QComboBox,
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from data.wording import prefixed
from gui import theme
from gui.manual_process import GONE, Answer
from gui.protocol_devices import devices_of
from pib_lab.errors import ConfigurationError

if TYPE_CHECKING:
    from gui.desk import Desk

_PREFIXES = {"": 1.0, "k": 1e3, "m": 1e-3, "µ": 1e-6, "u": 1e-6, "n": 1e-9, "p": 1e-12}
_NUMBER = re.compile(r"\s*([-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?)\s*([kmµunp]?)(\w*)\s*")


def shown_number(value: float, unit: str) -> str:
    """A number for people: "100 mV", "12", "1.5 ms"."""
    if unit not in ("V", "A", "S", "s"):
        return f"{value:.6g} {unit}".strip()
    factor, symbol = prefixed(abs(value), unit)
    return f"{value / factor:.6g} {symbol}"


def read_number(text: str, unit: str) -> float:
    """What a person typed: "0.1", "100m", "100 mV". Raises ConfigurationError for anything else."""
    found = _NUMBER.fullmatch(text)
    if found is not None and found[3] in ("", unit):
        return float(found[1]) * _PREFIXES[found[2]]
    if found is not None and found[2] + found[3] == unit:  # such as "p" of "pixels"
        return float(found[1])
    raise ConfigurationError(
        f"{text!r} is not a number" + (f" of {unit}, such as {shown_number(0.1, unit)}" if unit else "")
    )


class _Row:
    """One control: its name, a field, the limits."""

    def __init__(self, view: ManualView, grid: QGridLayout, at: int, control: dict[str, Any]) -> None:
        self.name, self.unit = control["name"], control["unit"]
        self._view = view
        grid.addWidget(QLabel(self.name), at, 0)
        self.field: QComboBox | QLineEdit
        if control["choices"]:
            self.field = QComboBox()
            self.field.addItems(control["choices"])
            self.field.activated.connect(lambda _: self.send())
        else:
            self.field = QLineEdit()
            self.field.returnPressed.connect(self.send)
        self.field.setAccessibleName(self.name)
        self.field.setFixedWidth(130)
        grid.addWidget(self.field, at, 1)
        self.button = QPushButton("Set")
        self.button.clicked.connect(self.send)
        self.button.setVisible(not control["choices"])
        grid.addWidget(self.button, at, 2)
        bounds = f"{shown_number(control['low'], self.unit)} to {shown_number(control['high'], self.unit)}"
        limits = QLabel(", ".join(part for part in ("" if control["choices"] else bounds, control["help"]) if part))
        limits.setObjectName("empty")
        grid.addWidget(limits, at, 3)

    def show(self, control: dict[str, Any]) -> None:
        """The value in force."""
        if isinstance(self.field, QComboBox):
            self.field.setCurrentText(control["value"])
        else:
            self.field.setText(shown_number(control["value"], self.unit))

    def send(self) -> None:
        """Ask for what is in the field."""
        try:
            value: Any = self.field.currentText() if isinstance(self.field, QComboBox) else None
            value = read_number(self.field.text(), self.unit) if isinstance(self.field, QLineEdit) else value
        except ConfigurationError as problem:
            self._view.tell(str(problem), "error")
            return
        self._view.send({"do": "set", "name": self.name, "value": value})


class ManualView(QFrame):
    """A line with a device to choose; below it, while it is in hand, its controls, outputs and readings."""

    def __init__(self, desk: Desk) -> None:
        super().__init__()
        self.setObjectName("manual")
        self.setFrameShape(QFrame.Shape.StyledPanel)
        self._desk = desk
        self._rows: dict[str, _Row] = {}
        self._ended = False
        self.outputs: dict[str, QPushButton] = {}
        layout = QVBoxLayout(self)
        head = QHBoxLayout()
        self.device_box = QComboBox()
        self.device_box.setAccessibleName("device")
        self.take_button = QPushButton("Take by hand")
        self.take_button.setToolTip("Set levels within the profile's limits, switch outputs, measure once")
        self.leave_button = QPushButton("All off, let go")
        self.state_label = QLabel()
        for widget in (
            QLabel("Manual control of"),
            self.device_box,
            self.take_button,
            self.leave_button,
            self.state_label,
        ):
            head.addWidget(widget)
        head.addStretch()
        layout.addLayout(head)
        self.identity = QLabel()
        self.identity.setObjectName("empty")
        self.identity.setWordWrap(True)
        self.identity.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        layout.addWidget(self.identity)
        self.form = QWidget()
        self._inner = QHBoxLayout(self.form)
        self._inner.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.form)
        self.readings = QLabel()
        self.readings.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.readings.setWordWrap(True)
        self.message = QLabel()
        self.message.setWordWrap(True)
        self.message.hide()
        self.measure_button = QPushButton("Measure")
        layout.addWidget(self.message)
        self.take_button.clicked.connect(self._take)
        self.leave_button.clicked.connect(desk.let_go)
        self.measure_button.clicked.connect(lambda: self.send({"do": "measure"}))
        desk.protocol_changed.connect(lambda _: self._list_devices())
        desk.manual_told.connect(self._hear)
        self._list_devices()

    def refresh(self) -> None:
        """Whether a device can be taken now: only while no run owns it."""
        held = self._desk.manual is not None
        self.take_button.setVisible(not held)
        self.leave_button.setVisible(held)
        self.device_box.setEnabled(not held)
        free = not self._desk.busy and not self._desk.stopping
        self.take_button.setEnabled(free and self.device_box.count() > 0)
        if not held:
            self.form.hide()
            self.identity.hide()
            self.state_label.setStyleSheet("")
            self.state_label.setText("" if free else "a run goes on: its devices are its own")

    def tell(self, text: str, level: str) -> None:
        """A line below; "" takes it away."""
        self.message.setText(text)
        self.message.setStyleSheet(f"color: {theme.level_colour(level)};")
        self.message.setVisible(bool(text))

    def send(self, message: Answer) -> None:
        """Ask the device; no second time before it has answered."""
        self.form.setEnabled(False)
        self.tell("", "info")
        self._desk.tell_manual(message)

    def _list_devices(self) -> None:
        self.device_box.clear()
        found = devices_of(self._desk.protocol)
        self.device_box.addItems([name for name, driver in found.items() if driver != "digital-weights"])
        self.refresh()

    def _take(self) -> None:
        self._ended = False
        self.tell("connecting …", "info")
        self._desk.take_by_hand(self.device_box.currentText())
        self.refresh()

    def _hear(self, answer: Answer) -> None:
        match answer["did"]:
            case "open":
                self._open(answer)
            case "end":
                self._end(answer)
            case did if did == GONE:
                if not self._ended:  # it could not say so itself
                    self.tell(answer["error"] or f"manual control ended with code {answer['code']}", "error")
            case _:
                self._show(answer)
        self.refresh()

    def _open(self, answer: Answer) -> None:
        words = "a mock" if answer["mock"] else "REAL HARDWARE: what is switched on here is on"
        self.state_label.setText(words)
        self.state_label.setStyleSheet("" if answer["mock"] else f"color: {theme.current().look}; font-weight: bold;")
        self.identity.setText("   |   ".join(f"{part}: {name}" for part, name in answer["identity"].items()))
        self.identity.show()
        self.tell("", "info")
        self._build(answer)
        self._show(answer)
        self.form.show()

    def _build(self, answer: Answer) -> None:
        while (item := self._inner.takeAt(0)) is not None:
            if (old := item.widget()) is not None and old not in (self.readings, self.measure_button):
                old.deleteLater()
        controls, grid = QWidget(), QGridLayout()
        controls.setLayout(grid)
        grid.setContentsMargins(0, 0, 0, 0)
        self._rows = {control["name"]: _Row(self, grid, at, control) for at, control in enumerate(answer["controls"])}
        switches = QWidget()
        column = QVBoxLayout(switches)
        column.setContentsMargins(12, 0, 12, 0)
        self.outputs = {}
        for output in answer["outputs"]:
            button = self.outputs[output] = QPushButton()
            button.setCheckable(True)
            button.clicked.connect(lambda on, output=output: self.send({"do": "switch", "output": output, "on": on}))
            column.addWidget(button)
        column.addWidget(self.measure_button)
        column.addStretch()
        self.readings.setText("")
        for widget in (controls, switches, self.readings):
            self._inner.addWidget(widget, 1 if widget is self.readings else 0)

    def _show(self, answer: Answer) -> None:
        self.form.setEnabled(True)
        if not answer["ok"]:
            self.tell(answer["error"], "error")
        for control in answer.get("controls", ()):
            if control["name"] in self._rows:
                self._rows[control["name"]].show(control)
        for output, on in answer.get("outputs", {}).items():
            button = self.outputs[output]
            button.setChecked(on)
            button.setText(f"{output}: {'ON, switch off' if on else 'off, switch on'}")
            button.setStyleSheet(f"color: {theme.current().look}; font-weight: bold;" if on else "")
        if "readings" in answer:
            self.readings.setText("\n".join(_reading(each) for each in answer["readings"]))

    def _end(self, answer: Answer) -> None:
        self._ended = True
        if answer.get("not_confirmed"):
            doubtful = ", ".join(answer["not_confirmed"])
            self.tell(f"NOT confirmed off: {doubtful}. {answer.get('detail', '')}", "error")
        elif not answer["ok"]:
            self.tell(answer["error"], "error")
        else:
            self.tell("all outputs were read back off", "good")


def _reading(reading: dict[str, Any]) -> str:
    value = math.nan if reading["value"] is None else reading["value"]
    return f"{reading['name']}:  {shown_number(value, reading['unit'])}" + (
        f"  ({reading['note']})" if reading["note"] else ""
    )
