"""One message link to an instrument, whatever it runs over. Drivers speak to this and to nothing below it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol


class Transport(Protocol):
    """A line-based link (VISA or serial) with one lock. All waits are bounded by `timeout_s`.

    After a time-out the link is resynchronised before it is used again, so that a late answer is never taken for the
    next one; a link that cannot be resynchronised is reconnected, and one that cannot be reconnected raises LinkError
    from then on until `reconnect` succeeds.
    """

    @property
    def address(self) -> str:
        """What the protocol names it by: a VISA resource or a serial port."""

    def open(self) -> None:
        """Connect. Idempotent. Raises LinkError with what to check."""

    def close(self) -> None:
        """Disconnect. Idempotent; never raises."""

    def exclusive(self) -> AbstractContextManager[None]:
        """Hold the link for a whole exchange of several messages; a thread that holds it may take it again."""

    def write(self, message: str) -> None:
        """Send one message; the terminator is added. Raises LinkError."""

    def query(self, message: str, *, timeout_s: float | None = None, idempotent: bool = True) -> str:
        """Send one query and return its answer without terminator.

        Only an idempotent query is retried, a bounded number of times and never beyond its stated bound. Raises
        LinkError when no whole answer has come in time.
        """

    def clear(self) -> None:
        """Bring the link to a known state: nothing half sent, nothing unread."""

    def reconnect(self) -> None:
        """Close and open again. Raises LinkError."""
