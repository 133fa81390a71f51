"""VISA resources as line transports.

Raw sockets (`TCPIP::host::port::SOCKET`) are opened directly unless a backend is named: pyvisa-py's socket session
reports a refused connection as open, waits without a bound while sending, spins on a dropped connection, and its clear
never ends on one. GPIB, USB and `TCPIP::…::INSTR` go through pyvisa, where a device clear puts the link in order.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from drivers.wire.line_transport import MARGIN_S, LineTransport, Marker, Timing, Wire
from drivers.wire.socket_wire import SocketWire
from pib_lab.device import Traffic
from pib_lab.errors import ConfigurationError, LinkError

if TYPE_CHECKING:
    from pyvisa.resources import MessageBasedResource

T = TypeVar("T")

BACKEND = "@py"
_SOCKET = re.compile(r"TCPIP\d*::([^:]+|\[[0-9a-fA-F:.]+\])::(\d{1,5})::SOCKET", re.IGNORECASE)
_MESSAGE_BASED = re.compile(r"(GPIB|USB|TCPIP)\d*::.+?(::INSTR)?", re.IGNORECASE)
_CHUNK_BYTES = 1 << 16
_POLL_S = 1e-3
_OWN_SHARE = 0.9
"""The library is given this share of the time, so that its own time-out comes before it is given up."""


class VisaWire:
    """One resource of pyvisa. Reset is a device clear; for a raw socket, which has none, a new connection.

    Each call is made on a thread of its own and given up when its time is over, for libraries do not keep every bound
    (pyvisa-py waits 5 s to open a HiSLIP link, and for ever to send on a socket). The resource is then closed and the
    next reset opens a new one.
    """

    is_stream = False  # of messages: some interfaces lose what had come of one when a wait for it ends

    def __init__(self, address: str, backend: str = BACKEND) -> None:
        self._address = address
        self._backend = backend
        self._is_socket = _SOCKET.fullmatch(address) is not None
        self._resource: MessageBasedResource | None = None

    def reset(self, timeout_s: float) -> None:
        """Clear the device, or open the resource. Raises LinkError."""
        if self._resource is not None and self._is_socket:
            self.close()
        if self._resource is None:
            self._resource = self._within(timeout_s, lambda: self._open(timeout_s))
        if not self._is_socket:
            resource = self._opened()
            try:
                self._within(timeout_s, resource.clear)
            except LinkError:
                self.close()  # then the next reset opens it anew
                raise

    def close(self) -> None:
        """Let go of the resource, without waiting for it."""
        resource, self._resource = self._resource, None
        if resource is not None:
            _in_background(resource.close).join(_POLL_S)

    def send(self, data: bytes, timeout_s: float) -> None:
        """Send all of `data`. Raises LinkError."""
        resource = self._opened()
        self._within(timeout_s, lambda: self._limit(resource, timeout_s * _OWN_SHARE).write_raw(data))

    def receive(self, timeout_s: float) -> bytes:
        """What has come: at most one message. Raises LinkError."""
        return self._read(timeout_s * _OWN_SHARE, timeout_s)

    def pending(self) -> bytes:
        """What has come unasked on a raw socket. Elsewhere nothing: a 488.2 instrument drops an answer that nobody read
        when the next query comes, and says so in its error queue."""
        return self._read(_POLL_S, MARGIN_S / 2) if self._is_socket else b""

    def _read(self, timeout_s: float, limit_s: float) -> bytes:
        from pyvisa.constants import StatusCode
        from pyvisa.errors import VisaIOError

        resource = self._opened()

        def read() -> bytes:
            limited = self._limit(resource, timeout_s)
            try:
                with limited.ignore_warning(StatusCode.success_max_count_read):  # the rest comes with the next read
                    data, status = limited.visalib.read(limited.session, _CHUNK_BYTES)
            except VisaIOError as error:
                if error.error_code == StatusCode.error_timeout:
                    return b""
                raise
            return b"" if status == StatusCode.error_timeout else bytes(data)

        return self._within(limit_s, read)

    def _open(self, timeout_s: float) -> MessageBasedResource:
        import pyvisa
        from pyvisa.constants import ResourceAttribute
        from pyvisa.resources import MessageBasedResource

        manager = pyvisa.ResourceManager(self._backend)
        resource = manager.open_resource(self._address, open_timeout=_milliseconds(timeout_s))
        if not isinstance(resource, MessageBasedResource):
            resource.close()
            raise ConfigurationError(f"{self._address}: not a resource that takes messages")
        if self._is_socket:
            resource.read_termination = "\n"
            resource.set_visa_attribute(ResourceAttribute.suppress_end_enabled, False)  # else half a line is lost
        return resource

    def _limit(self, resource: MessageBasedResource, timeout_s: float) -> MessageBasedResource:
        resource.timeout = _milliseconds(timeout_s)
        return resource

    def _opened(self) -> MessageBasedResource:
        if self._resource is None:
            raise LinkError("not connected")
        return self._resource

    def _within(self, timeout_s: float, call: Callable[[], T]) -> T:
        """Do `call` within `timeout_s`, or give up the resource."""
        results: list[T] = []
        failures: list[Exception] = []

        def work() -> None:
            try:
                results.append(call())
            except Exception as error:  # VisaIOError, OSError, RuntimeError, AssertionError, struct.error: all occur
                failures.append(error)

        worker = _in_background(work)
        try:
            worker.join(timeout_s)
        finally:
            if worker.is_alive():  # too late, or Ctrl-C
                self.close()
        if results:
            return results[0]
        if failures and isinstance(failures[0], ConfigurationError):
            raise failures[0]
        reason = str(failures[0]) or type(failures[0]).__name__ if failures else f"no end within {timeout_s:g} s"
        raise LinkError(f"VISA: {reason}") from (failures[0] if failures else None)


class VisaTransport(LineTransport):
    """Lines over a VISA resource: `TCPIP::host::port::SOCKET`, `TCPIP::host::INSTR`, GPIB or USB."""

    def __init__(
        self,
        address: str,
        *,
        marker: Marker | None = None,
        timing: Timing | None = None,
        log: Traffic | None = None,
        backend: str | None = None,
    ) -> None:
        """`backend`: of pyvisa, for every kind of resource ("@py", "@ivi"); None: "@py", and raw sockets directly.

        Raises ConfigurationError for an address of another form.
        """
        super().__init__(address, _wire(address, backend), marker=marker, timing=timing, log=log)


def is_visa(address: str) -> bool:
    """Whether `VisaTransport` takes this address; it is not asked for, and need not exist."""
    if address.upper().endswith("::SOCKET"):
        return _SOCKET.fullmatch(address) is not None
    return _MESSAGE_BASED.fullmatch(address) is not None


def _wire(address: str, backend: str | None) -> Wire:
    if not is_visa(address):
        raise ConfigurationError(
            f"address {address!r}: write it as TCPIP::192.0.2.1::5025::SOCKET, TCPIP::192.0.2.1::INSTR, "
            "GPIB0::24::INSTR or USB0::0x05E6::0x2450::04012345::INSTR"
        )
    socket = _SOCKET.fullmatch(address)
    if socket and backend is None:
        return SocketWire(socket[1].strip("[]"), int(socket[2]))
    return VisaWire(address, backend or BACKEND)


def _in_background(work: Callable[[], object]) -> threading.Thread:
    def quietly() -> None:
        with suppress(Exception):
            work()

    thread = threading.Thread(target=quietly, daemon=True)
    thread.start()
    return thread


def _milliseconds(time_s: float) -> int:
    return max(1, round(time_s * 1e3))
