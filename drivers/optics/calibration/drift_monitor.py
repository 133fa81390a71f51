"""How fast the medium moves: one reference pattern again and again, and how its frames correlate.

C = correlation of the **intensities** of two frames (Pearson, over pixels, dark frame taken off). For a medium whose
**field** correlation falls as exp(-t / field_time), C falls as exp(-2 t / field_time). C(lag) is the mean over all
pairs of frames that far apart; a straight line through its logarithm gives the time.

until_stable: instead of warming up by a timer, stop once over a whole window the correlation stays above, and the
change of brightness below, what is called stable.
"""

from __future__ import annotations

import bisect
import contextlib
import math
from collections.abc import Sequence

import numpy as np

from drivers.bringup.job import completed
from drivers.optics.calibration.access import Index, MacroPanel
from drivers.optics.calibration.job import RigJob
from drivers.optics.reference import correlation, reference_phases
from pib_lab.errors import Cancelled
from pib_lab.findings import Check, Findings, judged, not_tested
from pib_lab.procedure import Count, Fraction, Seconds, Settings
from pib_lab.quantities import Array, Array64

_DARK_FRAMES = 8
_FINEST = 1e-4
"""Fall over the longest lag that is believed at best, whatever the scatter: times far beyond it are not told."""
_LEAST = 0.2
"""Correlations below this are mostly chance, and left out of the line."""


class DriftMonitor(Settings):
    """every: between looks, frames: of each, averaged; duration: at most; horizon: after which the correlation is to be
    `least_correlation` or more; until_stable: window over which all is to be stable (0 s: watch for the whole
    duration); stable_correlation and stable_brightness: what is called stable in it."""

    every_s: Seconds = 30.0
    duration_s: Seconds = 1800.0
    frames: Count = 4
    pixels: Count = 4096
    horizon_s: Seconds = 600.0
    least_correlation: Fraction = 0.5
    until_stable_s: Seconds = 0.0
    stable_correlation: Fraction = 0.95
    stable_brightness: Fraction = 0.01


def run(job: RigJob, settings: DriftMonitor) -> Findings:
    """Watch until it is stable, or for the whole duration. Raises what frames raise."""
    s, rig = settings, job.rig
    keep, panel = rig.spread(s.pixels), MacroPanel(rig)
    pattern = panel.phases(reference_phases(panel.grid)[None])
    dark = np.mean([rig.dark_frame().pixels.reshape(-1)[keep] for _ in range(_DARK_FRAMES)], axis=0)
    step_s = max(s.every_s, 1e-3)
    count = int(s.duration_s / step_s) + 1
    times: list[float] = []
    frames: list[Array] = []
    stable = False
    began_s = rig.now_s()
    with contextlib.suppress(Cancelled):  # what was seen until then tells something
        for number in job.each(range(count), "frame"):
            rig.wait_s(began_s + number * step_s - rig.now_s(), job.cancel)
            shots = rig.shots(lambda a, b: pattern.repeat(b - a, axis=0), s.frames, job.cancel, keep)
            frames.append(np.asarray(shots.counts.mean(axis=0) - dark, np.float32))
            times.append(rig.now_s() - began_s)
            stable = s.until_stable_s > 0.0 and is_stable(times, frames, s)
            if stable:
                break
    seen, time_s = np.array(frames, np.float64), np.array(times)
    done = completed(len(frames), len(frames) if stable else count)
    if len(frames) < 4:
        return Findings((not_tested("drift", "fewer than four frames: raise duration"), done))
    lag_s, mean, pairs = by_lag(time_s, seen)
    slope, error = decay(lag_s, mean, pairs)
    checks = [_drift(s, slope, error, mean), done]
    brightness = seen.mean(axis=1) / seen[0].mean()
    if s.until_stable_s > 0.0:
        why = "" if stable else "not within the duration: warm up longer, or look for draughts and loose mounts"
        numbers = {"stable_after_s": float(time_s[-1]) if stable else math.nan, "brightness": float(brightness[-1])}
        limits = {"window_s": s.until_stable_s, "correlation": s.stable_correlation, "change": s.stable_brightness}
        checks.insert(0, judged("stable", stable, why, numbers, limits))
    arrays = {
        "time_s": time_s,
        "to_first": np.array([correlation(seen[0], frame) for frame in seen]),
        "brightness": brightness,
        "lag_s": lag_s,
        "correlation": mean,
        "fit": np.array([slope, error]),
    }
    return Findings(tuple(checks), arrays)


def is_stable(time_s: Sequence[float], frames: Sequence[Array], s: DriftMonitor) -> bool:
    """Whether all frames of the last window are like its first, and the trend of their brightness is small."""
    if time_s[-1] - time_s[0] < s.until_stable_s * (1.0 - 1e-9):
        return False
    start = bisect.bisect_left(time_s, time_s[-1] - s.until_stable_s * (1.0 + 1e-9))
    window = np.array(frames[start:], np.float64)
    first = window[0]
    if len(window) < 3:  # no trend to be told from noise
        return False
    alike = min(correlation(first, frame) for frame in window[1:])
    brightness = window.mean(axis=1)
    trend = float(np.polyfit(np.array(time_s[start:]), brightness, 1)[0]) * s.until_stable_s / float(brightness.mean())
    return alike >= s.stable_correlation and abs(trend) <= s.stable_brightness


def by_lag(time_s: Array64, frames: Array64) -> tuple[Array64, Array64, Index]:
    """Lags (n,), mean correlation of all pairs of frames so far apart, and their number. Frames are evenly spaced; lags
    beyond half of the whole time have few pairs, and are left out."""
    moved = frames - frames.mean(axis=1, keepdims=True)
    moved /= np.maximum(np.linalg.norm(moved, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    table = moved @ moved.T
    lags = np.arange(1, max(3, len(frames) // 2 + 1))
    mean = np.array([float(np.diagonal(table, lag).mean()) for lag in lags])
    step_s = float(time_s[-1] - time_s[0]) / (len(time_s) - 1)
    return np.asarray(lags * step_s, np.float64), mean, np.asarray(len(frames) - lags, np.intp)


def decay(lag_s: Array64, correlation_: Array64, pairs: Index) -> tuple[float, float]:
    """Rate (1/s) at which ln C falls with the lag, and its standard error from the scatter about the line.

    NaN where fewer than three lags correlate well enough.
    """
    use = correlation_ > _LEAST
    if use.sum() < 3:
        return math.nan, math.nan
    x, y, weight = lag_s[use], np.log(correlation_[use]), pairs[use].astype(np.float64)
    middle_x, middle_y = np.average(x, weights=weight), np.average(y, weights=weight)
    spread = float((weight * (x - middle_x) ** 2).sum())
    slope = float((weight * (x - middle_x) * (y - middle_y)).sum()) / spread
    left = y - middle_y - slope * (x - middle_x)
    error = math.sqrt(float((weight * left**2).sum()) / max(len(x) - 2, 1) / spread)
    return -slope, max(error, _FINEST / float(x[-1]))


def _drift(s: DriftMonitor, rate_hz: float, error_hz: float, mean: Array64) -> Check:
    name, limits = "drift", {"horizon_s": s.horizon_s, "least": s.least_correlation}
    if not math.isfinite(rate_hz):
        why = "frames do not even correlate with the next: look at the light, or choose a shorter every"
        return judged(name, False, why, {"next": float(mean[0])}, limits)
    expected = float(mean[0]) * math.exp(-max(rate_hz, 0.0) * s.horizon_s)
    numbers = {"after_horizon": expected, "next": float(mean[0])}
    if rate_hz > 2.0 * error_hz:
        numbers["field_time_s"] = 2.0 / rate_hz
    else:  # too slow to be told in this time
        numbers["field_time_at_least_s"] = 2.0 / (max(rate_hz, 0.0) + 2.0 * error_hz)
    good = expected >= s.least_correlation
    return judged(name, good, "" if good else "the medium moves: check health often in training", numbers, limits)
