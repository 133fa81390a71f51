"""The guardian's own links: bytes out, bytes in, every wait bounded. Nothing is shared with the run's links."""

from __future__ import annotations

import importlib
import re
import socket
import time
from abc import ABC, abstractmethod
from typing import Any, Protocol
from urllib.parse import parse_qs

from pib_lab.errors import ConfigurationError, LinkError

LINK_TIMEOUT_S = 0.5
"""To connect, and for one answer."""

_LARGEST_ANSWER = 65536  # bytes; a device that sends more without an end is not answering

_SOCKET = re.compile(
    r"TCPIP\d*::(?P<host>[^:]+)::(?P<port>\d+)::SOCKET|socket://(?P<host2>[^:/]+):(?P<port2>\d+)", re.I
)
_SERIAL = re.compile(r"(serial:(?P<port>[^?]+)|(?P<path>/dev/[^?\s]+|COM\d+))(\?(?P<options>.*))?", re.IGNORECASE)


class ByteLink(Protocol):
    """One open link. fresh: no answer to what was asked before it was opened can come over it."""

    fresh: bool

    def send(self, data: bytes) -> None:
        """Send all of `data`. Raises LinkError."""

    def receive(self, end: bytes) -> bytes:
        """What comes before the next `end`. Raises LinkError when it has not come within LINK_TIMEOUT_S."""

    def discard(self, silence_s: float) -> None:
        """Throw away what comes until nothing has come for `silence_s`, for LINK_TIMEOUT_S at most."""

    def unasked(self) -> bytes:
        """What has come and was not received, without waiting. Raises LinkError for a broken link."""

    def close(self) -> None:
        """Let go. Idempotent."""


def open_link(address: str, baud: int = 9600) -> ByteLink:
    """Connect to `address`. baud: of a serial port whose address names no rate, as its driver has it.

    Raises LinkError when that fails, ConfigurationError for an address of no known form.
    """
    if found := _SOCKET.fullmatch(address):
        return _SocketLink(address, found["host"] or found["host2"], int(found["port"] or found["port2"]))
    if found := _SERIAL.fullmatch(address):
        return _SerialLink(found["port"] or found["path"], found["options"] or "", baud)
    _require_visa(address)
    return _VisaLink(address)


def prepare_link(address: str) -> None:
    """Import now what `open_link` will need, so that it loses no time then. Raises ConfigurationError as it does."""
    if _SERIAL.fullmatch(address):
        importlib.import_module("serial")
    elif not _SOCKET.fullmatch(address):
        _require_visa(address)
        importlib.import_module("pyvisa_py")


def _require_visa(address: str) -> None:
    if "::" not in address:
        raise ConfigurationError(
            f"address {address!r} is neither a VISA resource, a serial port nor socket://host:port"
        )


class _Buffered(ABC):
    """Finds the ends of answers in a stream."""

    fresh = True

    def __init__(self, address: str) -> None:
        self._address = address
        self._unread = b""

    @abstractmethod
    def _take(self, timeout_s: float) -> bytes:
        """What comes within a time; nothing when nothing has come. Raises LinkError for a broken link."""

    def receive(self, end: bytes) -> bytes:
        deadline_s = time.monotonic() + LINK_TIMEOUT_S
        while end not in self._unread:
            left_s = deadline_s - time.monotonic()
            if left_s <= 0.0 or len(self._unread) > _LARGEST_ANSWER:
                raise LinkError(f"{self._address}: no whole answer within {LINK_TIMEOUT_S:g} s")
            self._unread += self._take(left_s)
        answer, _, self._unread = self._unread.partition(end)
        return answer

    def discard(self, silence_s: float) -> None:
        deadline_s = time.monotonic() + LINK_TIMEOUT_S
        self._unread = b""
        while self._take(silence_s) and time.monotonic() < deadline_s:
            pass

    def unasked(self) -> bytes:
        self._unread += self._take(0.0)
        return self._unread


class _SocketLink(_Buffered):
    def __init__(self, address: str, host: str, port: int) -> None:
        super().__init__(address)
        try:
            self._socket = socket.create_connection((host, port), LINK_TIMEOUT_S)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            raise LinkError(f"{address}: no connection ({error})") from error

    def send(self, data: bytes) -> None:
        try:
            self._socket.settimeout(LINK_TIMEOUT_S)
            self._socket.sendall(data)
        except OSError as error:
            raise LinkError(f"{self._address}: could not be sent to ({error})") from error

    def _take(self, timeout_s: float) -> bytes:
        try:
            self._socket.settimeout(max(timeout_s, 1e-3))
            data = self._socket.recv(4096)
        except TimeoutError:
            return b""
        except OSError as error:
            raise LinkError(f"{self._address}: the link broke ({error})") from error
        if not data:
            raise LinkError(f"{self._address}: the device closed the link")
        return data

    def close(self) -> None:
        self._socket.close()


class _SerialLink(_Buffered):
    fresh = False

    def __init__(self, port: str, options: str, baud: int) -> None:
        import serial

        super().__init__(port)
        self._broken = (serial.SerialException, OSError)
        try:
            baud = int(parse_qs(options).get("baud", [baud])[0])
            self._port = serial.Serial(port, baud, timeout=0, write_timeout=LINK_TIMEOUT_S, exclusive=True)
        except (*self._broken, ValueError) as error:
            raise LinkError(f"{port}: cannot be opened ({error})") from error

    def send(self, data: bytes) -> None:
        try:
            self._port.write(data)
        except self._broken as error:
            raise LinkError(f"{self._address}: could not be sent to ({error})") from error

    def _take(self, timeout_s: float) -> bytes:
        try:
            self._port.timeout = timeout_s
            first = self._port.read(1)
            return bytes(first + self._port.read(self._port.in_waiting)) if first else b""
        except self._broken as error:
            raise LinkError(f"{self._address}: the link broke ({error})") from error

    def close(self) -> None:
        self._port.close()


class _VisaLink(_Buffered):
    """GPIB, USB, LAN (VXI-11): what is unread goes with a device clear instead of by waiting for silence."""

    def __init__(self, address: str) -> None:
        import pyvisa

        super().__init__(address)
        self._errors = (pyvisa.errors.Error, OSError, ValueError)
        try:
            self._manager = pyvisa.ResourceManager("@py")
            self._resource: Any = self._manager.open_resource(address, open_timeout=int(LINK_TIMEOUT_S * 1000))
        except self._errors as error:
            raise LinkError(f"{address}: cannot be opened ({error})") from error

    def send(self, data: bytes) -> None:
        try:
            self._resource.timeout = int(LINK_TIMEOUT_S * 1000)
            self._resource.write_raw(data)
        except self._errors as error:
            raise LinkError(f"{self._address}: could not be sent to ({error})") from error

    def _take(self, timeout_s: float) -> bytes:
        try:
            self._resource.timeout = max(1, int(timeout_s * 1000))
            return bytes(self._resource.read_raw())
        except self._errors:  # a time-out; a link that is dead shows itself when it is next sent to
            return b""

    def unasked(self) -> bytes:
        return self._unread  # a 488.2 instrument drops an answer that nobody read when the next query comes

    def discard(self, silence_s: float) -> None:
        self._unread = b""
        try:
            self._resource.clear()
        except self._errors as error:
            raise LinkError(f"{self._address}: does not take a device clear ({error})") from error

    def close(self) -> None:
        for closing in (self._resource.close, self._manager.close):
            try:
                closing()
            except self._errors:
                continue
