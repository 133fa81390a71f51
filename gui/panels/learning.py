"""Learning: loss of every unit, accuracy of the network, and what it has cost in passes and pulses."""

from __future__ import annotations

import html
import math
from typing import TYPE_CHECKING, ClassVar

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QHBoxLayout, QLabel, QSplitter

from gui.curves import Curve
from gui.model import RunModel, Topic
from gui.panel import Panel
from gui.panels.entropy import at, past_curves
from gui.plots import CurvePlot, chip, smoothing_box, yields
from gui.readout import Readout

if TYPE_CHECKING:
    from gui.desk import Desk

_SPLITS = {"validation": 1, "test": 2}
"""Number of the colour of each split; the batches have 0."""


class LearningPanel(Panel):
    """Loss and accuracy against step, passes and pulses beside them."""

    name: ClassVar[str] = "learning"
    title: ClassVar[str] = "Learning"
    topics: ClassVar[frozenset[Topic]] = frozenset({Topic.RUN, Topic.LEARNING, Topic.COSTS})
    empty_text: ClassVar[str] = (
        "How well the network learns appears here: the loss of each unit, the accuracy of the network on its batches, "
        "on the validation and on the test samples, and the passes and pulses it has cost."
    )

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        layout = self.filled()
        self.smoothing = smoothing_box("steps", 10)
        self.costs_label = Readout()
        top = QHBoxLayout()
        top.addWidget(QLabel("Smooth over"))
        top.addWidget(self.smoothing)
        top.addStretch()
        top.addWidget(self.costs_label)
        layout.addLayout(top)
        self.accuracy_plot = CurvePlot("accuracy (%)", "", self.point_at)
        self.accuracy_plot.fix(112.0)
        self.loss_plot = CurvePlot("loss", "step", self.point_at)
        self.passes_plot = CurvePlot("passes", "", self.point_at)
        self.pulses_plot = CurvePlot("pulses", "step", self.point_at)
        columns = QSplitter(Qt.Orientation.Horizontal)
        for upper, lower in ((self.accuracy_plot, self.loss_plot), (self.passes_plot, self.pulses_plot)):
            column = QSplitter(Qt.Orientation.Vertical)
            column.addWidget(upper)
            column.addWidget(lower)
            columns.addWidget(column)
        columns.setSizes([600, 300])
        yields(columns, 170)
        layout.addWidget(columns, 1)
        self.readout = Readout()
        self.readout.setWordWrap(True)
        self.readout.setTextFormat(Qt.TextFormat.RichText)
        layout.addWidget(self.readout)
        self.cursor_step: float | None = None
        self._run = ""
        self._model = desk.model
        self.smoothing.valueChanged.connect(lambda _: self.show_model(self._model))
        desk.ghost_changed.connect(lambda: self._forget_ghosts())

    def is_empty(self, model: RunModel) -> bool:
        """Before the first step."""
        return not len(model.accuracy)

    def refresh(self, model: RunModel) -> None:
        """Draw all curves."""
        self._model = model
        if model.name != self._run:
            self._run = model.name
            for plot in self._plots:
                plot.forget()
                plot.show_all()
        window = self.smoothing.value()
        self.accuracy_plot.draw_curve("batch", model.accuracy, 0, window, factor=100.0)
        for split, evaluated in model.evaluations.items():
            number = _SPLITS.get(split, 3)
            self.accuracy_plot.draw_curve(split, evaluated.accuracy, number, 1, "points", factor=100.0)
        for number, (name, curves) in enumerate(model.curves.items()):
            self.loss_plot.draw_curve(name, curves.loss, number, window)
        self.passes_plot.draw_curve("passes", model.pass_counts, 0)
        self.pulses_plot.draw_curve("pulses", model.pulse_counts, 1)
        for plot in self._plots:
            plot.fit(model.progress[0])
        self._draw_ghost(window)
        self.costs_label.say(f"{model.passes.total:,} passes   {model.pulses:,} pulses")
        self._show_readout()

    def restyle(self) -> None:
        """Take the theme's colours."""
        for plot in self._plots:
            plot.restyle()

    def point_at(self, step: float | None) -> None:
        """Read all curves at `step`; None: at their end."""
        self.cursor_step = step
        for plot in self._plots:
            plot.show_cursor(step)
        self._show_readout(at_once=True)

    @property
    def _plots(self) -> tuple[CurvePlot, ...]:
        return self.accuracy_plot, self.loss_plot, self.passes_plot, self.pulses_plot

    def _draw_ghost(self, window: int) -> None:
        ghost = self.desk.ghost
        if ghost is None:
            return
        past = Curve()
        past.extend(ghost.steps["step"], ghost.steps["batch_accuracy"] * 100)
        self.accuracy_plot.draw_curve(("ghost", "batch"), past, 0, window, "ghost")
        for number, name in enumerate(self._model.curves):
            if name in ghost.units:
                curves = past_curves(ghost.steps["step"], ghost.units[name])
                self.loss_plot.draw_curve(("ghost", name), curves.loss, number, window, "ghost")

    def _forget_ghosts(self) -> None:
        for plot in self._plots:
            plot.forget(keep=lambda key: not (isinstance(key, tuple) and key[0] == "ghost"))

    def _show_readout(self, *, at_once: bool = False) -> None:
        model, step = self._model, self.cursor_step
        entries = [chip("batch", 0, _percent(at(model.accuracy, step)))]
        for split, evaluated in model.evaluations.items():
            entries.append(chip(html.escape(split), _SPLITS.get(split, 3), _percent(at(evaluated.accuracy, step))))
        line = " &nbsp;&nbsp; ".join(entries) + " &nbsp; accuracy"
        losses = []
        for number, (name, curves) in enumerate(model.curves.items()):
            losses.append(chip(html.escape(name), number, f"{at(curves.loss, step):.3f}"))
        where = "" if step is None else f" &nbsp;&nbsp; at step {max(0, round(step)):,}"
        words = f"{line}{where}<br>" + " &nbsp;&nbsp; ".join(losses) + " &nbsp; loss"
        self.readout.say(words, at_once=at_once)


def _percent(fraction: float) -> str:
    return f"{fraction:.1%}" if math.isfinite(fraction) else "–"
