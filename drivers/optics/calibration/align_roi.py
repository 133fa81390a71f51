"""Where light falls on the sensor, how wide a speckle is, whether the regions fit, and which exposure suits.

The whole sensor is looked at. Envelope: mean over random patterns, less a dark frame. Speckle width: distance at which
the correlation of what is left over falls to 1/e, by Fourier transform. Exposure: for a mean of a fifth of full scale
within the light, for speckle is distributed exponentially: exp(-5) = 0.7 % of its pixels then reach full scale.
"""

from __future__ import annotations

import math

import numpy as np
import scipy.ndimage

from drivers.bringup.job import completed
from drivers.optics.calibration.access import MacroPanel
from drivers.optics.calibration.job import RigJob
from drivers.optics.camera import Roi
from drivers.optics.regions import Regions
from pib_lab.errors import ConfigurationError
from pib_lab.findings import Check, Findings, judged
from pib_lab.procedure import Count, Fraction, Settings
from pib_lab.quantities import Array64

_SEED = 13
FIFTH = 0.2


class AlignRoi(Settings):
    """patterns: random ones; regions: that a unit will want; edge: share of the brightest that counts as lit;
    least_speckles: across a region; brightness: factor by which the mean may miss a fifth of full scale."""

    patterns: Count = 32
    regions: Count = 64
    edge: Fraction = 0.3
    least_speckles: float = 1.0
    brightness: float = 1.5
    most_saturated: Fraction = 0.02


def run(job: RigJob, settings: AlignRoi) -> Findings:
    """Look at the whole sensor; the rig's own region of interest is back when it ends. Raises what frames raise."""
    job.rig.whole_sensor()
    try:
        return _looked(job, settings)
    finally:
        job.rig.back_to_roi()


def _looked(job: RigJob, s: AlignRoi) -> Findings:
    rig, shape = job.rig, job.rig.frame_shape
    dark_frame = rig.dark_frame()
    dark, full = float(np.median(dark_frame.pixels)), float(dark_frame.saturated_level)
    panel = MacroPanel(rig)
    phases, frames, clipped = panel.random(s.patterns, _SEED), [], []
    for index in job.each(range(s.patterns), "pattern"):
        pattern = panel.phases(phases[index : index + 1])
        shots = rig.shots(lambda a, b: pattern[a:b], 1, job.cancel)  # noqa: B023
        frames.append(shots.counts.reshape(shape) - dark)
        clipped.append(shots.saturated.reshape(shape))
    if len(frames) < max(2, s.patterns):
        return Findings((completed(len(frames), max(2, s.patterns)),))
    seen = np.asarray(frames, np.float64)
    envelope = seen.mean(axis=0)
    box = lit_box(envelope, s.edge)
    inside = np.s_[:, box.top : box.top + box.height, box.left : box.left + box.width]
    width = speckle_px(seen[inside])
    mean, saturated = float(seen[inside].mean()), float(np.asarray(clipped)[inside].mean())
    wanted_s = rig.exposure_s * FIFTH * (full - dark) / mean if mean > 0.0 else math.inf
    off = mean / (FIFTH * (full - dark))
    bright = 1.0 / s.brightness <= off <= s.brightness and saturated <= s.most_saturated
    size = rig.options.regions.size
    return Findings(
        (
            judged("light found", mean > 0.0, "" if mean > 0.0 else "no light: open the beam", _numbers(box)),
            judged(
                "exposure",
                bright,
                "" if bright else f"set exposure_s = {wanted_s:.3g}, or gain and laser power",
                {"mean_of_fifth": off, "saturated": saturated, "proposed_s": wanted_s, "in_force_s": rig.exposure_s},
                {"most_factor": s.brightness, "most_saturated": s.most_saturated},
            ),
            judged(
                "speckles in a region",
                size >= s.least_speckles * width,
                "" if size >= s.least_speckles * width else "regions are narrower than speckles: raise regions.size",
                {"speckle_px": width, "across": size / width},
                {"least_across": s.least_speckles},
            ),
            _fits(s.regions, size, box),
            completed(len(frames), s.patterns),
        ),
        {
            "envelope_counts": envelope,
            "frame_counts": seen[0],
            "roi": np.array([box.top, box.left, box.height, box.width]),
        },
    )


def lit_box(envelope: Array64, edge: float) -> Roi:
    """The smallest rectangle around all pixels, smoothed over a 16th of the frame, above `edge` of the brightest."""
    smooth = scipy.ndimage.uniform_filter(envelope, size=[max(1, size // 16) for size in envelope.shape])
    lit = smooth >= edge * smooth.max()
    rows, columns = (np.flatnonzero(lit.any(axis=axis)) for axis in (1, 0))
    return Roi(int(rows[0]), int(columns[0]), int(rows[-1] - rows[0] + 1), int(columns[-1] - columns[0] + 1))


def speckle_px(frames: Array64) -> float:
    """Distance in pixels at which frames (n, rows, columns), their mean over n taken off, correlate by 1/e; mean over
    rows and columns; 0 where neighbours do not correlate at all."""
    left = frames - frames.mean(axis=0)
    rows, columns = left.shape[1:]
    padded = np.fft.rfft2(left, s=(2 * rows, 2 * columns))
    together = np.fft.irfft2((np.abs(padded) ** 2).mean(axis=0), s=(2 * rows, 2 * columns))
    whole = np.outer(np.arange(rows, 0, -1), np.arange(columns, 0, -1))
    fall = together[:rows, :columns] / whole
    return 0.5 * (_width(fall[:, 0]) + _width(fall[0, :]))


def _width(fall: Array64) -> float:
    """Where exp(-(d / w)^2) through zero distance and the last point above 1/e crosses 1/e."""
    share = fall / fall[0]
    below = np.flatnonzero(share < math.exp(-1.0))
    if not below.size:
        return float(len(share))
    after = int(below[0])
    before = after - 1
    high, low = math.log(share[before]), math.log(max(float(share[after]), 1e-6))
    where = (high + 1.0) / (high - low)
    return float(math.sqrt(before**2 + where * (after**2 - before**2)))


def _fits(count: int, size: int, box: Roi) -> Check:
    try:
        Regions(count, size, (box.height, box.width))
    except ConfigurationError as problem:
        return judged("regions fit the light", False, str(problem), {"regions": count})
    return judged("regions fit the light", True, "", {"regions": count})


def _numbers(box: Roi) -> dict[str, float]:
    return {"top": box.top, "left": box.left, "height": box.height, "width": box.width}
