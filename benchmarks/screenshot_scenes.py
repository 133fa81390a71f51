"""What the pictures of the operator's guide show: scenes, each played at the real desktop from its beginning."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QLineEdit

import protocols
from benchmarks.screenshots import DARK, LARGE_DARK, LIGHT, Operator
from gui.panels.editor import EditorPanel
from gui.panels.entropy import EntropyPanel
from gui.panels.instruments import InstrumentsPanel
from gui.panels.learning import LearningPanel
from gui.panels.maps import MapsPanel
from gui.panels.queue import QueuePanel
from gui.panels.runs import RunsPanel
from pib_lab.overrides import apply_overrides

_FAULTS = """
[[faults]] # struck on the mock chip, to see what a run makes of them
step = 60
fraction = 0.06
kind = "mixed"
"""

_BOARDS = """# Two crossbars, each on a board of its own.

name = "two-boards"
title = "Digits on two crossbar boards"

[dataset]
name = "digits"

[hardware.left]
driver = "memristor-board"
address = "{left}"
profile = "chip-b"

[hardware.right]
driver = "memristor-board"
address = "{right}"
profile = "chip-b"

[[units]]
name = "hidden"
device = "left"
inputs = 64
outputs = 32
objective = {{ name = "ridge-entropy", temperature = 0.12 }}

[[units]]
name = "read-out"
device = "right"
inputs = 32
outputs = 10
objective = "cross-entropy"

[schedule]
epochs = 4000
batch = 128
entropies_every = 5
maps_every = 40

[limits]
drive = "200 mV"
current = "2 mA"
"""


def begin(at: Operator) -> None:
    """The desktop when it has just been opened."""
    at.linger(0.5)
    at.take("start", DARK)


def edit(at: Operator) -> None:
    """A protocol with a value that is not allowed."""
    path = _faulty_digits()
    at.window.desk.open(path)
    editor = at.panel(EditorPanel)
    (line,) = editor.tree.findItems("learning_rate", Qt.MatchFlag.MatchExactly | Qt.MatchFlag.MatchRecursive)[-1:]
    editor.tree.setCurrentItem(line)
    editor.delegate.typed.emit(("rule", "learning_rate"), "-0.02")
    editor.tree.scrollToItem(line, editor.tree.ScrollHint.PositionAtCenter)
    at.take("editor", LIGHT)
    editor.document.undo()


def confirm(at: Operator) -> None:
    """The dry run that is shown before real hardware is driven."""
    with _board() as left, _board() as right:
        _open_boards(at, left[1], right[1])
        panel = at.panel(InstrumentsPanel)
        at.window.run_bar.start_button.click()
        at.wait(panel.view.isVisible)
        at.take("confirm", DARK)


def by_hand(at: Operator) -> None:
    """One board in the operator's hands, while no run goes on."""
    with _board() as left, _board() as right:
        _open_boards(at, left[1], right[1])
        manual = at.panel(InstrumentsPanel).manual
        manual.device_box.setCurrentText("left")
        manual.take_button.click()
        at.wait(manual.form.isVisible)
        (output,) = manual.outputs.values()
        output.click()
        at.wait(lambda: manual.form.isEnabled() and "ON" in output.text())
        drive = next(field for field in manual.form.findChildren(QLineEdit) if field.accessibleName() == "drive")
        drive.setText("100 mV")
        drive.returnPressed.emit()
        at.wait(manual.form.isEnabled)
        manual.measure_button.click()
        at.wait(lambda: manual.form.isEnabled() and bool(manual.readings.text()))
        at.take("by-hand", DARK)
        manual.leave_button.click()
        at.wait(manual.take_button.isVisible)


def train(at: Operator) -> None:
    """A run whose cells were struck by faults: curves, and the faults on the map."""
    at.window.desk.open(_faulty_digits())
    at.window.run_bar.start_button.click()
    model = at.window.desk.model
    at.wait(lambda: bool(model.scans) and model.scans[-1].step >= 60 and model.progress[0] > 200)
    at.window.run_bar.pause_button.click()
    at.wait(lambda: model.state == "paused")
    at.panel(EntropyPanel).point_at(60)
    at.take("paused", LIGHT)
    at.panel(EntropyPanel).point_at(None)
    at.window.run_bar.pause_button.click()
    at.wait(lambda: model.state == "running")
    at.take("training", DARK)
    at.take("training-large", LARGE_DARK)
    _finish(at)


def light(at: Operator) -> None:
    """Three layers of scattered light."""
    text = apply_overrides(
        protocols.read("optical-digits")[1], ("schedule.epochs=100", "schedule.maps_every=20", "health.every=20")
    )
    Path("short-optical-digits.toml").write_text(text, encoding="utf-8")
    at.window.desk.open("short-optical-digits.toml")
    at.window.run_bar.start_button.click()
    at.wait(lambda: at.window.desk.model.progress[0] > 120)
    at.panel(MapsPanel)
    at.take("optics", LIGHT)
    _finish(at)


def queue(at: Operator) -> None:
    """A queue with a sweep, the first of its runs going on."""
    at.window.desk.open(_faulty_digits())
    panel = at.panel(QueuePanel)
    panel.add_button.click()
    panel.sweep_button.click()
    panel.key_edit.setText("rule.learning_rate")
    panel.values_edit.setText("0.01 to 0.04 in 3 log")
    panel.add_sweep_button.click()
    at.wait(lambda: all(item.estimate is not None for item in panel.queue.items))
    panel.start_button.click()
    at.wait(lambda: at.window.desk.model.progress[0] > 100)
    at.take("queue", DARK)
    panel.start_button.click()
    _finish(at)


def compare(at: Operator) -> None:
    """Two finished runs compared; a second window of the same runs would show the same."""
    for seed in (1, 2):
        _run("schedule.epochs=12", f"seed={seed}")
    at.new_window()
    panel = at.panel(RunsPanel)
    at.wait(lambda: len(panel.lines) >= 2 and not any(line.problem for line in panel.lines))
    at.window.desk.open_run(panel.lines[0].folder)
    at.wait(lambda: at.window.desk.model.ended and bool(at.window.desk.model.name))
    panel.table.selectRow(0)
    mode = panel.table.selectionMode()
    panel.table.setSelectionMode(panel.table.SelectionMode.MultiSelection)
    panel.table.selectRow(1)
    panel.table.setSelectionMode(mode)
    at.linger(1.5)
    at.take("runs", LIGHT)


def stop(at: Operator) -> None:
    """STOP: all off; then once more with a board whose link is dead."""
    with _board() as left, _board() as right:
        _open_boards(at, left[1], right[1])
        _start_on_boards(at)
        at.window.run_bar.stop_button.click()
        at.wait(_stopped(at))
        at.linger(0.5)
        at.take("stop-off", DARK)
        at.wait(lambda: not at.window.desk.busy)
        _start_on_boards(at)
        os.kill(right[0], signal.SIGKILL)
        at.window.run_bar.stop_button.click()
        at.wait(_stopped(at))
        at.linger(0.5)
        at.take("stop-not-confirmed", DARK)
        at.wait(lambda: not at.window.desk.busy)


def killed(at: Operator) -> None:
    """A run whose process has been killed."""
    at.window.desk.open(_faulty_digits())
    at.window.run_bar.start_button.click()
    at.wait(lambda: at.window.desk.model.progress[0] > 100)
    process = at.window.desk.process
    assert process is not None
    os.kill(process.pid, signal.SIGKILL)
    at.wait(lambda: at.window.desk.model.state == "killed")
    at.window.show_panel("log")
    at.take("killed", DARK)


SCENES: dict[str, Callable[[Operator], None]] = {
    "begin": begin,
    "edit": edit,
    "confirm": confirm,
    "by-hand": by_hand,
    "train": train,
    "light": light,
    "queue": queue,
    "compare": compare,
    "stop": stop,
    "killed": killed,
}


def _faulty_digits() -> str:
    """`memristor-digits`, shortened, with cells that fail at step 60."""
    settings = ("schedule.epochs=100", "schedule.maps_every=40", "schedule.evaluate_every=40", "scan.after_faults=true")
    path = Path("digits-with-faults.toml")
    text = protocols.read("memristor-digits")[1].replace('"memristor-digits"', '"digits-with-faults"')
    path.write_text(apply_overrides(text, settings) + _FAULTS, encoding="utf-8")
    return str(path)


def _open_boards(at: Operator, left: str, right: str) -> None:
    Path("two-boards.toml").write_text(_BOARDS.format(left=left, right=right), encoding="utf-8")
    at.window.desk.open("two-boards.toml")


def _start_on_boards(at: Operator) -> None:
    """Start, read the dry run the first time, and wait for the first steps."""
    view = at.panel(InstrumentsPanel).view
    at.window.run_bar.start_button.click()
    at.wait(lambda: view.isVisible() or at.window.desk.busy)
    if view.isVisible():
        view.yes.click()
    model = at.window.desk.model
    at.wait(lambda: model.state == "running" and model.progress[0] > 40)
    at.panel(MapsPanel)
    at.panel(LearningPanel)


def _stopped(at: Operator) -> Callable[[], bool]:
    return lambda: at.window.desk.last_stop is not None and at.window.desk.last_stop.done


def _finish(at: Operator) -> None:
    """Abort what still goes on, and wait for its end."""
    bar, desk = at.window.run_bar, at.window.desk
    at.wait(lambda: bar.abort_button.isEnabled() or not desk.busy)
    bar.abort_button.click()
    at.wait(lambda: not desk.busy)


def _run(*settings: str) -> None:
    options = [part for setting in settings for part in ("--set", setting)]
    subprocess.run(
        [sys.executable, "-m", "pib_lab.cli", "run", "memristor-digits", "--out", "runs", "--json", *options],
        check=True,
        capture_output=True,
    )


@contextmanager
def _board() -> Iterator[tuple[int, str]]:
    """An emulated crossbar board: the id of its process, and its address."""
    process = subprocess.Popen(
        [sys.executable, "-m", "pib_lab.cli", "emulate", "crossbar-board", "--fast", "--seed", "1"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        found = re.search('"(socket://[^"]+)"', process.stdout.readline())
        assert found is not None
        yield process.pid, found[1]
    finally:
        process.kill()
        process.wait()
