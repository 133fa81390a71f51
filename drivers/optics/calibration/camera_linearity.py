"""Counts against exposure, and the gain by photon transfer: variance of counts = signal / (electrons a count) + const.

Pairs of frames of one pattern: half the squared difference is the variance, the second frame scaled to the brightness
of the first, so that the laser's noise drops out. The pattern is flat: a panel that flickers moves all others. Each
pixel's slope comes from the exposures at which it is below half of full scale; what it then should read is compared
with what it does, in bins, up to where it is clipped.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from drivers.bringup.job import completed
from drivers.optics.calibration.access import Index
from drivers.optics.calibration.job import RigJob
from pib_lab.findings import Check, Findings, judged, not_tested
from pib_lab.procedure import Count, Fraction, Seconds, Settings
from pib_lab.quantities import Array64, Mask

_BINS = 40
_LINEAR = (0.03, 0.9)
"""Shares of full scale between which the camera is to be linear."""
_TRANSFER = (0.02, 0.6)
"""Those from which the gain is taken."""
_CLIPPED = 1.3
"""A pixel that should read this many times full scale is clipped beyond doubt."""


class CameraLinearity(Settings):
    """exposures: from shortest to longest, evenly in their logarithm; pairs: of frames each; level: gray level of the
    flat pattern; pixels: that are looked at; tolerance: of the counts, as a share of what they should be."""

    shortest_s: Seconds = 5e-5
    longest_s: Seconds = 5e-3
    exposures: Count = 14
    pairs: Count = 4
    level: int = 0
    pixels: Count = 4096
    tolerance: Fraction = 0.02


@dataclass(frozen=True, slots=True)
class Point:
    """One exposure: dark and lit counts (pixels,), their variances, where any frame was flagged as clipped."""

    exposure_s: float
    dark: Array64
    signal: Array64
    variance: Array64
    clipped: Mask


def run(job: RigJob, settings: CameraLinearity) -> Findings:
    """Measure at each exposure; the rig's own is back when it ends. Raises LimitError beyond `exposure_max_s`."""
    s, rig = settings, job.rig
    asked = np.geomspace(s.shortest_s, s.longest_s, max(s.exposures, 3))
    keep, before_s = rig.spread(s.pixels), rig.exposure_s
    read_noise = math.nan
    points: list[Point] = []
    try:
        for exposure_s in job.each([float(value) for value in asked], "exposure in s"):
            actual_s = rig.set_exposure_s(exposure_s)
            dark, noise = _dark(job, s.pairs, keep)
            read_noise = noise if not points else read_noise
            points.append(_point(job, s, keep, actual_s, dark))
    finally:
        rig.set_exposure_s(before_s)
    if len(points) < len(asked):
        return Findings((completed(len(points), len(asked)),))
    black = float(np.median(points[0].dark))
    return _judge(points, s, rig.saturated_level - black, black, read_noise)


def _dark(job: RigJob, pairs: int, keep: Index) -> tuple[Array64, float]:
    """Mean dark counts (pixels,) and the noise of one frame in counts, rounding included."""
    frames = np.array([job.rig.dark_frame().pixels.reshape(-1)[keep] for _ in range(2 * pairs)], np.float64)
    mean = frames.mean(axis=0)
    cool = mean <= np.median(mean) + 4.0
    return mean, float(np.sqrt(frames[:, cool].var(axis=0, ddof=1).mean()))


def _point(job: RigJob, s: CameraLinearity, keep: Index, exposure_s: float, dark: Array64) -> Point:
    flat = np.full((1, *job.rig.shape), s.level, np.uint16)
    shots = job.rig.shots(lambda a, b: flat.repeat(b - a, axis=0), 2 * s.pairs, job.cancel, keep)
    signal = shots.counts - dark
    first, second = signal[0::2], signal[1::2]
    second = second * (first.sum(axis=1) / second.sum(axis=1))[:, None]
    variance = 0.5 * np.mean((first - second) ** 2, axis=0)
    return Point(exposure_s, dark, signal.mean(axis=0), variance, np.asarray(shots.saturated.any(axis=0)))


def _judge(points: list[Point], s: CameraLinearity, full: float, black: float, noise: float) -> Findings:
    exposure_s = np.array([point.exposure_s for point in points])
    signal, variance = (np.array([getattr(point, name) for point in points]) for name in ("signal", "variance"))
    clipped = np.array([point.clipped for point in points])
    low = (signal < 0.5 * full) & ~clipped
    weight = np.where(low, exposure_s[:, None], 0.0)
    slope = (weight * signal).sum(axis=0) / np.maximum((weight * exposure_s[:, None]).sum(axis=0), 1e-30)
    seen = slope * exposure_s[-1] > _LINEAR[0] * full  # pixels that light reaches
    should = (slope * exposure_s[:, None])[:, seen]
    is_, flagged, spread = signal[:, seen], clipped[:, seen], variance[:, seen]
    curve = _binned(should, is_, np.linspace(0.0, 1.5 * full, _BINS + 1))
    middle, mean = curve
    linear = (middle > _LINEAR[0] * full) & (middle < _LINEAR[1] * full)
    off = float(np.abs(mean[linear] / middle[linear] - 1.0).max()) if linear.any() else math.nan
    gain, transfer = _gain(is_, spread, ~flagged, full)
    top = should > _CLIPPED * full
    read_counts = math.sqrt(max(noise**2 - 1.0 / 12.0, 0.0))
    checks = [
        judged(
            "linear",
            off <= s.tolerance,
            "" if off <= s.tolerance else "counts do not follow the exposure: switch gamma off, or give more light",
            {"worst": off},
            {"most": s.tolerance},
        ),
        judged(
            "gain",
            math.isfinite(gain) and gain > 0.0,
            "" if math.isfinite(gain) else "the variance does not grow with light: too little of it",
            {"e_per_count": gain, "read_noise_e": read_counts * gain, "black_counts": black},
        ),
        _clipping(top, flagged, is_, black, full, gain),
        completed(len(points), len(points)),
    ]
    arrays = {
        "exposure_s": exposure_s,
        "should_counts": middle,
        "is_counts": mean,
        "transfer_counts": transfer[0],
        "transfer_variance": transfer[1],
        "e_per_count": np.array([gain]),
    }
    return Findings(tuple(checks), arrays)


def _clipping(top: Mask, flagged: Mask, counts: Array64, black: float, full: float, gain: float) -> Check:
    if top.sum() < 10:
        return not_tested("clipping is told", "no pixel was clipped: raise longest, or give more light")
    level, share = float(np.median(counts[top])) + black, float(flagged[top].mean())
    numbers = {"saturation_counts": level, "full_well_e": (level - black) * gain, "flagged": share}
    why = (
        ""
        if share > 0.999
        else "clipped pixels are not told: the full well is below the converter's top; lower the gain"
    )
    return judged(
        "clipping is told", share > 0.999, why, numbers, {"least_flagged": 0.999, "stated_counts": full + black}
    )


def _gain(signal: Array64, variance: Array64, sound: Mask, full: float) -> tuple[float, tuple[Array64, Array64]]:
    """Electrons a count, from a straight line through binned variances; and the bins."""
    edges = np.linspace(_TRANSFER[0] * full, _TRANSFER[1] * full, 16)
    middle, mean = _binned(signal[sound], variance[sound], edges)
    if len(middle) < 3:
        return math.nan, (middle, mean)
    slope = np.polyfit(middle, mean, 1, w=1.0 / np.maximum(mean, 1e-9))[0]
    return (1.0 / float(slope) if slope > 0.0 else math.nan), (middle, mean)


def _binned(x: Array64, y: Array64, edges: Array64) -> tuple[Array64, Array64]:
    """Means of x and of y in bins of x that hold ten or more."""
    place = np.digitize(np.ravel(x), edges) - 1
    inside = (place >= 0) & (place < len(edges) - 1)
    place, x, y = place[inside], np.ravel(x)[inside], np.ravel(y)[inside]
    count = np.bincount(place, minlength=len(edges) - 1)
    full = count >= 10
    sums = (np.bincount(place, values, minlength=len(edges) - 1) for values in (x, y))
    middle, mean = (np.asarray(total[full] / count[full]) for total in sums)
    return middle, mean
