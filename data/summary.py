"""What a run amounted to, gathered from its events alone: the tables and arrays that the report and the export show."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from pib_lab.errors import RunFileError
from pib_lab.events import (
    BatchRejected,
    Evaluated,
    Event,
    FaultsScanned,
    FaultsStruck,
    MadeSafe,
    MapTaken,
    Message,
    RunFinished,
    RunStarted,
    StepDone,
)
from pib_lab.quantities import Array64, Codes
from pib_lab.records import Passes, UnitInfo

PULSE_TIMES_S = (10e-6, 1e-3)
"""Pulse widths for which programming time is stated: a fast board, and a source-measure unit."""

STEP_FIELDS = ("step", "epoch", "batch_accuracy", "learning_rate", "pulses", "ceiling_bits", "elapsed_s")
UNIT_FIELDS = ("loss", "i_xz", "i_zy", "h_z", "pulses", "cells_written", "saturated", "full_scale")
PASS_KINDS = ("training", "verify", "scan", "calibration", "evaluation")

UNFINISHED = "unfinished"
"""Status of a run whose file holds no end: it is still going, or it was killed."""

Columns = dict[str, Array64]


@dataclass(frozen=True, slots=True)
class Wear:
    """What training cost one unit's cells, at the step of its last map."""

    step: int
    mean: float
    median: float
    most: int
    total: int


@dataclass(frozen=True, slots=True)
class UnitData:
    """One unit: columns over steps (UNIT_FIELDS and "step"), its last map, its scans."""

    info: UnitInfo
    columns: Columns
    last_map: MapTaken | None
    scans: tuple[FaultsScanned, ...]

    @property
    def faults(self) -> Codes | None:
        """The newest map of known faults, from a scan or from the last map; None when there is none."""
        known: list[MapTaken | FaultsScanned] = [*self.scans]
        if self.last_map is not None:
            known.append(self.last_map)
        return max(known, key=lambda event: event.step).faults if known else None

    @property
    def wear(self) -> Wear | None:
        """Pulses per cell; None before the first map."""
        if self.last_map is None or self.last_map.pulses.size == 0:
            return None
        pulses = self.last_map.pulses
        return Wear(
            step=self.last_map.step,
            mean=float(pulses.mean()),
            median=float(np.median(pulses)),
            most=int(pulses.max()),
            total=int(pulses.sum(dtype=np.int64)),
        )


@dataclass(frozen=True, slots=True)
class RunData:
    """A whole run. `columns` holds STEP_FIELDS over steps; `status` is that of RunFinished, or UNFINISHED."""

    started: RunStarted
    finished: RunFinished | None
    columns: Columns
    units: tuple[UnitData, ...]
    evaluations: tuple[Evaluated, ...]
    struck: tuple[FaultsStruck, ...]
    safe: tuple[MadeSafe, ...]
    rejected: tuple[BatchRejected, ...]
    messages: tuple[Message, ...]
    passes: Passes
    pulses: int

    @property
    def status(self) -> str:
        """ "finished", "aborted", "failed", or UNFINISHED when no end is recorded."""
        return self.finished.status if self.finished is not None else UNFINISHED

    @property
    def last_step(self) -> int:
        """Steps completed when the last one was recorded: steps count from 1; 0 before the first."""
        steps = self.columns["step"]
        return int(steps[-1]) if steps.size else 0

    @property
    def elapsed_s(self) -> float:
        """Wall-clock seconds of the run as far as they are recorded."""
        if self.finished is not None:
            return self.finished.wall_s
        elapsed = self.columns["elapsed_s"]
        return float(elapsed[-1]) if elapsed.size else 0.0

    def accuracy(self, split: str) -> Evaluated | None:
        """The newest evaluation on `split`."""
        return next((event for event in reversed(self.evaluations) if event.split == split), None)


@dataclass
class _Gathered:
    """Events sorted by kind while they stream by; lists of numbers, not of events, for steps are many."""

    started: RunStarted | None = None
    finished: RunFinished | None = None
    passes: Passes = field(default_factory=Passes)
    pulses: int = 0
    steps: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in STEP_FIELDS})
    units: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    maps: dict[str, MapTaken] = field(default_factory=dict)
    scans: dict[str, list[FaultsScanned]] = field(default_factory=dict)
    evaluations: list[Evaluated] = field(default_factory=list)
    struck: list[FaultsStruck] = field(default_factory=list)
    safe: dict[str, MadeSafe] = field(default_factory=dict)
    rejected: list[BatchRejected] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)

    def take(self, event: Event) -> None:
        match event:
            case StepDone():
                self._step(event)
            case MapTaken():
                self.maps[event.unit] = event
            case Evaluated():
                self.evaluations.append(event)
            case FaultsStruck():
                self.struck.append(event)
            case FaultsScanned():
                self.scans.setdefault(event.unit, []).append(event)
            case MadeSafe():
                self.safe[event.unit] = event
            case BatchRejected():
                self.rejected.append(event)
            case Message():
                self.messages.append(event)
            case RunStarted():
                self.started = self.started or event
                self.finished = None  # a resumed run has not ended yet
            case RunFinished():
                self.finished, self.passes, self.pulses = event, event.passes, event.pulses
            case _:
                pass  # states and checkpoints say nothing that a summary shows

    def _step(self, event: StepDone) -> None:
        self.passes, self.pulses = event.passes, event.pulses
        for name, column in self.steps.items():
            column.append(getattr(event, name))
        for unit in event.units:
            columns = self.units.setdefault(unit.name, {name: [] for name in ("step", *UNIT_FIELDS)})
            columns["step"].append(event.step)
            for name in UNIT_FIELDS:
                columns[name].append(getattr(unit, name))


def summarise(events: Iterable[Event]) -> RunData:
    """Gather a run's events; a run cut short at any event is summarised as far as it went.

    Raises RunFileError when no RunStarted is among them: such a file says nothing about its run.
    """
    gathered = _Gathered()
    for event in events:
        gathered.take(event)
    started = gathered.started
    if started is None:
        raise RunFileError("the run file holds no start of a run; it was damaged, or made by something else")
    empty: dict[str, list[float]] = {name: [] for name in ("step", *UNIT_FIELDS)}
    units = tuple(
        UnitData(
            info,
            _arrays(gathered.units.get(info.name, empty)),
            gathered.maps.get(info.name),
            tuple(gathered.scans.get(info.name, ())),
        )
        for info in started.units
    )
    return RunData(
        started=started,
        finished=gathered.finished,
        columns=_arrays(gathered.steps),
        units=units,
        evaluations=tuple(gathered.evaluations),
        struck=tuple(gathered.struck),
        safe=tuple(gathered.safe.values()),
        rejected=tuple(gathered.rejected),
        messages=tuple(gathered.messages),
        passes=gathered.passes,
        pulses=gathered.pulses,
    )


def _arrays(columns: dict[str, list[float]]) -> Columns:
    return {name: np.asarray(values, dtype=np.float64) for name, values in columns.items()}
