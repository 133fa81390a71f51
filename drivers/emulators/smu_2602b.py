"""Keithley 2602B System SourceMeter: two channels that speak TSP, each on a port of the circuit.

Left out: script upload, ConfigPulse* and the trigger model, measurement filters, contact check, binary buffers, the
power envelope (3 A at 6 V, 1 A at 40 V). A pulse is timed with `delay` between two levels in one message.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from drivers.emulators.circuit import Port
from drivers.emulators.instrument import finite
from drivers.emulators.latency import Latency
from drivers.emulators.tsp_buffer import ReadingBuffer, interleaved
from drivers.emulators.tsp_channel import AMPS, FAULTS, VOLTS, SmuChannel
from drivers.emulators.tsp_instrument import TspInstrument
from drivers.emulators.tsp_objects import Function, argument
from drivers.emulators.tsp_values import Table, TspError, Value
from pib_lab.device import Clock

MAX_POINTS = 10_000


class Keithley2602B(TspInstrument):
    """`port_a` and `port_b` are what the channels' terminals are wired to."""

    model = "smu-2602b"

    def __init__(self, port_a: Port, port_b: Port, clock: Clock, seed: int, latency: Latency) -> None:
        super().__init__(("2602B", f"{4000000 + seed % 1000000}", "3.4.2"), clock, latency.command_s)
        generators = np.random.SeedSequence(seed).spawn(2)
        self.channels = {
            name: SmuChannel(name, port, clock, self.wait, np.random.default_rng(generator), latency)
            for name, port, generator in zip(("smua", "smub"), (port_a, port_b), generators, strict=True)
        }
        self.names.update(self.channels)
        self.names["printbuffer"] = self._print_buffer
        for kind, function in (("V", VOLTS), ("I", AMPS)):
            other = "I" if kind == "V" else "V"
            self.names[f"Sweep{kind}LinMeasure{other}"] = self._linear_sweep(function)
            self.names[f"Sweep{kind}ListMeasure{other}"] = self._list_sweep(function)

    def reset(self) -> None:
        """All channels to power-on state, outputs off."""
        super().reset()
        for channel in self.channels.values():
            channel.reset()

    def outputs(self) -> dict[str, bool]:
        """Which channels are on."""
        return {name: channel.on for name, channel in self.channels.items()}

    def switch_off(self) -> None:
        """Both outputs off."""
        self.device_clear()
        with self.lock:
            for channel in self.channels.values():
                channel.switch_off()

    def state(self) -> dict[str, Any]:
        """Both channels and the error queue."""
        shown = {name: channel.state() for name, channel in self.channels.items()}
        return {**shown, "errors": self.errors.listed(), "identity": self.identity}

    def set_state(self, name: str, value: Any) -> None:
        """A fault of both channels ("stuck_compliance", "offset_a", "offset_v") or of one ("smua.offset_a"), or what
        every TSP instrument has. KeyError if unknown."""
        channel, _, fault = name.rpartition(".")
        if fault not in FAULTS:
            super().set_state(name, value)
            return
        with self.lock:
            for struck in [self.channels[channel]] if channel else self.channels.values():
                struck.strike(fault, finite(value or 0.0))

    def _print_buffer(self, arguments: list[Value]) -> list[Value]:
        self._say(", ".join(self.shown(value) for value in interleaved(arguments)))
        return []

    def _linear_sweep(self, function: float) -> Function:
        def sweep(arguments: list[Value]) -> list[Value]:
            start, stop, settle_s, points = (argument(arguments, position) for position in range(1, 5))
            if not 2 <= points <= MAX_POINTS:
                raise TspError(
                    1101 if points > 2 else 1102, "Parameter too big" if points > 2 else "Parameter too small"
                )
            levels = [start + (stop - start) * point / (int(points) - 1) for point in range(int(points))]
            self._sweep(arguments, function, levels, settle_s)
            return []

        return sweep

    def _list_sweep(self, function: float) -> Function:
        def sweep(arguments: list[Value]) -> list[Value]:
            table = arguments[1] if len(arguments) > 1 else None
            if not isinstance(table, Table):
                raise TspError(-220, "Parameter error: expected a table of levels")
            levels = [level for level in table.sequence() if isinstance(level, float)][:MAX_POINTS]
            self._sweep(arguments, function, levels, argument(arguments, 2))
            return []

        return sweep

    def _sweep(self, arguments: list[Value], function: float, levels: list[float], settle_s: float) -> None:
        """Output on, each level settled and read into nvbuffer1, output off, as the factory scripts do."""
        channel = arguments[0]
        if not isinstance(channel, SmuChannel) or not 0.0 <= settle_s <= 1000.0:
            raise TspError(-220, "Parameter error: expected smua or smub, levels and a settling time")
        buffer: ReadingBuffer = channel.buffers[0]
        buffer.clear()
        buffer.set_item("appendmode", 1.0)
        for level in levels:
            channel.source(function, level)
            channel.output(True)
            self.wait(settle_s)
            channel.readings("i" if function == VOLTS else "v", [buffer])
        channel.output(False)
