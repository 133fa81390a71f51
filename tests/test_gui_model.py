"""What the desktop knows of a run, how it comes to know it, and what it must not import; mostly without a window."""

from __future__ import annotations

import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import event_samples
import numpy as np
import pytest
import synthetic_run
from cli_tools import call
from gui_bench import Bench, bench
from hypothesis import given
from hypothesis import strategies as st

from gui import stop
from gui.bridge import Mailbox
from gui.curves import Curve, smoothed, thinned
from gui.history import Seen, read_history
from gui.model import CURVES, Item, LogLine, Lost, Opened, RunModel, Topic
from gui.processes import Order, start
from gui.sources import ReplaySource, RunSource
from gui.stop import DeviceOff, StopReport, Target, of_units
from pib_lab.endpoint import Endpoint, birth_of
from pib_lab.errors import RunFileError
from pib_lab.events import FaultsScanned, MadeSafe, Message, StepDone
from pib_lab.procedure_events import ProcedureFinished, ProcedureStarted
from pib_lab.service import Service

__all__ = ["bench"]

values = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=300)


def fed(items: list[Item]) -> RunModel:
    model = RunModel()
    for item in items:
        model.take(item)
    return model


def collected(source: RunSource | ReplaySource) -> list[Item]:
    """All that a source gives until it ends."""
    items: list[Item] = []
    source.feed(lambda item: items.append(item) or True, threading.Event())  # type: ignore[func-returns-value]
    return items


class Ignoring:
    """Takes commands and does nothing."""

    def post(self, verb: str) -> None:
        pass


@given(values, st.integers(4, 60))
def test_thinned_curve_keeps_its_extremes(numbers: list[float], most: int) -> None:
    """What is drawn of a long curve has its smallest and its largest value, in order, and not many more points."""
    given_values = np.array(numbers)
    steps, drawn = thinned(np.arange(len(numbers), dtype=float), given_values, most)
    assert drawn.min() == given_values.min()
    assert drawn.max() == given_values.max()
    assert (np.diff(steps) >= 0).all()
    assert len(steps) <= max(most, 2 * most)


@given(values, st.integers(1, 400))
def test_smoothing_is_the_mean_of_the_last_points(numbers: list[float], window: int) -> None:
    """Each smoothed value is the mean of the value and of those before it, `window` at most."""
    result = smoothed(np.array(numbers), window)
    expected = [np.mean(numbers[max(0, place - window + 1) : place + 1]) for place in range(len(numbers))]
    np.testing.assert_allclose(result, expected, atol=1e-3, rtol=1e-9)


@given(st.lists(st.floats(allow_infinity=False), max_size=2500))
def test_curve_keeps_every_number_and_no_nan(numbers: list[float]) -> None:
    """A curve holds what was appended but for NaN; it can be read at any step, and cut."""
    curve = Curve()
    for step, value in enumerate(numbers):
        curve.append(step, value)
    there = [(step, value) for step, value in enumerate(numbers) if value == value]
    assert list(zip(curve.steps.tolist(), curve.values.tolist(), strict=True)) == there
    if there:
        assert curve.value_at(len(numbers)) == curve.last == there[-1][1]
        assert np.isnan(curve.value_at(there[0][0] - 0.5))
        curve.cut(there[0][0])
        assert len(curve) == 1


def test_history_from_the_file_equals_the_events_themselves(tmp_path: Path, bench: Bench) -> None:
    """A model loaded from columns knows what one that was fed with every event knows."""
    events = synthetic_run.events()
    history, status = read_history(bench.record("run", events))
    loaded, told = fed([history]), fed(list(events))
    assert status == "finished"
    for name, curves in told.curves.items():
        for field in CURVES:
            np.testing.assert_array_equal(getattr(loaded.curves[name], field).values, getattr(curves, field).values)
            np.testing.assert_array_equal(getattr(loaded.curves[name], field).steps, getattr(curves, field).steps)
        np.testing.assert_array_equal(loaded.faulty_since[name] >= 0, told.faulty_since[name] >= 0)
        np.testing.assert_array_equal(loaded.maps[name].parameters, told.maps[name].parameters)
    for field in ("accuracy", "learning_rate", "pass_counts", "pulse_counts"):
        np.testing.assert_array_equal(getattr(loaded, field).values, getattr(told, field).values)
    for attribute in ("state", "progress", "passes", "pulses", "mock", "name", "ceiling_bits", "log"):
        assert getattr(loaded, attribute) == getattr(told, attribute)


def test_cell_is_faulty_since_the_step_at_which_it_was_first_found() -> None:
    """A later map or scan does not make a fault younger; a cell that works again has none."""
    first = event_samples.map_taken(3)
    faults = first.faults.copy()
    faults[0, 0, 0] = 2
    healed = replace(first, step=9)
    scan = FaultsScanned(5, "hidden-1", faults, 1, 1, 1, 1.0, 1.0)
    model = fed([event_samples.started(), first, scan, replace(first, step=7, faults=faults)])
    assert model.faulty_since["hidden-1"][0, 0, 0] == 5
    assert model.faulty_since["hidden-1"][1, 0, 0] == -1
    model.take(healed)
    assert model.faulty_since["hidden-1"][0, 0, 0] == -1


def test_resumed_run_takes_up_its_curves_at_the_checkpoint() -> None:
    """Steps after the checkpoint are done again, and stand in the curves once."""
    began = event_samples.started()
    model = fed([began, *(event_samples.step(index) for index in range(1, 9))])
    model.take(replace(began, first_step=5))
    for index in range(6, 11):
        model.take(event_samples.step(index))
    assert model.accuracy.steps.tolist() == list(range(1, 11))


def test_only_topics_that_changed_are_told() -> None:
    """A message concerns the log only; asking again finds nothing new."""
    model = fed([event_samples.started()])
    model.take_changes()
    model.take(Message("info", "hello"))
    assert model.take_changes() == {Topic.LOG}
    assert model.take_changes() == set()


def test_procedure_is_shown_like_a_run() -> None:
    """Bring-up procedures have name, state, badge, and an end with a verdict in the log."""
    begun = ProcedureStarted("scan-1", "scan-faults", "scan-faults", "chip", True, 0.0)
    model = fed([Opened(Path("scan-1"), live=True), begun])
    assert (model.name, model.state, model.mock) == ("scan-1", "starting", True)
    model.take(MadeSafe("chip", ("gate",), (), ""))
    model.take(ProcedureFinished("finished", "pass", 12))
    assert (model.state, model.pulses, model.ended) == ("finished", 12, True)
    assert model.log[-1] == LogLine("info", "verdict: pass")


def test_mailbox_keeps_all_but_older_maps() -> None:
    """Of a unit's maps the newest stays, everything else comes out in its order."""
    mailbox = Mailbox()
    items = [event_samples.step(1), event_samples.map_taken(1), event_samples.step(2), event_samples.map_taken(2)]
    for item in items:
        assert mailbox.put(item)
    taken = mailbox.take(10)
    assert [getattr(item, "step", 0) for item in taken] == [1, 2, 2]
    assert not len(mailbox)


def test_full_mailbox_lets_the_source_wait_until_there_is_room_or_nobody_listens() -> None:
    """Nothing is dropped: putting goes on when something was taken, and ends when the mailbox is closed."""
    mailbox = Mailbox(limit=2)
    results: list[bool] = []
    source = threading.Thread(target=lambda: [results.append(mailbox.put(event_samples.step(i))) for i in range(4)])
    source.start()
    taken: list[Item] = []
    while len(taken) < 2:
        taken += mailbox.take(1)
    mailbox.close()
    source.join(5)
    assert not source.is_alive()
    assert [item.step for item in taken if isinstance(item, StepDone)] == [0, 1]
    assert len(results) == 4


def test_events_that_the_file_told_of_are_known_as_often_as_it_holds_them(bench: Bench) -> None:
    """A repeated message is left out once for each time that it is in the file."""
    said = Message("info", "again", 1)
    history, _ = read_history(bench.record("run", [event_samples.started(), said, said]))
    seen = Seen(history)
    assert [seen.knows(said) for _ in range(3)] == [True, True, False]
    assert not seen.knows(Message("info", "other", 1))


def test_replay_keeps_the_recorded_pace_times_its_speed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits add up to the recorded time over the speed; a long pause is cut short; at infinite speed none are made."""
    times = iter([100.0 + 0.5 * index for index in range(40)] + [9000.0 + index for index in range(200)])
    monkeypatch.setattr("data.writer.time.time", lambda: next(times), raising=False)
    folder = bench.record("run", [event_samples.started(), *(event_samples.step(index) for index in range(1, 20))])
    from data.reader import Reader

    with Reader(folder) as reader:
        stamps = np.array([at_s for at_s, _ in reader.timed_events()])
    expected = np.minimum(np.diff(stamps) / 10.0, 1.0).sum()
    waits: list[float] = []
    collected(ReplaySource(folder, 10.0, waits.append))
    assert sum(waits) == pytest.approx(expected, abs=0.01)
    fast: list[float] = []
    items = collected(ReplaySource(folder, float("inf"), fast.append))
    assert not fast
    assert [item.step for item in items if isinstance(item, StepDone)] == list(range(1, 20))


def test_source_of_a_folder_without_run_says_so(tmp_path: Path) -> None:
    """A folder that holds no run is an error with what to do."""
    with pytest.raises(RunFileError, match="no run file"):
        collected(RunSource(tmp_path))


def test_file_of_a_killed_run_ends_with_what_to_do(bench: Bench) -> None:
    """A record whose process is gone is given whole, and as killed."""
    items = collected(RunSource(bench.record("run", [event_samples.started(), event_samples.step(1)])))
    assert isinstance(items[-1], Lost)
    assert items[-1].killed
    assert fed(items).state == "killed"


def test_devices_are_off_when_all_their_units_are() -> None:
    """Reports of units are gathered by device; what one could not confirm is named with the unit."""
    made = [MadeSafe("a", ("x",), (), ""), MadeSafe("b", (), ("y",), "no answer"), MadeSafe("c", ("z",), (), "")]
    one, two = of_units(made, {"a": "smu", "b": "smu", "c": "board"})
    assert (one.name, one.off, one.not_confirmed, one.detail) == ("smu", False, ("b: y",), "no answer")
    assert two == DeviceOff("board", ("c: z",))
    assert not StopReport("", (one, two), done=True).safe
    assert StopReport("", (two,), done=True).safe
    assert not StopReport("", (two,)).safe


def test_stop_of_a_silent_process_ends_it_and_tells_each_step(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A process that does not answer is ended, then its devices are commanded; each step is told as it begins."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    with Service(tmp_path, Ignoring()) as service:
        live = service._endpoint
        Endpoint(live.port, "another token", process.pid, birth_of(process.pid) or "").write(tmp_path)
        told: list[str] = []
        report = stop.stop(Target(tmp_path), lambda step: told.append(step.text), answer_s=0.2, safe_s=0.3)
    assert process.wait(10) != 0
    process.communicate()
    assert report.safe
    assert [device.name for device in report.devices] == ["smu"]
    assert "ending its process" in told[1]
    assert "commanding" in told[2]


def test_stop_never_raises(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """When even commanding the devices fails, the report says so, and to switch them off by hand."""
    monkeypatch.setattr("gui.processes.PROGRAM", ("/no/such/program",))
    report = stop.stop(Target(protocol="p"), lambda _: None)
    assert report.done
    assert not report.safe
    assert "by hand" in report.text


def test_several_targets_are_reported_together(bench: Bench) -> None:
    """Two protocols' devices are both in the last report, and one that is in doubt makes the whole unsafe."""
    told: list[StopReport] = []
    report = stop.stop_all([Target(protocol="good"), Target(protocol="stubborn")], told.append)
    assert [device.off for device in report.devices] == [True, False]
    assert not report.safe
    assert told[-1] == report
    assert not any(step.done for step in told[:-1])


def test_order_becomes_the_arguments_of_the_program(tmp_path: Path) -> None:
    """What to run is passed on whole: overrides, seed, mock; resume takes the place of all."""
    order = Order("digits", ("schedule.epochs=2",), 3, True)
    assert order.arguments(tmp_path)[1:] == [
        *("digits", "--out", str(tmp_path), "--json", "--set", "schedule.epochs=2", "--seed", "3", "--mock")
    ]
    assert Order(resume=tmp_path).arguments(tmp_path) == ["run", "--resume", str(tmp_path), "--json"]


def test_run_that_cannot_be_started_is_an_error(tmp_path: Path) -> None:
    """An output folder that cannot be made is told with its name."""
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFileError, match="could not be started"):
        start(Order("digits"), tmp_path / "file" / "runs")


def test_desktop_imports_neither_torch_nor_drivers() -> None:
    """Nothing the desktop imports, then or later, pulls in torch, VISA or drivers."""
    code = (
        "import os, sys; os.environ['QT_QPA_PLATFORM'] = 'offscreen'\n"
        "import gui.app, gui.history, data.reader, protocols, pib_lab.experiment\n"
        "print([name for name in ('torch', 'pyvisa', 'serial', 'drivers', 'pib_lab.lab') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parent.parent
    )
    assert done.stdout.strip() == "[]", done.stderr


def test_command_without_the_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """`pib-lab gui` without PySide6 ends with 2 and the line to type."""

    def missing(name: str) -> None:
        raise ImportError("No module named 'PySide6'", name="PySide6.QtCore")

    monkeypatch.setattr("pib_lab.commands.desktop.importlib.import_module", missing)
    result = call("gui")
    assert result.exit_code == 2
    assert "pip install 'pib-lab[gui]'" in result.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="other systems always have a screen")
def test_command_without_a_screen_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """`pib-lab gui` where there is no screen ends with 2 and a message, not with an abort of Qt."""
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(name, raising=False)
    result = call("gui")
    assert result.exit_code == 2
    assert "no screen" in result.stderr
