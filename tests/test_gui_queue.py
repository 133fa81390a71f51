"""The queue of runs: its rules, and what an operator does with its buttons."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_tools import PROTOCOL, call, last_line
from hypothesis import given
from hypothesis import strategies as st
from panels_bench import Panels, panels

from gui.confirmation import StartGate
from gui.dry_run import Estimate, estimate_of, short_count
from gui.panels.queue import QueuePanel
from gui.processes import Order
from gui.queue_model import ItemState, QueueModel, sweep_values
from gui.stop import DeviceOff, StopReport
from pib_lab.errors import ConfigurationError

__all__ = ["panels"]


def add(panel: QueuePanel, *protocols: str, mock: bool = True) -> None:
    """Choose each protocol and press Add."""
    panel.mock_box.setChecked(mock)
    for protocol in protocols:
        panel.protocol_box.setCurrentText(protocol)
        panel.add_button.click()


def column(panel: QueuePanel, number: int) -> list[str]:
    """Texts of one column of the table."""
    model = panel.table.model()
    return [str(model.index(row, number).data()) for row in range(model.rowCount())]


def test_entries_are_added_reordered_duplicated_and_removed(panels: Panels) -> None:
    """The buttons do to the chosen entries what they say."""
    panel = panels.show(QueuePanel)
    add(panel, "a", "b", "c")
    assert column(panel, 0) == ["a (mock)", "b (mock)", "c (mock)"]
    panel.table.selectRow(2)
    panel.up.click()
    assert column(panel, 0) == ["a (mock)", "c (mock)", "b (mock)"]
    panel.duplicate.click()
    assert column(panel, 0) == ["a (mock)", "c (mock)", "c (mock)", "b (mock)"]
    panel.table.selectRow(0)
    panel.down.click()
    assert column(panel, 0) == ["c (mock)", "a (mock)", "c (mock)", "b (mock)"]
    panel.remove.click()
    assert column(panel, 0) == ["c (mock)", "c (mock)", "b (mock)"]


def test_each_entry_shows_time_passes_and_wear_of_its_dry_run(panels: Panels) -> None:
    """Costs come from a dry run in another process; the footer adds up what waits."""
    panel = panels.show(QueuePanel)
    add(panel, "good", "good")
    panels.wait(lambda: column(panel, 4) == ["12.3 k", "12.3 k"])
    assert column(panel, 2) == ["1:00 min", "1:00 min"]
    assert column(panel, 3) == ["1.5 k", "1.5 k"]
    assert panel.total.text() == "2 waiting: 2:00 min, 3 k passes, ≤ 24.6 k pulses"


def test_protocol_that_the_dry_run_refuses_is_passed_over(panels: Panels) -> None:
    """A mistake is shown at the entry, and the queue runs the others."""
    panel = panels.show(QueuePanel)
    add(panel, "wrong", "good")
    panels.wait(lambda: column(panel, 5) == ["cannot be run", "waiting"])
    assert "learning_rate" in panel.table.item(0, 5).toolTip()  # type: ignore[union-attr]
    panel.start_button.click()
    panels.wait(lambda: column(panel, 5) == ["cannot be run", "finished"])


def test_sweep_adds_a_run_for_each_value(panels: Panels) -> None:
    """One parameter over values, the parameter offered from the protocol's schema."""
    panel = panels.show(QueuePanel)
    panel.protocol_box.setCurrentText("memristor-digits")
    panel.sweep_button.click()
    assert panel.sweep_bar.isVisible()
    completer = panel.key_edit.completer()
    completer.setCompletionPrefix("hidden-1.rule.learning")
    assert completer.currentCompletion() == "units.hidden-1.rule.learning_rate"
    panel.key_edit.setText("rule.learning_rate")
    panel.values_edit.setText("0.01 to 0.04 in 3 log")
    panel.add_sweep_button.click()
    expected = ["rule.learning_rate=0.01", "rule.learning_rate=0.02", "rule.learning_rate=0.04"]
    assert column(panel, 1) == expected


def test_sweep_without_values_says_how_to_write_them(panels: Panels) -> None:
    """A mistake adds nothing and is told beside the fields, not in a dialog."""
    panel = panels.show(QueuePanel)
    panel.sweep_button.click()
    panel.key_edit.setText("rule.learning_rate")
    panel.add_sweep_button.click()
    assert column(panel, 0) == []
    assert "0.01, 0.02" in panel.message.text()


def test_queue_runs_all_in_order(panels: Panels) -> None:
    """One after the other, each with its changes."""
    panel = panels.show(QueuePanel)
    add(panel, "good")
    panel.sweep_button.click()
    panel.key_edit.setText("seed")
    panel.values_edit.setText("1, 2")
    panel.add_sweep_button.click()
    panel.start_button.click()
    panels.wait(lambda: column(panel, 5) == ["finished"] * 3)
    assert panels.started() == ["good --mock", "good --set seed=1 --mock", "good --set seed=2 --mock"]
    panels.wait(lambda: not panel.going)
    assert panel.start_button.text() == "Start queue"


def test_failed_run_holds_the_queue_unless_asked_to_go_on(panels: Panels) -> None:
    """After a failure nothing is started before an operator says so; with the box ticked the next one is."""
    panel = panels.show(QueuePanel)
    add(panel, "bad", "good", "bad", "good")
    panel.start_button.click()
    panels.wait(lambda: panel.held_bar.isVisible())
    assert column(panel, 5) == ["failed: bad it was", "waiting", "waiting", "waiting"]
    panel.go_on_box.setChecked(True)
    panel.release_button.click()
    panels.wait(lambda: column(panel, 5)[1:] == ["finished", "failed: bad it was", "finished"])


def test_nothing_runs_after_outputs_that_may_be_on(panels: Panels) -> None:
    """Exit code 3 holds the queue in red, also when it was asked to go on after failures."""
    panel = panels.show(QueuePanel)
    panel.go_on_box.setChecked(True)
    add(panel, "unsafe", "good")
    panel.start_button.click()
    panels.wait(lambda: panel.held_bar.isVisible())
    assert "NOT confirmed off" in panel.held_label.text()
    assert panel.release_button.text() == "I have checked the outputs: go on"
    assert not panel.start_button.isEnabled()
    assert panels.started() == ["unsafe --mock"]
    panel.release_button.click()
    panels.wait(lambda: column(panel, 5)[1] == "finished")


def test_stop_holds_the_queue(panels: Panels) -> None:
    """Nothing is started by itself after STOP; in doubt an operator has to have looked."""
    panel = panels.show(QueuePanel)
    add(panel, "good")
    panels.desk.stop_told.emit(StopReport("asking the run to switch off"))
    assert panel.held_label.text() == "STOP was pressed"
    panels.desk.stop_told.emit(StopReport("", (DeviceOff("smu", (), ("output",)),), done=True))
    assert panel.release_button.text() == "I have checked the outputs: go on"
    assert not panel.start_button.isEnabled()


def test_real_hardware_is_confirmed_before_its_first_start(panels: Panels) -> None:
    """The dry run is shown in the panel; nothing starts before it was confirmed, and it is asked once a protocol."""
    panel = panels.show(QueuePanel)
    add(panel, "good", "good", mock=False)
    panel.start_button.click()
    panels.wait(panel.view.isVisible)
    assert panel.view.table.item(0, 1).text() == "board"  # type: ignore[union-attr]
    assert "200 mV" in panel.view.words.text()
    assert "pulses may run out" in panel.view.words.text()
    assert panels.started() == []
    panel.view.no.click()
    assert not panel.going
    panel.start_button.click()
    panels.wait(panel.view.isVisible)
    panel.view.yes.click()
    panels.wait(lambda: column(panel, 5) == ["finished"] * 2)
    assert not panel.view.isVisible()


def test_queue_waits_while_a_run_goes_on(panels: Panels) -> None:
    """A second run is started only after the first one has ended, and the running entry cannot be removed."""
    panel = panels.show(QueuePanel)
    add(panel, "waits", "good")
    panel.start_button.click()
    panels.wait(lambda: panels.started() == ["waits --mock"])
    panel.advance()
    panel.table.selectRow(0)
    panel.remove.click()
    assert "abort it" in panel.message.text()
    assert column(panel, 5) == ["running", "waiting"]
    (panels.out / "waits.go").touch()
    panels.wait(lambda: column(panel, 5) == ["finished", "finished"])


@pytest.mark.parametrize(
    ("code", "safe", "state", "unsafe"),
    [
        (0, None, ItemState.FINISHED, False),
        (0, False, ItemState.NOT_SAFE, True),
        (2, None, ItemState.FAILED, False),
        (3, True, ItemState.NOT_SAFE, True),
        (1, None, ItemState.NOT_SAFE, True),
        (1, True, ItemState.FAILED, False),
        (130, None, ItemState.ABORTED, False),
        (-9, None, ItemState.NOT_SAFE, True),
    ],
)
def test_end_of_a_run_decides_whether_the_queue_goes_on(
    code: int, safe: bool | None, state: ItemState, unsafe: bool
) -> None:
    """What is not known to be off counts as on; only a finished run, or a failed one if asked to, is followed."""
    queue = QueueModel()
    queue.go_on_after_failure = True
    for protocol in ("first", "second"):
        queue.add(protocol)
    item = queue.take_next()
    assert item is not None
    assert queue.ended(item.number, code, "why", safe).state is state
    assert queue.unsafe is unsafe
    assert (queue.take_next() is not None) is (state in (ItemState.FINISHED, ItemState.FAILED))


def test_late_dry_run_does_not_hide_how_a_run_ended() -> None:
    """A run may be over before its dry run is: why it failed stays to be read."""
    queue = QueueModel()
    item = queue.add("first")
    queue.take_next()
    queue.ended(item.number, 2, "no such port")
    queue.estimated(item.number, Estimate(1.0, 2, 3, True))
    queue.refused(item.number, "something else")
    assert (queue.items[0].problem, queue.items[0].state) == ("no such port", ItemState.FAILED)


def test_later_reason_does_not_hide_an_unsafe_one() -> None:
    """Once outputs may be on, the queue is held for that reason until an operator has looked."""
    queue = QueueModel()
    queue.stopped(safe=False)
    queue.stopped(safe=True)
    queue.hold("something else")
    assert "STOP did not confirm" in queue.held
    queue.release()
    assert queue.held == ""


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=9))
def test_listed_values_come_back_as_they_were_written(values: list[float]) -> None:
    """A list of values is taken apart at its commas and nowhere else."""
    assert sweep_values(", ".join(map(repr, values))) == [repr(value) for value in values]


@given(st.integers(-1000, 1000), st.integers(-1000, 1000), st.integers(2, 50))
def test_even_values_begin_and_end_where_they_should(first: int, last: int, count: int) -> None:
    """FROM to TO in COUNT gives COUNT values from one end to the other."""
    values = [float(value) for value in sweep_values(f"{first} to {last} in {count}")]
    assert len(values) == count
    assert (values[0], values[-1]) == (first, last)


def test_commas_inside_a_value_do_not_part_it() -> None:
    """Inline tables and texts may be swept too."""
    assert sweep_values('{name="renyi", beta=0.1}, "a, b"') == ['{name="renyi", beta=0.1}', '"a, b"']


@pytest.mark.parametrize("text", ["", " , ", "1 to 2 in x", "0 to 1 in 3 log", "1 to 2 in 1", "1 to 2 in 3 lin"])
def test_values_that_cannot_be_read_are_refused(text: str) -> None:
    """The message shows how values are written."""
    with pytest.raises(ConfigurationError, match=r"write|above zero"):
        sweep_values(text)


@pytest.mark.parametrize("key", ["", "a=b", "rule.", ".rule"])
def test_sweep_of_no_parameter_is_refused(key: str) -> None:
    """Nothing is added for a key that is no path."""
    queue = QueueModel()
    with pytest.raises(ConfigurationError, match="path of a parameter"):
        queue.sweep("protocol", key, "1, 2")
    assert queue.items == []


def test_shipped_mock_needs_no_confirmation_and_a_board_does() -> None:
    """A protocol of shipped mocks starts at once; a change of its driver to a real one has to be confirmed."""
    gate = StartGate()
    assert not gate.needs(Order("memristor-digits"))
    assert gate.needs(Order("memristor-board-digits"))
    assert not gate.needs(Order("memristor-board-digits", mock=True))
    assert gate.needs(Order("memristor-digits", ("hardware.chip.driver=memristor-board",)))
    gate.confirm(Order("memristor-board-digits"))
    assert not gate.needs(Order("memristor-board-digits"))
    assert gate.needs(Order("memristor-board-digits", ("limits.drive=1 V",)))


@pytest.mark.parametrize(("driver", "mock"), [("mock-memristor-chip", True), ("memristor-board", False)])
def test_real_dry_run_is_understood(tmp_path: Path, driver: str, mock: bool) -> None:
    """What `pib-lab check --json` prints has all that is shown, and says whether real devices would be driven."""
    address = "" if mock else 'address = "socket://127.0.0.1:9"\n'
    text = PROTOCOL.replace('driver = "mock-memristor-chip"\n', f'driver = "{driver}"\n{address}')
    (tmp_path / "tiny.toml").write_text(text)
    estimate = estimate_of(0, last_line(call("check", tmp_path / "tiny.toml", "--json")), "")
    assert estimate.mock is mock
    assert [unit.shape for unit in estimate.units] == ["64 x 8", "8 x 10"]
    assert estimate.passes > 0
    assert estimate.time_s > 0


def test_dry_run_of_another_version_is_refused() -> None:
    """A dry run that lacks something says what, instead of showing zeros."""
    with pytest.raises(ConfigurationError, match="units"):
        estimate_of(0, {"passes": {}}, "")


@pytest.mark.parametrize(("count", "text"), [(0, "0"), (950, "950"), (12_345, "12.3 k"), (4_361_197, "4.36 M")])
def test_large_counts_are_shown_in_three_digits(count: int, text: str) -> None:
    """Counts of pulses fit into a narrow column."""
    assert short_count(count) == text
