"""Live entropy: mutual information of every unit with the network's input and with the target, and both in a plane."""

from __future__ import annotations

import html
import math
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QComboBox, QHBoxLayout, QLabel, QSizePolicy, QSplitter

from gui.curves import Curve, Thinned
from gui.model import RunModel, Topic, UnitCurves
from gui.panel import Panel
from gui.plots import CurvePlot, chip, smoothing_box, yields
from gui.readout import Readout

if TYPE_CHECKING:
    from gui.desk import Desk

_TRAIL = 300
"""Points of one unit's way through the information plane."""


class EntropyPanel(Panel):
    """I(X;Z) and I(Z;Y) in bits against step, with the ceiling log2 n, and the information plane."""

    name: ClassVar[str] = "entropy"
    title: ClassVar[str] = "Entropy"
    topics: ClassVar[frozenset[Topic]] = frozenset({Topic.RUN, Topic.ENTROPY})
    empty_text: ClassVar[str] = (
        "What each unit knows appears here: I(X;Z), of the network's input, and I(Z;Y), of the target, in bits against "
        "step, under the ceiling log2 n.\n\nA run computes them every schedule.entropies_every steps."
    )

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        layout = self.filled()
        self.smoothing = smoothing_box("points")
        self.ghost_box = GhostBox(desk)
        top = QHBoxLayout()
        for widget in (QLabel("Smooth over"), self.smoothing, QLabel("   Past run"), self.ghost_box):
            top.addWidget(widget)
        top.addStretch()
        self.step_label = Readout()
        top.addWidget(self.step_label)
        layout.addLayout(top)
        self.input_plot = CurvePlot("I(X;Z) (bits)", "", self.point_at)
        self.target_plot = CurvePlot("I(Z;Y) (bits)", "step", self.point_at)
        self.plane_plot = CurvePlot("I(Z;Y) (bits)", "I(X;Z) (bits)")
        self.input_plot.setXLink(self.target_plot)
        self.curves_splitter = QSplitter(Qt.Orientation.Vertical)
        self.curves_splitter.addWidget(self.input_plot)
        self.curves_splitter.addWidget(self.target_plot)
        splitter = QSplitter(Qt.Orientation.Horizontal)
        splitter.addWidget(self.curves_splitter)
        splitter.addWidget(self.plane_plot)
        splitter.setSizes([600, 400])
        yields(splitter, 170)
        layout.addWidget(splitter, 1)
        self.readout = Readout()
        self.readout.setWordWrap(True)
        self.readout.setTextFormat(Qt.TextFormat.RichText)
        layout.addWidget(self.readout)
        self.cursor_step: float | None = None
        self._trails: dict[str, tuple[Thinned, Thinned]] = {}
        self._run = ""
        self._ceiling = math.nan
        self._model = desk.model
        self.smoothing.valueChanged.connect(lambda _: self.show_model(self._model))
        desk.ghost_changed.connect(self._drop_ghost)

    def is_empty(self, model: RunModel) -> bool:
        """Before the first entropies."""
        return not any(len(curves.i_xz) for curves in model.curves.values())

    def refresh(self, model: RunModel) -> None:
        """Draw all units' curves."""
        self._model = model
        if model.name != self._run:
            self._run = model.name
            for plot in self._plots:
                plot.forget()
                plot.show_all()
                plot.fix(None)
            self._ceiling = math.nan
            self._trails.clear()
        window = self.smoothing.value()
        ghost = self.desk.ghost
        for number, (name, curves) in enumerate(model.curves.items()):
            self.input_plot.draw_curve(name, curves.i_xz, number, window)
            self.target_plot.draw_curve(name, curves.i_zy, number, window)
            self._draw_in_plane(name, curves, number, window)
            if ghost is not None and name in ghost.units:
                past = past_curves(ghost.steps["step"], ghost.units[name])
                self.input_plot.draw_curve(("ghost", name), past.i_xz, number, window, "ghost")
                self.target_plot.draw_curve(("ghost", name), past.i_zy, number, window, "ghost")
        self._show_ceiling(model.ceiling_bits)
        for plot in (self.input_plot, self.target_plot):
            plot.fit(model.progress[0])
        self.plane_plot.fit()
        self._show_readout()

    def restyle(self) -> None:
        """Take the theme's colours."""
        for plot in self._plots:
            plot.restyle()

    def point_at(self, step: float | None) -> None:
        """Read all curves at `step`; None: at their end."""
        self.cursor_step = step
        for plot in (self.input_plot, self.target_plot):
            plot.show_cursor(step)
        self._show_readout(at_once=True)

    @property
    def _plots(self) -> tuple[CurvePlot, CurvePlot, CurvePlot]:
        return self.input_plot, self.target_plot, self.plane_plot

    def _draw_in_plane(self, name: str, curves: UnitCurves, number: int, window: int) -> None:
        trails = self._trails.get(name)
        if trails is None or trails[0].window != window:
            made = [Thinned(_TRAIL, window, extreme=False) for _ in range(2)]
            trails = self._trails[name] = (made[0], made[1])
        (_, across), (_, up) = trails[0].of(curves.i_xz), trails[1].of(curves.i_zy)
        count = min(len(across), len(up))
        across, up = across[:count], up[:count]
        self.plane_plot.draw(name, across, up, number)
        self.plane_plot.draw(("now", name), across[-1:], up[-1:], number, "points")

    def _show_ceiling(self, bits: float) -> None:
        if math.isnan(bits):
            return
        if bits != self._ceiling:
            self._ceiling = bits
            for plot in (self.input_plot, self.target_plot):
                plot.limit("ceiling", bits, f"log2 n = {bits:.2f} bits")
                plot.fix(1.15 * bits)

    def _show_readout(self, *, at_once: bool = False) -> None:
        """The legend, and what every curve says at the cursor."""
        step = self.cursor_step
        entries = []
        for number, (name, curves) in enumerate(self._model.curves.items()):
            bits = (at(curves.i_xz, step), at(curves.i_zy, step))
            words = " / ".join(f"{value:.2f}" if math.isfinite(value) else "–" for value in bits)
            entries.append(chip(html.escape(name), number, words))
        self.readout.say(" &nbsp;&nbsp; ".join(entries) + " &nbsp;&nbsp; I(X;Z) / I(Z;Y) in bits", at_once=at_once)
        self.step_label.say("latest values" if step is None else f"at step {max(0, round(step)):,}", at_once=at_once)

    def _drop_ghost(self) -> None:
        for plot in self._plots:
            plot.forget(keep=lambda key: not (isinstance(key, tuple) and key[0] == "ghost"))


def at(curve: Curve, step: float | None) -> float:
    """The curve's value at `step`, or its newest; NaN before its first point."""
    return curve.last if step is None else curve.value_at(step)


def past_curves(steps: np.ndarray[tuple[int, ...], np.dtype[np.int64]], columns: object) -> UnitCurves:
    """The entropies of a unit of a past run, from the columns of its file."""
    made = UnitCurves()
    for name in ("i_xz", "i_zy", "loss"):
        getattr(made, name).extend(steps, columns[name])  # type: ignore[index]
    return made


class GhostBox(QComboBox):
    """Chooses a past run to be drawn, dotted, behind the curves; lists the runs anew whenever it is opened."""

    def __init__(self, desk: Desk) -> None:
        super().__init__()
        self.desk = desk
        self.setAccessibleName("past run")
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        self.setMinimumContentsLength(18)
        self.addItem("none", None)
        self.activated.connect(lambda place: desk.choose_ghost(self.itemData(place)))

    def showPopup(self) -> None:
        """List the runs, the newest first, and open."""
        self.list_runs()
        super().showPopup()

    def list_runs(self) -> None:
        """The runs that there are now."""
        chosen: Path | None = self.currentData()
        self.clear()
        self.addItem("none", None)
        for folder in self.desk.runs():
            if folder != self.desk.model.folder:
                self.addItem(folder.name, folder)
        self.setCurrentIndex(max(0, self.findData(chosen)))
