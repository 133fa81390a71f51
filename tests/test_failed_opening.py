"""A device that answers and then cannot be opened: what is on there is in doubt until somebody has read it back off."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_tools import PROTOCOL, call
from smu_bench import EASY, Station

import pib_lab
from drivers.board.protocol import Outputs
from drivers.chip.mock_chip import MockCrossbar
from drivers.emulators import board
from drivers.safe.guardian import RECORD, Guardian
from drivers.smu.keithley_2600b import Keithley2600B
from pib_lab.device import UnitRequest
from pib_lab.errors import ConfigurationError, DeviceError, LinkError, LostLinkError, PibError
from pib_lab.unit import SafeReport


@pytest.fixture
def hanging() -> Iterator[board.BoardServer]:
    """A board found with its outputs on, of which the word lines do not go off."""
    with board.start() as server:
        with server.board() as firmware:
            firmware.outputs = Outputs.ALL
        server.set_state("hanging", ["word lines"])
        yield server


def test_an_output_of_a_board_that_hangs_at_opening_is_reported(hanging: board.BoardServer, tmp_path: Path) -> None:
    """The run goes no further, its guardian tries as well, and both say NOT confirmed, with exit code 3."""
    path = tmp_path / "hanging.toml"
    chip = f'driver = "memristor-board"\naddress = "{hanging.address}"'
    path.write_text(PROTOCOL.replace('driver = "mock-memristor-chip"\nprofile = "ideal"', chip))
    result = call("run", path, "--out", tmp_path / "runs", "--no-report")
    assert result.exit_code == 3
    assert "word lines were told to go off and read back on" in result.stderr
    assert "NOT confirmed off: hidden (row drivers), hidden (word lines)" in result.stderr
    assert "never connected" not in result.stderr
    (folder,) = (tmp_path / "runs").iterdir()
    last = json.loads((folder / RECORD).read_text().splitlines()[-2])
    assert (last["confirmed"], last["not_confirmed"]) == (["row drivers"], ["word lines"])


def test_a_procedure_reports_it_too(
    hanging: board.BoardServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bring-up asks its guardian to act, says NOT confirmed, with exit code 3."""
    asked: list[str] = []
    monkeypatch.setattr(Guardian, "act", lambda guardian, why: asked.append(why))
    path = tmp_path / "map.toml"
    path.write_text(
        'name = "map"\n[procedure]\nname = "map-conductance"\n[array]\nrows = 4\ncolumns = 4\n'
        f'[hardware.near]\ndriver = "memristor-board"\naddress = "{hanging.address}"\n'
    )
    result = call("run", path, "--out", tmp_path / "runs")
    assert result.exit_code == 3
    assert "read back on" in result.stderr
    assert "NOT confirmed off" in result.stderr
    assert asked == ["the run did not confirm all outputs of near off"]


@pytest.mark.parametrize(
    ("problem", "doubted"),
    [
        (LinkError("nothing answers"), False),
        (ConfigurationError("it carries another chip"), False),
        (LostLinkError("it answers no more"), True),
        (DeviceError("its output reads back on"), True),
    ],
)
def test_what_had_answered_is_in_doubt(
    problem: PibError, doubted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only where nothing ever answered, or the protocol is wrong, has the run nothing to answer for."""

    def refuse(unit: MockCrossbar) -> None:
        raise problem

    monkeypatch.setattr(MockCrossbar, "open", refuse)
    monkeypatch.setattr(MockCrossbar, "make_safe", lambda unit: SafeReport(unit.spec.name, (), ("read voltage",)))
    with pytest.raises(PibError) as told:
        pib_lab.open("memristor-digits").train(tmp_path)
    assert ("NOT confirmed off: hidden-1 (read voltage)" in str(told.value)) is doubted


def _station() -> tuple[Station, Any]:
    station = Station(lines=(4, 4), override=EASY)
    return station, station.device().unit(UnitRequest("unit", 4, 2))


def test_a_link_that_dies_while_instruments_are_set_up_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """They had answered: what is on there is not known."""
    station, unit = _station()

    def dies(smu: Keithley2600B) -> None:
        station.transports["2602b"].dead = True
        smu._link.ask("*IDN?")

    monkeypatch.setattr(Keithley2600B, "prepare", dies)
    with pytest.raises(LostLinkError, match="the cable is out"):
        unit.open()


def test_a_link_that_was_dead_from_the_first_is_none_of_these() -> None:
    """Nothing answered, and nothing had been commanded."""
    station, unit = _station()
    plain = station.connect

    def connect(address: str, dialect: Any) -> Any:
        transport = plain(address, dialect)
        transport.dead = address == "2450"
        return transport

    unit._chip._connect = connect
    with pytest.raises(LinkError) as told:
        unit.open()
    assert not isinstance(told.value, LostLinkError)
