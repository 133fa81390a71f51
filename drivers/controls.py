"""A device in a person's hands: what can be set and within which limits, what can be switched, what can be measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from pib_lab.errors import ConfigurationError, LimitError, nearest
from pib_lab.unit import SafeReport

Value = float | str


@dataclass(frozen=True, slots=True)
class Control:
    """One thing that may be set. value: in force; low, high: both allowed; choices: words in the place of a number.

    whole: only whole numbers. help: one line for people.
    """

    name: str
    value: Value
    unit: str = ""
    low: float = 0.0
    high: float = 0.0
    whole: bool = False
    choices: tuple[str, ...] = ()
    help: str = ""

    def checked(self, value: object) -> Value:
        """`value` as this control takes it. Raises LimitError beyond the limits, ConfigurationError for what is no
        such value."""
        if self.choices:
            if value not in self.choices:
                raise ConfigurationError(f"{self.name}: {value!r} is none of {', '.join(self.choices)}")
            return str(value)
        if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
            raise ConfigurationError(f"{self.name}: {value!r} is not a number")
        if self.whole and value != round(value):
            raise ConfigurationError(f"{self.name}: {value:g} is not a whole number")
        slack = 1e-9 * max(abs(self.low), abs(self.high))
        if not self.low - slack <= value <= self.high + slack:
            raise LimitError(
                f"{self.name}: {value:g} {self.unit} is not within {self.low:g} to {self.high:g} {self.unit}; "
                "nothing was sent"
            )
        return int(value) if self.whole else float(value)


@dataclass(frozen=True, slots=True)
class Measured:
    """One number that was measured now; note: what is the matter with it, "" for nothing."""

    name: str
    value: float
    unit: str
    note: str = ""


class Manual(Protocol):
    """One device under manual control. It reads, and never writes to what it is wired to.

    Methods raise LimitError for a value beyond the limits, before anything is sent, ConfigurationError for a name or a
    value that does not exist, DeviceError and LinkError as drivers do: after these two it is to be made safe.
    """

    def open(self) -> None:
        """Connect; outputs stay off."""

    def identity(self) -> dict[str, str]:
        """What answers, by part."""

    def controls(self) -> list[Control]:
        """All that can be set, each with the value in force."""

    def set(self, name: str, value: object) -> None:
        """Set a control."""

    def outputs(self) -> dict[str, bool]:
        """Whether each output is on, as read back now."""

    def switch(self, output: str, on: bool) -> None:
        """Switch an output and read it back. On only while somebody guards it."""

    def measure(self) -> list[Measured]:
        """Measure once, with what is set and switched."""

    def make_safe(self) -> SafeReport:
        """All outputs off and read back. Never raises; says what was NOT confirmed."""

    def close(self) -> None:
        """Let go of the device. Idempotent."""


@runtime_checkable
class OffersManual(Protocol):
    """A device that can be taken into a person's hands."""

    def manual(self) -> Manual:
        """No I/O."""


def control_named(controls: Sequence[Control], name: str) -> Control:
    """The control of that name. Raises ConfigurationError, with the nearest name."""
    for control in controls:
        if control.name == name:
            return control
    known = [control.name for control in controls]
    raise ConfigurationError(f"{name!r} cannot be set here{nearest(name, known)} (known: {', '.join(known)})")


def require_output(output: str, known: Sequence[str]) -> None:
    """Raise ConfigurationError unless there is an output of that name."""
    if output not in known:
        raise ConfigurationError(f"there is no output {output!r}{nearest(output, known)} (known: {', '.join(known)})")
