"""What stands between two units: range, rectify, clip to the next drive. Digital, running, saved with the run.

signal = clip((value - offset) / (headroom * scale), 0, 1); a signal of 1 is the next unit's full drive. The read-out's
is not clipped. Offset and scale are the mean and standard deviation of each column (or 0 and the root mean square of
the whole unit): of the batch itself while learning, running means of them otherwise, as in batch normalisation (Ioffe
and Szegedy, 2015), whose gradient through the statistics is kept. Without it, conductances drift to the rails: growing
all weights of a column changes nothing downstream, so nothing else would stop it.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from pib_lab.quantities import Array


class Conditioner:
    """Conditions responses (batch, n) of one unit, and chains gradients back through what it did."""

    def __init__(self, size: int, *, range: Literal["column", "unit"], rectify: bool, headroom: float, momentum: float):
        self._per_column = range == "column"
        self.rectify = rectify
        # the read-out is not clipped, so its signal is in standard deviations
        self._headroom = headroom if rectify else 1.0
        self._momentum = momentum
        self.offset = np.zeros(size, np.float32)
        self.scale = np.zeros(size, np.float32)  # not 1: in amperes, the first step away from it would be round-off
        self.seen = 0

    def forward(self, values: Array, learn: bool) -> Array:
        """Signals (batch, n). With `learn`: by the statistics of `values` themselves, which the running ones follow."""
        if learn or not self.seen:
            offset, scale = self._statistics(values)
            self._follow(offset, scale)
        if not learn:
            offset, scale = self.offset, self.scale
        signal: Array = (values - offset) * (1.0 / (self._headroom * scale))
        if self.rectify:
            np.clip(signal, 0.0, 1.0, out=signal)
        return signal

    def backward(self, values: Array, d_signal: Array) -> Array:
        """dL/d(value) from what `forward(values, learn=True)` was given and dL/d(signal).

        With w = (value - offset) / scale and d = dL/dw, zero where the signal was clipped:
        dL/d(value) = (d - mean d - w mean(d w)) / scale, means over the batch (and, for a whole unit, over its columns,
        without the term of the offset).
        """
        offset, scale = self._statistics(values)
        w: Array = (values - offset) * (1.0 / scale)
        d: Array = d_signal * np.float32(1.0 / self._headroom)
        if self.rectify:
            d = d * ((w > 0.0) & (w < self._headroom))
        common = d.mean(axis=0) + w * (d * w).mean(axis=0) if self._per_column else w * np.float32((d * w).mean())
        d = d - common
        return np.asarray(d * (1.0 / scale), np.float32)

    def _statistics(self, values: Array) -> tuple[Array, Array]:
        if self._per_column:
            offset, scale = values.mean(axis=0), values.std(axis=0)
        else:
            rms = float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))
            offset, scale = np.zeros_like(self.offset), np.full_like(self.offset, rms)
        # A dead column has no spread: its scale must not blow noise or rounding up to full drive.
        floor = max(1e-3 * float(scale.max()), float(np.finfo(np.float32).tiny))
        return offset, np.maximum(scale, np.float32(floor))

    def _follow(self, offset: Array, scale: Array) -> None:
        # The first batches weigh as in a plain mean, so that a start far off is forgotten at once.
        rate = np.float32(max(self._momentum, 1.0 / (self.seen + 1)))
        self.offset += rate * (offset - self.offset)
        self.scale += rate * (scale - self.scale)
        self.seen += 1

    def forget(self) -> None:
        """Let the next batch alone decide the running statistics."""
        self.seen = 0

    def snapshot(self) -> dict[str, np.ndarray | int]:
        """Running state."""
        return {"offset": self.offset.copy(), "scale": self.scale.copy(), "seen": self.seen}

    def restore(self, state: dict[str, np.ndarray | int]) -> None:
        """Go back to a snapshot."""
        self.offset = np.array(state["offset"], np.float32)
        self.scale = np.array(state["scale"], np.float32)
        self.seen = int(state["seen"])
