"""What stands between two units: range, rectify, clip to the next drive. Digital, running, saved with the run.

signal = clip((value - offset) / (headroom * scale), 0 or -inf, 1); offset and scale are running statistics of the
response, of each column or of the whole unit. A signal of 1 is the next unit's full drive.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from pib_lab.quantities import Array, Mask


class Conditioner:
    """Conditions responses (batch, n) of one unit, and chains gradients back through what it did.

    Statistics are treated as constants in the gradient: they change slowly, and the objective is (for Gram matrices of
    standardised responses) nearly blind to them.
    """

    def __init__(self, size: int, *, range: Literal["column", "unit"], rectify: bool, headroom: float, momentum: float):
        self._per_column = range == "column"
        self.rectify = rectify
        # the read-out is not clipped, so its signal is in standard deviations
        self._headroom = headroom if rectify else 1.0
        self._momentum = momentum
        self.offset = np.zeros(size, np.float32)
        self.scale = np.ones(size, np.float32)
        self.seen = 0

    def forward(self, values: Array, learn: bool) -> Array:
        """Signals (batch, n); the running statistics follow `values` only when `learn`."""
        if learn or not self.seen:
            self._follow(values)
        signal: Array = (values - self.offset) * (1.0 / (self._headroom * self.scale))
        if self.rectify:
            np.clip(signal, 0.0, 1.0, out=signal)
        return signal

    def backward(self, signal: Array, d_signal: Array) -> Array:
        """dL/d(value) from the signal that `forward` gave and dL/d(signal): no gradient where it was clipped."""
        d_value: Array = d_signal * (1.0 / (self._headroom * self.scale))
        if self.rectify:
            live: Mask = (signal > 0.0) & (signal < 1.0)
            d_value *= live
        return d_value

    def _follow(self, values: Array) -> None:
        if self._per_column:
            mean = values.mean(axis=0)
            scale = values.std(axis=0)
        else:
            mean = np.zeros_like(self.offset)
            scale = np.full_like(self.scale, values.std())
        # A dead column has no spread: its scale must not blow noise or rounding up to full drive.
        scale = np.maximum(scale, np.float32(max(1e-3 * float(scale.max()), float(np.finfo(np.float32).tiny))))
        # The first batches weigh as in a plain mean, so that a start far off is forgotten at once.
        rate = max(self._momentum, 1.0 / (self.seen + 1))
        self.offset += np.float32(rate) * (mean - self.offset)
        self.scale += np.float32(rate) * (scale - self.scale)
        self.seen += 1

    def snapshot(self) -> dict[str, np.ndarray | int]:
        """Running state."""
        return {"offset": self.offset.copy(), "scale": self.scale.copy(), "seen": self.seen}

    def restore(self, state: dict[str, np.ndarray | int]) -> None:
        """Go back to a snapshot."""
        self.offset = np.array(state["offset"], np.float32)
        self.scale = np.array(state["scale"], np.float32)
        self.seen = int(state["seen"])
