"""The message layer on the emulated instruments: they echo the markers, say who they are, and tell their errors."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from drivers.emulators.circuit import Resistor
from drivers.emulators.fault_modes import WireFault
from drivers.emulators.instrument import EmulatedInstrument
from drivers.emulators.latency import NONE
from drivers.emulators.server import PtyServer, TcpServer
from drivers.emulators.smu_2400 import Keithley2400
from drivers.emulators.smu_2450 import Keithley2450
from drivers.emulators.smu_2602b import Keithley2602B
from drivers.wire.dialects import SCPI, TSP, Dialect
from drivers.wire.line_transport import Timing
from drivers.wire.links import make_transport
from drivers.wire.message import MessageInstrument
from pib_lab.clocks import VirtualClock
from pib_lab.errors import DeviceError, LinkError

TIMING = Timing(timeout_s=0.5, recover_s=2.0, retries=1)

Bench = tuple[MessageInstrument, TcpServer | PtyServer, str]


def _2400() -> EmulatedInstrument:
    return Keithley2400(Resistor(1e4), VirtualClock(), 1, NONE)


def _2450() -> EmulatedInstrument:
    return Keithley2450(Resistor(1e4), VirtualClock(), 1, NONE)


def _2602b() -> EmulatedInstrument:
    return Keithley2602B(Resistor(1e4), Resistor(1e4), VirtualClock(), 1, NONE)


@pytest.fixture(params=["TCP", "serial"])
def wired(request: pytest.FixtureRequest) -> type[TcpServer] | type[PtyServer]:
    """Both kinds of wire."""
    return TcpServer if request.param == "TCP" else PtyServer


@pytest.fixture(params=["2400", "2450", "2602B"])
def bench(request: pytest.FixtureRequest, wired: type[TcpServer] | type[PtyServer]) -> Iterator[Bench]:
    """An emulated instrument, an open link to it with markers, and a command that it refuses."""
    make, dialect, wrong = {
        "2400": (_2400, SCPI, ":NO:SUCH 1"),
        "2450": (_2450, SCPI, ":NO:SUCH 1"),
        "2602B": (_2602b, TSP, "nosuch.thing = 1"),
    }[request.param]
    language: Dialect = dialect
    server = wired(make())
    link = make_transport(server.address, timing=TIMING, marker=language.marker)
    link.open()
    yield MessageInstrument(link, language, name="smu", model=rf"MODEL {request.param}"), server, wrong
    link.close()
    server.close()


def test_emulated_instruments_know_the_message_layer(bench: Bench) -> None:
    """Marker at opening, identity, a refused command with the instrument's message, and a clean queue after it."""
    instrument, _, wrong = bench
    assert instrument.identify().maker.upper().startswith("KEITHLEY")
    with pytest.raises(DeviceError, match=r"the instrument says: -\d{2,} "):
        instrument.command(wrong)
    instrument.command("*CLS")
    assert instrument.take_errors() == []


def test_a_late_answer_of_an_emulated_instrument_is_dropped(bench: Bench) -> None:
    """The query fails, and the next one gets its own answer."""
    instrument, server, _ = bench
    instrument.identify()
    server.faults.arm(WireFault.LATE_ANSWER, count=1, late_s=0.6)
    with pytest.raises(LinkError, match="not repeated"):
        instrument.ask("*ESR?", idempotent=False)
    identity = instrument.identity
    assert instrument.identify() == identity
