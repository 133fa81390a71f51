"""What an SCPI instrument reports about itself: the error queue, the standard event register, and register sets."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

OPERATION_COMPLETE, QUERY_ERROR, DEVICE_ERROR, EXECUTION_ERROR, COMMAND_ERROR, POWER_ON = 1, 4, 8, 16, 32, 128

MESSAGES = {
    0: "No error",
    -100: "Command error",
    -101: "Invalid character",
    -102: "Syntax error",
    -103: "Invalid separator",
    -104: "Data type error",
    -108: "Parameter not allowed",
    -109: "Missing parameter",
    -111: "Header separator error",
    -112: "Program mnemonic too long",
    -113: "Undefined header",
    -114: "Header suffix out of range",
    -120: "Numeric data error",
    -121: "Invalid character in number",
    -123: "Exponent too large",
    -124: "Too many digits",
    -128: "Numeric data not allowed",
    -131: "Invalid suffix",
    -138: "Suffix not allowed",
    -141: "Invalid character data",
    -148: "Character data not allowed",
    -151: "Invalid string data",
    -158: "String data not allowed",
    -168: "Block data not allowed",
    -178: "Expression data not allowed",
    -200: "Execution error",
    -211: "Trigger ignored",
    -213: "Init ignored",
    -214: "Trigger deadlock",
    -221: "Settings conflict",
    -222: "Parameter data out of range",
    -223: "Too much data",
    -224: "Illegal parameter value",
    -230: "Data corrupt or stale",
    -285: "Program syntax error",
    -330: "Self-test failed",
    -350: "Queue overflow",
    -363: "Input buffer overrun",
    -410: "Query INTERRUPTED",
    -420: "Query UNTERMINATED",
    -430: "Query DEADLOCKED",
}
"""Numbers and words of SCPI-99; an instrument adds positive numbers of its own."""


class ScpiError(Exception):
    """Ends the handling of one command inside an emulator; it never leaves `execute`."""

    def __init__(self, code: int, message: str = "") -> None:
        super().__init__(message or MESSAGES.get(code, "Execution error"))
        self.code = code

    @property
    def message(self) -> str:
        """Words of the error."""
        return str(self.args[0])


@dataclass
class RegisterSet:
    """Events are latched until they are read; what is enabled sums up into the status byte."""

    condition: Callable[[], int] = lambda: 0
    event: int = 0
    enable: int = 0

    def take(self) -> int:
        """The latched events, which are cleared by reading them."""
        event, self.event = self.event | self.condition(), 0
        return event

    @property
    def summary(self) -> bool:
        """Whether an enabled event has happened."""
        return bool((self.event | self.condition()) & self.enable)


@dataclass
class Status:
    """The status model of IEEE 488.2: errors, standard events, service request enable.

    depth: errors the queue holds; the last place then says that it has overflown.
    """

    depth: int = 10
    standard: RegisterSet = field(default_factory=lambda: RegisterSet(event=POWER_ON))
    service_enable: int = 0
    sets: dict[int, RegisterSet] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.errors: deque[tuple[int, str]] = deque()

    def push(self, code: int, message: str = "") -> None:
        """Put an error in the queue, which is bounded, and its class in the standard event register."""
        self.standard.event |= _event_bit(code)
        if len(self.errors) < self.depth:
            self.errors.append((code, message or MESSAGES.get(code, "Execution error")))
        else:
            self.errors[-1] = (-350, MESSAGES[-350])
            self.standard.event |= DEVICE_ERROR

    def next_error(self) -> tuple[int, str]:
        """Take the oldest error out of the queue: (0, "No error") when there is none."""
        return self.errors.popleft() if self.errors else (0, MESSAGES[0])

    def clear(self) -> None:
        """*CLS: no events, no errors; what is enabled stays enabled."""
        self.errors.clear()
        for registers in (self.standard, *self.sets.values()):
            registers.event = 0

    def preset(self) -> None:
        """:STATus:PRESet: nothing enabled in the instrument's own register sets."""
        for registers in self.sets.values():
            registers.enable = 0

    def byte(self) -> int:
        """*STB?: the status byte; bit 2: errors, 5: standard events, 6: service is asked for."""
        value = 4 * bool(self.errors) | 32 * self.standard.summary
        for bit, registers in self.sets.items():
            value |= registers.summary << bit
        return value | 64 * bool(value & self.service_enable & ~64)


def _event_bit(code: int) -> int:
    if code > 0:
        return EXECUTION_ERROR
    classes = {1: COMMAND_ERROR, 2: EXECUTION_ERROR, 3: DEVICE_ERROR, 4: QUERY_ERROR}
    return classes.get(-code // 100, 0)
