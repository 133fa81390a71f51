"""The transmission matrix by phase stepping, one half of the panel as the reference. Diagnostic: nothing trains on it.

With the field R of the reference half and S_m of Hadamard mode m on the other, stepped by 0, 1, 2, 3 quarter turns,
conj(R) S_m = ((I_0 - I_2) - i (I_1 - I_3)) / 4. Hadamard modes are orthogonal, so conj(R) t of a macro pixel follows.
|S|^2 = |conj(R) S|^2 / |R|^2, whose factor comes from a straight line through the mean of the four frames of each mode:
mean = |R|^2 + |conj(R) S|^2 / |R|^2. (Popoff et al., Phys. Rev. Lett. 104, 100601, 2010, use the same reference.)
Fidelity: correlation, over pixels, of the intensities predicted for random patterns with those then measured.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.linalg

from drivers.bringup.job import completed
from drivers.optics.calibration.access import MacroPanel
from drivers.optics.calibration.job import RigJob
from drivers.optics.reference import correlation
from drivers.optics.slm import Gray
from pib_lab.findings import Findings, judged
from pib_lab.procedure import Count, Fraction, Settings
from pib_lab.quantities import Array64

_SEED = 19
_BLOCK = 32
_STEPS = 4
Complex = npt.NDArray[np.complex128]


class TransmissionMatrix(Settings):
    """pixels: of the camera that are looked at; tests: random patterns that are predicted; least_fidelity: of them."""

    pixels: Count = 1024
    tests: Count = 16
    least_fidelity: Fraction = 0.5


def run(job: RigJob, settings: TransmissionMatrix) -> Findings:
    """Measure and test it; raises what frames raise."""
    s, rig = settings, job.rig
    panel, keep = MacroPanel(rig), rig.spread(s.pixels)
    rows, columns = panel.grid
    signal = (rows, columns // 2)
    inputs = math.prod(signal)
    order = 1 << max(inputs - 1, 1).bit_length()
    modes = scipy.linalg.hadamard(order)[:, :inputs].astype(np.float64)

    def patterns(phase_rad: Array64) -> Gray:
        whole = np.zeros((len(phase_rad), rows, columns), np.float32)
        whole[:, :, : signal[1]] = phase_rad.reshape(-1, *signal)
        return panel.phases(whole)

    quarter = 0.5 * math.pi * np.arange(_STEPS)
    products, means = [], []
    starts = list(range(0, order, _BLOCK))
    for start in job.each(starts, "modes from"):
        block = np.where(modes[start : start + _BLOCK] > 0.0, 0.0, math.pi)
        stepped = (block[:, None, :] + quarter[None, :, None]).reshape(-1, inputs)
        counts = rig.shots(lambda a, b: patterns(stepped[a:b]), len(stepped), job.cancel, keep).counts  # noqa: B023
        four = counts.reshape(len(block), _STEPS, -1).astype(np.float64)
        products.append(0.25 * ((four[:, 0] - four[:, 2]) - 1j * (four[:, 1] - four[:, 3])))
        means.append(four.mean(axis=1))
    if len(products) < len(starts):
        return Findings((completed(len(products), len(starts)),))
    product, mean = np.concatenate(products), np.concatenate(means)
    matrix = modes.T @ product / order
    offset, factor = _background(product, mean)
    tried = np.random.Generator(np.random.PCG64(_SEED)).uniform(0.0, 2.0 * math.pi, (s.tests, inputs))
    shots = rig.shots(lambda a, b: patterns(tried[a:b]), s.tests, job.cancel, keep)
    predicted = predict(matrix, offset, factor, tried)
    sound = ~shots.saturated.any(axis=0)
    fidelity = np.array([correlation(a[sound], b[sound]) for a, b in zip(predicted, shots.counts, strict=True)])
    good = float(fidelity.mean()) >= s.least_fidelity
    sizes = np.linalg.svd(matrix, compute_uv=False)
    return Findings(
        (
            judged(
                "fidelity",
                good,
                "" if good else "the light is not as the matrix says: table, crosstalk, drift, or a nonlinear medium",
                {"mean": float(fidelity.mean()), "worst": float(fidelity.min()), "frames": float(_STEPS * order)},
                {"least_mean": s.least_fidelity},
            ),
            completed(len(products), len(starts)),
        ),
        {
            "matrix_real": matrix.real.astype(np.float32),
            "matrix_imag": matrix.imag.astype(np.float32),
            "singular_values": sizes,
            "fidelity": fidelity,
            "predicted_counts": predicted[0],
            "measured_counts": shots.counts[0],
        },
    )


def predict(matrix: Complex, offset: Array64, factor: Array64, phase_rad: Array64) -> Array64:
    """Counts (n, pixels) for phases (n, inputs): offset + 2 Re(f) + factor |f|^2, f = exp(i phase) @ matrix."""
    field = np.exp(1j * phase_rad) @ matrix
    return np.asarray(offset + 2.0 * field.real + factor * np.abs(field) ** 2)


def _background(product: npt.NDArray[Any], mean: Array64) -> tuple[Array64, Array64]:
    """|R|^2 (dark counts included) and 1 / |R|^2 of each pixel: a line through mean against |product|^2."""
    power = np.abs(product) ** 2
    moved = power - power.mean(axis=0)
    spread = np.maximum((moved**2).sum(axis=0), np.finfo(np.float64).tiny)
    factor = np.maximum((moved * mean).sum(axis=0) / spread, 0.0)
    return np.asarray(mean.mean(axis=0) - factor * power.mean(axis=0)), factor
