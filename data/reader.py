"""Reads a run file, finished, killed or still being written, and replays it as the events that were recorded."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from data.layout import FLAT_TABLES, FORMAT, FRAME_ARRAYS, UNIT_KINDS, Kind, UnitPaths, reading, run_file
from data.lock import writer_is_alive
from data.rows import Row, decode, shape_of
from data.slots import Held, held_checkpoints
from data.start import read_start
from pib_lab.errors import RunFileError
from pib_lab.events import SCHEMA_VERSION, BatchRejected, CheckpointTaken, Evaluated, Event, FaultsScanned, MapTaken
from pib_lab.frames import CameraFrame, FrameTaken
from pib_lab.records import UnitStep

Column = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class RunStatus:
    """Where a run stands. `status`: a RunState, or "killed" when its process is gone without having said so."""

    run_id: str
    protocol_name: str
    status: str
    steps_done: int
    total_steps: int
    started_unix_s: float
    metrics: dict[str, float]


@dataclass(frozen=True, slots=True)
class UnitMaps:
    """Steps at which maps of a unit were taken, and the last of them."""

    steps: npt.NDArray[np.int64]
    last: MapTaken | None


class Reader:
    """A run file. What lies beyond the last whole event (a writer was killed in mid-write) is ignored.

    A file that is being written shows what had been written when it was opened, or at the last `refresh`.
    Every method raises RunFileError for a damaged file.
    """

    def __init__(self, path: Path | str) -> None:
        """Open a run folder or the file in it; RunFileError when it is missing, damaged or of another schema."""
        self.path = run_file(Path(path))
        self._file, self._growing = _open(self.path)
        with reading(self.path):
            _check_schema(self._file, self.path)
            self.started = read_start(self._file)
        self._cache: dict[str, npt.NDArray[Any]] = {}
        self._held: list[Held] | None = None

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the file. Idempotent."""
        self._file.close()

    def refresh(self) -> None:
        """See what has been written since. Cheap when nothing is asked afterwards."""
        self._cache.clear()
        self._held = None

    def events(self) -> Iterator[Event]:
        """All events in the order in which they were recorded.

        Checkpoints whose content has been overwritten since come with an empty state. A RunStarted of a later session
        (a resume) repeats the first one but for its first and total step, time, versions and commit.
        """
        return (event for _, event in self.timed_events())

    def timed_events(self, leave_out: Collection[Kind] = ()) -> Iterator[tuple[float, Event]]:
        """As `events`, each with the time (Unix, seconds) at which it was recorded. leave_out: kinds not to read."""
        order = self._order()
        wanted = np.flatnonzero(~np.isin(order["kind"], [int(kind) for kind in leave_out]))
        for index, (kind, unit, row, unix_s) in zip(wanted.tolist(), order[wanted].tolist(), strict=True):
            with reading(self.path):
                event = self._event(index, Kind(kind), unit, row)
            yield unix_s, event

    def steps(self) -> dict[str, Column]:
        """Columns of the table of steps, each (steps,): step, epoch, batch_accuracy, ..., elapsed_s."""
        return _columns(self._rows(Kind.STEP_DONE))

    def unit_steps(self, name: str) -> dict[str, Column]:
        """Columns of one unit's steps, each (steps,): loss, i_xz, i_zy, h_z (bits), pulses, ..., full_scale."""
        self._index_of(name)
        return _columns(self._table(UnitPaths(name).steps)[: self._count(Kind.STEP_DONE)])

    def evaluations(self) -> list[Evaluated]:
        """All evaluations, the oldest first."""
        rows = self._rows(Kind.EVALUATED).tolist()
        return [event for row in rows if isinstance(event := self._decode(Kind.EVALUATED, row), Evaluated)]

    def maps(self, unit: str) -> UnitMaps:
        """When maps of `unit` were taken, and the last one."""
        order = self._order()
        taken = order[(order["kind"] == Kind.MAP_TAKEN) & (order["unit"] == self._index_of(unit))]
        with reading(self.path):
            steps = self._table(f"{UnitPaths(unit).maps}/taken")["step"][: len(taken)]
            return UnitMaps(steps, self._map(unit, len(taken) - 1) if len(taken) else None)

    def last_frame(self, unit: str) -> FrameTaken | None:
        """The newest camera frame of `unit` that is kept; None when there is none."""
        order = self._order()
        taken = order[(order["kind"] == Kind.FRAME_TAKEN) & (order["unit"] == self._index_of(unit))]
        with reading(self.path):
            return self._frame(unit, int(taken["row"][-1])) if len(taken) else None

    def checkpoint(self) -> CheckpointTaken | None:
        """The newest whole checkpoint; None when there is none, or when a live writer has just overwritten both."""
        held = self.held()
        return CheckpointTaken(held[0].step, held[0].state) if held else None

    def held(self) -> list[Held]:
        """Whole checkpoints with their place in the order of events, the newest first; at most two."""
        if self._held is None:
            with reading(self.path):
                self._held = held_checkpoints(self._file)
        return self._held

    def status(self) -> RunStatus:
        """Where the run stands, with the metrics of its end or else the latest accuracy of each split."""
        finished = self._rows(Kind.RUN_FINISHED).tolist()
        states = self._rows(Kind.STATE_CHANGED).tolist()
        status = states[-1][0].decode() if states else "running"
        metrics = {f"{event.split}_accuracy": event.accuracy for event in self.evaluations()}
        if finished:
            status = finished[-1][0].decode()
            metrics |= json.loads(finished[-1][2])
        elif not writer_is_alive(self.path.parent):
            status = "killed"
        started = self.started
        return RunStatus(
            started.run_id,
            started.protocol_name,
            status,
            self._count(Kind.STEP_DONE),
            started.total_steps,
            started.started_unix_s,
            metrics,
        )

    def _event(self, index: int, kind: Kind, unit: int, row: int) -> Event:
        if kind in UNIT_KINDS:
            return self._unit_event(kind, self.started.units[unit].name, row)
        if kind is Kind.CHECKPOINT_TAKEN:
            state = next((held.state for held in self.held() if held.events == index), {})
            return CheckpointTaken(int(self._rows(kind)[row]["step"]), state)
        return self._decode(kind, self._table(FLAT_TABLES[kind][0])[row].item(), row)

    def _unit_event(self, kind: Kind, name: str, row: int) -> Event:
        if kind is Kind.MAP_TAKEN:
            return self._map(name, row)
        if kind is Kind.FRAME_TAKEN:
            return self._frame(name, row)
        return self._scan(name, row) if kind is Kind.FAULTS_SCANNED else self._rejected(name, row)

    def _decode(self, kind: Kind, row: Row, index: int = 0) -> Event:
        values = tuple(value.decode() if isinstance(value, bytes) else value for value in row)
        units: list[UnitStep] = []
        if kind is Kind.STEP_DONE:
            names = [unit.name for unit in self.started.units]
            units = [UnitStep(name, *self._table(UnitPaths(name).steps)[index].item()) for name in names]
        return decode(kind, values, self.started, units)

    def _map(self, name: str, row: int) -> MapTaken:
        paths = UnitPaths(name)
        arrays = [self._entry(f"{paths.maps}/{part}", row) for part in ("parameters", "faults", "pulses")]
        return MapTaken(int(self._table(f"{paths.maps}/taken")[row]["step"]), name, *arrays)

    def _scan(self, name: str, row: int) -> FaultsScanned:
        paths = UnitPaths(name)
        step, *numbers = self._table(f"{paths.scanned}/scans")[row].item()
        return FaultsScanned(step, name, self._entry(f"{paths.scanned}/faults", row), *numbers)

    def _rejected(self, name: str, row: int) -> BatchRejected:
        paths = UnitPaths(name)
        batch = self._table(f"{paths.rejected}/batches")[row]
        values = [self._flat(paths.rejected, batch, part) for part in ("drive", "response")]
        return BatchRejected(int(batch["step"]), name, batch["reason"].decode(), *values)

    def _frame(self, name: str, row: int) -> FrameTaken:
        paths = UnitPaths(name)
        taken = self._table(f"{paths.frames}/taken")[row]
        arrays = {part: self._flat(paths.frames, taken, part) for part in FRAME_ARRAYS}
        return FrameTaken(
            int(taken["step"]), name, CameraFrame(saturated_level=int(taken["saturated_level"]), **arrays)
        )

    def _flat(self, group: str, row: Any, part: str) -> npt.NDArray[Any]:
        """The array of a table's row that lies flattened in the dataset `part` beside the table."""
        shape, start = shape_of(row[f"{part}_shape"]), int(row[f"{part}_start"])
        return np.asarray(self._dataset(f"{group}/{part}")[start : start + int(np.prod(shape))].reshape(shape))

    def _index_of(self, unit: str) -> int:
        names = [info.name for info in self.started.units]
        if unit not in names:
            raise RunFileError(f"{self.path}: has no unit {unit!r} (units: {', '.join(names)})")
        return names.index(unit)

    def _count(self, kind: Kind) -> int:
        return int(np.count_nonzero(self._order()["kind"] == kind))

    def _rows(self, kind: Kind) -> npt.NDArray[Any]:
        """Rows of a flat table that the order of events knows of."""
        return self._table(FLAT_TABLES[kind][0])[: self._count(kind)]

    def _order(self) -> npt.NDArray[Any]:
        """The table `order` up to the first event that is not whole. Read first, so that other tables are longer."""
        if "order" not in self._cache:
            order = self._table("order")
            whole = np.ones(len(order), bool)
            for kind, table in ((kind, table) for kind, (table, _) in FLAT_TABLES.items()):
                whole &= (order["kind"] != kind) | (order["row"] < len(self._table(table)))
            for index, unit in enumerate(self.started.units):
                paths = UnitPaths(unit.name)
                whole &= (order["kind"] != Kind.STEP_DONE) | (order["row"] < len(self._table(paths.steps)))
                for kind in UNIT_KINDS:
                    here = (order["kind"] == kind) & (order["unit"] == index)
                    if not here.any():
                        continue
                    whole &= ~here | (order["row"] < len(self._table(paths.table(kind))))
            self._cache["order"] = order[: len(order) if whole.all() else int(np.argmin(whole))]
        return self._cache["order"]

    def _table(self, path: str) -> npt.NDArray[Any]:
        if path not in self._cache:
            with reading(self.path):
                rows = self._dataset(path)[:]
            if path == "order":  # cached once it has been checked
                return rows  # type: ignore[no-any-return]
            self._cache[path] = rows
        return self._cache[path]

    def _entry(self, path: str, row: int) -> npt.NDArray[Any]:
        return np.asarray(self._dataset(path)[row])

    def _dataset(self, path: str) -> Any:
        dataset = self._file[path]
        if self._growing:
            dataset.id.refresh()
        return dataset


def _open(path: Path) -> tuple[Any, bool]:
    """The open file, and whether its writer has not closed it (it is being written, or was killed)."""
    if not path.is_file():
        raise RunFileError(f"{path}: there is no run file here. Give a run folder; `pib-lab list runs` shows them")
    try:
        return h5py.File(path, "r"), False
    except BlockingIOError as error:
        raise RunFileError(
            f"{path}: another program has the file open for writing. Close it, then try again"
        ) from error
    except OSError as error:
        if "already open for" in str(error):  # how HDF5 says that the writer did not close it
            with reading(path):
                return h5py.File(path, "r", libver="latest", swmr=True), True
        if not h5py.is_hdf5(path):
            raise RunFileError(f"{path}: is not an HDF5 file, or its beginning is lost. Give a run folder") from error
        with reading(path):
            raise


def _check_schema(file: Any, path: Path) -> None:
    if file.attrs.get("format") != FORMAT:
        raise RunFileError(f"{path}: is an HDF5 file, but not a run file of PIB Lab")
    schema = int(file.attrs["schema"])
    if schema != SCHEMA_VERSION:
        raise RunFileError(
            f"{path}: has schema version {schema}, this PIB Lab reads version {SCHEMA_VERSION}. Open it with the "
            f"version that wrote it ({file.attrs.get('versions', 'unknown')})"
        )


def _columns(table: npt.NDArray[Any]) -> dict[str, Column]:
    return {name: np.ascontiguousarray(table[name]) for name in table.dtype.names or ()}
