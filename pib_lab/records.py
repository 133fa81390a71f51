"""What events are made of: the state of a run, what it has cost, and what each unit is and did."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

NAN = math.nan
"""A number that was not computed or is not known."""


def disturbs_key(unit: str) -> str:
    """Name of the metric that tells the most half-select disturbs of one cell of `unit`."""
    return f"{unit}_disturbs_max"


class RunState(StrEnum):
    """Where a run stands."""

    IDLE = "idle"
    RUNNING = "running"
    PAUSED = "paused"
    ABORTING = "aborting"
    FINISHED = "finished"
    ABORTED = "aborted"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Passes:
    """Sample vectors sent through units, by purpose. One sample through three units is three passes."""

    training: int = 0
    verify: int = 0
    scan: int = 0
    calibration: int = 0
    evaluation: int = 0

    def __add__(self, other: Passes) -> Passes:
        return Passes(
            self.training + other.training,
            self.verify + other.verify,
            self.scan + other.scan,
            self.calibration + other.calibration,
            self.evaluation + other.evaluation,
        )

    @property
    def total(self) -> int:
        """All passes."""
        return self.training + self.verify + self.scan + self.calibration + self.evaluation


@dataclass(frozen=True, slots=True)
class UnitInfo:
    """A unit as the run file and the views know it; units of quantities are SI symbols.

    how: a response comes about, where the unit says so (`pib_lab.capabilities.TellsHow`).
    """

    name: str
    device: str
    driver: str
    objective: str
    inputs: int
    outputs: int
    drive_unit: str
    drive_limits: tuple[float, float]
    response_unit: str
    parameter_unit: str
    parameter_limits: tuple[float, float]
    parameter_shape: tuple[int, ...]
    settle_s: float
    how: str = ""


@dataclass(frozen=True, slots=True)
class UnitStep:
    """What one unit did in one step. Entropies are in bits, NaN on steps where they were not computed.

    loss: the unit's own local loss; i_xz, i_zy: order-2 Renyi mutual information of the conditioned response with the
    network's input and with the target; h_z: its entropy; pulses, cells_written: of this step;
    saturated: fraction of clipped readings; full_scale: of the front end, in the response's unit (NaN if fixed).
    """

    name: str
    loss: float
    i_xz: float
    i_zy: float
    h_z: float
    pulses: int
    cells_written: int
    saturated: float
    full_scale: float
