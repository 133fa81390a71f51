"""A camera in electrons: from light on its pixels to counts. Equations: docs/mock-optics.md."""

from __future__ import annotations

import numpy as np

from drivers.mock.noise import gaussian
from drivers.mock.optics_profile import OpticsProfile
from drivers.optics.camera import Pixels
from pib_lab.quantities import Array, Mask

_FEW = 30.0
"""Mean electrons below which Poisson numbers are drawn one by one."""


class Detector:
    """hot, dead (rows, columns): pixels with a large dark current, and pixels that see nothing."""

    def __init__(self, profile: OpticsProfile, rng: np.random.Generator) -> None:
        p = self._profile = profile
        self.hot: Mask = rng.random(p.camera_shape) < p.camera_hot
        self.dead: Mask = (rng.random(p.camera_shape) < p.camera_dead) & ~self.hot
        self._dark_e_hz = np.where(self.hot, p.hot_e_hz, p.dark_e_hz).astype(np.float32)
        self._seeing = np.where(self.dead, 0.0, 1.0).astype(np.float32)

    def counts(self, intensity: Array, exposure_s: float, e_per_count: float, rng: np.random.Generator) -> Pixels:
        """Counts (batch, rows, columns) for relative intensities of the same shape, which are overwritten.

        electrons = QE photons_hz exposure intensity + dark exposure -> Poisson -> full well -> read noise -> converter.
        """
        p = self._profile
        electrons = intensity
        electrons *= np.float32(p.quantum_efficiency * p.photons_hz * exposure_s)
        if self.dead.any():
            electrons *= self._seeing
        electrons += self._dark_e_hz * np.float32(exposure_s)
        if p.shot_noise:
            electrons = shot_noise(electrons, rng)
        np.minimum(electrons, np.float32(p.full_well_e), out=electrons)
        if p.read_noise_e > 0.0:
            electrons += np.float32(p.read_noise_e) * gaussian(rng, electrons.shape)
        electrons *= np.float32(1.0 / e_per_count)
        electrons += np.float32(p.black_counts)
        np.rint(electrons, out=electrons)
        np.clip(electrons, 0.0, float(p.max_count), out=electrons)
        return electrons.astype(np.uint16)

    def saturated_level(self, e_per_count: float) -> int:
        """Counts from which a pixel may be clipped, by the converter or (less 4 read noises) by the full well."""
        p = self._profile
        full = p.black_counts + (p.full_well_e - 4.0 * p.read_noise_e) / e_per_count
        return max(1, min(p.max_count, int(full)))


def shot_noise(mean_e: Array, rng: np.random.Generator) -> Array:
    """Poisson numbers of the given means, same shape.

    From 30 electrons up, mean + sqrt(mean) z + (z^2 - 1) / 6 with normal z: mean exact, variance mean + 1/18, and the
    skewness of the Poisson law.
    """
    z = gaussian(rng, mean_e.shape)
    drawn = np.sqrt(mean_e)
    drawn *= z
    drawn += mean_e
    z *= z
    z -= np.float32(1.0)
    z *= np.float32(1.0 / 6.0)
    drawn += z
    few = np.flatnonzero(mean_e < _FEW)
    drawn.reshape(-1)[few] = rng.poisson(mean_e.reshape(-1)[few])
    return np.asarray(drawn)
