"""The protocol of a bring-up procedure: which one, its settings, the part of the chip, the device."""

from __future__ import annotations

import re
import tomllib
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from pib_lab.errors import ConfigurationError, nearest
from pib_lab.experiment import Hardware, Model, Named
from pib_lab.quantities import parse_quantity

_SUFFIX = re.compile(r"_(v|a|s|siemens|ohm|k)$")


def _in(unit: str) -> BeforeValidator:
    def read(value: Any) -> float:
        try:
            return parse_quantity(value, unit)
        except ConfigurationError as error:
            raise ValueError(str(error)) from None

    return BeforeValidator(read)


_Finite = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
Volts = Annotated[_Finite, _in("V")]
Amperes = Annotated[_Finite, _in("A")]
Seconds = Annotated[_Finite, _in("s")]
Siemens = Annotated[_Finite, _in("S")]
Ohms = Annotated[_Finite, _in("ohm")]
Kelvin = Annotated[_Finite, _in("K")]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Count = Annotated[int, Field(ge=1)]


class Settings(BaseModel):
    """Base of the settings of procedures: frozen, unknown keys refused, quantities as texts with units.

    A field `read_v` is written `read = "0.2 V"` in the protocol: the text carries the unit there. All are magnitudes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=lambda name: _SUFFIX.sub("", name))


class ArraySize(Model):
    """The part of the chip that is brought up: lines from 0, cells at their crossings."""

    rows: Count
    columns: Annotated[int, Field(ge=2, multiple_of=2)]


class Procedure(Model):
    """A protocol that brings a chip up, or calibrates a rig, instead of training a network. array: of chips only."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")]
    title: str = ""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 1
    procedure: Named
    array: ArraySize | None = None
    hardware: Annotated[dict[str, Hardware], Field(min_length=1, max_length=1)]


def is_procedure(text: str) -> bool:
    """Whether a protocol's text is that of a bring-up procedure; texts that are no TOML are not."""
    try:
        return "procedure" in tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return False


def parse_procedure(text: str) -> Procedure:
    """Read a protocol with a [procedure] table from TOML.

    Raises ConfigurationError: a line per mistake, each with the key's path and the nearest right name.
    """
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"the protocol is not valid TOML: {error}") from None
    return validated(Procedure, tree, "")


M = TypeVar("M", bound=BaseModel)


def validated(model: type[M], tree: Any, where: str) -> M:
    """`tree` as a `model`. Raises ConfigurationError whose lines begin with the path `where`."""
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        raise ConfigurationError("\n".join(_explain(model, where, detail) for detail in error.errors())) from None


def _explain(model: type[BaseModel], where: str, detail: Any) -> str:
    path = ".".join(str(part) for part in ((where,) if where else ()) + tuple(detail["loc"]))
    message = detail["msg"].removeprefix("Value error, ")
    if detail["type"] == "extra_forbidden":
        known = [field.alias or name for name, field in model.model_fields.items()]
        if len(detail["loc"]) > 1:  # in a table within, whose keys are not at hand here
            return f"{path}: unknown key"
        return f"{path}: unknown key{nearest(str(detail['loc'][-1]), known)} (known: {', '.join(known)})"
    if detail["type"] == "missing":
        return f"{path}: is missing"
    if detail["type"] == "value_error":
        return f"{path}: {message}"
    return f"{path}: {message[0].lower()}{message[1:]} (given: {detail['input']!r})"
