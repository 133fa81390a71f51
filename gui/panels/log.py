"""The log: messages of the run and of the desktop, by level, and a filter."""

from __future__ import annotations

import html
import itertools
from typing import TYPE_CHECKING, ClassVar

from PySide6.QtWidgets import QComboBox, QHBoxLayout, QLabel, QLineEdit, QPlainTextEdit

from gui import theme
from gui.model import LOG_LINES, LogLine, RunModel, Topic
from gui.panel import Panel

if TYPE_CHECKING:
    from gui.desk import Desk

_LEVELS = ("info", "warning", "error")
_SIGNS = {"info": "·", "warning": "▲ warning", "error": "■ error"}


class LogPanel(Panel):
    """The newest line is at the bottom."""

    name: ClassVar[str] = "log"
    title: ClassVar[str] = "Log"
    topics: ClassVar[frozenset[Topic]] = frozenset({Topic.LOG})
    empty_text: ClassVar[str] = "What happens appears here: changes of state, warnings, faults, errors and what to do."

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        layout = self.filled()
        self.level_box = QComboBox()
        self.level_box.addItems(["everything", "warnings and errors", "errors"])
        self.level_box.setAccessibleName("level")
        self.filter_line = QLineEdit()
        self.filter_line.setPlaceholderText("only lines with these words")
        self.filter_line.setClearButtonEnabled(True)
        top = QHBoxLayout()
        top.addWidget(QLabel("Show"))
        top.addWidget(self.level_box)
        top.addWidget(self.filter_line, 1)
        layout.addLayout(top)
        self.view = QPlainTextEdit()
        self.view.setReadOnly(True)
        self.view.setMaximumBlockCount(LOG_LINES)
        layout.addWidget(self.view)
        self._shown = 0
        self._model = desk.model
        self.level_box.currentIndexChanged.connect(self._show_all)
        self.filter_line.textChanged.connect(self._show_all)

    def is_empty(self, model: RunModel) -> bool:
        """Before the first line."""
        return not model.log

    def refresh(self, model: RunModel) -> None:
        """Add the lines that are new."""
        self._model = model
        fresh = min(model.log_count - self._shown, len(model.log))
        self._shown = model.log_count
        lines = itertools.islice(model.log, len(model.log) - fresh, None)
        wanted = [_html(line) for line in lines if self._wants(line)]
        if wanted:
            self.view.appendHtml("".join(wanted))

    def restyle(self) -> None:
        """Take the theme's colours."""
        self._show_all()

    def _show_all(self) -> None:
        self.view.clear()
        self._shown = self._model.log_count - len(self._model.log)
        self.refresh(self._model)

    def _wants(self, line: LogLine) -> bool:
        level = _LEVELS.index(line.level) if line.level in _LEVELS else 0
        return level >= self.level_box.currentIndex() and self.filter_line.text().lower() in _text(line).lower()


def _text(line: LogLine) -> str:
    step = f"step {line.step:,}: " if line.step >= 0 else ""
    return f"{step}{line.text}"


def _html(line: LogLine) -> str:
    colour = theme.level_colour(line.level)
    sign = _SIGNS.get(line.level, line.level)
    words = html.escape(_text(line)).replace("\n", "<br>&nbsp;&nbsp;")
    return f'<div style="color:{colour}">{sign}&nbsp; {words}</div>'
