"""An optical rig without its vendors' parts: the real device and its frame-by-frame path, on a simulated bench."""

from __future__ import annotations

from typing import Any

from drivers.mock.optics import OpticalBench
from drivers.mock.optics_profile import load_optics_profile
from drivers.optics.camera import Frame, Roi
from drivers.optics.camera_mock import MockCamera
from drivers.optics.optical_rig import OpticalRig
from drivers.optics.shutter_mock import MockShutter
from drivers.optics.slm_mock import MockSlm
from pib_lab.device import DeviceContext

PARTS = {"slm": "screen", "camera": "basler", "shutter": "line", "exposure_s": 0.001}
"""Options of a real rig; its parts are put in from outside."""


class FrameByFrame:
    """A camera that only triggers and grabs, as real ones do."""

    def __init__(self, camera: MockCamera) -> None:
        self.inner = camera

    @property
    def name(self) -> str:
        return self.inner.name

    @property
    def shape(self) -> tuple[int, int]:
        return self.inner.shape

    @property
    def bits(self) -> int:
        return self.inner.bits

    @property
    def frame_s(self) -> float:
        return self.inner.frame_s

    @property
    def dropped(self) -> int:
        return self.inner.dropped

    def open(self) -> None:
        self.inner.open()

    def close(self) -> None:
        self.inner.close()

    def set_exposure_s(self, exposure_s: float) -> float:
        return self.inner.set_exposure_s(exposure_s)

    def set_gain_db(self, gain_db: float) -> float:
        return self.inner.set_gain_db(gain_db)

    def set_roi(self, roi: Roi | None) -> Roi:
        return self.inner.set_roi(roi)

    def trigger(self) -> float:
        return self.inner.trigger()

    def grab(self, timeout_s: float) -> Frame:
        return self.inner.grab(timeout_s)


class RealRig:
    """The device "optical-rig" with parts of a simulated bench."""

    def __init__(self, context: DeviceContext, profile: str = "bench-a", **options: Any) -> None:
        self.bench = OpticalBench(load_optics_profile(profile), [context.seed], context.clock)
        self.slm, self.camera, self.shutter = MockSlm(self.bench), MockCamera(self.bench), MockShutter(self.bench)
        parts = (self.slm, FrameByFrame(self.camera), self.shutter)
        self.device = OpticalRig(PARTS | options, context, parts)


def emulate(build: Any, context: DeviceContext) -> OpticalRig:
    """For the contract suite."""
    return RealRig(context).device
