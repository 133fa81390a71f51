"""Regions of interest that fit a camera's steps. Pure arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass

from drivers.optics.camera import Roi
from pib_lab.errors import LimitError


@dataclass(frozen=True, slots=True)
class Axis:
    """Values that the camera takes: low, low + step, low + 2 step, ..."""

    low: int
    step: int

    def nearest(self, value: int) -> int:
        """The value that comes nearest and is not above `value`, but at least the lowest."""
        return self.low + max(0, value - self.low) // self.step * self.step


def check_roi(wanted: Roi, sensor: Roi, steps: Sequence[Axis], name: str) -> None:
    """Raise LimitError for a rectangle that is empty, leaves the sensor, or is off a step; it names one that is not.

    steps: of top, left, height, width.
    """
    inside = wanted.top >= 0 and wanted.left >= 0 and wanted.height >= 1 and wanted.width >= 1
    if not inside or wanted.top + wanted.height > sensor.height or wanted.left + wanted.width > sensor.width:
        raise LimitError(f"{name}: {wanted} is empty or leaves the sensor of {sensor.height} x {sensor.width} pixels")
    near = Roi(*(axis.nearest(value) for axis, value in zip(steps, astuple(wanted), strict=True)))
    if near != wanted:
        raise LimitError(f"{name}: {wanted} is off the camera's steps; the next one it takes is {near}")
