"""The protocol file: a TOML text becomes frozen, validated models. No hardware, no arrays, no torch here."""

from __future__ import annotations

import re
import tomllib
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_serializer,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails

from pib_lab.errors import ConfigurationError, nearest
from pib_lab.quantities import parse_quantity

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
Steps = Annotated[int, Field(ge=0)]


class Model(BaseModel):
    """Frozen; unknown keys are errors, for a misspelt limit must not be silently ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _named(value: Any) -> Any:
    """Let `objective = "renyi"` stand for `objective = { name = "renyi" }`."""
    return {"name": value} if isinstance(value, str) else value


class Named(BaseModel):
    """A plug-in by name, and its options as further keys; the plug-in checks them."""

    model_config = ConfigDict(frozen=True, extra="allow")

    name: str

    @property
    def options(self) -> dict[str, Any]:
        """All keys but the name."""
        return dict(self.model_extra or {})


Plugin = Annotated[Named, BeforeValidator(_named)]


class Dataset(Model):
    """What is learned. Fractions are of the samples that are not test samples; the test split is fixed per data set."""

    name: str
    validation: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.1
    resolution: Annotated[int, Field(ge=1)] | None = None  # images are averaged down to resolution x resolution
    limit: Annotated[int, Field(ge=1)] | None = None  # use only the first `limit` training samples (after shuffling)
    classes: Annotated[int, Field(ge=2)] | None = None  # leave out samples of all but the first `classes` labels


class Hardware(BaseModel):
    """One device: a driver by its registered name; further keys are the driver's own options, checked by the driver."""

    model_config = ConfigDict(frozen=True, extra="allow")

    driver: str

    @property
    def options(self) -> dict[str, Any]:
        """All keys but the driver's name."""
        return dict(self.model_extra or {})


class Conditioning(Model):
    """What stands between two units: range (offset and gain), rectifier, clip to the next unit's drive."""

    range: Literal["column", "unit"] = "column"
    headroom: Positive = 3.0  # standard deviations above the mean at which the next unit's drive is clipped
    momentum: Annotated[float, Field(gt=0.0, le=1.0)] = 0.05


class Rule(Model):
    """How a local gradient becomes programming pulses."""

    name: Literal["auto", "pullback", "shift", "spsa"] = "auto"  # auto: the first of them that the unit offers
    optimiser: Literal["adam", "momentum"] = "adam"
    learning_rate: Positive = 0.01  # per step, as a fraction of the parameter's range
    momentum: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.9
    second_momentum: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.99
    deadband: Annotated[float, Field(ge=0.0)] = 1.0  # in programming steps: smaller changes wait in the accumulator
    centring: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0  # pull of a pair's common mode to mid-window, per step
    ridge: Annotated[float, Field(ge=0.0, allow_inf_nan=False)] = 0.0  # of digital weights: see pib_lab.ridge, bits
    perturbation: Annotated[float, Field(gt=0.0, lt=0.5)] = 0.05  # of spsa, as a fraction of the parameter's range
    pairs: Annotated[int, Field(ge=1, le=8)] = 1  # of spsa: pairs of measurements a step, each with signs of its own
    block: Annotated[int, Field(ge=1)] = 1  # of spsa and of basis "block": so many neighbours each way move together
    basis: Literal["pixel", "block", "hadamard"] = "pixel"  # of shift
    modes: Annotated[int, Field(ge=1)] = 16  # of shift: patterns of the basis that are measured a step
    samples: Steps = 0  # of shift: random samples of the batch that are measured at each shift; 0: all
    scatter: bool | None = None  # of shift: patterns of its own for each sample; default: where the unit offers it


class Unit(Model):
    """One layer: a unit of a device, its shape, and its own local objective."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")]
    inputs: Annotated[int, Field(ge=1)]
    outputs: Annotated[int, Field(ge=1)]
    objective: Plugin
    device: str | None = None  # a name under [hardware]; may be left out when there is only one
    after: str | None = None  # the unit whose response drives this one; default: the unit above, first: the data set
    rectify: bool | None = None  # hidden units always are; default for the last: False
    train: bool = True
    init_scale: Positive = 0.15  # standard deviation of initial differential weights, as a fraction of full scale
    learning_rate_scale: Positive = 1.0
    options: dict[str, Any] = Field(default_factory=dict)
    conditioning: Conditioning | None = None  # keys in which this unit differs from the protocol's
    rule: Rule | None = None

    @field_serializer("conditioning", "rule")
    def _only_differences(self, value: Model | None) -> dict[str, Any] | None:
        return None if value is None else value.model_dump(exclude_unset=True)


class Schedule(Model):
    """How long, how often. Steps count batches; 0 means never (or, for `evaluate_every`, once an epoch)."""

    epochs: Annotated[int, Field(ge=1)]
    batch: Annotated[int, Field(ge=2)]
    decay: Literal["cosine", "constant"] = "cosine"
    floor: Fraction = 0.0  # of the learning rate: where the cosine ends; above 0 it goes on following a drifting device
    delay: Literal[0, 1] = 0  # batches: with 1, the next batch is measured while this one's update is worked out
    entropies_every: Steps = 10
    maps_every: Steps = 0
    evaluate_every: Steps = 0
    checkpoint_every: Steps = 0  # 0: once an epoch
    evaluation_batch: Annotated[int, Field(ge=1)] = 1000


class Limits(Model):
    """Beyond the device's own limits, which always hold as well. Quantities are texts with units: "200 mV", "1 mA"."""

    drive: str | None = None
    current: str | None = None
    pulses: Annotated[int, Field(ge=0)] | None = None  # the run stops before this wear budget is overdrawn
    lifetime_pulses: Annotated[int, Field(ge=1)] | None = None  # of any cell, over all runs on a real chip
    saturated: Fraction = 0.25  # a batch with a larger fraction of clipped readings stops the run

    @field_validator("drive", "current", mode="before")
    @classmethod
    def _has_unit(cls, value: Any) -> Any:
        if value is not None and not isinstance(value, str):
            raise ValueError(f'{value!r} has no unit: write a text such as "200 mV" or "1 mA"')
        return value

    @field_validator("current")
    @classmethod
    def _is_current(cls, value: str | None) -> str | None:
        try:
            positive = value is None or parse_quantity(value, "A") > 0.0
        except ConfigurationError as error:
            raise ValueError(str(error)) from None
        if not positive:
            raise ValueError(f"{value!r} is not above zero; a limit is a magnitude")
        return value


class Fault(Model):
    """Cells struck before the given step."""

    step: Annotated[int, Field(ge=0)]
    fraction: Fraction
    unit: str = "*"
    kind: Literal["low", "high", "between", "open", "mixed"] = "mixed"
    cluster: Literal["none", "row", "column"] = "none"


class Scan(Model):
    """When cells are tested for faults, and whether healthy partners then take over the weight of stuck ones."""

    at_start: bool = False
    after_faults: bool = True
    every: Steps = 0
    compensate: bool = True
    refit: bool = True  # after faults, with compensate: also move signals to other lines and fit all healthy cells
    reads: Annotated[int, Field(ge=1)] = 4


class Health(Model):
    """How often units that can tell are asked whether they have drifted, and what is done once they have."""

    every: Steps = 0
    min_correlation: Fraction = 0.5  # of optical units: of the intensities of a reference pattern
    action: Literal["rezero", "pause"] = "rezero"


class Experiment(Model):
    """A whole protocol."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")]
    title: str = ""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 1
    dataset: Dataset
    hardware: Annotated[dict[str, Hardware], Field(min_length=1)]
    units: Annotated[tuple[Unit, ...], Field(min_length=1)]
    conditioning: Conditioning = Conditioning()
    rule: Rule = Rule()
    schedule: Schedule
    limits: Limits = Limits()
    faults: tuple[Fault, ...] = ()
    scan: Scan = Scan()
    health: Health = Health()

    @model_validator(mode="after")
    def _chains(self) -> Experiment:
        names = [unit.name for unit in self.units]
        for index, unit in enumerate(self.units):
            where = f"units.{index} ({unit.name})"
            if names.count(unit.name) > 1:
                raise ValueError(f"{where}: the name is used twice; give each unit a name of its own")
            if unit.device is None and len(self.hardware) > 1:
                raise ValueError(f"{where}: say which device, one of {', '.join(self.hardware)}")
            if unit.device is not None and unit.device not in self.hardware:
                hint = nearest(unit.device, self.hardware)
                raise ValueError(f"{where}: device {unit.device!r} is not in [hardware]{hint}")
            if unit.after is not None and unit.after not in names[:index]:
                raise ValueError(
                    f"{where}: after = {unit.after!r} names no earlier unit{nearest(unit.after, names[:index])}"
                )
            if unit.rectify is False and index < len(self.units) - 1:
                raise ValueError(
                    f"{where}.rectify: a hidden unit's signal drives the next unit, from nothing to full drive, so it "
                    "must be rectified; leave rectify out"
                )
            source = self.source_of(index)
            if source is not None and self.units[source].outputs != unit.inputs:
                given = self.units[source].outputs
                raise ValueError(f"{where}: takes {unit.inputs} inputs, but {names[source]!r} gives {given} outputs")
        used = [self.source_of(index) for index in range(len(names))]
        if sorted(source for source in used if source is not None) != list(range(len(names) - 1)):
            raise ValueError("units: each unit but the last must drive exactly one later unit, in one whole chain")
        for index, fault in enumerate(self.faults):
            if fault.unit != "*" and fault.unit not in names:
                raise ValueError(f"faults.{index}: unit {fault.unit!r} does not exist{nearest(fault.unit, names)}")
        return self

    def source_of(self, index: int) -> int | None:
        """Index of the unit that drives unit `index`; None for the data set."""
        after = self.units[index].after
        if after is None:
            return index - 1 if index else None
        return next(i for i, unit in enumerate(self.units) if unit.name == after)

    def rule_of(self, unit: Unit) -> Rule:
        """[rule], with what [units.rule] of `unit` says otherwise."""
        return self.rule if unit.rule is None else self.rule.model_copy(update=_set_in(unit.rule))

    def conditioning_of(self, unit: Unit) -> Conditioning:
        """[conditioning], with what [units.conditioning] of `unit` says otherwise."""
        own = unit.conditioning
        return self.conditioning if own is None else self.conditioning.model_copy(update=_set_in(own))

    def device_of(self, unit: Unit) -> str:
        """Name of the device that serves `unit`."""
        return unit.device if unit.device is not None else next(iter(self.hardware))


def _set_in(table: Model) -> dict[str, Any]:
    """The keys that a table really has."""
    return {key: getattr(table, key) for key in table.model_fields_set}


def check_options(given: dict[str, Any], known: Any, where: str) -> None:
    """Raise ConfigurationError for the first key in `given` that is not `known`, with the nearest right name."""
    for key in given:
        if key not in known:
            raise ConfigurationError(
                f"{where}.{key}: unknown key{nearest(key, known)} (known: {', '.join(sorted(known)) or 'none'})"
            )


def parse_experiment(text: str) -> Experiment:
    """Read a protocol from TOML.

    Raises ConfigurationError: one message, a line per mistake, each with the key's path and the nearest right name.
    """
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"the protocol is not valid TOML: {error}") from None
    try:
        return Experiment.model_validate(tree)
    except ValidationError as error:
        lines = [_explain(detail) for detail in error.errors()]
        raise ConfigurationError("\n".join(dict.fromkeys(lines))) from None


def _explain(detail: ErrorDetails) -> str:
    path = [part for part in detail["loc"] if not (isinstance(part, str) and part.startswith("function-"))]
    where = ".".join(str(part) for part in path)
    if detail["type"] == "extra_forbidden":
        known = _known_keys(path[:-1])
        return f"{where}: unknown key{nearest(str(path[-1]), known)} (known: {', '.join(known)})"
    message = detail["msg"].removeprefix("Value error, ")
    if detail["type"] == "missing":
        message = "is missing"
    elif detail["type"] in {"model_type", "model_attributes_type", "dict_type"}:
        message = f"must be a table of keys, not {detail['input']!r}"
    elif detail["type"] == "tuple_type":
        message = f"must be a list of tables, not {detail['input']!r}"
    elif detail["type"] == "literal_error":
        known = re.findall("'([^']*)'", str(detail["ctx"]["expected"]))
        message = f"{detail['input']!r} is none of {', '.join(known)}{nearest(str(detail['input']), known)}"
    elif detail["type"] != "value_error":
        message = f"{message[0].lower()}{message[1:]} (given: {detail['input']!r})"
    return f"{where}: {message}" if where else message


def _known_keys(path: list[int | str]) -> list[str]:
    """Fields of the model that the path leads to."""
    tables: dict[str, type[BaseModel]] = {
        "dataset": Dataset,
        "units": Unit,
        "conditioning": Conditioning,
        "rule": Rule,
        "schedule": Schedule,
        "limits": Limits,
        "faults": Fault,
        "scan": Scan,
        "health": Health,
    }
    names = [part for part in path if isinstance(part, str)]
    model = tables.get(names[-1], Experiment) if names else Experiment
    return list(model.model_fields)
