"""The bytes under the crossbar board's frames: a serial port (or pseudo-terminal), or the TCP socket of an emulator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from drivers.wire.socket_wire import SocketWire
from drivers.wire.traffic import Way
from pib_lab.device import Traffic
from pib_lab.errors import ConfigurationError, LinkError

if TYPE_CHECKING:
    import serial

CONNECT_S = 2.0
SEND_S = 0.5
"""To hand one frame over; a port that takes longer is broken."""


class BytePort(Protocol):
    """One open connection. Every wait is bounded."""

    def send(self, data: bytes) -> None:
        """Hand all of `data` over within SEND_S. Raises LinkError."""

    def receive(self, timeout_s: float) -> bytes:
        """What has come, as soon as anything has, or nothing after `timeout_s`. Raises LinkError for a broken link."""

    def close(self) -> None:
        """Let go. Idempotent; never raises."""


def open_port(address: str, traffic: Traffic | None = None) -> BytePort:
    """Connect to "serial:/dev/ttyACM0", "/dev/pts/3" or "socket://host:port"; `traffic` keeps what goes over it.

    Raises LinkError where nothing answers there, ConfigurationError for an address of another form.
    """
    place = find_place(address)
    port: BytePort = SerialPort(place) if isinstance(place, str) else SocketPort(*place)
    return port if traffic is None else RecordedPort(port, address, traffic)


def find_place(address: str) -> str | tuple[str, int]:
    """The port's path, or host and port number. Raises ConfigurationError for an address of no known form; no I/O."""
    if address.startswith("socket://"):
        parts = urlsplit(address)
        try:
            host, number = parts.hostname, parts.port
        except ValueError:
            host, number = None, None
        if not host or not number:
            raise ConfigurationError(f"board address {address!r}: write socket://host:port")
        return host, number
    path = address.removeprefix("serial:")
    if not path or (path == address and not path.startswith(("/dev/", "COM"))):
        raise ConfigurationError(
            f"board address {address!r}: write serial:/dev/ttyACM0, the path of a port or socket://host:port"
        )
    return path


class SocketPort:
    """A TCP connection: an emulator, or a board behind a terminal server."""

    def __init__(self, host: str, port: int) -> None:
        self._wire = SocketWire(host, port)
        self._wire.reset(CONNECT_S)

    def send(self, data: bytes) -> None:
        """Hand all of `data` over."""
        self._wire.send(data, SEND_S)

    def receive(self, timeout_s: float) -> bytes:
        """What has come."""
        return self._wire.receive(max(timeout_s, 0.0))

    def close(self) -> None:
        """Drop the connection."""
        self._wire.close()


class SerialPort:
    """A USB serial port. Its rate is that of USB, whatever the number says.

    It is not opened exclusively: `pib-lab safe` and the guardian must be able to take over from a run that hangs, and
    the board itself keeps sessions apart.
    """

    def __init__(self, path: str) -> None:
        import serial

        self._broken = (serial.SerialException, OSError, ValueError)
        try:
            self._port: serial.Serial = serial.Serial(path, 115200, timeout=0, write_timeout=SEND_S)
        except self._broken as error:
            raise LinkError(f"port {path} cannot be opened ({error}); check the cable and the path") from error

    def send(self, data: bytes) -> None:
        """Hand all of `data` over."""
        try:
            self._port.write(data)
        except self._broken as error:
            raise LinkError(f"port {self._port.name}: could not be sent to ({error})") from error

    def receive(self, timeout_s: float) -> bytes:
        """What has come."""
        try:
            self._port.timeout = max(timeout_s, 0.0)
            first = self._port.read(1)
            return bytes(first + self._port.read(self._port.in_waiting)) if first else b""
        except self._broken as error:
            raise LinkError(f"port {self._port.name}: the link broke ({error})") from error

    def close(self) -> None:
        """Let go of the port."""
        self._port.close()


class RecordedPort:
    """Another port, of which every byte is recorded on its way."""

    def __init__(self, port: BytePort, address: str, traffic: Traffic) -> None:
        self._port, self._address, self._traffic = port, address, traffic

    def send(self, data: bytes) -> None:
        """Record, then hand over: what fails halfway was tried."""
        self._traffic.record(self._address, Way.SENT, data)
        self._port.send(data)

    def receive(self, timeout_s: float) -> bytes:
        """What has come, recorded."""
        data = self._port.receive(timeout_s)
        if data:
            self._traffic.record(self._address, Way.GOT, data)
        return data

    def close(self) -> None:
        """Let go of the port."""
        self._port.close()
