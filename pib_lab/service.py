"""A live run's local endpoint: commands in, events out, on one ZeroMQ ROUTER socket bound to this machine only.

Frames are msgpack (see `wire_format`). A client sends `{"id", "token", "verb"}` and gets
`{"kind": "reply", "id", "ok", "error", "status"}`; once attached it also gets `{"kind": "event", "event"}`,
and `{"kind": "detached", "reason"}` as the last frame of all. The token is in a file that only the user can read.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import threading
import time
from collections import deque
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any, Protocol, Self

import msgpack
import zmq

from pib_lab import wire_format
from pib_lab.endpoint import Endpoint, birth_of
from pib_lab.errors import LinkError
from pib_lab.events import CheckpointTaken, Event
from pib_lab.latest import latest_key
from pib_lab.procedure_events import ProcedureEvent
from pib_lab.status import RunStatus

COMMANDS = ("pause", "resume", "abort", "safe")
_QUERIES = ("status", "attach", "detach")
_LARGEST_REQUEST = 4096  # bytes; a longer one ends its connection before it is read
_RETRY_MS = 20
_FAREWELL_S = 1.0


class Status(Protocol):
    """Where a run stands, gathered from the events that it is shown: `status.RunStatus` and its like."""

    def show(self, event: Any) -> None:
        """Take note of an event."""

    def backlog(self) -> Sequence[Any]:
        """The events that bring a client who attaches now up to date."""

    def summary(self) -> dict[str, Any]:
        """What a status command answers."""


class CommandSink(Protocol):
    """Takes operator commands, from any thread: `training.Commands`."""

    def post(self, verb: str) -> None:
        """Hand over "pause", "resume", "abort" or "safe"."""


class Service:
    """The endpoint of one run, in a thread of its own. It is a view: `show` it the run's events.

    status: what gathers the events, a training's when left out; verbs: those of COMMANDS that the run obeys;
    outbox_limit: frames that wait for a slow client. Beyond it, its maps and pictures are dropped; then the client is
    detached. Raises RunFileError when `folder` cannot be written to.
    """

    def __init__(
        self,
        folder: Path,
        commands: CommandSink,
        *,
        status: Status | None = None,
        verbs: Sequence[str] = COMMANDS,
        outbox_limit: int = 2000,
    ) -> None:
        self._folder = folder
        self._commands = commands
        self._outbox_limit = outbox_limit
        self._status: Status = RunStatus() if status is None else status
        self._verbs = tuple(verbs)
        self._incoming: deque[Event | ProcedureEvent] = deque()
        self._outboxes: dict[bytes, _Outbox] = {}
        self._stopping = threading.Event()
        self._bell, self._doorbell = socket.socketpair()
        self._bell.setblocking(False)
        self._doorbell.setblocking(False)
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.setsockopt(zmq.ROUTER_MANDATORY, 1)  # a client that is slow or gone is an error, not a silent loss
        self._socket.setsockopt(zmq.SNDHWM, 64)
        self._socket.setsockopt(zmq.MAXMSGSIZE, _LARGEST_REQUEST)
        self._socket.setsockopt(zmq.LINGER, int(_FAREWELL_S * 1000))
        port = self._socket.bind_to_random_port("tcp://127.0.0.1")
        pid = os.getpid()
        self._endpoint = Endpoint(port, secrets.token_hex(32), pid, birth_of(pid) or "")
        try:
            self._endpoint.write(folder)
        except Exception:
            self._context.destroy(linger=0)
            raise
        self._thread = threading.Thread(target=self._serve, name="service", daemon=True)
        self._thread.start()

    def show(self, event: Event | ProcedureEvent) -> None:
        """Send `event` to the attached clients. Raises LinkError once the service has ended."""
        if isinstance(event, CheckpointTaken):
            return
        if not self._thread.is_alive():
            raise LinkError("the run's endpoint has ended")
        self._incoming.append(event)
        self._ring()

    def close(self) -> None:
        """Send what is left, tell the clients, and take the endpoint file away. Idempotent."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        self._ring()
        self._thread.join()
        self._bell.close()
        self._doorbell.close()
        self._endpoint.remove(self._folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ring(self) -> None:
        with contextlib.suppress(BlockingIOError):  # a bell that takes no more is ringing already
            self._bell.send(b"!")

    def _serve(self) -> None:
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        poller.register(self._doorbell, zmq.POLLIN)
        try:
            while not self._stopping.is_set():
                poller.poll(_RETRY_MS if any(self._outboxes.values()) else None)
                self._turn()
            farewell = time.monotonic() + _FAREWELL_S
            self._turn()
            while any(self._outboxes.values()) and time.monotonic() < farewell:
                poller.poll(_RETRY_MS)
                self._turn()
            for client in list(self._outboxes):
                self._send(client, wire_format.pack({"kind": "detached", "reason": "the run has ended"}))
        finally:
            self._socket.close()
            self._context.term()

    def _turn(self) -> None:
        """Everything that can be done now without waiting."""
        with contextlib.suppress(BlockingIOError):
            self._doorbell.recv(4096)
        while self._incoming:
            event = self._incoming.popleft()
            self._status.show(event)
            if self._outboxes:
                self._distribute(event)
        while self._socket.poll(0):
            client, *frames = self._socket.recv_multipart()
            self._send(client, wire_format.pack(self._answer(client, frames[-1] if frames else b"")))
        for client, outbox in list(self._outboxes.items()):
            while outbox and self._send(client, outbox.first()):
                outbox.drop_first()
            if outbox.ended and not outbox:
                self._outboxes.pop(client, None)

    def _distribute(self, event: Event | ProcedureEvent) -> None:
        frame = _event_frame(event)
        for outbox in self._outboxes.values():
            if not outbox.ended and not outbox.put(event, frame):
                notice = "this client is too slow for the run's events and was detached; attach again"
                outbox.end(wire_format.pack({"kind": "detached", "reason": notice}))

    def _answer(self, client: bytes, data: bytes) -> dict[str, Any]:
        request = _read_request(data)
        reply: dict[str, Any] = {"kind": "reply", "id": request.get("id"), "ok": False, "error": "", "status": None}
        verb = request.get("verb")
        if not secrets.compare_digest(str(request.get("token")).encode(), self._endpoint.token.encode()):
            return reply | {"error": "refused: wrong token"}
        if verb in self._verbs:
            self._commands.post(verb)
        elif verb == "attach":
            self._outboxes[client] = _Outbox(self._outbox_limit)
            for event in self._status.backlog():
                self._outboxes[client].put(event, _event_frame(event))
        elif verb == "detach":
            self._outboxes.pop(client, None)
        elif verb != "status":
            return reply | {"error": f"unknown verb {verb!r} (known: {', '.join(_QUERIES + self._verbs)})"}
        return reply | {"ok": True, "status": self._status.summary() | {"pid": self._endpoint.pid}}

    def _send(self, client: bytes, frame: bytes) -> bool:
        """False when the frame should be tried again: the client is behind."""
        try:
            self._socket.send_multipart([client, frame], zmq.DONTWAIT)
        except zmq.Again:
            return False
        except zmq.ZMQError:  # EHOSTUNREACH: the client has gone
            self._outboxes.pop(client, None)
        return True


class _Outbox:
    """Frames that wait for one client; of a unit's maps and pictures only the latest."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._frames: dict[Hashable, bytes] = {}
        self._serial = 0
        self.ended = False

    def __len__(self) -> int:
        return len(self._frames)

    def put(self, event: Event | ProcedureEvent, frame: bytes) -> bool:
        """Add a frame; False when there is no room even without maps and pictures."""
        self._serial += 1
        key: Hashable = latest_key(event) or self._serial
        self._frames.pop(key, None)
        if len(self._frames) >= self._limit:
            self._frames = {key: frame for key, frame in self._frames.items() if isinstance(key, int)}
            if len(self._frames) >= self._limit:
                return False
        self._frames[key] = frame
        return True

    def end(self, notice: bytes) -> None:
        """Put a last frame in the place of all that wait."""
        self._frames = {0: notice}
        self.ended = True

    def first(self) -> bytes:
        """The oldest frame."""
        return next(iter(self._frames.values()))

    def drop_first(self) -> None:
        """Forget the oldest frame: it has been sent."""
        del self._frames[next(iter(self._frames))]


def _event_frame(event: Event | ProcedureEvent) -> bytes:
    return wire_format.pack({"kind": "event", "event": event})


def _read_request(data: bytes) -> dict[str, Any]:
    """A request is unpacked without extensions: nothing is built before the token has been seen."""
    try:
        request = msgpack.unpackb(data, raw=False)
    except (ValueError, msgpack.exceptions.UnpackException):
        return {}
    return request if isinstance(request, dict) else {}
