"""The other end of a run's endpoint: what a second terminal or a window uses to watch and command a live run."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import zmq

from pib_lab import wire_format
from pib_lab.endpoint import Endpoint, read_endpoint
from pib_lab.errors import LinkError
from pib_lab.events import Event, RunFinished
from pib_lab.procedure_events import ProcedureEvent, ProcedureFinished

_LIVENESS_MS = 500
_WAITING = 20_000


class Client:
    """A connection to the live run in `folder`, for use by one thread.

    Raises LinkError when the run is not live, or when its process ended without taking its endpoint file away.
    """

    def __init__(self, folder: Path, *, timeout_s: float = 3.0) -> None:
        self.endpoint: Endpoint = read_endpoint(folder)
        self._folder = folder
        self._timeout_s = timeout_s
        self._requests = 0
        self._waiting: deque[dict[str, Any]] = deque()  # event frames that came while a reply was awaited
        self._check_alive()
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.RCVHWM, _WAITING)  # for who reads a long run file before the events that follow it
        self._socket.connect(self.endpoint.address)

    def status(self) -> dict[str, Any]:
        """Where the run stands (keys as `RunStatus.summary`, and the pid). Raises LinkError when nothing answers."""
        return self.send("status")

    def send(self, verb: str) -> dict[str, Any]:
        """Command "pause", "resume", "abort" or "safe"; returns the status at that moment.

        Commands are carried out at the next step boundary; "abort" and "safe" also interrupt a measurement.
        Raises LinkError when the run refuses, does not answer in time, or is gone.
        """
        self._requests += 1
        request = {"id": self._requests, "token": self.endpoint.token, "verb": verb}
        self._socket.send(wire_format.pack(request))
        deadline_s = time.monotonic() + self._timeout_s
        while (left_s := deadline_s - time.monotonic()) > 0:
            if not self._socket.poll(math.ceil(min(_LIVENESS_MS, left_s * 1000))):
                self._check_alive()
                continue
            frame = self._receive()
            if frame["kind"] == "reply" and frame["id"] == self._requests:
                if not frame["ok"]:
                    raise LinkError(f"{self._folder}: {frame['error']}")
                return dict(frame["status"])
            if frame["kind"] != "reply":  # a reply to an earlier request that timed out is of no use now
                self._waiting.append(frame)
        raise LinkError(
            f"{self._folder}: process {self.endpoint.pid} runs but did not answer within {self._timeout_s:g} s; "
            "`pib-lab safe` switches its outputs off"
        )

    def attach(self) -> None:
        """Ask for the run's events: those that say where it stands, then all that follow. Then read `events`."""
        self.send("attach")

    def events(self, *, timeout_s: float | None = None) -> Iterator[Event]:
        """The run's events after `attach`, up to RunFinished, or for `timeout_s` at most.

        Raises LinkError when the run ends this connection or its process dies.
        """
        return self._until(RunFinished, timeout_s)

    def procedure_events(self, *, timeout_s: float | None = None) -> Iterator[ProcedureEvent]:
        """As `events`, of a bring-up procedure: one whose status has the key "procedure"."""
        return self._until(ProcedureFinished, timeout_s)

    def _until(self, last: type[Any], timeout_s: float | None) -> Iterator[Any]:
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        while deadline_s is None or time.monotonic() < deadline_s:
            left_s = math.inf if deadline_s is None else max(0.0, deadline_s - time.monotonic())
            if self._waiting:
                frame = self._waiting.popleft()
            elif self._socket.poll(math.ceil(min(_LIVENESS_MS, left_s * 1000))):
                frame = self._receive()
            else:
                self._check_alive()
                continue
            if frame["kind"] == "detached":
                raise LinkError(f"{self._folder}: {frame['reason']}")
            if frame["kind"] == "event":
                yield frame["event"]
                if isinstance(frame["event"], last):
                    return

    def close(self) -> None:
        """Let go of the connection; the run goes on. Idempotent."""
        self._context.destroy(linger=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _receive(self) -> dict[str, Any]:
        frame = wire_format.unpack(self._socket.recv())
        if not isinstance(frame, dict) or "kind" not in frame:
            raise LinkError(f"{self._folder}: the other end is not a run of this version")
        return frame

    def _check_alive(self) -> None:
        if not self.endpoint.alive:
            raise LinkError(
                f"{self._folder}: process {self.endpoint.pid} of this run has died; "
                "`pib-lab safe` switches its outputs off, `pib-lab run --resume` continues it"
            )
