"""The drivers' parsers: frames, answers, numbers, lines, addresses. What they promise to raise is caught."""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial

from benchmarks.fuzz_emulators import Feed, matrix_707b, smu_2400
from drivers.board import protocol as said
from drivers.board.frames import FrameDecoder, decode, encode
from drivers.board.vectors import Measure, ReadCells, Readings, Write, Written
from drivers.chip.limits import ElectricalLimits
from drivers.device import FairLock
from drivers.emulators.instrument import EmulatedInstrument
from drivers.safe.links import prepare_link
from drivers.smu.interface import OffState, Pulses, SourceMeasureUnit, Sweeps
from drivers.smu.switch_matrix import Keithley707B
from drivers.wire.dialects import SCPI, TSP
from drivers.wire.line_transport import LineTransport, Timing
from drivers.wire.links import make_transport
from drivers.wire.message import MessageInstrument, number
from pib_lab.clocks import VirtualClock
from pib_lab.errors import LinkError, PibError


def board_frames(data: bytes) -> None:
    for frame in [*FrameDecoder().feed(data + b"\0"), decode(data)]:
        if frame is not None and decode(encode(frame)[1:-1]) != frame:
            raise AssertionError(f"{frame} does not come back")


_DECODERS: tuple[Callable[[bytes], object], ...] = (
    said.Identity.decode,
    said.State.decode,
    said.BoardLimits.decode,
    said.Window.decode,
    said.Range.decode,
    said.Hello.decode,
    said.Pulse.decode,
    said.decode_u8,
    said.decode_u16,
    lambda payload: said.outputs_of(said.decode_u8(payload)),
    Measure.decode,
    ReadCells.decode,
    Write.decode,
    partial(Readings.decode, count=12, adc_bits=8),
    partial(Readings.decode, count=12, adc_bits=20),
    partial(Written.decode, count=5),
)


def board_answers(data: bytes) -> None:
    for decoder in _DECODERS:
        with contextlib.suppress(said.ProtocolError):
            decoder(data)


def numbers(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        number(data.decode("latin-1"))


class _Bytes:
    """A wire on which these bytes come, in two pieces."""

    is_stream = True

    def __init__(self, data: bytes) -> None:
        self._left = [data[: len(data) // 2], data[len(data) // 2 :]]

    def reset(self, timeout_s: float) -> None:
        """Nothing is thrown away: what comes is the answer."""

    def close(self) -> None:
        """Nothing to close."""

    def send(self, data: bytes, timeout_s: float) -> None:
        """Nobody hears it."""

    def receive(self, timeout_s: float) -> bytes:
        """The next piece."""
        return self._left.pop(0) if self._left else b""

    def pending(self) -> bytes:
        """Nothing unasked."""
        return b""


def answer_lines(data: bytes) -> None:
    """An answer is the one whole printable line that came, or an error."""
    link = LineTransport("fuzz", _Bytes(data), timing=Timing(0.05, 0.05, 0, 0.1))
    link.open()
    with contextlib.suppress(LinkError):
        answer = link.query("X?")
        came = data, data[: len(data) // 2]  # the rest may have come too late to be seen
        if f"{answer}\n".encode() not in [part.replace(b"\r\n", b"\n") for part in came]:
            raise AssertionError(f"{data!r} was taken for {answer!r}")


class _Direct:
    """A transport straight to an emulated instrument; `instead` takes the place of one answer, so many answers on."""

    def __init__(self, instrument: EmulatedInstrument) -> None:
        self.address, self.instead, self.after = "fuzz", "", -1
        self._instrument, self._lock = instrument, FairLock("fuzz")

    def open(self) -> None:
        """Nothing to open."""

    def close(self) -> None:
        """Nothing to close."""

    def exclusive(self) -> AbstractContextManager[None]:
        """Hold it."""
        return self._lock.turn("fuzz", 1.0)

    def write(self, message: str) -> None:
        """Carry it out."""
        self._instrument.execute(message)

    def query(self, message: str, *, timeout_s: float | None = None, idempotent: bool = True) -> str:
        """The instrument's answer, or the other one."""
        answers = self._instrument.execute(message)
        self.after -= 1
        if self.after == -1:
            return self.instead
        if not answers:
            raise LinkError("no answer")
        return answers[0]

    def clear(self) -> None:
        """Nothing is under way."""

    def reconnect(self) -> None:
        """It never was away."""


def identity_and_errors() -> AbstractContextManager[Feed]:
    """Who it says it is, and what its error queue holds."""
    link = _Direct(smu_2400())

    def feed(data: bytes) -> None:
        text = data.decode("latin-1")
        for dialect in (SCPI, TSP):
            link.instead, link.after = text, 0
            with contextlib.suppress(PibError):
                MessageInstrument(link, dialect, name="fuzz", model=r"MODEL 24\d\d").identify()
            dialect.asks(text)
            with contextlib.suppress(LinkError):
                dialect.next_error(lambda query: text)

    return contextlib.nullcontext(feed)


def driven(
    build: Callable[[], EmulatedInstrument], driver: Callable[[_Direct], SourceMeasureUnit]
) -> Callable[[], AbstractContextManager[Feed]]:
    """A driver one of whose answers is replaced."""

    def make() -> AbstractContextManager[Feed]:
        link = _Direct(build())
        smu = driver(link)

        def ready() -> None:
            link.after = -1
            smu.prepare()
            smu.source_voltage(1e-4, level_range_v=0.2, measure_range_a=1e-4)
            smu.switch(True)

        calls: list[Callable[[], object]] = [
            smu.read,
            partial(smu.read_buffered, 3),
            smu.level,
            smu.is_on,
            smu.compliance,
            partial(smu.set_integration, 0.1),
            partial(smu.set_compliance, 1e-4),
            partial(smu.ramp_to, 0.1, 0.05),
            smu.prepare,
        ]
        if isinstance(smu, Sweeps):
            calls.append(partial(smu.sweep, [0.1, 0.0], 1e-3))
        if isinstance(smu, Pulses):
            calls.append(partial(smu.pulse, 0.1, 1e-3))
        ready()

        def feed(data: bytes) -> None:
            choice = zlib.crc32(data)
            link.instead, link.after = data.decode("latin-1"), choice // 16 % 3
            with contextlib.suppress(PibError):
                calls[choice % len(calls)]()
                smu.switch(False)
                smu.set_off_state(OffState.HIGH_IMPEDANCE)
            ready()

        return contextlib.nullcontext(feed)

    return make


LIMITS = ElectricalLimits(0.25, 1e-3)


def closures() -> AbstractContextManager[Feed]:
    link = _Direct(matrix_707b())
    matrix = Keithley707B(link, VirtualClock(), lambda: None)

    def feed(data: bytes) -> None:
        link.instead, link.after = data.decode("latin-1"), 0
        with contextlib.suppress(PibError):
            matrix.closed()

    return contextlib.nullcontext(feed)


def addresses(data: bytes) -> None:
    """Nothing is opened and no name is looked up."""
    text = data.decode("utf-8", "replace")
    with contextlib.suppress(PibError):
        make_transport(text, marker=SCPI.marker)
    with contextlib.suppress(PibError):
        prepare_link(text)
