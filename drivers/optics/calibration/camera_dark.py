"""Dark frames at the exposure in force, and the pixels that cannot be trusted: hot in the dark, or blind to light."""

from __future__ import annotations

import contextlib
import math

import numpy as np

from drivers.bringup.job import completed
from drivers.optics.calibration.access import MacroPanel
from drivers.optics.calibration.job import RigJob
from pib_lab.errors import Cancelled
from pib_lab.findings import Findings, judged, not_tested
from pib_lab.procedure import Count, Fraction, Settings
from pib_lab.quantities import Array64

_SEED = 11


class CameraDark(Settings):
    """frames: in the dark; patterns: random ones that light every pixel now and then; hot_counts: above the median dark
    pixel; dead: share of the median light below which a pixel is blind; the others are limits."""

    frames: Count = 64
    patterns: Count = 48
    hot_counts: float = 4.0
    dead: Fraction = 0.1
    most_bad: Fraction = 0.01
    most_noise_counts: float = 5.0
    least_light_counts: float = 20.0


def run(job: RigJob, settings: CameraDark) -> Findings:
    """Mean and scatter of each pixel in the dark, then its mean over random patterns; raises what frames raise."""
    s, rig, shape = settings, job.rig, job.rig.frame_shape
    total, squares, done = np.zeros(shape), np.zeros(shape), 0
    for _ in job.each(range(s.frames), "dark frame"):
        pixels = rig.dark_frame().pixels.astype(np.float64)
        total, squares, done = total + pixels, squares + pixels * pixels, done + 1
    if done < s.frames:
        return Findings((completed(done, s.frames + s.patterns),))
    dark = total / done
    noise = np.sqrt(np.maximum(squares - done * dark * dark, 0.0) / max(done - 1, 1))
    light: Array64 | None = None
    with contextlib.suppress(Cancelled):
        light = _light(job, s.patterns, shape) - dark
    hot = dark > np.median(dark) + s.hot_counts
    typical = float(np.median(light)) if light is not None else math.nan
    lit = light is not None and typical >= s.least_light_counts
    dead = light < s.dead * typical if light is not None and lit else np.zeros(shape, np.bool_)
    bad = hot | dead
    noisy = float(np.median(noise))
    checks = [
        judged(
            "noise in the dark",
            noisy <= s.most_noise_counts,
            "" if noisy <= s.most_noise_counts else "light leaks in, or the gain is high",
            {"mean_counts": float(np.median(dark)), "noise_counts": noisy},
            {"most_counts": s.most_noise_counts},
        ),
        judged(
            "bad pixels",
            bool(bad.mean() <= s.most_bad),
            "" if bad.mean() <= s.most_bad else "more than a camera should have: light in the dark frames, or none",
            {"hot": float(hot.sum()), "dead": float(dead.sum()), "share": float(bad.mean())},
            {"most": s.most_bad},
        ),
        judged(
            "light", lit, "" if lit else "too little to tell blind pixels: open the beam", {"median_counts": typical}
        )
        if light is not None
        else not_tested("light", "stopped by the operator before it"),
        completed(done + (s.patterns if light is not None else 0), s.frames + s.patterns),
    ]
    arrays = {"dark": dark.astype(np.float32), "dark_noise_counts": noise.astype(np.float32), "bad": bad, "hot": hot}
    return Findings(tuple(checks), arrays | ({} if light is None else {"light_counts": light.astype(np.float32)}))


def _light(job: RigJob, count: int, shape: tuple[int, int]) -> Array64:
    """Mean counts (rows, columns) over random patterns."""
    panel = MacroPanel(job.rig)
    phases = panel.random(count, _SEED)
    total = np.zeros(shape)
    for index in job.each(range(count), "pattern"):
        pattern = panel.phases(phases[index : index + 1])
        total += job.rig.shots(lambda a, b: pattern[a:b], 1, job.cancel).counts.reshape(shape)  # noqa: B023
        if job.cancel.cancelled:
            raise Cancelled("interrupted by the operator")
    return np.asarray(total / count)
