"""The host's end of the crossbar board's link: requests, answers, retransmission, heartbeats. Every wait is bounded.

One request is under way at a time. It carries a sequence number that is not used again, so a late answer is known and
dropped; a request without an answer is sent again with the same number, which the board answers again and does not
carry out twice.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from drivers.board.frames import ANSWER, Frame, FrameDecoder, encode
from drivers.board.ports import SEND_S, BytePort
from drivers.board.protocol import (
    DEFAULT_DEADMAN_MS,
    VERSION,
    Hello,
    Identity,
    Kind,
    Outputs,
    ProtocolError,
    Status,
    decode_u8,
    encode_u8,
    outputs_of,
)
from drivers.device import FairLock
from pib_lab.errors import DeviceError, LimitError, LinkError, PibError

Message = TypeVar("Message")

ATTEMPTS = 4
"""A request is sent at most so often."""
TIMEOUT_S = 0.5
"""Of one attempt, besides the time for which the request keeps the board busy."""


class BoardLink:
    """A session with one board. `connect` makes the port; `now_s` is the time by which answers are awaited; address:
    where the port leads, for messages.

    Raises LinkError when no good answer has come within `bound_s`, DeviceError or LimitError for what is refused.
    """

    def __init__(
        self,
        name: str,
        connect: Callable[[], BytePort],
        *,
        deadman_s: float = DEFAULT_DEADMAN_MS / 1000,
        timeout_s: float = TIMEOUT_S,
        now_s: Callable[[], float] = time.monotonic,
        address: str = "",
    ) -> None:
        self._name, self._timeout_s, self._now_s = name, timeout_s, now_s
        self._lock = FairLock(name)
        self._decoder = FrameDecoder()
        self._sequence = 0
        self._session = int.from_bytes(os.urandom(2), "little") or 1
        self._last_sent_s = now_s()
        self._outputs = Outputs.NONE
        self._unheard = False
        """The last command to switch off had no answer in all its attempts, and nothing has been answered since."""
        self.stopped: Callable[[], bool] = lambda: False
        """Whether an operator wants all outputs off now: then nothing but that is sent again."""
        self._port = connect()
        try:
            self.identity = self.understood(Identity.decode, self._greet(round(deadman_s * 1000), address or name))
        except BaseException:
            self._port.close()
            raise
        self._heartbeat = _Heartbeat(self, self.identity.deadman_ms / 1000)

    def _greet(self, deadman_ms: int, where: str) -> bytes:
        try:
            return self.request(Kind.HELLO, Hello(VERSION, deadman_ms).encode())
        except LinkError as problem:
            raise LinkError(
                f"no board answered at {where}, though something is there: is that a board's address, and has the "
                f"board power? ({problem})"
            ) from problem

    def bound_s(self, busy_s: float = 0.0) -> float:
        """The longest that a request may take which keeps the board busy for `busy_s`: all its attempts, after a
        heartbeat that went before it."""
        return SEND_S + self._timeout_s + ATTEMPTS * (SEND_S + self._timeout_s + busy_s)

    @property
    def outputs(self) -> Outputs:
        """What was read back on when outputs were last switched."""
        return self._outputs

    def request(self, kind: Kind, payload: bytes = b"", busy_s: float = 0.0) -> bytes:
        """Send a request and return the payload of its answer."""
        with self._lock.turn(kind.name, SEND_S + self._timeout_s):
            return self._exchange(kind, payload, busy_s, ATTEMPTS)

    def switch(self, wanted: Outputs) -> Outputs:
        """Command outputs; returns which are on as read back. The heartbeat goes on while any is."""
        self._unheard = wanted is Outputs.NONE
        answer = self.request(Kind.OUTPUTS, encode_u8(wanted))
        self._outputs = outputs_of(self.understood(decode_u8, answer))
        self._heartbeat.go(bool(self._outputs))
        return self._outputs

    def close(self) -> None:
        """Switch off what may be on, unless that had no answer a moment ago, and let go of the port. Never raises."""
        self._heartbeat.end()
        try:
            if self._outputs and not self._unheard:
                self.switch(Outputs.NONE)
        except PibError:  # the board's dead-man timer does it instead
            pass
        finally:
            self._heartbeat.end()
            self._port.close()

    def beat(self, if_silent_s: float) -> None:
        """Show that the host lives, unless a request is under way or one was sent less than `if_silent_s` ago."""
        if self._now_s() - self._last_sent_s < if_silent_s:
            return
        try:
            with self._lock.turn("heartbeat", 0.0):
                self._exchange(Kind.HEARTBEAT, b"", 0.0, attempts=1)
        except PibError:  # busy, or dead: then the next request meets it, and says so to who asked
            return

    def _exchange(self, kind: Kind, payload: bytes, busy_s: float, attempts: int) -> bytes:
        self._sequence = (self._sequence + 1) & 0xFFFF
        data = encode(Frame(kind, self._session, self._sequence, payload))
        for _ in range(attempts):
            self._last_sent_s = self._now_s()
            self._port.send(data)
            answer = self._await(kind, self._now_s() + self._timeout_s + busy_s)
            if answer is not None:
                self._unheard = False
                return self._accepted(answer)
            if kind is not Kind.OUTPUTS and self.stopped():
                attempts = 1
                break
        raise LinkError(
            f"board {self._name}: no answer to {kind.name} in {attempts} attempts of {self._timeout_s + busy_s:.3g} s; "
            "check cable and supply, then open the lab again"
        )

    def _await(self, kind: Kind, deadline_s: float) -> Frame | None:
        """The answer to the request under way; None when none has come in time, or a broken frame came instead."""
        broken = self._decoder.broken
        while (left_s := deadline_s - self._now_s()) > 0.0:
            for frame in self._decoder.feed(self._port.receive(left_s)):
                if (frame.kind, frame.session, frame.sequence) == (kind | ANSWER, self._session, self._sequence):
                    return frame
            if self._decoder.broken != broken:
                return None
        return None

    def _accepted(self, answer: Frame) -> bytes:
        if answer.status == Status.OK:
            return answer.payload
        try:
            status = Status(answer.status).name
        except ValueError:
            status = f"status {answer.status}"
        text = answer.payload.decode("ascii", errors="replace")
        message = f"board {self._name}: {status}: {text}"
        if answer.status == Status.BEYOND_LIMIT:
            raise LimitError(message)
        if answer.status in (Status.NO_SESSION, Status.STALE):
            raise LinkError(f"{message}; another host has taken over, or the board was reset: open the lab again")
        raise DeviceError(message)

    def understood(self, decode: Callable[[bytes], Message], payload: bytes) -> Message:
        """What `decode` makes of an answer. Raises ProtocolError, naming the board, where it makes nothing of it."""
        try:
            return decode(payload)
        except ProtocolError as problem:
            raise ProtocolError(f"board {self._name} speaks otherwise than its version says: {problem}") from None


class _Heartbeat:
    """A thread that beats while outputs are on: the board switches off when it has heard nothing for its dead-man time.

    It beats four times in that, so that a lost frame or two do not end a run.
    """

    def __init__(self, link: BoardLink, deadman_s: float) -> None:
        self._link, self._period_s = link, deadman_s / 4
        self._end: threading.Event | None = None

    def go(self, on: bool) -> None:
        """Beat, or do not. Idempotent."""
        if not on:
            self.end()
        elif self._end is None:
            self._end = threading.Event()
            threading.Thread(target=self._work, args=(self._end,), name="board heartbeat", daemon=True).start()

    def end(self) -> None:
        """Beat no more; a beat that is under way is bounded as every request is. Idempotent."""
        if self._end is not None:
            self._end.set()
            self._end = None

    def _work(self, end: threading.Event) -> None:
        while not end.wait(self._period_s):
            self._link.beat(self._period_s)
