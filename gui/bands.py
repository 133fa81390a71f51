"""Bands below the run bar, in the place of dialogs: how STOP ended, a notice, a question. None of them blocks."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QPushButton, QVBoxLayout

from gui import theme
from gui.desk import Desk
from gui.model import RunModel, Topic
from gui.stop import DeviceOff, StopReport, of_units


class Band(QFrame):
    """One line of words with buttons; hidden until there is something to say."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.setObjectName(name)
        self.words = QLabel()
        self.words.setWordWrap(True)
        self.words.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self._row = QHBoxLayout(self)
        self._row.setContentsMargins(12, 6, 12, 6)
        self._row.addWidget(self.words, 1)
        self._buttons: list[QPushButton] = []
        self.hide()

    def say(self, text: str, level: str, answers: Sequence[tuple[str, Callable[[], object]]] = ()) -> None:
        """Show `text`, and a button for each answer; without any, one that puts the band away."""
        self.words.setText(text)
        colour = theme.level_colour(level)
        self.setStyleSheet(f"QFrame#{self.objectName()} {{ border: 2px solid {colour}; border-radius: 4px; }}")
        for button in self._buttons:
            button.deleteLater()
        self._buttons = [self._answer(word, act) for word, act in answers or (("Dismiss", lambda: None),)]
        self.show()

    def press(self, word: str) -> None:
        """Give the answer `word`."""
        next(button for button in self._buttons if button.text() == word).click()

    def _answer(self, word: str, act: Callable[[], object]) -> QPushButton:
        button = QPushButton(word)
        self._row.addWidget(button)

        def give() -> None:
            self.hide()
            act()

        button.clicked.connect(give)
        return button


class SafeBand(QFrame):
    """Per device "off" or "NOT confirmed off": during and after STOP, and after any run that ended in doubt."""

    def __init__(self, desk: Desk) -> None:
        super().__init__()
        self.setObjectName("safe-band")
        self.desk = desk
        self.headline = QLabel()
        self.headline.setWordWrap(True)
        self.headline.setObjectName("headline")
        self.dismiss = QPushButton("Dismiss")
        self.dismiss.clicked.connect(self.hide)
        top = QHBoxLayout()
        top.addWidget(self.headline, 1)
        top.addWidget(self.dismiss)
        self._rows = QVBoxLayout()
        self._rows.setSpacing(2)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(12, 6, 12, 8)
        layout.addLayout(top)
        layout.addLayout(self._rows)
        self.lines: dict[str, QLabel] = {}
        self.hide()
        desk.stop_told.connect(self.show_report)
        desk.bridge.watch(self._look)

    def show_report(self, report: StopReport) -> None:
        """Show how far STOP has come."""
        self._clear()
        bad = report.done and not report.safe
        self.headline.setText(report.text if report.done else f"STOP: {report.text} …")
        self.headline.setStyleSheet(
            f"color: {theme.level_colour('bad' if bad else 'good' if report.done else 'look')};"
        )
        edge = theme.STOP_RED if bad else theme.level_colour("good" if report.done else "look")
        self.setStyleSheet(f"QFrame#safe-band {{ border: 2px solid {edge}; border-radius: 4px; }}")
        for device in report.devices:
            line = _line(device)
            self.lines[device.name] = line
            self._rows.addWidget(line)
        self.show()

    def _look(self, changed: set[Topic]) -> None:
        """A run that ended by itself and left something in doubt is shown like a STOP that did."""
        model = self.desk.model
        if Topic.RUN in changed and not self.desk.stopping and model.state == "starting":
            self.hide()
        if Topic.SAFE not in changed or self.desk.stopping or self.desk.last_stop is not None or model.replay:
            return
        devices = in_doubt(model)
        if devices:
            names = ", ".join(device.name for device in devices)
            self.show_report(StopReport(f"the run left these NOT confirmed off: {names}", devices, True, True))

    def _clear(self) -> None:
        for line in self.lines.values():
            line.deleteLater()
        self.lines.clear()


def in_doubt(model: RunModel) -> tuple[DeviceOff, ...]:
    """Devices of which the run reported outputs that it could not read back off."""
    device_of = {name: unit.device for name, unit in model.units.items()}
    return tuple(device for device in of_units(list(model.safe.values()), device_of) if not device.off)


def _line(device: DeviceOff) -> QLabel:
    label = QLabel()
    label.setWordWrap(True)
    label.setObjectName("device")
    if device.off:
        label.setText(f"✔ {device.name}: off")
        label.setToolTip(", ".join(device.confirmed))
        label.setStyleSheet(f"color: {theme.level_colour('good')};")
    else:
        why = f"  ({device.detail})" if device.detail else ""
        label.setText(f"✖ {device.name}: NOT confirmed off: {', '.join(device.not_confirmed)}{why}")
        label.setStyleSheet(f"background: {theme.STOP_RED}; color: white; padding: 2px 6px;")
    return label
