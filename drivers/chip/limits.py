"""The one place where electrical limits are checked, before anything is sent. Pure arithmetic."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pib_lab.errors import LimitError

GATE_MAX_V = 5.0
"""No word line is held higher, whatever a protocol says: thick-oxide gates of 1T1R chips take 4 to 5 V (from
experience, check with the foundry's documents). Forming ramps end at 4 V in SkyWater's NI-RRAM documents."""
GATE_MAX_A = 10e-6
"""Chosen: what a source on a word line may supply. A sound gate takes nothing; one that draws more leaks."""


@dataclass(frozen=True, slots=True)
class ElectricalLimits:
    """What a chip's lines may be driven with; magnitudes, in SI. Infinity is no limit of that kind.

    voltage_v, current_a, power_w: of any line or cell; charge_c: of one pulse (current limit times width);
    pulse_rate_hz: pulses a second of one cell; gate_v: of a word line (0 to gate_v).
    """

    voltage_v: float
    current_a: float
    power_w: float = math.inf
    charge_c: float = math.inf
    pulse_rate_hz: float = math.inf
    gate_v: float = math.inf

    def check_voltage(self, level_v: float, compliance_a: float, what: str) -> None:
        """Raise LimitError unless a line may be held at `level_v` with the current limited to `compliance_a`."""
        _within(abs(level_v), self.voltage_v, "V", f"{what}: voltage")
        _within(compliance_a, self.current_a, "A", f"{what}: compliance")
        _within(abs(level_v) * compliance_a, self.power_w, "W", f"{what}: power")

    def check_current(self, level_a: float, compliance_v: float, what: str) -> None:
        """Raise LimitError unless `level_a` may be forced with the voltage limited to `compliance_v`."""
        _within(abs(level_a), self.current_a, "A", f"{what}: current")
        _within(compliance_v, self.voltage_v, "V", f"{what}: compliance")
        _within(abs(level_a) * compliance_v, self.power_w, "W", f"{what}: power")

    def check_pulse(
        self, level_v: float, compliance_a: float, width_s: float, period_s: float, what: str, energised: bool = True
    ) -> None:
        """Raise LimitError unless a cell may get pulses like this; `energised`: its gate is up (1T1R; else True)."""
        self.check_voltage(level_v, compliance_a, what)
        self.check_train(compliance_a, width_s, period_s, what, energised)

    def check_train(
        self, compliance_a: float, width_s: float, period_s: float, what: str, energised: bool = True
    ) -> None:
        """As `check_pulse`, without the voltage: charge = compliance width, rate = 1 / period, gate before drain."""
        _within(compliance_a * width_s, self.charge_c, "C", f"{what}: charge of a pulse")
        _within(1.0 / period_s if period_s > 0 else math.inf, self.pulse_rate_hz, "Hz", f"{what}: pulse rate")
        if not energised:
            raise LimitError(f"{what}: the gate is off; raise the gate before the drain, and lower it after")

    def check_gate(self, level_v: float, what: str) -> None:
        """Raise LimitError unless a word line may be held at `level_v`."""
        if level_v < 0.0:
            raise LimitError(f"{what}: a gate voltage of {level_v:g} V is negative; nothing was sent")
        _within(level_v, self.gate_v, "V", f"{what}: gate voltage")

    def tightened(self, other: ElectricalLimits) -> ElectricalLimits:
        """The tighter of each pair of limits: a protocol can lower a profile's limits and never raise them."""
        names = self.__dataclass_fields__
        return ElectricalLimits(**{name: min(getattr(self, name), getattr(other, name)) for name in names})


def _within(value: float, limit: float, unit: str, what: str) -> None:
    if not value <= limit * (1.0 + 1e-9):  # also refuses NaN
        raise LimitError(f"{what} of {value:g} {unit} is beyond the limit of {limit:g} {unit}; nothing was sent")
