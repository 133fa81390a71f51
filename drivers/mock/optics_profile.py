"""Profiles of the simulated optical bench: panel, light, medium and camera, as numbers that each carry their source."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from drivers.chip.profiles import overridden, read_entries
from pib_lab.errors import ConfigurationError, nearest

NonNegative = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Pixels = Annotated[int, Field(ge=1, le=8192)]


class OpticsProfile(BaseModel):
    """All numbers of the simulated bench; docs/mock-optics.md gives the equations they enter. 0 switches an effect off.

    Units are in the names; `_e` is electrons, `_e_hz` electrons a second, `_px` camera pixels.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    panel_rows: Pixels
    panel_columns: Pixels
    panel_levels: Annotated[int, Field(ge=2, le=65536)]
    phase_range_rad: Positive
    lut_gamma: Positive
    crosstalk: Fraction
    fill_factor: Annotated[float, Field(gt=0.0, le=1.0)]
    panel_dead: Fraction
    flicker_rad: NonNegative
    flicker_hz: Positive
    response_s: NonNegative
    latency_s: NonNegative
    pitch_m: Positive

    wavelength_m: Positive
    beam_radius: NonNegative
    photons_hz: Positive
    power_noise: NonNegative
    warmup_fraction: Annotated[float, Field(gt=-1.0, le=1.0)]
    warmup_s: Positive

    medium: Literal["scattering", "lens", "free-space"]
    speckle_px: NonNegative
    drift_s: NonNegative
    nonlinearity: Literal["none", "kerr", "saturable"]
    nonlinear_strength: NonNegative
    distance_m: NonNegative

    camera_rows: Pixels
    camera_columns: Pixels
    quantum_efficiency: Annotated[float, Field(gt=0.0, le=1.0)]
    shot_noise: bool
    full_well_e: Positive
    read_noise_e: NonNegative
    dark_e_hz: NonNegative
    camera_hot: Fraction
    hot_e_hz: NonNegative
    camera_dead: Fraction
    e_per_count: Positive
    black_counts: NonNegative
    camera_bits: Annotated[int, Field(ge=1, le=16)]
    exposure_s: Positive
    exposure_min_s: Positive
    exposure_max_s: Positive
    exposure_step_s: Positive
    gain_max_db: NonNegative
    frame_s: Positive

    @model_validator(mode="after")
    def _consistent(self) -> OpticsProfile:
        if not self.exposure_min_s <= self.exposure_s <= self.exposure_max_s:
            raise ValueError("exposure_s must lie within exposure_min_s and exposure_max_s")
        if self.black_counts >= self.max_count:
            raise ValueError("black_counts must be below the camera's largest count")
        if self.medium != "scattering":
            if self.drift_s or self.speckle_px > 1.0 or self.nonlinearity != "none":
                raise ValueError("drift_s, speckle_px and nonlinearity need medium = scattering; switch them off")
            if self.camera_rows < self.panel_rows or self.camera_columns < self.panel_columns:
                raise ValueError("camera_rows and camera_columns must be at least the panel's to hold its diffraction")
        return self

    @property
    def panel_shape(self) -> tuple[int, int]:
        """Rows and columns of the panel."""
        return self.panel_rows, self.panel_columns

    @property
    def camera_shape(self) -> tuple[int, int]:
        """Rows and columns of the sensor."""
        return self.camera_rows, self.camera_columns

    @property
    def max_count(self) -> int:
        """Largest count of the camera's converter."""
        return int(2**self.camera_bits) - 1


def optics_profile_names() -> list[str]:
    """Names of the shipped profiles."""
    return sorted(item.name.removesuffix(".toml") for item in _folder().iterdir() if item.name.endswith(".toml"))


def load_optics_profile(name: str, override: Mapping[str, Any] | None = None) -> OpticsProfile:
    """The profile `name` (shipped, or a path to a TOML file), with plain values of `override` put in place of its own.

    Raises ConfigurationError for an unknown profile, an unknown key, a number without a source or out of its domain.
    """
    return overridden(OpticsProfile, f"optical profile {name}", read_entries(_path(name)), override)


def optics_profile_sources(name: str) -> dict[str, str]:
    """The source of each number of a profile. Raises ConfigurationError as `load_optics_profile` does."""
    return {key: entry.source for key, entry in read_entries(_path(name)).items()}


def _folder() -> Path:
    return Path(str(files("data") / "profiles" / "optics"))


def _path(name: str) -> str:
    if name.endswith(".toml"):
        return name
    names = optics_profile_names()
    if name not in names:
        raise ConfigurationError(
            f"optical profile {name!r} does not exist{nearest(name, names)} (known: {', '.join(names)})"
        )
    return str(_folder() / f"{name}.toml")
