"""The frozen, versioned records that leave the orchestrator. Recorder, views and replay all consume the same ones.

Everything a view needs is in the events; nothing in them refers back to live objects. Arrays are not to be written to.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pib_lab.frames import FrameTaken
from pib_lab.quantities import Array, Codes, Counts
from pib_lab.records import Passes, RunState, UnitInfo, UnitStep

SCHEMA_VERSION = 1
"""Raised whenever an event gains, loses or changes a field; written into every run file."""


@dataclass(frozen=True, slots=True)
class RunStarted:
    """First event of a run (and of a resumed run, with `first_step` > 0)."""

    run_id: str
    protocol_name: str
    protocol_text: str
    seed: int
    versions: dict[str, str]
    git_commit: str
    units: tuple[UnitInfo, ...]
    first_step: int
    total_steps: int
    steps_per_epoch: int
    batch: int
    mock: bool
    dataset: str
    split_sizes: tuple[int, int, int]
    started_unix_s: float
    schema: int = SCHEMA_VERSION


@dataclass(frozen=True, slots=True)
class StateChanged:
    """The run moved to another state."""

    state: RunState
    step: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class StepDone:
    """One step (one batch through all units, all units updated).

    `passes`, `pulses` and `elapsed_s` are totals since the run began, over all its sessions; `elapsed_s` leaves out
    preparation, pauses and the time between sessions.
    """

    step: int
    epoch: int
    batch_accuracy: float
    learning_rate: float
    units: tuple[UnitStep, ...]
    passes: Passes
    pulses: int
    ceiling_bits: float
    elapsed_s: float


@dataclass(frozen=True, slots=True)
class Evaluated:
    """Accuracy on a whole split, "validation" or "test"; conditioning frozen, nothing learned."""

    step: int
    split: str
    accuracy: float
    loss: float
    samples: int


@dataclass(frozen=True, slots=True)
class MapTaken:
    """Maps of one unit's parameters: what they are believed to be, known faults (FaultKind codes), pulses so far."""

    step: int
    unit: str
    parameters: Array
    faults: Codes
    pulses: Counts


@dataclass(frozen=True, slots=True)
class FaultsStruck:
    """A scheduled or hand-made fault struck a unit."""

    step: int
    unit: str
    kind: str
    fraction: float
    cluster: str
    cells: int


@dataclass(frozen=True, slots=True)
class FaultsScanned:
    """A scan found these faults from measurements, at this cost. recall, precision: NaN unless the truth is known."""

    step: int
    unit: str
    faults: Codes
    found: int
    passes: int
    pulses: int
    recall: float
    precision: float


@dataclass(frozen=True, slots=True)
class CheckpointTaken:
    """All that a resume needs. `state` maps "unit/part/name" to arrays, or to texts and numbers."""

    step: int
    state: dict[str, Any]


@dataclass(frozen=True, slots=True)
class BatchRejected:
    """A batch that could not be learned from, saved with what was measured before the run stops."""

    step: int
    unit: str
    reason: str
    drive: Array
    response: Array


@dataclass(frozen=True, slots=True)
class MadeSafe:
    """What `make_safe` achieved on one unit."""

    unit: str
    confirmed: tuple[str, ...]
    not_confirmed: tuple[str, ...]
    detail: str


@dataclass(frozen=True, slots=True)
class Message:
    """A line for the log; level is "info", "warning" or "error"."""

    level: str
    text: str
    step: int = -1


@dataclass(frozen=True, slots=True)
class RunFinished:
    """Last event: status "finished", "aborted" or "failed"; metrics such as test_accuracy; wall_s as elapsed_s of
    StepDone."""

    status: str
    step: int
    metrics: dict[str, float]
    passes: Passes
    pulses: int
    wall_s: float
    error: str = ""
    safe: bool = field(default=True)


Event = (
    RunStarted
    | StateChanged
    | StepDone
    | Evaluated
    | MapTaken
    | FrameTaken
    | FaultsStruck
    | FaultsScanned
    | CheckpointTaken
    | BatchRejected
    | MadeSafe
    | Message
    | RunFinished
)
