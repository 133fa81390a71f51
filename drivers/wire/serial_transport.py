"""Serial ports (pyserial) as line transports."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from drivers.wire.line_transport import LineTransport, Marker, Timing
from pib_lab.device import Traffic
from pib_lab.errors import ConfigurationError, LinkError

if TYPE_CHECKING:
    import serial

BREAK_S = 0.01
SILENCE_S = 0.03
"""A line at 9600 baud passes about 30 characters in this time; at less than 300 baud it would be too short."""


class SerialWire:
    """One serial port, 8N1.

    Reset sends a break, on which SMUs clear their input, and reads until the line is silent. A late answer can still
    come after that: only a marker tells it from the next one.
    """

    is_stream = True

    def __init__(self, port: str, baud: int = 9600, exclusive: bool = True) -> None:
        self._port = port
        self._baud = baud
        self._exclusive = exclusive
        self._serial: serial.Serial | None = None

    def reset(self, timeout_s: float) -> None:
        """Open the port unless it is open, break, and read until silence. Raises LinkError."""
        deadline_s = time.monotonic() + timeout_s
        if self._serial is None:
            self._serial = self._open()
        port = self._serial
        with self._failing("reset"):
            port.reset_output_buffer()
            port.break_condition = True
            time.sleep(min(BREAK_S, timeout_s))
            port.break_condition = False
            port.timeout = min(SILENCE_S, max(deadline_s - time.monotonic(), 0.0))
            while port.read(max(1, port.in_waiting)):
                if time.monotonic() > deadline_s - SILENCE_S:
                    raise LinkError(f"{self._port} does not fall silent")

    def close(self) -> None:
        """Close the port; what was not sent yet is dropped, for waiting until it is sent has no bound."""
        port, self._serial = self._serial, None
        if port is not None:
            with suppress(Exception):  # a port that was unplugged fails in many ways, and is closed all the same
                port.reset_output_buffer()
            with suppress(Exception):
                port.close()

    def send(self, data: bytes, timeout_s: float) -> None:
        """Send all of `data`. Raises LinkError."""
        port = self._opened()
        with self._failing("send"):
            port.write_timeout = max(timeout_s, 1e-3)
            port.write(data)

    def receive(self, timeout_s: float) -> bytes:
        """What has come. Raises LinkError when the port is gone."""
        port = self._opened()
        with self._failing("receive"):
            port.timeout = max(timeout_s, 0.0)
            first: bytes = port.read(1)
            return first + port.read(port.in_waiting) if first else b""

    def pending(self) -> bytes:
        """What has come unasked."""
        port = self._opened()
        with self._failing("receive"):
            waiting = port.in_waiting
            data: bytes = port.read(waiting) if waiting else b""
            return data

    def _open(self) -> serial.Serial:
        import serial

        with self._failing("open"):
            # Locked for this process when `exclusive`; the guardian opens it once the run has ended.
            return serial.Serial(self._port, self._baud, exclusive=True if self._exclusive else None)

    def _opened(self) -> serial.Serial:
        if self._serial is None:
            raise LinkError(f"{self._port} is not open")
        return self._serial

    @contextmanager
    def _failing(self, what: str) -> Iterator[None]:
        try:
            yield
        except LinkError:
            raise
        except Exception as error:  # SerialException, OSError, termios.error, TypeError: whatever a lost port gives
            if what == "reset":
                self.close()  # the next reset opens it again: the adapter may have been plugged in anew
            raise LinkError(f"{self._port}: could not {what}: {error}") from error


class SerialTransport(LineTransport):
    """Lines over a serial port: "serial:/dev/ttyUSB0?baud=9600", a bare port name, or VISA's "ASRL…::INSTR"."""

    def __init__(
        self,
        address: str,
        *,
        marker: Marker,
        timing: Timing | None = None,
        log: Traffic | None = None,
        exclusive: bool = True,
    ) -> None:
        """`marker` is a must: without it a late answer on a serial line cannot be told from the next one.

        `exclusive`: refuse a port that another process has opened so. Raises ConfigurationError for a bad address.
        """
        port, baud = parse_serial(address)
        super().__init__(address, SerialWire(port, baud, exclusive), timing=timing, marker=marker, log=log)


def parse_serial(address: str) -> tuple[str, int]:
    """Port and baud rate of an address. Raises ConfigurationError."""
    if address.upper().startswith("ASRL"):
        port = address[4:].removesuffix("::INSTR").removesuffix("::instr")
        return (f"COM{port}" if port.isdigit() else port), 9600
    port, _, options = address.removeprefix("serial:").partition("?")
    baud = options.removeprefix("baud=")
    if not port or (options and not (options.startswith("baud=") and baud.isdigit() and int(baud) > 0)):
        raise ConfigurationError(f"address {address!r}: write it as serial:/dev/ttyUSB0?baud=9600")
    return port, int(baud or 9600)
