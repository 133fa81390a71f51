"""Weights in memory: a layer that is computed, not measured, for what stands between physical units or behind them.

It learns by the same local rules as a physical unit. It has no passes, no wear and no outputs, and says so: its weights
are counted and told apart wherever a run says what it is made of.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pib_lab.capabilities import UnitCosts
from pib_lab.device import DeviceContext, UnitRequest
from pib_lab.errors import ConfigurationError, DeviceError
from pib_lab.experiment import check_options
from pib_lab.quantities import Array, Mask, Quantity
from pib_lab.unit import CancelToken, Measurement, SafeReport, State, UnitSpec

BITS = range(2, 25)  # more than 24 bits are finer than float32 can tell apart


class DigitalUnit:
    """response = drive @ W in float32, W of shape (n_in, n_out) within +-limit; drive 0 to 1.

    bits: of each weight, in equal steps over the range; 0: float32. Raises ConfigurationError for a limit that is not
    above zero, or another number of bits.
    """

    def __init__(self, request: UnitRequest, context: DeviceContext, limit: float, bits: int) -> None:
        shape = (request.inputs, request.outputs)
        self.spec = UnitSpec(
            name=request.name,
            drive=Quantity("1", (request.inputs,), 0.0, 1.0),
            response=Quantity("1", (request.outputs,)),
            parameters=Quantity("1", shape, -limit, limit, resolution=2 * limit / (2**bits - 1) if bits else 0.0),
            settle_s=0.0,
        )
        self._clock = context.clock
        self._weights, self._open = np.zeros(shape, np.float32), False

    def open(self) -> None:
        """Nothing is connected."""
        self._open = True

    def program(self, parameters: Array, where: Mask | None = None) -> Array:
        """Set weights; returns all of them, rounded to what their bits can hold."""
        self._require_open()
        quantity = self.spec.parameters
        quantity.check_batch(parameters[np.newaxis], f"{self.spec.name}: parameters")
        rounded = np.clip(parameters, quantity.low, quantity.high)
        if quantity.resolution:
            steps = np.rint((rounded - quantity.low) / quantity.resolution)
            rounded = np.clip(quantity.low + steps * quantity.resolution, quantity.low, quantity.high)
        self._weights = np.where(True if where is None else where, rounded, self._weights).astype(np.float32)
        return self._weights.copy()

    def measure(self, drive: Array, *, cancel: CancelToken) -> Measurement:
        """Compute drive @ W; no pass, for nothing is measured."""
        self._require_open()
        self.spec.drive.check_batch(drive, f"{self.spec.name}: drive")
        cancel.raise_if_cancelled()
        now_s = self._clock.now_s()
        values = drive.astype(np.float32) @ self._weights
        return Measurement(values, np.zeros(values.shape, np.bool_), 0, now_s, now_s)

    def make_safe(self) -> SafeReport:
        """There is nothing to switch off."""
        return SafeReport(self.spec.name, confirmed=("no outputs",))

    def close(self) -> None:
        """Weights stay as they are."""
        self._open = False

    def digital_weights(self) -> int:
        """All parameters."""
        return self.spec.parameters.size

    def how(self) -> str:
        """One line for records and reports."""
        return f"computed: {self.digital_weights():,} digital weights, no passes"

    def costs(self) -> UnitCosts:
        """Nothing but arithmetic."""
        return UnitCosts(0.0, 0.0, 0.0, pulses_per_write_max=0, verify_passes_max=0, read_passes=0)

    def initial_parameters(self, rng: np.random.Generator, scale: float) -> Array:
        """Weights of normal distribution, standard deviation `scale` times the limit, mean 0."""
        quantity = self.spec.parameters
        spread = rng.normal(0.0, scale * quantity.high, quantity.shape)
        return np.clip(spread, quantity.low, quantity.high).astype(np.float32)

    def pullback(self, drive: Array, d_response: Array) -> Array:
        """dL/dW = drive^T dL/d(response)."""
        gradient: Array = drive.T @ d_response
        return gradient

    def read_parameters(self, *, cancel: CancelToken) -> tuple[Array, int]:
        """The weights, without noise and without a pass."""
        self._require_open()
        cancel.raise_if_cancelled()
        return self._weights.copy(), 0

    def true_parameters(self) -> Array:
        """The weights."""
        return self._weights.copy()

    def true_transfer(self) -> Array:
        """The weights."""
        return self._weights.copy()

    def snapshot(self) -> State:
        """The weights."""
        return {"weights": self._weights.copy()}

    def restore(self, state: State) -> None:
        """Go back to a snapshot."""
        self._weights = np.array(state["weights"], np.float32)

    def _require_open(self) -> None:
        if not self._open:
            raise DeviceError(f"{self.spec.name}: not open; call open() first")


class DigitalWeights:
    """Memory that any number of units share. Options: `limit` (largest weight, 1) and `bits` (of a weight, 0: float32).

    A unit's own options replace the device's. Raises ConfigurationError for other keys.
    """

    is_mock = False
    is_digital = True

    def __init__(self, options: dict[str, Any], context: DeviceContext) -> None:
        check_options(options, {"limit", "bits"}, f"hardware.{context.name}")
        self._options, self._context = dict(options), context
        _limit_and_bits(self._options, f"hardware.{context.name}")

    def unit(self, request: UnitRequest) -> DigitalUnit:
        """Weights (n_in, n_out) of their own. Raises ConfigurationError for options that do not fit."""
        where = f"units ({request.name}).options"
        check_options(dict(request.options), {"limit", "bits"}, where)
        return DigitalUnit(request, self._context, *_limit_and_bits(self._options | dict(request.options), where))

    def close(self) -> None:
        """Nothing is connected."""


def _limit_and_bits(options: dict[str, Any], where: str) -> tuple[float, int]:
    limit, bits = options.get("limit", 1.0), options.get("bits", 0)
    if isinstance(limit, bool) or not isinstance(limit, (int, float)) or not 0.0 < limit <= 1e6:
        raise ConfigurationError(f"{where}.limit: must be a number above 0, up to 1e6 (given: {limit!r})")
    if isinstance(bits, bool) or not isinstance(bits, int) or not (bits == 0 or bits in BITS):
        raise ConfigurationError(f"{where}.bits: must be 0 for float32, or {BITS[0]} to {BITS[-1]} (given: {bits!r})")
    return float(limit), bits
