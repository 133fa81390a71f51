"""A penalty for weights in memory behind something that drifts: of what drives lose, how much reaches a response."""

from __future__ import annotations

import numpy as np

from pib_lab.quantities import Array


def ridge(weights: Array, drive: Array, values: Array) -> tuple[float, Array]:
    """(R, dR/dW) of values = drive @ W; weights (n_in, n_out), drive (batch, n_in), values (batch, n_out).

    R = mean_k R_k, R_k = s^2 |w_k|^2 / var(v_k), s^2 the mean variance of a drive: the variance that response k would
    have if all drives varied as much as they do, but each by itself, over the variance it has. Where a share e of the
    variance of random features has become that of other ones, a response has lost e of its own and has e R_k of noise.
    dR/dw_k = (2 / n_out) (s^2 w_k - R_k C w_k) / var(v_k), C the covariance of the drives, both over the batch.
    """
    spread = np.float32(drive.var(axis=0, dtype=np.float64).mean())
    centred = values - values.mean(axis=0)
    variance = np.square(centred).mean(axis=0)
    # A dead response has no variance to compare with; its weights are not to be driven by rounding.
    variance = np.maximum(variance, np.float32(max(1e-6 * float(variance.max()), float(np.finfo(np.float32).tiny))))
    each = spread * np.square(weights).sum(axis=0) / variance
    follows = (drive - drive.mean(axis=0)).T @ centred / np.float32(len(drive))
    gradient = np.float32(2.0 / weights.shape[1]) * (spread * weights - each * follows) / variance
    return float(each.mean()), np.asarray(gradient, np.float32)
