"""Lines over any wire: one lock, bounded waits, retries of idempotent queries, and resynchronisation.

A line link has no frame and no checksum, so one rule keeps old answers out: whenever an exchange does not end with
exactly one whole line, the link is brought to a known state before it is used again. The wire throws away what is
under way (`Wire.reset`); then, where the instrument can echo something unique, a marker is asked for and everything
before its answer is dropped, however late it comes.
"""

from __future__ import annotations

import math
import re
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from drivers.device import FairLock
from drivers.wire.traffic import Way
from pib_lab.device import Traffic
from pib_lab.errors import DeviceError, LinkError

Marker = Callable[[], tuple[str, str]]
"""Makes a query that the instrument echoes, and its answer, unlike every earlier one and unlike any other answer."""

MAX_ANSWER_BYTES = 1 << 22
MARGIN_S = 0.25
"""What a computer busy with other things may add to each try, included in every stated bound."""
_PAUSE_S = 0.02
_SLICE_S = 0.05
"""Of a wait: between two looks at whether it has become too long."""
_PRINTABLE = re.compile(rb"[\t\x20-\x7e]+")
_MESSAGE = re.compile(r"[\t\x20-\x7e]+")


class Wire(Protocol):
    """Bytes to and from one instrument, for one thread at a time. No call takes longer than its `timeout_s`."""

    @property
    def is_stream(self) -> bool:
        """Whether a wait may be cut into short ones: nothing is lost when one of them ends without a byte."""

    def reset(self, timeout_s: float) -> None:
        """Connect, or when connected throw away all that is half sent or unread. Raises LinkError."""

    def close(self) -> None:
        """Disconnect. Idempotent; never raises."""

    def send(self, data: bytes, timeout_s: float) -> None:
        """Send all of `data`. Raises LinkError, also when it could not be sent in time."""

    def receive(self, timeout_s: float) -> bytes:
        """What has come, as soon as anything has; nothing when nothing came in time. Raises LinkError when dropped."""

    def pending(self) -> bytes:
        """Take what has come unasked, without waiting for more. Raises LinkError when dropped."""


@dataclass(frozen=True, slots=True)
class Timing:
    """timeout_s: for one exchange; recover_s: to connect or resynchronise; retries: of an idempotent query, beyond the
    first try; turn_s: to wait while other threads hold the link."""

    timeout_s: float = 2.0
    recover_s: float = 3.0
    retries: int = 1
    turn_s: float = 30.0


class _State(Enum):
    CLOSED = "closed"
    READY = "ready"  # nothing under way: the next line that comes answers the next query
    DIRTY = "dirty"  # something may still be under way
    LOST = "lost"  # it could not be resynchronised


class LineTransport:
    """A `Transport` over a `Wire`: ASCII lines that end in a line feed (a carriage return before it is
    dropped).

    An answer is one whole line of printable characters with nothing after it, and not empty; anything else is a
    LinkError. What a line link cannot notice: an instrument that answers twice, the second time only after the next
    query was sent (it shows at the query after), and digits lost or changed inside a line.
    """

    def __init__(
        self,
        address: str,
        wire: Wire,
        *,
        timing: Timing | None = None,
        marker: Marker | None = None,
        log: Traffic | None = None,
    ) -> None:
        self.timing = timing or Timing()
        self.recoveries = 0
        self.until_s: Callable[[], float] = lambda: math.inf
        """Until when (monotonic, seconds) anything is waited for at all, asked again and again: an operator's STOP must
        not wait for an instrument that does not answer. A wait under way is cut short where the wire is a stream."""
        self._address = address
        self._wire = wire
        self._marker = marker
        self._log = log
        self._lock = FairLock(address)
        self._state = _State.CLOSED

    @property
    def address(self) -> str:
        """What the protocol names it by."""
        return self._address

    def bound_s(self, timeout_s: float | None = None, *, idempotent: bool = True) -> float:
        """The longest that `query` with these arguments takes once it is its turn (at most `timing.turn_s` more).

        Each try may first resynchronise. The same bound with `idempotent=False` holds for `write`; `open`, `clear` and
        `reconnect` take at most `timing.recover_s + MARGIN_S`.
        """
        tries = 1 + self.timing.retries if idempotent else 1
        return tries * (self.timing.recover_s + self._wait_s(timeout_s) + MARGIN_S)

    def open(self) -> None:
        """Connect and see that nothing is under way. Idempotent. Raises LinkError with what to check."""
        with self.exclusive():
            if self._state is not _State.CLOSED:
                return
            try:
                self._recover()
            except BaseException:
                self._shut()
                raise

    def close(self) -> None:
        """Disconnect. Idempotent; never raises. A thread that has held the link for too long loses it."""
        with ExitStack() as stack:
            with suppress(LinkError):
                stack.enter_context(self.exclusive())
            self._shut()

    def exclusive(self) -> AbstractContextManager[None]:
        """Hold the link for several messages; a thread that holds it may take it again. Raises LinkError when the turn
        has not come within `timing.turn_s`."""
        return self._lock.turn(threading.current_thread().name, self.timing.turn_s)

    def write(self, message: str) -> None:
        """Send one message, once. Raises LinkError, or DeviceError for a text that is not one line of ASCII."""
        data = _line_of(message)
        with self.exclusive():
            self._be_ready()
            self._state = _State.DIRTY
            self._send(data, self.timing.timeout_s)
            self._state = _State.READY

    def query(self, message: str, *, timeout_s: float | None = None, idempotent: bool = True) -> str:
        """Send one query and return its answer without terminator, within `bound_s(timeout_s, idempotent=...)`.

        Raises LinkError when no whole answer has come, DeviceError for a text that is not one ASCII line.
        """
        data = _line_of(message)
        tries = 1 + self.timing.retries if idempotent else 1
        failure: LinkError | None = None
        with self.exclusive():
            for _ in range(tries):
                try:
                    return self._exchange(data, self._wait_s(timeout_s))
                except LinkError as error:
                    if self._state in (_State.LOST, _State.CLOSED):
                        raise
                    failure = error
                    self._note(str(error))
        tried = f"tried {tries} times" if tries > 1 else "not repeated"
        raise LinkError(
            f"{self._address}: no answer to {message!r} that can be trusted ({tried}): {failure}; check that the "
            "instrument is on and not busy, the cable, and the time-out"
        ) from failure

    def clear(self) -> None:
        """Bring the link to a known state: nothing half sent, nothing unread. Raises LinkError."""
        with self.exclusive():
            self._require_open()
            self._recover()

    def reconnect(self) -> None:
        """Close and open again. Raises LinkError; the link then stays lost."""
        with self.exclusive():
            self._wire.close()
            self._recover()

    def _exchange(self, data: bytes, wait_s: float) -> str:
        self._be_ready()
        self._state = _State.DIRTY  # also when Ctrl-C ends the wait
        deadline_s = time.monotonic() + wait_s
        self._send(data, wait_s)
        line, rest = self._line(deadline_s)
        with suppress(LinkError):  # dropped after a whole answer: the answer counts, and the next use finds the drop
            rest += self._wire.pending()
        if rest:
            raise LinkError(
                f"more than one line came, so it is not known which one answers: {line[:80]!r}, {rest[:80]!r}"
            )
        if not _PRINTABLE.fullmatch(line):
            raise LinkError(f"a line came that is empty or not printable: {line[:80]!r}")
        self._state = _State.READY
        return line.decode("ascii")

    def _be_ready(self) -> None:
        self._require_open()
        if self._state is _State.LOST:
            raise LinkError(f"{self._address}: the link was lost; check the instrument and the cable, then reconnect")
        if self._state is _State.READY:
            try:
                unasked = self._wire.pending()
            except LinkError as error:
                self._note(str(error))
                self._state = _State.DIRTY
            else:
                if unasked:
                    self._record(Way.GOT, unasked)
                    self._note("this had not been asked for")
                    self._state = _State.DIRTY
        if self._state is _State.DIRTY:
            self._recover()

    def _recover(self) -> None:
        self._state = _State.DIRTY
        deadline_s = time.monotonic() + self.timing.recover_s
        failure: LinkError | None = None
        while (left_s := min(deadline_s, self.until_s()) - time.monotonic()) > 0:
            try:
                self._wire.reset(left_s)
                self._find_marker(deadline_s)
            except LinkError as error:
                failure = error
                self._note(f"resynchronising: {error}")
                time.sleep(max(0.0, min(_PAUSE_S, deadline_s - time.monotonic())))
            else:
                self.recoveries += 1
                self._note("resynchronised")
                self._state = _State.READY
                return
        self._state = _State.LOST
        raise LinkError(
            f"{self._address}: cannot be brought to a known state within {self.timing.recover_s:g} s "
            f"({failure or 'no time was given'}); check the address, that the instrument is on, and the cable, then "
            "reconnect"
        )

    def _find_marker(self, deadline_s: float) -> None:
        if self._marker is None:
            return
        query, answer = self._marker()
        deadline_s = min(deadline_s, time.monotonic() + self.timing.timeout_s)
        self._send(_line_of(query), deadline_s - time.monotonic())
        held = b""
        while True:
            line, held = self._line(deadline_s, held)
            if line == answer.encode("ascii"):
                break
        if held:
            raise LinkError(f"more came after the answer to {query!r}: {held[:80]!r}")

    def _line(self, deadline_s: float, held: bytes = b"") -> tuple[bytes, bytes]:
        """The next line, without its end, and what came after it; `held` came before."""
        chunks, size = [held], len(held)
        while (left_s := deadline_s - time.monotonic()) <= 0.0 or b"\n" not in chunks[-1]:
            chunk = self._receive(left_s) if left_s > 0 else b""
            if not chunk:
                raise LinkError(f"only {size} bytes of a line came in time" if size else "nothing came in time")
            self._record(Way.GOT, chunk)
            chunks.append(chunk)
            size += len(chunk)
            if size > MAX_ANSWER_BYTES:
                raise LinkError(f"more than {MAX_ANSWER_BYTES:,} bytes came without an end")
        line, _, rest = b"".join(chunks).partition(b"\n")
        return line.removesuffix(b"\r"), rest

    def _receive(self, timeout_s: float) -> bytes:
        deadline_s = time.monotonic() + timeout_s
        while (left_s := min(deadline_s, self.until_s()) - time.monotonic()) > 0:
            chunk = self._wire.receive(min(left_s, _SLICE_S) if self._wire.is_stream else left_s)
            if chunk:
                return chunk
        return b""

    def _send(self, data: bytes, timeout_s: float) -> None:
        self._record(Way.SENT, data)
        self._wire.send(data, timeout_s)

    def _shut(self) -> None:
        self._wire.close()
        self._state = _State.CLOSED

    def _wait_s(self, timeout_s: float | None) -> float:
        return self.timing.timeout_s if timeout_s is None else timeout_s

    def _require_open(self) -> None:
        if self._state is _State.CLOSED:
            raise LinkError(f"{self._address}: not open; call open() first")

    def _note(self, text: str) -> None:
        self._record(Way.NOTE, text)

    def _record(self, way: Way, data: bytes | str) -> None:
        if self._log is not None:
            self._log.record(self._address, way, data)


def _line_of(message: str) -> bytes:
    if not _MESSAGE.fullmatch(message):
        raise DeviceError(
            f"a message must be one line of printable ASCII characters, not {message!r}; nothing was sent"
        )
    return message.encode("ascii") + b"\n"
