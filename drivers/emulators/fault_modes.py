"""What can go wrong on the way between an instrument and its client, and how it is asked for."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from drivers.emulators.instrument import Truth
from pib_lab.errors import ConfigurationError, nearest


class WireFault(StrEnum):
    """Faults of the link: what becomes of the answer to a message."""

    NO_ANSWER = "no-answer"
    LATE_ANSWER = "late-answer"
    HALF_LINE = "half-line"  # the first half of a line or frame, without terminator
    LATE_HALF = "late-half"  # the first half at once, the rest late
    TWO_ANSWERS = "two-answers"  # the same line or frame twice
    GARBAGE = "garbage"  # bytes that are no text and no frame
    DROPPED_LINK = "dropped-link"  # the connection ends; a pseudo-terminal stays silent
    WRONG_IDENTITY = "wrong-identity"  # of answers to *IDN?, or to a board's HELLO, only


INSTRUMENT_FAULTS: dict[str, tuple[str, Any]] = {
    "stuck-compliance": ("stuck_compliance", 1e-6),
    "offset": ("offset_a", 1e-6),
    "error-flood": ("error_flood", 200),
    "welded-relay": ("welded", "1A01"),
    "hanging-output": ("hanging", ["word lines"]),
}
"""Faults of the instrument itself: what of its state they set, and to what when the request gives no value."""
_HEALED: dict[str, Any] = {"stuck_compliance": 0.0, "offset_a": 0.0, "welded": "", "hanging": []}
OTHER_IDENTITY = "ACME INSTRUMENTS,MODEL 1,0,0"


@dataclass(frozen=True, slots=True)
class Struck:
    """A fault that applies to one answer; late_s: how late it comes."""

    fault: WireFault
    late_s: float

    def parts(self, answer: bytes, end: bytes, rng: np.random.Generator) -> list[tuple[float, bytes]]:
        """What is sent in the place of `answer`: seconds to wait, then bytes, one after another; `end` ends a message.

        Nothing for a link that drops and an identity that is another's: those are for the server.
        """
        half = max(1, (len(answer) - 1) // 2)
        match self.fault:
            case WireFault.LATE_ANSWER:
                return [(self.late_s, answer)]
            case WireFault.HALF_LINE:
                return [(0.0, answer[:half])]
            case WireFault.LATE_HALF:
                return [(0.0, answer[:half]), (self.late_s, answer[half:])]
            case WireFault.TWO_ANSWERS:
                return [(0.0, answer + answer)]
            case WireFault.GARBAGE:
                return [(0.0, rng.integers(0x80, 0x100, size=len(answer), dtype=np.uint8).tobytes() + end)]
        return []


class FaultModes:
    """The wire fault of one server; set from any thread while it runs."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._struck: Struck | None = None
        self._left: int | None = None
        self.hits = 0

    def arm(self, fault: WireFault, count: int | None = None, late_s: float = 1.0) -> None:
        """Strike the next `count` answers (None: all, until cleared)."""
        with self._lock:
            self._struck, self._left = Struck(fault, late_s), count

    def clear(self) -> None:
        """Answer soundly again."""
        with self._lock:
            self._struck = None

    def next(self, tells_identity: bool) -> Struck | None:
        """The fault that strikes the next answer; counts it. tells_identity: whether it says who answers."""
        with self._lock:
            struck = self._struck
            if struck is None or (struck.fault is WireFault.WRONG_IDENTITY and not tells_identity):
                return None
            self.hits += 1
            if self._left is not None:
                self._left -= 1
                if self._left <= 0:
                    self._struck = None
            return struck

    def state(self) -> dict[str, Any]:
        """What is armed, for how many answers yet, and how many it has struck."""
        with self._lock:
            armed = str(self._struck.fault) if self._struck else None
            return {"armed": armed, "left": self._left if self._struck else None, "hits": self.hits}


def strike(instrument: Truth, modes: FaultModes, name: str, request: dict[str, Any]) -> None:
    """Carry out a fault request: "for" (answers), "late_s", "value"; the name "none" heals all.

    Raises ConfigurationError for an unknown name, a value that is none, a fault that the instrument cannot have.
    """
    if name == "none":
        modes.clear()
        for state, healed in _HEALED.items():
            _set(instrument, state, healed, optional=True)
        return
    if name in INSTRUMENT_FAULTS:
        state, default = INSTRUMENT_FAULTS[name]
        _set(instrument, state, request.get("value", default))
        return
    known = [*(fault.value for fault in WireFault), *INSTRUMENT_FAULTS, "none"]
    if name not in known:
        raise ConfigurationError(f"fault {name!r} does not exist{nearest(name, known)} (known: {', '.join(known)})")
    count, late_s = request.get("for"), request.get("late_s", 1.0)
    if count is not None and (not isinstance(count, int) or isinstance(count, bool) or count < 1):
        raise ConfigurationError(f'"for": {count!r} is not a number of answers; leave it out to strike all')
    if isinstance(late_s, bool) or not isinstance(late_s, int | float) or not 0.0 <= late_s <= 60.0:
        raise ConfigurationError(f'"late_s": {late_s!r} is not between 0 and 60 seconds')
    modes.arm(WireFault(name), count, float(late_s))


def _set(instrument: Truth, name: str, value: Any, optional: bool = False) -> None:
    try:
        instrument.set_state(name, value)
    except KeyError:
        if not optional:
            raise ConfigurationError(f"{instrument.model} has no state {name!r} that can be set") from None
    except (TypeError, ValueError) as problem:
        raise ConfigurationError(f"{instrument.model}: {name}: {value!r} cannot be set: {problem}") from None
