"""The device "optical-rig" with a real window and Basler's emulated camera, and simulated light between them."""

from __future__ import annotations

import json
import tempfile
import zlib
from pathlib import Path
from typing import Any

from drivers.emulators.optics_light import LitBasler, SimulatedLight
from drivers.mock.optics import OpticalBench
from drivers.mock.optics_profile import OpticsProfile, load_optics_profile
from drivers.optics.camera_basler import read_basler_options
from drivers.optics.optical_rig import OpticalRig
from drivers.optics.shutter_none import NoShutter
from drivers.optics.slm_screen import ScreenOptions, ScreenSlm
from pib_lab.device import DeviceContext

MONITOR = "panel"

COMPARABLE: dict[str, Any] = {
    "shot_noise": False,
    "read_noise_e": 0.0,
    "power_noise": 0.0,
    "drift_s": 0.0,
    "flicker_rad": 0.0,
    "warmup_fraction": 0.0,
    "response_s": 0.0,
    "exposure_step_s": 1e-6,
}
"""Profile keys that switch off noise and all that depends on when a frame is taken, and give both cameras one step of
exposure: the emulation's. Crosstalk, table, zero order, dead and hot pixels stay."""


def monitor_file(folder: Path, *monitors: tuple[str, int, int, float]) -> str:
    """Qt platform with invisible monitors: name, rows, columns, scale of each. Its description is put in `folder`."""
    left, screens = 0, []
    for name, rows, columns, scale in monitors:
        place = {"name": name, "x": left, "y": 0, "width": columns, "height": rows}
        screens.append(place | {"logicalDpi": 96, "logicalBaseDpi": 96, "dpr": scale})
        left += columns
    path = folder / "monitors.json"
    path.write_text(json.dumps({"screens": screens}))
    return f"offscreen:configfile={path}"


class EmulatedOpticalRig(OpticalRig):
    """Options: profile, serial, override and the rig's own, as of MockOpticalRig; both then have the same bench.

    In real time, since window and camera are. `slm`, `camera`, `light`: the parts.
    """

    is_mock = True  # nothing to guard: there is no light

    def __init__(self, options: dict[str, Any], context: DeviceContext) -> None:
        profile = load_optics_profile(str(options.get("profile", "bench-a")), options.get("override", {}))
        serial = str(options.get("serial", "mock-rig-1"))
        self._folder = tempfile.TemporaryDirectory(prefix="pib-light-")
        folder = Path(self._folder.name)
        bench = OpticalBench(profile, [context.seed, zlib.crc32(serial.encode())], context.clock)
        bench.shutter_open = True
        self.slm = _window(profile, folder, context)
        self.light = SimulatedLight(self.slm, bench)
        clipped = bench.detector.saturated_level(profile.e_per_count)
        camera = {"emulated": True, "pixel_format": f"Mono{profile.camera_bits}", "saturated_level": clipped}
        self.camera = LitBasler(read_basler_options(camera, "camera"), context, self.light, folder)
        own = {"slm": "screen", "camera": "basler", "shutter": "none", "exposure_s": profile.exposure_s}
        own |= {"roi": [0, 0, *profile.camera_shape], "hold_s": 0.03, "attempts": 10}
        parts = (self.slm, self.camera, NoShutter({"beam": "enclosed"}, "shutter"))
        super().__init__(own | options, context, parts)

    def close(self) -> None:
        """Let go of the rig, and of its files."""
        super().close()
        self.camera.close()
        self.slm.close()
        self._folder.cleanup()


def _window(profile: OpticsProfile, folder: Path, context: DeviceContext) -> ScreenSlm:
    rows, columns = profile.panel_shape
    settle_s = max(1e-3, profile.latency_s + 10.0 * profile.response_s)
    platform = monitor_file(folder, (MONITOR, rows, columns, 1.0))
    options = ScreenOptions(monitor=MONITOR, shape=(rows, columns), settle_s=settle_s, platform=platform)
    return ScreenSlm(options, context)
