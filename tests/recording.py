"""What tests of the run file share: small runs, all kinds of event, comparison with NaN, and a writer to be killed.

Run as a script (`python tests/recording.py FOLDER [PACE]`) it records without end, a line on stdout after each event;
with PACE it waits for a line on stdin before every so many events.
"""

from __future__ import annotations

import dataclasses
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import synthetic_run

from data.recorder import Recorder
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
    StateChanged,
)
from pib_lab.frames import FrameTaken
from pib_lab.records import NAN, Passes, RunState

SIZES = {"hidden-1": (5, 4), "read-out": (4, 3)}
STARTED = synthetic_run.started(sizes=SIZES)


def state(seed: int) -> dict[str, Any]:
    """A checkpoint's state with every type of value that may be stored."""
    rng = np.random.default_rng(seed)
    return {
        "hidden-1/unit/g": rng.random((5, 4, 2)).astype(np.float32),
        "hidden-1/unit/stuck": rng.random((5, 4)) < 0.5,
        "hidden-1/unit/nothing": np.zeros((0, 3), np.float32),
        "hidden-1/unit/rng": f'{{"state": {seed}, "unit": "µS"}}',
        "hidden-1/clock_s": 0.5 * seed,
        "training/step": seed,
        "training/words": rng.integers(0, 2**63, 3).astype(np.uint64),
    }


def checkpoint(step: int) -> CheckpointTaken:
    """The checkpoint of a step; its state follows from the step alone."""
    return CheckpointTaken(step, state(step))


def one_of_each() -> list[Event]:
    """Every kind of event that can follow the start, with NaN, empty and non-ASCII content."""
    rng = np.random.default_rng(3)
    unit = STARTED.units[0]
    rejected = rng.random((3, 5)).astype(np.float32), rng.random((3, 2, 2)).astype(np.float32)
    rejected[1][1, 1, 1] = NAN
    return [
        StateChanged(RunState.RUNNING, 0),
        Message("info", "Größe 40 µS"),
        synthetic_run.step_done(0, STARTED.units, 60),
        synthetic_run.map_taken(1, unit),
        synthetic_run.step_done(1, STARTED.units, 60),
        Evaluated(2, "validation", 0.5, NAN, 216),
        FaultsStruck(2, "read-out", "mixed", 0.2, "row", 4),
        FaultsScanned(2, "hidden-1", synthetic_run.map_taken(1, unit, 5).faults, 4, 20, 8, NAN, NAN),
        synthetic_run.map_taken(3, STARTED.units[1], 4),
        synthetic_run.frame_taken(3),
        frame_without_regions(4),
        checkpoint(3),
        BatchRejected(4, "hidden-1", "the response holds NaN", *rejected),
        BatchRejected(4, "hidden-1", "an empty batch", rejected[0][:0], rejected[1][:0]),
        StateChanged(RunState.FAILED, 4, "the response holds NaN"),
        MadeSafe("hidden-1", ("read voltage", "word lines"), (), ""),
        MadeSafe("read-out", (), ("read voltage",), "no answer"),
        RunFinished("failed", 4, {"test_accuracy": 0.25, "loss": NAN}, Passes(1, 2, 3, 4, 5), 7, 1.5, "NaN", False),
    ]


def same(left: Any, right: Any) -> bool:
    """Equality of events and states in which NaN equals NaN and arrays must agree in type and shape."""
    if isinstance(left, np.ndarray):
        return left.dtype == right.dtype and np.array_equal(left, right, equal_nan=left.dtype.kind == "f")
    if dataclasses.is_dataclass(left):
        names = [field.name for field in dataclasses.fields(left)]
        return type(left) is type(right) and all(same(getattr(left, n), getattr(right, n)) for n in names)
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(value, right[name]) for name, value in left.items())
    if isinstance(left, tuple):
        return len(left) == len(right) and all(map(same, left, right))
    return bool(left == right or (left != left and right != right))


def frame_without_regions(step: int) -> FrameTaken:
    """A frame of another shape, with empty lists beside it."""
    frame = synthetic_run.frame_taken(step, shape=(3, 5)).frame
    none = np.zeros((0, 2), np.int32)
    return FrameTaken(step, "hidden-1", dataclasses.replace(frame, regions=np.zeros((0, 4), np.int32), bad=none))


def endless(first_step: int = 0) -> Iterator[Event]:
    """Steps without end, a map every 3, a checkpoint every 5; each event follows from its step alone."""
    for step in itertools.count(first_step):
        yield synthetic_run.step_done(step, STARTED.units, 60)
        if step % 3 == 2:
            yield synthetic_run.map_taken(step, STARTED.units[0], step)
        if step % 5 == 4:
            yield checkpoint(step + 1)


def expected(recorded: list[Event]) -> list[Event]:
    """What a replay of `recorded` gives: all but the last two checkpoints have lost their state."""
    places = [i for i, event in enumerate(recorded) if isinstance(event, CheckpointTaken)][:-2]
    return [
        CheckpointTaken(event.step, {}) if i in places and isinstance(event, CheckpointTaken) else event
        for i, event in enumerate(recorded)
    ]


def last_map(events: list[Event]) -> MapTaken:
    """The last map among events."""
    return [event for event in events if isinstance(event, MapTaken)][-1]


if __name__ == "__main__":
    with Recorder.create(Path(sys.argv[1]), STARTED, checkpoint(0)) as recorder:
        pace = int(sys.argv[2]) if len(sys.argv) > 2 else 0
        for count, event in enumerate(endless()):
            if pace and count % pace == 0:
                sys.stdin.readline()
            recorder.record(event)
            print("recorded", flush=True)
