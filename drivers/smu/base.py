"""What every source-measure unit's driver shares: the order of commands and the limits. Subclasses only speak."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import suppress

from drivers.chip.limits import ElectricalLimits
from drivers.smu.interface import Compliance, Function, OffMeaning, OffState, Reading
from pib_lab.device import Clock
from pib_lab.errors import DeviceError, LimitError

BUFFER = 100
"""Readings, or levels of a sweep, that every model takes at once."""
_AGREES = 0.01
_STEPS = 10_000
_DESCENT = 20  # steps from whatever an instrument is found at to zero


def unguarded() -> None:
    """Nobody is asked before an output goes on: for a bench at which somebody stands."""


class CheckedSmu(ABC):
    """Refuses what is out of order or beyond the limits before anything is sent; checks what was read back.

    The limits are those of what is connected, not of the instrument, which has its own and answers with errors.
    `guard` is called before each command that lets the output go on, and before each level other than zero while it is
    on; it raises DeviceError when the output must be off.
    """

    def __init__(self, name: str, limits: ElectricalLimits, clock: Clock, guard: Callable[[], None]) -> None:
        self.name = name
        self._limits = limits
        self._clock = clock
        self._guard = guard
        self._function: Function | None = None
        self._compliance = 0.0
        self.on = False
        """The output's state when it was last read back."""
        self._cycles = 1.0

    # The instrument's language

    @abstractmethod
    def _say_hello(self) -> None: ...

    @abstractmethod
    def _say_reset(self) -> None: ...

    @abstractmethod
    def _say_function(
        self, function: Function, compliance: float, level_range: float, measure_range: float | None
    ) -> None: ...

    @abstractmethod
    def _say_compliance(self, function: Function, value: float) -> None: ...

    @abstractmethod
    def _ask_compliance(self, function: Function) -> Compliance: ...

    @abstractmethod
    def _say_level(self, function: Function, level: float) -> None: ...

    @abstractmethod
    def _ask_level(self, function: Function) -> float: ...

    @abstractmethod
    def _say_output(self, on: bool) -> None: ...

    @abstractmethod
    def _ask_output(self) -> bool: ...

    @abstractmethod
    def _say_integration(self, power_line_cycles: float) -> float: ...

    @abstractmethod
    def _say_off_state(self, state: OffState) -> OffMeaning: ...

    @abstractmethod
    def _say_remote_sense(self, remote: bool) -> bool: ...

    @abstractmethod
    def _ask_readings(self, function: Function, count: int) -> list[Reading]: ...

    # SourceMeasureUnit

    def prepare(self) -> None:
        """Identity; an output found on is first brought to zero and read back off; then a reset, two-wire sensing."""
        self._function, self._cycles = None, 1.0
        self._say_hello()
        if self.is_on():  # a reset would drop it at once, with whatever is connected
            with suppress(DeviceError):  # off is what matters, and is read back
                self._bring_down()
            self.switch(False)
        self._say_reset()
        self.switch(False)

    def _bring_down(self) -> None:
        """Levels of both functions to zero in steps, for which of them is in force does not matter."""
        for function in Function:
            start = self._ask_level(function)
            if start != 0.0:
                self._walk(function, start, 0.0, _DESCENT)

    def source_voltage(
        self, compliance_a: float, *, level_range_v: float, measure_range_a: float | None = None
    ) -> Compliance:
        """Force a voltage with the current limited to `compliance_a`."""
        self._limits.check_voltage(level_range_v, 0.0, f"{self.name}: range")
        self._limits.check_voltage(0.0, _magnitude(compliance_a, self.name), self.name)
        return self._source(Function.VOLTAGE, compliance_a, level_range_v, measure_range_a)

    def source_current(
        self, compliance_v: float, *, level_range_a: float, measure_range_v: float | None = None
    ) -> Compliance:
        """Force a current with the voltage limited to `compliance_v`."""
        self._limits.check_current(level_range_a, 0.0, f"{self.name}: range")
        self._limits.check_current(0.0, _magnitude(compliance_v, self.name), self.name)
        return self._source(Function.CURRENT, compliance_v, level_range_a, measure_range_v)

    def _source(
        self, function: Function, compliance: float, level_range: float, measure_range: float | None
    ) -> Compliance:
        self._require_off("its function is chosen")
        self._function = None
        self._say_function(function, compliance, level_range, measure_range)
        self._function = function
        return self._confirmed(compliance)

    def set_compliance(self, value: float) -> Compliance:
        """Another compliance; checked together with the level that is forced now."""
        function = self._require_function()
        self._check(self._ask_level(function), _magnitude(value, self.name))
        self._say_compliance(function, value)
        return self._confirmed(value)

    def _confirmed(self, wanted: float) -> Compliance:
        """What was read back; what is not as wanted leaves the unit without a function, so that it cannot go on."""
        held = self._ask_compliance(self._require_function())
        if not abs(held.level - wanted) <= _AGREES * wanted:
            self._function = None
            raise DeviceError(
                f"{self.name}: compliance was set to {wanted:g} and reads back as {held.level:g}; choose a measuring "
                "range that allows it, and look at the instrument's front panel"
            )
        self._compliance = wanted
        return held

    def compliance(self) -> Compliance:
        """As the instrument tells it."""
        return self._ask_compliance(self._require_function())

    def set_level(self, level: float) -> None:
        """Force this from now on. Raises DeviceError, with the level as it was, when nobody guards the output."""
        function = self._require_function()
        self._check(level, self._compliance)
        self._guarded(level)
        self._say_level(function, level)

    def level(self) -> float:
        """The level as read back."""
        return self._ask_level(self._require_function())

    def ramp_to(self, level: float, step: float, dwell_s: float = 0.0) -> None:
        """Equal steps from the level that is read back; LimitError, before the first, for a level beyond the limits."""
        function = self._require_function()
        self._check(level, self._compliance)
        start = self._ask_level(function)
        if not (step > 0.0 and abs(level - start) / step <= _STEPS):
            raise LimitError(
                f"{self.name}: a ramp from {start:g} to {level:g} in steps of {step:g}: choose larger steps"
            )
        self._guarded(level)
        count = math.ceil(abs(level - start) / step * (1.0 - 1e-9))
        self._walk(function, start, level, count, dwell_s)

    def _walk(self, function: Function, start: float, end: float, count: int, dwell_s: float = 0.0) -> None:
        for number in range(1, count + 1):
            self._say_level(function, end if number == count else start + (end - start) * number / count)
            self._clock.sleep_s(dwell_s)

    def switch(self, on: bool) -> None:
        """Output on or off, read back. On only with function and compliance chosen, and when the guard lets it."""
        if on:
            self._require_function()
            self._guard()
        self._say_output(on)
        self.on = self._ask_output()
        if self.on is not on:
            raise DeviceError(
                f"{self.name}: the output was switched {'on' if on else 'off'} and reads back "
                f"{'on' if self.on else 'off'}; look at the interlock and the front panel"
            )

    def is_on(self) -> bool:
        """The output's state as read back."""
        self.on = self._ask_output()
        return self.on

    def set_integration(self, power_line_cycles: float) -> float:
        """Integration time, as read back; DeviceError when it is not what was asked."""
        held = self._say_integration(power_line_cycles)
        if not abs(held - power_line_cycles) <= _AGREES * power_line_cycles:
            raise DeviceError(
                f"{self.name}: an integration of {power_line_cycles:g} power-line cycles reads back as {held:g}"
            )
        self._cycles = held
        return held

    def set_off_state(self, state: OffState) -> OffMeaning:
        """What "off" does; to be chosen while it is off."""
        self._require_off("its off state is chosen")
        return self._say_off_state(state)

    def set_remote_sense(self, remote: bool) -> None:
        """Two or four wires; to be chosen while it is off."""
        self._require_off("sensing is chosen")
        if self._say_remote_sense(remote) is not remote:
            raise DeviceError(
                f"{self.name}: {'remote' if remote else 'local'} sensing was chosen and does not read back"
            )

    def read(self) -> Reading:
        """Measure once."""
        return self.read_buffered(1)[0]

    def read_buffered(self, count: int) -> list[Reading]:
        """Measure `count` times into the instrument's buffer and fetch them together."""
        function = self._require_on()
        if not 1 <= count <= BUFFER:
            raise LimitError(f"{self.name}: {count} readings at once; ask for 1 to {BUFFER}")
        readings = self._ask_readings(function, count)
        if len(readings) != count:
            raise DeviceError(f"{self.name}: {count} readings were asked for and {len(readings)} came")
        return readings

    # Help for subclasses

    def _wait_s(self, count: int, dwell_s: float = 0.0) -> float:
        """How long `count` readings may take: ample for two quantities, auto zero and a few changes of range."""
        return 5.0 + count * (dwell_s + 0.1 + 0.2 * self._cycles)

    def _guarded(self, level: float) -> None:
        """The way to zero is always free."""
        if self.on and level != 0.0:
            self._guard()

    def _check(self, level: float, compliance: float) -> None:
        check = self._limits.check_voltage if self._function is Function.VOLTAGE else self._limits.check_current
        check(level, compliance, self.name)

    def _check_sweep(self, levels: Sequence[float], dwell_s: float) -> Function:
        """Raise unless the output is on, every level is within the limits and the list fits."""
        function = self._require_on()
        if not (1 <= len(levels) <= BUFFER and 0.0 <= dwell_s <= 10.0):
            raise LimitError(f"{self.name}: a sweep takes 1 to {BUFFER} levels of at most 10 s each")
        for level in levels:
            self._check(level, self._compliance)
        self._guard()
        return function

    def _check_pulse(self, level: float, width_s: float, base: float) -> Function:
        function = self._require_on()
        self._check(level, self._compliance)
        self._check(base, self._compliance)
        if not 0.0 < width_s <= 10.0:
            raise LimitError(f"{self.name}: a pulse of {width_s:g} s; choose a width above 0 and up to 10 s")
        if function is Function.VOLTAGE:  # the rate is that of a cell, which only the caller knows
            self._limits.check_pulse(level, self._compliance, width_s, math.inf, self.name)
        self._guard()
        return function

    def _require_function(self) -> Function:
        if self._function is None:
            raise DeviceError(f"{self.name}: nothing says what it may force; call source_voltage() or source_current()")
        return self._function

    def _require_on(self) -> Function:
        function = self._require_function()
        if not self.on:
            raise DeviceError(f"{self.name}: its output is off, so nothing can be measured; switch it on first")
        return function

    def _still_on(self, on: bool) -> None:
        """What the output's state was once something had been done with it; DeviceError when it had gone off."""
        self.on = on
        if not on:
            raise DeviceError(
                f"{self.name}: its output has gone off by itself, so nothing that was measured or pulsed counts; look "
                "at the interlock and the front panel, then start again"
            )

    def _require_off(self, what: str) -> None:
        if self.on:
            raise DeviceError(f"{self.name}: switch its output off before {what}")


def _magnitude(value: float, name: str) -> float:
    if not (value > 0.0 and math.isfinite(value)):
        raise LimitError(f"{name}: a compliance of {value:g} is no limit; give a magnitude above zero")
    return value


def protection_step(steps_v: Sequence[float], limit_v: float, name: str) -> float:
    """The lowest of an instrument's over-voltage protections that is not below `limit_v`; LimitError without one."""
    fitting = [step_v for step_v in steps_v if step_v >= limit_v]
    if not fitting:
        raise LimitError(f"{name}: no over-voltage protection reaches {limit_v:g} V; the highest is {steps_v[-1]:g} V")
    return fitting[0]


def clamps(value: float, compliance: Compliance) -> bool:
    """Whether a measured value stands at the limit: for buffered readings that come without a flag of their own."""
    return not abs(value) < 0.995 * compliance.effective
