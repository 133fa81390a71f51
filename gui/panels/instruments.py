"""The instruments of the run: which they are, what they may do, whether they are off; and what goes over links."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from PySide6.QtCore import Qt, QTimer
from PySide6.QtGui import QColor, QFontDatabase
from PySide6.QtWidgets import (
    QAbstractItemView,
    QCheckBox,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QPlainTextEdit,
    QSplitter,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from gui import theme
from gui.confirmation import DryRunView, bring_up, gate_of
from gui.dry_run import Checker, Estimate
from gui.instrument_list import Instrument, instruments, traffic_tail
from gui.manual_view import ManualView
from gui.model import RunModel, Topic
from gui.panel import Panel
from gui.processes import Order

if TYPE_CHECKING:
    from gui.desk import Desk

_HEADINGS = ("Device", "Driver", "Identity", "Units", "Drive", "Compliance", "Outputs", "Last error")
_OUTPUTS = 6
_LOOK_MS = 1000


class InstrumentsPanel(Panel):
    """A line for each device, one of them by hand, the newest traffic below. It asks before real hardware is driven."""

    name: ClassVar[str] = "instruments"
    title: ClassVar[str] = "Instruments"
    topics: ClassVar[frozenset[Topic]] = frozenset({Topic.RUN, Topic.STATE, Topic.SAFE, Topic.LOG})
    empty_text: ClassVar[str] = "The instruments of a run appear here: identity, limits, outputs, last error, traffic."

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        self._drawn: list[Instrument] = []
        self._checker = Checker(desk.bridge.background)
        self._build()
        desk.confirm_first = True
        desk.start_asked.connect(self.ask)
        self._timer = QTimer(self)
        self._timer.setInterval(_LOOK_MS)
        self._timer.timeout.connect(self._look)
        self._timer.start()

    def refresh(self, model: RunModel) -> None:
        """Show what is known now."""
        self.manual.refresh()
        shown = instruments(model)
        self.note.setVisible(not shown and self.desk.manual is None)
        self.table.setVisible(bool(shown))
        if shown != self._drawn:
            self._drawn = shown
            self._draw()

    def restyle(self) -> None:
        """Take the theme's colours."""
        self._draw()

    def ask(self, order: Order) -> None:
        """Start `order`, when it drives nothing real or has been confirmed; else show its dry run and ask."""
        gate = gate_of(self.desk)
        if not gate.needs(order):
            self.desk.start(order)
            return
        bring_up(self)
        self._tell(f"{order.protocol}: the dry run is under way …", "info")

        def done(estimate: Estimate) -> None:
            self._tell("", "info")
            if estimate.mock:
                self.desk.start(order)
            else:
                self.view.ask(order.protocol, estimate, answered)

        def answered(wanted: bool) -> None:
            if wanted:
                gate.confirm(order)
                self.desk.start(order)

        def failed(problem: str) -> None:
            self._tell("", "info")
            self.desk.notice("error", problem)

        arguments = [order.protocol, *(part for override in order.overrides for part in ("--set", override))]
        self._checker.check(arguments, done, failed)

    def _keep_traffic(self, wanted: bool) -> None:
        self.desk.keep_traffic = wanted

    def _tell(self, text: str, level: str) -> None:
        self.message.setText(text)
        self.message.setStyleSheet(f"color: {theme.level_colour(level)};")
        self.message.setVisible(bool(text))

    def _draw(self) -> None:
        self.table.setRowCount(len(self._drawn))
        for row, device in enumerate(self._drawn):
            texts = (
                device.name,
                device.driver,
                device.identity,
                device.units,
                device.drive,
                device.compliance,
                device.outputs,
                device.error,
            )
            for column, text in enumerate(texts):
                cell = QTableWidgetItem(text)
                cell.setToolTip(text)
                if column == _OUTPUTS:
                    cell.setForeground(QColor(theme.level_colour(device.level)))
                self.table.setItem(row, column, cell)
        self.table.resizeRowsToContents()

    def _look(self) -> None:
        """The traffic grows without an event."""
        if not self.isVisible():
            return
        lines = traffic_tail(self.desk.hand_folder or self.desk.folder)
        text = "\n".join(lines)
        if text != self.traffic.toPlainText():
            self.traffic.setPlainText(text)
            bar = self.traffic.verticalScrollBar()
            bar.setValue(bar.maximum())

    def _build(self) -> None:
        layout = self.filled()
        self.view = DryRunView()
        layout.addWidget(self.view)
        self.message = QLabel()
        self.message.setWordWrap(True)
        self.message.hide()
        layout.addWidget(self.message)
        self.manual = ManualView(self.desk)
        layout.addWidget(self.manual)
        self.note = QLabel(self.empty_text)
        self.note.setObjectName("empty")
        self.note.setWordWrap(True)
        self.note.setAlignment(Qt.AlignmentFlag.AlignCenter)
        layout.addWidget(self.note)
        self.table = QTableWidget(0, len(_HEADINGS))
        self.table.setHorizontalHeaderLabels(list(_HEADINGS))
        self.table.verticalHeader().hide()
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
        self.table.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        header = self.table.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setMaximumSectionSize(260)
        header.setStretchLastSection(True)
        below = QWidget()
        lower = QVBoxLayout(below)
        lower.setContentsMargins(0, 0, 0, 0)
        self.traffic_box = QCheckBox("Keep it for what is started next")
        self.traffic_box.setToolTip("In the run's folder, as traffic.jsonl: the option --traffic of a run")
        self.traffic_box.setChecked(self.desk.keep_traffic)
        self.traffic_box.toggled.connect(self._keep_traffic)
        head = QHBoxLayout()
        head.addWidget(QLabel("Traffic over the links"))
        head.addStretch()
        head.addWidget(self.traffic_box)
        lower.addLayout(head)
        self.traffic = QPlainTextEdit()
        self.traffic.setReadOnly(True)
        self.traffic.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        self.traffic.setFont(QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont))
        self.traffic.setPlaceholderText(
            "The newest lines appear here, of a run of real devices that keeps them (--traffic)."
        )
        lower.addWidget(self.traffic)
        split = QSplitter(Qt.Orientation.Vertical)
        split.addWidget(self.table)
        split.addWidget(below)
        layout.addWidget(split, 1)
