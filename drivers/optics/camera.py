"""A camera: the interface of its drivers, and the records they give. Pixel formats are dealt with below it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from drivers.optics.slm import Gray
from pib_lab.quantities import Mask

Pixels = npt.NDArray[np.uint16]
"""Counts, right-justified: 0 .. 2^bits - 1, (rows, columns), or (batch, rows, columns)."""


@dataclass(frozen=True, slots=True)
class Roi:
    """A rectangle of the sensor, in pixels."""

    top: int
    left: int
    height: int
    width: int


@dataclass(frozen=True, slots=True)
class Frame:
    """One whole frame.

    number: counts up by one a trigger, so that a gap is a lost frame; exposed_from_s, exposed_to_s: bounds, on the
    host's clock, of the time in which it was exposed; saturated_level: counts from which a pixel may be clipped.
    """

    pixels: Pixels
    number: int
    exposed_from_s: float
    exposed_to_s: float
    saturated_level: int

    def saturated(self) -> Mask:
        """True where a pixel may be clipped, shape of the pixels."""
        return np.asarray(self.pixels >= self.saturated_level)


@dataclass(frozen=True, slots=True)
class FrameBatch:
    """Frames of many patterns, one each: pixels (batch, rows, columns); frame k was exposed after its pattern had
    been on the panel for the time asked, within started_s + k period_s .. started_s + (k + 1) period_s."""

    pixels: Pixels
    first_number: int
    started_s: float
    period_s: float
    saturated_level: int

    def saturated(self) -> Mask:
        """True where a pixel may be clipped, shape of the pixels."""
        return np.asarray(self.pixels >= self.saturated_level)


@runtime_checkable
class Camera(Protocol):
    """A camera that is triggered frame by frame. A failed or incomplete buffer is never given out."""

    @property
    def name(self) -> str:
        """What the camera is called in messages."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of a frame, after the region of interest; the camera is open."""

    @property
    def bits(self) -> int:
        """Bits of a count; the camera is open."""

    @property
    def frame_s(self) -> float:
        """Least time between two triggers, and from the end of an exposure until its frame has been read out."""

    @property
    def dropped(self) -> int:
        """Frames lost since `open`, from gaps in their numbers."""

    def open(self) -> None:
        """Connect, with software trigger. Raises LinkError when the camera cannot be reached."""

    def set_exposure_s(self, exposure_s: float) -> float:
        """Choose the exposure; returns it as read back. Raises LimitError beyond the camera's limits.

        This and the two below raise DeviceError when not open, or while frames are outstanding.
        """

    def set_gain_db(self, gain_db: float) -> float:
        """Choose the gain over the camera's lowest; returns it as read back. Raises LimitError beyond the limits."""

    def set_roi(self, roi: Roi | None) -> Roi:
        """Choose a region of interest, None for the whole sensor; returns it as read back.

        Raises LimitError for a rectangle that is empty or leaves the sensor.
        """

    def trigger(self) -> float:
        """Start one exposure, once the camera is ready for it; returns the host's time just before the trigger.

        Raises DeviceError when not open, LinkError when the camera does not become ready.
        """

    def grab(self, timeout_s: float) -> Frame:
        """The frame of the oldest trigger not yet answered, waiting at most `timeout_s`. Each call answers one trigger.

        Raises LinkError on a time-out (a frame that comes after all is thrown away), DeviceError when the frame was
        incomplete, or when a later number shows that it was lost; the later frame is kept for its own trigger.
        """

    def close(self) -> None:
        """Let go of the camera. Idempotent."""


@runtime_checkable
class ExposesBatches(Protocol):
    """Mocks: many patterns shown and exposed in one call, with the same result as one after the other."""

    def expose_batch(self, gray: Gray, wait_s: float) -> FrameBatch:
        """Show each pattern of `gray` (batch, rows, columns), wait, expose; the next is shown as an exposure ends.

        Raises LimitError as `SpatialLightModulator.show` does, DeviceError when not open or frames are outstanding.
        """
