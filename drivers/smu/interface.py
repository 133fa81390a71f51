"""The source-measure unit as the rest of the program sees it: one interface, small records, small capabilities.

A source-measure unit forces a voltage and measures the current, or the other way round. What it may not exceed while
it does so is the compliance; what it does while its output is "off" depends on the model and is told in words.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, runtime_checkable


class Function(StrEnum):
    """What is forced."""

    VOLTAGE = "voltage"
    CURRENT = "current"


class OffState(StrEnum):
    """What the terminals do while the output is off."""

    NORMAL = "normal"  # 0 V with a small current limit: not open
    ZERO = "zero"  # 0 V with the compliance as it was set: not open either
    HIGH_IMPEDANCE = "high impedance"  # the output relay is open, about 15 ms and a little of its life each time


@dataclass(frozen=True, slots=True)
class OffMeaning:
    """What "output off" means on this instrument now; disconnected: the relay is open, so nothing can flow."""

    state: OffState
    disconnected: bool
    text: str


@dataclass(frozen=True, slots=True)
class Compliance:
    """Read back from the instrument, in amperes when a voltage is forced, else in volts.

    level: as set; measure_range: full scale of the measurement, infinite while the range follows by itself; tripped:
    the source was clamping when asked.
    """

    level: float
    measure_range: float
    tripped: bool

    @property
    def effective(self) -> float:
        """What really clamps: the level, or 105 % of a fixed measuring range where that is less."""
        return min(self.level, 1.05 * self.measure_range)


@dataclass(frozen=True, slots=True)
class Reading:
    """One measurement. in_compliance: the source clamped; overflow: beyond the range, or not a number at all.

    A reading with either flag is data about the instrument, not about the sample: look at `sound` before using it.
    """

    voltage_v: float
    current_a: float
    in_compliance: bool = False
    overflow: bool = False

    @property
    def sound(self) -> bool:
        """True when both numbers are measurements."""
        return not (self.in_compliance or self.overflow)


def reading(voltage_v: float, current_a: float, in_compliance: bool) -> Reading:
    """A reading with its overflow flag taken from the numbers: an instrument's 9.9e37 has arrived as infinity."""
    return Reading(voltage_v, current_a, in_compliance, not (math.isfinite(voltage_v) and math.isfinite(current_a)))


class SourceMeasureUnit(Protocol):
    """One channel. Levels are volts or amperes by the function in force.

    The link belongs to whoever made it and is open before `prepare`. Every method raises LinkError for a link that
    fails, DeviceError for an instrument that refuses or does not do as told, LimitError before anything beyond the
    limits is sent. The order is checked too: function and compliance before output, output before readings.
    """

    @property
    def name(self) -> str:
        """What error messages call it."""

    @property
    def on(self) -> bool:
        """The output's state when it was last read back."""

    def prepare(self) -> None:
        """Check that it is the model it is said to be; output off, everything in a known state.

        An output that is found on is brought to zero in steps and read back off before anything is reset.
        """

    def source_voltage(
        self, compliance_a: float, *, level_range_v: float, measure_range_a: float | None = None
    ) -> Compliance:
        """Force a voltage, 0 V to begin with; the output must be off. A measuring range of None follows by itself."""

    def source_current(
        self, compliance_v: float, *, level_range_a: float, measure_range_v: float | None = None
    ) -> Compliance:
        """Force a current, 0 A to begin with; the output must be off."""

    def set_compliance(self, value: float) -> Compliance:
        """Another compliance for the function in force, also while the output is on; returned as read back."""

    def compliance(self) -> Compliance:
        """As the instrument tells it."""

    def set_level(self, level: float) -> None:
        """Force this from now on."""

    def level(self) -> float:
        """The level as read back."""

    def ramp_to(self, level: float, step: float, dwell_s: float = 0.0) -> None:
        """Go to `level` in steps no larger than `step`, waiting `dwell_s` after each."""

    def switch(self, on: bool) -> None:
        """Output on or off, read back."""

    def is_on(self) -> bool:
        """The output's state as read back."""

    def set_integration(self, power_line_cycles: float) -> float:
        """Integration time of a reading, as read back."""

    def set_off_state(self, state: OffState) -> OffMeaning:
        """Choose what "off" does; the output must be off."""

    def set_remote_sense(self, remote: bool) -> None:
        """Sense at the sample (four wires) or at the terminals; the output must be off.

        An open sense lead drives the output up to its limit: set an over-voltage protection first where there is one.
        """

    def read(self) -> Reading:
        """Measure once; the output must be on."""

    def read_buffered(self, count: int) -> list[Reading]:
        """Measure `count` times (1 to 100) into the instrument's buffer and fetch them together."""


@runtime_checkable
class ProtectsVoltage(Protocol):
    """Has a limit of its own for the voltage at the terminals, whatever the source and the sense leads do."""

    def set_over_voltage(self, limit_v: float) -> float:
        """Choose the lowest protection that is not below `limit_v`, so that all up to the limit can be reached.

        Returned as read back, in volts. LimitError when there is none.
        """


@runtime_checkable
class Sweeps(Protocol):
    """Steps through a list of levels by itself."""

    def sweep(self, levels: Sequence[float], dwell_s: float) -> list[Reading]:
        """Force each level (up to 100) for at least `dwell_s` and measure there; at the end the last one stays."""


@runtime_checkable
class Pulses(Protocol):
    """Times a pulse by itself, so that no link's delay is in its width."""

    def pulse(self, level: float, width_s: float, base: float = 0.0) -> bool:
        """Force `level` for `width_s`, then `base`; True when the source was clamping at the end of the pulse."""
