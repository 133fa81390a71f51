"""One picture of rows and columns, with its axes and its scale: a map, or a camera's frame with what is drawn on it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QPointF, QRectF

from gui import theme
from gui.frame_layers import PIXEL_COLOURS, REGION_COLOUR, PixelKind, averaged, outlines, pixel_kinds
from gui.map_layers import Layer, Picture, shrunk
from pib_lab.frames import CameraFrame


class MapPicture:
    """A plot with one image, row 0 at the top, and a colour bar where the colours are a scale."""

    def __init__(self, into: Any, column: int, title: str) -> None:
        self.plot = into.addPlot(row=0, column=column, enableMenu=False)
        self.image = pg.ImageItem(axisOrder="row-major")
        self.plot.addItem(self.image)
        self.plot.invertY(True)
        self.plot.hideButtons()
        self.bar: Any = None
        self._scale: tuple[str, float, float] | None = None
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
            hidden = bool(axis.labelText) and not axis.label.isVisibleTo(axis)
            axis.setLabel(words, color=now.text)
            axis.showLabel(not hidden)
        self.title(self.plot.titleLabel.text)
        if self.bar is not None:
            self.bar.axis.setTextPen(now.text)

    def show(self, layer: Layer) -> None:
        """Show a layer with its scale."""
        self.title(layer.title)
        self.image.setImage(layer.values, autoLevels=False, levels=(layer.low, layer.high))
        self.image.setRect(QRectF(0, 0, layer.values.shape[1], layer.values.shape[0]))
        scale = layer.colours, layer.low, layer.high
        if scale != self._scale:  # a colour bar that is drawn anew costs more than the map
            self._scale = scale
            self.bar.setColorMap(pg.colormap.get(layer.colours))
            self.bar.setLevels((layer.low, layer.high))

    def block(self) -> tuple[int, int]:
        """Rows and columns that lie under one pixel of the screen, at least 1."""
        box = self.plot.getViewBox()
        seen = box.viewRect()
        return (
            max(1, math.ceil(seen.height() / max(box.height(), 1.0))),
            max(1, math.ceil(seen.width() / max(box.width(), 1.0))),
        )

    def place_at(self, at: QPointF, shape: tuple[int, int]) -> tuple[int, int] | None:
        """Row and column under a place of the canvas; None beside the picture, whose shape this is."""
        box = self.plot.getViewBox()
        if not (self.plot.isVisible() and box.sceneBoundingRect().contains(at)):
            return None
        place = box.mapSceneToView(at)
        row, column = int(np.floor(place.y())), int(np.floor(place.x()))
        return (row, column) if 0 <= row < shape[0] and 0 <= column < shape[1] else None


class FramePicture(MapPicture):
    """A camera's frame in gray, on it the regions, and the pixels that are saturated or left out."""

    def __init__(self, into: Any, column: int) -> None:
        super().__init__(into, column, "camera frame (counts)")
        self.scale()
        self.bar.setColorMap(pg.colormap.get("CET-L1"))
        self.marks = pg.ImageItem(axisOrder="row-major")
        table = np.zeros((len(PixelKind), 4), np.uint8)
        for kind, colour in PIXEL_COLOURS.items():
            table[kind] = pg.mkColor(colour).getRgb()
        self.marks.setLookupTable(table)
        self.regions = pg.PlotCurveItem(connect="finite", pen=pg.mkPen(REGION_COLOUR, width=1))
        for item in (self.marks, self.regions):
            self.plot.addItem(item)
        self._square = False
        self.frame: CameraFrame | None = None
        self.kinds: Picture = np.zeros((0, 0), np.uint8)
        self._block = (0, 0)
        self.plot.sigRangeChanged.connect(lambda *_: self._fit())

    def show_frame(self, frame: CameraFrame) -> None:
        """Show this frame. At first, and where another one has another shape, the whole of it."""
        anew = self.frame is None or self.frame.pixels.shape != frame.pixels.shape
        if anew or self.frame is None or not np.array_equal(self.frame.regions, frame.regions):
            self.regions.setData(*outlines(frame))
        self.frame, self.kinds, self._block = frame, pixel_kinds(frame), (0, 0)
        if anew:
            self.show_whole()
        self._fit()

    def keep_square(self, wanted: bool) -> None:
        """Whether pixels are drawn square, or stretched to fill the room there is."""
        if wanted != self._square:
            self._square = wanted
            self.plot.setAspectLocked(wanted)
            self.show_whole()

    def show_whole(self) -> None:
        """Zoom out to the whole frame."""
        if self.frame is not None:
            rows, columns = self.frame.pixels.shape
            self.plot.setRange(QRectF(0, 0, columns, rows), padding=0.0)

    def _fit(self) -> None:
        """Where a pixel of the screen shows several of the frame, a saturated one must not vanish between others."""
        block = self.block()
        if self.frame is None or block == self._block:
            return
        self._block = block
        gray, codes = averaged(self.frame.pixels, block), shrunk(self.kinds, block)
        self.image.setImage(gray, autoLevels=False, levels=(0, self.frame.saturated_level))
        self.marks.setImage(codes, autoLevels=False, levels=(0, len(PixelKind)))
        self.bar.setLevels((0, self.frame.saturated_level))
        whole = QRectF(0, 0, codes.shape[1] * block[1], codes.shape[0] * block[0])
        self.image.setRect(whole)
        self.marks.setRect(whole)
