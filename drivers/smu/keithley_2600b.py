"""Keithley 2600B series System SourceMeter, in TSP: one object for each of the two channels."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from drivers.chip.limits import ElectricalLimits
from drivers.smu.base import CheckedSmu, clamps, unguarded
from drivers.smu.interface import Compliance, Function, OffMeaning, OffState, Reading, reading
from drivers.wire.message import TSP, MessageInstrument, number
from drivers.wire.transport import Transport
from pib_lab.device import Clock
from pib_lab.errors import ConfigurationError, DeviceError

_SHORT = {Function.VOLTAGE: "v", Function.CURRENT: "i"}
_OTHER = {Function.VOLTAGE: "i", Function.CURRENT: "v"}
_SOURCES = {Function.VOLTAGE: "OUTPUT_DCVOLTS", Function.CURRENT: "OUTPUT_DCAMPS"}
_OFF_STATES = {OffState.NORMAL: "OUTPUT_NORMAL", OffState.ZERO: "OUTPUT_ZERO", OffState.HIGH_IMPEDANCE: "OUTPUT_HIGH_Z"}
_OFF_MEANS = {
    OffState.NORMAL: "0 V with the current limited to 1 mA (offlimiti); the relay stays closed",
    OffState.ZERO: "0 V with the limit as it is set; the relay stays closed",
    OffState.HIGH_IMPEDANCE: "the output relay is open",
}
_ON = 1.0  # of source.output; 2 is off with the relay open
_LINE = 20  # levels of a sweep in one message: the instrument's input line is not endless


class Keithley2600B(CheckedSmu):
    """Channel "a" or "b" of a 2601B to 2636B; both may share one transport. It times pulses and sweeps by itself.

    It has no over-voltage protection besides the limit of a current source.
    """

    def __init__(
        self,
        transport: Transport,
        limits: ElectricalLimits,
        clock: Clock,
        channel: str,
        name: str = "2600B",
        guard: Callable[[], None] = unguarded,
    ) -> None:
        if channel not in ("a", "b"):
            raise ConfigurationError(f"{name}: channel {channel!r} does not exist; choose a or b")
        super().__init__(f"{name} channel {channel}", limits, clock, guard)
        self._link = MessageInstrument(transport, TSP, name=self.name, model=r"MODEL 26\d\dB?")
        self._smu = f"smu{channel}"

    def _say_hello(self) -> None:
        self._link.identify()
        self._link.command("errorqueue.clear()")

    def _say_reset(self) -> None:
        self._link.command(f"{self._smu}.reset()")
        self._set("source.output", f"{self._smu}.OUTPUT_OFF")
        self._set("sense", f"{self._smu}.SENSE_LOCAL")

    def _set(self, attribute: str, value: str | float) -> None:
        shown = value if isinstance(value, str) else f"{value:.6e}"
        self._link.command(f"{self._smu}.{attribute} = {shown}")

    def _get(self, attribute: str) -> float:
        return self._link.ask_number(f"print({self._smu}.{attribute})")

    def _say_function(
        self, function: Function, compliance: float, level_range: float, measure_range: float | None
    ) -> None:
        source, sense = _SHORT[function], _OTHER[function]
        self._set("source.func", f"{self._smu}.{_SOURCES[function]}")
        self._set(f"source.level{source}", 0.0)
        self._set(f"source.range{source}", level_range)
        self._set(f"source.limit{sense}", compliance)
        if measure_range is None:
            self._set(f"measure.autorange{sense}", f"{self._smu}.AUTORANGE_ON")
        else:
            self._set(f"measure.range{sense}", measure_range)

    def _say_compliance(self, function: Function, value: float) -> None:
        self._set(f"source.limit{_OTHER[function]}", value)

    def _ask_compliance(self, function: Function) -> Compliance:
        sense = _OTHER[function]
        level = self._get(f"source.limit{sense}")
        fixed = self._get(f"measure.autorange{sense}") == 0.0
        range_now = self._get(f"measure.range{sense}") if fixed else math.inf
        return Compliance(level, range_now, self._tripped() if self.on else False)

    def _tripped(self) -> bool:
        return _truth(self._link.ask(f"print({self._smu}.source.compliance)"), self.name)

    def _say_level(self, function: Function, level: float) -> None:
        self._set(f"source.level{_SHORT[function]}", level)

    def _ask_level(self, function: Function) -> float:
        return self._get(f"source.level{_SHORT[function]}")

    def _say_output(self, on: bool) -> None:
        self._set("source.output", f"{self._smu}.OUTPUT_{'ON' if on else 'OFF'}")

    def _ask_output(self) -> bool:
        return self._get("source.output") == _ON

    def _say_integration(self, power_line_cycles: float) -> float:
        self._set("measure.nplc", power_line_cycles)
        return self._get("measure.nplc")

    def _say_off_state(self, state: OffState) -> OffMeaning:
        self._set("source.offmode", f"{self._smu}.{_OFF_STATES[state]}")
        held = self._link.ask(f"print({self._smu}.source.offmode == {self._smu}.{_OFF_STATES[state]})")
        if not _truth(held, self.name):
            raise DeviceError(f"{self.name}: off state {state} was chosen and does not read back")
        return OffMeaning(state, state is OffState.HIGH_IMPEDANCE, _OFF_MEANS[state])

    def _say_remote_sense(self, remote: bool) -> bool:
        self._set("sense", f"{self._smu}.SENSE_{'REMOTE' if remote else 'LOCAL'}")
        return _truth(self._link.ask(f"print({self._smu}.sense == {self._smu}.SENSE_REMOTE)"), self.name)

    def _ask_readings(self, function: Function, count: int) -> list[Reading]:
        smu = self._smu
        if count == 1:
            answer = self._link.ask(
                f"local i, v = {smu}.measure.iv() print(i, v, {smu}.source.compliance, {smu}.source.output)",
                timeout_s=self._wait_s(1),
            )
            current, voltage, clamped, output = _fields(answer, 4, self.name)
            self._still_on(_number(output, self.name) == _ON)
            return [reading(_number(voltage, self.name), _number(current, self.name), _truth(clamped, self.name))]
        self._clear_buffers()
        self._link.command(f"{smu}.measure.count = {count}")
        try:
            self._run(f"{smu}.measure.iv({smu}.nvbuffer1, {smu}.nvbuffer2)", self._wait_s(count))
            return self._fetch(function, count)
        finally:
            self._link.command(f"{smu}.measure.count = 1")

    def _run(self, statements: str, wait_s: float, result: str = "true") -> str:
        """Statements that take their time, never sent twice; what they print at the end shows that they are done.

        This model measures with its output off as well, so the output's state is asked for in the same message.
        """
        message = f"{statements} print({result}, {self._smu}.source.output)"
        answer, output = _fields(self._link.ask(message, timeout_s=wait_s, idempotent=False), 2, self.name)
        errors = self._link.take_errors()
        if errors:
            raise DeviceError(f"{self.name}: after {statements[:80]!r} the instrument says: {'; '.join(errors)}")
        self._still_on(_number(output, self.name) == _ON)
        return answer

    def _clear_buffers(self) -> None:
        for buffer in (f"{self._smu}.nvbuffer1", f"{self._smu}.nvbuffer2"):
            self._link.command(f"{buffer}.clear() {buffer}.appendmode = 1")

    def _fetch(self, function: Function, count: int) -> list[Reading]:
        smu = self._smu
        held = self._ask_compliance(function)
        currents, voltages = (
            self._link.ask_numbers(f"printbuffer(1, {count}, {smu}.nvbuffer{buffer}.readings)", count)
            for buffer in (1, 2)
        )
        made = []
        for voltage, current in zip(voltages, currents, strict=True):
            measured = current if function is Function.VOLTAGE else voltage
            made.append(reading(voltage, current, clamps(measured, held)))
        return made

    # Pulses, Sweeps

    def pulse(self, level: float, width_s: float, base: float = 0.0) -> bool:
        """Timed by the instrument; asking for the clamp lengthens it by the time of one statement."""
        source = _SHORT[self._check_pulse(level, width_s, base)]
        answer = self._run(
            f"{self._smu}.source.level{source} = {level:.6e} delay({width_s:.6e}) "
            f"local clamped = {self._smu}.source.compliance {self._smu}.source.level{source} = {base:.6e}",
            self._wait_s(1, width_s),
            "clamped",
        )
        return _truth(answer, self.name)

    def sweep(self, levels: Sequence[float], dwell_s: float) -> list[Reading]:
        """Timed by the instrument, in messages of a few levels each; between messages a level stands longer."""
        function = self._check_sweep(levels, dwell_s)
        smu = self._smu
        self._clear_buffers()
        for start in range(0, len(levels), _LINE):
            steps = [
                f"{smu}.source.level{_SHORT[function]} = {level:.6e} delay({dwell_s:.6e}) "
                f"{smu}.measure.iv({smu}.nvbuffer1, {smu}.nvbuffer2)"
                for level in levels[start : start + _LINE]
            ]
            self._run(" ".join(steps), self._wait_s(len(steps), dwell_s))
        return self._fetch(function, len(levels))


def _fields(answer: str, count: int, name: str) -> list[str]:
    parts = answer.split()
    if len(parts) != count:
        raise DeviceError(f"{name}: answered {answer!r} where {count} values were asked for")
    return parts


def _number(text: str, name: str) -> float:
    """A number of a mixed answer."""
    try:
        return number(text)
    except ValueError as error:
        raise DeviceError(f"{name}: a reading was answered by {text!r}: {error}") from None


def _truth(text: str, name: str) -> bool:
    word = text.strip().lower()
    if word not in ("true", "false"):
        raise DeviceError(f"{name}: answered {text!r} where true or false was asked for; prepare() it again")
    return word == "true"
