"""Plots of curves against step, as the panels share them: themed axes, thinned curves, a cursor."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyqtgraph as pg
from PySide6.QtCore import Qt
from PySide6.QtGui import QPainter
from PySide6.QtWidgets import QGraphicsItem, QSizePolicy, QSpinBox, QWidget

from gui import theme
from gui.curves import Curve, Numbers, Thinned

_MOST, _FEWEST = 1200, 200
"""Points drawn of one curve: about two for each column of pixels."""

_MANTISSAS = (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)
"""Where the axis of steps may end: it moves seldom, for drawing an axis anew costs more than a curve does."""

_DENSE = 250
"""A curve of more points is drawn one pixel wide, which is many times quicker and looks the same in a crowd."""

_WIDTHS = {"line": 2.0, "thin": 1.0, "ghost": 1.0, "limit": 1.5, "points": 1.0}
_LINES = {"ghost": Qt.PenStyle.DotLine, "limit": Qt.PenStyle.DashLine}

_MARK = 3.5
"""Radius of a mark, in pixels."""

_ROOM, _LEAST = 0.1, 0.5
"""Room above and below the curves, and how much of the height they have to fill, each as a part of it."""

_UNKNOWN = (0.0, -1.0)


@dataclass(slots=True)
class Drawn:
    """One curve as it is drawn. style: "line", "thin", "ghost", "points"; polygon: its points, for Qt."""

    number: int
    style: str
    steps: Numbers
    values: Numbers
    polygon: Any
    pen: Any


class _Lines(pg.UIGraphicsItem):  # type: ignore[misc]  # pyqtgraph has no types
    """All curves of a plot in one item: it is given new points many times as quickly as an item for each curve."""

    def __init__(self) -> None:
        super().__init__()
        self.curves: dict[Hashable, Drawn] = {}

    def paint(self, painter: QPainter, *_: object) -> None:
        """Draw them all, the first ones below."""
        for drawn in self.curves.values():
            painter.setPen(drawn.pen)
            painter.drawPolyline(drawn.polygon)
        for drawn in self.curves.values():
            if drawn.style == "points":
                self._paint_points(painter, drawn)

    def _paint_points(self, painter: QPainter, drawn: Drawn) -> None:
        """Round marks, as large at any zoom."""
        places = painter.transform().map(drawn.polygon)
        painter.save()
        painter.resetTransform()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(pg.mkPen(theme.current().plot))
        painter.setBrush(pg.mkBrush(theme.series(drawn.number)))
        for place in places:
            painter.drawEllipse(place, _MARK, _MARK)
        painter.restore()


class CurvePlot(pg.PlotWidget):  # type: ignore[misc]
    """Curves by key. moved: is called with the step under the cursor, and with None when it leaves the plot."""

    def __init__(self, left: str, bottom: str, moved: Callable[[float | None], None] | None = None) -> None:
        super().__init__(axisItems={"left": _ShortAxis("left")}, enableMenu=False)
        self.texts = left, bottom
        self._limits: dict[str, Any] = {}
        self._thinned: dict[Hashable, Thinned] = {}
        self._moved = moved
        self._zoomed = False
        self._last: float | None = 0.0
        self._top: float | None = None
        self._shown = _UNKNOWN, _UNKNOWN
        self.setMinimumSize(160, 70)
        box = self.getPlotItem().getViewBox()
        box.disableAutoRange()
        box.sigRangeChangedManually.connect(self._note_zoom)
        for side in ("left", "bottom"):
            self.getAxis(side).setStyle(maxTickLevel=0)
            self.getAxis(side).enableAutoSIPrefix(False)
            # Curves move many times a second and axes seldom: without it, each frame would draw all numbers anew.
            self.getAxis(side).setCacheMode(QGraphicsItem.CacheMode.DeviceCoordinateCache)
        self.hideButtons()
        self._lines = _Lines()
        self.addItem(self._lines, ignoreBounds=True)
        self.cursor_line = pg.InfiniteLine(angle=90, movable=False)
        self.cursor_line.hide()
        self.addItem(self.cursor_line, ignoreBounds=True)
        if moved is not None:
            self.scene().sigMouseMoved.connect(self._mouse_moved)
        self.restyle()

    @property
    def curves(self) -> Mapping[Hashable, Drawn]:
        """What is drawn, by key."""
        return self._lines.curves

    def draw(self, key: Hashable, steps: Numbers, values: Numbers, number: int, style: str = "line") -> None:
        """Show these points as the curve `key`, in the colour of series `number`; style: "line", "ghost", "points"."""
        if style == "line" and len(steps) > _DENSE:
            style = "thin"
        drawn = self._lines.curves.get(key)
        if drawn is None or (drawn.number, drawn.style) != (number, style):
            pen = self._pen(theme.series(number), style)
            drawn = self._lines.curves[key] = Drawn(number, style, steps, values, None, pen)
        drawn.polygon = pg.functions.create_qpolygonf(len(steps))
        points = pg.functions.ndarray_from_qpolygonf(drawn.polygon)
        points[:, 0], points[:, 1] = steps, values
        drawn.steps, drawn.values = points[:, 0], points[:, 1]
        self._lines.update()

    def draw_curve(
        self, key: Hashable, curve: Curve, number: int, window: int = 1, style: str = "line", factor: float = 1.0
    ) -> None:
        """`draw` of a curve, smoothed over `window` points, thinned, and times `factor`."""
        most = min(_MOST, max(_FEWEST, 2 * self.width()))
        known = self._thinned.get(key)
        if known is None or (known.most, known.window) != (most, window):
            known = self._thinned[key] = Thinned(most, window)
        steps, values = known.of(curve)
        self.draw(key, steps, values * factor if factor != 1.0 else values, number, style)

    def forget(self, keep: Callable[[Hashable], bool] = lambda _: False) -> None:
        """Take curves away: all but those whose key is to be kept."""
        for key in [key for key in self._lines.curves if not keep(key)]:
            del self._lines.curves[key]
            self._thinned.pop(key, None)
        self._lines.update()

    def limit(self, name: str, value: float, text: str) -> None:
        """A dashed line over the whole width, with a label."""
        if name not in self._limits:
            options = {"position": 0.03, "anchors": [(0, 0), (0, 0)], "color": theme.current().muted}
            line = pg.InfiniteLine(angle=0, movable=False, label=text, labelOpts=options)
            line.setPen(self._pen(theme.current().muted, "limit"))
            self.addItem(line)
            self._limits[name] = line
        self._limits[name].setValue(value)
        self._limits[name].label.setFormat(text)

    def fit(self, last: float | None = None) -> None:
        """Show all curves, up to step `last` (None: as far as they go), unless someone has zoomed."""
        self._last = last
        if self._zoomed or not self._lines.curves:
            return
        across = (0.0, rounded_up(last)) if last is not None else self._span(lambda drawn: drawn.steps, 0)
        up = (0.0, self._top) if self._top is not None else self._span(lambda drawn: drawn.values, 1)
        if (across, up) != self._shown:
            self._shown = across, up
            self.setXRange(*across, padding=0.04 if last is not None else 0.0)
            self.setYRange(*up, padding=0.0)

    def show_all(self) -> None:
        """Undo what has been zoomed and moved; a double click does it."""
        self._zoomed = False
        self._shown = _UNKNOWN, _UNKNOWN
        self.fit(self._last)

    def fix(self, top: float | None) -> None:
        """Show values from 0 to `top`, whatever the curves hold; None: as they are."""
        self._top = top

    def _span(self, side: Callable[[Drawn], Numbers], axis: int) -> tuple[float, float]:
        """From the smallest to the largest number, with some room; as it was, while that suits: an axis that moves
        costs more than a curve does, and is hard to read."""
        parts = [part for drawn in self._lines.curves.values() if len(part := side(drawn))]
        if not parts:
            return 0.0, 1.0
        low, high = min(float(part.min()) for part in parts), max(float(part.max()) for part in parts)
        if low == high == 0.0:
            return 0.0, 1.0
        room = max(high - low, 1e-3 * abs(high), 1e-12)
        known_low, known_high = self._shown[axis]
        if known_low <= low and high <= known_high and room >= _LEAST * (known_high - known_low):
            return known_low, known_high
        return low - _ROOM * room, high + _ROOM * room

    def show_cursor(self, step: float | None) -> None:
        """Mark a step, or none."""
        self.cursor_line.setVisible(step is not None)
        if step is not None:
            self.cursor_line.setValue(step)

    def restyle(self) -> None:
        """Take the theme's colours."""
        now = theme.current()
        self.setBackground(now.plot)
        for side, words in zip(("left", "bottom"), self.texts, strict=True):
            axis = self.getAxis(side)
            axis.setPen(now.grid)
            axis.setTextPen(now.text)
            if words:
                axis.setLabel(words, color=now.text)
        self.getAxis("left").setWidth(round(58 * theme.text_size()))
        self.showGrid(x=False, y=True, alpha=0.25)
        self.cursor_line.setPen(pg.mkPen(now.text, width=1))
        for line in self._limits.values():
            line.setPen(self._pen(now.muted, "limit"))
            line.label.setColor(now.muted)
        for drawn in self._lines.curves.values():
            drawn.pen = self._pen(theme.series(drawn.number), drawn.style)
        self._lines.update()

    def _pen(self, colour: str, style: str) -> Any:
        return pg.mkPen(colour, width=_WIDTHS[style], style=_LINES.get(style, Qt.PenStyle.SolidLine))

    def _mouse_moved(self, position: Any) -> None:
        assert self._moved is not None
        box = self.getPlotItem().getViewBox()
        inside = box.sceneBoundingRect().contains(position)
        self._moved(float(box.mapSceneToView(position).x()) if inside else None)

    def mouseDoubleClickEvent(self, event: Any) -> None:
        """Show all again."""
        super().mouseDoubleClickEvent(event)
        self.show_all()

    def _note_zoom(self, *_: object) -> None:
        self._zoomed = True

    def leaveEvent(self, event: Any) -> None:
        """The cursor left the plot."""
        super().leaveEvent(event)
        if self._moved is not None:
            self._moved(None)


class _ShortAxis(pg.AxisItem):  # type: ignore[misc]
    """Writes 1500000 as 1.5M, so that the numbers always fit."""

    def tickStrings(self, values: Sequence[float], scale: float, spacing: float) -> list[str]:
        """Texts of the ticks."""
        largest = max((abs(value) for value in values), default=0.0)
        for factor, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
            if largest >= 10 * factor or (largest >= factor and factor > 1e3):
                return [f"{value / factor:g}{letter}" if value else "0" for value in values]
        return [str(text) for text in super().tickStrings(values, scale, spacing)]


def smoothing_box(unit: str, value: int = 1) -> QSpinBox:
    """Over how much a curve's mean is taken; 1 is none."""
    box = QSpinBox()
    box.setRange(1, 1000)
    box.setValue(value)
    box.setSuffix(f" {unit}")
    box.setSpecialValueText("off")
    box.setAccessibleName("smoothing")
    return box


def yields(widget: QWidget, least: int) -> None:
    """Let `widget` take the height that is left, `least` pixels at least, whatever it would like to have."""
    widget.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Ignored)
    widget.setMinimumHeight(least)


def rounded_up(last: float) -> float:
    """The next number of a short list of round ones, 10 at least."""
    size = 10.0 ** math.floor(math.log10(max(last, 10.0)))
    return next((size * mantissa for mantissa in _MANTISSAS if size * mantissa >= last), 10.0 * size)


def chip(name: str, number: int, text: str = "") -> str:
    """A legend's entry as rich text: a mark in the colour of series `number`, the name, and what follows."""
    words = f"<b>{name}</b> {text}".replace(" ", "&nbsp;")
    return f'<span style="color:{theme.series(number)}; font-size:15pt;">▬</span>&nbsp;{words}'
