"""`pib-lab run --traffic`: what goes over every link of a real device is kept beside the run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_tools import PROTOCOL, call
from smu_bench import EASY, Station

from drivers.board.frames import FrameDecoder
from drivers.board.protocol import Kind
from drivers.chip.smu_matrix_chip import MemristorSmuMatrix
from drivers.emulators import board
from drivers.wire.traffic import TRAFFIC, TrafficLog
from pib_lab.clocks import VirtualClock
from pib_lab.device import DeviceContext, UnitRequest
from pib_lab.unit import CancelToken

ON_A_BOARD = """driver = "memristor-board"
address = "{}"
profile = "ideal"
override = {{ rows = 64, columns = 32 }}
"""
SMALL = {"rows": 64, "columns": 32}
PROCEDURE = """
name = "map"
[procedure]
name = "map-conductance"
[array]
rows = 4
columns = 4
[hardware.chip]
"""


@pytest.fixture(autouse=True)
def _folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The wear of the emulated chip is kept apart."""
    monkeypatch.setenv("PIB_LAB_WEAR", str(tmp_path / "wear"))


def kept(runs: Path) -> list[dict[str, Any]]:
    """The lines of the one run's record."""
    (path,) = runs.glob(f"*/{TRAFFIC}")
    return [json.loads(line) for line in path.read_text().splitlines()]


def kinds(lines: list[dict[str, Any]], way: str) -> list[int]:
    """Of the board's frames that went this way."""
    decoder = FrameDecoder()
    data = b"".join(bytes.fromhex(line["hex"]) for line in lines if line.get("way") == way and "hex" in line)
    return [frame.kind for frame in decoder.feed(data)]


def training(folder: Path, address: str, more: str = "") -> Path:
    """A protocol of one step on the board."""
    text = PROTOCOL.replace('driver = "mock-memristor-chip"\nprofile = "ideal"', ON_A_BOARD.format(address) + more)
    path = folder / "p.toml"
    path.write_text(text.replace("epochs = 2", "epochs = 1").replace("limit = 256", "limit = 64"))
    return path


def test_a_trainings_frames_are_kept(tmp_path: Path) -> None:
    """Requests and answers of the board's link, as hex, from HELLO to outputs off."""
    with board.start(profile="ideal", override=SMALL, arrays=2) as server:
        result = call("run", training(tmp_path, server.address), "--traffic", "--no-report", "--out", tmp_path / "runs")
    assert result.exit_code == 0, result.output
    lines = kept(tmp_path / "runs")
    assert "began" in lines[0]
    assert {line["address"] for line in lines[1:]} == {server.address}
    sent, got = kinds(lines, "sent"), kinds(lines, "got")
    assert sent[0] == Kind.HELLO
    assert Kind.OUTPUTS in sent[-4:]
    assert len(sent) == len(got) > 20


def test_a_procedures_frames_are_kept(tmp_path: Path) -> None:
    """Bring-up has the same option."""
    with board.start(profile="ideal", override=SMALL, arrays=2) as server:
        (tmp_path / "p.toml").write_text(PROCEDURE + ON_A_BOARD.format(server.address))
        at = ("--out", tmp_path / "runs", "--passport-dir", tmp_path / "passports")
        result = call("run", tmp_path / "p.toml", "--traffic", *at)
    assert result.exit_code in (0, 5), result.output
    assert kinds(kept(tmp_path / "runs"), "sent")[0] == Kind.HELLO


def test_a_connection_that_fails_leaves_its_traffic(tmp_path: Path) -> None:
    """Nobody understands the board: the run never began, and what was said is there to be read."""
    with board.start(profile="ideal", override=SMALL, arrays=2) as server:
        server.set_state("corrupt", 1.0)
        path = training(tmp_path, server.address, "timeout_s = 0.05")
        result = call("run", path, "--traffic", "--no-report", "--out", tmp_path / "runs")
    assert result.exit_code == 3
    assert "sent" in [line.get("way") for line in kept(tmp_path / "runs")]


def test_messages_of_every_instrument_are_kept(tmp_path: Path) -> None:
    """Each link of a chip behind instruments records under its own address, as text."""
    station = Station(lines=(4, 4), override=EASY)
    station.serve()
    log = TrafficLog(tmp_path / TRAFFIC, VirtualClock())
    device = MemristorSmuMatrix(station.options(), DeviceContext("chip", 1, VirtualClock(), traffic=log))
    unit = device.unit(UnitRequest("unit", 4, 1))
    unit.open()
    unit.measure(np.full((1, 4), 0.2, np.float32), cancel=CancelToken())
    unit.close()
    log.close()
    station.close()
    lines = [json.loads(line) for line in log.path.read_text().splitlines()][1:]
    assert {line["address"] for line in lines} == {server.address for server in station.servers.values()}
    at = station.servers["2400"].address
    said = [(line["way"], line["text"]) for line in lines if line["address"] == at]
    asked = said.index(("sent", ":OUTP?\n"))
    assert said[asked + 1][0] == "got"


def test_mocks_have_no_traffic(tmp_path: Path) -> None:
    """To ask for it is a mistake, told before anything is made."""
    result = call("run", "memristor-digits", "--traffic", "--out", tmp_path / "runs")
    assert result.exit_code == 2
    assert "mocks have none" in result.stderr
    result = call("run", "map-conductance", "--traffic", "--out", tmp_path / "runs")
    assert result.exit_code == 2
    assert not (tmp_path / "runs").exists()


def test_a_record_that_cannot_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run finishes, and its user learns that the record is not whole."""
    monkeypatch.setattr("pib_lab.guarding.TRAFFIC", "no-such-folder/traffic.jsonl")
    with board.start(profile="ideal", override=SMALL, arrays=2) as server:
        result = call("run", training(tmp_path, server.address), "--traffic", "--no-report", "--out", tmp_path / "runs")
    assert result.exit_code == 0
    assert "what went over the links is not kept to the end" in result.stderr
