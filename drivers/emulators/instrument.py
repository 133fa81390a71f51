"""What a server needs of an emulated instrument: lines in, lines out, and its true state for the control port."""

from __future__ import annotations

import math
from typing import Any, Protocol

MESSAGE_LIMIT = 65_536
"""Characters of one message; a longer one is an input buffer overrun, error -363."""


class Truth(Protocol):
    """What is true of an instrument, whatever it answers, and how it is changed from outside."""

    @property
    def model(self) -> str:
        """The name it is started by, such as "smu-2400"."""

    def outputs(self) -> dict[str, bool]:
        """The truth: which outputs are on (for a matrix: True when any crosspoint is closed)."""

    def switch_off(self) -> None:
        """The front panel's OUTPUT OFF: all outputs off, all crosspoints open."""

    def state(self) -> dict[str, Any]:
        """The truth as plain JSON values: sources, limits, closures, error queue."""

    def set_state(self, name: str, value: Any) -> None:
        """Set one thing from outside, such as the fault "stuck_compliance" or "offset_a"; KeyError if unknown."""


class EmulatedInstrument(Truth, Protocol):
    """A message-based instrument (SCPI or TSP). Framing, fault modes and links belong to the server, not here.

    Latencies and settling pass on the clock that the instrument was built with.
    """

    def execute(self, message: str) -> list[str]:
        """Carry out one message (without its terminator) and return its answers, each without terminator.

        Never raises for bad input: that goes into the instrument's own error queue.
        """

    def device_clear(self) -> None:
        """Forget half-received input and unread answers, as a device clear does."""


def finite(value: Any) -> float:
    """A number that is set from outside. Raises TypeError or ValueError for what is none, NaN and infinity included."""
    number = float(value)
    if not math.isfinite(number):
        raise ValueError("a finite number belongs here")
    return number
