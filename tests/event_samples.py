"""Hand-made events of a small run, for tests of what consumes events."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import synthetic_run

from pib_lab.events import (
    BatchRejected,
    CheckpointTaken,
    Evaluated,
    Event,
    FaultsScanned,
    FaultsStruck,
    MadeSafe,
    MapTaken,
    Message,
    RunFinished,
    RunStarted,
    StateChanged,
    StepDone,
)
from pib_lab.records import Passes, RunState, UnitStep

NAMES = ("hidden-1", "read-out")


def started(total_steps: int = 20, *, mock: bool = True, run_id: str = "small-20260101-000000-s1") -> RunStarted:
    """A run of two crossbars."""
    like = synthetic_run.started(mock, total_steps, dict.fromkeys(NAMES, (4, 3)))
    return replace(like, run_id=run_id, protocol_name="small", protocol_text='name = "small"', started_unix_s=0.5)


def step(index: int) -> StepDone:
    """The event after `index` steps; entropies on even steps only."""
    bits = 2.5 if index % 2 == 0 else float("nan")
    units = tuple(UnitStep(name, 0.7, bits, bits / 2, bits, 12, 6, 0.01, 1e-4) for name in NAMES)
    return StepDone(index, 0, 0.8, 0.01, units, Passes(training=256 * index), 24 * index, 7.0, 0.5 * index)


def map_taken(index: int, unit: str = "hidden-1") -> MapTaken:
    """A map of one unit's cells."""
    cells = np.full((4, 3, 2), 1e-5 * (index + 1), dtype=np.float32)
    return MapTaken(index, unit, cells, np.zeros((4, 3, 2), np.int8), np.full((4, 3, 2), index, np.int32))


def finished(status: str = "finished", last: int = 20) -> RunFinished:
    """The end of the run."""
    return RunFinished(status, last, {"test_accuracy": 0.96}, Passes(training=5120, evaluation=300), 480, 10.0)


def whole_run() -> list[Event]:
    """One event of each kind at least, in an order in which they may occur."""
    return [
        started(),
        StateChanged(RunState.RUNNING, 0),
        Message("info", "hello"),
        *(step(index) for index in range(1, 21)),
        map_taken(5),
        FaultsStruck(10, "hidden-1", "mixed", 0.2, "none", 5),
        FaultsScanned(11, "hidden-1", np.ones((4, 3, 2), np.int8), 5, 64, 10, 1.0, float("nan")),
        Evaluated(19, "validation", 0.95, 0.2, 90),
        Evaluated(19, "test", 0.96, 0.2, 90),
        CheckpointTaken(19, {"hidden-1/unit/g": np.zeros((4, 3, 2), np.float32), "rng": "{}", "n": 3, "t": 0.5}),
        BatchRejected(
            19, "hidden-1", "not a number", np.zeros((2, 4), np.float32), np.full((2, 3), np.nan, np.float32)
        ),
        MadeSafe("hidden-1", ("read voltage",), (), ""),
        MadeSafe("read-out", (), ("read voltage",), "no answer"),
        finished(),
    ]
