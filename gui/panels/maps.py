"""Maps of one unit: what its cells hold, which are faulty, and how worn they are, side by side."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QPointF, QRectF
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QCheckBox, QComboBox, QHBoxLayout, QLabel, QPushButton, QWidget

from gui import theme
from gui.map_layers import (
    FAULT_COLOURS,
    FAULT_WORDS,
    Layer,
    cell_text,
    fault_layer,
    parameter_layer,
    shrunk,
    views_of,
    wear_layer,
)
from gui.model import RunModel, Topic
from gui.panel import Panel
from gui.plots import yields
from pib_lab.events import MapTaken
from pib_lab.records import UnitInfo

_HINT = "Point at a cell to see its row, column, value, pulses and fault. Wheel: zoom."


_LOW = 320


class _Picture:
    """A plot with one image, row 0 at the top, and a colour bar where the colours are a scale."""

    def __init__(self, into: Any, column: int, title: str) -> None:
        self.plot = into.addPlot(row=0, column=column)
        self.image = pg.ImageItem(axisOrder="row-major")
        self.plot.addItem(self.image)
        self.plot.invertY(True)
        self.plot.hideButtons()
        self.plot.setMenuEnabled(False)
        self.bar: Any = None
        self.title(title)

    def title(self, text: str) -> None:
        """Say above what it shows."""
        self.plot.setTitle(text, color=theme.current().text, size="11pt")

    def scale(self) -> None:
        """Give it a colour bar."""
        self.bar = pg.ColorBarItem(interactive=False, width=14, colorMap="viridis")
        self.bar.setImageItem(self.image, insert_in=self.plot)

    def restyle(self) -> None:
        """Take the theme's colours."""
        now = theme.current()
        for side, words in (("left", "row"), ("bottom", "column")):
            axis = self.plot.getAxis(side)
            axis.setPen(now.grid)
            axis.setTextPen(now.text)
            axis.setLabel(words, color=now.text)
        if self.bar is not None:
            self.bar.axis.setTextPen(now.text)

    def show(self, layer: Layer) -> None:
        """Show a layer with its scale."""
        self.title(layer.title)
        self.image.setImage(layer.values, autoLevels=False, levels=(layer.low, layer.high))
        self.image.setRect(QRectF(0, 0, layer.values.shape[1], layer.values.shape[0]))
        self.bar.setColorMap(pg.colormap.get(layer.colours))
        self.bar.setLevels((layer.low, layer.high))


class MapsPanel(Panel):
    """Parameters, faults and wear of one unit, of the newest map that the run has sent."""

    name: ClassVar[str] = "maps"
    title: ClassVar[str] = "Maps"
    topics: ClassVar[frozenset[Topic]] = frozenset({Topic.RUN, Topic.MAPS, Topic.FAULTS})
    empty_text: ClassVar[str] = (
        "Maps of each unit appear here: what its cells hold, which are faulty and since when, and how many pulses they "
        "have taken.\n\nThe run sends them every schedule.maps_every steps, and with each scan for faults."
    )

    def __init__(self, desk: Any) -> None:
        super().__init__(desk)
        layout = self.filled()
        self.unit_box, self.view_box = QComboBox(), QComboBox()
        self.unit_box.setAccessibleName("unit")
        self.view_box.setAccessibleName("view")
        self.wear_box = QCheckBox("Wear")
        self.wear_box.setChecked(True)
        self.taken_label = QLabel()
        top = QHBoxLayout()
        self.whole_button = QPushButton("Whole map")
        for widget in (QLabel("Unit"), self.unit_box, QLabel("Show"), self.view_box, self.wear_box, self.whole_button):
            top.addWidget(widget)
        top.addStretch()
        top.addWidget(self.taken_label)
        layout.addLayout(top)
        self.canvas = pg.GraphicsLayoutWidget()
        yields(self.canvas, 140)
        self.parameters = _Picture(self.canvas, 0, "parameters")
        self.faults = _Picture(self.canvas, 1, "known faults")
        self.wear = _Picture(self.canvas, 2, "pulses")
        for picture in (self.faults, self.wear):
            picture.plot.setXLink(self.parameters.plot)
            picture.plot.setYLink(self.parameters.plot)
        self.parameters.scale()
        self.wear.scale()
        table = np.array([pg.mkColor(colour).getRgb() for colour in FAULT_COLOURS.values()], np.uint8)
        self.faults.image.setLookupTable(table)
        layout.addWidget(self.canvas, 1)
        self.counts = {kind: QLabel() for kind in FAULT_COLOURS}
        layout.addLayout(self._legend())
        self.hover_label = QLabel(_HINT)
        self.hover_label.setWordWrap(True)
        layout.addWidget(self.hover_label)
        self._model: RunModel | None = None
        self._shown: tuple[str, int, tuple[int, ...]] = ("", -1, (0, 0))
        self._block = (0, 0)
        self._codes = np.zeros((0, 0), np.uint8)
        self.unit_box.currentIndexChanged.connect(self._choose_unit)
        self.view_box.currentIndexChanged.connect(self._redraw)
        self.wear_box.toggled.connect(lambda wanted: self.wear.plot.setVisible(wanted))
        self.whole_button.clicked.connect(self.show_whole)
        self.canvas.scene().sigMouseMoved.connect(self._hover)
        self.faults.plot.sigRangeChanged.connect(self._fit_blocks)
        self.restyle()

    def is_empty(self, model: RunModel) -> bool:
        """Before the first map."""
        return not model.maps

    def refresh(self, model: RunModel) -> None:
        """Show the newest map of the chosen unit."""
        self._model = model
        names = [name for name in model.units if name in model.maps]
        if names != [self.unit_box.itemText(place) for place in range(self.unit_box.count())]:
            chosen = self.unit_box.currentText()
            self.unit_box.blockSignals(True)
            self.unit_box.clear()
            self.unit_box.addItems(names)
            self.unit_box.setCurrentIndex(max(0, self.unit_box.findText(chosen)))
            self.unit_box.blockSignals(False)
            self._choose_unit()
        else:
            self._redraw()

    def show_whole(self) -> None:
        """Zoom out to the whole map."""
        rows, columns = self._shown[2]
        self.parameters.plot.setRange(QRectF(0, 0, columns, rows), padding=0.0)

    def restyle(self) -> None:
        """Take the theme's colours."""
        self.canvas.setBackground(theme.current().plot)
        self.faults.title("known faults")
        for picture in (self.parameters, self.faults, self.wear):
            picture.restyle()
        self._redraw()

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Where there is little room, it belongs to the cells and not to words beside them."""
        super().resizeEvent(event)
        for picture in (self.parameters, self.faults, self.wear):
            picture.plot.getAxis("bottom").showLabel(self.height() >= _LOW)

    def _legend(self) -> QHBoxLayout:
        row = QHBoxLayout()
        row.addWidget(QLabel("Faults:"))
        for kind, colour in FAULT_COLOURS.items():
            patch = QWidget()
            patch.setFixedSize(14, 14)
            patch.setStyleSheet(f"background: {colour}; border: 1px solid #808080;")
            row.addWidget(patch)
            row.addWidget(self.counts[kind])
        row.addStretch()
        return row

    def _current(self) -> tuple[UnitInfo, MapTaken] | None:
        name = self.unit_box.currentText()
        if self._model is None or name not in self._model.maps or name not in self._model.units:
            return None
        return self._model.units[name], self._model.maps[name]

    def _choose_unit(self) -> None:
        current = self._current()
        if current is None:
            return
        views = list(views_of(current[0]))
        if views != [self.view_box.itemText(place) for place in range(self.view_box.count())]:
            self.view_box.blockSignals(True)
            self.view_box.clear()
            self.view_box.addItems(views)
            self.view_box.blockSignals(False)
        self._redraw()

    def _redraw(self) -> None:
        current = self._current()
        if current is None or self._model is None:
            return
        unit, taken = current
        view = max(0, self.view_box.currentIndex())
        layer = parameter_layer(unit, taken, view)
        self.parameters.show(layer)
        self.wear.show(wear_layer(unit, taken, view))
        known = self._model.faults.get(unit.name, taken.faults)
        self._codes = fault_layer(unit, known, view)
        self._block = (0, 0)
        self._fit_blocks()
        for kind, label in self.counts.items():
            cells = int(np.count_nonzero(known == kind))
            label.setText(f"{FAULT_WORDS[kind]} {cells:,} ({cells / max(known.size, 1):.1%})")
        self.taken_label.setText(f"step {taken.step}")
        shape = layer.values.shape
        if (unit.name, view, shape) != self._shown:
            self._shown = (unit.name, view, shape)
            for picture in (self.parameters, self.faults, self.wear):
                picture.plot.setLimits(xMin=-1, xMax=shape[1] + 1, yMin=-1, yMax=shape[0] + 1, minXRange=2, minYRange=2)
            self.show_whole()

    def _fit_blocks(self) -> None:
        """Where a pixel of the screen shows several cells, a faulty one must not vanish between healthy ones."""
        if self._model is None or self._current() is None:
            return
        box = self.faults.plot.getViewBox()
        cells = box.viewRect()
        block = (
            max(1, math.ceil(cells.height() / max(box.height(), 1.0))),
            max(1, math.ceil(cells.width() / max(box.width(), 1.0))),
        )
        if block == self._block:
            return
        self._block = block
        small = shrunk(self._codes, block)
        self.faults.image.setImage(small, autoLevels=False, levels=(0, len(FAULT_COLOURS)))
        self.faults.image.setRect(QRectF(0, 0, small.shape[1] * block[1], small.shape[0] * block[0]))

    def _hover(self, at: QPointF) -> None:
        self.hover_label.setText(self.text_at(at) or _HINT)

    def text_at(self, at: QPointF) -> str:
        """The words about the cell at a place of the canvas; "" beside the maps."""
        current = self._current()
        if current is None or self._model is None:
            return ""
        unit, taken = current
        for picture in (self.parameters, self.faults, self.wear):
            if picture.plot.isVisible() and picture.plot.getViewBox().sceneBoundingRect().contains(at):
                place = picture.plot.getViewBox().mapSceneToView(at)
                row, column = int(np.floor(place.y())), int(np.floor(place.x()))
                rows, columns = self._shown[2]
                if 0 <= row < rows and 0 <= column < columns:
                    faults, since = self._model.faults.get(unit.name), self._model.faulty_since.get(unit.name)
                    return cell_text(unit, taken, faults, since, row, column)
        return ""
