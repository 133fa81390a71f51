"""Window, Basler's own library and its emulated camera, with simulated light between them, against the mock rig."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from drivers.emulators.basler import EmulatedBasler
from drivers.emulators.optics_rig import COMPARABLE, EmulatedOpticalRig
from drivers.optics.camera import Roi
from drivers.optics.camera_basler import BaslerOptions
from drivers.optics.optical_rig import MockOpticalRig
from pib_lab.clocks import RealClock, VirtualClock
from pib_lab.device import DeviceContext, UnitRequest
from pib_lab.errors import DeviceError
from pib_lab.quantities import Array
from pib_lab.unit import CancelToken

OUTPUTS = 100
DRIVES = 200
FAILED = 20
"""Buffers that the emulation leaves incomplete, spread over the drives."""

PROFILES = ("ideal", "bench-a")
TRIGGERS = 1000
TAKEN_AWAY = 100


def light_path(seeds: Sequence[int], processes: int) -> str:
    """The section of docs/benchmarks.md; one process, since the camera emulation belongs to it."""
    title = (
        "### A window, pylon and simulated light against the mock rig\n\n"
        f"`python -m benchmarks light-path`; {DRIVES} drives of 64 inputs, {OUTPUTS} regions; every pattern goes "
        "through a window that Qt paints and every frame through Basler's own library, from its camera emulation.\n\n"
    )
    head = (
        "| bench, noise and drift off | responses | largest difference, LSB | incomplete buffers forced | refused and "
        "taken again | used | ms a frame |\n|---|---|---|---|---|---|---|\n"
    )
    rows = "".join(_responses(profile, seeds[0]) for profile in PROFILES)
    return f"{title}{head}{rows}\n{_numbers(seeds[0])}"


def _responses(profile: str, seed: int) -> str:
    options: dict[str, Any] = {"profile": profile, "override": COMPARABLE}
    request = UnitRequest("layer", 64, OUTPUTS)
    rng = np.random.default_rng(seed)
    drive = rng.uniform(0.0, 2.0, (DRIVES, 64)).astype(np.float32)
    phases = rng.uniform(0.0, 1.0, (16, 16)).astype(np.float32)
    mock = MockOpticalRig(options, DeviceContext("rig", seed, VirtualClock()))
    expected = _measure(mock.unit(request), phases, drive)
    rig = EmulatedOpticalRig(options, DeviceContext("rig", seed, RealClock()))
    try:
        rig.camera.fail_at = frozenset(range(3, DRIVES, DRIVES // FAILED))
        began_s = time.perf_counter()
        values = _measure(rig.unit(request), phases, drive)
        frame_ms = 1e3 * (time.perf_counter() - began_s) / rig.light.frames
        camera = rig.camera
    finally:
        rig.close()
    off = float(np.abs(values - expected).max())
    counts = f"{camera.forced} | {camera.failed} | {camera.forced - camera.failed}"
    return f"| {profile} | {values.size:,} | {off:.3f} | {counts} | {frame_ms:.0f} |\n"


def _measure(unit: Any, phases: Array, drive: Array) -> Array:
    unit.open()
    unit.program(phases * np.float32(unit.spec.parameters.high))
    values: Array = unit.measure(drive, cancel=CancelToken()).values
    unit.close()
    return values


def _numbers(seed: int) -> str:
    """Triggers in pairs; some buffers are taken away before the driver sees them."""
    camera = EmulatedBasler(BaslerOptions(emulated=True, pixel_format="Mono8"), DeviceContext("rig", seed, RealClock()))
    gone = set(np.random.default_rng(seed).choice(np.arange(1, TRIGGERS // 2), TAKEN_AWAY, replace=False).tolist())
    lost = wrong = 0
    try:
        camera.open()
        camera.set_roi(Roi(0, 0, 16, 16))
        for pair in range(TRIGGERS // 2):
            camera.trigger()
            camera.trigger()
            if pair in gone:
                camera.take_one_away(2.0)
            for number in (2 * pair, 2 * pair + 1):
                try:
                    frame = camera.grab(2.0)
                except DeviceError:
                    lost += 1
                else:
                    wrong += frame.number != number or int(frame.pixels[0, 0]) != (number + 1) % 256
        counted = camera.dropped
    finally:
        camera.close()
    return (
        "| triggers in one stream | buffers taken away | reported, counted | unreported | given to a wrong trigger |"
        f"\n|---|---|---|---|---|\n| {TRIGGERS:,} | {len(gone)} | {lost}, {counted} | {len(gone) - lost} | {wrong} |\n"
    )
