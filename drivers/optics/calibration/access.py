"""What calibrations need of a rig: frames of patterns, dark frames, frames a chosen time after a pattern changed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from drivers.device import DeviceSession
from drivers.optics.camera import Frame, Pixels, Roi
from drivers.optics.rig import Patterns, Rig
from drivers.optics.rig_options import RigOptions
from drivers.optics.slm import Gray
from drivers.optics.unit import LIGHT, light_off
from pib_lab.device import DeviceContext
from pib_lab.errors import ConfigurationError, DeviceError, LinkError
from pib_lab.quantities import Array, Counts, Mask
from pib_lab.unit import CancelToken, SafeReport

USER = "calibration"
_SLICE_S = 0.5
"""Longest wait between two looks at the cancel token."""

Index = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Shots:
    """Frames of several patterns: counts (patterns, pixels kept), and where they may be clipped."""

    counts: Array
    saturated: Mask


class RigAccess:
    """One rig, alone, for a calibration. Methods raise DeviceError when not open, LinkError for a part that is silent,
    Cancelled between frames once the token is set."""

    def __init__(
        self,
        session: DeviceSession[Rig],
        options: RigOptions,
        panel: tuple[tuple[int, int], int],
        serial: str,
        context: DeviceContext,
    ) -> None:
        self.serial, self.options = serial, options
        self.shape, self.levels = panel
        self._session, self._context = session, context
        self._saturated_level = 0

    # Opening and leaving dark

    def open(self) -> None:
        """Connect; the light stays off."""
        self._session.open(USER)

    def close(self) -> None:
        """Let go of the rig, which closes its shutter first. Idempotent."""
        self._session.close(USER)

    def make_safe(self) -> SafeReport:
        """Close the shutter and read it back, then show the dump pattern. Never raises."""
        try:
            with self.rig() as rig:
                dark, detail = light_off(rig)
        except DeviceError as problem:  # not open, or somebody else holds the rig: nothing was read back
            return SafeReport(USER, (), (LIGHT,), str(problem))
        return SafeReport(USER, (LIGHT,), (), detail) if dark else SafeReport(USER, (), (LIGHT,), detail)

    def pulses(self) -> Counts:
        """Zeros (rows, columns): patterns wear nothing out."""
        return np.zeros(self.shape, np.int64)

    @contextmanager
    def rig(self) -> Iterator[Rig]:
        """The rig itself, in a `with` block."""
        with self._session.link(USER) as rig:
            yield rig

    # Frames

    @property
    def frame_shape(self) -> tuple[int, int]:
        """Rows and columns of a frame; the rig is open."""
        with self.rig() as rig:
            return rig.camera.shape

    @property
    def exposure_s(self) -> float:
        """The exposure in force."""
        with self.rig() as rig:
            return rig.exposure_s

    def set_exposure_s(self, exposure_s: float) -> float:
        """Choose it; returns it as read back. Raises LimitError beyond the rig's or the camera's limits."""
        with self.rig() as rig:
            return rig.set_exposure_s(exposure_s)

    def whole_sensor(self) -> None:
        """Give up the region of interest."""
        with self.rig() as rig:
            rig.camera.set_roi(None)

    def back_to_roi(self) -> Roi:
        """The region of interest of the rig's options again, as read back."""
        roi = self.options.roi
        with self.rig() as rig:
            return rig.camera.set_roi(None if roi is None else Roi(*roi))

    def spread(self, most: int) -> Index:
        """At most `most` pixels, spread evenly over the frame: indices into a flat frame."""
        size = math.prod(self.frame_shape)
        return np.asarray(np.linspace(0, size - 1, min(most, size)).round(), np.intp)

    def shots(self, patterns: Patterns, count: int, cancel: CancelToken, keep: Index | None = None) -> Shots:
        """Frames of `count` patterns, each settled, light on. keep: pixels (flat indices), all when left out."""
        with self.rig() as rig:
            pixels = math.prod(rig.camera.shape) if keep is None else len(keep)
            counts, clipped = np.empty((count, pixels), np.float32), np.empty((count, pixels), np.bool_)

            def take(start: int, frames: Pixels, saturated: Mask) -> None:
                place = slice(start, start + len(frames))
                flat, high = (part.reshape(len(frames), -1) for part in (frames, saturated))
                counts[place], clipped[place] = (flat, high) if keep is None else (flat[:, keep], high[:, keep])

            rig.expose(patterns, count, take, cancel)
        return Shots(counts, clipped)

    def frame(self) -> Frame:
        """One frame of what the panel shows, the light as it is."""
        with self.rig() as rig:
            return self._frame(rig)

    def settle(self) -> None:
        """Wait as long as a pattern that was just handed over takes to settle."""
        with self.rig() as rig:
            self._context.clock.sleep_s(rig.settle_s)

    def dark_frame(self) -> Frame:
        """One frame behind the closed shutter. Raises DeviceError when the shutter is not read back closed."""
        with self.rig() as rig:
            if not rig.make_dark():
                raise DeviceError(f"{rig.shutter.name} did not read back closed: no dark frame; look at the blade")
            frame = self._frame(rig)
        self._saturated_level = frame.saturated_level
        return frame

    @property
    def saturated_level(self) -> int:
        """Counts from which the camera calls a pixel clipped, as the last dark frame told."""
        return self._saturated_level

    def after_step(self, before: Gray, after: Gray, delay_s: float, rest_s: float) -> tuple[float, Pixels]:
        """The frame taken `delay_s` after `after` took the place of `before`, which had rested for `rest_s`.

        Returns the time from handing `after` over to the middle of the exposure, by the camera's account, and the
        frame (rows, columns).
        """
        with self.rig() as rig:
            rig.light_on()
            rig.slm.show(before)
            self._context.clock.sleep_s(rest_s)
            for attempt in range(1, self.options.attempts + 1):
                shown_s = rig.slm.show(after)
                self._context.clock.sleep_s(shown_s + delay_s - self._context.clock.now_s())
                try:
                    frame = self._grab(rig)
                except (DeviceError, LinkError):
                    if attempt == self.options.attempts:
                        raise
                    rig.slm.show(before)
                    self._context.clock.sleep_s(rest_s)
                    continue
                return 0.5 * (frame.exposed_from_s + frame.exposed_to_s) - shown_s, frame.pixels
        raise AssertionError  # the loop returns or raises

    def now_s(self) -> float:
        """The rig's clock."""
        return self._context.clock.now_s()

    def wait_s(self, duration_s: float, cancel: CancelToken) -> None:
        """Let time pass, in slices. Raises Cancelled once the token is set."""
        until_s = self.now_s() + duration_s
        while (left_s := until_s - self.now_s()) > 1e-9:
            cancel.raise_if_cancelled()
            self._context.clock.sleep_s(min(left_s, _SLICE_S))

    def _frame(self, rig: Rig) -> Frame:
        for attempt in range(1, self.options.attempts + 1):
            try:
                return self._grab(rig)
            except (DeviceError, LinkError):
                if attempt == self.options.attempts:
                    raise
        raise AssertionError  # the loop returns or raises

    def _grab(self, rig: Rig) -> Frame:
        rig.camera.trigger()
        return rig.camera.grab(self.options.timeout_s + rig.exposure_s)


class MacroPanel:
    """Patterns on a rig's grid of macro pixels, and phases on it. Raises ConfigurationError for a grid that does not
    divide the panel."""

    def __init__(self, access: RigAccess) -> None:
        self.grid = access.options.encoder.grid
        self._repeat = (access.shape[0] // self.grid[0], access.shape[1] // self.grid[1])
        if (self._repeat[0] * self.grid[0], self._repeat[1] * self.grid[1]) != access.shape:
            raise ConfigurationError(f"encoder.grid: {self.grid} does not divide the panel of {access.shape} pixels")
        with access.rig() as rig:
            self._lut = rig.lut

    def show(self, gray: Gray) -> Gray:
        """Gray levels (n, rows, columns) of the panel from those of macro pixels (n, grid rows, grid columns)."""
        return np.asarray(gray.repeat(self._repeat[0], axis=1).repeat(self._repeat[1], axis=2))

    def phases(self, phase_rad: Array) -> Gray:
        """Gray levels of the panel for phases (n, grid rows, grid columns), by the table in force."""
        return self.show(self._lut.to_gray(phase_rad))

    def random(self, count: int, seed: int) -> Array:
        """Phases (count, grid rows, grid columns) drawn evenly over a turn."""
        drawn = np.random.Generator(np.random.PCG64(seed)).uniform(0.0, 2.0 * math.pi, (count, *self.grid))
        return np.asarray(drawn, np.float32)


@runtime_checkable
class OffersRig(Protocol):
    """A device that can be calibrated as an optical rig."""

    def bench_access(self) -> RigAccess:
        """The rig for a calibration. No I/O."""
