"""A transport without a wire: each message is carried out by an emulated instrument before the call returns.

For figures that have to be the same to the last bit: between processes or threads, messages to several instruments may
arrive in another order, and the clock that they share goes on in between.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from drivers.emulators.instrument import EmulatedInstrument
from pib_lab.errors import LinkError


class DirectTransport:
    """A `drivers.wire.transport.Transport` to `instrument`; nothing on the way can fail."""

    def __init__(self, instrument: EmulatedInstrument, address: str) -> None:
        self.address = address
        self._instrument = instrument
        self._lock = threading.RLock()

    def open(self) -> None:
        """Nothing to connect."""

    def close(self) -> None:
        """Nothing to let go of."""

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the instrument for several messages."""
        with self._lock:
            yield

    def write(self, message: str) -> None:
        """Raises LinkError for a message that was answered: nobody would read it."""
        answers = self._send(message)
        if answers:
            raise LinkError(f"{self.address}: {message!r} was answered by {answers}: ask for it")

    def query(self, message: str, *, timeout_s: float | None = None, idempotent: bool = True) -> str:
        """The one answer. Raises LinkError for none or several."""
        answers = self._send(message)
        if len(answers) != 1:
            raise LinkError(f"{self.address}: {message!r} was answered by {len(answers)} lines: {answers}")
        return answers[0]

    def clear(self) -> None:
        """Nothing is ever half sent."""

    def reconnect(self) -> None:
        """Nothing to connect."""

    def _send(self, message: str) -> list[str]:
        with self._lock:
            return self._instrument.execute(message)
