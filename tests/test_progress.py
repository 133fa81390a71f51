"""Progress: a live table in a terminal, plain lines in a log."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from event_samples import finished, started, step, whole_run
from rich.console import Console

from pib_lab.events import StateChanged
from pib_lab.progress import duration, make_progress, picture, plain_line, summary
from pib_lab.records import Passes, RunState
from pib_lab.status import RunStatus


def shown(terminal: bool, steps: int) -> str:
    """What a run of `steps` steps leaves in the output."""
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=140)
    with make_progress(console) as progress:
        progress.show(started(total_steps=steps))
        for index in range(1, steps + 1):
            progress.show(step(index))
    return out.getvalue()


def test_log_gets_a_line_every_twentieth_and_no_control_characters() -> None:
    """Without a terminal a run of 1,000 steps is about twenty plain lines; the last tells the last step."""
    lines = shown(terminal=False, steps=1000).splitlines()
    assert 20 <= len(lines) <= 22
    assert lines[-1].startswith("step 1000/1000")
    assert all(line.isprintable() for line in lines)
    assert "I(X;Z) 2.50" in lines[-1]
    assert "of 7.00 bits" in lines[-1]


def test_terminal_gets_few_redraws() -> None:
    """In a terminal the picture is redrawn by the clock, not at every event."""
    assert shown(terminal=True, steps=2000).count("hidden-1") < 100


def text_of(*renderables: object) -> str:
    console = Console(file=io.StringIO(), width=140)
    for renderable in renderables:
        console.print(renderable)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_every_event_can_be_shown() -> None:
    """Every kind of event can be shown, in either form; the picture tells units, ceiling, accuracies and passes."""
    for terminal in (True, False):
        with make_progress(Console(file=io.StringIO(), force_terminal=terminal, width=140)) as progress:
            for event in whole_run():
                progress.show(event)
    drawn = text_of(picture(progress.status, {unit.name: unit for unit in step(20).units}))
    for expected in ("MOCK", "finished", "step 20/20", "read-out", "of 7.00 bits", "test 96.0%", "passes: 5,420"):
        assert expected in drawn


def test_real_hardware_cannot_be_overlooked() -> None:
    """A run that is not on mocks says so in its header."""
    status = RunStatus()
    status.show(started(mock=False))
    assert "REAL HARDWARE" in text_of(picture(status, {}))


def test_nothing_known_yet() -> None:
    """Before the first event, and before the first step, there is something to show."""
    status = RunStatus()
    assert "preparing" in text_of(picture(status, {}))
    assert plain_line(status, {}) == "starting"
    status.show(started())
    assert "step 0/20" in text_of(picture(status, {}))
    assert status.remaining_s is None


def test_time_left_counts_the_steps_of_all_sessions() -> None:
    """After a resume the time left comes from all steps, for the elapsed time is that of all sessions, too."""
    status = RunStatus()
    status.show(replace(started(total_steps=20), first_step=10))
    status.show(replace(step(12), elapsed_s=24.0))
    assert status.remaining_s == pytest.approx(16.0)
    status.show(StateChanged(RunState.PAUSED, 12))
    assert status.word == "paused"


def test_summary_tells_wear_and_unsafe_outputs() -> None:
    """The summary tells wear and its time at 10 us and 1 ms a pulse, passes by kind, and what is NOT confirmed off."""
    status = RunStatus()
    for event in whole_run():
        status.show(event)
    drawn = text_of(summary(status))
    assert "480 pulses, 10.0 per cell; at 10 us a pulse 0.0 s, at 1 ms 0.5 s" in drawn
    assert "training 5,120, evaluation 300" in drawn
    assert "read-out: NOT confirmed off: read voltage" in drawn
    assert "hidden-1: off" in drawn


def test_summary_of_a_run_that_did_nothing() -> None:
    """A run that failed before its first step has a summary, too."""
    status = RunStatus()
    status.show(started())
    status.show(replace(finished("failed"), passes=Passes(), pulses=0))
    assert "failed (on mocks)" in text_of(summary(status))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.44, "0.4 s"), (42.0, "42 s"), (65.0, "1:05 min"), (7384.0, "2:03:04 h"), (86400.0 * 3, "3.0 days")],
)
def test_durations_read_well(seconds: float, text: str) -> None:
    """Durations are given in the unit in which people think of them."""
    assert duration(seconds) == text
