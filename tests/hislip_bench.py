"""A LAN instrument behind HiSLIP (`TCPIP::host::hislip0,port::INSTR`): framed messages, and a device clear."""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import suppress

from link_bench import Responder, echo

_HEADER = struct.Struct("!2sBBIQ")
_INITIALIZE, _INITIALIZED = 0, 1
_DATA_END = 7
_CLEAR_COMPLETE, _CLEAR_ACKNOWLEDGED = 8, 9
_ASYNC_MAXIMUM, _ASYNC_MAXIMUM_IS = 15, 16
_ASYNC_INITIALIZE, _ASYNC_INITIALIZED = 17, 18
_ASYNC_CLEAR, _ASYNC_CLEAR_ACKNOWLEDGED = 19, 23


class HislipServer:
    """Both channels of any number of clients, each connection on a thread of its own."""

    def __init__(self, responder: Responder = echo) -> None:
        self.respond = responder
        self.heard: list[str] = []
        self.clears = 0
        self._closing = threading.Event()
        self._connections: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"TCPIP::127.0.0.1::hislip0,{self._listener.getsockname()[1]}::INSTR"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """End."""
        self._closing.set()
        for wire in (self._listener, *self._connections):
            with suppress(OSError):
                wire.shutdown(socket.SHUT_RDWR)
            wire.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._connections.append(connection)
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as incoming, suppress(OSError):
            while header := incoming.read(_HEADER.size):
                _, kind, _, parameter, length = _HEADER.unpack(header)
                payload = incoming.read(length)
                if kind == _INITIALIZE:
                    self._send(connection, _INITIALIZED, 0x0100_0001)
                elif kind == _ASYNC_INITIALIZE:
                    self._send(connection, _ASYNC_INITIALIZED, 0)
                elif kind == _ASYNC_MAXIMUM:
                    self._send(connection, _ASYNC_MAXIMUM_IS, 0, payload)
                elif kind == _ASYNC_CLEAR:
                    self.clears += 1
                    self._send(connection, _ASYNC_CLEAR_ACKNOWLEDGED, 0)
                elif kind == _CLEAR_COMPLETE:
                    self._send(connection, _CLEAR_ACKNOWLEDGED, 0)
                elif kind == _DATA_END and not self._answer(connection, payload, parameter):
                    connection.shutdown(socket.SHUT_RDWR)
                    return

    def _answer(self, connection: socket.socket, payload: bytes, message_id: int) -> bool:
        """Do as the responder says, until a device clear; False to drop the connection."""
        message = payload.decode("ascii").rstrip("\n")
        self.heard.append(message)
        clears = self.clears
        for act in self.respond(message):
            if act is None:
                return False
            if isinstance(act, float):
                self._closing.wait(act)
            elif self.clears == clears:
                self._send(connection, _DATA_END, message_id, act)
        return True

    @staticmethod
    def _send(connection: socket.socket, kind: int, parameter: int, payload: bytes = b"") -> None:
        connection.sendall(_HEADER.pack(b"HS", kind, 0, parameter, len(payload)) + payload)
