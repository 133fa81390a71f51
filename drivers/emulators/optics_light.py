"""Simulated light between a real window and Basler's own camera emulation, so that the whole path runs without optics.

It reads back what the window of a `ScreenSlm` holds, sends that through the simulated bench, and writes the frame as
the image file that the emulated camera serves: pattern -> window -> (light) -> pylon -> frame. The light alone is
simulated. A frame is computed at the moment of its trigger: that light follows the window late is not.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from PIL import Image

from drivers.emulators.basler import EmulatedBasler
from drivers.mock.optics import OpticalBench
from drivers.optics.camera import Pixels, Roi
from drivers.optics.camera_basler import BaslerOptions
from drivers.optics.pixel_formats import FORMATS
from drivers.optics.slm_screen import ScreenSlm
from pib_lab.device import DeviceContext
from pib_lab.errors import ConfigurationError, DeviceError


class SimulatedLight:
    """A bench whose panel is a window. `frames` counts what it has computed."""

    def __init__(self, slm: ScreenSlm, bench: OpticalBench) -> None:
        p = bench.profile
        if (slm.shape, slm.levels) != (p.panel_shape, p.panel_levels):
            raise ConfigurationError(
                f"simulated light: the window shows {slm.shape}, the bench's panel {p.panel_shape}"
            )
        self._slm, self.bench = slm, bench
        self._seen_s: float | None = None
        self.frames = 0

    def frame(self, exposure_s: float, gain_db: float, roi: Roi) -> Pixels:
        """Counts of the region, exposed from now on, of what the window holds now."""
        bench, now_s = self.bench, self.bench.clock.now_s()
        if self._seen_s != self._slm.shown_s:
            self._seen_s = self._slm.shown_s
            bench.show(self._slm.shown().astype(np.uint16), self._seen_s)
        whole = bench.frame(exposure_s, now_s, bench.profile.e_per_count * 10.0 ** (-gain_db / 20.0))
        if roi.top + roi.height > whole.shape[0] or roi.left + roi.width > whole.shape[1]:
            raise DeviceError(f"simulated light: {roi} leaves the bench's camera of {whole.shape} pixels")
        self.frames += 1
        return whole[roi.top : roi.top + roi.height, roi.left : roi.left + roi.width]


class LitBasler(EmulatedBasler):
    """An emulated Basler camera that sees simulated light. One frame at a time: the emulation loads images ahead.

    fail_at: numbers, from 0, of exposures whose buffer the emulation is to leave incomplete.
    """

    def __init__(self, options: BaslerOptions, context: DeviceContext, light: SimulatedLight, folder: Path) -> None:
        if not options.emulated or FORMATS[options.pixel_format] != light.bench.profile.camera_bits:
            bits = light.bench.profile.camera_bits
            raise ConfigurationError(f"simulated light: the camera must be emulated, with a format of {bits} bits")
        super().__init__(options, context)
        self._light, self._file = light, folder / f"light-{os.getpid()}.png"
        self._gain_db = 0.0
        self.fail_at: frozenset[int] = frozenset()

    def open(self) -> None:
        """Connect, and switch the emulation's own test image off."""
        super().open()
        with self._errors("set-up"):
            self._camera.TestImageSelector.SetValue("Off")

    def set_gain_db(self, gain_db: float) -> float:
        """Choose the gain; the emulation applies none, the light does."""
        self._gain_db = super().set_gain_db(gain_db)
        return self._gain_db

    def trigger(self) -> float:
        """Compute the frame, and have the emulation serve it."""
        self._require_idle()
        return super().trigger()

    def _start_stream(self) -> None:
        counts = self._light.frame(self.exposure_s, self._gain_db, self._roi)
        # of a file of 16 bits the emulation takes the upper ones
        image = counts.astype(np.uint8) if self.bits == 8 else (counts << (16 - self.bits)).astype(np.uint16)
        Image.fromarray(image).save(self._file)
        with self._errors("image"):
            self._camera.ImageFilename.SetValue(str(self._file))
            self._camera.ImageFileMode.SetValue("On")
        if self._light.frames - 1 in self.fail_at:
            self.fail_one()
        super()._start_stream()
