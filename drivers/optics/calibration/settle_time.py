"""How long a pattern takes to be on the panel, by light: frames at chosen times after one random pattern took the place
of another.

change(t) = mean over pixels of (frame - final frame)^2, from 1 before anything moves to 0, noise taken off. For phases
that settle as x = exp(-(t - latency) / response) the speckle correlates with its final one as exp(-(spread x)^2), so
change(t) = (1 - exp(-(spread x)^2)) / (1 - exp(-spread^2)), spread being the rms phase step. The rest of a change of
intensity is sqrt(change); it has fallen to `tolerance` at the time that is proposed.
"""

from __future__ import annotations

import math

import numpy as np
import scipy.optimize

from drivers.bringup.job import completed
from drivers.optics.calibration.access import MacroPanel
from drivers.optics.calibration.job import RigJob
from pib_lab.findings import Findings, judged
from pib_lab.procedure import Count, Fraction, Seconds, Settings
from pib_lab.quantities import Array64

_SEED = 17


class SettleTime(Settings):
    """longest: delay after a change; points: delays up to it; repeats: of each, with other patterns; rest: time that
    counts as long enough; tolerance: rest of a change that counts as settled; least_contrast: change over noise."""

    longest_s: Seconds = 0.1
    points: Count = 26
    repeats: Count = 6
    rest_s: Seconds = 0.3
    pixels: Count = 4096
    tolerance: Fraction = 0.01
    least_contrast: float = 10.0


def run(job: RigJob, settings: SettleTime) -> Findings:
    """Propose `settle_s`; raises what frames raise."""
    s, rig = settings, job.rig
    panel, keep = MacroPanel(rig), rig.spread(s.pixels)
    asked = np.linspace(0.0, s.longest_s, s.points)
    delays, change, floors = np.zeros((s.repeats, s.points)), np.zeros((s.repeats, s.points)), []
    done = 0
    for repeat in job.each(range(s.repeats), "pair of patterns"):
        before, after = panel.phases(panel.random(2, _SEED + repeat))

        def frame(delay_s: float) -> tuple[float, Array64]:
            waited, pixels = rig.after_step(before, after, delay_s, s.rest_s)  # noqa: B023
            return waited, pixels.reshape(-1)[keep].astype(np.float64)

        last, again = frame(s.rest_s)[1], frame(s.rest_s)[1]
        final, floor = 0.5 * (last + again), 0.5 * float(np.mean((last - again) ** 2))
        start = rig.after_step(after, before, s.rest_s, s.rest_s)[1].reshape(-1)[keep].astype(np.float64)
        whole = float(np.mean((start - final) ** 2)) - 1.5 * floor
        for point, delay_s in enumerate(asked):
            delays[repeat, point], seen = frame(float(delay_s))
            change[repeat, point] = (float(np.mean((seen - final) ** 2)) - 1.5 * floor) / whole if whole > 0.0 else 1.0
        floors.append(floor / whole if whole > 0.0 else math.inf)
        done += 1
    if done < s.repeats:
        return Findings((completed(done, s.repeats),))
    contrast = 1.0 / max(float(np.mean(floors)), 1e-12)
    waited, left = delays.mean(axis=0), change.mean(axis=0)
    latency_s, response_s, spread = fit(waited, left)
    unit = math.sqrt(1.0 - math.exp(-(spread**2)))
    proposed_s = latency_s + response_s * math.log(max(spread / (s.tolerance * unit), 1.0))
    with rig.rig() as held:
        in_force_s = held.settle_s
    slack_s = 0.1 * s.longest_s / max(s.points - 1, 1)  # as well as these delays can tell
    moved, known = contrast >= s.least_contrast, proposed_s < s.longest_s
    return Findings(
        (
            judged(
                "light follows the pattern",
                moved,
                "" if moved else "the change drowns in noise: more light, or look at the link to the panel",
                {"contrast": contrast},
                {"least": s.least_contrast},
            ),
            judged(
                "settled within the delays",
                known,
                "" if known else "it takes longer than the longest delay: raise longest and rest",
                {"latency_s": latency_s, "response_s": response_s, "proposed_s": proposed_s},
                {"longest_s": s.longest_s},
            ),
            judged(
                "settle_s in force",
                proposed_s <= in_force_s + slack_s,
                ""
                if proposed_s <= in_force_s + slack_s
                else f"set settle_s = {proposed_s:.3g}: frames are taken too early",
                {"in_force_s": in_force_s},
                {"least_s": proposed_s},
            ),
            completed(done, s.repeats),
        ),
        {
            "delay_s": waited,
            "change": left,
            "model": model(waited, latency_s, response_s, spread),
            "settled_s": np.array([latency_s, response_s, proposed_s]),
        },
    )


def model(time_s: Array64, latency_s: float, response_s: float, spread: float) -> Array64:
    """change(t), as at the top of the file."""
    x = np.exp(-np.maximum(time_s - latency_s, 0.0) / response_s)
    return np.asarray(np.expm1(-((spread * x) ** 2)) / math.expm1(-(spread**2)))


def fit(time_s: Array64, change: Array64) -> tuple[float, float, float]:
    """Latency, response time and spread that fit best; square roots are compared, so that the tail counts."""
    span = float(time_s[-1] - time_s[0]) or 1.0
    root = np.sqrt(np.maximum(change, 0.0))
    half = float(time_s[np.flatnonzero(change < 0.5)[0]]) if (change < 0.5).any() else float(time_s[-1])
    best: tuple[float, Array64] = (math.inf, np.zeros(3))
    for share in (0.3, 0.7, 0.95):
        start = (share * half, 0.1 * span, 1.5)
        found = scipy.optimize.least_squares(
            lambda p: np.sqrt(model(time_s, *p)) - root,
            start,
            bounds=((0.0, 1e-4 * span, 0.2), (2.0 * span, 2.0 * span, 4.0)),
            x_scale=(span, span, 1.0),
        )
        if found.cost < best[0]:
            best = (float(found.cost), np.asarray(found.x))
    latency_s, response_s, spread = (float(value) for value in best[1])
    return latency_s, response_s, spread
