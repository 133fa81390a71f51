"""Which instrument an address leads to, however it is spelled."""

from __future__ import annotations

import re
import socket
from pathlib import Path

_SOCKET = re.compile(r"(?:TCPIP\d*::([^:]+)::(\d+)::SOCKET|SOCKET://([^:/]+):(\d+))", re.IGNORECASE)
_LAN = re.compile(r"(TCPIP\d*)::([^:]+)((?:::[^:]+)*)", re.IGNORECASE)
_SERIAL = re.compile(r"(?:SERIAL:|ASRL(?=/|COM))?(/[^?:]+|COM\d+)(?:::INSTR)?(?:\?.*)?", re.IGNORECASE)


def place_of(address: str) -> str:
    """A name that is the same for all spellings of one address: upper and lower case, a board number or a suffix left
    out, a host by name or by number, a link to a serial port, options behind it.

    The same instrument by two of its interfaces, such as LAN and GPIB, has two. A host that no name server knows, and
    what is no known form, stand for themselves.
    """
    address = address.strip()
    if found := _SOCKET.fullmatch(address):
        return f"{_host(found[1] or found[3])}:{int(found[2] or found[4])}"
    if found := _SERIAL.fullmatch(address):
        port = found[1]
        return str(Path(port).resolve()) if port.startswith("/") else port.upper()
    if found := _LAN.fullmatch(address):
        address = f"{found[1]}::{_host(found[2])}{found[3]}"
    return _canonical(address.upper())


def _host(name: str) -> str:
    try:
        return socket.gethostbyname(name)
    except (OSError, UnicodeError):  # not known, or no host's name at all: whoever connects is told
        return name.lower()


def _canonical(resource: str) -> str:
    from pyvisa.rname import InvalidResourceName, to_canonical_name  # only a real instrument's address needs it

    try:
        return to_canonical_name(resource).upper()
    except InvalidResourceName:
        return resource
