"""What the chip behind source-measure units may be driven with: its profile's limits, within what the options allow."""

from __future__ import annotations

import math
from dataclasses import replace

from drivers.chip.bias_schemes import Scheme, least_safe_threshold_v
from drivers.chip.limits import ElectricalLimits
from drivers.chip.profiles import MemristorProfile, Use, electrical_limits
from drivers.chip.smu_matrix_options import ChipOptions
from pib_lab.errors import ConfigurationError, LimitError

_BELOW = 1.0 - 1e-6
"""Of the threshold: what is at it may switch."""


def limits_within(profile: MemristorProfile, options: ChipOptions, current_a: float, use: Use) -> ElectricalLimits:
    """The profile's limits for that use, within `current_a` and the gates and strongest pulse of the options.

    To form with transistors, voltages are the profile's alone; without, unselected cells must stay below the threshold
    of the options as well.
    """
    limits = replace(electrical_limits(profile, use), current_a=current_a)
    most_v = max(options.write.limit_v, profile.v_read_v)
    if options.scheme is not Scheme.TRANSISTOR:
        limits = replace(limits, gate_v=0.0)
        if use is Use.FORMING:
            most_v = _BELOW * options.write.threshold_v / least_safe_threshold_v(options.scheme, 1.0)
    elif use is Use.FORMING:
        return limits
    else:
        limits = replace(limits, gate_v=max(options.gate_read_v, options.write.gate_v))
    return replace(limits, voltage_v=min(limits.voltage_v, most_v))


def check_others(options: ChipOptions, level_v: float, what: str) -> None:
    """Raise LimitError for a pulse of `level_v` under which cells that are not selected would see the threshold."""
    seen_v, write = least_safe_threshold_v(options.scheme, level_v), options.write
    if seen_v >= write.threshold_v:
        better = "" if options.scheme is Scheme.THIRD else "wire a source for bias-columns and choose scheme v/3, or "
        raise LimitError(
            f"{what}: under scheme {options.scheme} a pulse of {abs(level_v):g} V puts {seen_v:g} V on cells that are "
            f"not selected, and they switch from {write.threshold_v:g} V (write.threshold_v); nothing was sent: lower "
            f"it, {better}form a chip with transistors (1t1r)"
        )


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
