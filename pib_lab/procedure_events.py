"""The frozen records that leave a bring-up procedure as it goes on; how far it has come is a `findings.Progress`."""

from __future__ import annotations

from dataclasses import dataclass

from pib_lab.events import MadeSafe
from pib_lab.findings import Progress


@dataclass(frozen=True, slots=True)
class ProcedureStarted:
    """First event. run_id: the folder's name; device: what `MadeSafe` will call it."""

    run_id: str
    protocol_name: str
    procedure: str
    device: str
    mock: bool
    started_unix_s: float


@dataclass(frozen=True, slots=True)
class ProcedureFinished:
    """Last event, after everything has been recorded. status: "finished", "aborted" or "failed"."""

    status: str
    verdict: str
    pulses: int
    error: str = ""
    safe: bool = True


ProcedureEvent = ProcedureStarted | Progress | MadeSafe | ProcedureFinished
