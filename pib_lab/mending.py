"""After cells have failed: what the healthy ones of a unit can still do together. Pure arithmetic on what was measured.

Two things are free to choose while the weights of a linear unit are confined to what its healthy cells can reach:

- which of the interchangeable drive lines carries which signal (`assign_lines`): a signal that needs a certain weight
  is moved off a line whose cells cannot hold it. Permuting lines so that stuck cells sit where they do least harm:
  Liu et al., "Rescuing memristor-based neuromorphic design with high defects", DAC (2017); assignment: Kuhn (1955).
- the reachable weights (`fit_weights`): signals are correlated, so that sound weights can make up for a neighbour's.

Neither looks at targets nor at another unit: only at the unit's own drive, own weights and own faults.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment

from pib_lab.quantities import Array, Counts

_TRUST = 0.01  # share of the mean variance that is added to each signal's: a batch does not tell all directions apart
_ROUNDS = 150


def assign_lines(wanted: Array, low: Array, high: Array, variance: Array) -> Counts:
    """The signal that each line shall carry, (n_in,): the permutation of least total mismatch.

    The mismatch of signal i on line j is variance_i sum_k d_ijk^2, with d_ijk how far the wanted weight (i, k) lies
    outside of what line j can reach at column k, low_jk to high_jk. All weights (n_in, n_out), variance (n_in,).
    """
    mismatch = np.empty((len(low), len(wanted)), np.float64)  # (lines, signals)
    for line in range(len(low)):
        outside = wanted - np.clip(wanted, low[line], high[line])
        mismatch[line] = variance * np.einsum("ik,ik->i", outside, outside, dtype=np.float64)
    return np.asarray(linear_sum_assignment(mismatch)[1], np.int32)


def fit_weights(wanted: Array, low: Array, high: Array, drive: Array) -> Array:
    """Weights W (n_in, n_out) within low..high that do most nearly what `wanted` does to `drive` (n, n_in).

    Least tr (W - W*)^T (C + trust) (W - W*) with C the covariance of the drive: offsets are left to the conditioning.
    Solved by accelerated projected gradients (Beck and Teboulle, SIAM J. Imaging Sci. 2, 2009).
    """
    centred = drive - drive.mean(axis=0)
    covariance = centred.T @ centred / np.float32(max(len(drive), 1))
    mean_variance = float(covariance.diagonal().mean())
    start: Array = np.clip(wanted, low, high)
    if mean_variance <= 0.0:
        return start
    covariance.flat[:: len(covariance) + 1] += np.float32(_TRUST * mean_variance)
    rate = np.float32(1.0 / np.linalg.eigvalsh(covariance)[-1])
    found, ahead, speed = start, start, 1.0
    for _ in range(_ROUNDS):
        step = np.clip(ahead - rate * (covariance @ (ahead - wanted)), low, high)
        faster = 0.5 * (1.0 + np.sqrt(1.0 + 4.0 * speed * speed))
        ahead = step + np.float32((speed - 1.0) / faster) * (step - found)
        found, speed = step, faster
    return np.asarray(found, np.float32)
