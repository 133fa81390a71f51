"""The desktop on a run, with probes: how long its event loop does not come round, and what is painted how often.

`python -m benchmarks.desktop_window FOLDER SECONDS` opens the run in FOLDER, and ends after that time with its figures
in JSON. The platform is Qt's own choice, or QT_QPA_PLATFORM's.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from array import array
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from PySide6.QtCore import QEvent, QEventLoop, QObject, QSettings, Qt, QTimer

from gui.app import make_app, make_window
from gui.desk import Desk
from gui.window import Window

SIZE = (1600, 1000)
TICK_MS = 1
_STARTED_S = 1.5


class Ticks:
    """A timer of its own, every millisecond: a gap between two of its ticks is a pause of the event loop."""

    def __init__(self) -> None:
        self.gaps_s = array("d")
        self.own_s = array("d")  # of each gap, the processor time of the window's thread
        self._last_s, self._last_own_s = time.perf_counter(), time.thread_time()
        self.timer = QTimer()
        self.timer.setTimerType(Qt.TimerType.PreciseTimer)
        self.timer.setInterval(TICK_MS)
        self.timer.timeout.connect(self._tick)
        self.timer.start()

    def _tick(self) -> None:
        now_s, own_s = time.perf_counter(), time.thread_time()
        self.gaps_s.append(now_s - self._last_s)
        self.own_s.append(own_s - self._last_own_s)
        self._last_s, self._last_own_s = now_s, own_s


class Paints(QObject):
    """Counts what Qt delivers: repaints of the window as a whole, and paint events of each part that is watched."""

    def __init__(self, window: Window) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()
        self._names: dict[int, str] = {}
        self._window = window
        window.installEventFilter(self)

    def watch(self, name: str, widget: QObject) -> None:
        """Count the paint events of `widget` from now on."""
        self._names[id(widget)] = name
        widget.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Count, and let everything pass."""
        kind = event.type()
        if kind is QEvent.Type.UpdateRequest and watched is self._window:
            self.counts["window"] += 1
        elif kind is QEvent.Type.Paint and id(watched) in self._names:
            self.counts[self._names[id(watched)]] += 1
        return False


def main(folder: Path, duration_s: float) -> None:
    """Open the run, measure from the first moment, and print the figures of loading and of all that follows."""
    app = make_app()
    with tempfile.TemporaryDirectory() as name:
        settings = QSettings(str(Path(name) / "settings.ini"), QSettings.Format.IniFormat)
        window = make_window(app, Desk(folder.parent), settings, "dark")
        window.resize(*SIZE)
        window.show()
        paints = Paints(window)
        for panel, plots in parts(window).items():
            for number, plot in enumerate(plots):
                paints.watch(f"{panel} {number}", plot)
        figures: dict[str, Any] = {}
        _rest(_STARTED_S)
        ticks = Ticks()
        window.desk.open_run(folder)
        began_s = time.perf_counter()

        def begin() -> None:
            """The run is shown: what follows is steady."""
            if not window.desk.model.maps:
                QTimer.singleShot(50, begin)
                return
            figures["loading"] = pauses(ticks)
            figures["loading"]["took_s"] = time.perf_counter() - began_s
            paints.counts.clear()
            figures["refreshes"] = window.desk.bridge.refreshes
            figures["step"], figures["at_s"] = window.desk.model.progress[0], time.perf_counter()
            QTimer.singleShot(round(1000 * duration_s), end)

        def end() -> None:
            lasted_s = time.perf_counter() - figures.pop("at_s")
            model = window.desk.model
            figures["lasted_s"] = lasted_s
            figures["steady"] = pauses(ticks)
            figures["paints_per_s"] = {part: count / lasted_s for part, count in sorted(paints.counts.items())}
            figures["refreshes_per_s"] = (window.desk.bridge.refreshes - figures.pop("refreshes")) / lasted_s
            figures["steps_per_s"] = (model.progress[0] - figures.pop("step")) / lasted_s
            figures["points"] = max(len(curves.loss) for curves in model.curves.values())
            figures["failed"] = [panel.title for panel in window.panels.values() if panel.failed]
            figures["warnings"] = [line.text for line in model.log if "attaching" in line.text]
            figures["platform"] = app.platformName()
            if len(sys.argv) > 3:
                window.grab().save(sys.argv[3])
            app.exit(0)

        QTimer.singleShot(0, begin)
        app.exec()
        window.desk.close()
    print(json.dumps(figures))


def _rest(duration_s: float) -> None:
    """Let the event loop turn: the window comes up, which is another figure."""
    loop = QEventLoop()
    QTimer.singleShot(round(1000 * duration_s), loop.quit)
    loop.exec()


def parts(window: Window) -> dict[str, list[Any]]:
    """Where the curves and maps of each panel are painted."""
    import pyqtgraph as pg

    found = {
        name: [plot.viewport() for plot in panel.findChildren(pg.GraphicsView)] for name, panel in window.panels.items()
    }
    return {name: plots for name, plots in found.items() if plots}


def pauses(ticks: Ticks) -> dict[str, float]:
    """Of the gaps so far, which are then forgotten, in ms."""
    gaps, own = 1e3 * np.array(ticks.gaps_s), 1e3 * np.array(ticks.own_s)
    del ticks.gaps_s[:], ticks.own_s[:]
    total = gaps.sum()
    return {
        "pauses": len(gaps),
        "p50_ms": float(np.percentile(gaps, 50)),
        "p99_ms": float(np.percentile(gaps, 99)),
        "p99.9_ms": float(np.percentile(gaps, 99.9)),
        "longest_ms": float(gaps.max()),
        "over_50_ms": int((gaps > 50).sum()),
        "over_50_of_time": float(gaps[gaps > 50].sum() / total),
        "own_p99.9_ms": float(np.percentile(own, 99.9)),
        "own_longest_ms": float(own.max()),
        "own_share": float(own.sum() / total),
        "mean_wait_ms": float((gaps**2).sum() / total / 2),
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]))
