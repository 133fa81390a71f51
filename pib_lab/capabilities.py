"""What a unit may offer beyond `PhysicalUnit`: each capability is one or two methods, asked for with isinstance.

An absent capability is an absent method, never an exception; update rules, scans and checkpoints are chosen from them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from pib_lab.quantities import Array, Codes, Counts, Mask
from pib_lab.unit import CancelToken, PhysicalUnit, State


@runtime_checkable
class PullsBack(Protocol):
    """The gradient of a loss in the parameters follows exactly from measured quantities alone."""

    def pullback(self, drive: Array, d_response: Array) -> Array:
        """From drive (batch, n_in) and dL/d(response) (batch, *response.shape) to dL/d(parameters).

        Arithmetic only, no I/O: it may be called from another thread while the unit measures."""


@runtime_checkable
class Initialises(Protocol):
    """Knows parameters from which learning starts well."""

    def initial_parameters(self, rng: np.random.Generator, scale: float) -> Array:
        """Parameters with a random spread of `scale` (a fraction of the range)."""


@runtime_checkable
class ReadsParameters(Protocol):
    """Can measure its own parameters, at a cost in passes."""

    def read_parameters(self, *, cancel: CancelToken) -> tuple[Array, int]:
        """Measured parameters (with read noise) and the passes it took."""


@runtime_checkable
class RevealsParameters(Protocol):
    """Mocks only: the true state, for peers that are granted perfect knowledge and for checks of scans."""

    def true_parameters(self) -> Array:
        """Parameters as they are, free of read noise."""

    def true_transfer(self) -> Array:
        """The true linear map drive -> response (n_in, n_out), wires and faults included."""


@runtime_checkable
class ReportsFaults(Protocol):
    """Mocks only: which elements are truly faulty, to score what a scan found."""

    def true_faults(self) -> Codes:
        """FaultKind codes, shape of the parameters."""


@runtime_checkable
class InjectsFaults(Protocol):
    """Mocks and emulators: strikes elements with faults."""

    def inject_faults(self, kind: str, fraction: float, cluster: str, seed: int) -> int:
        """Strike `fraction` of the cells: kind "low", "high", "between", "open" or "mixed"; cluster "none", "row" or
        "column". Returns how many cells are newly faulty."""


@runtime_checkable
class CountsWear(Protocol):
    """Counts what the training costs the device."""

    def pulses(self) -> Counts:
        """Programming pulses so far, shape of the parameters."""

    def verify_passes(self) -> int:
        """Passes spent so far on reading cells to verify writes."""

    def write_misses(self) -> Counts:
        """Consecutive writes that ended outside the tolerance, shape of the parameters: the first sign of a fault."""


@runtime_checkable
class SitsOnChip(Protocol):
    """A real chip whose wear is kept over all runs knows its serial number and where the unit's cells are on it."""

    def chip_serial(self) -> str:
        """As the chip or its carrier tells it; the unit is open."""

    def cell_sites(self) -> Counts:
        """Array, row and column of every cell, int32 of the parameters' shape and 3; the unit is open."""


@dataclass(frozen=True, slots=True)
class UnitCosts:
    """What the operations of a unit take, for dry runs and budgets.

    sample_s: one pass, settling included; pulse_s: one programming pulse; verify_s: one verify pass;
    pulses_per_write_max: of one parameter in one write; verify_passes_max: of one write of all parameters (0: writes
    are not verified); read_passes: of one reading of all parameters (0: the unit cannot read them).
    """

    sample_s: float
    pulse_s: float
    verify_s: float
    pulses_per_write_max: int
    verify_passes_max: int
    read_passes: int


@runtime_checkable
class Costs(Protocol):
    """Knows beforehand what its operations take."""

    def costs(self) -> UnitCosts:
        """Times and bounds; no I/O."""


@runtime_checkable
class LimitsCurrent(Protocol):
    """Limits the current of its lines. Such a unit takes a tighter limit as the option `current_limit_a`."""

    def current_limit_a(self) -> float:
        """The limit of a line's current in force, in amperes; no I/O."""


@runtime_checkable
class Ranges(Protocol):
    """The front end has a programmable full scale."""

    def full_scale(self) -> float:
        """Present full scale of the response."""

    def set_full_scale(self, value: float) -> float:
        """Choose the nearest range not below `value`; returns the full scale in force, as read back."""


@runtime_checkable
class Resets(Protocol):
    """A unit with memory can be brought to a known state."""

    def reset(self) -> None:
        """Forget earlier samples."""


@runtime_checkable
class Snapshots(Protocol):
    """Mocks: everything a bit-identical resume needs (state, noise generator, clock, wear)."""

    def snapshot(self) -> State:
        """A copy of the state."""

    def restore(self, state: State) -> None:
        """Go back to a snapshot."""


@runtime_checkable
class Compensates(Protocol):
    """Parameters work together (the two cells of a pair): healthy ones can take over the share of faulty ones."""

    def compensate(self, wanted: Array, held: Array, faulty: Mask) -> Array:
        """Targets for all parameters that come closest to what `wanted` would do while `faulty` ones stay `held`."""


@runtime_checkable
class HoldsWeights(Protocol):
    """The response is drive @ weights, and drive lines are interchangeable: any signal may be put on any line."""

    def weights(self, parameters: Array) -> Array:
        """Weights (n_in, n_out) that parameters make, in the parameters' unit."""

    def reach(self, held: Array, faulty: Mask) -> tuple[Array, Array]:
        """Least and largest weights (n_in, n_out) that healthy parameters can make while `faulty` ones stay `held`."""

    def realise(self, weights: Array, held: Array, faulty: Mask) -> Array:
        """Targets for all parameters that make these weights, as far as they are within reach."""


def wear(unit: PhysicalUnit) -> tuple[int, int]:
    """(pulses, verify passes) of all parameters so far; zeros for a unit that does not count."""
    if not isinstance(unit, CountsWear):
        return 0, 0
    return int(unit.pulses().sum(dtype=np.int64)), unit.verify_passes()
