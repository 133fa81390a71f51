"""Messages between a `ScreenSlm` and its window: a letter, a length (4 bytes, big-endian) and that many bytes.

F rows x columns gray bytes   paint them; answered by P once the window's buffer was handed to the platform
G nothing                     answered by G and rows x columns x 3 bytes: what the window holds, red, green, blue
R (answer) nothing            the window stands
E (answer) text               why something cannot be done
"""

from __future__ import annotations

import socket
import struct

_HEADER = struct.Struct(">cI")


def send(link: socket.socket, letter: bytes, body: bytes = b"") -> None:
    """One message. Raises OSError when the other end has gone."""
    link.sendall(_HEADER.pack(letter, len(body)) + body)


def receive(link: socket.socket) -> tuple[bytes, bytes]:
    """Letter and body of one message. Raises OSError when the other end has gone, TimeoutError for a silent one."""
    letter, length = _HEADER.unpack(receive_exactly(link, _HEADER.size))
    return letter, receive_exactly(link, length)


def receive_exactly(link: socket.socket, count: int) -> bytes:
    """So many bytes. Raises as `receive` does."""
    data = bytearray()
    while len(data) < count:
        part = link.recv(min(count - len(data), 1 << 20))
        if not part:
            raise ConnectionError("the other end closed the connection")
        data += part
    return bytes(data)
