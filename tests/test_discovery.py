"""Looking for instruments: bounded, and honest about what failed."""

from __future__ import annotations

import threading
import time

import pytest
from cli_tools import call

import drivers.wire.discovery
from drivers.wire.discovery import Found, Survey, survey


def _fails() -> list[Found]:
    raise OSError("no such bus")


def test_a_search_that_fails_hides_nothing() -> None:
    """What the others find is told, and what failed as well."""
    port = Found("serial:/dev/ttyUSB0", "serial", "adapter")
    result = survey({"VISA": _fails, "serial": lambda: [port]}, 5.0)
    assert result == Survey((port,), ("VISA: no such bus",))


def test_a_search_that_hangs_is_left_behind() -> None:
    """The whole takes no longer than stated."""
    end = threading.Event()

    def hangs() -> list[Found]:
        end.wait(10.0)
        return []

    began_s = time.monotonic()
    result = survey({"VISA": hangs, "serial": list}, 0.05)
    assert time.monotonic() - began_s < 2.0
    assert result == Survey((), ("VISA: the search did not end within 0.05 s",))
    end.set()


def test_the_command_lists_what_was_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Addresses to write into a protocol, and problems as warnings."""
    result = Survey((Found("GPIB0::24::INSTR", "VISA", ""),), ("serial: no such bus",))
    monkeypatch.setattr(drivers.wire.discovery, "discover", lambda: result)
    listed = call("list", "instruments")
    assert listed.exit_code == 0
    assert "GPIB0::24::INSTR" in listed.stdout
    assert "serial: no such bus" in listed.stderr
    monkeypatch.setattr(drivers.wire.discovery, "discover", lambda: Survey((), ()))
    assert "no instruments" in call("list", "instruments").stdout
