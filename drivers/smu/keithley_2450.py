"""Keithley 2450 SourceMeter, in SCPI. It speaks TSP as well, and must be told on its front panel to speak SCPI."""

from __future__ import annotations

import math
from collections.abc import Sequence

from drivers.smu.base import clamps, protection_step
from drivers.smu.interface import Compliance, Function, OffMeaning, OffState, Reading, reading
from drivers.smu.scpi import OTHER, SHORT, ScpiSmu
from pib_lab.errors import DeviceError

_LIMIT = {Function.VOLTAGE: "ILIM", Function.CURRENT: "VLIM"}
_OFF_MEANS = {
    OffState.NORMAL: "0 V with the current limited to 10 % of full scale; the relay stays closed",
    OffState.ZERO: "0 V with the limit as it is set; the relay stays closed",
    OffState.HIGH_IMPEDANCE: "the output relay is open",
}
_PROTECTIONS_V = (2, 5, 10, 20, 40, 60, 80, 100, 120, 140, 160, 180)
_LEAST_DELAY_S = 50e-6


class Keithley2450(ScpiSmu):
    """One 2450. Sweeps by a source list; it has no pulses."""

    MODEL = "MODEL 2450"

    def _say_hello(self) -> None:
        self._link.identify()
        language = self._link.ask("*LANG?").strip().upper()
        if language != "SCPI":
            raise DeviceError(
                f"{self.name}: it speaks {language}; choose SCPI in MENU > System > Settings > Command Set, restart it"
            )
        self._link.command("*CLS")
        self._link.command(":ABOR")

    def _say_reset(self) -> None:
        for text in ("*RST", ":OUTP OFF", ":SENS:COUN 1"):
            self._link.command(text)

    def _say_function(
        self, function: Function, compliance: float, level_range: float, measure_range: float | None
    ) -> None:
        source, sense = SHORT[function], OTHER[function]
        self._link.command(f":SOUR:FUNC {source}")
        self._link.command(f':SENS:FUNC "{sense}"')
        self._link.command(f":SOUR:{source}:RANG {level_range:.6E}")
        self._link.command(f":SOUR:{source} 0")
        self._link.command(f":SOUR:{source}:READ:BACK ON")
        self._link.command(f":SOUR:{source}:{_LIMIT[function]} {compliance:.6E}")
        if measure_range is None:
            self._link.command(f":SENS:{sense}:RANG:AUTO ON")
        else:
            self._link.command(f":SENS:{sense}:RANG {measure_range:.6E}")

    def _say_compliance(self, function: Function, value: float) -> None:
        self._link.command(f":SOUR:{SHORT[function]}:{_LIMIT[function]} {value:.6E}")

    def _ask_compliance(self, function: Function) -> Compliance:
        limit, sense = f":SOUR:{SHORT[function]}:{_LIMIT[function]}", f":SENS:{OTHER[function]}:RANG"
        level = self._link.ask_number(f"{limit}?")
        fixed = self._link.ask_number(f"{sense}:AUTO?") == 0.0
        range_now = self._link.ask_number(f"{sense}?") if fixed else math.inf
        return Compliance(level, range_now, self._tripped(function) if self.on else False)

    def _tripped(self, function: Function) -> bool:
        return self._link.ask_number(f":SOUR:{SHORT[function]}:{_LIMIT[function]}:TRIP?") != 0.0

    def _say_level(self, function: Function, level: float) -> None:
        self._link.command(f":SOUR:{SHORT[function]} {level:.6E}")

    def _ask_level(self, function: Function) -> float:
        return self._link.ask_number(f":SOUR:{SHORT[function]}?")

    def _say_integration(self, power_line_cycles: float) -> float:
        for sense in ("CURR", "VOLT"):
            self._link.command(f":SENS:{sense}:NPLC {power_line_cycles:g}")
        return self._link.ask_number(":SENS:CURR:NPLC?")

    def _say_off_state(self, state: OffState) -> OffMeaning:
        for source in ("VOLT", "CURR"):
            self._choose_off_state(f":OUTP:{source}:SMOD", state)
        return OffMeaning(state, state is OffState.HIGH_IMPEDANCE, _OFF_MEANS[state])

    def _say_remote_sense(self, remote: bool) -> bool:
        held = []
        for sense in ("CURR", "VOLT"):
            self._link.command(f":SENS:{sense}:RSEN {'ON' if remote else 'OFF'}")
            held.append(self._link.ask_number(f":SENS:{sense}:RSEN?") != 0.0)
        return remote if held == [remote, remote] else not remote

    def _ask_readings(self, function: Function, count: int) -> list[Reading]:
        wait_s = self._wait_s(count)
        if count == 1:
            numbers = self._link.ask_numbers(':READ? "defbuffer1", SOUR, READ', 2, timeout_s=wait_s)
            return self._readings(function, numbers)
        self._link.command(f":SENS:COUN {count}")
        try:
            self._link.command(':TRAC:CLE "defbuffer1"')
            # answers with the last of the series, once there is all of it; a repeated one would measure all again
            self._link.ask_number(':READ? "defbuffer1", READ', timeout_s=wait_s, idempotent=False)
            return self._readings(function, self._traced(count))
        finally:
            self._link.command(":SENS:COUN 1")

    def _traced(self, count: int) -> list[float]:
        return self._link.ask_numbers(f':TRAC:DATA? 1, {count}, "defbuffer1", SOUR, READ', 2 * count)

    def _readings(self, function: Function, numbers: Sequence[float]) -> list[Reading]:
        """Pairs of source and measured value. A single one is flagged by the instrument, a series by its numbers."""
        single = len(numbers) == 2
        held = None if single else self._ask_compliance(function)
        made = []
        for source, measured in zip(numbers[::2], numbers[1::2], strict=True):
            clamped = self._tripped(function) if held is None else clamps(measured, held)
            pair = (source, measured) if function is Function.VOLTAGE else (measured, source)
            made.append(reading(*pair, clamped))
        return made

    # ProtectsVoltage, Sweeps

    def set_over_voltage(self, limit_v: float) -> float:
        """2 to 180 V in the steps that the instrument has."""
        step_v = protection_step(_PROTECTIONS_V, limit_v, self.name)
        self._link.command(f":SOUR:VOLT:PROT PROT{step_v:g}")
        held = self._link.ask(":SOUR:VOLT:PROT?").strip().upper()
        if held != f"PROT{step_v:g}":
            raise DeviceError(f"{self.name}: an over-voltage protection of {step_v:g} V reads back as {held}")
        return float(step_v)

    def sweep(self, levels: Sequence[float], dwell_s: float) -> list[Reading]:
        """A list sweep by the instrument's own trigger model, which switches the output on by itself and ends with it
        off: it is switched on again at the last level. In the high-impedance off state that costs two operations of
        the output relay. An output that has gone off beforehand stays off."""
        function = self._check_sweep(levels, dwell_s)
        self._still_on(self._ask_output())
        source, count = SHORT[function], len(levels)
        self._link.command(f":SOUR:LIST:{source} {','.join(f'{level:.6E}' for level in levels)}")
        delay_s = max(dwell_s, _LEAST_DELAY_S) if dwell_s > 0.0 else 0.0
        self._link.command(f":SOUR:SWE:{source}:LIST 1, {delay_s:g}")
        self._link.ask_number(":INIT;*OPC?", timeout_s=self._wait_s(count, dwell_s), idempotent=False)
        errors = self._link.take_errors()
        if errors:
            raise DeviceError(f"{self.name}: the sweep ended with {'; '.join(errors)}")
        numbers = self._traced(count)
        self._link.command(f":SOUR:{source} {levels[-1]:.6E}")
        if not self.is_on():
            self.switch(True)
        return self._readings(function, numbers)
