"""pyvisa behind the line transport: a device clear puts a LAN instrument in order, and a stuck library is given up."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
from hislip_bench import HislipServer
from link_bench import Faulty

from drivers.wire.dialects import SCPI
from drivers.wire.line_transport import LineTransport, Timing
from drivers.wire.visa_transport import VisaTransport, VisaWire
from pib_lab.errors import ConfigurationError, LinkError

TIMING = Timing(timeout_s=0.15, recover_s=0.6, retries=1)


@pytest.fixture
def instrument() -> Iterator[HislipServer]:
    """An instrument on the LAN."""
    server = HislipServer()
    yield server
    server.close()


@pytest.fixture
def link(instrument: HislipServer) -> Iterator[LineTransport]:
    """An open link to it."""
    transport = VisaTransport(instrument.address, timing=TIMING, marker=SCPI.marker)
    transport.open()
    yield transport
    transport.close()


def test_opening_clears_the_device(link: LineTransport, instrument: HislipServer) -> None:
    """What an earlier process left in the instrument is gone before the first query."""
    assert instrument.clears == 1
    assert link.query("ECHO 7?") == "7"
    link.write("OUTP OFF")
    assert link.query("ECHO 8?") == "8"
    assert instrument.heard[-2:] == ["OUTP OFF", "ECHO 8?"]


@pytest.mark.parametrize("fault", ["no answer", "late", "half", "garbage", "drop", "two answers", "empty line"])
def test_after_a_fault_the_device_is_cleared(link: LineTransport, instrument: HislipServer, fault: str) -> None:
    """The failed query ends within its bound, and the next ones get their own answers."""
    instrument.respond = Faulty(fault, late_s=0.2)
    began_s = time.monotonic()
    with pytest.raises(LinkError, match="not repeated"):
        link.query("ECHO 123456?", idempotent=False)
    assert time.monotonic() - began_s <= link.bound_s(idempotent=False)
    assert [link.query(f"ECHO {n}?") for n in (2, 3)] == ["2", "3"]
    assert instrument.clears >= 2


def test_a_library_that_never_returns_is_given_up(
    link: LineTransport, instrument: HislipServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call beyond its time fails, its resource is closed, and the next use opens a new one."""
    wire = link._wire
    assert isinstance(wire, VisaWire)
    stuck, first = threading.Event(), wire._opened()

    def never(data: bytes) -> int:
        stuck.wait(10.0)
        return 0

    monkeypatch.setattr(first, "write_raw", never)
    began_s = time.monotonic()
    with pytest.raises(LinkError, match=r"no end within 0.15 s"):
        link.query("ECHO 1?", idempotent=False)
    assert time.monotonic() - began_s <= link.bound_s(idempotent=False)
    stuck.set()
    assert link.query("ECHO 2?") == "2"
    assert wire._opened() is not first


def test_an_instrument_that_was_switched_off_is_lost_within_the_bound(
    link: LineTransport, instrument: HislipServer
) -> None:
    """The query fails in its time, and later ones at once."""
    instrument.close()
    began_s = time.monotonic()
    with pytest.raises(LinkError, match="check the address"):
        link.query("ECHO 1?")
    assert time.monotonic() - began_s <= link.bound_s()
    with pytest.raises(LinkError, match="was lost"):
        link.query("ECHO 1?")


def test_bad_names_are_told() -> None:
    """A name of another form is refused before any I/O; a backend that is not there is named."""
    with pytest.raises(ConfigurationError, match="write it as"):
        VisaTransport("VXI0::1::BACKPLANE")
    with pytest.raises(LinkError, match="no-such-backend"):
        VisaTransport("GPIB0::24::INSTR", backend="@no-such-backend", timing=TIMING).open()
