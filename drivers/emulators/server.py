"""An emulated instrument on a TCP port or a pseudo-terminal: lines in, answers out, and what goes wrong between."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import socket
import threading
import tty
from collections.abc import Callable

import numpy as np

from drivers.emulators.fault_modes import OTHER_IDENTITY, FaultModes, WireFault
from drivers.emulators.instrument import MESSAGE_LIMIT, EmulatedInstrument
from pib_lab.errors import ConfigurationError

_PIECE = 65_536
"""Bytes that are read at once."""
POLL_S = 0.1


class _Dropped(Exception):
    """The link ends here."""


class _Session:
    """One client: cuts bytes into messages, has them executed, sends the answers or what a fault makes of them."""

    def __init__(
        self,
        instrument: EmulatedInstrument,
        faults: FaultModes,
        send: Callable[[bytes], None],
        closing: threading.Event,
    ) -> None:
        self._instrument, self._faults, self._send, self._closing = instrument, faults, send, closing
        self._pending = b""
        self._rng = np.random.default_rng(0)

    def receive(self, data: bytes) -> None:
        """Take what has come. Raises _Dropped."""
        *lines, self._pending = (self._pending + data).split(b"\n")
        for line in lines:
            self._message(line.rstrip(b"\r").decode("latin-1"))
        self._pending = self._pending[: MESSAGE_LIMIT + 1]  # the instrument refuses one that is longer than its limit

    def _message(self, message: str) -> None:
        if message.strip() == "abort":  # heard even while an earlier message is carried out, for another client
            self._instrument.device_clear()
        answers = self._instrument.execute(message)
        if not answers:
            return
        data = "".join(f"{answer}\n" for answer in answers).encode("latin-1", "replace")
        struck = self._faults.next(message.strip().upper() == "*IDN?")
        if struck is None:
            self._send(data)
        elif struck.fault is WireFault.DROPPED_LINK:
            raise _Dropped
        elif struck.fault is WireFault.WRONG_IDENTITY:
            self._send(f"{OTHER_IDENTITY}\n".encode())
        else:
            for wait_s, part in struck.parts(data, b"\n", self._rng):
                if not (wait_s and self._closing.wait(wait_s)):
                    self._send(part)


class TcpServer:
    """Serves on `host`:`port` (0: any free one), as many clients as come; messages are carried out one at a time.

    Only this computer is listened to unless `host` says otherwise. Raises ConfigurationError when the port is taken.
    """

    def __init__(self, instrument: EmulatedInstrument, host: str = "127.0.0.1", port: int = 0) -> None:
        self.instrument, self.faults = instrument, FaultModes()
        self._closing = threading.Event()
        self._listener = listen(host, port)
        self.host, self.port = self._listener.getsockname()[:2]
        self._links: set[socket.socket] = set()
        self._threads = [threading.Thread(target=self._accept, name=f"{instrument.model} server", daemon=True)]
        self._threads[0].start()

    @property
    def address(self) -> str:
        """The VISA resource to put into a protocol."""
        return f"TCPIP::{self.host}::{self.port}::SOCKET"

    def drop_links(self) -> None:
        """End all connections now, as a pulled cable does."""
        for link in list(self._links):
            with contextlib.suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Stop serving. Idempotent."""
        self._closing.set()
        close_listener(self._listener)
        self.instrument.device_clear()
        self.drop_links()
        for thread in self._threads:
            thread.join(2.0)

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                link, _ = self._listener.accept()
            except TimeoutError:
                continue
            except OSError:  # closed
                return
            link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._links.add(link)
            thread = threading.Thread(target=self._serve, args=(link,), name="client", daemon=True)
            self._threads = [known for known in self._threads if known.is_alive()] + [thread]
            thread.start()

    def _serve(self, link: socket.socket) -> None:
        session = _Session(self.instrument, self.faults, link.sendall, self._closing)
        with link, contextlib.suppress(OSError, _Dropped):
            while not self._closing.is_set() and (data := link.recv(_PIECE)):
                session.receive(data)
        self._links.discard(link)


class PtyServer:
    """Serves on a pseudo-terminal; `address` is the path of its device, for a serial port."""

    def __init__(self, instrument: EmulatedInstrument) -> None:
        self.instrument, self.faults = instrument, FaultModes()
        self._closing = threading.Event()
        self._master, self._slave = pty.openpty()  # the slave stays open here, so that clients may come and go
        tty.setraw(self._slave)
        self.path = os.ttyname(self._slave)
        self._thread = threading.Thread(target=self._serve, name=f"{instrument.model} pty", daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        """The serial port to put into a protocol."""
        return f"serial:{self.path}"

    def close(self) -> None:
        """Stop serving. Idempotent."""
        if self._closing.is_set():
            return
        self._closing.set()
        self.instrument.device_clear()
        self._thread.join(2.0)
        os.close(self._master)
        os.close(self._slave)

    def _serve(self) -> None:
        session = _Session(self.instrument, self.faults, self._send, self._closing)
        while not self._closing.is_set():
            if not select.select([self._master], [], [], POLL_S)[0]:
                continue
            with contextlib.suppress(_Dropped):  # a cable that is out for one answer
                session.receive(os.read(self._master, _PIECE))

    def _send(self, data: bytes) -> None:
        while data and not self._closing.is_set():  # a client that does not read must not hold up the end
            if select.select([], [self._master], [], POLL_S)[1]:
                data = data[os.write(self._master, data[:512]) :]


Server = TcpServer | PtyServer


def close_listener(listener: socket.socket) -> None:
    """Close, and wake whoever accepts on it."""
    with contextlib.suppress(OSError):  # closed before
        listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def listen(host: str, port: int) -> socket.socket:
    """A listening socket that wakes every POLL_S. Raises ConfigurationError when the port cannot be had."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(8)
        listener.settimeout(POLL_S)
    except (OSError, OverflowError) as problem:
        listener.close()
        raise ConfigurationError(f"cannot listen on {host}:{port}: {problem}; choose another port, 0 for any") from None
    return listener
