"""The desktop for tests: offscreen, with settings, runs and a program for runs of its own."""

# ruff: noqa: E402 - the platform is set, and a missing package skipped over, before Qt is imported

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

os.environ["QT_QPA_PLATFORM"] = "offscreen"
for module in ("PySide6", "pyqtgraph", "pytestqt"):
    pytest.importorskip(module, reason="the desktop's packages are not installed: pip install -e '.[gui,test]'")

from event_samples import started
from PySide6.QtCore import QSettings
from pytestqt.qtbot import QtBot

from data.recorder import Recorder
from gui import processes, theme
from gui.app import make_app
from gui.desk import Desk
from gui.panels import PANELS, Placed
from gui.panels.entropy import EntropyPanel
from gui.panels.learning import LearningPanel
from gui.panels.log import LogPanel
from gui.window import Window
from pib_lab.events import CheckpointTaken, Event

LIVE_MS = 20_000
"""More than a process needs to begin on a busy machine."""

OURS = tuple(placed for placed in PANELS if placed.panel in (EntropyPanel, LearningPanel, LogPanel))


class Bench:
    """A desktop in a folder of its own."""

    def __init__(self, qtbot: QtBot, folder: Path) -> None:
        self.qtbot = qtbot
        self.folder = folder
        self.out = folder / "runs"
        self._windows: list[Window] = []

    def settings(self) -> QSettings:
        """The same at each call, as in two sessions."""
        return QSettings(str(self.folder / "settings.ini"), QSettings.Format.IniFormat)

    def open(self, panels: Sequence[Placed] = OURS) -> Window:
        """A new desktop, shown."""
        theme.apply(make_app(), "dark")
        window = Window(Desk(self.out), self.settings(), panels)
        self.qtbot.addWidget(window)
        self._windows.append(window)
        window.show()
        return window

    def record(self, name: str, events: Sequence[Event]) -> Path:
        """A run file of these events; the first is RunStarted."""
        folder = self.out / name
        with Recorder.create(folder, events[0], CheckpointTaken(0, {})) as recorder:  # type: ignore[arg-type]
            for event in events[1:]:
                if not isinstance(event, CheckpointTaken):
                    recorder.record(event)
        return folder

    def wait_for_state(self, window: Window, state: str) -> None:
        """Until the run bar says so."""
        self.qtbot.waitUntil(lambda: window.desk.model.state == state, timeout=LIVE_MS)

    def start(self, window: Window, protocol: str) -> None:
        """Choose a protocol (any name: the program is a stand-in), press Start, wait for the first steps."""
        window.desk.protocol = protocol
        window.run_bar.refresh()
        window.run_bar.start_button.click()
        self.qtbot.waitUntil(lambda: window.desk.model.progress[0] > 2, timeout=LIVE_MS)

    def end(self) -> None:
        """End the runs that are left."""
        for window in self._windows:
            process = window.desk.process
            if process is not None and process.poll() is None:
                process.end()
            window.desk.close()


@pytest.fixture
def bench(qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """A desktop whose runs are `fake_run.py`."""
    here = Path(__file__).parent
    monkeypatch.setattr(processes, "PROGRAM", (sys.executable, str(here / "fake_run.py")))
    monkeypatch.setenv("PYTHONPATH", f"{here.parent}{os.pathsep}{here}")
    made = Bench(qtbot, tmp_path)
    yield made
    made.end()


__all__ = ["LIVE_MS", "OURS", "Bench", "bench", "started"]
