"""The queue: runs in a row, each with what it will cost; one at a time, and none after outputs that may be on."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

from PySide6.QtCore import Qt, QTimer
from PySide6.QtGui import QColor
from PySide6.QtWidgets import (
    QAbstractItemView,
    QCheckBox,
    QComboBox,
    QCompleter,
    QFrame,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QLineEdit,
    QPushButton,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

import protocols
from gui import theme
from gui.confirmation import DryRunView, bring_up, gate_of
from gui.dry_run import Checker, Estimate, short_count
from gui.model import RunModel, Topic
from gui.panel import Panel
from gui.processes import Order, RunProcess
from gui.protocol_document import ProtocolDocument
from gui.queue_model import Item, ItemState, QueueModel
from gui.stop import StopReport
from gui.tables import right_cell, text_table
from gui.wording import duration
from pib_lab.errors import ConfigurationError

if TYPE_CHECKING:
    from gui.desk import Desk

_HEADINGS = ("Protocol", "Changes", "Time", "Passes", "Pulses ≤", "State")
_LOOK_MS = 150
_LEVELS = {
    ItemState.FINISHED: "good",
    ItemState.ABORTED: "look",
    ItemState.FAILED: "bad",
    ItemState.NOT_SAFE: "bad",
}


class QueuePanel(Panel):
    """What is to be run, in order. Starts a run when none is going on, and looks at how it ended."""

    name: ClassVar[str] = "queue"
    title: ClassVar[str] = "Queue"
    topics: ClassVar[frozenset[Topic]] = frozenset({Topic.STATE})
    empty_text: ClassVar[str] = "Runs that are to be done one after the other."

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        self.queue = QueueModel()
        self.gate = gate_of(desk)
        self.going = False
        self._checker = Checker(desk.bridge.background)
        self._process: RunProcess | None = None
        self._number = 0
        self._drawn: list[tuple[str, ...]] = []
        self._build()
        desk.stop_told.connect(self._take_stop)
        self._timer = QTimer(self)
        self._timer.setInterval(_LOOK_MS)
        self._timer.timeout.connect(self.advance)
        self._show_queue()

    def refresh(self, model: RunModel) -> None:
        """A run from elsewhere began or ended: the queue may have to wait, or may go on."""
        self._show_queue()

    def hold(self, why: str) -> None:
        """Start nothing more until an operator lets it go on. The run that is going on is not touched."""
        self.queue.hold(why)
        self._show_queue()

    def restyle(self) -> None:
        """Take the theme's colours."""
        self._draw_table()

    def _take_stop(self, report: StopReport) -> None:
        self.queue.stopped(report.safe if report.done else None)
        self._show_queue()

    def advance(self) -> None:
        """Look at the run that is going on; when there is none, start the next."""
        if self._process is not None:
            code = self._process.poll()
            if code is None:
                return
            safe = self._process.result.get("safe")
            self.queue.ended(self._number, code, self._process.error, safe if isinstance(safe, bool) else None)
            self._process = None
        if self.going and not self.desk.busy and not self.view.isVisible():
            self._start_next()
        waits = any(item.state is ItemState.WAITING and not item.problem for item in self.queue.items)
        if self._process is None and (self.queue.held or not waits):
            self.going = False
        if not self.going and self._process is None:
            self._timer.stop()
        self._show_queue()

    # What its buttons do

    def add(self) -> None:
        """Append the chosen protocol."""
        self._adding(lambda: [self.queue.add(self.protocol_box.currentText(), mock=self.mock_box.isChecked())])

    def add_protocol(self, protocol: str) -> None:
        """Append `protocol`, for other panels."""
        self.protocol_box.setCurrentText(protocol)
        self.add()

    def add_sweep(self) -> None:
        """Append a run for each value."""
        protocol, mock = self.protocol_box.currentText(), self.mock_box.isChecked()
        self._adding(lambda: self.queue.sweep(protocol, self.key_edit.text(), self.values_edit.text(), mock))

    def start(self) -> None:
        """Let the queue go on, or begin."""
        self.queue.go_on_after_failure = self.go_on_box.isChecked()
        self.going = True
        self._timer.start()
        self.advance()

    # How

    def _adding(self, make: Callable[[], list[Item]]) -> None:
        try:
            added = make()
        except ConfigurationError as error:
            self._say(str(error))
            return
        self._say("")
        for item in added:
            self._estimate(item)
        self._show_queue()

    def _estimate(self, item: Item) -> None:
        def done(estimate: Estimate) -> None:
            self.queue.estimated(item.number, estimate)
            self._show_queue()

        def failed(problem: str) -> None:
            self.queue.refused(item.number, problem)
            self._show_queue()

        self._checker.check(item.arguments, done, failed)

    def _start_next(self) -> None:
        """Mark the next entry and start it; ask first when it drives real hardware."""
        following = self.queue.following()
        if following is None:
            return
        order = Order(following.protocol, following.overrides, mock=following.mock)
        if self.gate.needs(order):
            if following.estimate is not None:  # else its dry run is under way
                bring_up(self)
                self.view.ask(following.protocol, following.estimate, lambda wanted: self._confirmed(order, wanted))
            return
        item = self.queue.take_next()
        assert item is not None
        self._number = item.number
        self._process = self.desk.start(order)
        if self._process is None:
            self.queue.put_back(item.number)
            self.going = False

    def _confirmed(self, order: Order, wanted: bool) -> None:
        if wanted:
            self.gate.confirm(order)
        else:
            self.going = False
        self.advance()

    def _release(self) -> None:
        self.queue.release()
        self.start()

    def _selected(self) -> list[int]:
        rows = sorted({index.row() for index in self.table.selectedIndexes()})
        return [self.queue.items[row].number for row in rows if row < len(self.queue.items)]

    def _move(self, by: int) -> None:
        chosen = self._selected()
        for number in chosen if by < 0 else reversed(chosen):
            self.queue.move(number, by)
        self._show_queue()
        self._select(chosen)

    def _duplicate(self) -> None:
        for number in self._selected():
            copy = self.queue.duplicate(number)
            if copy.estimate is None:
                self._estimate(copy)
        self._show_queue()

    def _remove(self) -> None:
        for number in self._selected():
            try:
                self.queue.remove(number)
            except ConfigurationError as error:
                self._say(str(error))
        self._show_queue()

    def _select(self, numbers: list[int]) -> None:
        self.table.clearSelection()
        mode = self.table.selectionMode()
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.MultiSelection)
        for row, item in enumerate(self.queue.items):
            if item.number in numbers:
                self.table.selectRow(row)
        self.table.setSelectionMode(mode)

    def _say(self, text: str) -> None:
        self.message.setText(text)
        self.message.setVisible(bool(text))

    def _offer_keys(self) -> None:
        """Complete the key of a sweep with what can be set in the chosen protocol."""
        try:
            keys = ProtocolDocument(protocols.read(self.protocol_box.currentText())[1]).number_keys()
        except ConfigurationError:
            keys = []
        completer = QCompleter(keys, self)
        completer.setFilterMode(Qt.MatchFlag.MatchContains)
        self.key_edit.setCompleter(completer)

    # What it looks like

    def _build(self) -> None:
        layout = self.filled()
        self.protocol_box = QComboBox()
        self.protocol_box.setEditable(True)
        self.protocol_box.addItems(list(protocols.available()))
        self.protocol_box.setCurrentText(self.desk.protocol or "memristor-digits")
        self.desk.protocol_changed.connect(self.protocol_box.setCurrentText)
        self.protocol_box.setAccessibleName("protocol")
        self.protocol_box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.protocol_box.setMinimumContentsLength(18)
        self.mock_box = QCheckBox("Mock")
        self.mock_box.setToolTip("Use mocks in the place of all devices")
        self.add_button, self.sweep_button = QPushButton("Add"), QPushButton("Sweep…")
        self.sweep_button.setCheckable(True)
        layout.addLayout(_row(self.protocol_box, self.mock_box, self.add_button, self.sweep_button, stretch=0))
        self.sweep_bar = QFrame()
        self.key_edit, self.values_edit = QLineEdit(), QLineEdit()
        self.key_edit.setPlaceholderText("parameter, such as rule.learning_rate")
        self.values_edit.setPlaceholderText("0.01, 0.02, 0.05   or   0.01 to 0.1 in 4 log")
        self.add_sweep_button = QPushButton("Add sweep")
        bar = _row(self.key_edit, self.values_edit, self.add_sweep_button, stretch=1)
        bar.setStretch(0, 1)
        bar.setContentsMargins(0, 0, 0, 0)
        self.sweep_bar.setLayout(bar)
        self.sweep_bar.hide()
        layout.addWidget(self.sweep_bar)
        self.message = QLabel()
        self.message.setWordWrap(True)
        self.message.hide()
        layout.addWidget(self.message)
        self.table = text_table(_HEADINGS)
        header = self.table.horizontalHeader()
        header.setMaximumSectionSize(340)
        header.setSectionResizeMode(5, QHeaderView.ResizeMode.Stretch)
        layout.addWidget(self.table, 1)
        self.view = DryRunView()
        layout.addWidget(self.view)
        layout.addWidget(self._held_bar())
        self.up, self.down = QPushButton("Up"), QPushButton("Down")
        self.duplicate, self.remove = QPushButton("Duplicate"), QPushButton("Remove")
        layout.addLayout(_row(self.up, self.down, self.duplicate, self.remove))
        self.total = QLabel()
        self.go_on_box = QCheckBox("Go on after a failed run")
        self.start_button = QPushButton("Start queue")
        layout.addLayout(_row(self.total, self.go_on_box, self.start_button, stretch=0))
        self.add_button.clicked.connect(self.add)
        self.sweep_button.toggled.connect(self.sweep_bar.setVisible)
        self.sweep_button.toggled.connect(self._offer_keys)
        self.add_sweep_button.clicked.connect(self.add_sweep)
        self.up.clicked.connect(lambda: self._move(-1))
        self.down.clicked.connect(lambda: self._move(1))
        self.duplicate.clicked.connect(self._duplicate)
        self.remove.clicked.connect(self._remove)
        self.start_button.clicked.connect(self._start_or_hold)

    def _held_bar(self) -> QWidget:
        self.held_bar = QFrame()
        self.held_bar.setFrameShape(QFrame.Shape.StyledPanel)
        bar = QVBoxLayout(self.held_bar)
        self.held_label = QLabel()
        self.held_label.setWordWrap(True)
        self.release_button = QPushButton("Go on")
        bar.addWidget(self.held_label)
        bar.addWidget(self.release_button, alignment=Qt.AlignmentFlag.AlignRight)
        self.release_button.clicked.connect(self._release)
        self.held_bar.hide()
        return self.held_bar

    def _start_or_hold(self) -> None:
        if self.going:
            self.going = False
            self._show_queue()
        else:
            self.start()

    def _show_queue(self) -> None:
        drawn = [(*_cells(item), item.problem) for item in self.queue.items]
        if drawn != self._drawn:
            self._drawn = drawn
            self._draw_table()
        time_s, passes, pulses = self.queue.remaining()
        waiting = sum(item.state is ItemState.WAITING and not item.problem for item in self.queue.items)
        costs = f": {duration(time_s)}, {short_count(passes)} passes, ≤ {short_count(pulses)} pulses" if passes else ""
        self.total.setText(f"{waiting} waiting{costs}")
        self.start_button.setText("Hold queue" if self.going else "Start queue")
        self.start_button.setEnabled(self.going or (waiting > 0 and not self.queue.held))
        self.held_bar.setVisible(bool(self.queue.held))
        self.held_label.setText(self.queue.held)
        level = "bad" if self.queue.unsafe else "info"
        self.held_label.setStyleSheet(f"color: {theme.level_colour(level)}; font-weight: bold;")
        self.release_button.setText("I have checked the outputs: go on" if self.queue.unsafe else "Go on")

    def _draw_table(self) -> None:
        self.table.setRowCount(len(self.queue.items))
        for row, item in enumerate(self.queue.items):
            for column, text in enumerate(_cells(item)):
                cell = right_cell(text) if column in (2, 3, 4) else QTableWidgetItem(text)
                cell.setToolTip(item.problem or text)
                if column == 5 and (level := "bad" if item.problem else _LEVELS.get(item.state, "")):
                    cell.setForeground(QColor(theme.level_colour(level)))
                self.table.setItem(row, column, cell)


def _cells(item: Item) -> tuple[str, ...]:
    changes = ", ".join(item.overrides)
    protocol = f"{item.protocol} (mock)" if item.mock else item.protocol
    estimate = item.estimate
    if estimate is None:
        costs = ("", "", "") if item.problem else ("…", "…", "…")
    elif not estimate.known:
        costs = ("not known", "", "")
    else:
        costs = (duration(estimate.time_s), short_count(estimate.passes), short_count(estimate.pulses))
    state = item.state.value
    if item.problem:
        state = "cannot be run" if item.state is ItemState.WAITING else f"{state}: {item.problem.splitlines()[0]}"
    return protocol, changes, *costs, state[:60]


def _row(*widgets: QWidget, stretch: int | None = None) -> QHBoxLayout:
    """Widgets beside each other; number `stretch` takes what is left, or else nothing does."""
    row = QHBoxLayout()
    for place, widget in enumerate(widgets):
        row.addWidget(widget, int(place == stretch))
    if stretch is None:
        row.addStretch()
    return row
