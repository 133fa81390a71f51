"""Keithley 2400 series SourceMeter (2400, 2410, 2420, ...), in SCPI.

Two compliances hold on it: the level, and "range compliance" at 105 % of a fixed measuring range. Both are read back.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from drivers.smu.base import protection_step
from drivers.smu.interface import Compliance, Function, OffMeaning, OffState, Reading, reading
from drivers.smu.scpi import OTHER, SHORT, ScpiSmu
from pib_lab.errors import DeviceError

_OFF_MEANS = {
    OffState.NORMAL: "0 V with the current limited to 0.5 % of full scale; the relay stays closed",
    OffState.ZERO: "0 V with the compliance as it is set; the relay stays closed",
    OffState.HIGH_IMPEDANCE: "the output relay is open",
}
_PROTECTIONS_V = (20.0, 40.0, 60.0, 80.0, 100.0, 120.0, 160.0)
_OVERFLOW, _COMPLIANCE, _OVER_VOLTAGE, _RANGE_COMPLIANCE = 1 << 0, 1 << 3, 1 << 4, 1 << 16  # of the status word
_MAX_DELAY_S = 999.9999


class Keithley2400(ScpiSmu):
    """One 2400. Sweeps by source memory lists at about 1 ms a point; it has no pulses."""

    MODEL = r"MODEL 24[0-4]\d[A-Z-]*"

    def _say_hello(self) -> None:
        self._link.identify()
        self._link.command("*CLS")
        self._link.command(":ABOR")

    def _say_reset(self) -> None:
        for text in (
            "*RST",
            ":OUTP OFF",
            ":SYST:RSEN OFF",
            ":FORM:ELEM VOLT,CURR,STAT",
            ":SENS:FUNC:CONC ON",
            ':SENS:FUNC "VOLT","CURR"',
            ":TRIG:COUN 1",
            ":SOUR:DEL:AUTO ON",
        ):
            self._link.command(text)

    def _say_function(
        self, function: Function, compliance: float, level_range: float, measure_range: float | None
    ) -> None:
        source, sense = SHORT[function], OTHER[function]
        self._link.command(f":SOUR:FUNC {source}")
        self._link.command(f":SOUR:{source}:MODE FIX")
        self._link.command(f":SOUR:{source}:RANG {level_range:.6E}")
        self._link.command(f":SOUR:{source}:LEV 0")
        # a compliance is refused below 0.1 % of the measuring range, a range above that of the compliance
        self._link.command(f":SENS:{sense}:RANG:AUTO ON")
        self._link.command(f":SENS:{sense}:PROT {compliance:.6E}")
        if measure_range is not None:
            self._link.command(f":SENS:{sense}:RANG {min(measure_range, compliance):.6E}")

    def _say_compliance(self, function: Function, value: float) -> None:
        self._link.command(f":SENS:{OTHER[function]}:PROT {value:.6E}")

    def _ask_compliance(self, function: Function) -> Compliance:
        sense = f":SENS:{OTHER[function]}"
        level = self._link.ask_number(f"{sense}:PROT?")
        fixed = self._link.ask_number(f"{sense}:RANG:AUTO?") == 0.0
        # a range is answered with its full scale, 105 % of its name
        range_now = self._link.ask_number(f"{sense}:RANG?") / 1.05 if fixed else math.inf
        tripped = self._link.ask_number(f"{sense}:PROT:TRIP?") != 0.0 if self.on else False
        return Compliance(level, range_now, tripped)

    def _say_level(self, function: Function, level: float) -> None:
        self._link.command(f":SOUR:{SHORT[function]}:LEV {level:.6E}")

    def _ask_level(self, function: Function) -> float:
        return self._link.ask_number(f":SOUR:{SHORT[function]}:LEV?")

    def _say_integration(self, power_line_cycles: float) -> float:
        self._link.command(f":SENS:CURR:NPLC {power_line_cycles:g}")  # one setting for all functions of this model
        return self._link.ask_number(":SENS:CURR:NPLC?")

    def _say_off_state(self, state: OffState) -> OffMeaning:
        self._choose_off_state(":OUTP:SMOD", state)
        return OffMeaning(state, state is OffState.HIGH_IMPEDANCE, _OFF_MEANS[state])

    def _say_remote_sense(self, remote: bool) -> bool:
        self._link.command(f":SYST:RSEN {'ON' if remote else 'OFF'}")
        return self._link.ask_number(":SYST:RSEN?") != 0.0

    def _ask_readings(self, function: Function, count: int) -> list[Reading]:
        wait_s = self._wait_s(count)
        if count == 1:
            return _readings(self._link.ask_numbers(":READ?", 3, timeout_s=wait_s))
        self._link.command(f":TRIG:COUN {count}")
        try:
            return _readings(self._link.ask_numbers(":READ?", 3 * count, timeout_s=wait_s))
        finally:
            self._link.command(":TRIG:COUN 1")

    # ProtectsVoltage, Sweeps

    def set_over_voltage(self, limit_v: float) -> float:
        """20 to 160 V in the steps that the instrument has."""
        step_v = protection_step(_PROTECTIONS_V, limit_v, self.name)
        self._link.command(f":SOUR:VOLT:PROT {step_v:g}")
        held_v = self._link.ask_number(":SOUR:VOLT:PROT?")
        if not abs(held_v - step_v) <= 1e-3 * step_v:
            raise DeviceError(f"{self.name}: an over-voltage protection of {step_v:g} V reads back as {held_v:g} V")
        return held_v

    def sweep(self, levels: Sequence[float], dwell_s: float) -> list[Reading]:
        """A list sweep; the last level stays, as a fixed one."""
        function = self._check_sweep(levels, dwell_s)
        source = f":SOUR:{SHORT[function]}"
        self._link.command(f":SOUR:LIST:{SHORT[function]} {','.join(f'{level:.6E}' for level in levels)}")
        self._link.command(f":SOUR:DEL {min(dwell_s, _MAX_DELAY_S):g}")
        self._link.command(f":TRIG:COUN {len(levels)}")
        try:
            self._link.command(f"{source}:MODE LIST")
            wait_s, count = self._wait_s(len(levels), dwell_s), 3 * len(levels)
            return _readings(self._link.ask_numbers(":READ?", count, timeout_s=wait_s, idempotent=False))
        finally:
            self._link.command(f"{source}:LEV {levels[-1]:.6E}")
            self._link.command(f"{source}:MODE FIX")
            self._link.command(":TRIG:COUN 1")
            self._link.command(":SOUR:DEL:AUTO ON")


def _readings(numbers: Sequence[float]) -> list[Reading]:
    """Triples of voltage, current and status word."""
    made = []
    for at in range(0, len(numbers), 3):
        voltage, current, status = numbers[at : at + 3]
        word = int(status) if math.isfinite(status) else _OVERFLOW
        found = reading(voltage, current, bool(word & (_COMPLIANCE | _RANGE_COMPLIANCE | _OVER_VOLTAGE)))
        made.append(Reading(voltage, current, found.in_compliance, found.overflow or bool(word & _OVERFLOW)))
    return made
