"""What the desktop knows of one run, gathered from its events. Knows no Qt; belongs to one thread."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gui.curves import Curve
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
    StateChanged,
    StepDone,
)
from pib_lab.findings import Progress
from pib_lab.frames import FrameTaken
from pib_lab.procedure_events import ProcedureEvent, ProcedureFinished, ProcedureStarted
from pib_lab.procedure_status import ProcedureStatus
from pib_lab.records import Passes, UnitInfo
from pib_lab.status import RunStatus

LOG_LINES = 20_000
"""Lines of the log that are kept; older ones are in the run file."""


class Topic(Enum):
    """What a panel may want to be told of."""

    RUN = auto()  # another run: name, units, mock or real
    STATE = auto()  # its state, step, time left
    ENTROPY = auto()
    LEARNING = auto()  # loss, accuracies
    COSTS = auto()  # passes, pulses
    MAPS = auto()
    FAULTS = auto()
    LOG = auto()
    SAFE = auto()


_STEP_TOPICS = frozenset({Topic.STATE, Topic.LEARNING, Topic.COSTS})


@dataclass(slots=True)
class UnitCurves:
    """One unit's curves against step: bits for the first three."""

    i_xz: Curve = field(default_factory=Curve)
    i_zy: Curve = field(default_factory=Curve)
    h_z: Curve = field(default_factory=Curve)
    loss: Curve = field(default_factory=Curve)
    saturated: Curve = field(default_factory=Curve)


CURVES = ("i_xz", "i_zy", "h_z", "loss", "saturated")
"""Fields of UnitCurves, named as in `UnitStep` and in the run file."""


@dataclass(slots=True)
class SplitCurves:
    """Whole evaluations of one split against step."""

    accuracy: Curve = field(default_factory=Curve)
    loss: Curve = field(default_factory=Curve)


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of the log. level: "info", "warning" or "error"; step: -1 when it belongs to none."""

    level: str
    text: str
    step: int = -1


@dataclass(frozen=True, slots=True)
class Opened:
    """A source has begun: events of the run in `folder` follow. live: it goes on, else it is read from its file."""

    folder: Path
    live: bool
    replay: bool = False


@dataclass(frozen=True, slots=True)
class Lost:
    """A live run can no longer be heard. killed: its process has died without an end of its own."""

    reason: str
    killed: bool


@dataclass(frozen=True, slots=True)
class History:
    """What a run file holds so far, its steps as columns. steps, units: as `data.reader.Reader` gives them; curves:
    those of `units`, for the one model that takes this."""

    started: RunStarted
    steps: Mapping[str, npt.NDArray[Any]]
    units: Mapping[str, Mapping[str, npt.NDArray[Any]]]
    others: Sequence[Event]
    maps: Sequence[MapTaken | FrameTaken]
    curves: Mapping[str, UnitCurves] = field(default_factory=dict)


Item = Event | ProcedureEvent | Opened | Lost | History | LogLine


class RunModel:
    """One run. Feed it with `take`; whoever shows it asks `take_changes` what is new.

    Fields are for reading; arrays in them are not to be written to.
    """

    def __init__(self) -> None:
        self.log: deque[LogLine] = deque(maxlen=LOG_LINES)
        self.log_count = 0  # of all lines ever, those that `log` has dropped included
        self.by_hand: bool | None = None  # a device is controlled by hand, a mock or not; None: none is
        self.changed: set[Topic] = set()
        self._clear(Opened(Path(), live=False))

    def _clear(self, opened: Opened) -> None:
        self.folder: Path | None = opened.folder if opened.folder != Path() else None
        self.live = opened.live
        self.replay = opened.replay
        self.killed = False
        self.status = RunStatus()
        self.procedure: ProcedureStatus | None = None
        self.units: dict[str, UnitInfo] = {}
        self.curves: dict[str, UnitCurves] = {}
        self.accuracy = Curve()
        self.learning_rate = Curve()
        self.pass_counts = Curve()
        self.pulse_counts = Curve()
        self.evaluations: dict[str, SplitCurves] = {}
        self.ceiling_bits = math.nan
        self.maps: dict[str, MapTaken] = {}
        self.frames: dict[str, FrameTaken] = {}  # of units that see with a camera
        self.faults: dict[str, npt.NDArray[Any]] = {}  # latest known FaultKind codes by unit, shaped as its parameters
        self.faulty_since: dict[str, npt.NDArray[np.int64]] = {}  # step; -1 where healthy
        self.struck: list[FaultsStruck] = []
        self.scans: list[FaultsScanned] = []
        self.safe: dict[str, MadeSafe] = {}
        self.changed |= set(Topic)

    def take(self, item: Item) -> None:
        """Take note of what a source gave."""
        match item:
            case Opened():
                self._clear(item)
            case History():
                self._load(item)
            case Lost():
                self._lose(item)
            case LogLine():
                self._write(item)
            case ProcedureStarted() | Progress() | ProcedureFinished():
                self._take_procedure(item)
            case _:
                self._take_event(item)

    def take_changes(self) -> set[Topic]:
        """Topics that changed since the last call."""
        changed, self.changed = self.changed, set()
        return changed

    @property
    def state(self) -> str:
        """One word: "idle" without a run, "starting", then as in RunState; "killed" when its process has died."""
        if self.killed:
            return "killed"
        if self.procedure is not None:
            return self.procedure.word
        if self.status.started is None and not self.live and not self.replay:
            return "idle"
        return self.status.word

    @property
    def ended(self) -> bool:
        """Whether nothing more will come of this run."""
        return self.killed or self.state in {"idle", "finished", "aborted", "failed"}

    @property
    def name(self) -> str:
        """The run's id; "" without a run."""
        if self.procedure is not None and self.procedure.started is not None:
            return self.procedure.started.run_id
        if self.status.started is not None:
            return self.status.started.run_id
        return self.folder.name if self.folder is not None else ""

    @property
    def mock(self) -> bool | None:
        """Whether all devices are mocks; None when that is not known yet."""
        if self.procedure is not None:
            return self.procedure.started.mock if self.procedure.started is not None else None
        return self.status.started.mock if self.status.started is not None else None

    @property
    def progress(self) -> tuple[int, int]:
        """Steps done and steps in all; (0, 0) when nothing is known."""
        if self.procedure is not None:
            at = self.procedure.progress
            return (at.done, at.total) if at is not None else (0, 0)
        started = self.status.started
        return (self.status.steps_done, started.total_steps) if started is not None else (0, 0)

    @property
    def passes(self) -> Passes:
        """Passes so far, by purpose."""
        return self.status.passes

    @property
    def pulses(self) -> int:
        """Programming pulses so far."""
        if self.procedure is not None:
            return self.procedure.finished.pulses if self.procedure.finished is not None else 0
        return self.status.pulses

    def _take_procedure(self, event: ProcedureStarted | Progress | ProcedureFinished) -> None:
        if self.procedure is None:
            self.procedure = ProcedureStatus()
        self.procedure.show(event)
        self.changed |= {Topic.STATE, Topic.RUN, Topic.COSTS}
        if isinstance(event, ProcedureFinished):
            self._write(LogLine("error" if event.error else "info", event.error or f"verdict: {event.verdict}"))

    def _take_event(self, event: Event) -> None:
        if isinstance(event, StepDone):
            if self.status.step is None or event.step > self.status.step.step:
                self._take_step(event)
            return
        if isinstance(event, RunStarted):
            self._start(event)
        self.status.show(event)
        match event:
            case StateChanged(step=step, state=state, reason=reason):
                self._write(LogLine("info", f"{state}{': ' if reason else ''}{reason}", step))
                self.changed.add(Topic.STATE)
            case Evaluated():
                self._evaluate(event)
            case MapTaken():
                self.maps[event.unit] = event
                self._note_faults(event.unit, event.faults, event.step)
                self.changed.add(Topic.MAPS)
            case FrameTaken():
                self.frames[event.unit] = event
                self.changed.add(Topic.MAPS)
            case FaultsStruck():
                self.struck.append(event)
                text = f"{event.cells} cells of {event.unit} struck ({event.kind})"
                self._write(LogLine("warning", text, event.step))
                self.changed.add(Topic.FAULTS)
            case FaultsScanned():
                self._scan(event)
            case BatchRejected():
                self._write(LogLine("error", f"batch of {event.unit} rejected: {event.reason}", event.step))
            case MadeSafe():
                self._make_safe(event)
            case Message():
                self._write(LogLine(event.level, event.text, event.step))
            case RunFinished():
                self._finish(event)
            case _:
                pass

    def _start(self, event: RunStarted) -> None:
        self.units = {unit.name: unit for unit in event.units}
        if event.first_step == 0 or not self.curves:
            self.curves = {unit.name: UnitCurves() for unit in event.units}
        else:
            for curve in self._all_curves():
                curve.cut(event.first_step)
        self.status.step = None
        self.status.finished = None
        self.changed |= {Topic.RUN, Topic.STATE, Topic.ENTROPY, Topic.LEARNING}

    def _take_step(self, event: StepDone) -> None:
        self.status.show(event)
        for unit in event.units:
            curves = self.curves.get(unit.name)
            if curves is None:
                curves = self.curves[unit.name] = UnitCurves()
            curves.i_xz.append(event.step, unit.i_xz)
            curves.i_zy.append(event.step, unit.i_zy)
            curves.h_z.append(event.step, unit.h_z)
            curves.loss.append(event.step, unit.loss)
            curves.saturated.append(event.step, unit.saturated)
            if not math.isnan(unit.i_xz):
                self.changed.add(Topic.ENTROPY)
        self.accuracy.append(event.step, event.batch_accuracy)
        self.learning_rate.append(event.step, event.learning_rate)
        self.pass_counts.append(event.step, event.passes.total)
        self.pulse_counts.append(event.step, event.pulses)
        self.ceiling_bits = event.ceiling_bits
        self.changed |= _STEP_TOPICS

    def _evaluate(self, event: Evaluated) -> None:
        curves = self.evaluations.setdefault(event.split, SplitCurves())
        if len(curves.accuracy) and event.step <= curves.accuracy.steps[-1]:
            return  # told twice: from the file, and on attaching
        curves.accuracy.append(event.step, event.accuracy)
        curves.loss.append(event.step, event.loss)
        self.changed.add(Topic.LEARNING)

    def _scan(self, event: FaultsScanned) -> None:
        if any(scan.unit == event.unit and scan.step == event.step for scan in self.scans):
            return
        self.scans.append(event)
        self._note_faults(event.unit, event.faults, event.step)
        text = f"scan of {event.unit} knows {event.found} faulty cells ({event.passes} passes, {event.pulses} pulses)"
        self._write(LogLine("info", text, event.step))

    def _note_faults(self, unit: str, faults: npt.NDArray[Any], step: int) -> None:
        since = self.faulty_since.get(unit)
        if since is None or since.shape != faults.shape:
            since = np.full(faults.shape, -1, np.int64)
        fresh = np.where(faults == 0, -1, np.where(since < 0, step, since))
        self.faults[unit] = faults
        self.faulty_since[unit] = fresh
        self.changed.add(Topic.FAULTS)

    def _make_safe(self, event: MadeSafe) -> None:
        self.safe[event.unit] = event
        if self.procedure is not None:
            self.procedure.show(event)
        if event.not_confirmed:
            why = f" ({event.detail})" if event.detail else ""
            self._write(LogLine("error", f"{event.unit}: NOT confirmed off: {', '.join(event.not_confirmed)}{why}"))
        self.changed.add(Topic.SAFE)

    def _finish(self, event: RunFinished) -> None:
        if event.error:
            self._write(LogLine("error", event.error, event.step))
        self.changed |= {Topic.STATE, Topic.COSTS, Topic.LEARNING}

    def _lose(self, lost: Lost) -> None:
        self.live = False
        self.killed = lost.killed and self.status.finished is None
        if lost.reason:
            self._write(LogLine("error" if self.killed else "info", lost.reason))
        self.changed.add(Topic.STATE)

    def _write(self, line: LogLine) -> None:
        self.log.append(line)
        self.log_count += 1
        self.changed.add(Topic.LOG)

    def _load(self, history: History) -> None:
        """The whole run so far in one go; live events that follow may repeat its end."""
        self._take_event(history.started)
        steps = history.steps["step"]
        self.curves |= history.curves
        self.accuracy.extend(steps, history.steps["batch_accuracy"])
        self.learning_rate.extend(steps, history.steps["learning_rate"])
        passes = np.stack([history.steps[f"{kind}_passes"] for kind in _PURPOSES]).sum(axis=0)
        self.pass_counts.extend(steps, passes)
        self.pulse_counts.extend(steps, history.steps["pulses"])
        if len(steps):
            self.status.show(_last_step(history))
            self.ceiling_bits = float(history.steps["ceiling_bits"][-1])
        for event in history.others:
            if not isinstance(event, RunStarted):
                self._take_event(event)
        for taken in history.maps:
            self._take_event(taken)
        self.changed |= set(Topic)

    def _all_curves(self) -> list[Curve]:
        of_units = [getattr(curves, name) for curves in self.curves.values() for name in CURVES]
        of_splits = [curve for split in self.evaluations.values() for curve in (split.accuracy, split.loss)]
        return [*of_units, *of_splits, self.accuracy, self.learning_rate, self.pass_counts, self.pulse_counts]


_PURPOSES = ("training", "verify", "scan", "calibration", "evaluation")


def _last_step(history: History) -> StepDone:
    last = {name: column[-1].item() for name, column in history.steps.items()}
    passes = Passes(**{purpose: last.pop(f"{purpose}_passes") for purpose in _PURPOSES})
    return StepDone(units=(), passes=passes, **last)
