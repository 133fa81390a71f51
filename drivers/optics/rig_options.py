"""The options of an optical rig, as its table in the protocol has them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from drivers.optics.encoder import EncoderKind
from pib_lab.errors import ConfigurationError, nearest

Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
Size = Annotated[int, Field(ge=1, le=8192)]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Driven(BaseModel):
    """A driver by its name; further keys are the driver's own."""

    model_config = ConfigDict(frozen=True, extra="allow")

    driver: str

    @property
    def options(self) -> dict[str, Any]:
        """All keys but the driver's name."""
        return dict(self.model_extra or {})


def _named(value: Any) -> Any:
    return {"driver": value} if isinstance(value, str) else value


Part = Annotated[Driven, BeforeValidator(_named)]


class EncoderOptions(_Table):
    """How a drive becomes phases: kind, grid of macro pixels, phase of a full drive, seed of projections.

    wrap: whether drive and mask together may go beyond 2 pi, where the panel falls back to 0; projections always may.
    """

    kind: EncoderKind = "macro-pixels"
    grid: tuple[Size, Size] = (16, 16)
    depth_rad: Annotated[float, Field(gt=0.0, le=2.0 * math.pi)] = 2.0
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 1
    wrap: bool = False


class RegionOptions(_Table):
    """The boxes on the camera's frame: size in pixels; how many is the unit's number of outputs."""

    size: Size = 2


class RigOptions(_Table):
    """One rig. The parts are drivers of their own; what is left out has no hidden value that could hurt a real rig.

    settle_s: from handing a pattern over until it counts as settled (default: what the panel says; measure it by light
    with `settle-time`). hold_s: how long a pattern stays after the exposure was to end. attempts: per frame. timeout_s:
    wait for a frame beyond its exposure. lut: file of phases of each gray level (`slm-lut` writes one), default linear
    over one turn. dark: file of a `camera-dark` calibration. background: whether its dark frame is subtracted.
    """

    slm: Part
    camera: Part
    shutter: Part
    encoder: EncoderOptions = EncoderOptions()
    regions: RegionOptions = RegionOptions()
    exposure_s: Positive
    exposure_max_s: Positive = 1.0
    gain_db: NonNegative = 0.0
    roi: tuple[int, int, int, int] | None = None  # top, left, height, width
    settle_s: Positive | None = None
    hold_s: NonNegative = 0.0
    attempts: Annotated[int, Field(ge=1, le=100)] = 3
    timeout_s: Positive = 2.0
    lut: str | None = None
    dark: str | None = None
    background: bool = True


def read_options(options: Mapping[str, Any], where: str) -> RigOptions:
    """Raises ConfigurationError, a line for each mistake, with the key's path."""
    try:
        read = RigOptions.model_validate(dict(options))
    except ValidationError as error:
        lines = []
        for detail in error.errors():
            path = [str(part) for part in detail["loc"] if not str(part).startswith("function-")]
            known = _known(path[:-1])
            hint = f"unknown key{nearest(path[-1], known)}" if detail["type"] == "extra_forbidden" else detail["msg"]
            lines.append(f"{where}.{'.'.join(path)}: {'is missing' if detail['type'] == 'missing' else hint}")
        raise ConfigurationError("\n".join(dict.fromkeys(lines))) from None
    if read.exposure_s > read.exposure_max_s:
        raise ConfigurationError(
            f"{where}.exposure_s: {read.exposure_s:g} s is beyond exposure_max_s, {read.exposure_max_s:g} s"
        )
    return read


def _known(path: list[str]) -> list[str]:
    tables: dict[str, type[BaseModel]] = {"encoder": EncoderOptions, "regions": RegionOptions}
    return list((tables.get(path[0], RigOptions) if path else RigOptions).model_fields)
