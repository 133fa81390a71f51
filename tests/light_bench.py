"""Builds simulated optical benches for tests: a profile with chosen effects, on a virtual clock, shutter open."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from drivers.mock.optics import OpticalBench
from drivers.mock.optics_profile import load_optics_profile
from drivers.optics.camera_mock import MockCamera
from drivers.optics.slm import Gray
from drivers.optics.slm_mock import MockSlm
from pib_lab.clocks import VirtualClock

NOISE_OFF = {"shot_noise": False, "read_noise_e": 0.0, "power_noise": 0.0}
SMALL = {"panel_rows": 6, "panel_columns": 5, "camera_rows": 12, "camera_columns": 10}


def bench(name: str = "ideal", seed: int = 1, **override: Any) -> OpticalBench:
    """A bench of a shipped profile with some numbers replaced."""
    made = OpticalBench(load_optics_profile(name, override), [seed], VirtualClock())
    made.shutter_open = True
    return made


def patterns(made: OpticalBench, batch: int, seed: int = 0) -> Gray:
    """Random patterns (batch, rows, columns) for a bench's panel."""
    p = made.profile
    return np.random.default_rng(seed).integers(0, p.panel_levels, (batch, *p.panel_shape)).astype(np.uint16)


def phases(made: OpticalBench, batch: int, seed: int = 0) -> npt.NDArray[np.float64]:
    """Random phases (batch, rows, columns) in rad."""
    return np.random.default_rng(seed).uniform(0.0, 2.0 * np.pi, (batch, *made.profile.panel_shape))


def settled(made: OpticalBench, gray: Gray, start_s: float = 0.0, **settings: Any) -> npt.NDArray[np.uint16]:
    """Frames of patterns shown for a second each."""
    timing = {"exposure_s": 1e-3, "start_s": start_s, "period_s": 1.0, "delay_s": 0.9}
    return made.expose(gray, **(timing | settings))


def devices(made: OpticalBench) -> tuple[MockSlm, MockCamera]:
    """The bench's panel and camera, open."""
    slm, camera = MockSlm(made), MockCamera(made)
    slm.open()
    camera.open()
    return slm, camera
