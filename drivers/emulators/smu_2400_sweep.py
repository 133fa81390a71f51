"""The trigger model and the source sweeps of a Keithley 2400, as numbers: how often, how long between, which levels."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from drivers.emulators.scpi_status import ScpiError
from drivers.emulators.source_measure import CURRENT, VOLTAGE, Quantity

POINT_LIMIT = 2500
LIST_LIMIT = 100
INFINITE = 9.9e37


@dataclass
class Sweep:
    """How one source function moves: FIX, through a LIST, or a SWE from start to stop."""

    mode: str = "FIX"
    start: float = 0.0
    stop: float = 0.0
    points: int = 2500
    values: list[float] = field(default_factory=lambda: [0.0])

    @property
    def step(self) -> float:
        """Distance of neighbouring points of a linear sweep."""
        return (self.stop - self.start) / max(1, self.points - 1)

    def set_step(self, step: float) -> None:
        """A step decides the number of points."""
        if step == 0.0:
            raise ScpiError(-222)
        points = abs((self.stop - self.start) / step) + 1
        if not 2 <= round(points) <= POINT_LIMIT:
            raise ScpiError(-222)
        self.points = round(points)

    def append(self, values: list[float]) -> None:
        """More points at the end of the list."""
        if len(self.values) + len(values) > LIST_LIMIT:
            raise ScpiError(-223)
        self.values = self.values + values

    def levels(self, spacing: str, direction: str) -> list[float] | None:
        """The levels in order; None for a fixed source."""
        if self.mode == "FIX":
            return None
        if self.mode == "LIST":
            return self.values
        if spacing == "LOG":
            if self.start * self.stop <= 0.0:
                raise ScpiError(-221, "A logarithmic sweep cannot touch zero")
            made = np.geomspace(self.start, self.stop, self.points)
        else:
            made = np.linspace(self.start, self.stop, self.points)
        return [float(level) for level in (made[::-1] if direction == "DOWN" else made)]


@dataclass
class Triggering:
    """Arm and trigger layer."""

    arm_count: float = 1
    trigger_count: int = 1
    arm_source: str = "IMM"
    trigger_source: str = "IMM"
    arm_timer_s: float = 0.1
    trigger_delay_s: float = 0.0
    spacing: str = "LIN"
    direction: str = "UP"
    sweeps: dict[Quantity, Sweep] = field(default_factory=lambda: {VOLTAGE: Sweep(), CURRENT: Sweep()})
    waiting: bool = False

    def set_counts(self, arm: float, trigger: float) -> None:
        """Counts of both layers; their product is bounded."""
        if arm < INFINITE and arm * trigger > POINT_LIMIT:
            raise ScpiError(-222)
        self.arm_count, self.trigger_count = arm, int(trigger)

    @property
    def external(self) -> bool:
        """Whether it waits for something that only a person or another instrument gives."""
        return self.arm_source in ("TLIN", "MAN", "NST", "PST", "BST") or self.trigger_source == "TLIN"
