"""Single panels of the desktop for tests, with a program that answers at once."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
from gui_bench import LIVE_MS
from pytestqt.qtbot import QtBot

from gui import processes, theme
from gui.app import make_app
from gui.desk import Desk
from gui.model import Opened
from gui.panel import Panel
from pib_lab.events import Event

P = TypeVar("P", bound=Panel)


class Panels:
    """A desk whose program is `fake_program.py`, and panels on it."""

    def __init__(self, qtbot: QtBot, folder: Path) -> None:
        theme.apply(make_app(), "dark")
        self.qtbot = qtbot
        self.folder = folder
        self.out = folder / "runs"
        self.out.mkdir()
        self.desk = Desk(self.out)

    def show(self, kind: Callable[[Desk], P]) -> P:
        """A panel of this kind, shown."""
        panel = kind(self.desk)
        self.qtbot.addWidget(panel)
        panel.resize(900, 600)
        self.desk.bridge.add(panel)
        panel.show()
        panel.show_model(self.desk.model)
        return panel

    def feed(self, events: list[Event], live: bool = True) -> None:
        """Let the model take the events of a run."""
        self.desk.model.take(Opened(self.out / "fed", live=live))
        for event in events:
            self.desk.model.take(event)

    def wait(self, condition: Callable[[], bool]) -> None:
        """Until it holds."""
        self.qtbot.waitUntil(condition, timeout=LIVE_MS)

    def started(self) -> list[str]:
        """Arguments of each run that was started, up to --out."""
        path = self.out / "started.txt"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        return [line.partition(" --out")[0] + line.partition("--json")[2] for line in lines]


@pytest.fixture
def panels(qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Panels]:
    """Panels on a desk of their own; the working folder is a new one."""
    monkeypatch.setattr(processes, "PROGRAM", (sys.executable, str(Path(__file__).parent / "fake_program.py")))
    monkeypatch.chdir(tmp_path)
    made = Panels(qtbot, tmp_path)
    yield made
    process = made.desk.process
    if process is not None and process.poll() is None:
        process.end()
    made.desk.close()


__all__ = ["Panels", "panels"]
