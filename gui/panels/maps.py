"""Maps of one unit: what its cells hold, which are faulty, how worn they are; of an optical one its mask and frame."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QPointF, QRectF
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QCheckBox, QComboBox, QHBoxLayout, QLabel, QPushButton, QWidget

from data.wording import count
from gui import theme
from gui.frame_layers import PIXEL_COLOURS, REGION_COLOUR, PixelKind, frame_counts, pixel_text
from gui.map_layers import (
    FAULT_COLOURS,
    FAULT_WORDS,
    cell_text,
    fault_layer,
    parameter_layer,
    shrunk,
    views_of,
    wear_layer,
)
from gui.map_picture import FramePicture, MapPicture
from gui.model import RunModel, Topic
from gui.panel import Panel
from gui.plots import yields
from pib_lab.events import MapTaken
from pib_lab.frames import FrameTaken
from pib_lab.records import UnitInfo

_HINT = "Point at a cell to see its row, column, value, pulses and fault. Wheel: zoom."
_FRAME_HINT = "Point at the mask or at the frame to see a phase, or counts and their region. Wheel: zoom."

_LOW = 320


class MapsPanel(Panel):
    """Of one unit the newest map that the run has sent: parameters, faults and wear. Of an optical one the mask, and
    what the camera saw last."""

    name: ClassVar[str] = "maps"
    title: ClassVar[str] = "Maps"
    topics: ClassVar[frozenset[Topic]] = frozenset({Topic.RUN, Topic.MAPS, Topic.FAULTS})
    empty_text: ClassVar[str] = (
        "Maps of each unit appear here: what its cells hold, which are faulty and since when, and how many pulses they "
        "have taken; of optical units the SLM's mask and the camera's frame with its regions.\n\nThe run sends maps "
        "every schedule.maps_every steps and with each scan for faults, and frames every schedule.entropies_every."
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
        self.view_label = QLabel("Show")
        for widget in (QLabel("Unit"), self.unit_box, self.view_label, self.view_box, self.wear_box, self.whole_button):
            top.addWidget(widget)
        top.addStretch()
        top.addWidget(self.taken_label)
        layout.addLayout(top)
        self.canvas = pg.GraphicsLayoutWidget()
        yields(self.canvas, 140)
        self.parameters = MapPicture(self.canvas, 0, "parameters")
        self.faults = MapPicture(self.canvas, 1, "known faults")
        self.wear = MapPicture(self.canvas, 2, "pulses")
        self.camera = FramePicture(self.canvas, 3)
        for picture in (self.faults, self.wear):
            picture.plot.setXLink(self.parameters.plot)
            picture.plot.setYLink(self.parameters.plot)
        self.parameters.scale()
        self.wear.scale()
        table = np.array([pg.mkColor(colour).getRgb() for colour in FAULT_COLOURS.values()], np.uint8)
        self.faults.image.setLookupTable(table)
        layout.addWidget(self.canvas, 1)
        self.counts = {kind: QLabel() for kind in FAULT_COLOURS}
        self.legend = _legend("Faults:", [(FAULT_COLOURS[kind], label) for kind, label in self.counts.items()])
        layout.addWidget(self.legend)
        self.saturated_label, self.left_out_label, self.regions_label = QLabel(), QLabel(), QLabel()
        self.frame_legend = _legend(
            "Frame:",
            [
                (PIXEL_COLOURS[PixelKind.SATURATED], self.saturated_label),
                (PIXEL_COLOURS[PixelKind.LEFT_OUT], self.left_out_label),
                (REGION_COLOUR, self.regions_label),
            ],
        )
        layout.addWidget(self.frame_legend)
        self.hover_label = QLabel(_HINT)
        self.hover_label.setWordWrap(True)
        layout.addWidget(self.hover_label)
        self._model: RunModel | None = None
        self._shown: tuple[str, int, tuple[int, ...]] = ("", -1, (0, 0))
        self._drawn: tuple[object, ...] = (None, None, None)
        self._block = (0, 0)
        self._codes = np.zeros((0, 0), np.uint8)
        self.unit_box.currentIndexChanged.connect(self._choose_unit)
        self.view_box.currentIndexChanged.connect(self._redraw)
        self.wear_box.toggled.connect(self._redraw)
        self.whole_button.clicked.connect(self.show_whole)
        self.canvas.scene().sigMouseMoved.connect(self._hover)
        self.faults.plot.sigRangeChanged.connect(self._fit_blocks)
        self.restyle()

    def is_empty(self, model: RunModel) -> bool:
        """Before the first map, and the first frame."""
        return not (model.maps or model.frames)

    def refresh(self, model: RunModel) -> None:
        """Show the newest map of the chosen unit."""
        self._model = model
        names = [name for name in model.units if name in model.maps or name in model.frames]
        if names != [self.unit_box.itemText(place) for place in range(self.unit_box.count())]:
            chosen = self.unit_box.currentText()
            self.unit_box.blockSignals(True)
            self.unit_box.clear()
            self.unit_box.addItems(names)
            self.unit_box.setCurrentIndex(max(0, self.unit_box.findText(chosen)))
            self.unit_box.blockSignals(False)
            self._choose_unit()
        elif any(new is not old for new, old in zip(self._newest(), self._drawn, strict=True)):
            self._redraw()  # maps of units that are not shown come many times as often

    def show_whole(self) -> None:
        """Zoom out to the whole map."""
        rows, columns = self._shown[2]
        self.parameters.plot.setRange(QRectF(0, 0, columns, rows), padding=0.0)
        self.camera.show_whole()

    def restyle(self) -> None:
        """Take the theme's colours."""
        self.canvas.setBackground(theme.current().plot)
        self.faults.title("known faults")
        for picture in (self.parameters, self.faults, self.wear, self.camera):
            picture.restyle()
        self._redraw()

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Where there is little room, it belongs to the cells and not to words beside them."""
        super().resizeEvent(event)
        for picture in (self.parameters, self.faults, self.wear, self.camera):
            picture.plot.getAxis("bottom").showLabel(self.height() >= _LOW)
        self.camera.keep_square(self.height() >= _LOW)

    def _newest(self) -> tuple[object, ...]:
        """What there is to be shown of the chosen unit: its map, its frame, its known faults."""
        assert self._model is not None
        name = self.unit_box.currentText()
        return self._model.maps.get(name), self._model.frames.get(name), self._model.faults.get(name)

    def _current(self) -> tuple[UnitInfo, MapTaken | None, FrameTaken | None] | None:
        name = self.unit_box.currentText()
        if self._model is None or name not in self._model.units:
            return None
        return self._model.units[name], self._model.maps.get(name), self._model.frames.get(name)

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
        if current is None:
            return
        unit, taken, frame = current
        self._drawn = self._newest()
        self._arrange(taken is not None, frame is not None)
        if self.hover_label.text() in (_HINT, _FRAME_HINT):
            self.hover_label.setText(_HINT if frame is None else _FRAME_HINT)
        if frame is not None:
            self._draw_frame(frame)
        if taken is not None:
            self._draw_maps(unit, taken, optical=frame is not None)
        told = [f"mask of step {taken.step}" if frame else f"step {taken.step}"] if taken is not None else []
        if frame is not None:
            told = [f"frame of step {frame.step}", *(told or ["no mask yet (schedule.maps_every)"])]
        self.taken_label.setText(", ".join(told))

    def _arrange(self, mapped: bool, optical: bool) -> None:
        """A unit that sees has no cells that could be faulty or worn."""
        shown = (
            (self.parameters.plot, mapped),
            (self.faults.plot, mapped and not optical),
            (self.wear.plot, mapped and not optical and self.wear_box.isChecked()),
            (self.camera.plot, optical),
            (self.legend, not optical),
            (self.frame_legend, optical),
            (self.wear_box, not optical),
            (self.view_label, not optical),
            (self.view_box, not optical),
        )
        for part, wanted in shown:
            part.setVisible(wanted)

    def _draw_frame(self, taken: FrameTaken) -> None:
        self.camera.show_frame(taken.frame)
        told = frame_counts(taken.frame, self.camera.kinds)
        share = told.saturated / max(taken.frame.pixels.size, 1)
        within = f", {count(told.in_regions)} in regions" if told.saturated else ""
        self.saturated_label.setText(f"saturated {count(told.saturated)} ({share:.1%}{within})")
        self.left_out_label.setText(f"dead or hot {count(told.left_out)}")
        self.regions_label.setText(f"regions {count(told.regions)}")

    def _draw_maps(self, unit: UnitInfo, taken: MapTaken, optical: bool) -> None:
        assert self._model is not None
        view = max(0, self.view_box.currentIndex())
        layer = parameter_layer(unit, taken, view)
        self.parameters.show(layer)
        if optical:
            self.parameters.title(f"SLM mask: {layer.title}")
        else:
            self.wear.show(wear_layer(unit, taken, view))
        known = self._model.faults.get(unit.name, taken.faults)
        self._codes = fault_layer(unit, known, view)
        self._block = (0, 0)
        self._fit_blocks()
        for kind, label in self.counts.items():
            cells = int(np.count_nonzero(known == kind))
            label.setText(f"{FAULT_WORDS[kind]} {cells:,} ({cells / max(known.size, 1):.1%})")
        shape = layer.values.shape
        if (unit.name, view, shape) != self._shown:
            self._shown = (unit.name, view, shape)
            for picture in (self.parameters, self.faults, self.wear):
                picture.plot.setLimits(xMin=-1, xMax=shape[1] + 1, yMin=-1, yMax=shape[0] + 1, minXRange=2, minYRange=2)
            self.show_whole()

    def _fit_blocks(self) -> None:
        """Where a pixel of the screen shows several cells, a faulty one must not vanish between healthy ones."""
        block = self.faults.block()
        if not self._codes.size or block == self._block:
            return
        self._block = block
        small = shrunk(self._codes, block)
        self.faults.image.setImage(small, autoLevels=False, levels=(0, len(FAULT_COLOURS)))
        self.faults.image.setRect(QRectF(0, 0, small.shape[1] * block[1], small.shape[0] * block[0]))

    def _hover(self, at: QPointF) -> None:
        current = self._current()
        hint = _FRAME_HINT if current is not None and current[2] is not None else _HINT
        self.hover_label.setText(self.text_at(at) or hint)

    def text_at(self, at: QPointF) -> str:
        """The words about the cell, or the pixel, at a place of the canvas; "" beside the pictures."""
        current = self._current()
        if current is None or self._model is None:
            return ""
        unit, taken, frame = current
        if frame is not None and (pixel := self.camera.place_at(at, frame.frame.pixels.shape)) is not None:
            return pixel_text(frame.frame, *pixel)
        for picture in (self.parameters, self.faults, self.wear):
            cell = picture.place_at(at, self._shape)
            if taken is not None and cell is not None:
                faults, since = self._model.faults.get(unit.name), self._model.faulty_since.get(unit.name)
                return cell_text(unit, taken, faults, since, *cell)
        return ""

    @property
    def _shape(self) -> tuple[int, int]:
        rows, columns = self._shown[2]
        return rows, columns


def _legend(words: str, entries: list[tuple[str, QLabel]]) -> QWidget:
    legend = QWidget()
    row = QHBoxLayout(legend)
    row.setContentsMargins(0, 0, 0, 0)
    row.addWidget(QLabel(words))
    for colour, label in entries:
        patch = QWidget()
        patch.setFixedSize(14, 14)
        patch.setStyleSheet(f"background: {colour}; border: 1px solid #808080;")
        row.addWidget(patch)
        row.addWidget(label)
    row.addStretch()
    return legend
