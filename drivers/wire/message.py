"""What every message-based instrument shares: identity, commands with their error queue, numbers read strictly."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from drivers.wire.dialects import SCPI, TSP, Dialect
from drivers.wire.transport import Transport
from pib_lab.errors import DeviceError, LinkError

__all__ = ["SCPI", "TSP", "Identity", "MessageInstrument", "number"]

MAX_ERRORS = 64
"""More entries than any supported instrument's queue holds: one that is not empty by then fills itself."""

_NUMBER = re.compile(r"[+-]?(\d{1,32}(\.\d{0,32})?|\.\d{1,32})([eE][+-]?\d{1,3})?", re.ASCII)
_SEPARATOR = re.compile(r"[,\t]")
_INFINITY = 9.9e37
_NOT_A_NUMBER = 9.91e37


@dataclass(frozen=True, slots=True)
class Identity:
    """The four fields of `*IDN?`."""

    maker: str
    model: str
    serial: str
    firmware: str

    def __str__(self) -> str:
        return f"{self.maker}, {self.model}, serial number {self.serial}, firmware {self.firmware}"


class MessageInstrument:
    """One instrument over a `Transport`.

    name: what messages call it, its name in the protocol; model: a regular expression for the whole model field of its
    identity, in any case.
    """

    def __init__(self, transport: Transport, dialect: Dialect, *, name: str, model: str) -> None:
        self.name = name
        self.transport = transport
        self.dialect = dialect
        self.identity: Identity | None = None
        self._model = model

    def identify(self) -> Identity:
        """Ask who it is.

        Raises DeviceError when another model answers, or another instrument than at the last time.
        """
        answer = self.ask("*IDN?")
        fields = [field.strip() for field in answer.split(",")]
        if len(fields) != 4 or not re.fullmatch(self._model, fields[1], re.IGNORECASE):
            raise DeviceError(
                f"{self.name}: you named a {_readable(self._model)}, but the instrument at {self.transport.address} "
                f"says {answer!r}; correct the address or the driver"
            )
        identity = Identity(*fields)
        if self.identity is not None and identity != self.identity:
            raise DeviceError(
                f"{self.name}: {self.transport.address} was {self.identity} and now is {identity}; start again with "
                "the instrument that was set up"
            )
        self.identity = identity
        return identity

    def command(self, text: str) -> None:
        """Send what has no answer, and see that the instrument took it.

        Raises DeviceError with the instrument's own messages, LinkError, and DeviceError for a query, which would leave
        an answer that nobody reads.
        """
        if self.dialect.asks(text):
            raise DeviceError(f"{self.name}: {text!r} has an answer: ask for it; nothing was sent")
        with self.transport.exclusive():
            self.transport.write(text)
            errors = self.take_errors()
        if errors:
            raise DeviceError(f"{self.name}: after {text!r} the instrument says: {'; '.join(errors)}")

    def ask(self, query: str, *, timeout_s: float | None = None, idempotent: bool = True) -> str:
        """Its answer to `query`; `idempotent=False` for one that must not be sent twice.

        Raises LinkError when no whole answer comes, DeviceError for a text without an answer.
        """
        if not self.dialect.asks(query):
            raise DeviceError(f"{self.name}: {query!r} has no answer to wait for; nothing was sent")
        return self.transport.query(query, timeout_s=timeout_s, idempotent=idempotent)

    def ask_number(self, query: str, *, timeout_s: float | None = None, idempotent: bool = True) -> float:
        """Its answer as one number; see `number` for overflow. Raises LinkError for anything else, and as `ask`."""
        return self.ask_numbers(query, 1, timeout_s=timeout_s, idempotent=idempotent)[0]

    def ask_numbers(
        self, query: str, count: int | None = None, *, timeout_s: float | None = None, idempotent: bool = True
    ) -> list[float]:
        """Its answer as numbers between commas or tabs: exactly `count`, when given. Raises LinkError otherwise."""
        answer = self.ask(query, timeout_s=timeout_s, idempotent=idempotent)
        try:
            numbers = [number(field) for field in _SEPARATOR.split(answer)]
        except ValueError as error:
            raise LinkError(f"{self.name}: {query!r} was answered by {answer[:200]!r}: {error}") from None
        if count is not None and len(numbers) != count:
            raise LinkError(
                f"{self.name}: {query!r} was answered by {len(numbers)} numbers instead of {count}: {answer[:200]!r}"
            )
        return numbers

    def take_errors(self) -> list[str]:
        """Empty the instrument's error queue: its messages, oldest first.

        An entry is gone once it is sent, so it is never asked for twice. Raises LinkError when the answer is lost,
        DeviceError when the queue does not become empty.
        """
        errors: list[str] = []
        with self.transport.exclusive():
            for _ in range(MAX_ERRORS):
                error = self.dialect.next_error(lambda query: self.transport.query(query, idempotent=False))
                if not error:
                    return errors
                errors.append(error)
        raise DeviceError(
            f"{self.name}: the error queue is not empty after {MAX_ERRORS} entries, the last of them {errors[-1]!r}; "
            "switch the instrument off and on"
        )


def number(text: str) -> float:
    """One number as instruments print it, and nothing beside it.

    9.9e37 and beyond is an overflow and becomes infinity of its sign; 9.91e37 is what instruments print for "not a
    number" and becomes NaN, as does TSP's `nan`. Callers decide what they are. Raises ValueError for anything else.
    """
    stripped = text.strip(" ")
    if stripped.lower() in ("nan", "-nan"):
        return math.nan
    if stripped.lower() in ("inf", "+inf", "-inf"):
        return float(stripped)
    if not _NUMBER.fullmatch(stripped):
        raise ValueError(f"{text!r} is not a number")
    value = float(stripped)
    if math.isclose(abs(value), _NOT_A_NUMBER, rel_tol=3e-4):
        return math.nan
    if abs(value) >= _INFINITY * (1.0 - 3e-4):
        return math.copysign(math.inf, value)
    return value


def _readable(model: str) -> str:
    """A model pattern as a person reads it: MODEL 24xx for MODEL 24[0-4]\\d[A-Z-]*."""
    return re.sub(r"\\d|\[0-4\]", "x", model.replace("[A-Z-]*", "")).replace("B?", "B")
