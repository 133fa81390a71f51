"""Reading buffers of a Keithley 2450 ("defbuffer1", ...): what was measured, element by element."""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from drivers.emulators.scpi import Parameters
from drivers.emulators.scpi_numbers import scientific
from drivers.emulators.scpi_status import ScpiError
from drivers.emulators.scpi_syntax import forms

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
"""The emulated calendar when the clock stands at nought."""
ELEMENTS = (
    "READing SOURce RELative FORMatted SOURFORMatted STATus SOURSTATus UNIT SOURUNIT "
    "SEConds FRACtional TSTamp DATE TIME"
)
CAPACITY, CAPACITY_MIN, CAPACITY_MAX = 100_000, 10, 6_875_000
DEFAULTS = ("defbuffer1", "defbuffer2")
BUFFER_LIMIT = 32


@dataclass(frozen=True, slots=True)
class Reading2450:
    """One reading: what was measured and what was sourced with it, units, flags, and when."""

    value: float
    source: float
    unit: str
    source_unit: str
    source_status: int
    time_s: float

    def element(self, name: str, first_s: float) -> str:
        """One element as text; relative time counts from the buffer's first reading."""
        when = EPOCH + timedelta(seconds=self.time_s)
        return {
            "READ": scientific(self.value),
            "SOUR": scientific(self.source),
            "REL": f"{self.time_s - first_s:.6f}",
            "FORM": f"{self.value:+.6E} {self.unit}",
            "SOURFORM": f"{self.source:+.6E} {self.source_unit}",
            "STAT": "0",
            "SOURSTAT": str(self.source_status),
            "UNIT": self.unit,
            "SOURUNIT": self.source_unit,
            "SEC": f"{int(when.timestamp())}",
            "FRAC": f"{self.time_s % 1.0:.6f}",
            "TST": when.strftime("%m/%d/%Y %H:%M:%S.%f"),
            "DATE": when.strftime("%m/%d/%Y"),
            "TIME": when.strftime("%H:%M:%S.%f"),
        }[name]


@dataclass
class Buffer:
    """Readings in order; when it is full the oldest make room (CONTinuous), or no more are stored (ONCE)."""

    capacity: int = CAPACITY
    fill: str = "CONT"
    readings: deque[Reading2450] = field(default_factory=deque)

    def take(self, reading: Reading2450) -> None:
        """Store a reading."""
        if len(self.readings) >= self.capacity:
            if self.fill == "ONCE":
                return
            self.readings.popleft()
        self.readings.append(reading)

    def text(self, start: int, end: int, elements: Sequence[str]) -> str:
        """Elements of readings `start` to `end`, counted from 1."""
        if not 1 <= start <= end <= len(self.readings):
            raise ScpiError(-222)
        first_s = self.readings[0].time_s
        picked = list(self.readings)[start - 1 : end]
        return ",".join(reading.element(name, first_s) for reading in picked for name in elements)

    def statistic(self, form: str) -> str:
        """AVER, MAX, MIN, STDD or PKPK of the readings."""
        values = [reading.value for reading in self.readings]
        if not values:
            raise ScpiError(-230)
        average = statistics.fmean(values)
        return scientific(
            {
                "AVER": average,
                "MAX": max(values),
                "MIN": min(values),
                "STDD": statistics.pstdev(values, average),
                "PKPK": max(values) - min(values),
            }[form]
        )


class Buffers:
    """All buffers by name; names do not mind case, and two of them are always there."""

    def __init__(self) -> None:
        self._made: dict[str, Buffer] = {name: Buffer() for name in DEFAULTS}

    def find(self, parameters: Parameters, place: int = 0) -> Buffer:
        """The buffer named at a place of the parameters, or the first default one."""
        name = parameters[place].string() if len(parameters) > place else DEFAULTS[0]
        if name.lower() not in self._made:
            raise ScpiError(-224, f"Buffer {name[:32]} does not exist")
        return self._made[name.lower()]

    def make(self, parameters: Parameters) -> None:
        """:TRACe:MAKE "name", size[, style]."""
        name = parameters[0].string().lower()
        if not name.isidentifier() or len(name) > 31 or len(self._made) >= BUFFER_LIMIT:
            raise ScpiError(-224)
        if name in DEFAULTS:
            raise ScpiError(-224, "A default buffer cannot be made")
        self._made[name] = Buffer(int(parameters[1].number(CAPACITY_MIN, CAPACITY_MAX, CAPACITY)))
        if len(parameters) > 2:
            parameters[2].choice("STANdard COMPact FULL WRITable FULLWRITable")

    def delete(self, parameters: Parameters) -> None:
        """:TRACe:DELete "name"."""
        if self.find(parameters) in [self._made[name] for name in DEFAULTS]:
            raise ScpiError(-224, "A default buffer cannot be deleted")
        del self._made[parameters[0].string().lower()]

    def reset(self) -> None:
        """*RST: the default buffers, empty."""
        self._made = {name: Buffer() for name in DEFAULTS}


def elements(parameters: Parameters, start: int) -> list[str]:
    """Element names from a place of the parameters on; the reading alone when there are none."""
    return [parameter.choice(ELEMENTS) for parameter in parameters[start:]] or [forms("READing")[1]]
