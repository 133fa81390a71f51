"""The central interface: a physical unit is a black box that takes a drive and returns a measured response.

Nothing in training looks inside a unit. What a unit can do beyond the interface is said by small capabilities: an
absent capability is an absent method, and update rules are chosen from what is there (`pib_lab.capabilities`).
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np

from pib_lab.errors import Cancelled
from pib_lab.quantities import Array, Mask, Quantity

State = Mapping[str, "np.ndarray[Any, Any] | str | float | int"]
"""What a snapshot holds: arrays, and scalars or JSON texts. No pickles: a run file must be safe to open."""


@dataclass(frozen=True, slots=True)
class UnitSpec:
    """What a unit is, without any I/O.

    `drive` has shape (n_in,), `response` any shape per sample; `parameters` are the physical ones (cells, phases).
    `memory`: the response depends on earlier samples, so their order matters.
    """

    name: str
    drive: Quantity
    response: Quantity
    parameters: Quantity
    settle_s: float
    memory: bool = False


@dataclass(frozen=True, slots=True)
class Measurement:
    """One batch of measured responses.

    values: (batch, *response.shape) in the response's unit; saturated: same shape, True where the reading was clipped
    by the instrument; passes: sample vectors sent through the unit; started_s, ended_s: on the unit's own clock.
    """

    values: Array
    saturated: Mask
    passes: int
    started_s: float
    ended_s: float

    @property
    def clipped(self) -> float:
        """Fraction of the readings that are saturated; 0 of none."""
        return int(np.count_nonzero(self.saturated)) / max(1, self.saturated.size)


@dataclass(frozen=True, slots=True)
class SafeReport:
    """What `make_safe` achieved: outputs commanded off *and read back* off, and those that could not be confirmed."""

    unit: str
    confirmed: tuple[str, ...]
    not_confirmed: tuple[str, ...] = ()
    detail: str = ""

    @property
    def safe(self) -> bool:
        """True when every output was read back off."""
        return not self.not_confirmed


@dataclass
class CancelToken:
    """Set by an operator or a signal handler; long measurements look at it between samples or blocks."""

    _event: threading.Event = field(default_factory=threading.Event)

    def cancel(self) -> None:
        """Ask whatever is going on to stop at the next safe point."""
        self._event.set()

    @property
    def cancelled(self) -> bool:
        """True once `cancel` has been called."""
        return self._event.is_set()

    def raise_if_cancelled(self) -> None:
        """Raise Cancelled once `cancel` has been called."""
        if self._event.is_set():
            raise Cancelled("interrupted by the operator")


@runtime_checkable
class PhysicalUnit(Protocol):
    """One layer of a physical network. Values are SI; a value beyond a limit is refused before anything is sent."""

    @property
    def spec(self) -> UnitSpec:
        """Shapes, units and limits; no I/O."""

    def open(self) -> None:
        """Connect. Outputs stay off until the first measurement or programming."""

    def program(self, parameters: Array, where: Mask | None = None) -> Array:
        """Write `parameters` (spec.parameters.shape) where `where` is True; return what the device is believed to hold.

        Raises LimitError beyond the limits, DeviceError when not open.
        """

    def measure(self, drive: Array, *, cancel: CancelToken) -> Measurement:
        """Send each row of `drive` (batch, n_in) through the unit and measure the response.

        Raises LimitError beyond the limits, DeviceError when not open, Cancelled when the token is set.
        """

    def make_safe(self) -> SafeReport:
        """Command outputs off and read back. Idempotent; never raises; says what was NOT confirmed."""

    def close(self) -> None:
        """Let go of the device. Idempotent."""
