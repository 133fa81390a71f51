"""The strongest that a procedure will do to a chip, known before anything is connected."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

from drivers.chip.limits import ElectricalLimits
from drivers.chip.probe import ChipProbe


@dataclass(frozen=True, slots=True)
class Extreme:
    """The largest values of one kind of act. level_v: its magnitude; width_s: None for a level that is held.

    pulses: that a cell gets at most, 0 where nobody has counted; of_lines: they carry the currents of many cells, so
    that their power is not limited.
    """

    what: str
    level_v: float
    gate_v: float = 0.0
    current_a: float = 0.0
    width_s: float | None = None
    pulses: int = 0
    of_lines: bool = False

    def check(self, limits: ElectricalLimits) -> None:
        """Raise LimitError when it is beyond; pulses are taken to come as densely as one width on, one width off."""
        limits.check_gate(self.gate_v, self.what)
        if self.of_lines:
            limits = replace(limits, power_w=math.inf)
        if self.width_s is None:
            limits.check_voltage(self.level_v, self.current_a, self.what)
        else:
            limits.check_pulse(self.level_v, self.current_a, self.width_s, 2.0 * self.width_s, self.what)

    def as_record(self, limits: ElectricalLimits) -> dict[str, Any]:
        """The values, and the limits beside them, for machines; None for what is not limited or does not apply."""
        record = asdict(self) | {"power_w": None if self.of_lines else self.level_v * self.current_a}
        held = {name: None if math.isinf(value) else value for name, value in asdict(limits).items()}
        return record | {"limits": held | ({"power_w": None} if self.of_lines else {})}

    def told(self, limits: ElectricalLimits) -> str:
        """A line for people: each value beside what limits it."""
        parts = [_beside(self.level_v, limits.voltage_v, "V")]
        if self.gate_v:
            parts.append("gate " + _beside(self.gate_v, limits.gate_v, "V"))
        if self.current_a:
            parts.append(_beside(self.current_a, limits.current_a, "A"))
            if not self.of_lines:
                parts.append(_beside(self.level_v * self.current_a, limits.power_w, "W"))
        if self.width_s is not None:
            parts.append(_beside(self.current_a * self.width_s, limits.charge_c, "C"))
        if self.pulses:
            parts.append(f"up to {self.pulses} pulses a cell")
        return f"{self.what}: {', '.join(parts)}"


def reading(probe: ChipProbe, what: str) -> Extreme:
    """Cells or whole vectors read: rows at the read voltage, columns held at 0 V up to the limit of current."""
    limits = probe.planned_limits(held=True)
    return Extreme(f"{what}, reads", probe.read_v, probe.read_gate_v, limits.current_a, of_lines=True)


def _beside(value: float, limit: float, unit: str) -> str:
    return f"{value:g} {unit}" + ("" if math.isinf(limit) else f" (limit {limit:g} {unit})")
