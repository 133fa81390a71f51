"""What the emulated source-measure units share beyond physics: the way in for the server, faults, refusals."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable
from typing import Any

from drivers.emulators.circuit import Port
from drivers.emulators.instrument import finite
from drivers.emulators.latency import Latency
from drivers.emulators.scpi_instrument import ScpiInstrument
from drivers.emulators.scpi_status import ScpiError
from drivers.emulators.source_measure import CURRENT, OVERRANGE, VOLTAGE, Model, Quantity, Settings, SourceMeasure
from pib_lab.device import Clock

FLOOD_LIMIT = 10_000


class EmulatedSmu(ScpiInstrument):
    """An SCPI instrument with one source-measure channel."""

    def __init__(
        self,
        identity: str,
        physics: Model,
        settings: Callable[[], Settings],
        port: Port,
        clock: Clock,
        seed: int,
        latency: Latency,
        error_depth: int,
    ) -> None:
        super().__init__(identity, clock, latency.command_s, error_depth)
        self._fresh = settings
        self.core = SourceMeasure(physics, settings(), port, clock, seed, latency)

    @property
    def now(self) -> Settings:
        """The settings in force."""
        return self.core.settings

    def execute(self, message: str) -> list[str]:
        """Carry out one message; see `EmulatedInstrument`."""
        with self.lock:
            self.core.aborted.clear()
            return super().execute(message)

    def device_clear(self) -> None:
        """End what is being waited for."""
        self.core.aborted.set()

    def reset(self) -> None:
        """*RST: output off, defaults."""
        super().reset()
        self.core.switch(False)
        self.core.settings = self._fresh()
        self.core.apply()

    def setup(self) -> Any:
        """All settings."""
        return self.kept, self.now

    def set_setup(self, setup: Any) -> None:
        """Recalled settings come with the output off."""
        self.core.switch(False)
        self.kept, self.core.settings = setup
        self.core.apply()

    def outputs(self) -> dict[str, bool]:
        """Whether the output is on."""
        return {"output": self.core.output}

    def switch_off(self) -> None:
        """The front panel's output key."""
        self.core.aborted.set()
        with self.lock:
            self.core.switch(False)

    def state(self) -> dict[str, Any]:
        """The truth, as JSON values; protection_v is None when there is none."""
        now, core = self.now, self.core
        with self.lock:
            return {
                "identity": self.identity,
                "output": core.output,
                "function": str(now.function),
                "level_v": now.level[VOLTAGE],
                "level_a": now.level[CURRENT],
                "limit_v": now.limit[VOLTAGE],
                "limit_a": now.limit[CURRENT],
                "clamp": core.clamp()[0],
                "in_compliance": core.tripped(),
                "protection_v": None if math.isinf(now.protection_v) else now.protection_v,
                "off_state": now.off_state,
                "remote_sense": now.remote_sense,
                "relay_operations": core.relay_operations,
                "errors": [list(error) for error in self.status.errors],
                **dataclasses.asdict(core.faults),
            }

    def set_state(self, name: str, value: Any) -> None:
        """Set a fault of `Faults` by its name, "identity", or "error_flood" (so many errors). KeyError if unknown.

        A stuck compliance of True is the smallest that there is.
        """
        with self.lock:
            if name == "identity":
                self.identity = str(value)
            elif name == "error_flood":
                for number in range(min(int(value), FLOOD_LIMIT)):
                    self.status.push(-200, f"Flood {number}")
            elif hasattr(self.core.faults, name):
                if name == "stuck_compliance" and value is True:
                    value = self.core.model.compliance_min[CURRENT]
                kind = type(getattr(self.core.faults, name))
                setattr(self.core.faults, name, kind(finite(value or 0)))
                self.core.apply()
            else:
                raise KeyError(name)

    def change(self, write: Callable[[], None]) -> None:
        """Change settings as a whole or not at all: what exceeds the power limit is refused with +826."""
        before = copy.deepcopy(self.now)
        write()
        now = self.now
        highest_v, highest_a = self.core.model.high_v, self.core.model.high_a
        volts = now.source_range[VOLTAGE] * OVERRANGE if now.function is VOLTAGE else now.limit[VOLTAGE]
        amps = now.source_range[CURRENT] * OVERRANGE if now.function is CURRENT else now.limit[CURRENT]
        if volts > highest_v * (1 + 1e-9) and amps > highest_a * (1 + 1e-9):
            self.core.settings = before
            self.core.apply()
            raise self.refusal_power()
        self.core.apply()

    def refusal_power(self) -> ScpiError:
        """The model's own error for what exceeds its power."""
        return ScpiError(-222)

    def set_level(self, quantity: Quantity, value: float) -> None:
        """A source level: refused where a fixed range does not hold it."""
        now = self.now
        if not now.source_auto[quantity] and abs(value) > now.source_range[quantity] * OVERRANGE * (1 + 1e-9):
            raise ScpiError(-222)
        self.change(lambda: self.core.set_level(quantity, value))

    def set_source_range(self, quantity: Quantity, value: float) -> None:
        """A fixed source range; a level beyond it comes down to its full scale."""

        def write() -> None:
            self.now.source_auto[quantity] = False
            self.now.source_range[quantity] = self.core.model.range_for(quantity, value)
            self.core.set_level(quantity, self.now.level[quantity])

        self.change(write)

    def set_source_auto(self, quantity: Quantity, on: bool) -> None:
        """Automatic source range on or off."""

        def write() -> None:
            self.now.source_auto[quantity] = on
            self.core.set_level(quantity, self.now.level[quantity])

        self.change(write)

    def set_function(self, quantity: str) -> None:
        """What is sourced; a change of it switches the output off, as a change of hands would."""
        if self.now.function is not Quantity(quantity):
            self.core.switch(False)

        def write() -> None:
            self.now.function = Quantity(quantity)

        self.change(write)

    def next_range(self, quantity: Quantity, now: float, word: str) -> float | None:
        """The range that UP or DOWN leads to from range `now`."""
        ranges = self.core.model.ranges[quantity]
        if word not in ("UP", "DOWN"):
            return None
        place = ranges.index(now) + (1 if word == "UP" else -1)
        return ranges[min(len(ranges) - 1, max(0, place))]
