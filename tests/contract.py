"""What the contract suite runs on: every unit of every registered driver, and how each is built for a test.

Drivers are found, not listed, so none is exempt: a driver that needs options to be built for tests adds a row to CASES.
Set PIB_LAB_CONTRACT_HARDWARE to a protocol file to add the units of real hardware. The suite then programs them with
random parameters, and measures, within the device's own limits: choose parts that may be worn.
"""

from __future__ import annotations

import configparser
import importlib.metadata
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import optics_bench
import smu_bench

from drivers.emulators import board
from pib_lab import registry
from pib_lab.clocks import RealClock, VirtualClock
from pib_lab.device import Device, DeviceContext, UnitRequest
from pib_lab.experiment import parse_experiment
from pib_lab.quantities import Array, Quantity
from pib_lab.unit import CancelToken, Measurement, PhysicalUnit

HARDWARE_VARIABLE = "PIB_LAB_CONTRACT_HARDWARE"
SEED = 7


class Server(Protocol):
    """An emulator on a link."""

    @property
    def address(self) -> str:
        """Goes into the device's options."""

    def close(self) -> None:
        """Ends it."""


@dataclass(frozen=True)
class Case:
    """One way to build a device and a unit. `exact`: free of noise, so that equal inputs give equal outputs.

    serve: starts the emulator that a real driver is tested on; its address becomes an option of the device.
    emulate: builds a device that takes several emulated instruments, wired to them in this process.
    """

    driver: str
    options: dict[str, Any] = field(default_factory=dict)
    label: str = ""
    exact: bool = False
    inputs: int = 12
    outputs: int = 5
    unit_options: dict[str, Any] = field(default_factory=dict)
    hardware: bool = False
    serve: Callable[[], Server] | None = None
    emulate: Callable[[Any, DeviceContext], Device] | None = None

    def __str__(self) -> str:
        return f"{self.driver}-{self.label}" if self.label else self.driver


def _board(profile: str, label: str = "", **rest: Any) -> Case:
    serve = partial(board.start, profile=profile, seed=SEED)
    return Case("memristor-board", {"profile": profile}, label or profile, serve=serve, **rest)


CASES: dict[str, tuple[Case, ...]] = {
    "mock-memristor-chip": (
        Case("mock-memristor-chip", {"profile": "ideal"}, "ideal", exact=True),
        Case("mock-memristor-chip", {"profile": "chip-b"}, "chip-b"),
        Case("mock-memristor-chip", {"profile": "gong-2018-reram-es"}, "gong-2018-reram-es"),
        Case("mock-memristor-chip", {"profile": "chip-b"}, "chip-b, tiled", inputs=150, outputs=70),
    ),
    "memristor-board": (
        _board("ideal", exact=True),
        _board("chip-b"),
        _board("gong-2018-reram-es"),
        _board("chip-b", "chip-b, tiled", inputs=150, outputs=70),
    ),
    "memristor-smu-matrix": (
        Case("memristor-smu-matrix", label="chip-b", inputs=3, outputs=2, emulate=smu_bench.emulate),
    ),
    "mock-optical-rig": (
        Case("mock-optical-rig", {"profile": "ideal"}, "ideal", exact=True),
        Case("mock-optical-rig", {"profile": "bench-a"}, "bench-a"),
    ),
    "optical-rig": (Case("optical-rig", label="bench-a", emulate=optics_bench.emulate),),
    "digital-weights": (
        Case("digital-weights", exact=True),
        Case("digital-weights", {"bits": 4}, "4 bits", exact=True),
    ),
    "template": (Case("template", {"gain": 2.0}, exact=True),),
}


def drivers() -> dict[str, importlib.metadata.EntryPoint]:
    """Registered drivers by name: of all installed packages, and of this checkout even when it is not installed."""
    setup = configparser.ConfigParser()
    setup.read(Path(__file__).parent.parent / "setup.cfg", encoding="utf-8")
    lines = setup["options.entry_points"][registry.DRIVERS].strip().splitlines()
    pairs = [[part.strip() for part in line.split("=", 1)] for line in lines]
    found = {name: importlib.metadata.EntryPoint(name, value, registry.DRIVERS) for name, value in pairs}
    return found | registry.drivers()


def cases() -> list[Case]:
    """A case or more for every registered driver, and for every unit of the hardware protocol if one is named."""
    made = [case for name in drivers() for case in CASES.get(name, (Case(name),))]
    protocol = os.environ.get(HARDWARE_VARIABLE)
    return made + (_hardware(Path(protocol)) if protocol else [])


def _hardware(protocol: Path) -> list[Case]:
    experiment = parse_experiment(protocol.read_text(encoding="utf-8"))
    made = []
    for unit in experiment.units:
        name = experiment.device_of(unit)
        device = experiment.hardware[name]
        made.append(
            Case(
                device.driver,
                device.options,
                f"{name}, {unit.name}",
                inputs=unit.inputs,
                outputs=unit.outputs,
                unit_options=unit.options,
                hardware=True,
            )
        )
    return made


class Bench:
    """A device and one of its units on a clock of their own, with shorthands for what every test does."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.clock = VirtualClock()
        if case.hardware:
            context = DeviceContext(case.label.split(",")[0], SEED, RealClock())
        else:
            context = DeviceContext("device", SEED, self.clock)
        build: Callable[[dict[str, Any], DeviceContext], Device] = drivers()[case.driver].load()
        self.server = case.serve() if case.serve else None
        link = {"address": self.server.address} if self.server else {}
        made = case.emulate(build, context) if case.emulate else None
        self.device = made or build(dict(case.options) | link, context)
        self.unit: PhysicalUnit = self.device.unit(
            UnitRequest("under-test", case.inputs, case.outputs, dict(case.unit_options))
        )
        self.rng = np.random.default_rng(SEED)

    def drive(self, batch: int = 16) -> Array:
        """Random drives over the whole allowed range."""
        return within(self.unit.spec.drive, self.rng, batch)

    def parameters(self) -> Array:
        """Random parameters over the middle of their range, where a step of either sign is possible."""
        return within(self.unit.spec.parameters, self.rng, 1, 0.25, 0.75)[0]

    def measure(self, drive: Array) -> Measurement:
        """Measure without a wish to cancel."""
        return self.unit.measure(drive, cancel=CancelToken())

    def belief(self) -> Array:
        """What the unit is believed to hold, got by programming nothing."""
        shape = self.unit.spec.parameters.shape
        return self.unit.program(np.full(shape, middle(self.unit.spec.parameters)), np.zeros(shape, np.bool_))

    def finish(self) -> None:
        """Make safe, close; both may be called at any time."""
        self.unit.make_safe()
        self.unit.close()
        self.device.close()
        if self.server is not None:
            self.server.close()


def middle(quantity: Quantity) -> np.float32:
    """Half way between the limits."""
    return np.float32(0.5 * (quantity.low + quantity.high))


def within(quantity: Quantity, rng: np.random.Generator, batch: int, low: float = 0.0, high: float = 1.0) -> Array:
    """Uniform values (batch, *shape) between two fractions of the quantity's range."""
    fractions = rng.uniform(low, high, (batch, *quantity.shape))
    return (quantity.low + fractions * quantity.span).astype(np.float32)
