"""Before real hardware is driven for the first time, the dry run is shown, and an operator confirms it. Not modal."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from weakref import WeakKeyDictionary

from PySide6.QtCore import Qt
from PySide6.QtWidgets import (
    QAbstractItemView,
    QDockWidget,
    QFrame,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

import protocols
from gui import theme
from gui.dry_run import Estimate
from gui.processes import Order
from gui.protocol_devices import NO_HARDWARE
from gui.tables import right_cell, text_table
from gui.wording import duration
from pib_lab.errors import ConfigurationError
from pib_lab.overrides import apply_overrides

_HEADINGS = ("Unit", "Driver", "Shape", "Parameters", "Drive")


class StartGate:
    """Remembers what an operator has confirmed since the desktop was opened: a protocol's text with its changes."""

    def __init__(self) -> None:
        self._confirmed: set[tuple[str, tuple[str, ...]]] = set()

    def needs(self, order: Order) -> bool:
        """Whether this start may drive real hardware in a way that nobody has confirmed yet. A run that is resumed
        was confirmed when it began."""
        if order.mock or order.resume is not None or _key(order) in self._confirmed:
            return False
        return not _drives_nothing(order)

    def confirm(self, order: Order) -> None:
        """An operator has read the dry run and wants it so."""
        self._confirmed.add(_key(order))


_gates: WeakKeyDictionary[object, StartGate] = WeakKeyDictionary()


def gate_of(desk: object) -> StartGate:
    """The one gate of a desk, whichever panel asks for it."""
    return _gates.setdefault(desk, StartGate())


def bring_up(panel: QWidget) -> None:
    """Let a panel be seen that asks something, where it lies behind others or was closed."""
    parent: QWidget | None = panel
    while parent is not None and not isinstance(parent, QDockWidget):
        parent = parent.parentWidget()
    if parent is not None:
        parent.show()
        parent.raise_()


def _key(order: Order) -> tuple[str, tuple[str, ...]]:
    """By text, not by name: a file that has been edited since is another protocol."""
    try:
        return protocols.read(order.protocol)[1], order.overrides
    except ConfigurationError:
        return order.protocol, order.overrides


def _drives_nothing(order: Order) -> bool:
    try:
        tree = tomllib.loads(apply_overrides(protocols.read(order.protocol)[1], order.overrides))
        return {part["driver"] for part in tree["hardware"].values()} <= NO_HARDWARE
    except (ConfigurationError, tomllib.TOMLDecodeError, KeyError, TypeError, AttributeError):
        return False  # the dry run says what is wrong


class DryRunView(QFrame):
    """The table of a dry run with a question below it. Hidden until `ask`, and again once it has been answered."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("dry-run")
        self.setStyleSheet(f"QFrame#dry-run {{ border: 2px solid {theme.REAL_ORANGE}; border-radius: 4px; }}")
        layout = QVBoxLayout(self)
        self.heading = QLabel()
        self.heading.setObjectName("headline")
        self.table = text_table(_HEADINGS)
        self.table.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
        self.table.horizontalHeader().setStretchLastSection(True)
        self.words = QLabel()
        self.words.setWordWrap(True)
        self.yes = QPushButton("I have read this: start on real hardware")
        self.no = QPushButton("Not now")
        buttons = QHBoxLayout()
        buttons.addStretch()
        buttons.addWidget(self.no)
        buttons.addWidget(self.yes)
        for widget in (self.heading, self.table, self.words):
            layout.addWidget(widget)
        layout.addLayout(buttons)
        self.yes.clicked.connect(lambda: self._answer(True))
        self.no.clicked.connect(lambda: self._answer(False))
        self._then: Callable[[bool], None] | None = None
        self.hide()

    def ask(self, protocol: str, estimate: Estimate, then: Callable[[bool], None]) -> None:
        """Show the dry run of `protocol`, and call `then` with the answer."""
        self._then = then
        self.heading.setText(f"{protocol} drives REAL hardware. Its dry run:")
        self.table.setRowCount(len(estimate.units))
        for row, unit in enumerate(estimate.units):
            texts = (unit.name, unit.driver, unit.shape, f"{unit.parameters:,}", unit.drive_limit)
            for column, text in enumerate(texts):
                self.table.setItem(row, column, right_cell(text) if column == 3 else QTableWidgetItem(text))
        self.table.setVisible(bool(estimate.units))
        height = self.table.horizontalHeader().sizeHint().height() + 4
        self.table.setFixedHeight(height + sum(self.table.rowHeight(row) for row in range(min(len(estimate.units), 6))))
        self.words.setText(_words(estimate))
        self.show()

    def _answer(self, wanted: bool) -> None:
        self.hide()
        then, self._then = self._then, None
        if then is not None:
            then(wanted)


def _words(estimate: Estimate) -> str:
    if not estimate.known:
        return "A bring-up procedure: what it costs is not known beforehand. Its settings are in the protocol."
    lines = [
        f"{duration(estimate.time_s)}, {estimate.passes:,} passes, at most {estimate.pulses:,} pulses",
        "limits: " + (", ".join(f"{key} {value}" for key, value in estimate.limits) or "the devices' own only"),
        *(f"⚠ {warning}" for warning in estimate.warnings),
    ]
    return "\n".join(lines)
