"""The driver of the switch matrix: what closes, what may never close, and that no relay moves under current."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from smu_bench import DirectTransport, ScriptedInstrument, smu_2450

from drivers.emulators.crosspoints import Crosspoint
from drivers.emulators.latency import LIKE_REAL, NONE, Latency
from drivers.emulators.matrix_707b import Keithley707B as EmulatedMatrix
from drivers.emulators.server import TcpServer
from drivers.smu.switch_matrix import Keithley707B, crosspoint
from drivers.wire.links import make_transport
from drivers.wire.message import TSP
from pib_lab.clocks import VirtualClock
from pib_lab.errors import ConfigurationError, DeviceError, LimitError


class Rig:
    """A prepared driver on an emulated 707B; `seen` is every set of truly closed relays, `loud` the guard's answer."""

    def __init__(self, latency: Latency = NONE, settle_s: float = 0.0) -> None:
        self.clock, self.seen, self.loud = VirtualClock(), list[frozenset[Crosspoint]](), False
        self.instrument = EmulatedMatrix(self.seen.append, self.clock, 1, latency)
        self.transport = DirectTransport(self.instrument)
        self.matrix = Keithley707B(self.transport, self.clock, self._guard, settle_s)
        self.matrix.prepare()

    def _guard(self) -> None:
        if self.loud:
            raise DeviceError("the drive is not at zero")

    @property
    def closed(self) -> set[str]:
        return {str(point) for point in self.instrument.truly_closed}


@pytest.fixture
def rig() -> Rig:
    """A matrix with nothing closed."""
    return Rig()


def test_exactly_what_was_asked_is_closed(rig: Rig) -> None:
    """Closing a second set opens what is not in it."""
    rig.matrix.close_only({"1A01", "2B12"})
    rig.matrix.close_only({"2B12", "6H01"})
    assert rig.closed == rig.matrix.closed() == {"2B12", "6H01"}
    rig.matrix.close_only(())
    assert rig.closed == rig.matrix.closed() == set()


def test_relays_break_before_they_make(rig: Rig) -> None:
    """Between two sets there is a moment at which only what they share is closed."""
    rig.matrix.close_only({"1A01", "1H02"})
    rig.seen.clear()
    rig.matrix.close_only({"1B01", "1H02"})
    assert [{str(point) for point in closed} for closed in rig.seen] == [{"1H02"}, {"1B01", "1H02"}]


def test_no_relay_moves_while_the_guard_objects(rig: Rig) -> None:
    """Neither closing nor opening; the relays stay and nothing is sent."""
    rig.matrix.close_only({"1A01"})
    rig.loud = True
    sent = len(rig.transport.sent)
    for move in (lambda: rig.matrix.close_only({"1B02"}), rig.matrix.open_all):
        with pytest.raises(DeviceError, match="not at zero"):
            move()
    assert len(rig.transport.sent) == sent
    assert rig.closed == {"1A01"}


def test_what_is_closed_already_is_not_sent_again(rig: Rig) -> None:
    """Nothing moves, so nothing is asked of the guard either."""
    rig.matrix.close_only({"1A01"})
    rig.loud, sent = True, len(rig.transport.sent)
    rig.matrix.close_only({"1A01"})
    assert len(rig.transport.sent) == sent


def test_forbidden_crosspoints_are_refused_twice(rig: Rig) -> None:
    """By the driver before anything is sent, and by the instrument whoever asks it."""
    rig.matrix.forbid({"1A01"})
    sent = len(rig.transport.sent)
    with pytest.raises(LimitError, match="1A01"):
        rig.matrix.close_only({"1A01", "1B02"})
    assert len(rig.transport.sent) == sent
    rig.transport.write('channel.close("1A01")')
    assert rig.closed == set()


def test_two_buses_never_share_a_line(rig: Rig) -> None:
    """Source against source is refused before anything is sent."""
    with pytest.raises(LimitError, match="column 01 of slot 1"):
        rig.matrix.close_only({"1A01", "1B01"})
    assert rig.closed == set()


def test_closing_takes_its_time_and_settles() -> None:
    """The closure passes on the instrument's clock, the settling on the driver's, which is the same one here."""
    rig = Rig(LIKE_REAL, settle_s=0.5)
    started_s = rig.clock.now_s()
    rig.matrix.close_only({"1A01"})
    assert rig.clock.now_s() - started_s >= 0.5 + LIKE_REAL.closure_s


def test_a_relay_that_did_not_close_is_noticed() -> None:
    """What reads back is compared with what was asked."""
    scripted = ScriptedInstrument(
        ('channel.exclusiveclose("1A01,1B02")', None),
        ("print(errorqueue.next())", "0.00000e+00\tQueue Is Empty\t0.00000e+00\t1.00000e+00"),
        ('print(channel.getclose("allslots"))', "1A01"),
    )
    matrix = Keithley707B(DirectTransport(scripted), VirtualClock(), lambda: None)  # type: ignore[arg-type]
    with pytest.raises(DeviceError, match="1B02 open that should be closed"):
        matrix.close_only({"1A01", "1B02"})


def test_another_instrument_is_refused() -> None:
    """A source-measure unit at the matrix's address is told apart."""
    instrument, _, clock = smu_2450()
    with pytest.raises(DeviceError, match="707B"):
        Keithley707B(DirectTransport(instrument), clock, lambda: None).prepare()


@given(st.sampled_from("ABCDEFGH"), st.integers(1, 72))
def test_crosspoints_are_named_as_the_instrument_names_them(bus: str, line: int) -> None:
    """Columns count on through the slots, 12 in each."""
    name = crosspoint(bus, line)
    assert name[1] == bus
    assert (int(name[0]) - 1) * 12 + int(name[2:]) == line


@pytest.mark.parametrize("wrong", ["1I01", "7A01", "1A13", "1A00", "1A1", "", "allslots", "1A01;beeper"])
def test_what_is_no_crosspoint_is_never_sent(rig: Rig, wrong: str) -> None:
    """Names are checked before they go into a message."""
    sent = len(rig.transport.sent)
    with pytest.raises(ConfigurationError, match="no crosspoint"):
        rig.matrix.close_only({wrong})
    assert len(rig.transport.sent) == sent


@pytest.mark.parametrize(("bus", "line"), [("I", 1), ("A", 0), ("A", 73), ("AB", 1)])
def test_lines_that_do_not_exist_are_refused(bus: str, line: int) -> None:
    """Eight rows, six slots of twelve columns."""
    with pytest.raises(ConfigurationError, match="does not exist"):
        crosspoint(bus, line)


@pytest.fixture
def served() -> Iterator[tuple[Keithley707B, EmulatedMatrix]]:
    """A matrix on a real socket."""
    clock = VirtualClock()
    instrument = EmulatedMatrix(lambda closed: None, clock, 1, NONE)
    server = TcpServer(instrument)
    transport = make_transport(server.address, marker=TSP.marker)
    transport.open()
    yield Keithley707B(transport, clock, lambda: None), instrument
    transport.close()
    server.close()


def test_a_matrix_over_a_socket(served: tuple[Keithley707B, EmulatedMatrix]) -> None:
    """Sixteen relays at once over TCP, read back."""
    matrix, instrument = served
    matrix.prepare()
    wanted = {crosspoint("A", line) for line in range(1, 17)}
    matrix.close_only(wanted)
    assert {str(point) for point in instrument.truly_closed} == wanted
