"""A raw TCP socket as a wire. Reset is a new connection: what was said on the old one cannot arrive on the new one."""

from __future__ import annotations

import socket
from typing import Any

from pib_lab.errors import LinkError

_CHUNK_BYTES = 1 << 16


class SocketWire:
    """One TCP connection to `host`:`port`.

    The name is looked up once, at the first connection, by the operating system and in its own time: give a numeric
    address where that matters.
    """

    is_stream = True

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._found: tuple[int, tuple[Any, ...]] | None = None
        self._socket: socket.socket | None = None

    def reset(self, timeout_s: float) -> None:
        """Drop the connection, if any, and make a new one. Raises LinkError."""
        self.close()
        wire = None
        try:
            family, target = self._look_up()
            wire = socket.socket(family, socket.SOCK_STREAM)
            wire.settimeout(timeout_s)
            wire.connect(target)
            wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        except OSError as error:
            if wire is not None:
                wire.close()
            raise LinkError(f"no connection to {self._host}, port {self._port}: {error}") from error
        self._socket = wire

    def close(self) -> None:
        """Drop the connection."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def send(self, data: bytes, timeout_s: float) -> None:
        """Send all of `data`. Raises LinkError."""
        wire = self._connected()
        try:
            wire.settimeout(max(timeout_s, 1e-3))
            wire.sendall(data)
        except OSError as error:
            raise LinkError(f"could not send: {error}") from error

    def receive(self, timeout_s: float) -> bytes:
        """What has come. Raises LinkError when the instrument has dropped the connection."""
        wire = self._connected()
        try:
            wire.settimeout(max(timeout_s, 0.0))
            data = wire.recv(_CHUNK_BYTES)
        except (TimeoutError, BlockingIOError):
            return b""
        except OSError as error:
            raise LinkError(f"could not receive: {error}") from error
        if not data:
            raise LinkError("the instrument dropped the connection")
        return data

    def pending(self) -> bytes:
        """What has come unasked."""
        return self.receive(0.0)

    def _look_up(self) -> tuple[int, tuple[Any, ...]]:
        if self._found is None:
            family, _, _, _, target = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)[0]
            self._found = family, target
        return self._found

    def _connected(self) -> socket.socket:
        if self._socket is None:
            raise LinkError("not connected")
        return self._socket
