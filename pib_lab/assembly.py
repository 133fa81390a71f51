"""From a protocol to devices, units and learners. Connects to nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from pib_lab.capabilities import Digital, LimitsCurrent
from pib_lab.device import Clock, Device, DeviceContext, Guard, Traffic, UnitRequest
from pib_lab.errors import ConfigurationError, LimitError
from pib_lab.experiment import Experiment
from pib_lab.learner import LocalLearner
from pib_lab.lessons import learner_config
from pib_lab.objectives import make_objective
from pib_lab.quantities import parse_quantity
from pib_lab.registry import Factory
from pib_lab.unit import PhysicalUnit


def part_seed(seed: int, *names: str) -> int:
    """A seed of its own for each named part of the run."""
    words = [seed, *(byte for name in names for byte in name.encode())]
    return int(np.random.SeedSequence(words).generate_state(1)[0])


def make_units(
    experiment: Experiment,
    factories: Mapping[str, Factory],
    clock: Clock,
    guard: Guard | None = None,
    traffic: Traffic | None = None,
) -> tuple[dict[str, Device], list[PhysicalUnit]]:
    """Devices by name, and units in the order of the signal; none is open.

    Raises ConfigurationError for options that a driver refuses, LimitError for limits beyond the device's own.
    """
    devices: dict[str, Device] = {}
    for name, hardware in experiment.hardware.items():
        context = DeviceContext(name, part_seed(experiment.seed, "device", name), clock, guard, traffic)
        devices[name] = factories[name](hardware.options, context)
    units = []
    for wanted in experiment.units:
        device = devices[experiment.device_of(wanted)]
        plain = device.unit(UnitRequest(wanted.name, wanted.inputs, wanted.outputs, wanted.options))
        options = dict(wanted.options)
        drives = not isinstance(plain, Digital)  # limits are of what is sent, and memory sends nothing
        if drives and experiment.limits.current is not None:
            options |= _current_limit(experiment.limits.current, plain)
        if drives and experiment.limits.drive is not None:
            options |= _drive_limit(experiment.limits.drive, plain)
        request = UnitRequest(wanted.name, wanted.inputs, wanted.outputs, options)
        units.append(device.unit(request) if options != dict(wanted.options) else plain)
    return devices, units


def _drive_limit(text: str, unit: PhysicalUnit) -> dict[str, float]:
    """The protocol's drive limit for a unit; refused when it is beyond the device's own."""
    drive = unit.spec.drive
    try:
        limit = parse_quantity(text, drive.unit)
    except ConfigurationError as error:
        raise ConfigurationError(f"limits.drive: {error}") from None
    if limit > drive.high * (1 + 1e-9) or limit <= max(drive.low, 0.0):
        raise LimitError(
            f"limits.drive: {text} is not within {drive.low:g} to {drive.high:g} {drive.unit}, "
            f"the limits of {unit.spec.name}"
        )
    return {f"drive_limit_{drive.unit.lower()}": limit}


def _current_limit(text: str, unit: PhysicalUnit) -> dict[str, float]:
    """The protocol's limit of a line's current for a unit; refused when it is beyond the device's own."""
    if not isinstance(unit, LimitsCurrent):
        raise ConfigurationError(f"limits.current: {unit.spec.name} limits no current; leave limits.current out")
    limit_a, own_a = parse_quantity(text, "A"), unit.current_limit_a()
    if limit_a > own_a * (1 + 1e-9):
        raise LimitError(f"limits.current: {text} is beyond {own_a:g} A, the limit of {unit.spec.name}")
    return {"current_limit_a": limit_a}


def make_learners(experiment: Experiment, units: Sequence[PhysicalUnit]) -> list[LocalLearner]:
    """One local learner per unit, as the protocol says."""
    learners = []
    for unit, wanted in zip(units, experiment.units, strict=True):
        objective = make_objective(wanted.objective.name, wanted.objective.options)
        config, seed = learner_config(experiment, wanted), part_seed(experiment.seed, "learner", wanted.name)
        learners.append(LocalLearner(unit, objective, config, seed))
    return learners
