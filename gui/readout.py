"""A label for numbers that change many times a second: laid out as often as a person reads, not as they change."""

from __future__ import annotations

import re
import time

from PySide6.QtCore import QEvent, QSize, QTimer
from PySide6.QtWidgets import QLabel

PERIOD_S = 0.1

_DIGIT = re.compile(r"\d")


class Readout(QLabel):
    """Shows what was said last, in the end; in between not more than ten times a second."""

    def __init__(self) -> None:
        super().__init__()
        self._wanted = ""
        self._shape = ""
        self._sizes: dict[int | str, QSize | int] = {}
        self._shown_s = 0.0
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._show_wanted)

    def say(self, text: str, *, at_once: bool = False) -> None:
        """Show `text`: now, or when the last one has been there for long enough."""
        self._wanted = text
        left_s = PERIOD_S - (time.monotonic() - self._shown_s)
        if at_once or left_s <= 0.0:
            self._show_wanted()
        elif not self._timer.isActive():
            self._timer.start(round(1000 * left_s) + 1)

    def _show_wanted(self) -> None:
        self._timer.stop()
        if self._wanted != self.text():
            shape = _DIGIT.sub("0", self._wanted)
            if shape != self._shape:
                self._shape = shape
                self._sizes.clear()
            self.setText(self._wanted)
        self._shown_s = time.monotonic()

    def changeEvent(self, event: QEvent) -> None:
        """Another font makes other sizes."""
        self._sizes.clear()
        super().changeEvent(event)

    # Sizes depend on how many digits there are, not on which: to lay rich text out anew is what costs most here

    def heightForWidth(self, width: int) -> int:
        """Of the words at this width."""
        if width not in self._sizes:
            self._sizes[width] = super().heightForWidth(width)
        return int(self._sizes[width])  # type: ignore[arg-type]

    def sizeHint(self) -> QSize:
        """Of the words."""
        if "hint" not in self._sizes:
            self._sizes["hint"] = super().sizeHint()
        return QSize(self._sizes["hint"])  # type: ignore[arg-type]

    def minimumSizeHint(self) -> QSize:
        """Of the words."""
        if "least" not in self._sizes:
            self._sizes["least"] = super().minimumSizeHint()
        return QSize(self._sizes["least"])  # type: ignore[arg-type]
