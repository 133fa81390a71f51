"""Device profiles: what a memristor chip is like, as numbers that each carry their source."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from enum import StrEnum
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from drivers.chip.limits import GATE_MAX_A, GATE_MAX_V, ElectricalLimits
from pib_lab.errors import ConfigurationError, LimitError, nearest

M = TypeVar("M", bound=BaseModel)

NonNegative = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Bits = Annotated[int, Field(ge=0, le=24)]


class MemristorProfile(BaseModel):
    """All numbers of the mock memristor chip; docs/mock-memristor.md gives the equations they enter.

    Conductances are in siemens, and named so in full, since `_s` is the suffix of seconds. 0 bits: not quantised.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows: Annotated[int, Field(ge=1)]
    columns: Annotated[int, Field(ge=2, multiple_of=2)]
    g_min_siemens: NonNegative
    g_max_siemens: Positive
    levels: Annotated[int, Field(ge=2)]
    v_read_v: Positive
    current_limit_a: Positive
    write_max_v: Positive
    forming_max_v: Positive
    gate_max_v: Annotated[float, Field(gt=0.0, le=GATE_MAX_V)]
    cell_power_max_w: Positive
    pulse_charge_max_c: Positive
    pulse_rate_max_hz: Positive
    iv_cubic: NonNegative
    segment_ohm: NonNegative

    programming: Literal["open-loop", "write-verify"]
    step_siemens: Positive
    soft_bound: Fraction
    asymmetry: Annotated[float, Field(gt=-1.0, lt=1.0)]
    step_device_to_device: NonNegative
    step_cycle_to_cycle: NonNegative
    bound_device_to_device: NonNegative
    max_pulses: Annotated[int, Field(ge=1)]
    tolerance_siemens: Positive
    verify_gain: Annotated[float, Field(gt=0.0, le=1.0)]
    verify_averages: Annotated[int, Field(ge=1)]

    relaxation_siemens: NonNegative
    relaxation_log_siemens: NonNegative
    retention_log_siemens: NonNegative
    retention_time_s: Positive
    disturb_per_read: NonNegative
    endurance_pulses: Annotated[float, Field(gt=0.0)]
    endurance_spread: NonNegative
    faulty_cells: Fraction

    read_noise: NonNegative
    telegraph_fraction: Fraction
    telegraph_spread: NonNegative
    telegraph_slow_hz: Positive
    telegraph_fast_hz: Positive

    dac_bits: Bits
    adc_bits: Bits
    range_min_a: Positive
    range_max_a: Positive
    settle_s: NonNegative
    conversion_s: NonNegative
    pulse_s: NonNegative
    verify_s: NonNegative

    @model_validator(mode="after")
    def _ordered(self) -> MemristorProfile:
        for low, high in (
            ("g_min_siemens", "g_max_siemens"),
            ("range_min_a", "range_max_a"),
            ("telegraph_slow_hz", "telegraph_fast_hz"),
        ):
            if not getattr(self, low) < getattr(self, high):
                raise ValueError(f"{low} must be below {high}")
        return self

    @property
    def span_siemens(self) -> float:
        """Width of the conductance window."""
        return self.g_max_siemens - self.g_min_siemens

    @property
    def level_siemens(self) -> float:
        """Distance of two programmable levels."""
        return self.span_siemens / (self.levels - 1)


class Use(StrEnum):
    """What a chip's lines are driven for; each use has limits of its own."""

    READING = "reading"
    WRITING = "writing"
    FORMING = "forming"
    GATES = "gates"


def electrical_limits(profile: MemristorProfile, use: Use) -> ElectricalLimits:
    """What the chip may be driven with for that use, all of it from the profile.

    |V| of rows and columns: to read v_read_v, to write write_max_v, to form forming_max_v; of a source on word lines
    (GATES) gate_max_v, with GATE_MAX_A. No use has a gate above gate_max_v. The power is a cell's, in a pulse: lines
    that are read carry the currents of many cells, and are bounded by voltage and current.
    """
    voltage_v = {
        Use.READING: profile.v_read_v,
        Use.WRITING: profile.write_max_v,
        Use.FORMING: profile.forming_max_v,
        Use.GATES: profile.gate_max_v,
    }[use]
    return ElectricalLimits(
        voltage_v,
        GATE_MAX_A if use is Use.GATES else profile.current_limit_a,
        power_w=math.inf if use is Use.READING else profile.cell_power_max_w,
        charge_c=profile.pulse_charge_max_c,
        pulse_rate_hz=profile.pulse_rate_max_hz,
        gate_v=profile.gate_max_v,
    )


class Entry(BaseModel):
    """One number and where it comes from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: float | int | str
    source: Annotated[str, Field(min_length=8)]


def profile_names() -> list[str]:
    """Names of the shipped profiles."""
    return sorted(item.name.removesuffix(".toml") for item in _folder().iterdir() if item.name.endswith(".toml"))


def load_profile(name: str, override: Mapping[str, Any] | None = None) -> MemristorProfile:
    """The profile `name` (shipped, or a path to a TOML file), with plain values of `override` put in place of its own.

    Raises ConfigurationError for an unknown profile, an unknown key, a number without a source or out of its domain.
    """
    return overridden(MemristorProfile, f"profile {name}", read_entries(name), override)


_LIMITS = (
    "v_read_v",
    "current_limit_a",
    "write_max_v",
    "forming_max_v",
    "gate_max_v",
    "cell_power_max_w",
    "pulse_charge_max_c",
    "pulse_rate_max_hz",
)
"""What a chip may be driven with: a protocol may lower these and never raise them."""


def load_real_profile(name: str, override: Mapping[str, Any] | None = None) -> MemristorProfile:
    """As `load_profile`, for a chip that is really there: the limits of its profile cannot be raised by a protocol.

    Raises ConfigurationError as `load_profile` does, LimitError for an override beyond a limit of the profile's file.
    """
    wanted, own = load_profile(name, override), load_profile(name)
    for key in _LIMITS:
        asked, limit = getattr(wanted, key), getattr(own, key)
        if asked > limit:
            raise LimitError(
                f"override.{key}: {asked:g} is beyond {limit:g}, the limit of profile {name}; a protocol can only "
                "lower it. If the chip stands more, write a profile file of its own that says from where this is known"
            )
    return wanted


def profile_sources(name: str) -> dict[str, str]:
    """The source of each number of a profile."""
    return {key: entry.source for key, entry in read_entries(name).items()}


def read_entries(name: str) -> dict[str, Entry]:
    """Keys of a profile file with value and source; raises ConfigurationError as `load_profile` does."""
    try:
        tree = tomllib.loads(_text(name))
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"profile {name}: not valid TOML: {error}") from None
    tree.pop("title", None)
    try:
        return {key: Entry.model_validate(entry) for key, entry in tree.items()}
    except ValidationError:
        bad = next(key for key, entry in tree.items() if not _is_entry(entry))
        raise ConfigurationError(
            f'profile {name}: {bad}: write {bad} = {{ value = ..., source = "where the number comes from" }}'
        ) from None


def overridden(model: type[M], what: str, entries: Mapping[str, Entry], override: Mapping[str, Any] | None) -> M:
    """The values of a profile's file with plain ones in the place of some, as `model`; `what` names it in errors.

    Raises ConfigurationError, a line for each key that is unknown or out of its domain.
    """
    values, known = {key: entry.value for key, entry in entries.items()}, list(model.model_fields)
    for key, value in (override or {}).items():
        if key not in known:
            raise ConfigurationError(f"override.{key}: unknown key{nearest(key, known)}")
        values[key] = value
    try:
        return model.model_validate(values)
    except ValidationError as error:
        lines = []
        for detail in error.errors():
            key = ".".join(map(str, detail["loc"])) or "profile"
            hint = nearest(key, known) if detail["type"] == "extra_forbidden" else ""
            lines.append(f"{what}: {key}: {detail['msg'].removeprefix('Value error, ')}{hint}")
        raise ConfigurationError("\n".join(lines)) from None


def _is_entry(entry: Any) -> bool:
    try:
        Entry.model_validate(entry)
    except ValidationError:
        return False
    return True


def _folder() -> Any:
    return files("data") / "profiles"


def _text(name: str) -> str:
    if name.endswith(".toml"):
        try:
            return Path(name).read_text(encoding="utf-8")
        except OSError as error:
            raise ConfigurationError(f"profile {name}: cannot be read: {error.strerror}") from None
        except UnicodeDecodeError as error:
            raise ConfigurationError(f"profile {name}: not valid TOML: {error}") from None
    if name not in profile_names():
        raise ConfigurationError(
            f"profile {name!r} does not exist{nearest(name, profile_names())} (known: {', '.join(profile_names())})"
        )
    return str((_folder() / f"{name}.toml").read_text(encoding="utf-8"))
