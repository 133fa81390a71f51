"""The strongest that a procedure will do to a chip, known before anything is connected."""

from __future__ import annotations

import math
from dataclasses import dataclass

from drivers.chip.limits import ElectricalLimits


@dataclass(frozen=True, slots=True)
class Extreme:
    """The largest values of one kind of act. level_v: its magnitude; width_s: None for a level that is held."""

    what: str
    level_v: float
    gate_v: float = 0.0
    current_a: float = 0.0
    width_s: float | None = None

    def check(self, limits: ElectricalLimits) -> None:
        """Raise LimitError when it is beyond; pulses are taken to come as densely as one width on, one width off."""
        limits.check_gate(self.gate_v, self.what)
        if self.width_s is None:
            limits.check_voltage(self.level_v, self.current_a, self.what)
        else:
            limits.check_pulse(self.level_v, self.current_a, self.width_s, 2.0 * self.width_s, self.what)

    def told(self, limits: ElectricalLimits) -> str:
        """A line for people: each value beside what limits it."""
        parts = [_beside(self.level_v, limits.voltage_v, "V")]
        if self.gate_v:
            parts.append("gate " + _beside(self.gate_v, limits.gate_v, "V"))
        if self.current_a:
            parts.append(_beside(self.current_a, limits.current_a, "A"))
            parts.append(_beside(self.level_v * self.current_a, limits.power_w, "W"))
        if self.width_s is not None:
            parts.append(_beside(self.current_a * self.width_s, limits.charge_c, "C"))
        return f"{self.what}: {', '.join(parts)}"


def _beside(value: float, limit: float, unit: str) -> str:
    return f"{value:g} {unit}" + ("" if math.isinf(limit) else f" (limit {limit:g} {unit})")
