"""`pib-lab gui` from the start of its process to the first time that its window has been painted.

`python -m benchmarks.desktop_first_paint` is that program with one change: it says when, and ends.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

GOAL_S = 2.5
STARTS = 20

_PACKAGES: tuple[str, ...] = (
    "PySide6",
    "shiboken6",
    "pyqtgraph",
    "superqt",
    "numpy",
    "zmq",
    "msgpack",
    "pydantic",
    "pydantic_core",
)
_PACKAGES += ("typer", "click", "tomlkit", "h5py", "pib_lab", "gui", "data", "drivers", "protocols")


def main() -> None:
    """`pib-lab gui`, and the time (monotonic, seconds) at which its window was there, on stdout."""
    original = importlib.import_module

    def watched(name: str, package: str | None = None) -> ModuleType:
        module = original(name, package)
        if name == "gui.app":
            _watch(module)
        return module

    importlib.import_module = watched
    from pib_lab import cli

    sys.argv = ["pib-lab", "gui", *sys.argv[1:]]
    cli.main()


def _watch(app: Any) -> None:
    """Let the window that the application makes say when its head has been painted, and all else with it."""
    from PySide6.QtCore import QEvent, QObject, QTimer

    class Eye(QObject):
        def eventFilter(self, watched: QObject, event: QEvent) -> bool:
            if event.type() is QEvent.Type.Paint:
                watched.removeEventFilter(self)
                QTimer.singleShot(0, painted)
            return False

    def painted() -> None:
        print(time.monotonic(), flush=True)
        os._exit(0)

    make_window, eye = app.make_window, Eye()

    def make(*args: Any) -> Any:
        window = make_window(*args)
        window.run_bar.installEventFilter(eye)
        window.eye = eye
        return window

    app.make_window = make


def desktop_first_paint(seeds: Sequence[int], processes: int) -> str:
    """The section of the figures: starts after the files were dropped from memory, and starts at once after one."""
    cold = [start(cold=True) for _ in range(STARTS)]
    warm = [start(cold=False) for _ in range(STARTS)]
    rows = "".join(
        f"| {name} | {statistics.median(times):.2f} s | {max(times):.2f} s |\n"
        for name, times in (("files dropped from the page cache", cold), ("files in the page cache", warm))
    )
    return (
        "### The desktop's first paint\n\n"
        f"`python -m benchmarks desktop-first-paint`; from the start of the process `pib-lab gui` until its window is "
        f"painted, {STARTS} starts each, Qt's platform {os.environ.get('QT_QPA_PLATFORM', 'offscreen')!r}. Dropped are "
        "the files of the interpreter's packages and of this one, as far as no other program has them mapped.\n\n"
        "| start | median | worst |\n|---|---|---|\n"
        f"{rows}\nThe goal is {GOAL_S:g} s. Load of the machine at the end: {os.getloadavg()[0]:.1f}.\n"
    )


def start(cold: bool) -> float:
    """Seconds from the start of the process to the first paint."""
    if cold:
        drop_files()
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"XDG_CONFIG_HOME": folder, "HOME": folder, "PYTHONUNBUFFERED": "1"}
        environment.setdefault("QT_QPA_PLATFORM", "offscreen")
        command = [sys.executable, "-m", "benchmarks.desktop_first_paint", "--out", str(Path(folder) / "runs")]
        began_s = time.monotonic()
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    try:
        return float(done.stdout.split()[-1]) - began_s
    except (IndexError, ValueError):
        raise RuntimeError(f"no window was painted:\n{done.stderr}") from None


def drop_files() -> None:
    """Ask the system to forget the files of all packages that the desktop reads."""
    for name in _PACKAGES:
        spec = importlib.util.find_spec(name)
        for place in (spec.submodule_search_locations or []) if spec is not None else []:
            for path in Path(place).rglob("*"):
                if path.is_file():
                    with path.open("rb") as file:
                        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


if __name__ == "__main__":
    main()
