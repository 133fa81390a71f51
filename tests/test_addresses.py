"""An address that no link understands is bad input: the dry run says where it is, before anything is touched."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_tools import call

BOARD = """
name = "board"
[hardware.chip]
driver = "memristor-board"
address = "{}"
"""
PROCEDURE = """
[procedure]
name = "map-conductance"
[array]
rows = 4
columns = 4
"""


@pytest.mark.parametrize("address", ["", "foo", "socket://127.0.0.1", "serial:"])
@pytest.mark.parametrize("command", ["check", "run"])
def test_a_boards_address_has_a_form(command: str, address: str, tmp_path: Path) -> None:
    """A procedure with an address of no known form is refused with what to write, and no class name."""
    path = tmp_path / "board.toml"
    path.write_text(BOARD.format(address) + PROCEDURE)
    result = call(command, path, *(["--out", tmp_path / "runs"] if command == "run" else []))
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith(f"error: hardware.chip: board address {address!r}: write ")
    assert "Error:" not in result.stderr


@pytest.mark.parametrize("address", ["", "foo", "TCPIP::192.0.2.1::SOCKET", "serial:/dev/ttyUSB0?baud=x"])
def test_addresses_of_all_instruments_are_looked_at(address: str) -> None:
    """Each that is wrong has a line of its own, with the name of the instrument."""
    wrong = [f"hardware.chip.{path}.address={address!r}" for path in ("matrix", "sources.drive")]
    result = call("check", "memristor-smu-matrix", *(word for change in wrong for word in ("--set", change)))
    assert result.exit_code == 2, result.output
    drive, matrix = (line for line in result.stderr.splitlines() if line)
    assert "hardware.chip.smua" in drive or "hardware.chip.drive" in drive
    assert matrix.startswith("hardware.chip.matrix: ")
    assert repr(address) in drive
    assert repr(address) in matrix


def test_the_shipped_addresses_are_in_order() -> None:
    """What a protocol is shipped with passes the check."""
    assert call("check", "memristor-smu-matrix").exit_code == 0
