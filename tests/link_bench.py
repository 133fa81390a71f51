"""Instruments that misbehave as told, on a real loopback socket or pseudo-terminal."""

from __future__ import annotations

import os
import re
import select
import socket
import threading
import tty
from collections import deque
from collections.abc import Callable
from contextlib import suppress

Act = bytes | float | None
"""Send these bytes, let this many seconds pass, or (None) drop the link."""

Responder = Callable[[str], list[Act]]
"""From a message without its terminator to what the instrument does about it."""

_SCPI_MARKER = re.compile(r"\*ESE (\d+);\*ESE\?;\*ESE (\d+);\*ESE\?;\*ESE 0")


def echo(message: str) -> list[Act]:
    """Answers `ECHO n?` with n, and the marker of SCPI."""
    if found := _SCPI_MARKER.fullmatch(message):
        return [f"{found[1]};{found[2]}\n".encode()]
    if message.startswith("ECHO ") and message.endswith("?"):
        return [f"{message[5:-1]}\n".encode()]
    return []


class Faulty:
    """`echo` that does the next of `faults` to each answer, while there are any; the marker is spared unless told."""

    def __init__(self, *faults: str, late_s: float = 0.05, also_marker: bool = False) -> None:
        self.faults = deque(faults)
        self.late_s = late_s
        self.also_marker = also_marker
        self.done: list[str] = []

    def __call__(self, message: str) -> list[Act]:
        acts = echo(message)
        if not acts or not self.faults or (message.startswith("*") and not self.also_marker):
            return acts
        fault = self.faults.popleft()
        self.done.append(fault)
        answer = acts[0]
        assert isinstance(answer, bytes)
        return self._spoilt(fault, answer)

    def _spoilt(self, fault: str, answer: bytes) -> list[Act]:
        half = answer[: len(answer) // 2]
        acts: dict[str, list[Act]] = {
            "none": [answer],
            "no answer": [],
            "late": [self.late_s, answer],
            "half": [half],
            "half, then the rest": [half, self.late_s, answer[len(half) :]],
            "half, then drop": [half, None],
            "garbage": [b"\xff\xfe\x80" + answer],
            "control characters": [b"\x00\x07" + answer],
            "empty line": [b"\n"],
            "drop": [None],
            "answer, then drop": [answer, None],
            "flood of lines": [answer + b"9999\n" * 2000],
            "endless line": [b"9" * 4000 for _ in range(20)],
            "two answers": [answer + answer],
            "slow": [answer[:1], 0.002, answer[1:]],
        }
        return acts[fault]


FAULTS = (
    "no answer",
    "late",
    "half",
    "half, then the rest",
    "half, then drop",
    "garbage",
    "control characters",
    "empty line",
    "drop",
    "answer, then drop",
    "flood of lines",
    "endless line",
    "two answers",
)


class LineServer:
    """A TCP instrument: every connection is served, each by a thread of its own."""

    def __init__(self, responder: Responder = echo) -> None:
        self.respond = responder
        self.heard: list[str] = []
        self._closing = threading.Event()
        self._connected = threading.Event()
        self._connections: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.address = f"TCPIP::127.0.0.1::{self.port}::SOCKET"
        threading.Thread(target=self._accept, daemon=True).start()

    def say(self, data: bytes) -> None:
        """Send something that nobody asked for, on the newest connection."""
        assert self._connected.wait(5.0)
        self._connections[-1].sendall(data)

    def close(self) -> None:
        """End; nothing listens any more."""
        self._closing.set()
        for wire in (self._listener, *self._connections):
            with suppress(OSError):
                wire.shutdown(socket.SHUT_RDWR)
            wire.close()

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._connections.append(connection)
            self._connected.set()
            if self._closing.is_set():
                connection.close()
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                for line in connection.makefile("rb"):
                    message = line.decode("ascii", "replace").rstrip("\r\n")
                    self.heard.append(message)
                    for act in self.respond(message):
                        if act is None:
                            connection.shutdown(socket.SHUT_RDWR)
                            return
                        if isinstance(act, float):
                            self._closing.wait(act)
                        else:
                            connection.sendall(act)
            except OSError:
                return


class PtyServer:
    """A serial instrument on a pseudo-terminal; a dropped link is one that stays silent from then on."""

    def __init__(self, responder: Responder = echo) -> None:
        self.respond = responder
        self.heard: list[str] = []
        self._closing = threading.Event()
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self.address = f"serial:{os.ttyname(self._slave)}?baud=115200"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def say(self, data: bytes) -> None:
        """Send something that nobody asked for."""
        while data and not self._closing.is_set():  # a terminal that nobody reads takes only so much
            if select.select([], [self._master], [], 0.01)[1]:
                data = data[os.write(self._master, data) :]

    def close(self) -> None:
        """Unplug it."""
        self._closing.set()
        self._thread.join(5.0)
        os.close(self._master)
        os.close(self._slave)

    def _serve(self) -> None:
        held = b""
        while not self._closing.is_set():
            if not select.select([self._master], [], [], 0.01)[0]:
                continue
            held += os.read(self._master, 4096)
            *lines, held = held.split(b"\n")
            for line in lines:
                message = line.decode("ascii", "replace")
                self.heard.append(message)
                for act in self.respond(message):
                    if isinstance(act, float):
                        self._closing.wait(act)
                    elif act is not None:
                        self.say(act)
