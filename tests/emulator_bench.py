"""A client of emulated instruments, for tests: lines on a socket, with bounded waits."""

from __future__ import annotations

import socket


class LineClient:
    """A socket that sends and receives lines; waits are bounded."""

    def __init__(self, port: int, timeout_s: float = 5.0) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout_s)
        self._pending = b""

    def tell(self, line: str) -> None:
        self.socket.sendall(line.encode() + b"\n")

    def line(self) -> bytes:
        while b"\n" not in self._pending:
            data = self.socket.recv(65536)
            if not data:
                raise EOFError
            self._pending += data
        line, self._pending = self._pending.split(b"\n", 1)
        return line

    def ask(self, line: str) -> str:
        self.tell(line)
        return self.line().decode()

    def silent(self, for_s: float = 0.05) -> bool:
        self.socket.settimeout(for_s)
        try:
            return self._pending == b"" and self.socket.recv(1) == b""
        except TimeoutError:
            return True
        finally:
            self.socket.settimeout(5.0)

    def close(self) -> None:
        self.socket.close()
