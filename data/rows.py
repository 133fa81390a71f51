"""Events to rows of tables and back, the two directions side by side: a replay is equal to what was recorded."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from data.layout import FLAT_TABLES, SHAPE_RANK, Kind
from pib_lab.errors import RunFileError
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
from pib_lab.frames import FrameTaken
from pib_lab.records import Passes, RunState, UnitStep

Row = tuple[Any, ...]

KINDS: dict[type[Any], Kind] = {
    RunStarted: Kind.RUN_STARTED,
    StateChanged: Kind.STATE_CHANGED,
    StepDone: Kind.STEP_DONE,
    Evaluated: Kind.EVALUATED,
    MapTaken: Kind.MAP_TAKEN,
    FrameTaken: Kind.FRAME_TAKEN,
    FaultsStruck: Kind.FAULTS_STRUCK,
    FaultsScanned: Kind.FAULTS_SCANNED,
    CheckpointTaken: Kind.CHECKPOINT_TAKEN,
    BatchRejected: Kind.BATCH_REJECTED,
    MadeSafe: Kind.MADE_SAFE,
    Message: Kind.MESSAGE,
    RunFinished: Kind.RUN_FINISHED,
}


def encode(event: Event) -> Row:
    """The row of an event whose kind is in `FLAT_TABLES`, in the order of the table's columns (texts still `str`)."""
    match event:
        case RunStarted():
            versions = json.dumps(event.versions)
            return (event.first_step, event.total_steps, event.started_unix_s, event.git_commit, versions)
        case StateChanged():
            return (event.state.value, event.step, event.reason)
        case StepDone():
            counts = _counts(event.passes)
            head = (event.step, event.epoch, event.batch_accuracy, event.learning_rate)
            return (*head, *counts, event.pulses, event.ceiling_bits, event.elapsed_s)
        case Evaluated():
            return (event.step, event.split, event.accuracy, event.loss, event.samples)
        case FaultsStruck():
            return (event.step, event.unit, event.kind, event.fraction, event.cluster, event.cells)
        case CheckpointTaken():
            return (event.step,)
        case MadeSafe():
            return (event.unit, _dump_names(event.confirmed), _dump_names(event.not_confirmed), event.detail)
        case Message():
            return (event.level, event.text, event.step)
        case RunFinished():
            ending = (event.pulses, event.wall_s, event.error, event.safe)
            return (event.status, event.step, json.dumps(event.metrics), *_counts(event.passes), *ending)
    raise RunFileError(f"{type(event).__name__} is not an event that fits one table")


def decode(kind: Kind, row: Row, started: RunStarted, units: Sequence[UnitStep] = ()) -> Event:
    """The event of a row of `FLAT_TABLES[kind]` (texts decoded).

    A later session's RunStarted differs from the first, `started`, only in what the table `sessions` holds. `units`
    completes a StepDone. The state of a checkpoint is the reader's to add.
    """
    match kind:
        case Kind.RUN_STARTED:
            return _session(started, row)
        case Kind.STATE_CHANGED:
            return StateChanged(RunState(row[0]), row[1], row[2])
        case Kind.STEP_DONE:
            step, epoch, accuracy, rate, *counts, pulses, ceiling, elapsed = row
            return StepDone(step, epoch, accuracy, rate, tuple(units), Passes(*counts), pulses, ceiling, elapsed)
        case Kind.EVALUATED:
            return Evaluated(*row)
        case Kind.FAULTS_STRUCK:
            return FaultsStruck(*row)
        case Kind.CHECKPOINT_TAKEN:
            return CheckpointTaken(row[0], {})
        case Kind.MADE_SAFE:
            return MadeSafe(row[0], tuple(json.loads(row[1])), tuple(json.loads(row[2])), row[3])
        case Kind.MESSAGE:
            return Message(*row)
        case Kind.RUN_FINISHED:
            return RunFinished(row[0], row[1], json.loads(row[2]), Passes(*row[3:8]), *row[8:])
    raise RunFileError(f"{kind.name} is not a kind of event that fits one table")


def fit(text: str, size: int) -> bytes:
    """UTF-8 of `text` in at most `size` bytes; what does not fit is replaced by an ellipsis."""
    encoded = text.encode("utf-8", errors="replace")
    if len(encoded) <= size:
        return encoded
    return encoded[: size - 3].decode("utf-8", errors="ignore").encode() + "…".encode()


def stored_shape(shape: tuple[int, ...]) -> Row:
    """A shape padded with -1 to SHAPE_RANK places; RunFileError when it has more axes."""
    if len(shape) > SHAPE_RANK:
        raise RunFileError(f"an array of shape {shape} has more than {SHAPE_RANK} axes: the run file cannot hold it")
    return shape + (-1,) * (SHAPE_RANK - len(shape))


def shape_of(stored: Sequence[int]) -> tuple[int, ...]:
    """The shape that `stored_shape` padded."""
    return tuple(int(length) for length in stored if length >= 0)


def _counts(passes: Passes) -> Row:
    return (passes.training, passes.verify, passes.scan, passes.calibration, passes.evaluation)


def _session(started: RunStarted, row: Row) -> RunStarted:
    return replace(
        started,
        first_step=row[0],
        total_steps=row[1],
        started_unix_s=row[2],
        git_commit=row[3],
        versions=json.loads(row[4]),
    )


_NAMES_BYTES = next(int(column.kind[1:]) for column in FLAT_TABLES[Kind.MADE_SAFE][1] if column.name == "confirmed")


def _dump_names(names: Sequence[str]) -> str:
    """Names as a JSON list that fits its column; those that do not fit are counted instead, for cut JSON is lost."""
    kept = list(names)
    text = json.dumps(kept)
    while len(text) > _NAMES_BYTES:
        kept.pop()
        text = json.dumps([*kept, f"… and {len(names) - len(kept)} more"])
    return text
