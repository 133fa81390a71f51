"""What a unit may offer beyond `PhysicalUnit`: each capability is one or two methods, asked for with isinstance.

An absent capability is an absent method, never an exception; update rules, scans and checkpoints are chosen from them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from pib_lab.frames import CameraFrame
from pib_lab.quantities import Array, Codes, Counts, Mask
from pib_lab.unit import CancelToken, Measurement, PhysicalUnit, State


@runtime_checkable
class PullsBack(Protocol):
    """The gradient of a loss in the parameters follows exactly from measured quantities alone."""

    def pullback(self, drive: Array, d_response: Array) -> Array:
        """From drive (batch, n_in) and dL/d(response) (batch, *response.shape) to dL/d(parameters).

        Arithmetic only, no I/O: it may be called from another thread while the unit measures."""


@runtime_checkable
class CoherentPhases(Protocol):
    """Parameters are phases of coherent light: every response is a sinusoid in each of them, all others held.

    Light of one parameter adds to all other light before it is detected. Crosstalk between parameters, saturation and a
    nonlinear medium spoil the sinusoid: a unit offers this where it is meant to hold, and its errors are stated.
    """

    def phase_period(self) -> float:
        """Period of the sinusoid in the parameters' unit (2 pi for phases in rad); no I/O."""


@runtime_checkable
class ShiftsSamples(Protocol):
    """Its parameters can be shifted for each sample of a batch by itself, at the cost of a plain measurement.

    Together with `CoherentPhases`: shifts may lead beyond the limits of the parameters, as phases go round.
    """

    def measure_shifted(self, drive: Array, shift: Array, *, cancel: CancelToken) -> Measurement:
        """As `measure`, with the parameters + shift[i] for sample i; the parameters themselves stay as they are.

        shift: (batch, *parameters.shape), in the parameters' unit. Raises what `measure` raises, ConfigurationError for
        shifts of another shape, LimitError for one that is not a finite number."""


@runtime_checkable
class Digital(Protocol):
    """Computes its response instead of measuring it: no passes, no wear, no outputs; its weights are counted."""

    def digital_weights(self) -> int:
        """How many weights stand in memory instead of in physics; no I/O."""


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


@runtime_checkable
class NamesDevice(Protocol):
    """A real unit tells which device it is on: units of different devices are made safe at the same time.

    Those of one device, and all units that do not tell, have their turns one after the other.
    """

    def device_name(self) -> str:
        """As under [hardware] in the protocol; no I/O."""


@runtime_checkable
class Cancels(Protocol):
    """Programs for so long that an operator may want to stop it between parameters, or parts of them."""

    def cancel_with(self, token: CancelToken) -> None:
        """From now on `program` raises Cancelled once `token` is set; what it has written by then stays known."""


@runtime_checkable
class TellsHow(Protocol):
    """Says how a response comes about, where that is not one reading of the whole sum that physics makes."""

    def how(self) -> str:
        """One line for records and reports; no I/O."""


@runtime_checkable
class SeesFrames(Protocol):
    """Its responses are read out of a camera's frames, of which the last one is kept: to look at it costs no pass."""

    def last_frame(self) -> CameraFrame | None:
        """Of the last measurement; None before the first. No I/O, from any thread."""


@runtime_checkable
class CountsDisturbs(Protocol):
    """Unselected parameters see a part of the voltage that programs others."""

    def half_select_disturbs(self) -> Counts:
        """Pulses on others of which each parameter saw a part so far, shape of the parameters."""


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
class ReportsHealth(Protocol):
    """Can tell how much of it is still as it was, by a signal that never changes."""

    def health(self, *, cancel: CancelToken, renew: bool = False) -> tuple[float, int]:
        """Correlation of the reference's response now with the one kept, 1 for no change, and the passes it took.

        The first call, and one with `renew`, keeps the response. Raises as `measure` does.
        """


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
    return counted(unit if isinstance(unit, CountsWear) else None)


def counted(counter: CountsWear | None) -> tuple[int, int]:
    """As `wear`, for who has asked once whether the unit counts: asking takes longer than counting."""
    return (0, 0) if counter is None else (int(counter.pulses().sum(dtype=np.int64)), counter.verify_passes())
