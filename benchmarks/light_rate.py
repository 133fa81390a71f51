"""Figure: how much of the settled frame rate a training uses, through the frame-by-frame path, in virtual time.

Settling, exposure and read-out take virtual time; this computer's work takes what it was measured to take, as processor
time of the thread. What the simulated light costs to compute is left out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np

from benchmarks.light_masks import DIGITS
from benchmarks.runs import data_dir
from data.datasets import load
from drivers.mock.optics import OpticalBench
from drivers.mock.optics_profile import load_optics_profile
from drivers.optics.camera import Camera
from drivers.optics.camera_mock import MockCamera
from drivers.optics.optical_rig import OpticalRig
from drivers.optics.shutter_mock import MockShutter
from drivers.optics.slm import SpatialLightModulator
from drivers.optics.slm_mock import MockSlm
from pib_lab.device import DeviceContext, UnitRequest
from pib_lab.learner import LocalLearner
from pib_lab.lessons import LearnBatch, LearnerConfig
from pib_lab.objectives import RidgeEntropy

PARTS: dict[str, Any] = {"slm": "screen", "camera": "basler", "shutter": "line", "exposure_s": 0.001}
"""A real rig's, replaced from outside."""

PANELS: dict[str, dict[str, float]] = {
    "bench-a: 60 Hz link, liquid crystal": {},
    "a fast panel: 1 ms latency, 0.2 ms response": {"latency_s": 0.001, "response_s": 0.0002},
}
STEPS, BATCH, REGIONS = 3, 128, 64


class WorkedClock:
    """Virtual time that goes on with this computer's own work, but for what is simulated."""

    def __init__(self) -> None:
        self._time_s, self._since_s, self._simulating = 0.0, time.thread_time(), False

    def now_s(self) -> float:
        """Virtual time."""
        now_s = time.thread_time()
        self._time_s += 0.0 if self._simulating else now_s - self._since_s
        self._since_s = now_s
        return self._time_s

    def sleep_s(self, duration_s: float) -> None:
        """Let the hardware work for so long."""
        self.now_s()
        self._time_s += max(duration_s, 0.0)

    def simulated(self, work: Callable[..., Any]) -> Callable[..., Any]:
        """`work`, taking no more virtual time than it sleeps."""

        def done(*args: Any) -> Any:
            self.now_s()
            before, self._simulating = self._simulating, True
            try:
                return work(*args)
            finally:
                self.now_s()
                self._simulating = before

        return done


class Instrument:
    """A simulated part whose computing takes no virtual time. A camera only triggers and grabs."""

    def __init__(self, part: Any, clock: WorkedClock) -> None:
        self._part, self._clock = part, clock

    def __getattr__(self, name: str) -> Any:
        if name == "expose_batch":
            raise AttributeError(name)
        found = getattr(self._part, name)
        return self._clock.simulated(found) if callable(found) else found


def light_rate(seeds: Sequence[int], processes: int, steps: int = STEPS) -> str:
    """The section of docs/benchmarks.md."""
    lines = [
        "### Settled frame rate in use",
        "",
        f"`python -m benchmarks light-rate`; seed {seeds[0]}; the rig's frame-by-frame path (show, wait until settled, "
        f"trigger, show the next at the end of the exposure, grab), {steps} training steps of {BATCH} digits on "
        f"{REGIONS} regions, parameter shift included. Hardware in virtual time; this computer's work, learning "
        "included, as processor time of its thread. Allowed: one frame for each settling and exposure, or the camera's "
        "frame time where that is longer. Goal: 95 %.",
        "",
        "| panel | frames | allowed | measuring alone | of it | training | of it |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, override in PANELS.items():
        frames, allowed_hz, measuring_hz, training_hz = rates(seeds[0], override, steps)
        lines.append(
            f"| {name} | {frames:,} | {allowed_hz:.1f}/s | {measuring_hz:.1f}/s | {measuring_hz / allowed_hz:.1%} | "
            f"{training_hz:.1f}/s | {training_hz / allowed_hz:.1%} |"
        )
    return "\n".join([*lines, ""])


def rates(seed: int, override: dict[str, float], steps: int, batch: int = BATCH) -> tuple[int, float, float, float]:
    """Frames, and frames a second: that the settling allows, of measurements alone, of a training with all it does."""
    clock = WorkedClock()
    bench = OpticalBench(load_optics_profile("bench-a", override), [seed], clock)
    slm, camera = Instrument(MockSlm(bench), clock), Instrument(MockCamera(bench), clock)
    context = DeviceContext("rig", seed, clock)
    parts = (cast(SpatialLightModulator, slm), cast(Camera, camera), MockShutter(bench))
    device = OpticalRig({**PARTS, "encoder": {"depth_rad": 3.14}}, context, parts)
    unit = device.unit(UnitRequest("light", 64, REGIONS))
    unit.open()
    config = LearnerConfig(rectify=False, rule="shift", basis="hadamard", modes=1, init_scale=0.01)
    learner = LocalLearner(unit, RidgeEntropy(), config, seed)
    learner.start()
    data = load(DIGITS, seed, data_dir())
    measured_s = frames = 0.0
    measure = unit._measure  # every frame of the unit goes through it

    def timed(*args: Any) -> Any:
        nonlocal measured_s, frames
        began_s = clock.now_s()
        found = measure(*args)
        measured_s, frames = measured_s + clock.now_s() - began_s, frames + found.passes
        return found

    unit._measure = timed  # type: ignore[method-assign, assignment]
    began_s = clock.now_s()
    for step in range(1, steps + 1):
        rows = slice((step - 1) * batch, step * batch)
        learner.forward(data.train.x[rows], learn=True)
        learner.learn(LearnBatch(step, data.train.y[rows], data.classes, np.eye(batch, dtype=np.float32), 0.01))
    elapsed_s = clock.now_s() - began_s
    settle_s, exposure_s = unit.spec.settle_s, float(PARTS["exposure_s"])
    allowed_hz = 1.0 / max(settle_s + exposure_s, bench.profile.frame_s)
    device.close()
    return int(frames), allowed_hz, frames / measured_s, frames / elapsed_s
