"""The phase panel of the simulated bench."""

from __future__ import annotations

import numpy as np

from drivers.mock.optics import OpticalBench
from drivers.optics.lut import PhaseLut
from drivers.optics.slm import Gray, check_gray, dump_pattern
from pib_lab.errors import DeviceError, LimitError


class MockSlm:
    """A `SpatialLightModulator` whose phases act on the bench's light; `true_lut` is what a calibration should find."""

    def __init__(self, bench: OpticalBench, name: str = "mock SLM") -> None:
        self._bench, self._name = bench, name
        self._open = False

    @property
    def name(self) -> str:
        """What the panel is called in messages."""
        return self._name

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of one pattern."""
        return self._bench.profile.panel_shape

    @property
    def levels(self) -> int:
        """Gray levels."""
        return self._bench.profile.panel_levels

    @property
    def settle_s(self) -> float:
        """Latency, and the time in which a step over the whole range comes within one gray level."""
        return self._bench.panel.settle_s()

    @property
    def true_lut(self) -> PhaseLut:
        """Phase of each gray level in the middle of a flat area."""
        return PhaseLut(self._bench.panel.lut_rad)

    def open(self) -> None:
        """Connect, and show the dump pattern."""
        self._open = True
        self.park()

    def show(self, gray: Gray) -> float:
        """Hand over a pattern; returns the clock's time. Raises LimitError, or DeviceError when not open."""
        if not self._open:
            raise DeviceError(f"{self._name} is not open; open it before showing a pattern")
        gray = np.asarray(gray)
        if gray.ndim != 2:
            raise LimitError(f"{self._name}: show one pattern (rows, columns) at a time, not {gray.shape}")
        check_gray(gray, self.shape, self.levels, self._name)
        shown_s = self._bench.clock.now_s()
        self._bench.show(gray, shown_s)
        return shown_s

    def park(self) -> float:
        """Show stripes of phase 0 and, as near as the panel comes, pi."""
        low, high = (int(level) for level in self.true_lut.to_gray([0.0, np.pi]))
        return self.show(dump_pattern(self.shape, low, high))

    def close(self) -> None:
        """Let go of the panel. Idempotent."""
        self._open = False
