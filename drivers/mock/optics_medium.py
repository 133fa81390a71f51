"""What lies between panel and camera: a scattering medium that slowly changes, or free space.

Fields are relative: the mean of |field|^2 over the camera is 1 for a panel that sends 1.
"""

from __future__ import annotations

import math
from typing import Any, Protocol

import numpy as np
import scipy.fft

from drivers.mock.noise import gaussian
from drivers.mock.optics_profile import OpticsProfile
from drivers.mock.optics_slm import Field
from pib_lab.quantities import Array
from pib_lab.unit import State

GRAIN = 2000
"""The medium changes this many times in a correlation time; between, it stands still."""


class Medium(Protocol):
    """Carries light from the panel's pixels to the camera's."""

    def index_at(self, time_s: float) -> int:
        """Number of the state in which the medium is at that time."""

    def advance(self, index: int) -> None:
        """Go on to that state; a medium never goes back."""

    def fields(self, panel: Field) -> Field:
        """Fields (batch, camera rows, camera columns) from those on the panel (batch, n)."""

    def snapshot(self) -> dict[str, Any]:
        """What has changed since it was made."""

    def restore(self, state: State) -> None:
        """Go back to a snapshot."""


def make_medium(profile: OpticsProfile, now_s: float, seeds: np.random.SeedSequence) -> Medium:
    """The medium that a profile asks for, drawn from the seeds."""
    if profile.medium == "scattering":
        return Scatterer(profile, now_s, seeds)
    return FreeSpace(profile)


class Scatterer:
    """Transmission matrix with complex Gaussian entries; speckles wider than a pixel are interpolated from modes.

    Its field correlation falls as exp(-t / drift_s), the intensity's as exp(-2 t / drift_s).
    """

    def __init__(self, profile: OpticsProfile, now_s: float, seeds: np.random.SeedSequence) -> None:
        p = self._profile = profile
        made, drift = (np.random.Generator(np.random.SFC64(seed)) for seed in seeds.spawn(2))
        self._drift_rng = drift
        self._origin_s, self._index = now_s, 0
        pixels = math.prod(p.panel_shape)
        self._down, self._across = (_interpolation(size, p.speckle_px) for size in p.camera_shape)
        self._modes = (self._down.shape[1], self._across.shape[1])
        self._matrix = _complex_gaussian(made, (pixels, math.prod(self._modes)))
        inner = pixels if p.nonlinearity != "none" else 0
        self._first = _complex_gaussian(made, (inner, inner))

    def index_at(self, time_s: float) -> int:
        """Grains of time since the bench was made."""
        drift_s = self._profile.drift_s
        return math.floor((time_s - self._origin_s) * (GRAIN / drift_s) + 1e-6) if drift_s else 0

    def advance(self, index: int) -> None:
        """T <- rho T + sqrt(1 - rho^2) T', rho = exp(-grains / GRAIN), T' a new matrix of the same statistics."""
        if index <= self._index:
            return
        rho = math.exp((self._index - index) / GRAIN)
        new = _complex_gaussian(self._drift_rng, self._matrix.shape, math.sqrt(1.0 - rho * rho))
        parts = self._matrix.view(np.float32)  # real arithmetic: a scalar times complex numbers costs thrice as much
        parts *= np.float32(rho)
        self._matrix += new
        self._index = index

    def fields(self, panel: Field) -> Field:
        """Speckle fields (batch, rows, columns)."""
        modes = self._nonlinear(panel) @ self._matrix
        grid = modes.reshape(len(modes), *self._modes)
        if self._profile.speckle_px <= 1.0:
            return grid
        return np.asarray(self._down @ grid @ self._across.T)

    def _nonlinear(self, panel: Field) -> Field:
        """A thin layer behind a first scatterer, in which the phase or the loss follows the local intensity."""
        p = self._profile
        if p.nonlinearity == "none":
            return panel
        inner = panel @ self._first
        intensity = inner.real**2 + inner.imag**2
        if p.nonlinearity == "kerr":
            inner = inner * np.exp(1j * (p.nonlinear_strength * intensity)).astype(inner.dtype)
        else:
            inner = inner * np.exp(-0.5 * p.nonlinear_strength / (1.0 + intensity)).astype(intensity.dtype)
        return np.asarray(inner * (1.0 / math.sqrt(inner.shape[1])))

    def snapshot(self) -> dict[str, Any]:
        """Matrix and noise of the drift; nothing when the medium never changes."""
        if not self._profile.drift_s:
            return {}
        state = self._drift_rng.bit_generator.state["state"]["state"]
        return {
            "medium_matrix": self._matrix.view(np.float32).copy(),
            "medium_index": self._index,
            "medium_origin_s": self._origin_s,
            "medium_rng": np.array(state, np.uint64),
        }

    def restore(self, state: State) -> None:
        """Go back to a snapshot."""
        if not self._profile.drift_s:
            return
        self._matrix = np.array(state["medium_matrix"], np.float32).view(np.complex64)
        self._index = int(np.asarray(state["medium_index"]))
        self._origin_s = float(np.asarray(state["medium_origin_s"]))
        whole = self._drift_rng.bit_generator.state
        whole["state"]["state"] = np.array(state["medium_rng"], np.uint64)
        self._drift_rng.bit_generator.state = whole


class FreeSpace:
    """The panel in the middle of a dark field as large as the camera, carried on by FFT without loss.

    lens: its far field in the focal plane, zero order in the middle. free-space: the angular spectrum over
    `distance_m`, camera pixels as wide as the panel's, periodic at the edges.
    """

    def __init__(self, profile: OpticsProfile) -> None:
        self._profile = profile
        rows, columns = profile.camera_shape
        (inner_rows, inner_columns) = profile.panel_shape
        self._top, self._left = (rows - inner_rows) // 2, (columns - inner_columns) // 2
        down, across = (scipy.fft.fftfreq(size, profile.pitch_m) for size in (rows, columns))
        squares = profile.wavelength_m**-2.0 - down[:, None] ** 2 - across[None, :] ** 2
        self._transfer = np.exp(2j * math.pi * profile.distance_m * np.sqrt(np.maximum(squares, 0.0)))

    def index_at(self, time_s: float) -> int:
        """Free space has one state."""
        return 0

    def advance(self, index: int) -> None:
        """Free space does not change."""

    def fields(self, panel: Field) -> Field:
        """Diffracted fields (batch, rows, columns); their energy is the panel's times the number of camera pixels."""
        rows, columns = self._profile.camera_shape
        inner_rows, inner_columns = self._profile.panel_shape
        grid = np.zeros((len(panel), rows, columns), panel.dtype)
        below, right = self._top + inner_rows, self._left + inner_columns
        grid[:, self._top : below, self._left : right] = panel.reshape(-1, inner_rows, inner_columns)
        spectrum = scipy.fft.fft2(grid, norm="ortho")
        if self._profile.medium == "lens":
            out = scipy.fft.fftshift(spectrum, axes=(1, 2))
        else:
            out = scipy.fft.ifft2(spectrum * self._transfer.astype(panel.dtype), norm="ortho")
        return np.asarray(out * panel.real.dtype.type(math.sqrt(rows * columns)))

    def snapshot(self) -> dict[str, Any]:
        """Nothing changes."""
        return {}

    def restore(self, state: State) -> None:
        """Nothing changes."""


def _complex_gaussian(rng: np.random.Generator, shape: tuple[int, ...], rms: float = 1.0) -> Field:
    """Circular complex numbers, mean of |.|^2 = rms^2."""
    parts = gaussian(rng, (*shape[:-1], 2 * shape[-1]))
    parts *= np.float32(rms * math.sqrt(0.5))
    return parts.view(np.complex64)


def _interpolation(pixels: int, speckle_px: float) -> Array:
    """(pixels, modes) Gaussian weights from modes `speckle_px` apart, each row of unit norm.

    Intensities of pixels d apart then correlate as exp(-(d / speckle_px)^2).
    """
    if speckle_px <= 1.0:
        return np.eye(pixels, dtype=np.float32)
    modes = math.ceil(pixels / speckle_px) + 3
    places = (np.arange(modes) - 1.0) * speckle_px
    weights = np.exp(-(((np.arange(pixels)[:, None] - places[None, :]) / speckle_px) ** 2))
    return np.asarray(weights / np.linalg.norm(weights, axis=1, keepdims=True), np.float32)
