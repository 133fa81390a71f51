"""The health strip: a row of lights that say at a glance whether something needs a hand."""

from __future__ import annotations

from typing import Any, ClassVar

from PySide6.QtCore import Qt
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QFrame, QGridLayout, QHBoxLayout, QLabel

from gui import theme
from gui.model import RunModel, Topic
from gui.panel import Panel
from gui.readings import Level, Reading, limits_of, readings
from pib_lab.experiment import Limits

_SIGNS = {Level.PLAIN: "○", Level.GOOD: "●", Level.CARE: "▲", Level.BAD: "■"}


_MARGINS, _GAP = 10, 6


class Light(QFrame):
    """One reading: a sign whose shape and colour say the level, its name, its value."""

    def __init__(self) -> None:
        super().__init__()
        self.setFrameShape(QFrame.Shape.StyledPanel)
        self.sign, self.name_label, self.value_label = QLabel(), QLabel(), QLabel()
        grid = QGridLayout(self)
        grid.setContentsMargins(8, 4, 8, 4)
        grid.setVerticalSpacing(0)
        grid.addWidget(self.sign, 0, 0, 2, 1)
        grid.addWidget(self.name_label, 0, 1)
        grid.addWidget(self.value_label, 1, 1)
        grid.setColumnStretch(1, 1)
        self.sign.setObjectName("sign")
        self.value_label.setObjectName("reading")
        self.reading: Reading | None = None

    def show_reading(self, reading: Reading) -> None:
        """Show it; the longer words come as a tool tip, and are what a screen reader says."""
        if reading == self.reading:
            return
        self.reading = reading
        self.sign.setText(_SIGNS[reading.level])
        self.name_label.setText(reading.name)
        self.value_label.setText(reading.value)
        self.setToolTip(reading.why)
        self.setAccessibleName(f"{reading.name}: {reading.value}")
        self.paint_sign()

    def paint_sign(self) -> None:
        """Colour the sign as its level wants it."""
        if self.reading is not None:
            colour = theme.level_colour(self.reading.level.value)
            self.sign.setStyleSheet(f"color: {colour};")


class HealthPanel(Panel):
    """Link, outputs, clipped readings, drift, faulty cells and wear; what is not well is said in words below."""

    name: ClassVar[str] = "health"
    title: ClassVar[str] = "Health"
    topics: ClassVar[frozenset[Topic]] = frozenset(
        {Topic.RUN, Topic.STATE, Topic.LEARNING, Topic.FAULTS, Topic.MAPS, Topic.SAFE, Topic.LOG, Topic.COSTS}
    )
    period_s: ClassVar[float] = 0.1
    empty_text: ClassVar[str] = (
        "How well the run is appears here: link, outputs, clipped readings, drift, faults, wear."
    )

    def __init__(self, desk: Any) -> None:
        super().__init__(desk)
        layout = self.filled()
        row = QHBoxLayout()
        layout.addLayout(row)
        self.lights: list[Light] = []
        for reading in readings(RunModel(), Limits()):
            light = Light()
            light.show_reading(reading)
            self.lights.append(light)
            row.addWidget(light, 1)
        self.words = QLabel()
        self.words.setWordWrap(True)
        self.words.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        layout.addWidget(self.words)
        self._limits = Limits()
        self._of: Any = None
        self._room.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._room.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._fit()

    def is_empty(self, model: RunModel) -> bool:
        """Before the first run."""
        return model.folder is None and model.status.started is None

    def refresh(self, model: RunModel) -> None:
        """Read all lights anew."""
        if model.status.started is not self._of:
            self._of = model.status.started
            self._limits = limits_of(model)
        shown = readings(model, self._limits)
        for light, reading in zip(self.lights, shown, strict=True):
            light.show_reading(reading)
        words = [reading.why for reading in shown if reading.level in (Level.CARE, Level.BAD)]
        self.words.setText("\n".join(words))
        self.words.setVisible(bool(words))
        self._fit()

    def _fit(self) -> None:
        """A strip as high as its words need it: room that it does not need belongs to others."""
        tallest = max(light.sizeHint().height() for light in self.lights)
        words = self.words.heightForWidth(max(self.width(), 600)) + _GAP if self.words.text() else 0
        self.setFixedHeight(tallest + words + _MARGINS)

    def resizeEvent(self, event: QResizeEvent) -> None:
        """In a wider window the words need fewer lines."""
        super().resizeEvent(event)
        if event.size().width() != event.oldSize().width():
            self._fit()

    def restyle(self) -> None:
        """Take the theme's colours, and its size of text."""
        for light in self.lights:
            light.paint_sign()
        self._fit()
