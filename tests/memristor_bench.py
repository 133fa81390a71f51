"""Builds units of the mock memristor chip for its tests: a profile with chosen effects, on a clock of its own."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from drivers.chip.mock_chip import MockCrossbar, MockMemristorChip
from pib_lab.device import DeviceContext, UnitRequest
from pib_lab.quantities import Array
from pib_lab.unit import CancelToken

MIDDLE = np.float32(20e-6)
"""Mid-window of the profiles from 0 to 40 uS."""


@dataclass
class StillClock:
    """Virtual time that moves when someone sleeps."""

    time_s: float = 0.0

    def now_s(self) -> float:
        return self.time_s

    def sleep_s(self, duration_s: float) -> None:
        self.time_s += duration_s


@dataclass
class Rig:
    """An open crossbar with its clock, and shorthands for what every test does."""

    inputs: int
    outputs: int
    profile: str = "ideal"
    override: dict[str, Any] = field(default_factory=dict)
    limits: dict[str, Any] = field(default_factory=dict)
    seed: int = 5

    def __post_init__(self) -> None:
        self.clock = StillClock()
        context = DeviceContext("chip", self.seed, self.clock)
        self.chip = MockMemristorChip({"profile": self.profile, "override": self.override}, context)
        self.unit: MockCrossbar = self.chip.unit(UnitRequest("unit", self.inputs, self.outputs, self.limits))
        self.unit.open()

    @property
    def shape(self) -> tuple[int, ...]:
        return self.unit.spec.parameters.shape

    def fill(self, conductance: float) -> Array:
        """Write one conductance to all cells; returns the belief."""
        return self.unit.program(np.full(self.shape, conductance, np.float32))

    def uniform(self, low: float = 0.0, high: float = 40e-6, seed: int = 1) -> Array:
        """Random conductances."""
        return np.random.default_rng(seed).uniform(low, high, self.shape).astype(np.float32)

    def drive(self, batch: int, seed: int = 2, high_v: float = 0.2) -> Array:
        """Random read voltages."""
        return np.random.default_rng(seed).uniform(0.0, high_v, (batch, self.inputs)).astype(np.float32)

    def measure(self, drive: Array) -> Array:
        """Measured responses."""
        return self.unit.measure(drive, cancel=CancelToken()).values

    def wide(self) -> Rig:
        """Choose the largest range, so that nothing clips."""
        self.unit.set_full_scale(1.0)
        return self
