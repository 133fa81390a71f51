"""Where everything lies in a run file: tables, columns and units. Writer and reader share these definitions.

Texts in tables have a fixed length in bytes, because variable-length texts cannot be appended safely in HDF5's
single-writer-multiple-reader mode (SWMR). The longest ones are cut with an ellipsis; the protocol text never is.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from pib_lab.errors import RunFileError

RUN_FILE = "run.h5"
FORMAT = "pib-lab run"
SHAPE_RANK = 4
"""Rejected responses may have at most this many axes; unused places in a stored shape hold -1."""


class Kind(IntEnum):
    """Code of an event's kind in the table `order`; never renumbered."""

    RUN_STARTED = 1
    STATE_CHANGED = 2
    STEP_DONE = 3
    EVALUATED = 4
    MAP_TAKEN = 5
    FAULTS_STRUCK = 6
    FAULTS_SCANNED = 7
    CHECKPOINT_TAKEN = 8
    BATCH_REJECTED = 9
    MADE_SAFE = 10
    MESSAGE = 11
    RUN_FINISHED = 12
    FRAME_TAKEN = 13


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table: `kind` is a NumPy type, "S<n>" (UTF-8 text of at most n bytes) or "event" (`Kind`)."""

    name: str
    kind: str
    unit: str = ""
    shape: tuple[int, ...] = ()


Columns = tuple[Column, ...]

STEP = Column("step", "i8")
PASSES: Columns = tuple(
    Column(f"{purpose}_passes", "i8") for purpose in ("training", "verify", "scan", "calibration", "evaluation")
)

ORDER: Columns = (Column("kind", "event"), Column("unit", "u2"), Column("row", "u8"), Column("unix_s", "f8", "s"))
STEPS: Columns = (
    STEP,
    Column("epoch", "i8"),
    Column("batch_accuracy", "f8"),
    Column("learning_rate", "f8"),
    *PASSES,
    Column("pulses", "i8"),
    Column("ceiling_bits", "f8", "bit"),
    Column("elapsed_s", "f8", "s"),
)

UNIT_KINDS = (Kind.MAP_TAKEN, Kind.FAULTS_SCANNED, Kind.BATCH_REJECTED, Kind.FRAME_TAKEN)
"""Kinds of event that lie in a table of their unit, with arrays beside it."""

FLAT_TABLES: dict[Kind, tuple[str, Columns]] = {
    Kind.RUN_STARTED: (
        "sessions",
        (
            Column("first_step", "i8"),
            Column("total_steps", "i8"),
            Column("started_unix_s", "f8", "s"),
            Column("git_commit", "S64"),
            Column("versions", "S2000"),
        ),
    ),
    Kind.STATE_CHANGED: ("states", (Column("state", "S16"), STEP, Column("reason", "S1000"))),
    Kind.STEP_DONE: ("steps/table", STEPS),
    Kind.EVALUATED: (
        "evaluations",
        (STEP, Column("split", "S32"), Column("accuracy", "f8"), Column("loss", "f8"), Column("samples", "i8")),
    ),
    Kind.FAULTS_STRUCK: (
        "faults/struck",
        (
            STEP,
            Column("unit", "S128"),
            Column("kind", "S32"),
            Column("fraction", "f8"),
            Column("cluster", "S32"),
            Column("cells", "i8"),
        ),
    ),
    Kind.CHECKPOINT_TAKEN: ("checkpoints/taken", (STEP,)),
    Kind.MADE_SAFE: (
        "safe",
        (
            Column("unit", "S128"),
            Column("confirmed", "S2000"),
            Column("not_confirmed", "S2000"),
            Column("detail", "S2000"),
        ),
    ),
    Kind.MESSAGE: ("messages", (Column("level", "S16"), Column("text", "S2000"), STEP)),
    Kind.RUN_FINISHED: (
        "finished",
        (
            Column("status", "S16"),
            STEP,
            Column("metrics", "S4000"),
            *PASSES,
            Column("pulses", "i8"),
            Column("wall_s", "f8", "s"),
            Column("error", "S4000"),
            Column("safe", "?"),
        ),
    ),
}
"""Kinds of event that are one row of one table."""

UNIT_STEPS: Columns = (
    Column("loss", "f8"),
    Column("i_xz", "f8", "bit"),
    Column("i_zy", "f8", "bit"),
    Column("h_z", "f8", "bit"),
    Column("pulses", "i8"),
    Column("cells_written", "i8"),
    Column("saturated", "f8"),
    Column("full_scale", "f8", "response"),
)
MAPS: Columns = (STEP,)
SCANNED: Columns = (
    STEP,
    Column("found", "i8"),
    Column("passes", "i8"),
    Column("pulses", "i8"),
    Column("recall", "f8"),
    Column("precision", "f8"),
)
FRAMES: Columns = (
    STEP,
    Column("saturated_level", "i8", "counts"),
    Column("pixels_start", "u8"),
    Column("pixels_shape", "i8", shape=(SHAPE_RANK,)),
    Column("regions_start", "u8"),
    Column("regions_shape", "i8", shape=(SHAPE_RANK,)),
    Column("bad_start", "u8"),
    Column("bad_shape", "i8", shape=(SHAPE_RANK,)),
)
FRAME_ARRAYS = {"pixels": ("u2", "counts"), "regions": ("i4", "pixel"), "bad": ("i4", "pixel")}
"""Type and unit of what lies flattened beside the table of frames."""
REJECTED: Columns = (
    STEP,
    Column("reason", "S1000"),
    Column("drive_start", "u8"),
    Column("drive_shape", "i8", shape=(SHAPE_RANK,)),
    Column("response_start", "u8"),
    Column("response_shape", "i8", shape=(SHAPE_RANK,)),
)


@dataclass(frozen=True, slots=True)
class UnitPaths:
    """Where the data of one unit lie."""

    name: str

    @property
    def steps(self) -> str:
        """Table: one row a step."""
        return f"steps/units/{self.name}"

    @property
    def maps(self) -> str:
        """Group: table `taken`, arrays `parameters`, `faults`, `pulses`, one entry a map."""
        return f"maps/{self.name}"

    @property
    def scanned(self) -> str:
        """Group: table `scans`, array `faults`, one entry a scan."""
        return f"faults/scanned/{self.name}"

    @property
    def rejected(self) -> str:
        """Group: table `batches`, and the flattened values `drive` and `response`."""
        return f"rejected/{self.name}"

    @property
    def frames(self) -> str:
        """Group: table `taken`, and the flattened values of FRAME_ARRAYS. Files of before there were frames lack it."""
        return f"frames/{self.name}"

    def table(self, kind: Kind) -> str:
        """The table of one of UNIT_KINDS."""
        if kind in (Kind.MAP_TAKEN, Kind.FRAME_TAKEN):
            return f"{self.maps if kind is Kind.MAP_TAKEN else self.frames}/taken"
        return f"{self.scanned}/scans" if kind is Kind.FAULTS_SCANNED else f"{self.rejected}/batches"


def row_type(columns: Columns) -> np.dtype[Any]:
    """The compound type of one row."""
    return np.dtype([(column.name, _column_type(column), column.shape) for column in columns])


def _column_type(column: Column) -> Any:
    if column.kind.startswith("S"):
        return h5py.string_dtype("utf-8", int(column.kind[1:]))
    if column.kind == "event":  # viewers then show the names of the kinds
        return h5py.enum_dtype({kind.name: int(kind) for kind in Kind}, basetype="u1")
    return np.dtype(column.kind)


def run_file(path: Path) -> Path:
    """The run file that `path` (a run folder or the file itself) names."""
    return path / RUN_FILE if path.is_dir() else path


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn whatever HDF5 or the system raises while writing `path` into one RunFileError that says what to do."""
    try:
        yield
    except (OSError, RuntimeError, ValueError, TypeError, KeyError) as error:  # h5py raises each of these for a write
        raise RunFileError(
            f"{path}: could not be written ({_first_line(error)}). Check that the disk has free space and that the "
            f"folder may be written to; a run that had begun can be continued with --resume"
        ) from error


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn whatever HDF5 raises while reading `path` into one RunFileError that says what to do."""
    try:
        yield
    except (OSError, RuntimeError, ValueError, TypeError, KeyError, IndexError) as error:  # as above, for damaged files
        raise RunFileError(
            f"{path}: the run file is damaged or truncated ({_first_line(error)}). Copy it again from where it came "
            f"from, or use run.h5.before-recovery in the same folder if there is one"
        ) from error


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
