"""The desktop through the widgets that a person uses: runs in processes of their own, STOP, attach, replay, layout."""

from __future__ import annotations

import math
import os
import signal
import sys
from pathlib import Path
from typing import ClassVar

import event_samples
import pytest
import synthetic_run
from cli_tools import PROTOCOL
from gui_bench import LIVE_MS, OURS, Bench, bench

from gui import processes, theme
from gui.model import RunModel, Topic, UnitCurves
from gui.panel import Panel
from gui.panels import Place, Placed
from gui.sources import is_live
from pib_lab.client import Client
from pib_lab.events import MadeSafe, RunFinished
from pib_lab.records import Passes

__all__ = ["bench"]


def test_run_is_started_paused_resumed_and_aborted_by_its_buttons(bench: Bench) -> None:
    """Start, Pause, Resume and Abort do what they say, and each is enabled only when it can be done."""
    window = bench.open()
    bar = window.run_bar
    assert not bar.start_button.isEnabled()
    bench.start(window, "plain")
    assert bar.badge.text() == "MOCK"
    assert not bar.start_button.isEnabled()
    assert "of 100,000" in bar.progress.format()
    assert "left" in bar.progress.format()
    bar.pause_button.click()
    bench.wait_for_state(window, "paused")
    bench.qtbot.waitUntil(lambda: bar.pause_button.text() == "Resume")
    bar.pause_button.click()
    bench.wait_for_state(window, "running")
    bench.qtbot.waitUntil(lambda: bar.pause_button.text() == "Pause" and bar.abort_button.isEnabled())
    with bench.qtbot.waitSignal(window.desk.run_ended, timeout=LIVE_MS):
        bar.abort_button.click()
    assert window.desk.model.state == "aborted"
    assert window.desk.process is not None
    assert window.desk.process.code == 130
    bench.qtbot.waitUntil(lambda: bar.start_button.isEnabled() and not bar.abort_button.isEnabled())


def test_run_that_does_not_begin_says_why(bench: Bench) -> None:
    """The error of a run that could not start is in the log, and Start can be pressed again."""
    window = bench.open()
    window.desk.protocol = "fails"
    window.desk.ask_start()
    panel = window.panels["log"]
    bench.qtbot.waitUntil(lambda: "no such port" in panel.view.toPlainText(), timeout=LIVE_MS)  # type: ignore[attr-defined]
    bench.wait_for_state(window, "idle")
    bench.qtbot.waitUntil(window.run_bar.start_button.isEnabled, timeout=LIVE_MS)


def test_bad_protocol_is_told_without_a_dialog(bench: Bench) -> None:
    """A protocol that does not exist is told in a band, with the nearest name; the former choice stays."""
    window = bench.open()
    window.desk.open("memristor-digits")
    window.desk.open("memristor-digitz")
    assert window.notice_band.isVisible()
    assert "did you mean" in window.notice_band.words.text()
    assert window.desk.protocol == "memristor-digits"
    assert window.run_bar.protocol_box.currentText() == "memristor-digits"


def test_stop_switches_a_running_run_off_and_says_so_per_device(bench: Bench) -> None:
    """STOP asks the live run, and its device is then shown as off."""
    window = bench.open()
    bench.start(window, "plain")
    window.run_bar.stop_button.click()
    bench.qtbot.waitUntil(lambda: window.desk.last_stop is not None and window.desk.last_stop.done, timeout=LIVE_MS)
    assert window.desk.last_stop is not None
    assert window.desk.last_stop.safe
    assert window.safe_band.isVisible()
    assert [line.text() for line in window.safe_band.lines.values()] == ["✔ chip: off"]
    bench.wait_for_state(window, "aborted")


def test_stop_key_works_while_paused(bench: Bench) -> None:
    """F12 does what the button does, also while a run is paused."""
    window = bench.open()
    bench.start(window, "plain")
    window.run_bar.pause_button.click()
    bench.wait_for_state(window, "paused")
    action = next(action for action in window.actions() if "STOP" in action.text().replace("&", ""))
    assert {key.toString() for key in action.shortcuts()} == {"F12", "Ctrl+."}
    action.trigger()
    bench.wait_for_state(window, "aborted")


def test_stop_ends_a_run_that_does_not_obey_and_commands_its_devices(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked in vain, STOP ends the process and has `pib-lab safe` command the devices."""
    monkeypatch.setattr("gui.stop.stop.__kwdefaults__", {"answer_s": 1.5, "safe_s": 0.2})
    window = bench.open()
    bench.start(window, "hangs")
    window.run_bar.stop_button.click()
    bench.qtbot.waitUntil(lambda: window.desk.last_stop is not None and window.desk.last_stop.done, timeout=LIVE_MS)
    assert [line.text() for line in window.safe_band.lines.values()] == ["✔ smu: off"]
    assert window.desk.process is not None
    assert window.desk.process.poll() == -signal.SIGKILL
    bench.wait_for_state(window, "killed")


def test_stop_without_a_live_run_commands_the_devices_of_the_last_one(bench: Bench) -> None:
    """STOP on an ended run commands its devices; one that cannot be read back is shown in red, by name."""
    window = bench.open()
    window.desk.open_run(bench.record("stubborn", event_samples.whole_run()))
    bench.wait_for_state(window, "finished")
    window.run_bar.stop_button.click()
    bench.qtbot.waitUntil(lambda: window.desk.last_stop is not None and window.desk.last_stop.done, timeout=LIVE_MS)
    assert window.desk.last_stop is not None
    assert not window.desk.last_stop.safe
    (line,) = window.safe_band.lines.values()
    assert "smu: NOT confirmed off: output" in line.text()
    assert theme.STOP_RED in line.styleSheet()


def test_stop_with_nothing_open_says_so(bench: Bench) -> None:
    """Without run and protocol STOP says that there is no device to switch off."""
    window = bench.open()
    window.run_bar.stop_button.click()
    bench.qtbot.waitUntil(lambda: "no device" in window.safe_band.headline.text(), timeout=LIVE_MS)


def test_run_that_ends_in_doubt_is_shown_in_red(bench: Bench) -> None:
    """Outputs that a run itself could not read back off are shown without anyone pressing STOP."""
    window = bench.open()
    bench.start(window, "doubtful")
    window.run_bar.abort_button.click()
    bench.qtbot.waitUntil(window.safe_band.isVisible, timeout=LIVE_MS)
    (line,) = window.safe_band.lines.values()
    assert "chip: NOT confirmed off: read-out: word lines" in line.text()


def test_killed_run_is_told_from_an_ended_one(bench: Bench) -> None:
    """When a run's process is killed the state says so, with all steps up to then, and the log says what to do."""
    window = bench.open()
    bench.start(window, "plain")
    assert window.desk.process is not None
    os.kill(window.desk.process.pid, signal.SIGKILL)
    bench.wait_for_state(window, "killed")
    assert "killed" in window.run_bar.light.text()
    assert any("STOP switches" in line.text for line in window.desk.model.log)
    steps = window.desk.model.accuracy.steps
    assert steps.tolist() == list(range(1, len(steps) + 1))


def test_desktop_attaches_to_a_run_of_another_with_its_history(bench: Bench) -> None:
    """A second desktop that opens a live run has all its steps once, from the first, and follows it."""
    first = bench.open()
    bench.start(first, "plain")
    folder = first.desk.folder
    assert folder is not None
    second = bench.open()
    second.desk.open(str(folder))
    reached = first.desk.model.progress[0] + 20
    bench.qtbot.waitUntil(lambda: second.desk.model.progress[0] >= reached, timeout=LIVE_MS)
    steps = second.desk.model.accuracy.steps
    assert steps.tolist() == list(range(1, len(steps) + 1))
    assert [line.text for line in second.desk.model.log].count("running") == 1
    second.run_bar.abort_button.click()
    bench.wait_for_state(first, "aborted")
    bench.wait_for_state(second, "aborted")


def test_closing_asks_without_a_dialog_and_never_ends_the_run(bench: Bench) -> None:
    """With a run going on the first close only asks, in a band; the answer closes the window, and the run goes on."""
    window = bench.open()
    bench.start(window, "plain")
    folder, process = window.desk.folder, window.desk.process
    assert folder is not None
    assert process is not None
    assert not window.close()
    assert window.question_band.isVisible()
    window.question_band.press("Close, the run goes on")
    assert not window.isVisible()
    with Client(folder, timeout_s=10) as client:
        assert client.status()["state"] == "running"
    assert process.poll() is None


def test_staying_keeps_the_question_for_the_next_close(bench: Bench) -> None:
    """After "Stay" the next close asks again."""
    window = bench.open()
    bench.start(window, "plain")
    assert not window.close()
    window.question_band.press("Stay")
    assert not window.close()
    assert window.isVisible()


def test_window_can_close_when_the_run_has_been_aborted(bench: Bench) -> None:
    """ "Abort the run and close" closes once the run's process has gone."""
    window = bench.open()
    bench.start(window, "plain")
    process = window.desk.process
    assert process is not None
    window.close()
    window.question_band.press("Abort the run and close")
    bench.qtbot.waitUntil(lambda: not window.isVisible(), timeout=LIVE_MS)
    assert process.code == 130


def test_finished_run_is_shown_and_replayed(bench: Bench) -> None:
    """A finished run opens whole; Replay shows it again from its beginning, and says that it is one."""
    folder = bench.record("past", synthetic_run.events())
    window = bench.open()
    window.desk.open(str(folder / "run.h5"))
    bench.wait_for_state(window, "finished")
    whole = {name: curves.loss.values.tolist() for name, curves in window.desk.model.curves.items()}
    window.run_bar.speed_box.setCurrentText("at once")
    bench.qtbot.waitUntil(window.run_bar.replay_button.isEnabled)
    window.run_bar.replay_button.click()
    bench.qtbot.waitUntil(lambda: window.desk.model.replay and window.desk.model.ended, timeout=LIVE_MS)
    assert {name: curves.loss.values.tolist() for name, curves in window.desk.model.curves.items()} == whole
    assert window.run_bar.badge.text() == "REPLAY of MOCK"
    assert window.desk.model.maps.keys() == whole.keys()


def test_replay_can_be_held(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pause holds a replay, Resume lets it go on, at the speed that is chosen then."""
    folder = bench.record("past", synthetic_run.events())
    window = bench.open()
    window.desk.replay_run(folder, 1e-3)
    bench.qtbot.waitUntil(lambda: window.desk.model.state == "running", timeout=LIVE_MS)
    bench.qtbot.waitUntil(window.run_bar.pause_button.isEnabled)
    window.run_bar.pause_button.click()
    bench.qtbot.waitUntil(lambda: window.run_bar.pause_button.text() == "Resume")
    assert "held" in window.run_bar.light.text()
    window.run_bar.speed_box.setCurrentText("at once")
    window.run_bar.pause_button.click()
    bench.qtbot.waitUntil(lambda: window.desk.model.ended, timeout=LIVE_MS)


def test_real_hardware_cannot_be_overlooked(bench: Bench) -> None:
    """A run on real devices has another badge, and the stripe over the whole window its colour."""
    window = bench.open()
    window.desk.open_run(bench.record("real", [event_samples.started(mock=False), event_samples.finished()]))
    bench.qtbot.waitUntil(lambda: window.run_bar.badge.text() == "REAL HARDWARE", timeout=LIVE_MS)
    assert theme.REAL_ORANGE in window.run_bar.badge.styleSheet()
    assert theme.REAL_ORANGE in window.stripe.styleSheet()


def test_theme_is_switched_and_kept(bench: Bench) -> None:
    """Dark becomes light for everything at once, and the next session begins with it."""
    window = bench.open()
    assert window.palette().window().color().name() == theme.DARK.window
    window.switch_theme()
    assert window.palette().window().color().name() == theme.LIGHT.window
    assert window.panels["entropy"].input_plot.backgroundBrush().color().name() == theme.LIGHT.plot  # type: ignore[attr-defined]
    assert bench.settings().value("theme") == "light"
    window.use_theme("dark")


def test_layout_is_kept_and_can_be_reset(bench: Bench) -> None:
    """Where panels stand is restored in the next session; resetting brings the first layout back."""
    first = bench.open()
    first.docks["log"].hide()
    first.docks["learning"].setFloating(True)
    first.resize(1000, 700)  # wider than the screen of the tests, which the width is cut to
    first.close()
    second = bench.open()
    assert not second.docks["log"].isVisible()
    assert second.docks["learning"].isFloating()
    assert second.height() == 700
    second.reset_layout()
    assert second.docks["log"].isVisible()
    assert not second.docks["learning"].isFloating()


class BrokenPanel(Panel):
    """Raises as soon as it has something to show."""

    name: ClassVar[str] = "broken"
    title: ClassVar[str] = "Broken"
    topics: ClassVar[frozenset[Topic]] = frozenset({Topic.LEARNING})
    empty_text: ClassVar[str] = "nothing yet"

    def is_empty(self, model: RunModel) -> bool:
        return not len(model.accuracy)

    def refresh(self, model: RunModel) -> None:
        raise ValueError("a defect of this panel")


def test_panel_that_raises_is_detached_and_the_rest_goes_on(bench: Bench) -> None:
    """Its place says what went wrong, the operator is told, the run and the other panels go on."""
    window = bench.open((Placed(BrokenPanel, Place.LEFT), *OURS[1:]))
    bench.start(window, "plain")
    bench.qtbot.waitUntil(lambda: window.panels["broken"].failed, timeout=LIVE_MS)
    assert "a defect of this panel" in window.panels["broken"]._note.text()
    assert "run is not affected" in window.notice_band.words.text()
    reached = window.desk.model.progress[0]
    bench.qtbot.waitUntil(lambda: window.desk.model.progress[0] > reached, timeout=LIVE_MS)
    learning = window.panels["learning"]
    assert not learning.failed
    assert is_live(window.desk.folder or Path())


def test_empty_panels_say_what_will_appear(bench: Bench) -> None:
    """Before a run every panel says in its place what it will show."""
    window = bench.open()
    for panel in window.panels.values():
        bench.qtbot.waitUntil(panel._note.isVisible)
        assert "appears here" in panel._note.text()


def test_entropy_is_read_at_the_cursor_in_bits(bench: Bench) -> None:
    """At the cursor the readout has each unit's bits at that step, else the latest ones; the ceiling is drawn."""
    window = bench.open()
    window.desk.open_run(bench.record("past", synthetic_run.events()))
    panel = window.panels["entropy"]
    bench.qtbot.waitUntil(lambda: "hidden-1" in panel.readout.text(), timeout=LIVE_MS)  # type: ignore[attr-defined]
    curves = window.desk.model.curves["hidden-1"]
    assert f"{curves.i_xz.last:.2f} / {curves.i_zy.last:.2f}".replace(" ", "&nbsp;") in panel.readout.text()  # type: ignore[attr-defined]
    panel.point_at(22.4)  # type: ignore[attr-defined]
    assert (
        f"{curves.i_xz.value_at(21):.2f} / {curves.i_zy.value_at(21):.2f}".replace(" ", "&nbsp;")
        in panel.readout.text()
    )  # type: ignore[attr-defined]
    assert "step 22" in panel.step_label.text()  # type: ignore[attr-defined]
    assert panel.input_plot._limits["ceiling"].value() == math.log2(128)  # type: ignore[attr-defined]


def test_past_run_is_drawn_as_a_ghost(bench: Bench) -> None:
    """A past run that is chosen is drawn behind the curves, and goes when none is chosen."""
    bench.record("past", synthetic_run.events())
    window = bench.open()
    window.desk.open_run(bench.record("present", synthetic_run.events(total_steps=30)))
    bench.wait_for_state(window, "finished")
    panel = window.panels["entropy"]
    panel.ghost_box.list_runs()  # type: ignore[attr-defined]
    assert panel.ghost_box.findText("present") < 0  # type: ignore[attr-defined]
    window.desk.choose_ghost(panel.ghost_box.itemData(1))  # type: ignore[attr-defined]
    drawn = panel.input_plot.curves  # type: ignore[attr-defined]
    bench.qtbot.waitUntil(lambda: ("ghost", "hidden-1") in drawn, timeout=LIVE_MS)
    window.desk.choose_ghost(None)
    assert ("ghost", "hidden-1") not in drawn


def test_smoothing_is_applied_to_the_curves(bench: Bench) -> None:
    """Smoothing over n points draws means of n points."""
    window = bench.open()
    window.desk.open_run(bench.record("past", synthetic_run.events()))
    panel = window.panels["learning"]
    bench.qtbot.waitUntil(lambda: "batch" in panel.readout.text(), timeout=LIVE_MS)  # type: ignore[attr-defined]
    panel.smoothing.setValue(4)  # type: ignore[attr-defined]
    drawn = panel.loss_plot.curves["hidden-1"].values  # type: ignore[attr-defined]
    loss = window.desk.model.curves["hidden-1"].loss.values
    assert drawn[-1] == pytest.approx(loss[-4:].mean())


def test_log_is_filtered_by_level_and_words(bench: Bench) -> None:
    """The log shows only the levels and the words that are asked for."""
    window = bench.open()
    log = window.panels["log"]
    for level, text in (("info", "one fish"), ("warning", "two fish"), ("error", "a <b>bird</b>")):
        window.desk.notice(level, text)
    view = log.view  # type: ignore[attr-defined]
    bench.qtbot.waitUntil(lambda: "bird" in view.toPlainText())
    assert "a <b>bird</b>" in view.toPlainText()
    log.level_box.setCurrentText("warnings and errors")  # type: ignore[attr-defined]
    assert "one fish" not in view.toPlainText()
    log.filter_line.setText("FISH")  # type: ignore[attr-defined]
    assert view.toPlainText().split() == ["▲", "warning", "two", "fish"]


def test_nothing_is_lost_when_stop_comes_before_the_run_begins(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """STOP right after Start ends the process, before or after it has opened its folder, and says what is off."""
    window = bench.open()
    window.desk.protocol = "plain"
    window.desk.ask_start()
    window.desk.stop()
    bench.qtbot.waitUntil(lambda: window.desk.last_stop is not None and window.desk.last_stop.done, timeout=LIVE_MS)
    assert window.desk.last_stop is not None
    assert window.desk.last_stop.safe
    bench.qtbot.waitUntil(lambda: not window.desk.busy, timeout=LIVE_MS)


def test_real_program_is_started_watched_and_stopped(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With `pib-lab` itself: a protocol file is started on mocks, its entropies arrive, STOP has its device off."""
    monkeypatch.setattr(processes, "PROGRAM", (sys.executable, "-m", "pib_lab.cli"))
    path = tmp_path / "tiny.toml"
    path.write_text(PROTOCOL.replace("epochs = 2", "epochs = 100000"))
    window = bench.open()
    window.desk.open(str(path))
    bench.qtbot.waitUntil(window.run_bar.start_button.isEnabled)
    window.run_bar.start_button.click()
    bench.qtbot.waitUntil(lambda: len(window.desk.model.curves.get("hidden", UnitCurves()).i_xz) > 1, timeout=60_000)
    window.run_bar.stop_button.click()
    bench.qtbot.waitUntil(lambda: window.desk.last_stop is not None and window.desk.last_stop.done, timeout=LIVE_MS)
    assert [line.text() for line in window.safe_band.lines.values()] == ["✔ chip: off"]
    bench.wait_for_state(window, "aborted")
    with bench.qtbot.waitSignal(window.desk.run_ended, timeout=60_000):
        pass


def test_second_start_is_refused_while_a_run_goes_on(bench: Bench) -> None:
    """Start, by whatever way, is refused with a reason while a run is going on."""
    window = bench.open()
    bench.start(window, "plain")
    window.desk.ask_start()
    assert "a run is going on" in window.notice_band.words.text()


def test_ending_tells_the_exit_code_after_all_events(bench: Bench) -> None:
    """`run_ended` comes once, with the exit code, when all the run's events are in the model."""
    window = bench.open()
    ended = []
    window.desk.run_ended.connect(lambda process: ended.append((process.code, window.desk.model.state)))
    window.desk.protocol = "short"
    window.desk.ask_start()
    bench.qtbot.waitUntil(lambda: bool(ended), timeout=LIVE_MS)
    assert ended == [(0, "finished")]
    assert isinstance(window.desk.model.status.finished, RunFinished)
    assert all(isinstance(made, MadeSafe) for made in window.desk.model.safe.values())
    assert window.desk.model.passes == Passes()
