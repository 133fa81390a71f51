"""An optical rig in a person's hands: a pattern, the light, an exposure, one frame."""

from __future__ import annotations

import numpy as np

from drivers.controls import Control, Measured, control_named, require_output
from drivers.optics.calibration.access import RigAccess
from drivers.optics.slm import Gray
from drivers.optics.unit import LIGHT
from pib_lab.errors import DeviceError
from pib_lab.unit import SafeReport

PATTERNS = ("dump", "flat", "stripes", "checkerboard")
"""dump: spreads the light, what a panel shows at rest; flat: one gray level, the brightest state; the others: that
level and 0, in bands or fields of eight pixels."""

_FIELD = 8
_EXPOSURES = 1e-5
"""Shortest exposure that is offered, as a part of the longest; the camera may refuse what is beyond its own limits."""


class RigManual:
    """One rig through its calibration access. What is on the panel stays until another pattern is chosen."""

    def __init__(self, access: RigAccess, name: str) -> None:
        self._access, self._name = access, name
        self._pattern, self._gray = PATTERNS[0], 0

    def open(self) -> None:
        """Connect; the light stays off, the panel shows its dump pattern."""
        self._access.open()

    def identity(self) -> dict[str, str]:
        """The parts as they call themselves."""
        with self._access.rig() as rig:
            rows, columns = rig.camera.shape
            return {
                "panel": f"{rig.slm.name}, {rig.slm.shape[0]} x {rig.slm.shape[1]} pixels, {rig.slm.levels} levels",
                "camera": f"{rig.camera.name}, {rows} x {columns} pixels, {rig.camera.bits} bit",
                "shutter": rig.shutter.name,
            }

    def controls(self) -> list[Control]:
        """Pattern, its gray level, exposure."""
        longest_s = self._access.options.exposure_max_s
        return [
            Control("pattern", self._pattern, choices=PATTERNS, help="on the panel"),
            Control("gray", self._gray, "levels", 0, self._access.levels - 1, whole=True, help="of the pattern"),
            Control("exposure", self._access.exposure_s, "s", longest_s * _EXPOSURES, longest_s, help="of a frame"),
        ]

    def set(self, name: str, value: object) -> None:
        """Set a control; a pattern is on the panel at once."""
        checked = control_named(self.controls(), name).checked(value)
        if name == "exposure":
            self._access.set_exposure_s(float(checked))
            return
        if name == "pattern":
            self._pattern = str(checked)
        else:
            self._gray = int(checked)
        with self._access.rig() as rig:
            if self._pattern == "dump":
                rig.slm.park()
            else:
                rig.slm.show(_drawn(self._pattern, self._gray, self._access.shape))

    def outputs(self) -> dict[str, bool]:
        """The light: off only when the shutter reads back closed."""
        with self._access.rig() as rig:
            return {LIGHT: not rig.shutter.is_closed()}

    def switch(self, output: str, on: bool) -> None:
        """Open the shutter, guarded, or close it and read it back."""
        require_output(output, (LIGHT,))
        with self._access.rig() as rig:
            if on:
                rig.light_on()
            elif not rig.make_dark():
                raise DeviceError(f"{rig.shutter.name} did not read back closed; block the beam by hand")

    def measure(self) -> list[Measured]:
        """One frame, once the pattern has settled."""
        with self._access.rig() as rig:
            self._access.settle()
            frame = self._access.frame()
            pixels = frame.pixels
            clipped = int(np.count_nonzero(frame.saturated()))
            note = "" if rig.shutter.is_closed() or not clipped else "shorten the exposure"
        return [
            Measured("mean", float(pixels.mean()), "counts"),
            Measured("brightest pixel", float(pixels.max()), "counts"),
            Measured("saturated", 100.0 * clipped / max(pixels.size, 1), "%", note),
        ]

    def make_safe(self) -> SafeReport:
        """Shutter closed and read back, dump pattern on the panel."""
        made = self._access.make_safe()
        return SafeReport(self._name, made.confirmed, made.not_confirmed, made.detail)

    def close(self) -> None:
        """Let go of the rig. Idempotent."""
        self._access.close()


def _drawn(pattern: str, gray: int, shape: tuple[int, int]) -> Gray:
    rows, columns = np.indices(shape) // _FIELD
    lit = {"flat": np.ones(shape, np.bool_), "stripes": rows % 2 == 1, "checkerboard": (rows + columns) % 2 == 1}
    return np.where(lit[pattern], gray, 0).astype(np.uint16)
