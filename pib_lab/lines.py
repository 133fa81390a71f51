"""Which signal each drive line of a unit carries."""

from __future__ import annotations

import numpy as np

from pib_lab.quantities import Array, Counts, Quantity


class DriveLines:
    """Takes signals in 0..1 to the unit's drives: `carried` (n_in,) is the signal that each line carries."""

    def __init__(self, drive: Quantity):
        self.carried: Counts = np.arange(drive.size, dtype=np.int32)
        self._low, self._span = np.float32(drive.low), np.float32(drive.span)

    def drive(self, signal: Array) -> Array:
        """Drives (batch, n_in) in the unit's own units from signals (batch, n_in)."""
        if (np.diff(self.carried) != 1).any():  # a line carries another signal than it did at first
            signal = signal[:, self.carried]
        return np.asarray(signal * self._span + self._low)

    def signal_gradient(self, d_drive: Array) -> Array:
        """dL/d(signal) from dL/d(drive), both (batch, n_in): for peers that carry errors back through a unit."""
        d_signal = np.empty_like(d_drive)
        d_signal[:, self.carried] = d_drive * self._span
        return d_signal
