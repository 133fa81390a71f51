"""The protocol editor: a tree of all keys a protocol may hold, checked while one types, saved with its comments."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any, ClassVar

from PySide6.QtCore import QAbstractItemModel, QModelIndex, QPersistentModelIndex, Qt, Signal
from PySide6.QtGui import QColor, QFont
from PySide6.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QLineEdit,
    QPushButton,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTreeWidget,
    QTreeWidgetItem,
    QWidget,
)

import protocols
from gui import theme
from gui.confirmation import bring_up
from gui.dry_run import Checker, Estimate, short_count
from gui.model import RunModel, Topic
from gui.panel import Panel
from gui.protocol_document import Problem, ProtocolDocument, shown_value, typed_value
from gui.schema_tree import Key, Kind, Path
from pib_lab.errors import ConfigurationError

if TYPE_CHECKING:
    from gui.desk import Desk

Index = QModelIndex | QPersistentModelIndex

_KEY, _VALUE, _HELP = range(3)
_NODE = Qt.ItemDataRole.UserRole


@dataclass(frozen=True, slots=True)
class _Node:
    """What a line of the tree stands for."""

    path: Path
    key: Key


class ValueDelegate(QStyledItemDelegate):
    """Edits a value: a list of choices, or a line. `typed` comes with every letter, before the editor is closed."""

    typed = Signal(object, str)

    def createEditor(self, parent: QWidget, option: QStyleOptionViewItem, index: Index) -> QWidget:
        """A box for what has choices, else a line."""
        node: _Node = index.model().index(index.row(), _KEY, index.parent()).data(_NODE)
        key, path = node.key, node.path
        if key.choices or key.kind is Kind.FLAG:
            box = QComboBox(parent)
            box.addItems(["true", "false"] if key.kind is Kind.FLAG else [str(choice) for choice in key.choices])
            box.activated.connect(lambda _: self.typed.emit(path, box.currentText()))
            return box
        line = QLineEdit(parent)
        line.textEdited.connect(lambda text: self.typed.emit(path, text))
        return line

    def setEditorData(self, editor: QWidget, index: Index) -> None:
        """Begin with the value that is set, or else the default."""
        text = str(index.data(Qt.ItemDataRole.EditRole) or "")
        if isinstance(editor, QComboBox):
            editor.setCurrentText(text)
        elif isinstance(editor, QLineEdit):
            editor.setText(text)

    def setModelData(self, editor: QWidget, model: QAbstractItemModel, index: Index) -> None:
        """Nothing: what was typed is in the protocol already."""


class EditorPanel(Panel):
    """Opens, changes, checks and saves a protocol."""

    name: ClassVar[str] = "editor"
    title: ClassVar[str] = "Protocol"
    topics: ClassVar[frozenset[Topic]] = frozenset()
    empty_text: ClassVar[str] = "The protocol that is edited appears here."

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        self.document = ProtocolDocument("")
        self.path: FilePath | None = None
        self._saved = ""
        self._items: dict[Path, QTreeWidgetItem] = {}
        self._marked: set[Path] = set()
        self._checker = Checker(desk.bridge.background)
        self._build()
        desk.protocol_changed.connect(self.open)
        if desk.protocol:
            self.open(desk.protocol)

    def refresh(self, model: RunModel) -> None:
        """A run does not change its protocol."""

    def restyle(self) -> None:
        """Take the theme's colours."""
        self._show_problems()

    @property
    def changed(self) -> bool:
        """Whether something has not been saved."""
        return self.document.text != self._saved

    def open(self, name_or_path: str) -> None:
        """Show a shipped protocol (to be saved under another name) or a file. Unsaved changes are kept instead."""
        if self.changed:
            self._say(f"{name_or_path} was not opened: save the changes first, or take them back", "look")
            return
        try:
            text = protocols.read(name_or_path)[1]
            self.document = ProtocolDocument(text)
        except ConfigurationError as error:
            self._refuse(str(error))
            return
        shipped = name_or_path in protocols.available()
        self.path = None if shipped else FilePath(name_or_path)
        self.place_edit.setText(f"{name_or_path}-mine.toml" if shipped else name_or_path)
        self._saved = text
        self._fill()

    def save(self) -> None:
        """Write the protocol to the place in the line, and let Start use it."""
        place = self.place_edit.text().strip()
        if not place:
            self._refuse("say where to save it: a path that ends in .toml")
            return
        path = FilePath(place)
        if path != self.path and path.exists():
            self._refuse(f"{path} is there already: choose another name, or open it first")
            return
        try:
            self.document.save(path)
        except ConfigurationError as error:
            self._refuse(str(error))
            return
        self.path, self._saved = path, self.document.text
        self._show_problems()
        self.desk.choose_protocol(str(path) if len(path.parts) > 1 else f"./{path}")

    def check(self) -> None:
        """Let the drivers have their say too, in a process of its own. What is checked is the saved file."""
        if self.path is None or self.changed:
            self._say("save the protocol first: the dry run reads the file", "look")
            return
        self._say("the dry run is under way …", "plain")
        self._checker.check([str(self.path)], self._take_estimate, self._refuse)

    # How

    def _type(self, path: Path, text: str) -> None:
        self.document.put(path, typed_value(text, self._items[path].data(_KEY, _NODE).key.kind))
        self._show_item(path)
        self._show_problems()

    def _undo(self) -> None:
        if self.document.undo():
            self._fill()

    def _add_entry(self) -> None:
        item = self.tree.currentItem()
        path = item.data(_KEY, _NODE).path if item is not None else ("units",)
        name = next((key for key in path if key in ("units", "faults")), "units")
        added = self.document.add_entry((name,))
        self._fill()
        self.tree.setCurrentItem(self._items[added])
        self._items[added].setExpanded(True)

    def _remove(self) -> None:
        item = self.tree.currentItem()
        if item is not None:
            self.document.put(item.data(_KEY, _NODE).path, None)
            self._fill()

    def _take_estimate(self, estimate: Estimate) -> None:
        if not estimate.known:
            self._say("the drivers accept it; what a bring-up procedure costs is not known beforehand", "good")
            return
        kind = "mock" if estimate.mock else "REAL hardware"
        costs = f"{short_count(estimate.passes)} passes, at most {short_count(estimate.pulses)} pulses"
        self._say("\n".join((f"in order ({kind}): {costs}", *estimate.warnings)), "good")

    def _say(self, text: str, level: str) -> None:
        self.message.setText(text)
        self.message.setStyleSheet(f"color: {theme.level_colour('info' if level == 'plain' else level)};")
        self.message.setVisible(bool(text))

    def _refuse(self, why: str) -> None:
        """Say what is wrong where it can be seen."""
        self._say(why, "bad")
        bring_up(self)

    def _fill(self) -> None:
        """Build the tree anew, as open as it was."""
        opened = {path for path, item in self._items.items() if item.isExpanded()} or {(key,) for key in _FIRST_OPEN}
        self.tree.clear()
        self._items = {}
        for key in self.document.schema.keys:
            self._add(self.tree.invisibleRootItem(), key, (key.name,))
        for path, item in self._items.items():
            item.setExpanded(path in opened)
        self._show_problems()

    def _add(self, parent: QTreeWidgetItem, key: Key, path: Path) -> None:
        item = QTreeWidgetItem(parent)
        item.setData(_KEY, _NODE, _Node(path, key))
        self._items[path] = item
        value = self.document.value(path)
        if key.kind in (Kind.TABLES, Kind.BY_NAME):
            entries = list(enumerate(value or ())) if key.kind is Kind.TABLES else list((value or {}).items())
            for place, _ in entries:
                entry = Key(str(place), Kind.TABLE, keys=key.keys, open_ended=key.open_ended)
                self._add(item, entry, (*path, place))
        elif key.kind is Kind.TABLE or (key.kind is Kind.PLUGIN and isinstance(value, dict)):
            known = {part.name for part in key.keys}
            for part in key.keys:
                self._add(item, part, (*path, part.name))
            for name in value or {}:
                if name not in known:
                    self._add(item, Key(name, Kind.ANY, help=_FOREIGN if key.open_ended else ""), (*path, name))
        if not (key.is_group or (key.kind is Kind.PLUGIN and isinstance(value, dict))):
            item.setFlags(item.flags() | Qt.ItemFlag.ItemIsEditable)
        self._show_item(path)

    def _show_item(self, path: Path) -> None:
        item, value = self._items[path], self.document.value(path)
        key: Key = item.data(_KEY, _NODE).key
        label = key.name
        if isinstance(path[-1], int) and isinstance(value, dict):
            label = str(value.get("name", f"{path[-2]} {path[-1]}"))
        item.setText(_KEY, f"{label} *" if key.required and value is None else label)
        grouped = key.is_group or isinstance(value, dict)
        default = "" if grouped or key.default is None else shown_value(key.default)
        item.setText(_VALUE, "" if grouped else default if value is None else shown_value(value))
        font = QFont(self.tree.font())
        font.setBold(value is not None and not grouped)
        font.setItalic(value is None)
        item.setFont(_VALUE, font)
        comment = self.document.comment(path) if not grouped else ""
        text = "; ".join(part for part in (key.limits, comment or key.help) if part)
        item.setText(_HELP, text)
        for column in (_KEY, _VALUE, _HELP):
            item.setToolTip(column, "\n".join(part for part in (key.limits, key.help, comment) if part))

    def _show_problems(self) -> None:
        """Each mistake beside its key, and those of the whole protocol below."""
        colours = theme.current()
        for path in self._marked & self._items.keys():
            self._show_item(path)
        self._marked = set()
        for path, item in self._items.items():
            faint = self.document.value(path) is None
            for column in (_KEY, _VALUE, _HELP):
                item.setForeground(column, QColor(colours.muted if faint or column == _HELP else colours.text))
        problems = self.document.problems()
        for problem in problems:
            self._mark(problem)
        state = "changed" if self.changed else "saved"
        self.state.setText(f"{state}, {len(problems)} to mend" if problems else f"{state}, in order")
        self.state.setStyleSheet(f"color: {theme.level_colour('bad' if problems else 'good')};")
        words = [p.message if not p.path else f"{'.'.join(map(str, p.path))}: {p.message}" for p in problems]
        self._say("\n".join(words[:4] + ["…"] * (len(words) > 4)), "bad" if problems else "plain")

    def _mark(self, problem: Problem) -> None:
        path = problem.path
        while path and path not in self._items:
            path = path[:-1]
        if not path:
            return
        item = self._items[path]
        self._marked.add(path)
        red = QColor(theme.level_colour("bad"))
        item.setText(_HELP, f"■ {problem.message}")
        item.setToolTip(_HELP, problem.message)
        for column in (_KEY, _VALUE, _HELP):
            item.setForeground(column, red)
        parent = item.parent()
        while parent is not None:
            parent.setForeground(_KEY, red)
            parent.setExpanded(True)
            parent = parent.parent()

    def _build(self) -> None:
        layout = self.filled()
        self.place_edit = QLineEdit()
        self.place_edit.setPlaceholderText("where to save it: a path that ends in .toml")
        self.save_button, self.check_button = QPushButton("Save"), QPushButton("Dry run")
        top = QHBoxLayout()
        top.addWidget(self.place_edit, 1)
        top.addWidget(self.save_button)
        top.addWidget(self.check_button)
        layout.addLayout(top)
        self.tree = QTreeWidget()
        self.tree.setColumnCount(3)
        self.tree.setHeaderLabels(["Key", "Value", "Limits, help"])
        self.tree.setEditTriggers(
            QAbstractItemView.EditTrigger.DoubleClicked
            | QAbstractItemView.EditTrigger.EditKeyPressed
            | QAbstractItemView.EditTrigger.SelectedClicked
        )
        self.tree.setAlternatingRowColors(True)
        self.tree.header().setSectionResizeMode(_KEY, QHeaderView.ResizeMode.Interactive)
        self.tree.header().resizeSection(_KEY, 170)
        self.tree.header().resizeSection(_VALUE, 150)
        self.delegate = ValueDelegate(self.tree)
        self.tree.setItemDelegateForColumn(_VALUE, self.delegate)
        for column in (_KEY, _HELP):
            self.tree.setItemDelegateForColumn(column, _Fixed(self.tree))
        self.delegate.typed.connect(self._type)
        layout.addWidget(self.tree, 1)
        self.message = QLabel()
        self.message.setWordWrap(True)
        self.message.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        layout.addWidget(self.message)
        self.undo_button, self.add_button = QPushButton("Undo"), QPushButton("Add unit or fault")
        self.remove_button = QPushButton("Remove key")
        self.state = QLabel()
        bottom = QHBoxLayout()
        for button in (self.undo_button, self.add_button, self.remove_button):
            bottom.addWidget(button)
        bottom.addStretch()
        bottom.addWidget(self.state)
        layout.addLayout(bottom)
        self.save_button.clicked.connect(self.save)
        self.check_button.clicked.connect(self.check)
        self.undo_button.clicked.connect(self._undo)
        self.add_button.clicked.connect(self._add_entry)
        self.remove_button.clicked.connect(self._remove)


class _Fixed(QStyledItemDelegate):
    """Of columns that are not edited."""

    def createEditor(self, parent: QWidget, option: QStyleOptionViewItem, index: Index) -> Any:
        """None: there is nothing to edit here."""
        return None


_FIRST_OPEN = ("dataset", "units", "schedule", "limits", "hardware")
_FOREIGN = "checked by the driver or the objective: see Dry run"
