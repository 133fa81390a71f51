"""An address has one owner on this computer, whatever becomes of that process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

import pib_lab
from drivers.wire.ownership import Claims
from drivers.wire.places import place_of
from pib_lab.errors import ConfigurationError, DeviceError
from pib_lab.experiment import parse_experiment

ADDRESS = f"TCPIP::192.0.2.1::{os.getpid()}::SOCKET"


@pytest.fixture
def claims() -> Iterator[Claims]:
    """Claims that are let go at the end."""
    made = Claims()
    yield made
    made.release()


def test_a_second_owner_is_refused_by_the_first_ones_number(claims: Claims) -> None:
    """The error names the process that owns the address, and nothing else is held afterwards."""
    claims.claim([ADDRESS])
    other = Claims()
    with pytest.raises(DeviceError, match=rf"in use by process {os.getpid()}"):
        other.claim(["TCPIP::192.0.2.0::1::SOCKET", ADDRESS])
    assert not other.descriptors


def test_a_released_address_is_free(claims: Claims) -> None:
    """And claiming twice by the same run is no conflict."""
    claims.claim([ADDRESS, ADDRESS])
    claims.release()
    again = Claims()
    again.claim([ADDRESS])
    again.release()


def test_a_child_that_inherits_a_claim_keeps_it(claims: Claims) -> None:
    """Until it ends: so a guardian keeps others away while it switches off what a dead run has left on."""
    claims.claim([ADDRESS])
    wait = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    with subprocess.Popen(wait, stdin=subprocess.PIPE, pass_fds=claims.descriptors) as child:
        claims.release()
        with pytest.raises(DeviceError, match="in use"):
            Claims().claim([ADDRESS])
        child.communicate()
    claims.claim([ADDRESS])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("TCPIP::127.0.0.1::9999::SOCKET", "tcpip0::localhost::9999::socket"),
        ("TCPIP::127.0.0.1::9999::SOCKET", "socket://127.0.0.1:9999"),
        ("TCPIP::127.0.0.1::INSTR", "TCPIP0::localhost::inst0::INSTR"),
        ("GPIB::5", "gpib0::5::instr"),
        ("serial:/dev/null?baud=9600", "ASRL/dev/null::INSTR"),
        ("/dev/null", "/dev/../dev/null"),
        ("COM3", "serial:com3"),
    ],
)
def test_an_address_has_one_owner_however_it_is_spelled(claims: Claims, one: str, other: str) -> None:
    """Two spellings of the same place are one address."""
    assert claims.take(one) is None
    assert Claims().take(other) is not None


@given(st.text(max_size=40))
def test_whatever_is_no_address_stands_for_itself(text: str) -> None:
    """Finding the place of any text ends with a name for it."""
    assert isinstance(place_of(text), str)


def test_two_devices_at_one_address_are_refused() -> None:
    """Whoever names an instrument twice is told so before anything is connected."""
    board = 'driver = "memristor-board"\nprofile = "chip-b"\naddress = "socket://{}:7180"\n'
    text = (
        'name = "twice"\n[dataset]\nname = "digits"\n'
        f"[hardware.one]\n{board.format('localhost')}[hardware.two]\n{board.format('127.0.0.1')}"
        '[[units]]\nname = "a"\ndevice = "one"\ninputs = 64\noutputs = 4\nobjective = "nhsic"\n'
        '[[units]]\nname = "b"\ndevice = "two"\ninputs = 4\noutputs = 10\nobjective = "cross-entropy"\n'
        "[schedule]\nepochs = 1\nbatch = 8\n"
    )
    with pytest.raises(ConfigurationError, match=r"hardware\.two: hardware\.one is at \S+:7180 as well"):
        pib_lab.open(parse_experiment(text)).check()
