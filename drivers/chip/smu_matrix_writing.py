"""How strong the next pulse of a write is: by how far a cell is off, by how little the last one moved it. Pure."""

from __future__ import annotations

import numpy as np

from drivers.chip.profiles import MemristorProfile
from drivers.chip.smu_matrix_options import WriteOptions
from pib_lab.quantities import Array

_LITTLE = 0.3
"""A pulse that removed less of the error than this is followed by a stronger one."""


class PulseLadder:
    """Signed pulse voltages for cells on their way to `target` (any shape, in siemens).

    |V| = start + (limit - start) |error| gain / step + extra, within start to limit: a profile's largest step is what
    the strongest pulse makes. `extra` grows by step_v after a pulse that moved a cell too little, and is forgotten when
    a cell is overshot.
    """

    def __init__(self, target: Array, profile: MemristorProfile, write: WriteOptions) -> None:
        self._target, self._write = target, write
        self._slope = np.float32((write.limit_v - write.start_v) * profile.verify_gain / profile.step_siemens)
        self._extra: Array = np.zeros(target.shape, np.float32)
        self._last: Array = np.full(target.shape, np.nan, np.float32)

    def next(self, reading: Array) -> Array:
        """Voltages for the next pulse of each cell, positive for an increase, from the latest readings."""
        write = self._write
        error = self._target - reading
        with np.errstate(invalid="ignore"):  # a cell that has not been pulsed yet has no last error
            crossed = error * self._last < 0.0
            slow = ~crossed & (np.abs(error) > (1.0 - _LITTLE) * np.abs(self._last))
        self._extra = np.where(crossed, np.float32(0.0), self._extra + np.float32(write.step_v) * slow)
        self._last = error
        size = np.clip(write.start_v + np.abs(error) * self._slope + self._extra, write.start_v, write.limit_v)
        return np.asarray(np.copysign(size, error), np.float32)
