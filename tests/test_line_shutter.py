"""A shutter behind a text protocol, over a real socket: believed only when it was read back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from link_bench import Act, LineServer

from drivers.optics.shutter_line import LineShutter, read_line_options
from drivers.safe.execution import carry_out
from pib_lab.clocks import VirtualClock
from pib_lab.device import DeviceContext
from pib_lab.errors import ConfigurationError, DeviceError


class Blade:
    """A shutter that knows OPEN, CLOSE and POS?; `stuck`: the blade does not move."""

    def __init__(self) -> None:
        self.closed, self.stuck = True, False

    def __call__(self, message: str) -> list[Act]:
        if message in ("OPEN", "CLOSE") and not self.stuck:
            self.closed = message == "CLOSE"
        return [b"SHUT\n" if self.closed else b"OPEN\n"] if message == "POS?" else []


@pytest.fixture
def blade() -> Blade:
    """The shutter's own state."""
    return Blade()


@pytest.fixture
def shutter(blade: Blade) -> Iterator[LineShutter]:
    """Its driver, connected over loopback."""
    server = LineServer(blade)
    options = {"address": server.address, "open": "OPEN", "close": "CLOSE", "query": "POS?"}
    words = {"closed_answer": "SHUT", "open_answer": "OPEN"}
    shutter = LineShutter(read_line_options(options | words, "shutter"), DeviceContext("rig", 1, VirtualClock()))
    yield shutter
    shutter.release()
    server.close()


def test_it_opens_and_closes(shutter: LineShutter, blade: Blade) -> None:
    """Both are read back."""
    shutter.open()
    assert not blade.closed
    assert not shutter.is_closed()
    assert shutter.close_and_read_back()
    assert blade.closed


def test_a_blade_that_hangs_open_is_not_confirmed(shutter: LineShutter, blade: Blade) -> None:
    """The command was sent, and the answer is believed instead."""
    shutter.open()
    blade.stuck = True
    assert not shutter.close_and_read_back()


def test_a_blade_that_hangs_closed_is_an_error(shutter: LineShutter, blade: Blade) -> None:
    """No light is no reason to go on."""
    blade.stuck = True
    with pytest.raises(DeviceError, match="interlock"):
        shutter.open()


def test_the_guardian_can_close_it(shutter: LineShutter, blade: Blade) -> None:
    """Over a link of its own, from what the driver says beforehand."""
    blade.closed = False
    outcome = carry_out(shutter.safe_action("rig"))
    assert outcome.safe
    assert outcome.confirmed == ("shutter",)
    assert blade.closed


def test_the_guardian_does_not_confirm_one_that_hangs(shutter: LineShutter, blade: Blade) -> None:
    """It tries again, and says so."""
    blade.closed, blade.stuck = False, True
    assert carry_out(shutter.safe_action("rig"), bound_s=0.1).not_confirmed == ("shutter",)


def test_a_missing_word_is_named() -> None:
    """The table in the protocol must say how to close it."""
    with pytest.raises(ConfigurationError, match=r"rig\.shutter\.close"):
        read_line_options({"address": "TCPIP::localhost::1::SOCKET", "open": "OPEN"}, "rig.shutter")
