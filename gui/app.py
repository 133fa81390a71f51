"""The desktop application, from its arguments to its exit code."""

from __future__ import annotations

import gc
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from PySide6.QtCore import QSettings
from PySide6.QtWidgets import QApplication

from gui import theme
from gui.desk import Desk
from gui.window import Window

_TURN_S = 0.0005
"""After which a thread that waits for its turn gets it. With Python's own 5 ms, the thread that takes in a run's events
would get through 200 a second only while the window is busy, for it gives up its turn with each of them."""


def main(what: str | None, out: Path, theme_name: str | None = None) -> int:
    """Show the window until it is closed. what: a protocol or a run to begin with; out: the folder of the runs."""
    app = make_app()
    settings = QSettings("PIB Lab", "desktop")
    window = make_window(app, Desk(out), settings, theme_name)
    signal.signal(signal.SIGINT, lambda *_: app.exit(130))  # Ctrl-C in the terminal; runs are not reached by it
    sys.excepthook = _telling(window.desk)
    window.show()
    if what is not None:
        window.desk.open(what)
    code = app.exec()
    window.desk.close()
    return code


def make_app() -> QApplication:
    """The one application object of this process."""
    existing = QApplication.instance()
    if isinstance(existing, QApplication):
        return existing
    app = QApplication(["pib-lab"])
    app.setApplicationDisplayName("PIB Lab")
    return app


def make_window(app: QApplication, desk: Desk, settings: QSettings, theme_name: str | None = None) -> Window:
    """The window in the theme that is asked for, else in that of the last time, else dark; text size likewise."""
    chosen = settings.value("text", 0.0, float)
    text = chosen if isinstance(chosen, float) and chosen > 0 else theme.usual_text_size(app)
    theme.apply(app, theme_name or str(settings.value("theme", "dark")), text)
    window = Window(desk, settings)
    gc.freeze()  # what is there by now stays: looking through it again and again would hold the window up
    gc.set_threshold(10_000, 20, 50)  # events come and go by themselves: a thousand a second are no reason to look
    sys.setswitchinterval(_TURN_S)
    return window


def _telling(desk: Desk) -> Callable[[type[BaseException], BaseException, TracebackType | None], None]:
    """For sys.excepthook: a defect in a handler of Qt is told in the window, and the desktop goes on."""

    def tell(kind: type[BaseException], error: BaseException, at: TracebackType | None) -> None:
        traceback.print_exception(kind, error, at)
        desk.notice("error", f"a defect of the desktop: {kind.__name__}: {error}; the run is not affected")

    return tell
