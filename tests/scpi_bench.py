"""Emulated SCPI instruments for tests: built on a resistor and a virtual clock, and served on a loopback socket."""

from __future__ import annotations

import socket
import threading
from dataclasses import dataclass

from drivers.emulators.circuit import Port, Resistor
from drivers.emulators.instrument import EmulatedInstrument
from drivers.emulators.latency import NONE, Latency
from drivers.emulators.smu_2400 import Keithley2400
from drivers.emulators.smu_2450 import Keithley2450
from pib_lab.clocks import VirtualClock


@dataclass
class Bench2400:
    """A 2400 and what it stands on."""

    smu: Keithley2400
    clock: VirtualClock

    def ask(self, message: str) -> str:
        """The one answer to a message."""
        (answer,) = self.smu.execute(message)
        return answer

    def say(self, *messages: str) -> None:
        """Messages that have no answer and leave no error."""
        for message in messages:
            assert self.smu.execute(message) == [], message
        assert list(self.smu.status.errors) == []

    def numbers(self, message: str) -> list[float]:
        """The numbers of an answer."""
        return [float(word) for word in self.ask(message).split(",")]

    def error(self) -> int:
        """The number of the oldest error."""
        return int(self.ask(":SYST:ERR?").split(",")[0])


@dataclass
class Bench2450(Bench2400):
    """A 2450 and what it stands on."""

    smu: Keithley2450  # type: ignore[assignment]

    def say(self, *messages: str) -> None:
        """Messages that have no answer and leave no error."""
        for message in messages:
            assert self.smu.execute(message) == [], message
        assert self.smu.state()["errors"] == []


def bench_2400(ohm: float = 1e4, latency: Latency = NONE, port: Port | None = None, quiet: bool = True) -> Bench2400:
    """A 2400 across a resistor (or at `port`); quiet: without noise."""
    clock = VirtualClock()
    smu = Keithley2400(port or Resistor(ohm), clock, 1, latency)
    if quiet:
        smu.set_state("noise_scale", 0.0)
    return Bench2400(smu, clock)


def bench_2450(ohm: float = 1e4, latency: Latency = NONE, port: Port | None = None, quiet: bool = True) -> Bench2450:
    """A 2450 across a resistor (or at `port`); quiet: without noise."""
    clock = VirtualClock()
    smu = Keithley2450(port or Resistor(ohm), clock, 1, latency)
    if quiet:
        smu.set_state("noise_scale", 0.0)
    return Bench2450(smu, clock)


class LineServer:
    """Serves one emulated instrument, line by line, on a free loopback port."""

    def __init__(self, instrument: EmulatedInstrument) -> None:
        self._instrument = instrument
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"TCPIP::127.0.0.1::{self._listener.getsockname()[1]}::SOCKET"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop; a client must have gone before."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5.0)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, connection.makefile("r", encoding="latin-1", newline="\n") as lines:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for line in lines:
                    # acknowledge at once: else the client's next small write waits 40 ms (Nagle, delayed acknowledge)
                    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
                    for answer in self._instrument.execute(line.rstrip("\r\n")):
                        connection.sendall(answer.encode("latin-1") + b"\n")
