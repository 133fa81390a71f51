"""The base of all panels: a view of the run model that may fail without harm to anything else."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFrame, QLabel, QScrollArea, QStackedLayout, QVBoxLayout, QWidget

from gui.model import RunModel, Topic

if TYPE_CHECKING:
    from gui.desk import Desk


class Panel(QWidget):
    """A dockable view. A subclass sets the class attributes, fills `self.body` with widgets, and refreshes them.

    name: of the object, under which the layout is saved; never changed. topics: `refresh` is called after one of these
    changed, at most at the rate of the screen. period_s: the least time between two refreshes; for panels of words,
    which nobody reads as quickly. empty_text: says what will appear here; shown while `is_empty`.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    topics: ClassVar[frozenset[Topic]]
    period_s: ClassVar[float] = 0.0
    empty_text: ClassVar[str]

    def __init__(self, desk: Desk) -> None:
        super().__init__()
        self.setObjectName(self.name)
        self.desk = desk
        self.body = QWidget()
        self._note = QLabel(self.empty_text)
        self._note.setObjectName("empty")
        self._note.setWordWrap(True)
        self._note.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._note.setMargin(16)
        self._stack = QStackedLayout(self)
        self._stack.addWidget(self._note)
        self._room = QScrollArea()  # where there is too little room, what does not fit is scrolled to
        self._room.setWidgetResizable(True)
        self._room.setFrameShape(QFrame.Shape.NoFrame)
        self._room.setWidget(self.body)
        self._stack.addWidget(self._room)
        self.failed = False
        self.setMinimumSize(160, 60)  # tabs that are not in front must not make the window larger than a small screen

    def is_empty(self, model: RunModel) -> bool:
        """Whether there is nothing to show yet, so that `empty_text` is shown. Panels that always have something
        (a list, an editor) leave this as it is."""
        return False

    @abstractmethod
    def refresh(self, model: RunModel) -> None:
        """Show what the model holds. Whatever it raises detaches this panel; the others and the run go on."""

    def restyle(self) -> None:
        """The theme changed: take colours from `gui.theme.current()` anew. Nothing to do for plain widgets."""

    def show_model(self, model: RunModel) -> None:
        """Refresh, or say what will appear here. Called by the bridge only."""
        if self.is_empty(model):
            self._stack.setCurrentWidget(self._note)
            return
        self._stack.setCurrentWidget(self._room)
        self.refresh(model)

    def detach(self, error: Exception) -> None:
        """Take no more part: say in the panel's place what went wrong."""
        self.failed = True
        self._note.setText(
            f"This panel has stopped: {type(error).__name__}: {error}\n\nThe run is not affected. "
            "Open the desktop again to bring the panel back."
        )
        self._stack.setCurrentWidget(self._note)

    def filled(self) -> QVBoxLayout:
        """A vertical layout without a margin, set on `body`; for subclasses."""
        layout = QVBoxLayout(self.body)
        layout.setContentsMargins(4, 4, 4, 4)
        return layout
