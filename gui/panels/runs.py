"""Recorded runs: search, preview, compare, replay, resume, report, export."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import Qt, QTimer, QUrl
from PySide6.QtGui import QColor, QDesktopServices
from PySide6.QtWidgets import (
    QComboBox,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QLineEdit,
    QPushButton,
    QSplitter,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from data.wording import percent
from gui import theme
from gui.curves import thinned
from gui.desk import REPLAY_SPEEDS
from gui.model import History, RunModel, Topic
from gui.panel import Panel
from gui.plots import yields
from gui.processes import Order, call
from gui.run_list import RunLine, RunList
from gui.tables import right_cell, text_table
from pib_lab.errors import ConfigurationError
from pib_lab.events import Evaluated

if TYPE_CHECKING:
    from gui.desk import Desk

_HEADINGS = ("Run", "Status", "Accuracy", "Steps", "Began")
_LEVELS = {"finished": "good", "running": "info", "paused": "look", "aborted": "look"}
_CURVES = {
    "validation accuracy": ("accuracy", "accuracy (%)"),
    "batch accuracy": ("batch_accuracy", "accuracy (%)"),
    "I(Z;Y)": ("i_zy", "I(Z;Y) (bits)"),
    "I(X;Z)": ("i_xz", "I(X;Z) (bits)"),
    "loss": ("loss", "loss"),
}
"""By name: column of the run file, words beside the axis."""

_MOST_POINTS = 2000
_FIRST_MS = 200
"""Before runs are read for the first time: after the window is there."""

_LOOK_MS = 3000
_COMMAND_S = 120.0
_STYLES = (Qt.PenStyle.SolidLine, Qt.PenStyle.DashLine, Qt.PenStyle.DotLine, Qt.PenStyle.DashDotLine)


class RunsPanel(Panel):
    """The runs in the folder of runs. One that is chosen is previewed, two or more are compared."""

    name: ClassVar[str] = "runs"
    title: ClassVar[str] = "Runs"
    topics: ClassVar[frozenset[Topic]] = frozenset({Topic.RUN, Topic.STATE})
    empty_text: ClassVar[str] = "Recorded runs appear here: to look at, compare, replay, resume, report and export."

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        self.lines: list[RunLine] = []
        self._list = RunList()
        self._reading = False
        self._histories: dict[Path, tuple[str, History]] = {}
        self._state = ""
        self._build()
        self._timer = QTimer(self)
        self._timer.setInterval(_LOOK_MS)
        self._timer.timeout.connect(self._look)
        self._timer.start()
        QTimer.singleShot(_FIRST_MS, self.reload)

    def refresh(self, model: RunModel) -> None:
        """A run that begins or ends is another line."""
        if model.state != self._state:
            self._state = model.state
            self.reload()

    def restyle(self) -> None:
        """Take the theme's colours."""
        self.plot.setBackground(theme.current().plot)
        for side in ("left", "bottom"):
            self.plot.getAxis(side).setTextPen(theme.current().text)
        self._show_lines()
        self._draw()

    def reload(self) -> None:
        """Read the list of runs anew, beside the window."""
        if self._reading:
            return
        self._reading = True
        folders = list(self.desk.runs())

        def done(lines: list[RunLine]) -> None:
            self._reading = False
            if lines != self.lines:
                self.lines = lines
                self._show_lines()

        def failed(error: Exception) -> None:
            self._reading = False
            self._say(str(error), "bad")

        self.desk.bridge.background(lambda: self._list.read(folders), done, failed)

    @property
    def chosen(self) -> list[RunLine]:
        """The runs that are selected, from top to bottom."""
        rows = sorted({index.row() for index in self.table.selectedIndexes()})
        model = self.table.model()
        folders = [model.index(row, 0).data(Qt.ItemDataRole.UserRole) for row in rows]
        return [line for folder in folders for line in self.lines if str(line.folder) == folder]

    # What its buttons do

    def open(self) -> None:
        """Look at the run: attach to it when it is live."""
        self._with_one(lambda line: self.desk.open_run(line.folder))

    def replay(self) -> None:
        """Show the run as it went."""
        speed = REPLAY_SPEEDS[self.speed_box.currentIndex()]
        self._with_one(lambda line: self.desk.replay_run(line.folder, speed))

    def resume(self) -> None:
        """Go on with a run that was stopped or killed."""
        self._with_one(lambda line: self.desk.start(Order(resume=line.folder)))

    def report(self) -> None:
        """Write the report, and show it in the browser."""
        self._with_one(lambda line: self._command(["report", str(line.folder)], line, self._open_report))

    def export(self) -> None:
        """Write tables, maps and summary beside the run file."""
        self._with_one(lambda line: self._command(["export", str(line.folder)], line, self._tell_export))

    def ghost(self) -> None:
        """Draw the run behind the curves of the one that is looked at, or take that back."""
        if self.desk.ghost is not None:
            self.desk.choose_ghost(None)
        else:
            self._with_one(lambda line: self.desk.choose_ghost(line.folder))

    # How

    def _with_one(self, act: Any) -> None:
        chosen = self.chosen
        if len(chosen) != 1:
            self._say("choose one run in the list first", "look")
            return
        self._say("", "info")
        act(chosen[0])

    def _command(self, arguments: list[str], line: RunLine, then: Any) -> None:
        self._say(f"{arguments[0]} of {line.folder.name} is being written …", "info")

        def work() -> None:
            code, _, told = call(arguments, _COMMAND_S)
            if code:
                raise ConfigurationError(told.removeprefix("error: ") or f"`pib-lab {arguments[0]}` failed ({code})")

        self.desk.bridge.background(work, lambda _: then(line), lambda error: self._say(str(error), "bad"))

    def _open_report(self, line: RunLine) -> None:
        path = line.folder / "report.html"
        self._say(f"report: {path}", "good")
        QDesktopServices.openUrl(QUrl.fromLocalFile(str(path.resolve())))

    def _tell_export(self, line: RunLine) -> None:
        self._say(f"exported into {line.folder}", "good")

    def _look(self) -> None:
        if self.isVisible():
            self.reload()

    def _choose(self) -> None:
        chosen = self.chosen
        one = chosen[0] if len(chosen) == 1 else None
        for button in (self.open_button, self.replay_button, self.report_button, self.export_button, self.ghost_button):
            button.setEnabled(one is not None and not one.problem)
        self.resume_button.setEnabled(one is not None and one.can_resume)
        self.about.setText(_about(chosen))
        for line in chosen:
            self._load(line)
        self._draw()

    def _load(self, line: RunLine) -> None:
        """Read the curves of a run, unless they are known as they are now."""
        known = self._histories.get(line.folder)
        if line.problem or (known is not None and known[0] == line.steps):
            return

        def done(history: History) -> None:
            self._histories[line.folder] = (line.steps, history)
            self._draw()

        def work() -> History:
            from gui.history import read_history  # HDF5, which the first picture need not wait for

            return read_history(line.folder)[0]

        self.desk.bridge.background(work, done, lambda error: self._say(str(error), "bad"))

    def _draw(self) -> None:
        """The chosen curve of all chosen runs: a colour for each run, a style for each unit."""
        key, words = _CURVES[self.curve_box.currentText()]
        factor = 100.0 if "accuracy" in key else 1.0
        self.plot.clear()
        self.plot.setLabel("bottom", "step")
        self.plot.setLabel("left", words)
        for number, line in enumerate(self.chosen):
            known = self._histories.get(line.folder)
            if known is None:
                continue
            for place, (label, steps, values) in enumerate(curves_of(known[1], key)):
                pen = pg.mkPen(theme.series(number), width=2, style=_STYLES[place % len(_STYLES)])
                words = " ".join(part for part in (line.folder.name, label) if part)
                few = len(steps) < 60 and key == "accuracy"
                self.plot.plot(
                    *thinned(steps, factor * values, _MOST_POINTS),
                    pen=pen,
                    name=words,
                    symbol="o" if few else None,
                    symbolSize=6,
                    symbolBrush=theme.series(number),
                    symbolPen=None,
                )

    def _show_lines(self) -> None:
        chosen = {str(line.folder) for line in self.chosen}
        shown = [line for line in self.lines if line.matches(self.search_edit.text())]
        self.table.blockSignals(True)
        self.table.clearSelection()
        self.table.setRowCount(len(shown))
        for row, line in enumerate(shown):
            accuracy = percent(line.accuracy) if line.accuracy is not None and math.isfinite(line.accuracy) else ""
            for column, text in enumerate((line.folder.name, line.status, accuracy, line.steps, line.began)):
                cell = right_cell(text) if column in (2, 3) else QTableWidgetItem(text)
                cell.setToolTip(line.problem or text)
                if column == 0:
                    cell.setData(Qt.ItemDataRole.UserRole, str(line.folder))
                elif column == 1:
                    cell.setForeground(QColor(theme.level_colour(_LEVELS.get(line.status, "bad"))))
                self.table.setItem(row, column, cell)
                cell.setSelected(str(line.folder) in chosen)
        self.table.blockSignals(False)
        self.count.setText(f"{len(shown)} of {len(self.lines)} runs")
        self.count.setToolTip(f"in {self.desk.out.resolve()}")
        self._choose()

    def _say(self, text: str, level: str) -> None:
        self.message.setText(text)
        self.message.setStyleSheet(f"color: {theme.level_colour(level)};")
        self.message.setVisible(bool(text))

    def _build(self) -> None:
        layout = self.filled()
        self.search_edit = QLineEdit()
        self.search_edit.setPlaceholderText("search: name, protocol, status, date")
        self.search_edit.setClearButtonEnabled(True)
        self.count = QLabel()
        top = QHBoxLayout()
        top.addWidget(self.search_edit, 1)
        top.addWidget(self.count)
        layout.addLayout(top)
        self.table = text_table(_HEADINGS)
        self.table.horizontalHeader().setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        below = QWidget()
        lower = QVBoxLayout(below)
        lower.setContentsMargins(0, 0, 0, 0)
        self.about = QLabel()
        self.about.setWordWrap(True)
        self.curve_box = QComboBox()
        self.curve_box.addItems(list(_CURVES))
        about = QHBoxLayout()
        about.addWidget(self.about, 1)
        about.addWidget(self.curve_box)
        lower.addLayout(about)
        self.plot = pg.PlotWidget()
        self.plot.addLegend(offset=(-8, -8))
        self.plot.showGrid(x=True, y=True, alpha=0.2)
        self.plot.getAxis("left").enableAutoSIPrefix(False)
        yields(self.plot, 90)
        lower.addWidget(self.plot, 1)
        split = QSplitter(Qt.Orientation.Vertical)
        split.addWidget(self.table)
        split.addWidget(below)
        split.setChildrenCollapsible(False)
        split.setSizes([120, 160])
        layout.addWidget(split, 1)
        self.message = QLabel()
        self.message.setWordWrap(True)
        self.message.hide()
        layout.addWidget(self.message)
        self.open_button, self.replay_button = QPushButton("Open"), QPushButton("Replay")
        self.resume_button, self.ghost_button = QPushButton("Resume"), QPushButton("Ghost")
        self.report_button, self.export_button = QPushButton("Report"), QPushButton("Export")
        self.ghost_button.setToolTip("Draw this run behind the curves of the one that is looked at")
        self.speed_box = QComboBox()
        self.speed_box.setToolTip("Speed of the replay")
        self.speed_box.addItems([f"{speed:g} x" if math.isfinite(speed) else "at once" for speed in REPLAY_SPEEDS])
        self.speed_box.setCurrentIndex(1)
        row = QHBoxLayout()
        for widget in (self.open_button, self.replay_button, self.speed_box, self.resume_button, self.ghost_button):
            row.addWidget(widget)
        row.addStretch()
        row.addWidget(self.report_button)
        row.addWidget(self.export_button)
        layout.addLayout(row)
        self.search_edit.textChanged.connect(self._show_lines)
        self.table.itemSelectionChanged.connect(self._choose)
        self.table.itemDoubleClicked.connect(lambda _: self.open())
        self.curve_box.currentIndexChanged.connect(self._draw)
        for button, act in (
            (self.open_button, self.open),
            (self.replay_button, self.replay),
            (self.resume_button, self.resume),
            (self.ghost_button, self.ghost),
            (self.report_button, self.report),
            (self.export_button, self.export),
        ):
            button.clicked.connect(act)
        self._choose()


def curves_of(history: History, key: str) -> list[tuple[str, Any, Any]]:
    """Label, steps and values of one kind of curve: of the network, or of each unit."""
    if key == "accuracy":
        told = [event for event in history.others if isinstance(event, Evaluated) and event.split == "validation"]
        steps = np.array([event.step for event in told], np.float64)
        return [("", steps, np.array([event.accuracy for event in told], np.float64))]
    steps = np.asarray(history.steps["step"], np.float64)
    if key in history.steps:
        return [("", steps, np.asarray(history.steps[key], np.float64))]
    found = []
    for name, columns in history.units.items():
        there = np.isfinite(columns[key])
        found.append((name, steps[there], np.asarray(columns[key][there], np.float64)))
    return found


def _about(chosen: list[RunLine]) -> str:
    if not chosen:
        return "Choose a run to see its curves, or several to compare them."
    if len(chosen) > 1:
        return f"{len(chosen)} runs, a colour for each; a style for each unit."
    line = chosen[0]
    if line.problem:
        return line.problem
    numbers = [f"{key.replace('_', ' ')} {value:.4g}" for key, value in line.metrics.items() if math.isfinite(value)]
    kind = "mock" if line.mock else "REAL hardware"
    return f"{line.protocol} ({kind}), {line.status}. " + ", ".join(numbers[:5])
