"""Where an emulated instrument meets the emulated chip: a port that is driven and read, at one instant of the clock."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class Mode(StrEnum):
    """What a pair of terminals does to the circuit."""

    OPEN = "open"  # the relay is open: nothing flows
    VOLTAGE = "voltage"  # holds a voltage, as long as the current stays within the limit
    CURRENT = "current"  # forces a current, as long as the voltage stays within the limit


@dataclass(frozen=True, slots=True)
class Drive:
    """level: volts or amperes by `mode`; limit: the magnitude of the other quantity at which the source clamps."""

    mode: Mode
    level: float = 0.0
    limit: float = 0.0


@dataclass(frozen=True, slots=True)
class Operating:
    """True voltage and current at a port, free of the instrument's own noise; limited: the source clamps."""

    voltage_v: float
    current_a: float
    limited: bool


class Port(Protocol):
    """One pair of terminals wired to a circuit. What is driven here flows through whatever the circuit connects."""

    def drive(self, drive: Drive) -> None:
        """From now on, drive the circuit like this."""

    def operating(self) -> Operating:
        """Solve the circuit as it is driven now by all of its ports."""


class Resistor:
    """The simplest circuit: one port across a resistor."""

    def __init__(self, ohm: float) -> None:
        self.ohm = ohm
        self._drive = Drive(Mode.OPEN)

    def drive(self, drive: Drive) -> None:
        """Take what the port forces."""
        self._drive = drive

    def operating(self) -> Operating:
        """Ohm's law, clamped at the limit of the source."""
        drive = self._drive
        if drive.mode is Mode.OPEN:
            return Operating(0.0, 0.0, False)
        if drive.mode is Mode.VOLTAGE:
            current = drive.level / self.ohm
            if abs(current) <= drive.limit:
                return Operating(drive.level, current, False)
            current = drive.limit if current > 0 else -drive.limit
            return Operating(current * self.ohm, current, True)
        voltage = drive.level * self.ohm
        if abs(voltage) <= drive.limit:
            return Operating(voltage, drive.level, False)
        voltage = drive.limit if voltage > 0 else -drive.limit
        return Operating(voltage, voltage / self.ohm, True)
