"""The devices "optical-rig" and "mock-optical-rig": panel, medium and camera, shared in time by units."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from drivers.device import DeviceSession
from drivers.mock.optics import OpticalBench
from drivers.mock.optics_profile import load_optics_profile
from drivers.optics.calibration.access import RigAccess
from drivers.optics.camera import Camera
from drivers.optics.camera_mock import MockCamera
from drivers.optics.lut import PhaseLut
from drivers.optics.parts import make_camera, make_shutter, make_slm
from drivers.optics.reference import MOST_PIXELS
from drivers.optics.rig import Rig
from drivers.optics.rig_options import RigOptions, read_options
from drivers.optics.shutter import Shutter
from drivers.optics.shutter_line import LineShutter
from drivers.optics.shutter_mock import MockShutter
from drivers.optics.slm import SpatialLightModulator
from drivers.optics.slm_mock import MockSlm
from drivers.optics.unit import OpticalUnit
from drivers.safe.commands import SafeAction
from pib_lab.device import DeviceContext, UnitRequest
from pib_lab.errors import ConfigurationError
from pib_lab.unit import State

Parts = tuple[SpatialLightModulator, Camera, Shutter]

MOCK_OPTIONS = ("profile", "serial", "override")
"""What the simulated rig needs to know and a real one does not: accepted there, so that one protocol serves both."""


class OpticalRig:
    """A real rig, never yet tried on a real bench. Options: docs/optics.md. parts: instead of those it would make."""

    is_mock = False
    mock_driver = "mock-optical-rig"

    def __init__(self, options: dict[str, Any], context: DeviceContext, parts: Parts | None = None) -> None:
        where = f"hardware.{context.name}"
        real = {key: value for key, value in options.items() if key not in MOCK_OPTIONS}
        self._options, self._context = read_options(real, where), context
        self._serial = str(options.get("serial", context.name))
        self._slm, camera, self._shutter = parts or (
            make_slm(self._options.slm, context, f"{where}.slm"),
            make_camera(self._options.camera, context, f"{where}.camera"),
            make_shutter(self._options.shutter, context, f"{where}.shutter"),
        )
        lut = read_lut(self._options.lut, self._slm.levels)
        rig = Rig(self._slm, camera, self._shutter, self._options, lut, context)
        self._session = DeviceSession(f"rig {context.name}", lambda: _opened(rig), lambda rig: rig.close())
        if self._options.settle_s is None:
            self._options = self._options.model_copy(update={"settle_s": self._slm.settle_s})

    def unit(self, request: UnitRequest) -> OpticalUnit:
        """A layer with `outputs` camera regions."""
        panel = (self._slm.shape, self._slm.levels)
        return OpticalUnit(self._session, self._options, panel, request, self._context)

    def bench_access(self) -> RigAccess:
        """The rig for a calibration; its passport is kept by the option `serial`, or by its name in the protocol."""
        panel = (self._slm.shape, self._slm.levels)
        return RigAccess(self._session, self._options, panel, self._serial, self._context)

    def safe_actions(self) -> list[SafeAction]:
        """A shutter that has an address of its own can be closed by the guardian; any other cannot."""
        return [self._shutter.safe_action(self._context.name)] if isinstance(self._shutter, LineShutter) else []

    def close(self) -> None:
        """Let go of the rig, for all its units."""
        self._shutter.release()


class MockOpticalRig:
    """The same rig on a simulated bench. Options: profile, serial, override (table of profile keys); those of a real
    rig's parts are accepted, and what describes encoder, regions and exposure is used."""

    is_mock = True

    def __init__(self, options: dict[str, Any], context: DeviceContext) -> None:
        where = f"hardware.{context.name}"
        override = options.get("override", {})
        if not isinstance(override, Mapping):
            raise ConfigurationError(f"{where}.override: must be a table of profile keys and values")
        profile = load_optics_profile(str(options.get("profile", "bench-a")), override)
        asked = {key: value for key, value in options.items() if key not in MOCK_OPTIONS}
        asked |= {"slm": "mock", "camera": "mock", "shutter": "mock"}
        asked.setdefault("exposure_s", profile.exposure_s)
        self._options, self._context = read_options(asked, where), context
        serial = self._serial = str(options.get("serial", "mock-rig-1"))
        self.bench = OpticalBench(profile, [context.seed, zlib.crc32(serial.encode())], context.clock)
        self.slm, self.camera, self.shutter = MockSlm(self.bench), MockCamera(self.bench), MockShutter(self.bench)
        self.rig = Rig(
            self.slm, self.camera, self.shutter, self._options, read_lut(self._options.lut, self.slm.levels), context
        )
        self._session = DeviceSession(f"rig {serial}", lambda: _opened(self.rig), lambda rig: rig.close())
        if self._options.settle_s is None:
            self._options = self._options.model_copy(update={"settle_s": self.slm.settle_s})

    def unit(self, request: UnitRequest) -> MockOpticalUnit:
        """A layer with `outputs` camera regions."""
        return MockOpticalUnit(self.bench, self.camera, self._session, self._options, request, self._context)

    def bench_access(self) -> RigAccess:
        """The rig for a calibration."""
        panel = (self.slm.shape, self.slm.levels)
        return RigAccess(self._session, self._options, panel, self._serial, self._context)

    def close(self) -> None:
        """Let go of the rig, for all its units."""
        self.shutter.release()


class MockOpticalUnit(OpticalUnit):
    """As the real one, and can go back to an earlier state of its bench."""

    def __init__(
        self,
        bench: OpticalBench,
        camera: MockCamera,
        session: DeviceSession[Rig],
        options: RigOptions,
        request: UnitRequest,
        context: DeviceContext,
    ) -> None:
        panel = (bench.profile.panel_shape, bench.profile.panel_levels)
        super().__init__(session, options, panel, request, context)
        self._bench, self._camera = bench, camera

    def snapshot(self) -> State:
        """Mask, reference and bench. Each unit of a rig keeps the bench, which is the same for all."""
        kept = self._reference.kept
        roi = self._options.roi
        size = math.prod(self._bench.profile.camera_shape if roi is None else roi[2:])
        return {
            **self._bench.snapshot(),
            "mask": self._mask.copy(),
            "camera_ready_s": self._camera.ready_s,
            "reference": np.zeros(min(size, MOST_PIXELS), np.float32) if kept is None else kept.copy(),
            "reference_kept": int(kept is not None),
        }

    def restore(self, state: State) -> None:
        """Go back to a snapshot of this very bench; the shutter stays where it is. Raises ConfigurationError."""
        lit = self._bench.shutter_open
        self._bench.restore(state)
        self._bench.shutter_open = lit
        self._mask = np.array(state["mask"], np.float32)
        self._camera.ready_s = float(np.asarray(state["camera_ready_s"]))
        self._reference.kept = np.array(state["reference"], np.float32) if int(state["reference_kept"]) else None


def read_lut(path: str | None, levels: int) -> PhaseLut:
    """The table in a `slm-lut` calibration's file, or levels evenly over one turn.

    Raises ConfigurationError for a file that cannot be read or is of another number of levels.
    """
    if path is None:
        return PhaseLut.linear(levels)
    try:
        with np.load(path, allow_pickle=False) as stored:
            lut = PhaseLut(stored["phases_rad"])
    except (OSError, KeyError, ValueError) as problem:
        raise ConfigurationError(f"lut: {path} cannot be read ({problem}); run slm-lut again") from None
    if lut.levels != levels:
        raise ConfigurationError(f"lut: {path} is for {lut.levels} levels, the panel has {levels}; run slm-lut again")
    return lut


def _opened(rig: Rig) -> Rig:
    rig.open()
    return rig
