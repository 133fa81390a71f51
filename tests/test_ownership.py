"""An address has one owner on this computer, whatever becomes of that process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from drivers.wire.ownership import Claims
from pib_lab.errors import DeviceError

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
