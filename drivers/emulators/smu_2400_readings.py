"""What a Keithley 2400 does with readings: data elements with the status word, the trace buffer, its statistics."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from drivers.emulators.scpi_numbers import NOT_A_NUMBER
from drivers.emulators.scpi_status import ScpiError
from drivers.emulators.source_measure import CURRENT, RESISTANCE, VOLTAGE, Quantity, Sample, Settings

ELEMENTS = "VOLTage CURRent RESistance TIME STATus"
ORDER = ("VOLT", "CURR", "RES", "TIME", "STAT")
BUFFER_LIMIT = 2500


@dataclass(frozen=True, slots=True)
class Reading2400:
    """One reading by element name."""

    values: dict[str, float]

    def pick(self, elements: Sequence[str]) -> list[float]:
        """Values of the elements, always in the instrument's own order."""
        return [self.values[name] for name in ORDER if name in elements]


def reading(
    sample: Sample, settings: Settings, functions: Sequence[Quantity], front: bool, origin_s: float
) -> Reading2400:
    """A sample with its status word. What is sourced and not measured appears as it was programmed."""
    voltage, current = sample.voltage_v, sample.current_a
    if VOLTAGE not in functions:
        voltage = settings.level[VOLTAGE] if settings.function is VOLTAGE else NOT_A_NUMBER
    if CURRENT not in functions:
        current = settings.level[CURRENT] if settings.function is CURRENT else NOT_A_NUMBER
    bits = {
        0: sample.overflow,
        1: any(settings.filtered.values()),
        2: front,
        3: sample.compliance,
        4: sample.protection,
        11: VOLTAGE in functions,
        12: CURRENT in functions,
        13: RESISTANCE in functions,
        14: settings.function is VOLTAGE,
        15: settings.function is CURRENT,
        16: sample.range_compliance,
        22: settings.remote_sense,
    }
    word = sum(1 << bit for bit, is_set in bits.items() if is_set)
    values = (voltage, current, sample.resistance_ohm, sample.time_s - origin_s, float(word))
    return Reading2400(dict(zip(ORDER, values, strict=True)))


@dataclass
class Trace:
    """The buffer: it takes readings while `control` is NEXT, and stops itself when it is full."""

    points: int = 100
    control: str = "NEV"
    readings: list[Reading2400] = field(default_factory=list)

    def take(self, taken: Reading2400) -> bool:
        """Store a reading if that is wanted; True when the buffer has just become full."""
        if self.control != "NEXT":
            return False
        self.readings.append(taken)
        if len(self.readings) < self.points:
            return False
        self.control = "NEV"
        return True

    def resize(self, points: float) -> None:
        """The number of readings it holds, which empties it. Refused while it is taking them."""
        if self.control == "NEXT":
            raise ScpiError(800, "Illegal with storage active")
        self.points, self.readings = int(points), []

    def set_control(self, control: str) -> None:
        """NEXT begins anew."""
        if control == "NEXT":
            self.readings = []
        self.control = control

    def statistic(self, form: str) -> list[float]:
        """MEAN, SDEViation, MAXimum, MINimum or PKPK of voltage, current and resistance."""
        if not self.readings:
            raise ScpiError(-230)
        return [_statistic(form, [one.values[name] for one in self.readings]) for name in ("VOLT", "CURR", "RES")]


_FORMS: dict[str, Callable[[list[float]], float]] = {
    "MEAN": statistics.fmean,
    "SDEV": lambda values: statistics.stdev(values) if len(values) > 1 else 0.0,
    "MAX": max,
    "MIN": min,
    "PKPK": lambda values: max(values) - min(values),
}


def _statistic(form: str, values: list[float]) -> float:
    return NOT_A_NUMBER if NOT_A_NUMBER in values else _FORMS[form](values)
