"""Plots of curves against step, as the panels share them: themed axes, thinned curves, a cursor."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QSizePolicy, QWidget

from gui import theme
from gui.curves import Curve, Numbers, smoothed, thinned

_MOST, _FEWEST = 1200, 200
"""Points drawn of one curve: about two for each column of pixels."""

_MANTISSAS = (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)
"""Where the axis of steps may end: it moves seldom, for drawing an axis anew costs more than a curve does."""

_DENSE = 250
"""A curve of more points is drawn one pixel wide, which is many times quicker and looks the same in a crowd."""

_WIDTHS = {"line": 2.0, "thin": 1.0, "ghost": 1.0, "limit": 1.5}
_LINES = {"ghost": Qt.PenStyle.DotLine, "limit": Qt.PenStyle.DashLine}


class CurvePlot(pg.PlotWidget):  # type: ignore[misc]  # pyqtgraph has no types
    """Curves by key. moved: is called with the step under the cursor, and with None when it leaves the plot."""

    def __init__(self, left: str, bottom: str, moved: Callable[[float | None], None] | None = None) -> None:
        super().__init__(axisItems={"left": _ShortAxis("left")})
        self.texts = left, bottom
        self._curves: dict[Hashable, tuple[Any, int, str]] = {}
        self._limits: dict[str, Any] = {}
        self._dense: set[Hashable] = set()
        self._moved = moved
        self._zoomed = False
        self._fixed = False
        self._end = 0.0
        self.setMinimumSize(160, 70)
        self.getPlotItem().getViewBox().sigRangeChangedManually.connect(self._note_zoom)
        for side in ("left", "bottom"):
            self.getAxis(side).setStyle(maxTickLevel=0)
        self.setMenuEnabled(False)
        self.hideButtons()
        self.cursor_line = pg.InfiniteLine(angle=90, movable=False)
        self.cursor_line.hide()
        self.addItem(self.cursor_line, ignoreBounds=True)
        if moved is not None:
            self.scene().sigMouseMoved.connect(self._mouse_moved)
        self.restyle()

    def draw(self, key: Hashable, steps: Numbers, values: Numbers, number: int, style: str = "line") -> None:
        """Show these points as the curve `key`, in the colour of series `number`; style: "line", "ghost", "points"."""
        if key not in self._curves:
            item = self.plot()
            self._curves[key] = item, number, style
            self._paint(item, number, style)
        item = self._curves[key][0]
        item.setData(*_whole(steps, values))
        if style == "line" and (len(steps) > _DENSE) != (key in self._dense):
            self._dense ^= {key}
            self._paint(item, number, "thin" if key in self._dense else style)

    def draw_curve(self, key: Hashable, curve: Curve, number: int, window: int = 1, style: str = "line") -> None:
        """`draw` of a curve, smoothed over `window` points, and thinned."""
        most = min(_MOST, max(_FEWEST, 2 * self.width()))
        self.draw(key, *thinned(curve.steps, smoothed(curve.values, window), most), number, style)

    def forget(self, keep: Callable[[Hashable], bool] = lambda _: False) -> None:
        """Take curves away: all but those whose key is to be kept."""
        for key in [key for key in self._curves if not keep(key)]:
            self.removeItem(self._curves.pop(key)[0])
            self._dense.discard(key)

    def limit(self, name: str, value: float, text: str) -> None:
        """A dashed line over the whole width, with a label."""
        if name not in self._limits:
            options = {"position": 0.03, "anchors": [(0, 1), (0, 1)], "color": theme.current().muted}
            line = pg.InfiniteLine(angle=0, movable=False, label=text, labelOpts=options)
            line.setPen(self._pen(theme.current().muted, "limit"))
            self.addItem(line)
            self._limits[name] = line
        self._limits[name].setValue(value)
        self._limits[name].label.setFormat(text)

    def fit(self, last: float) -> None:
        """Show all steps up to `last`, unless someone has zoomed; a double click shows all again."""
        end = rounded_up(last)
        if not self._zoomed and end != self._end:
            self._end = end
            self.setXRange(0.0, end, padding=0.04)

    def show_all(self) -> None:
        """Undo what has been zoomed and moved."""
        self._zoomed = False
        self._end = 0.0
        self.enableAutoRange(y=not self._fixed)

    def fix(self, top: float) -> None:
        """Show values from 0 to `top`, whatever the curves hold."""
        self._fixed = True
        self.setYRange(0.0, top, padding=0.0)

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
        self.getAxis("left").setWidth(58)
        self.showGrid(x=False, y=True, alpha=0.25)
        self.cursor_line.setPen(pg.mkPen(now.text, width=1))
        for line in self._limits.values():
            line.setPen(self._pen(now.muted, "limit"))
            line.label.setColor(now.muted)
        for key, (item, number, style) in self._curves.items():
            self._paint(item, number, "thin" if key in self._dense else style)

    def _paint(self, item: Any, number: int, style: str) -> None:
        colour = theme.series(number)
        if style == "points":
            item.setPen(pg.mkPen(colour, width=1))
            item.setSymbol("o")
            item.setSymbolSize(7)
            item.setSymbolBrush(colour)
            item.setSymbolPen(theme.current().plot)
        else:
            item.setPen(self._pen(colour, style))

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


def yields(widget: QWidget, least: int) -> None:
    """Let `widget` take the height that is left, `least` pixels at least, whatever it would like to have."""
    widget.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Ignored)
    widget.setMinimumHeight(least)


def rounded_up(last: float) -> float:
    """The next number of a short list of round ones, 10 at least."""
    size = 10.0 ** math.floor(math.log10(max(last, 10.0)))
    return next((size * mantissa for mantissa in _MANTISSAS if size * mantissa >= last), 10.0 * size)


def _whole(steps: Numbers, values: Numbers) -> tuple[Numbers, Numbers]:
    """Copies: what is drawn must not move when the curve grows."""
    return np.array(steps), np.array(values)


def chip(name: str, number: int, text: str = "") -> str:
    """A legend's entry as rich text: a mark in the colour of series `number`, the name, and what follows."""
    return f'<span style="color:{theme.series(number)}; font-size:15pt;">▬</span>&nbsp;<b>{name}</b>&nbsp;{text}'
