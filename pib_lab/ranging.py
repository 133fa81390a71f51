"""Keeps the full scale of a unit's front end just above its response."""

from __future__ import annotations

import numpy as np

from pib_lab.capabilities import Ranges
from pib_lab.quantities import Array
from pib_lab.unit import CancelToken, Measurement, PhysicalUnit

_RANGE_UP = 0.002  # fraction of clipped readings in a batch above which the full scale is raised
_ROOM = 1.6  # full scale over peak that is asked for when it is lowered
_RANGE_DOWN = 0.25  # peak as a fraction of full scale below which it is lowered, to use the converter's bits
_TRIES = 20


def follow_range(unit: Ranges, measurement: Measurement) -> None:
    """Set the full scale for the next batch from this one."""
    full_scale = unit.full_scale()
    if measurement.clipped > _RANGE_UP:
        unit.set_full_scale(full_scale * 1.01)  # the next range up
        return
    peak = float(np.abs(measurement.values).max(initial=0.0))
    if peak < _RANGE_DOWN * full_scale:
        # what is asked for lies below the next range down of a 1-2-5 series, and at most a decade away
        unit.set_full_scale(max(_ROOM * peak, 0.1 * full_scale))


def find_range(unit: PhysicalUnit, drive: Array, cancel: CancelToken) -> tuple[Measurement, int]:
    """Measure `drive` until the range fits; returns the last measurement and the passes of all.

    Each try costs one pass a sample. It ends when the range stays, when a lower one has clipped, or after 20 tries.
    """
    passes = 0
    for _ in range(_TRIES):
        measurement = unit.measure(drive, cancel=cancel)
        passes += measurement.passes
        if not isinstance(unit, Ranges):
            break
        before = unit.full_scale()
        follow_range(unit, measurement)
        after = unit.full_scale()
        if after == before or (after < before and measurement.clipped > 0.0):
            break
    return measurement, passes
