"""One channel of a 2602B: what its source does to the circuit, and what its meter shows of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from drivers.emulators.circuit import Drive, Mode, Port
from drivers.emulators.latency import Latency
from drivers.emulators.tsp_buffer import ReadingBuffer
from drivers.emulators.tsp_objects import Function, Namespace, Settings, action, choice, ignore, number
from drivers.emulators.tsp_values import TspError, Value
from pib_lab.device import Clock

VOLTAGE_RANGES_V = (0.1, 1.0, 6.0, 40.0)
CURRENT_RANGES_A = (100e-9, 1e-6, 10e-6, 100e-6, 1e-3, 10e-3, 100e-3, 1.0, 3.0)
OVERFLOW = 9.91e37
"""What a reading beyond its range is replaced by."""
OVER_RANGE = 1.02
"""A range measures up to 102 % of its name."""
NOISE = 1e-6
"""Standard deviation of a reading at 1 NPLC, as a fraction of its range; it falls with the root of the time."""
MAX_COUNT = 10_000
"""Readings that one call may take (the instrument: 200,000)."""
AMPS, VOLTS = 0.0, 1.0
FAULTS = ("stuck_compliance", "offset_a", "offset_v")
"""stuck_compliance: the clamp sits at this value whatever limit is set (0: it follows); offsets add to readings."""
_ON_OFF = choice((0.0, 1.0))


class SmuChannel(Namespace):
    """`smua` or `smub`. Output off is not open: NORMAL holds 0 V within `offlimiti`; only HIGH_Z opens the relay.

    `wait` lets time pass and can be aborted. `source.delay`, `settling`, `highc`, `sink` are kept and change nothing.
    """

    def __init__(
        self,
        name: str,
        port: Port,
        clock: Clock,
        wait: Callable[[float], None],
        rng: np.random.Generator,
        latency: Latency,
    ) -> None:
        super().__init__(name)
        self._port, self._clock, self._wait, self._rng, self._latency = port, clock, wait, rng, latency
        self.settings = Settings()
        self._faults = dict.fromkeys(FAULTS, 0.0)
        self.buffers = [ReadingBuffer(f"{name}.nvbuffer{i}", 60_000) for i in (1, 2)]
        self._sent: Drive | None = None
        self._constants()
        self._source()
        self._meter()
        self._drive()

    @property
    def on(self) -> bool:
        """True while the output is on."""
        return self.settings.number("source.output") == 1.0

    def reset(self) -> None:
        """The channel's power-on state: output off."""
        self.settings.reset()
        for buffer in self.buffers:
            buffer.reset()
        self._drive()

    def switch_off(self) -> None:
        """Output off, in the off-state that is set."""
        self.settings["source.output"] = 0.0
        self._drive()

    def state(self) -> dict[str, Any]:
        """Settings, and the true voltage and current at the terminals."""
        true = self._port.operating()
        return {
            **self.settings.all(),
            "true_voltage_v": true.voltage_v,
            "true_current_a": true.current_a,
            "limited": true.limited,
            **self._faults,
        }

    def strike(self, fault: str, value: float) -> None:
        """Set one of FAULTS; 0 heals."""
        self._faults[fault] = value
        self._drive()

    def source(self, function: float, level: float) -> None:
        """Source a level with the function, as a sweep does at each of its points. Raises TspError out of range."""
        name = "levelv" if function == VOLTS else "leveli"
        self.settings["source.func"] = function
        self.settings[f"source.{name}"] = self._level_check(name)(level)
        self._drive()

    def output(self, on: bool) -> None:
        """Switch the output."""
        self.settings["source.output"] = 1.0 if on else 0.0
        self._drive()

    def readings(self, names: str, buffers: list[Value]) -> list[float]:
        """Take `measure.count` readings of "i", "v", "r" or "p" (or "iv", at one time); the last of each, in order."""
        targets = [buffer for buffer in buffers if isinstance(buffer, ReadingBuffer)]
        if len(targets) != len(buffers):
            raise TspError(-220, "Parameter error: expected a reading buffer")
        for buffer in targets:
            buffer.begin()
        numbers, last = self.settings.number, [0.0]
        self._wait(max(0.0, numbers("measure.delay")))
        for reading in range(int(numbers("measure.count"))):
            if reading:
                self._wait(numbers("measure.interval"))
            self._wait(self._latency.reading_s(numbers("measure.nplc"), numbers("measure.autozero") == 2.0))
            shown = self._shown()
            last = [shown[name] for name in names]
            source = numbers("source.levelv" if numbers("source.func") == VOLTS else "source.leveli")
            for buffer, value in zip(targets, last, strict=False):
                buffer.append(value, source, self._clock.now_s())
        return last

    def _shown(self) -> dict[str, float]:
        true, sourcing_v = self._port.operating(), self.settings.number("source.func") == VOLTS
        current = self._digitised(true.current_a, "i", fixed=sourcing_v) + self._faults["offset_a"]
        voltage = self._digitised(true.voltage_v, "v", fixed=not sourcing_v) + self._faults["offset_v"]
        over = OVERFLOW in (current, voltage)
        return {
            "i": current,
            "v": voltage,
            "r": OVERFLOW if over or current == 0.0 else voltage / current,
            "p": OVERFLOW if over else voltage * current,
        }

    def _digitised(self, value: float, kind: str, fixed: bool) -> float:
        """`fixed`: the meter's own range counts; the sourced quantity is measured on the source's range."""
        range_ = self._range(f"measure.range{kind}", value) if fixed else self._range(f"source.range{kind}")
        if fixed and abs(value) > OVER_RANGE * range_:
            return OVERFLOW
        nplc = self.settings.number("measure.nplc")
        return value + float(self._rng.standard_normal()) * NOISE * range_ / math.sqrt(nplc)

    def _constants(self) -> None:
        self.constants(OUTPUT_DCAMPS=0, OUTPUT_DCVOLTS=1, OUTPUT_OFF=0, OUTPUT_ON=1, OUTPUT_HIGH_Z=2)
        self.constants(OUTPUT_NORMAL=0, OUTPUT_ZERO=1, AUTORANGE_OFF=0, AUTORANGE_ON=1, AUTORANGE_FOLLOW_LIMIT=2)
        self.constants(SENSE_LOCAL=0, SENSE_REMOTE=1, AUTOZERO_OFF=0, AUTOZERO_ONCE=1, AUTOZERO_AUTO=2)
        self.constants(DISABLE=0, ENABLE=1, DELAY_OFF=0, DELAY_AUTO=-1, FILTER_MOVING_AVG=0, FILTER_REPEAT_AVG=1)
        self.constants(FILTER_MEDIAN=2, SETTLE_SMOOTH=0, SETTLE_FAST_RANGE=1, SETTLE_FAST_POLARITY=2)
        self.constants(SETTLE_DIRECT_IRANGE=3, SETTLE_SMOOTH_100NA=4, SETTLE_FAST_ALL=128, OE_NONE=0, OE_OUTPUT_OFF=1)
        self.settings.bind(self, "sense", "sense", 0.0, choice((0.0, 1.0)))
        self.table("reset", action(self.reset))
        self.table("abort", ignore)
        self.table("makebuffer", self._make_buffer)
        for position, buffer in enumerate(self.buffers, 1):
            self.table(f"nvbuffer{position}", buffer)

    def _source(self) -> None:
        source, bind = Namespace(f"{self.name}.source"), self.settings.bind
        self.table("source", source)
        limits: list[tuple[str, float, Callable[[Value], Value]]] = [
            ("func", VOLTS, _ON_OFF),
            ("output", 0.0, choice((0.0, 1.0, 2.0))),
            ("levelv", 0.0, self._level_check("levelv")),
            ("leveli", 0.0, self._level_check("leveli")),
            ("limitv", 40.0, number(10e-3, 40.0)),
            ("limiti", 1.0, number(10e-9, 3.0)),
            ("limitp", 0.0, number(0.0, 200.0)),
            ("offmode", 0.0, choice((0.0, 1.0, 2.0))),
            ("offfunc", VOLTS, _ON_OFF),
            ("offlimiti", 1e-3, number(10e-9, 3.0)),
            ("offlimitv", 40.0, number(10e-3, 40.0)),
            ("highc", 0.0, _ON_OFF),
            ("sink", 0.0, _ON_OFF),
            ("delay", 0.0, number(-1.0, 1000.0)),
            ("settling", 0.0, choice((0.0, 1.0, 2.0, 3.0, 4.0, 128.0))),
            ("outputenableaction", 0.0, choice((0.0, 1.0, 2.0))),
        ]
        for name, default, check in limits:
            bind(source, name, f"source.{name}", default, check, self._drive)
        self._ranges(source, "source")
        source.attribute("compliance", self._in_compliance)

    def _meter(self) -> None:
        measure, bind = Namespace(f"{self.name}.measure"), self.settings.bind
        self.table("measure", measure)
        for name, default, check in (
            ("nplc", 1.0, number(0.001, 25.0)),
            ("autozero", 2.0, choice((0.0, 1.0, 2.0))),
            ("count", 1.0, number(1.0, MAX_COUNT)),
            ("interval", 0.0, number(0.0, 1.0)),
            ("delay", 0.0, number(-1.0, 1000.0)),
            ("delayfactor", 1.0, number(0.0, 100.0)),
        ):
            bind(measure, name, f"measure.{name}", default, check)
        self._ranges(measure, "measure")
        averaging = Namespace(f"{self.name}.measure.filter")
        bind(averaging, "count", "measure.filter.count", 1.0, number(1.0, 100.0))
        bind(averaging, "enable", "measure.filter.enable", 0.0, choice((0.0,)))  # averaging is not emulated
        bind(averaging, "type", "measure.filter.type", 1.0, choice((0.0, 1.0, 2.0)))
        measure.table("filter", averaging)
        for names in ("i", "v", "r", "p", "iv"):
            measure.table(names, self._measuring(names))

    def _measuring(self, names: str) -> Function:
        def measure(arguments: list[Value]) -> list[Value]:
            return list(self.readings(names, arguments))

        return measure

    def _ranges(self, table: Namespace, side: str) -> None:
        """rangev, rangei with autorange: setting a range takes the lowest that holds it and ends autorange."""
        for kind, known in (("v", VOLTAGE_RANGES_V), ("i", CURRENT_RANGES_A)):
            key, auto, low = f"{side}.range{kind}", f"{side}.autorange{kind}", f"{side}.lowrange{kind}"
            self.settings.bind(table, f"autorange{kind}", auto, 1.0, choice((0.0, 1.0, 2.0)))
            self.settings.bind(table, f"lowrange{kind}", low, known[0], number(known[0], known[-1]))
            self.settings.add(key, known[-1])
            self._bind_range(table, f"range{kind}", key, auto)

    def _bind_range(self, table: Namespace, name: str, key: str, auto: str) -> None:
        in_range = number(0.0, _known(key)[-1], magnitude=True)

        def write(value: Value) -> None:
            wanted = in_range(value)
            assert isinstance(wanted, float)
            self.settings[key] = next(range_ for range_ in _known(key) if wanted <= range_ * (1 + 1e-9))
            self.settings[auto] = 0.0

        table.attribute(name, lambda: self._range(key), write)

    def _range(self, key: str, value: float | None = None) -> float:
        """The range in force: the one set, or with autorange the lowest that holds `value` (the source: its level)."""
        side, name = key.split(".")
        kind = name[-1]
        if not self.settings[f"{side}.autorange{kind}"]:
            return self.settings.number(key)
        if value is None:
            value = self.settings.number(f"source.level{kind}") if side == "source" else self._true(kind)
        full = abs(value) / OVER_RANGE if side == "measure" else abs(value)
        held = max(full, self.settings.number(f"{side}.lowrange{kind}"))
        return next((range_ for range_ in _known(key) if held <= range_ * (1 + 1e-9)), _known(key)[-1])

    def _true(self, kind: str) -> float:
        true = self._port.operating()
        return true.voltage_v if kind == "v" else true.current_a

    def _level_check(self, name: str) -> Callable[[Value], Value]:
        kind, highest = name[-1], (VOLTAGE_RANGES_V if name == "levelv" else CURRENT_RANGES_A)[-1]
        whole = number(-highest, highest)

        def check(value: Value) -> Value:
            level = whole(value)
            auto = self.settings[f"source.autorange{kind}"]
            if not auto and isinstance(level, float):
                limit = self.settings.number(f"source.range{kind}")
                number(-limit * 1.01, limit * 1.01)(level)  # a fixed source range reaches 1 % beyond its name
            return level

        return check

    def _drive(self) -> None:
        number_, mode = self.settings.number, self.settings.number("source.offmode")
        output, stuck = number_("source.output"), abs(self._faults["stuck_compliance"])
        if output == 2.0 or (output == 0.0 and mode == 2.0):
            drive = Drive(Mode.OPEN)
        elif output == 1.0 and number_("source.func") == VOLTS:
            drive = Drive(Mode.VOLTAGE, number_("source.levelv"), stuck or number_("source.limiti"))
        elif output == 1.0:
            drive = Drive(Mode.CURRENT, number_("source.leveli"), stuck or number_("source.limitv"))
        elif mode == 0.0 and number_("source.offfunc") == AMPS:
            drive = Drive(Mode.CURRENT, 0.0, number_("source.offlimitv"))
        else:
            drive = Drive(Mode.VOLTAGE, 0.0, number_("source.offlimiti" if mode == 0.0 else "source.limiti"))
        if drive == self._sent:
            return
        before, self._sent = self._sent, drive
        self._port.drive(drive)
        relay = before is not None and (before.mode is Mode.OPEN) != (drive.mode is Mode.OPEN)
        self._clock.sleep_s(self._latency.relay_s if relay else self._latency.settle_s)

    def _in_compliance(self) -> Value:
        return self.on and self._port.operating().limited

    def _make_buffer(self, arguments: list[Value]) -> list[Value]:
        capacity = arguments[0] if arguments else None
        if not isinstance(capacity, float) or not 1 <= capacity <= 60_000:
            raise TspError(-225, "Out of memory or TSP memory")
        return [ReadingBuffer("buffer", int(capacity))]


def _known(key: str) -> tuple[float, ...]:
    return VOLTAGE_RANGES_V if key.endswith("v") else CURRENT_RANGES_A
