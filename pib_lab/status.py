"""Where a run stands, gathered from its events: what a status command prints and what a late viewer must be told."""

from __future__ import annotations

from typing import Any

from pib_lab.events import (
    Evaluated,
    Event,
    FaultsScanned,
    MadeSafe,
    MapTaken,
    RunFinished,
    RunStarted,
    StateChanged,
    StepDone,
)
from pib_lab.frames import FrameTaken
from pib_lab.records import Passes, RunState


class RunStatus:
    """The latest event of each kind. A view by itself: feed it with `show`."""

    def __init__(self) -> None:
        self.started: RunStarted | None = None
        self.state: StateChanged | None = None
        self.step: StepDone | None = None
        self.evaluations: dict[str, Evaluated] = {}
        self.maps: dict[str, MapTaken] = {}
        self.frames: dict[str, FrameTaken] = {}
        self.scans: dict[str, FaultsScanned] = {}
        self.safe: dict[str, MadeSafe] = {}
        self.finished: RunFinished | None = None

    def show(self, event: Event) -> None:
        """Take note of `event`."""
        match event:
            case RunStarted():
                self.started = event
            case StateChanged():
                self.state = event
            case StepDone():
                self.step = event
            case Evaluated():
                self.evaluations[event.split] = event
            case MapTaken():
                self.maps[event.unit] = event
            case FrameTaken():
                self.frames[event.unit] = event
            case FaultsScanned():
                self.scans[event.unit] = event
            case MadeSafe():
                self.safe[event.unit] = event
            case RunFinished():
                self.finished = event
            case _:  # the others say what happened, not where the run stands
                pass

    @property
    def word(self) -> str:
        """The state in one word: "starting" before the first event, then as in RunState."""
        if self.finished is not None:
            return self.finished.status
        if self.state is not None:
            return str(self.state.state)
        return "starting" if self.started is None else str(RunState.RUNNING)

    @property
    def steps_done(self) -> int:
        """Steps completed, those before a resume included."""
        if self.step is not None:
            return self.step.step
        return self.started.first_step if self.started is not None else 0

    @property
    def passes(self) -> Passes:
        """Passes so far, by purpose."""
        if self.finished is not None:
            return self.finished.passes
        return self.step.passes if self.step is not None else Passes()

    @property
    def pulses(self) -> int:
        """Programming pulses so far."""
        if self.finished is not None:
            return self.finished.pulses
        return self.step.pulses if self.step is not None else 0

    @property
    def remaining_s(self) -> float | None:
        """Time left, from the mean time of all steps so far; None when nothing is known."""
        if self.started is None or self.step is None or self.finished is not None:
            return None
        return self.step.elapsed_s / self.step.step * (self.started.total_steps - self.step.step)

    def backlog(self) -> list[Event]:
        """The events that bring a viewer who joins now up to date."""
        return [
            event
            for event in (
                self.started,
                self.state,
                *self.evaluations.values(),
                *self.scans.values(),
                *self.maps.values(),
                *self.frames.values(),
                self.step,
                *self.safe.values(),
                self.finished,
            )
            if event is not None
        ]

    def summary(self) -> dict[str, Any]:
        """Plain values for a status line or for JSON; what is not known yet is None."""
        started, step = self.started, self.step
        return {
            "run": started.run_id if started else None,
            "protocol": started.protocol_name if started else None,
            "mock": started.mock if started else None,
            "state": self.word,
            "reason": self.state.reason if self.state else "",
            "step": self.steps_done,
            "total_steps": started.total_steps if started else None,
            "remaining_s": self.remaining_s,
            "batch_accuracy": step.batch_accuracy if step else None,
            "accuracy": {split: evaluated.accuracy for split, evaluated in self.evaluations.items()},
            "passes": self.passes.total,
            "pulses": self.pulses,
            "safe": {unit: not made.not_confirmed for unit, made in self.safe.items()},
        }
