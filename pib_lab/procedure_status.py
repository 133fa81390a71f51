"""Where a bring-up procedure stands, gathered from its events: for a status command and for a late viewer."""

from __future__ import annotations

from typing import Any

from pib_lab.events import MadeSafe
from pib_lab.findings import Progress
from pib_lab.procedure_events import ProcedureEvent, ProcedureFinished, ProcedureStarted


class ProcedureStatus:
    """The latest event of each kind. A view by itself: feed it with `show`."""

    def __init__(self) -> None:
        self.started: ProcedureStarted | None = None
        self.progress: Progress | None = None
        self.safe: MadeSafe | None = None
        self.finished: ProcedureFinished | None = None

    def show(self, event: ProcedureEvent) -> None:
        """Take note of `event`."""
        match event:
            case ProcedureStarted():
                self.started = event
            case Progress():
                self.progress = event
            case MadeSafe():
                self.safe = event
            case ProcedureFinished():
                self.finished = event

    @property
    def word(self) -> str:
        """The state in one word: "starting", "running", then as in ProcedureFinished."""
        if self.finished is not None:
            return self.finished.status
        return "starting" if self.progress is None else "running"

    def backlog(self) -> list[ProcedureEvent]:
        """The events that bring a viewer who joins now up to date."""
        held = (self.started, self.progress, self.safe, self.finished)
        return [event for event in held if event is not None]

    def summary(self) -> dict[str, Any]:
        """Plain values for a status line or for JSON; what is not known yet is None. Keys that a training's status has
        as well mean the same; "procedure" is in this one only."""
        started, progress, finished = self.started, self.progress, self.finished
        return {
            "run": started.run_id if started else None,
            "protocol": started.protocol_name if started else None,
            "procedure": started.procedure if started else None,
            "mock": started.mock if started else None,
            "state": self.word,
            "step": progress.done if progress else 0,
            "total_steps": progress.total if progress else None,
            "text": progress.text if progress else "",
            "verdict": finished.verdict if finished else None,
            "pulses": finished.pulses if finished else None,
            "safe": {self.safe.unit: not self.safe.not_confirmed} if self.safe else {},
        }
