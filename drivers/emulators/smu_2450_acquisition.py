"""How a Keithley 2450 takes readings: :READ? and :MEASure?, buffers, built-in sweeps and the simple trigger loop."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from drivers.emulators.scpi import Parameters
from drivers.emulators.scpi_numbers import NOT_A_NUMBER, plain
from drivers.emulators.scpi_status import ScpiError
from drivers.emulators.smu_2450_buffers import (
    CAPACITY,
    CAPACITY_MAX,
    CAPACITY_MIN,
    Buffer,
    Buffers,
    Reading2450,
    elements,
)
from drivers.emulators.source_measure import CURRENT, RESISTANCE, VOLTAGE, Quantity, Sample

if TYPE_CHECKING:
    from drivers.emulators.smu_2450_native import Native2450

COUNT_MAX = 300_000
SWEEP_LIMIT, LIST_LIMIT = 100_000, 2500
PROTECTION, LIMIT, REMOTE, ON = 4, 8, 64, 128
"""Flags of a reading's source status."""
_NAMES = {VOLTAGE: "VOLTage", CURRENT: "CURRent", RESISTANCE: "RESistance"}
_UNITS = {VOLTAGE: "Volt DC", CURRENT: "Amp DC", RESISTANCE: "Ohm"}
_RANGING = "AUTO BEST FIXed"


@dataclass(frozen=True, slots=True)
class Plan:
    """What :INITiate carries out. levels: None: no sweep, `count` readings at the present level."""

    count: int
    delay_s: float
    buffer: Buffer
    levels: tuple[float, ...] | None = None
    fail_abort: bool = True


class Acquisition:
    """Readings of one 2450, and the commands that ask for them."""

    def __init__(self, smu: Native2450) -> None:
        self._smu = smu
        self.buffers = Buffers()
        self._plan: Plan | None = None
        self._lists: dict[Quantity, list[float]] = {VOLTAGE: [], CURRENT: []}
        self._add_reading()
        self._add_buffers()
        self._add_triggering()
        for quantity in (VOLTAGE, CURRENT):
            self._add_sweeps_of(quantity)

    def reset(self) -> None:
        """*RST: nothing loaded, buffers empty."""
        self.buffers.reset()
        self._plan = None
        self._lists = {VOLTAGE: [], CURRENT: []}

    def _take(self, buffer: Buffer) -> None:
        smu, now = self._smu, self._smu.now
        smu.core.settle()
        wanted = {smu.measured}
        read_back = smu.kept[f":SOURce:{_NAMES[now.function]}:READ:BACK"]
        if read_back or smu.measured is RESISTANCE:
            wanted.add(now.function)
        if smu.measured is RESISTANCE:
            wanted.add(VOLTAGE if now.function is CURRENT else CURRENT)
        sample = smu.core.measure(wanted)
        source = sample.source if read_back else now.level[now.function]
        buffer.take(
            Reading2450(
                _value(sample, smu.measured),
                source,
                _UNITS[smu.measured],
                _UNITS[now.function],
                PROTECTION * sample.protection | LIMIT * sample.compliance | REMOTE * now.remote_sense | ON,
                sample.time_s,
            )
        )

    def _take_many(self, count: int, buffer: Buffer, pause_s: float = 0.0) -> None:
        self._check_output()
        for _ in range(count):
            if self._smu.core.aborted.is_set():
                return
            self._smu.core.wait(pause_s)
            self._take(buffer)

    def _check_output(self) -> None:
        if not self._smu.core.output:
            raise ScpiError(-221, "Measuring needs the output on")

    def _read(self, parameters: Parameters) -> str | None:
        """:READ? ["buffer"[, elements]]: measure, store, and answer with the last reading."""
        buffer, wanted = self.buffers.find(parameters), elements(parameters, 1)
        self._take_many(int(self._smu.kept["count"]), buffer)
        return None if self._smu.core.aborted.is_set() else buffer.text(*2 * (len(buffer.readings),), wanted)

    def _fetch(self, parameters: Parameters) -> str:
        buffer, wanted = self.buffers.find(parameters), elements(parameters, 1)
        if not buffer.readings:
            raise ScpiError(-230)
        return buffer.text(*2 * (len(buffer.readings),), wanted)

    def _add_reading(self) -> None:
        smu, tree = self._smu, self._smu.tree
        read, write = smu.keep("function", str(CURRENT))

        def choose(parameters: Parameters) -> None:
            write(_function(parameters[0].string()))
            smu.refresh()

        tree.add("[:SENSe]:FUNCtion[:ON]", choose, lambda p: f'"{read()}{"" if read() == "RES" else ":DC"}"', (1, 1))
        count_read, count_write = smu.keep("count", 1)
        tree.number("[:SENSe]:COUNt", count_read, count_write, 1, COUNT_MAX, 1)
        for pattern, get in ((":READ", self._read), (":MEASure", self._read), (":FETCh", self._fetch)):
            tree.add(pattern, get=get, query_counts=(0, 15))
        for quantity, name in _NAMES.items():
            self._add_measure(f":MEASure:{name}" + ("" if quantity is RESISTANCE else "[:DC]"), quantity, write)

    def _add_measure(self, pattern: str, quantity: Quantity, write: Callable[[str], None]) -> None:
        def measure(parameters: Parameters) -> str | None:
            write(str(quantity))
            self._smu.refresh()
            return self._read(parameters)

        self._smu.tree.add(pattern, get=measure, query_counts=(0, 15))

    def _add_buffers(self) -> None:
        tree, buffers = self._smu.tree, self.buffers
        tree.add(":TRACe:MAKE", buffers.make, None, (2, 3))
        tree.add(":TRACe:DELete", buffers.delete, None, (1, 1))
        tree.add(":TRACe:CLEar", lambda p: buffers.find(p).readings.clear(), None, (0, 1))
        tree.add(
            ":TRACe:TRIGger", lambda p: self._take_many(int(self._smu.kept["count"]), buffers.find(p)), None, (0, 1)
        )
        tree.add(":TRACe:POINts", self._resize, lambda p: str(buffers.find(p).capacity), (1, 2), (0, 1))
        tree.add(":TRACe:ACTual", get=lambda p: str(len(buffers.find(p).readings)), query_counts=(0, 1))
        tree.add(":TRACe:ACTual:STARt", get=lambda p: str(int(bool(buffers.find(p).readings))), query_counts=(0, 1))
        tree.add(":TRACe:ACTual:END", get=lambda p: str(len(buffers.find(p).readings)), query_counts=(0, 1))
        tree.add(":TRACe:DATA", get=self._data, query_counts=(2, 17))
        tree.add(":TRACe:FILL:MODE", self._set_fill, lambda p: buffers.find(p).fill, (1, 2), (0, 1))
        for form in ("AVERage", "MAXimum", "MINimum", "STDDev", "PK2Pk"):
            self._add_statistic(form)
        tree.add(":TRACe:STATistics:CLEar", lambda p: None, None, (0, 1))

    def _add_statistic(self, form: str) -> None:
        key = "PKPK" if form == "PK2Pk" else "".join(letter for letter in form if letter.isupper())
        self._smu.tree.add(
            f":TRACe:STATistics:{form}", get=lambda p: self.buffers.find(p).statistic(key), query_counts=(0, 1)
        )

    def _data(self, parameters: Parameters) -> str:
        start, end = (int(parameter.number(1, CAPACITY_MAX, 1)) for parameter in parameters[:2])
        return self.buffers.find(parameters, 2).text(start, end, elements(parameters, 3))

    def _resize(self, parameters: Parameters) -> None:
        capacity = int(parameters[0].number(CAPACITY_MIN, CAPACITY_MAX, CAPACITY))
        buffer = self.buffers.find(parameters, 1)
        buffer.capacity = capacity
        buffer.readings.clear()

    def _set_fill(self, parameters: Parameters) -> None:
        fill = parameters[0].choice("CONTinuous ONCE")
        self.buffers.find(parameters, 1).fill = fill

    def _add_triggering(self) -> None:
        tree = self._smu.tree
        tree.add(":INITiate[:IMMediate]", lambda p: self._initiate())
        tree.add(":ABORt", lambda p: None)
        tree.add(":TRIGger:STATe", get=lambda p: "IDLE;IDLE;0" if self._plan else "EMPTY;EMPTY;0")
        tree.add(":TRIGger:LOAD", self._load, None, (1, 4))

    def _load(self, parameters: Parameters) -> None:
        name = parameters[0].string().lower()
        if name == "empty":
            self._plan = None
        elif name == "simpleloop":
            if len(parameters) < 2:
                raise ScpiError(-109)
            count = int(parameters[1].number(1, COUNT_MAX, 1))
            delay_s = parameters[2].number(0.0, 1e4, 0.0, "S") if len(parameters) > 2 else 0.0
            self._plan = Plan(count, delay_s, self.buffers.find(parameters, 3))
        else:
            raise ScpiError(-224)

    def _initiate(self) -> None:
        plan = self._plan
        if plan is None:
            raise ScpiError(-221, "No trigger model is loaded")
        plan.buffer.readings.clear()
        if plan.levels is None:
            self._take_many(plan.count, plan.buffer, plan.delay_s)
        else:
            self._sweep(plan, plan.levels)

    def _sweep(self, plan: Plan, levels: tuple[float, ...]) -> None:
        """A built-in sweep switches the output on by itself, and off at its end."""
        core, function = self._smu.core, self._smu.now.function
        core.set_level(function, levels[0])
        core.switch(True)
        for level in levels * plan.count:
            core.set_level(function, level)
            core.wait(plan.delay_s)
            self._take(plan.buffer)
            if core.aborted.is_set() or (plan.fail_abort and core.tripped()):
                break
        core.switch(False)

    def _add_sweeps_of(self, quantity: Quantity) -> None:
        tree, name = self._smu.tree, _NAMES[quantity]
        full = self._smu.core.model.full_scale(quantity)
        unit = "V" if quantity is VOLTAGE else "A"

        def values(parameters: Parameters) -> list[float]:
            return [parameter.number(-full, full, 0.0, unit) for parameter in parameters]

        def append(parameters: Parameters) -> None:
            if len(self._lists[quantity]) + len(parameters) > LIST_LIMIT:
                raise ScpiError(-223)
            self._lists[quantity] += values(parameters)

        def put(parameters: Parameters) -> None:
            self._lists[quantity] = values(parameters)

        listed = f":SOURce:LIST:{name}"
        tree.add(listed, put, lambda p: ",".join(map(plain, self._lists[quantity])), (1, 100))
        tree.add(listed + ":APPend", append, None, (1, 100))
        tree.add(listed + ":POINts", get=lambda p: str(len(self._lists[quantity])))
        base = f":SOURce:SWEep:{name}"
        tree.add(base + ":LINear", lambda p: self._stair(quantity, p, np.linspace), None, (3, 9))
        tree.add(base + ":LINear:STEP", lambda p: self._stair(quantity, p, _by_step), None, (3, 9))
        tree.add(base + ":LOG", lambda p: self._stair(quantity, p, _logarithmic), None, (3, 9))
        tree.add(base + ":LIST", lambda p: self._list(quantity, p), None, (1, 5))

    def _stair(self, quantity: Quantity, parameters: Parameters, make: Callable[..., object]) -> None:
        """start, stop, points or step[, delay[, count[, ranging[, fail abort[, dual[, buffer]]]]]]."""
        full, unit = self._smu.core.model.full_scale(quantity), "V" if quantity is VOLTAGE else "A"
        start, stop = (parameter.number(-full, full, 0.0, unit) for parameter in parameters[:2])
        if make is _by_step:
            third: float = parameters[2].number(-2 * full, 2 * full, full, unit)
        else:
            third = int(parameters[2].number(2, SWEEP_LIMIT, 2))
        levels = [float(level) for level in np.asarray(make(start, stop, third))]
        if len(parameters) > 5:
            parameters[5].choice(_RANGING)
        if len(parameters) > 7 and parameters[7].boolean():
            levels += levels[-2::-1]
        self._plan_sweep(quantity, levels, parameters, 3, 6, 8)

    def _list(self, quantity: Quantity, parameters: Parameters) -> None:
        """start index[, delay[, count[, fail abort[, buffer]]]]."""
        listed = self._lists[quantity]
        if not listed:
            raise ScpiError(-221, "The source list is empty")
        start = int(parameters[0].number(1, len(listed), 1))
        self._plan_sweep(quantity, listed[start - 1 :], parameters, 1, 3, 4)

    def _plan_sweep(
        self, quantity: Quantity, levels: list[float], parameters: Parameters, at: int, fail_at: int, buffer_at: int
    ) -> None:
        if self._smu.now.function is not quantity:
            raise ScpiError(-221, "The sweep is not of what is sourced")
        delay_s = parameters[at].number(-1.0, 1e4, -1.0, "S") if len(parameters) > at else -1.0
        count = int(parameters[at + 1].number(1, 268_435_455, 1)) if len(parameters) > at + 1 else 1
        if count * len(levels) > SWEEP_LIMIT:
            raise ScpiError(-222)
        fail_abort = parameters[fail_at].boolean() if len(parameters) > fail_at else True
        buffer = self.buffers.find(parameters, buffer_at)
        self._plan = Plan(count, max(0.0, delay_s), buffer, tuple(levels), fail_abort)


def _by_step(start: float, stop: float, step: float) -> list[float]:
    points = math.floor(abs((stop - start) / step) + 1e-9) + 1 if step else 0
    if not 2 <= points <= SWEEP_LIMIT:
        raise ScpiError(-222)
    return [start + k * math.copysign(step, stop - start) for k in range(points)]


def _logarithmic(start: float, stop: float, points: int) -> list[float]:
    if start * stop <= 0.0:
        raise ScpiError(-222)
    return [float(level) for level in np.geomspace(start, stop, points)]


def _value(sample: Sample, quantity: Quantity) -> float:
    values = {VOLTAGE: sample.voltage_v, CURRENT: sample.current_a, RESISTANCE: sample.resistance_ohm}
    return values.get(quantity, NOT_A_NUMBER)


def _function(name: str) -> str:
    word = name.strip().upper().removesuffix(":DC")
    for quantity, long in _NAMES.items():
        if word in (str(quantity), long.upper()):
            return str(quantity)
    raise ScpiError(-224)
