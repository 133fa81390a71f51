"""The physics that all emulated source-measure units share: sourcing into a port, clamping, settling, reading.

What is sourced flows through the port; what is read there gets the noise, the range and the time of a real reading.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Collection
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from drivers.emulators.circuit import Drive, Mode, Operating, Port
from drivers.emulators.latency import Latency
from drivers.emulators.scpi_numbers import INFINITY, NOT_A_NUMBER
from pib_lab.device import Clock


class Quantity(StrEnum):
    """What is sourced or measured, by its SCPI name."""

    VOLTAGE = "VOLT"
    CURRENT = "CURR"
    RESISTANCE = "RES"


VOLTAGE, CURRENT, RESISTANCE = Quantity.VOLTAGE, Quantity.CURRENT, Quantity.RESISTANCE
OVERRANGE = 1.05
"""A range sources and measures up to 105 % of its name."""
INTERLOCK_V = 42.0
"""What the terminals carry at most with the interlock open."""


@dataclass(frozen=True, slots=True)
class Model:
    """What differs between instruments. ranges: ascending nominal ranges of each quantity.

    off_fraction: compliance of the normal output-off state, of the present range's full scale
    range_compliance: a fixed measure range clamps the source (else its readings overflow)
    compliance_min: the least compliance of each quantity
    high_v, high_a: beyond `high_v` at most `high_a` may flow, by the power limit
    noise: rms of a reading at 1 power line cycle, of range; resolution: of range
    """

    ranges: dict[Quantity, tuple[float, ...]]
    compliance_min: dict[Quantity, float]
    off_fraction: float
    range_compliance: bool
    high_v: float = 21.0
    high_a: float = 0.105
    noise: float = 5e-6
    resolution: float = 1e-6

    def range_for(self, quantity: Quantity, value: float) -> float:
        """The most sensitive range that holds `value`; the largest when none does."""
        ranges = self.ranges[quantity]
        return next((full for full in ranges if abs(value) <= full * OVERRANGE * (1 + 1e-9)), ranges[-1])

    def full_scale(self, quantity: Quantity) -> float:
        """The largest value that can be sourced."""
        return self.ranges[quantity][-1] * OVERRANGE


@dataclass
class Settings:
    """All that a reset brings back. limit: by the quantity that is limited, as measure ranges are."""

    level: dict[Quantity, float]
    limit: dict[Quantity, float]
    source_range: dict[Quantity, float]
    measure_range: dict[Quantity, float]
    function: Quantity = VOLTAGE
    source_auto: dict[Quantity, bool] = field(default_factory=lambda: dict.fromkeys((VOLTAGE, CURRENT), True))
    measure_auto: dict[Quantity, bool] = field(default_factory=lambda: dict.fromkeys(Quantity, True))
    nplc: dict[Quantity, float] = field(default_factory=lambda: dict.fromkeys(Quantity, 1.0))
    delay_s: dict[Quantity, float] = field(default_factory=lambda: dict.fromkeys((VOLTAGE, CURRENT), 0.0))
    delay_auto: dict[Quantity, bool] = field(default_factory=lambda: dict.fromkeys((VOLTAGE, CURRENT), True))
    averages: dict[Quantity, int] = field(default_factory=lambda: dict.fromkeys(Quantity, 10))
    filtered: dict[Quantity, bool] = field(default_factory=lambda: dict.fromkeys(Quantity, False))
    protection_v: float = math.inf
    off_state: str = "NORM"
    autozero: bool = True
    remote_sense: bool = False


@dataclass
class Faults:
    """What can be broken from outside. stuck_compliance: the clamp sits here whatever is set (0: it follows)."""

    stuck_compliance: float = 0.0
    offset_a: float = 0.0
    offset_v: float = 0.0
    open_sense: bool = False
    interlock_open: bool = False
    noise_scale: float = 1.0


@dataclass(frozen=True, slots=True)
class Sample:
    """One reading. A value that overflows its range is +-9.9e37, one that was not measured 9.91e37."""

    voltage_v: float
    current_a: float
    resistance_ohm: float
    source: float
    time_s: float
    overflow: bool
    compliance: bool
    range_compliance: bool
    protection: bool


class SourceMeasure:
    """One channel: settings in, a driven port, readings out. All time passes on the clock."""

    def __init__(self, model: Model, settings: Settings, port: Port, clock: Clock, seed: int, latency: Latency) -> None:
        self.model = model
        self.settings = settings
        self.faults = Faults()
        self.clock = clock
        self.latency = latency
        self.output = False
        self.relay_operations = 0
        self.aborted = threading.Event()
        self._port = port
        self._rng = np.random.default_rng(seed)
        self._driven = Drive(Mode.OPEN)
        self._before = Operating(0.0, 0.0, False)
        self._changed_s = clock.now_s()
        self.apply()

    def wait(self, duration_s: float) -> None:
        """Let time pass, in slices, so that `aborted` ends it early."""
        end_s = self.clock.now_s() + duration_s
        slice_s = max(0.1, duration_s / 64)
        while not self.aborted.is_set() and (left_s := end_s - self.clock.now_s()) > 0:
            self.clock.sleep_s(min(left_s, slice_s))

    def switch(self, on: bool) -> None:
        """Output on or off, by the off state; the relay takes time and wears."""
        was_open = self._driven.mode is Mode.OPEN
        self.output = on
        self.apply()
        if was_open != (self._driven.mode is Mode.OPEN):
            self.relay_operations += 1
            self.wait(self.latency.relay_s)

    def set_level(self, quantity: Quantity, value: float) -> None:
        """Source `value` from now on; an automatic source range follows."""
        settings = self.settings
        if settings.source_auto[quantity]:
            settings.source_range[quantity] = self.model.range_for(quantity, value)
        full = settings.source_range[quantity] * OVERRANGE
        settings.level[quantity] = min(full, max(-full, value))
        self.apply()

    def apply(self) -> None:
        """Drive the port by the settings."""
        drive = self._drive()
        if drive != self._driven:
            self._before = self._port.operating()
            self._changed_s = self.clock.now_s()
            self._driven = drive
            self._port.drive(drive)

    def clamp(self) -> tuple[float, bool]:
        """The magnitude at which the source clamps, and whether it is the measure range's rather than what was set."""
        limited = CURRENT if self.settings.function is VOLTAGE else VOLTAGE
        limit = self.faults.stuck_compliance or self.settings.limit[limited]
        full = self.settings.measure_range[limited] * OVERRANGE
        if self.model.range_compliance and not self.settings.measure_auto[limited] and full < limit * (1 - 1e-9):
            return full, True
        return limit, False

    def tripped(self) -> bool:
        """What the instrument reports as compliance: the programmed limit, not that of the range."""
        return self.output and self._port.operating().limited and not self.clamp()[1]

    def protecting(self) -> bool:
        """Whether over-voltage protection holds the voltage below what was asked."""
        return self.output and self._cut()

    def reading_s(self, measured: Collection[Quantity]) -> float:
        """Seconds that a reading of these quantities takes."""
        settings = self.settings
        converted = [quantity for quantity in measured if quantity is not RESISTANCE] or [RESISTANCE]
        return self.latency.point_s + sum(
            self.latency.reading_s(settings.nplc[quantity], settings.autozero) * self._count(quantity)
            for quantity in converted
        )

    def settle(self) -> None:
        """Wait for the source delay."""
        function = self.settings.function
        automatic = self.settings.delay_auto[function]
        self.wait(self.latency.source_delay_s if automatic else self.settings.delay_s[function])

    def measure(self, measured: Collection[Quantity]) -> Sample:
        """Integrate and convert; automatic ranges follow what is there."""
        self.wait(self.reading_s(measured) / 2)
        true = self._seen()
        self.wait(self.reading_s(measured) / 2)
        voltage = self._convert(VOLTAGE, true.voltage_v, self.faults.offset_v)
        current = self._convert(CURRENT, true.current_a, self.faults.offset_a)
        overflow = INFINITY in (abs(voltage), abs(current))
        resistance = INFINITY if overflow or current == 0.0 else voltage / current
        source = voltage if self.settings.function is VOLTAGE else current
        by_range = self.clamp()[1]
        limited = self.output and true.limited
        return Sample(
            voltage if VOLTAGE in measured else NOT_A_NUMBER,
            current if CURRENT in measured else NOT_A_NUMBER,
            resistance if RESISTANCE in measured else NOT_A_NUMBER,
            source,
            self.clock.now_s(),
            overflow or (RESISTANCE in measured and resistance == INFINITY),
            limited and not by_range,
            limited and by_range,
            self.protecting(),
        )

    def present_range(self, quantity: Quantity) -> float:
        """The nominal range that readings of voltage or current are made on: that of the source for what is sourced."""
        settings = self.settings
        return settings.source_range[quantity] if settings.function is quantity else settings.measure_range[quantity]

    def _count(self, quantity: Quantity) -> int:
        return self.settings.averages[quantity] if self.settings.filtered[quantity] else 1

    def _ceiling_v(self) -> float:
        return min(self.settings.protection_v, INTERLOCK_V if self.faults.interlock_open else math.inf)

    def _wanted_v(self) -> float:
        level_v = self.settings.level[VOLTAGE]
        if self.settings.remote_sense and self.faults.open_sense and level_v:
            # the loop sees nothing come back and drives the output up as far as it can
            return math.copysign(self.settings.source_range[VOLTAGE] * OVERRANGE, level_v)
        return level_v

    def _cut(self) -> bool:
        return self.settings.function is VOLTAGE and abs(self._wanted_v()) > self._ceiling_v()

    def _drive(self) -> Drive:
        if not self.output:
            return self._off()
        limit, ceiling_v = self.clamp()[0], self._ceiling_v()
        if self.settings.function is CURRENT:
            return Drive(Mode.CURRENT, self.settings.level[CURRENT], min(limit, ceiling_v))
        return Drive(Mode.VOLTAGE, min(ceiling_v, max(-ceiling_v, self._wanted_v())), limit)

    def _off(self) -> Drive:
        settings = self.settings
        fraction = self.model.off_fraction
        if settings.off_state == "HIMP":
            return Drive(Mode.OPEN)
        if settings.off_state == "GUAR":
            return Drive(Mode.CURRENT, 0.0, fraction * self.present_range(VOLTAGE))
        limit_a = fraction * self.present_range(CURRENT)
        if settings.off_state == "ZERO":
            sources = settings.function is CURRENT
            limit_a = max(limit_a, abs(settings.level[CURRENT])) if sources else settings.limit[CURRENT]
        return Drive(Mode.VOLTAGE, 0.0, limit_a)

    def _seen(self) -> Operating:
        """What the meter sees in the middle of its integration: the output settles exponentially."""
        now = self._port.operating()
        tau_s = self.latency.settle_s * max(1.0, 1e-5 / self.present_range(CURRENT))
        if tau_s <= 0.0:
            return now
        left = math.exp(-(self.clock.now_s() - self._changed_s) / tau_s)
        if left < 1e-9:
            return now
        return Operating(
            now.voltage_v + left * (self._before.voltage_v - now.voltage_v),
            now.current_a + left * (self._before.current_a - now.current_a),
            now.limited,
        )

    def _convert(self, quantity: Quantity, true: float, offset: float) -> float:
        value = true + offset
        settings = self.settings
        if settings.function is not quantity and settings.measure_auto[quantity]:
            settings.measure_range[quantity] = self.model.range_for(quantity, value)
        nominal = self.present_range(quantity)
        cycles = max(settings.nplc[quantity], 1e-3) * self._count(quantity)
        sigma = self.faults.noise_scale * self.model.noise * nominal / math.sqrt(cycles)
        value += sigma * float(self._rng.standard_normal())
        if abs(value) > nominal * (OVERRANGE + 0.005):
            return math.copysign(INFINITY, value)
        step = self.model.resolution * nominal
        return round(value / step) * step
