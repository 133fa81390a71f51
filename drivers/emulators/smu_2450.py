"""An emulated Keithley 2450 SourceMeter: its own SCPI, the 2400's, or TSP, as `*LANG` and a power cycle choose."""

from __future__ import annotations

from typing import Any

from drivers.emulators.circuit import Port
from drivers.emulators.emulated_smu import EmulatedSmu
from drivers.emulators.latency import Latency
from drivers.emulators.scpi import Parameters
from drivers.emulators.smu_2400 import Keithley2400
from drivers.emulators.smu_2450_native import PHYSICS, Native2450
from pib_lab.device import Clock

IDENTITY = "KEITHLEY INSTRUMENTS,MODEL 2450,04096331,1.7.12b"
LANGUAGES = "SCPI SCPI2400 TSP"


class Keithley2450:
    """One Model 2450 at `port`. It starts in SCPI; in TSP it only answers common commands here, and nothing else."""

    model = "smu-2450"

    def __init__(self, port: Port, clock: Clock, seed: int, latency: Latency) -> None:
        self._built = (port, clock, seed, latency)
        self._identity = IDENTITY
        self._chosen = "SCPI"
        self._active = self._boot("SCPI")

    def execute(self, message: str) -> list[str]:
        """Carry out one message in the language in force; see `EmulatedInstrument`."""
        return self._active.execute(message)

    def device_clear(self) -> None:
        """End what is being waited for."""
        self._active.device_clear()

    def outputs(self) -> dict[str, bool]:
        """Whether the output is on."""
        return self._active.outputs()

    def switch_off(self) -> None:
        """The front panel's output key."""
        self._active.switch_off()

    def state(self) -> dict[str, Any]:
        """The truth, as JSON values."""
        return {**self._active.state(), "language": self._language}

    def set_state(self, name: str, value: Any) -> None:
        """Faults as for any unit; "language": choose one and cycle the power; "power_cycle". KeyError if unknown."""
        if name == "language":
            if value not in LANGUAGES.split():
                raise KeyError(f"{name}: {value!r} is none of {LANGUAGES}")
            self._chosen = value
            name = "power_cycle"
        if name != "power_cycle":
            self._active.set_state(name, value)
            self._identity = self._active.identity
            return
        self._active.switch_off()
        faults = self._active.core.faults
        self._active = self._boot(self._chosen)
        self._active.core.faults = faults
        self._active.core.apply()

    def _boot(self, language: str) -> EmulatedSmu:
        self._language = language
        active: EmulatedSmu
        if language == "SCPI2400":
            active = Keithley2400(*self._built, physics=PHYSICS, identity=self._identity)
        else:
            active = Native2450(self._identity, *self._built)
        if language == "TSP":
            active.tree = active.common_tree()
        active.tree.add("*LANG", self._choose, lambda p: self._language, (1, 1))
        return active

    def _choose(self, parameters: Parameters) -> None:
        """The language after the next power cycle."""
        self._chosen = parameters[0].choice(LANGUAGES)
