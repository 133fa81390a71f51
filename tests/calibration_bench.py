"""A calibration run on the simulated rig, with chosen numbers of its bench."""

from __future__ import annotations

from typing import Any

from drivers.bringup.catalogue import read_settings
from drivers.optics.calibration.job import RigJob
from drivers.optics.optical_rig import MockOpticalRig
from pib_lab.clocks import VirtualClock
from pib_lab.device import DeviceContext
from pib_lab.findings import Check, Findings
from pib_lab.unit import CancelToken

NO_NOISE = {"shot_noise": False, "read_noise_e": 0.0, "power_noise": 0.0, "flicker_rad": 0.0}


def mock_rig(
    profile: str = "bench-a", seed: int = 1, rig: dict[str, Any] | None = None, **override: Any
) -> MockOpticalRig:
    """A rig on a simulated bench with some numbers replaced."""
    options = {"profile": profile, "override": override} | (rig or {})
    return MockOpticalRig(options, DeviceContext("rig", seed, VirtualClock()))


def calibrate(name: str, device: MockOpticalRig, cancel: CancelToken | None = None, **settings: Any) -> Findings:
    """Run a calibration with these settings; the rig is dark and let go of afterwards."""
    kind, read = read_settings(name, settings)
    access = device.bench_access()
    access.open()
    try:
        return kind.run(RigJob(access, lambda progress: None, cancel or CancelToken()), read)
    finally:
        access.make_safe()
        access.close()


def check_of(findings: Findings, name: str) -> Check:
    """The check of that name."""
    return next(check for check in findings.checks if check.name == name)
