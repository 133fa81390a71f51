"""The figure of killed runs can fail, and it says rightly what a run was doing."""

from __future__ import annotations

import pytest
from event_samples import started, step

from benchmarks.killed_run import Kill, procedure_phase, training_phase
from benchmarks.kills import row
from pib_lab.events import Evaluated, Event, MadeSafe, StateChanged
from pib_lab.findings import Progress
from pib_lab.procedure_status import ProcedureStatus
from pib_lab.records import RunState
from pib_lab.status import RunStatus

RUNNING = StateChanged(RunState.RUNNING, 0)
SAFE = MadeSafe("read-out", ("row drivers",), (), "")


@pytest.mark.parametrize(
    ("events", "phase"),
    [
        ([], "preparation"),
        ([started()], "preparation"),
        ([started(), RUNNING], "training"),
        ([started(), RUNNING, step(3)], "training"),
        ([started(), RUNNING, step(4)], "evaluation"),
        ([started(), RUNNING, step(4), Evaluated(4, "validation", 0.5, 1.0, 10)], "training"),
        ([started(), RUNNING, Evaluated(4, "validation", 0.5, 1.0, 10), step(8)], "evaluation"),
        ([started(), RUNNING, step(20)], "evaluation"),
        ([started(), RUNNING, step(20), SAFE], "switching off"),
    ],
)
def test_the_phase_of_a_training_is_told_by_its_events(events: list[Event], phase: str) -> None:
    """Evaluations are due every 4 steps of 20, and once more at the end."""
    status = RunStatus()
    for event in events:
        status.show(event)
    assert training_phase(status, 4) == phase


def test_the_phase_of_a_procedure_is_told_by_its_events() -> None:
    """Prepared until it reports progress, and over when its outputs are off."""
    status, phases = ProcedureStatus(), []
    for event in (None, Progress(1, 4, "cell"), SAFE):
        if event is not None:
            status.show(event)
        phases.append(procedure_phase(status))
    assert phases == ["preparation", "procedure", "switching off"]


def test_an_output_that_stays_on_is_in_the_table() -> None:
    """One of three runs that left an output on takes the place of the worst time."""
    done = [Kill(0.1, "training", 0.05, True), Kill(0.2, "training", None, False), Kill(0.3, "evaluation", 0.07, True)]
    assert row("x", 2.0, done) == ("| x | 2.0 s | 3 | training 2, evaluation 1 | 2 | 2 of 3 | 0.060 s | **still on** |")
