"""Writes events into an HDF5 file: the whole structure first, for SWMR mode allows no new objects, then rows."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from data.layout import (
    FLAT_TABLES,
    FRAME_ARRAYS,
    FRAMES,
    MAPS,
    ORDER,
    REJECTED,
    SCANNED,
    UNIT_STEPS,
    Column,
    Columns,
    Kind,
    UnitPaths,
    writing,
)
from data.room import RESERVE_BYTES, Reserve, check_room, detach, trim
from data.rows import KINDS, encode, stored_shape
from data.slots import StateItems, create_slots, write_slot
from data.start import write_start
from data.tables import Flat, Stack, Table
from pib_lab.errors import RunFileError
from pib_lab.events import BatchRejected, CheckpointTaken, Event, FaultsScanned, MapTaken, RunStarted, StepDone
from pib_lab.frames import FrameTaken
from pib_lab.records import UnitInfo


def build(path: Path, started: RunStarted, structure: StateItems, *, compress: bool = False) -> None:
    """Make a run file with everything in it but events. `structure`: a state like those of all later checkpoints.

    `compress`: also compress tables; only for files that are written in one go. Raises RunFileError.
    """
    with writing(path):
        check_room(path.parent, 3 * sum(np.asarray(value).nbytes for value in structure.values()))
    with writing(path), h5py.File(path, "w-", libver="latest") as file:
        write_start(file, started)
        Table.create(file, "order", ORDER, compress=compress)
        for table, columns in FLAT_TABLES.values():
            Table.create(file, table, columns, compress=compress)
        for unit in started.units:
            _create_unit_tables(file, unit, compress=compress)
        create_slots(file, structure)


class RunFileWriter:
    """Appends events to a file made by `build`. With `live`, others can read it meanwhile and a kill loses nothing."""

    def __init__(self, path: Path, started: RunStarted, *, live: bool) -> None:
        self.path = path
        with writing(path):
            self._file = h5py.File(path, "r+", libver="latest")
            self._reserve = Reserve(path, self._file.id.get_vfd_handle())
            file = self._file
            self._order = Table(file["order"])
            self._flat = {kind: Table(file[table]) for kind, (table, _) in FLAT_TABLES.items()}
            self._units = {unit.name: _UnitTables(file, index, unit.name) for index, unit in enumerate(started.units)}
            self._tables = [self._order, *self._flat.values()]
            for tables in self._units.values():
                self._tables += [tables.steps, tables.maps, tables.scans, tables.rejected, tables.frames]
            if live:
                file.swmr_mode = True

    @property
    def frames_kept(self) -> dict[str, int]:
        """How many camera frames of each unit are in the file."""
        return {name: len(tables.frames) for name, tables in self._units.items()}

    def record(self, event: Event, unix_s: float | None = None) -> None:
        """Append an event that happened at `unix_s` (default: now). It is safe after the next `flush`."""
        at = time.time() if unix_s is None else unix_s
        with writing(self.path):
            self._reserve.ahead_of(self._file.id.get_filesize(), _array_bytes(event))
        with writing(self.path), self._detaching():
            unit, row = 0, 0
            match event:
                case MapTaken() | FaultsScanned() | BatchRejected() | FrameTaken():
                    tables = self._unit(event.unit)
                    unit, row = tables.index, tables.append(event)
                case StepDone():
                    row = self._append_step(event)
                case _:
                    if isinstance(event, CheckpointTaken):
                        self.flush()
                        write_slot(self._file, event.step, len(self._order), event.state, self._file.flush)
                    row = self._flat[KINDS[type(event)]].append(encode(event))
            self._order.append((int(KINDS[type(event)]), unit, row, at))

    def note_lost_checkpoint(self, step: int, unix_s: float) -> None:
        """Append that a checkpoint was taken whose content has been overwritten since (for copies)."""
        row = self._flat[Kind.CHECKPOINT_TAKEN].append((step,))
        self._order.append((int(Kind.CHECKPOINT_TAKEN), 0, row, unix_s))

    def flush(self) -> None:
        """Hand everything recorded so far to the operating system and to live readers."""
        with writing(self.path), self._detaching():
            for table in self._tables:
                table.write()
            self._file.flush()

    def close(self) -> None:
        """Flush, close and give back what was reserved."""
        try:
            self.flush()
        finally:
            with writing(self.path), self._detaching():
                self._file.close()
        with writing(self.path):
            trim(self.path)

    @contextmanager
    def _detaching(self) -> Iterator[None]:
        """When HDF5 fails to write in spite of the reserve, keep it from the file: it would damage it on closing."""
        try:
            yield
        except (OSError, RuntimeError):
            with suppress(OSError, RuntimeError, ValueError):  # the first error is the one to tell
                detach(self._file.id.get_vfd_handle())
            raise

    def _append_step(self, event: StepDone) -> int:
        if len(event.units) != len(self._units):
            raise RunFileError(f"step {event.step} reports {len(event.units)} units, the run has {len(self._units)}")
        for unit in event.units:
            self._unit(unit.name).steps.append(
                (
                    unit.loss,
                    unit.i_xz,
                    unit.i_zy,
                    unit.h_z,
                    unit.pulses,
                    unit.cells_written,
                    unit.saturated,
                    unit.full_scale,
                )
            )
        return self._flat[Kind.STEP_DONE].append(encode(event))

    def _unit(self, name: str) -> _UnitTables:
        if name not in self._units:
            raise RunFileError(f"{self.path}: an event names the unit {name!r}, which the run did not start with")
        return self._units[name]


class _UnitTables:
    """What grows with one unit."""

    def __init__(self, file: Any, index: int, name: str) -> None:
        paths = UnitPaths(name)
        self.index = index
        self.steps = Table(file[paths.steps])
        self.maps = Table(file[f"{paths.maps}/taken"])
        self._parameters = Stack(file[f"{paths.maps}/parameters"])
        self._faults = Stack(file[f"{paths.maps}/faults"])
        self._pulses = Stack(file[f"{paths.maps}/pulses"])
        self.scans = Table(file[f"{paths.scanned}/scans"])
        self._scanned_faults = Stack(file[f"{paths.scanned}/faults"])
        self.rejected = Table(file[f"{paths.rejected}/batches"])
        self._drive = Flat(file[f"{paths.rejected}/drive"])
        self._response = Flat(file[f"{paths.rejected}/response"])
        self.frames = Table(file[f"{paths.frames}/taken"])
        self._frame_arrays = {part: Flat(file[f"{paths.frames}/{part}"]) for part in FRAME_ARRAYS}
        self._placed: dict[str, tuple[npt.NDArray[Any], list[Any]]] = {}

    def append(self, event: MapTaken | FaultsScanned | BatchRejected | FrameTaken) -> int:
        """Arrays first, then the row that makes them count; returns the row's index."""
        match event:
            case MapTaken():
                self._parameters.put(len(self.maps), event.parameters)
                self._faults.put(len(self.maps), event.faults)
                self._pulses.put(len(self.maps), event.pulses)
                return self.maps.append((event.step,))
            case FaultsScanned():
                self._scanned_faults.put(len(self.scans), event.faults)
                numbers = (event.found, event.passes, event.pulses, event.recall, event.precision)
                return self.scans.append((event.step, *numbers))
            case FrameTaken():
                row: list[Any] = [event.step, event.frame.saturated_level]
                for part in FRAME_ARRAYS:
                    row += self._place(part, getattr(event.frame, part))
                return self.frames.append(tuple(row))
        shapes = stored_shape(event.drive.shape), stored_shape(event.response.shape)
        starts = self._drive.append(event.drive), self._response.append(event.response)
        return self.rejected.append((event.step, event.reason, starts[0], shapes[0], starts[1], shapes[1]))

    def _place(self, part: str, values: npt.NDArray[Any]) -> list[Any]:
        """Where an array of a frame begins, and its shape. What is as in the frame before is not stored again."""
        before = self._placed.get(part)
        if before is None or not np.array_equal(before[0], values):
            start = self._frame_arrays[part].append(values, own_chunks=True)
            before = self._placed[part] = values, [start, stored_shape(values.shape)]
        return before[1]


def _array_bytes(event: Event) -> int:
    """An upper bound of what the arrays of an event add to the file; checkpoints are written in place."""
    match event:
        case MapTaken():
            return event.parameters.nbytes + event.faults.nbytes + event.pulses.nbytes
        case FaultsScanned():
            return event.faults.nbytes
        case BatchRejected():
            return event.drive.nbytes + event.response.nbytes + RESERVE_BYTES  # whole chunks are allocated
        case FrameTaken():
            frame = event.frame
            return frame.pixels.nbytes + frame.regions.nbytes + frame.bad.nbytes + RESERVE_BYTES
    return 0


def _create_unit_tables(file: Any, unit: UnitInfo, *, compress: bool) -> None:
    paths = UnitPaths(unit.name)
    tables: dict[str, Columns] = {
        paths.steps: tuple(
            Column(column.name, column.kind, unit.response_unit if column.unit == "response" else column.unit)
            for column in UNIT_STEPS
        ),
        f"{paths.maps}/taken": MAPS,
        f"{paths.scanned}/scans": SCANNED,
        f"{paths.rejected}/batches": REJECTED,
        f"{paths.frames}/taken": FRAMES,
    }
    for path, columns in tables.items():
        Table.create(file, path, columns, compress=compress)
    shape = unit.parameter_shape
    Stack.create(file, f"{paths.maps}/parameters", shape, "f4", unit.parameter_unit)
    Stack.create(file, f"{paths.maps}/faults", shape, "i1", "FaultKind code")
    Stack.create(file, f"{paths.maps}/pulses", shape, "i4", "pulses")
    Stack.create(file, f"{paths.scanned}/faults", shape, "i1", "FaultKind code")
    Flat.create(file, f"{paths.rejected}/drive", unit.drive_unit)
    Flat.create(file, f"{paths.rejected}/response", unit.response_unit)
    for part, (dtype, symbol) in FRAME_ARRAYS.items():
        Flat.create(file, f"{paths.frames}/{part}", symbol, dtype)
