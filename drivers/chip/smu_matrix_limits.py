"""What the chip behind source-measure units may be driven with: its profile's limits, within what the options allow."""

from __future__ import annotations

import math
from dataclasses import replace

from drivers.chip.bias_schemes import Scheme, least_safe_threshold_v
from drivers.chip.limits import ElectricalLimits
from drivers.chip.profiles import MemristorProfile, Use, electrical_limits
from drivers.chip.smu_matrix_options import ChipOptions
from pib_lab.errors import ConfigurationError


def limits_within(profile: MemristorProfile, options: ChipOptions, current_a: float, use: Use) -> ElectricalLimits:
    """The profile's limits for that use, within `current_a` and the gates and strongest pulse of the options.

    To form with transistors, voltages are the profile's alone; without, unselected cells would be written by stronger
    pulses than those of the options.
    """
    limits = replace(electrical_limits(profile, use), current_a=current_a)
    if options.scheme is not Scheme.TRANSISTOR:
        limits = replace(limits, gate_v=0.0)
    elif use is Use.FORMING:
        return limits
    else:
        limits = replace(limits, gate_v=max(options.gate_read_v, options.write.gate_v))
    return replace(limits, voltage_v=min(limits.voltage_v, max(options.write.limit_v, profile.v_read_v)))


def check_write(profile: MemristorProfile, options: ChipOptions, where: str) -> None:
    """Raise LimitError for voltages beyond the profile, ConfigurationError for those that would write other cells."""
    write, limits = options.write, electrical_limits(profile, Use.WRITING)
    limits.check_voltage(write.limit_v, 0.0, f"{where}.write.limit_v")
    limits.check_gate(write.gate_v, f"{where}.write.gate_v")
    limits.check_gate(options.gate_read_v, f"{where}.gate_read_v")
    seen_v = least_safe_threshold_v(options.scheme, write.limit_v)
    if seen_v >= write.threshold_v:
        raise ConfigurationError(
            f"{where}.write.limit_v: with scheme {options.scheme} unselected cells would see {seen_v:g} V, "
            f"and switch from {write.threshold_v:g} V; lower it, or choose scheme v/3 or 1t1r"
        )
    if profile.v_read_v >= write.threshold_v:
        raise ConfigurationError(f"{where}.write.threshold_v: reads at {profile.v_read_v:g} V would write")


def check_pulses(limits: ElectricalLimits, options: ChipOptions, where: str) -> None:
    """Raise LimitError when the options' strongest pulse has more power or charge than a cell may get."""
    write = options.write
    compliance_a = min(limits.current_a, write.compliance_a or math.inf)
    what = f"{where}.write (lower compliance_a, limit_v or width_s)"
    limits.check_pulse(write.limit_v, compliance_a, write.width_s, math.inf, what)
