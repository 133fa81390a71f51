"""STOP in the window: from the click until the emulators' outputs are truly off, and until the window says so.

`python -m benchmarks.desktop_stop SCENE PRESSES` prints the presses of one scene as JSON; `desktop_stop` makes all.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.desktop_emulators import LOOK_S

GOAL_S, DEAD_GOAL_S = 0.3, 1.0

_GIVE_UP_S = 90.0
_SETTLE_S = 0.05
_INTO_S = 3.0
"""After its first output went on, a run goes on for up to so long."""


@dataclass(frozen=True)
class Scene:
    """kind: of emulators; dead: instruments that take turns in being lost, and how."""

    kind: str
    dead: tuple[str, ...] = ()
    how: str = "silent"


SCENES = {
    "board": Scene("board"),
    "SMUs and matrix": Scene("matrix"),
    "board, SMUs and matrix": Scene("both"),
    "SMUs and matrix, one of them silent": Scene("matrix", ("drive", "bias", "sense", "matrix")),
    "SMUs and matrix, connection of one lost": Scene("matrix", ("drive", "bias", "sense", "matrix"), "gone"),
    "board silent, SMUs and matrix": Scene("both", ("board",)),
}


@dataclass(frozen=True)
class Press:
    """One STOP. off_s: from the click until every output that can be reached was truly off; said_s: until the window
    showed how STOP ended; red_s: until it showed the lost one as NOT confirmed off; still_on: what stayed on."""

    off_s: float
    said_s: float
    red_s: float | None
    dead: str
    still_on: tuple[str, ...]
    text: str


class Emulators:
    """The process that serves them."""

    def __init__(self, folder: Path, kind: str) -> None:
        command = [sys.executable, "-m", "benchmarks.desktop_emulators", str(folder), kind]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.protocol = str(self._answer()["protocol"])

    def ask(self, **request: Any) -> dict[str, Any]:
        """Have a request carried out."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        return dict(json.loads(self._process.stdout.readline()))


class Bench:
    """The window, and how to wait in it."""

    def __init__(self, folder: Path) -> None:
        from PySide6.QtCore import QSettings

        from gui.app import make_app, make_window
        from gui.desk import Desk

        self.app = make_app()
        settings = QSettings(str(folder / "settings.ini"), QSettings.Format.IniFormat)
        self.window = make_window(self.app, Desk(folder / "runs"), settings, "dark")
        self.window.resize(1600, 1000)
        self.window.show()
        self.desk = self.window.desk

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Let the event loop turn until it holds."""
        from PySide6.QtCore import QEventLoop

        deadline_s = time.monotonic() + _GIVE_UP_S
        while not condition():
            if time.monotonic() > deadline_s:
                lines = "\n".join(line.text for line in list(self.desk.model.log)[-5:])
                raise RuntimeError(f"waited in vain for {what}:\n{lines}")
            self.app.processEvents(QEventLoop.ProcessEventsFlag.AllEvents, 5)
            time.sleep(0.0005)

    def rest(self, duration_s: float) -> None:
        """Let it turn for so long."""
        end_s = time.monotonic() + duration_s
        self.until(lambda: time.monotonic() >= end_s, "the end of a rest")


def desktop_stop(seeds: Sequence[int], processes: int, n: int = 20) -> str:
    """The section of the figures: `n` presses of each scene, one after the other."""
    lines = [
        "### STOP",
        "",
        f"`python -m benchmarks desktop-stop`; the button clicked {n} times for each row, each in a run of its own,",
        "within 3 s of its first output going on; window, run and emulators are processes, the emulators on TCP with",
        "latencies like the real instruments'. *Off*: from the click until no output that can be reached was truly on,",
        f"the matrix's relays open, by the emulators' own state, looked at every {1000 * LOOK_S:g} ms. *Shown*: until",
        "the window had said how STOP ended. *Red*: until it showed the lost one as NOT confirmed off. A lost one dies",
        "up to 0.3 s before the click: it hears and answers nothing more, or its connection ends and every answer",
        "after that ends it again.",
        "",
        "| run | off, median | off, worst | goal | shown, median | shown, worst | red, median | red, worst | left on |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, scene in SCENES.items():
        command = [sys.executable, "-m", "benchmarks.desktop_stop", name, str(n)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        lines.append(_row(name, scene, [Press(**row) for row in json.loads(done.stdout)]))
        print(lines[-1], flush=True)
    load = os.getloadavg()[0]
    return "\n".join([*lines, "", f"Load of the machine at the end, these runs included: {load:.1f}.", ""])


def _row(name: str, scene: Scene, made: Sequence[Press]) -> str:
    off = [press.off_s for press in made]
    said = [press.said_s for press in made]
    red = [press.red_s for press in made if press.red_s is not None]
    reds = f"{statistics.median(red):.2f} s | {max(red):.2f} s" if red else "- | -"
    if scene.dead and len(red) < len(made):
        reds += f" ({len(made) - len(red)} never)"
    goal_s = DEAD_GOAL_S if scene.dead else GOAL_S
    return (
        f"| {name} | {statistics.median(off):.3f} s | {max(off):.3f} s | {goal_s:g} s "
        f"| {statistics.median(said):.2f} s | {max(said):.2f} s | {reds} | {sum(bool(p.still_on) for p in made)} |"
    )


def presses(scene: Scene, count: int, seed: int = 0) -> list[Press]:
    """STOP pressed `count` times, each in a new run, at an instant drawn from its steps."""
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        os.environ.update(PIB_LAB_DATA=name, PIB_LAB_WEAR=str(folder / "wear"), XDG_DATA_HOME=name)
        with contextlib.closing(Emulators(folder, scene.kind)) as emulators:
            bench = Bench(folder)
            made = [press(bench, emulators, scene, number, rng) for number in range(count)]
            bench.desk.close()
    return made


def press(bench: Bench, emulators: Emulators, scene: Scene, number: int, rng: np.random.Generator) -> Press:
    """One run, from its start to its end by STOP."""
    from PySide6.QtCore import Qt
    from PySide6.QtTest import QTest

    from gui.processes import Order

    desk, window = bench.desk, bench.window
    process = desk.start(Order(emulators.protocol))
    if process is None:
        raise RuntimeError("the run was not started")
    on = lambda: process.poll() is not None or bool(emulators.ask(last=True)["now"])  # noqa: E731
    bench.until(on, "the first output that is on")
    bench.rest(float(rng.uniform(0.0, _INTO_S)))
    bench.until(on, "an output that is on")
    dead = scene.dead[number % len(scene.dead)] if scene.dead else ""
    if dead:
        emulators.ask(kill=dead, how=scene.how)
        bench.rest(float(rng.uniform(0.0, 0.3)))
    if process.poll() is not None:
        raise RuntimeError(f"the run has ended by itself: {process.error}")
    told: list[tuple[float, Any]] = []
    red: list[float] = []

    def hear(report: Any) -> None:
        told.append((time.monotonic(), report))
        if dead and not red and any("NOT confirmed" in line.text() for line in window.safe_band.lines.values()):
            red.append(time.monotonic())

    connection = desk.stop_told.connect(hear)
    pressed_s = time.monotonic()
    QTest.mouseClick(window.run_bar.stop_button, Qt.MouseButton.LeftButton)
    bench.until(lambda: bool(told) and told[-1][1].done, "the end of STOP")
    desk.stop_told.disconnect(connection)
    bench.rest(_SETTLE_S)
    answer = emulators.ask(last=True)
    last_s = {output: at_s for output, at_s in answer["last_s"].items() if not dead or not output.startswith(dead)}
    still_on = tuple(output for output in answer["now"] if not dead or not output.startswith(dead))
    emulators.ask(heal=True)
    bench.until(lambda: process.poll() is not None and bench.desk.bridge.idle, "the end of the run")
    made = Press(
        max(0.0, *(at_s - pressed_s for at_s in last_s.values())),
        told[-1][0] - pressed_s,
        red[0] - pressed_s if red else None,
        dead,
        still_on,
        told[-1][1].text,
    )
    print(made, file=sys.stderr, flush=True)
    bench.rest(0.3)
    return made


def main() -> None:
    """One scene in a process of its own."""
    made = presses(SCENES[sys.argv[1]], int(sys.argv[2]))
    print(json.dumps([asdict(each) for each in made]))


if __name__ == "__main__":
    main()
