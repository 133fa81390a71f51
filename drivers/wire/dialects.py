"""What differs between message languages: the error queue, the marker, and what counts as a query."""

from __future__ import annotations

import itertools
import re
import secrets
from collections.abc import Callable, Iterator
from typing import Protocol

from pib_lab.errors import LinkError

Ask = Callable[[str], str]
"""Sends a query once, without retries, and returns its answer."""

_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")
_SCPI_ERROR = re.compile(r"([+-]?\d{1,6})\s*,\s*\"(.*)\"", re.ASCII)
_TSP_PRINT = re.compile(r"\bprint(buffer|number)?\s*\(")
_TSP_NUMBER = re.compile(r"[+-]?\d{1,9}(\.\d{0,9})?([eE][+-]?\d{1,2})?", re.ASCII)


class Dialect(Protocol):
    """One message language."""

    def asks(self, text: str) -> bool:
        """Whether the instrument answers `text`."""

    def marker(self) -> tuple[str, str]:
        """A query that is echoed, and the echo: unlike every earlier one. See `drivers.wire.line_transport.Marker`."""

    def next_error(self, ask: Ask) -> str:
        """Take the oldest error out of the instrument's queue; empty when there is none. Raises LinkError."""


class Scpi:
    """SCPI-99 over IEEE 488.2.

    The marker is written into the event status enable register and read back, twice eight bits, and the register is
    left at 0: a driver that uses service requests must set it again after a resynchronisation.
    """

    def __init__(self) -> None:
        self._nonces = _nonces()

    def asks(self, text: str) -> bool:
        """A question mark outside quotes."""
        return "?" in _QUOTED.sub("", text)

    def marker(self) -> tuple[str, str]:
        """Two bytes through `*ESE`; they repeat after 65,536 calls."""
        high, low = divmod(next(self._nonces), 256)
        return f"*ESE {high};*ESE?;*ESE {low};*ESE?;*ESE 0", f"{high};{low}"

    def next_error(self, ask: Ask) -> str:
        """`:SYST:ERR?` until its code is 0."""
        answer = ask(":SYST:ERR?")
        found = _SCPI_ERROR.fullmatch(answer.strip())
        if not found:
            raise LinkError(f":SYST:ERR? was answered by {answer!r}, which is no entry of an error queue")
        return f"{int(found[1])} {found[2]}" if int(found[1]) else ""


class Tsp:
    """Keithley's Test Script Processor: Lua statements; what is printed is the answer."""

    def __init__(self) -> None:
        self._nonces = _nonces()

    def asks(self, text: str) -> bool:
        """`print`, `printbuffer` or `printnumber` outside quotes, or a common query such as `*IDN?`."""
        code = _QUOTED.sub("", text)
        return bool(_TSP_PRINT.search(code)) or (code.lstrip().startswith("*") and "?" in code)

    def marker(self) -> tuple[str, str]:
        """A word to print; it repeats after 65,536 calls."""
        word = f"marker-{next(self._nonces):05d}"
        return f'print("{word}")', word

    def next_error(self, ask: Ask) -> str:
        """`errorqueue.next()`, whose code is 0 when the queue is empty; the code and the message are kept."""
        answer = ask("print(errorqueue.next())")
        code, tab, rest = answer.partition("\t")
        if not tab or not _TSP_NUMBER.fullmatch(code.strip()):
            raise LinkError(f"print(errorqueue.next()) was answered by {answer!r}, which is no entry of an error queue")
        number = int(float(code))
        return f"{number} {rest.split(chr(9))[0]}" if number else ""


def _nonces() -> Iterator[int]:
    """Sixteen-bit numbers that do not repeat before all have been used, from a start that the last process had not."""
    start = secrets.randbelow(1 << 16)
    return ((start + i) % (1 << 16) for i in itertools.count())


SCPI = Scpi()
TSP = Tsp()
