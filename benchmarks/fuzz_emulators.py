"""The emulators' parsers, as functions that no input gets past: wrong input never raises there."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from drivers.board import protocol as said
from drivers.board.frames import ANSWER, Frame, encode
from drivers.chip.profiles import load_profile
from drivers.emulators.bench_file import read_bench_file
from drivers.emulators.board_faults import BoardEnd, FrameFaults
from drivers.emulators.board_firmware import Firmware
from drivers.emulators.circuit import Resistor
from drivers.emulators.emulate import start_bench
from drivers.emulators.instrument import EmulatedInstrument
from drivers.emulators.latency import NONE
from drivers.emulators.matrix_707b import Keithley707B as EmulatedMatrix
from drivers.emulators.server import TcpServer
from drivers.emulators.smu_2400 import Keithley2400 as Emulated2400
from drivers.emulators.smu_2450 import Keithley2450 as Emulated2450
from drivers.emulators.smu_2602b import Keithley2602B as Emulated2602B
from pib_lab.clocks import VirtualClock

Feed = Callable[[bytes], None]
Make = Callable[[], AbstractContextManager[Feed]]
ROOT = Path(__file__).resolve().parents[1]


def always(feed: Feed) -> Make:
    """For a parser without a state."""
    return lambda: contextlib.nullcontext(feed)


def executed(build: Callable[[], EmulatedInstrument]) -> Make:
    def make() -> AbstractContextManager[Feed]:
        instrument = build()

        def feed(data: bytes) -> None:
            for answer in instrument.execute(data.decode("latin-1").replace("\n", " ")):
                if "\n" in answer:
                    raise AssertionError(f"an answer of two lines: {answer!r}")

        return contextlib.nullcontext(feed)

    return make


def smu_2400() -> Emulated2400:
    return Emulated2400(Resistor(1e4), VirtualClock(), 1, NONE)


def smu_2450() -> Emulated2450:
    return Emulated2450(Resistor(1e4), VirtualClock(), 1, NONE)


def smu_2602b() -> Emulated2602B:
    return Emulated2602B(Resistor(1e4), Resistor(1e4), VirtualClock(), 1, NONE)


def matrix_707b() -> EmulatedMatrix:
    return EmulatedMatrix(lambda closed: None, VirtualClock(), 1, NONE)


@contextmanager
def served() -> Iterator[Feed]:
    """The server's bytes: whatever is sent, it goes on to serve the next client."""
    server = TcpServer(smu_2602b())

    def feed(data: bytes) -> None:
        with socket.create_connection((server.host, server.port), 5.0) as client:
            with contextlib.suppress(OSError):  # it may have closed the link before all was sent
                client.sendall(data)
                client.shutdown(socket.SHUT_WR)
            while client.recv(65536):
                pass

    try:
        yield feed
    finally:
        server.close()


@contextmanager
def controlled() -> Iterator[Feed]:
    file = read_bench_file(ROOT / "docs" / "examples" / "bench.toml")
    quiet = file.model_copy(
        update={
            "control_port": 0,
            "instruments": tuple(each.model_copy(update={"port": 0}) for each in file.instruments),
        }
    )
    with start_bench(quiet, clock=VirtualClock(), latency=NONE) as bench:

        def feed(data: bytes) -> None:
            json.dumps(bench.control.handle(data.decode("utf-8", "replace")))

        yield feed


def ready_firmware() -> Firmware:
    firmware = Firmware(load_profile("chip-b", {"rows": 8, "columns": 8}), 1, VirtualClock(), arrays=2)
    for sequence, (kind, payload) in enumerate(
        (
            (said.Kind.HELLO, said.Hello(said.VERSION, 500).encode()),
            (said.Kind.WINDOW, said.Window(0, 4, 2).encode()),
            (said.Kind.GATE, said.encode_u16(2500)),
            (said.Kind.OUTPUTS, said.encode_u8(said.Outputs.WORD_LINES)),
            (said.Kind.OUTPUTS, said.encode_u8(said.Outputs.ALL)),
        )
    ):
        answer = firmware.receive(Frame(kind, 1, sequence, payload))
        if answer is None or answer.status:
            raise AssertionError(f"{kind!r} was refused: {answer}")
    return firmware


def board_requests() -> AbstractContextManager[Feed]:
    """Sound frames with any payload: the first byte is the kind of request."""
    firmware, sequence = ready_firmware(), [10]

    def feed(data: bytes) -> None:
        sequence[0] += 1
        frame = Frame(data[0] & 0x7F if data else 3, 1, sequence[0], data[1:50_001])
        answer = firmware.receive(frame)
        if answer is None or answer.kind != frame.kind | ANSWER:
            raise AssertionError(f"a request was answered by {answer}")
        encode(answer)

    return contextlib.nullcontext(feed)


def board_bytes() -> AbstractContextManager[Feed]:
    end = BoardEnd(ready_firmware(), FrameFaults(1), FrameFaults(2))

    def feed(data: bytes) -> None:
        end.take(data)

    return contextlib.nullcontext(feed)
