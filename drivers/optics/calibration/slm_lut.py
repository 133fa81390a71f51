"""The panel's look-up table by interference: every other band of the panel steps through the gray levels.

A pixel of the camera sees I(g) = a + b cos(phase(g) + c), with a, b and c of its own. Over many pixels the two leading
components of I, mean over g taken off, trace an ellipse as g goes on; made round, its angle is the phase. Neighbours
that blur into each other hold back the pixels at the edges of bands, so the phase comes out too small in proportion to
the number of edges: measured with one edge and with three, phase = phase_1 - (phase_3 - phase_1) / 2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.polynomial import Polynomial

from drivers.bringup.job import completed
from drivers.optics.calibration.job import RigJob
from drivers.optics.lut import TURN, PhaseLut
from drivers.optics.slm import Gray
from pib_lab.findings import Findings, judged, not_tested
from pib_lab.procedure import Count, Settings
from pib_lab.quantities import Array, Array64

_BANDS = (2, 4)
"""Bands with one edge and with three."""


class SlmLut(Settings):
    """points: gray levels measured, the first and the last among them; repeats: frames of each; degree: of the smooth
    curve through them; pixels: of the camera that are looked at; the others are limits."""

    points: Count = 65
    repeats: Count = 4
    degree: Count = 7
    pixels: Count = 4096
    least_range_rad: float = 6.2  # a turn, less the step to the next level
    most_residual_rad: float = 0.1  # rms of the points about the curve
    least_contrast: float = 3.0  # second component over the third: below, the light does not follow the panel


def run(job: RigJob, settings: SlmLut) -> Findings:
    """Measure the phase of each gray level; raises what frames raise."""
    s, rig = settings, job.rig
    levels = np.unique(np.linspace(0, rig.levels - 1, min(s.points, rig.levels)).round()).astype(np.uint16)
    if len(levels) <= s.degree:
        why = f"{len(levels)} levels do not fix a curve of degree {s.degree}; raise points or lower degree"
        return Findings((not_tested("phase range", why), completed(0, len(_BANDS), why)))
    keep, traces = rig.spread(s.pixels), []
    for bands in job.each(_BANDS, "bands"):
        order = np.repeat(levels, s.repeats)
        shots = rig.shots(lambda a, b: _banded(order[a:b], bands, rig.shape), len(order), job.cancel, keep)  # noqa: B023
        traces.append(trace(shots.counts.reshape(len(levels), s.repeats, -1).mean(axis=1)))
    if len(traces) < len(_BANDS):
        return Findings((completed(len(traces), len(_BANDS)),))
    one, three = traces
    measured = 1.5 * one.phase_rad - 0.5 * three.phase_rad
    curve = Polynomial.fit(levels, measured, s.degree)
    phases = curve(np.arange(rig.levels))
    measured, phases = measured - phases[0], phases - phases[0]
    residual = float(np.sqrt(np.mean((measured - phases[levels]) ** 2)))
    contrast = min(one.contrast, three.contrast)
    span, worst = float(phases[-1]), int((np.diff(phases) <= 0.0).sum())
    with rig.rig() as held:
        in_force = _apart(held.lut.phases_rad, phases)
    return Findings(
        (
            judged(
                "interference",
                contrast >= s.least_contrast,
                "" if contrast >= s.least_contrast else "the light does not follow the panel: look at the polarisation",
                {"contrast": contrast},
                {"least_contrast": s.least_contrast},
            ),
            judged(
                "phase range",
                span >= s.least_range_rad,
                "" if span >= s.least_range_rad else "less than a turn: raise the panel's voltage or its own table",
                {"range_rad": span, "rounding_rad": PhaseLut(phases).worst_error_rad()},
                {"least_rad": s.least_range_rad},
            ),
            judged(
                "curve",
                residual <= s.most_residual_rad and not worst,
                "" if residual <= s.most_residual_rad and not worst else "points scatter: more repeats, less flicker",
                {"residual_rad": residual, "falling_steps": worst},
                {"most_residual_rad": s.most_residual_rad},
            ),
            judged(
                "table in force", True, "lut = arrays.npz of this folder puts the new one in", {"off_rad": in_force}
            ),
            completed(len(traces), len(_BANDS)),
        ),
        {
            "phases_rad": phases,
            "levels": levels,
            "measured_rad": measured,
            "one_edge_rad": one.phase_rad - one.phase_rad[0],
            "three_edges_rad": three.phase_rad - three.phase_rad[0],
        },
    )


@dataclass(frozen=True, slots=True)
class Trace:
    """phase_rad (levels,), growing, from an origin of its own; contrast: second singular value over the third."""

    phase_rad: Array64
    contrast: float


def trace(counts: Array) -> Trace:
    """The phase that counts (levels, pixels) have in common: its sign is chosen so that it grows."""
    moved = np.asarray(counts - counts.mean(axis=0), np.float64)
    left, sizes, _ = np.linalg.svd(moved, full_matrices=False)
    points = left[:, :2] * sizes[:2]
    contrast = float(sizes[1] / sizes[2]) if sizes[2] > 0.0 else math.inf
    angle = np.unwrap(_angles(points / max(float(points.std()), np.finfo(np.float64).tiny)))
    return Trace(angle if angle[-1] >= angle[0] else -angle, contrast)


def _angles(points: Array64) -> Array64:
    """Angles of points (n, 2) about the centre of the ellipse that fits them best, once it is made round."""
    x, y = points.T
    quadratic = np.stack([x * x, x * y, y * y, x, y], axis=1)
    fit = np.linalg.lstsq(quadratic, np.ones(len(x)), rcond=None)[0]
    form = np.array([[fit[0], 0.5 * fit[1]], [0.5 * fit[1], fit[2]]])
    sizes, axes = np.linalg.eigh(form)
    if sizes.min() * sizes.max() <= 0.0:  # no ellipse: the arc is too short, or noise; as it is, then
        return np.asarray(np.arctan2(y, x))
    centre = -0.5 * np.linalg.solve(form, fit[3:])
    round_ = (points - centre) @ axes * np.sqrt(np.abs(sizes))
    return np.asarray(np.arctan2(round_[:, 1], round_[:, 0]))


def _banded(levels: Gray, bands: int, shape: tuple[int, int]) -> Gray:
    """Patterns (n, rows, columns): upright bands of equal width, every other one at the level, the rest at 0."""
    band = np.arange(shape[1]) * bands // shape[1]
    gray = np.zeros((len(levels), *shape), np.uint16)
    gray[:, :, band % 2 == 1] = levels[:, None, None]
    return gray


def _apart(first_rad: Array64, second_rad: Array64) -> float:
    """Largest difference of two tables on the circle, a common offset apart."""
    turned = np.exp(1j * (first_rad - second_rad))
    return float(np.abs(np.angle(turned / np.mean(turned))).max()) if abs(np.mean(turned)) > 0.0 else 0.5 * TURN
