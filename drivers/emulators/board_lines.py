"""The emulated board's end of a link: TCP with any number of hosts, or a pseudo-terminal."""

from __future__ import annotations

import contextlib
import os
import select
import socket
from typing import Protocol

from drivers.emulators.server import listen

_SEND_S = 2.0
"""A host that does not take an answer for so long does not get it."""
_MOST = 1 << 18


class Line(Protocol):
    """Links of hosts, by number."""

    address: str

    def receive(self, timeout_s: float) -> dict[int, bytes]:
        """What has come from each link, as soon as anything has."""

    def send(self, link: int, data: bytes) -> None:
        """Send to one link; what a host does not take in time, or is no longer there for, is lost."""

    def drop(self, link: int) -> None:
        """End one link, as a pulled cable does; a pseudo-terminal has no end and stays silent. Idempotent."""

    def close(self) -> None:
        """Drop all links."""


class Listener:
    """TCP. Raises ConfigurationError for a port that is taken."""

    def __init__(self, host: str, port: int) -> None:
        self._listener = listen(host, port)
        here, number = self._listener.getsockname()[:2]
        self.address = f"socket://{here}:{number}"
        self._hosts: dict[int, socket.socket] = {}
        self._count = 0

    def receive(self, timeout_s: float) -> dict[int, bytes]:
        """What has come from each host."""
        ready, _, _ = select.select([self._listener, *self._hosts.values()], [], [], timeout_s)
        if self._listener in ready:
            host, _ = self._listener.accept()
            host.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            host.settimeout(_SEND_S)
            self._count += 1
            self._hosts[self._count] = host
        arrived = {}
        for number, host in list(self._hosts.items()):
            if host in ready:
                with contextlib.suppress(OSError):
                    arrived[number] = host.recv(_MOST)
                if not arrived.get(number):
                    self.drop(number)
        return arrived

    def send(self, link: int, data: bytes) -> None:
        """To one host, if it is still there."""
        if link not in self._hosts:
            return
        try:
            self._hosts[link].sendall(data)
        except OSError:
            self.drop(link)

    def drop(self, link: int) -> None:
        """Close the connection."""
        if host := self._hosts.pop(link, None):
            host.close()

    def close(self) -> None:
        """Listen no more, drop all."""
        self._listener.close()
        for number in list(self._hosts):
            self.drop(number)


class Terminal:
    """A pseudo-terminal, which looks to a host like a serial port."""

    def __init__(self) -> None:
        import tty

        self._board, self._host = os.openpty()
        tty.setraw(self._host)
        os.set_blocking(self._board, False)
        self.address = f"serial:{os.ttyname(self._host)}"

    def receive(self, timeout_s: float) -> dict[int, bytes]:
        """What has come from whoever has the port open."""
        ready, _, _ = select.select([self._board], [], [], timeout_s)
        return {0: os.read(self._board, _MOST)} if ready else {}

    def send(self, link: int, data: bytes) -> None:
        """To whoever has the port open."""
        while data:
            _, ready, _ = select.select([], [self._board], [], _SEND_S)
            if not ready:
                return
            data = data[os.write(self._board, data) :]

    def drop(self, link: int) -> None:
        """Nothing: the port stays."""

    def close(self) -> None:
        """Both ends."""
        for end in (self._board, self._host):
            os.close(end)
