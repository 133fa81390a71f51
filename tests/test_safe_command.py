"""`pib-lab safe`: what a killed run has left on, what another run holds, and devices that only --set names."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_tools import PROTOCOL, call, last_line
from guarded_chip import SourcedChip
from guardian_bench import Source
from holder_bench import Holder

import pib_lab.lab
from drivers.emulators import board
from drivers.emulators.latency import NONE
from drivers.safe.kept import KEPT, keep
from drivers.safe.recipes import keithley_2400
from drivers.wire.ownership import Claims
from pib_lab.clocks import RealClock


@pytest.fixture
def source() -> Iterator[Source]:
    with Source() as made:
        yield made


@pytest.fixture
def protocol(tmp_path: Path, source: Source, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One whose chip is the source."""
    plain = pib_lab.lab.find_driver
    monkeypatch.setattr(
        pib_lab.lab,
        "find_driver",
        lambda name, mock, where: (name, SourcedChip) if name == "sourced" else plain(name, mock, where),
    )
    path = tmp_path / "real.toml"
    path.write_text(PROTOCOL.replace('"mock-memristor-chip"', f'"sourced"\nport = {source.port}'))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "run"
    made.mkdir()
    return made


def test_a_run_killed_while_it_prepares_is_made_safe(folder: Path, source: Source) -> None:
    """Guardian and run are dead, there is no run file yet: devices are known from what was noted before any output."""
    with Holder(folder, source) as holder:
        assert stat.S_IMODE((folder / KEPT).stat().st_mode) == 0o600
        holder.kill_both()
    assert source.on
    result = call("safe", folder)
    assert result.exit_code == 0, result.output
    assert not source.on
    assert "output" in result.stdout


@pytest.mark.parametrize("run_file", [b"", b"\x89HDF\r\n\x1a\n" + bytes(4096)])
def test_a_run_whose_file_is_damaged_is_made_safe(folder: Path, source: Source, run_file: bytes) -> None:
    """What it noted of its devices takes the place of a run file that cannot be read."""
    keep(folder, [keithley_2400("chip", source.address)], [])
    (folder / "run.h5").write_bytes(run_file)
    source.on = True
    result = call("safe", folder)
    assert result.exit_code == 0, result.output
    assert not source.on


def test_an_output_that_a_killed_run_has_left_on_for_good_is_not_confirmed(
    folder: Path, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 3, and the output by name."""
    monkeypatch.setattr("drivers.safe.execution.RETRY_S", 60.0)  # one attempt shows it
    keep(folder, [keithley_2400("chip", source.address)], [])
    source.on = source.stuck = True
    result = call("safe", folder, "--json")
    assert result.exit_code == 3
    (report,) = last_line(result)["reports"]
    assert (report["unit"], report["not_confirmed"]) == ("chip", ["output"])


def test_a_note_that_cannot_be_read_is_an_error(folder: Path) -> None:
    """It is named, with what to do."""
    (folder / KEPT).write_text(json.dumps({"actions": [{}]}))
    result = call("safe", folder)
    assert result.exit_code == 2
    assert f"{KEPT}: cannot be read" in result.stderr
    assert "pib-lab safe PROTOCOL" in result.stderr


def test_safe_of_a_protocol_asks_the_run_that_holds_its_devices(folder: Path, source: Source, protocol: Path) -> None:
    """A run that obeys ends in order, and its devices are then commanded and read back."""
    with Holder(folder, source, "obedient") as holder:
        result = call("safe", protocol)
        assert holder.process.wait(10) == 0
    assert result.exit_code == 0, result.output
    assert f"in use by process {holder.process.pid}, the run {folder}" in result.stderr
    assert not source.on


def test_safe_of_a_protocol_ends_a_run_that_cannot_be_asked(folder: Path, source: Source, protocol: Path) -> None:
    """It is ended, its guardian lets go when all is off, and the devices are then commanded and read back."""
    with Holder(folder, source) as holder:
        result = call("safe", protocol)
        assert holder.process.poll() is not None
    assert result.exit_code == 0, result.output
    assert not source.on


def test_devices_that_nobody_lets_go_of_are_not_confirmed(folder: Path, source: Source, protocol: Path) -> None:
    """They are commanded all the same; but who holds them may switch them on again, and is named."""
    source.on = True
    claims = Claims(folder)
    claims.claim([source.address])
    try:
        result = call("safe", protocol, "--json")
    finally:
        claims.release()
    assert result.exit_code == 3
    assert not source.on
    (report,) = last_line(result)["reports"]
    assert (report["confirmed"], report["not_confirmed"]) == ([], ["output"])
    assert f"in use by process {os.getpid()}" in report["detail"]


def test_another_safe_command_is_waited_for_and_not_ended(folder: Path, source: Source, protocol: Path) -> None:
    """What holds an address without being a run is left alone; until it lets go nothing is confirmed."""
    with Holder(folder, source, "command") as holder:
        result = call("safe", protocol, "--timeout", 0.2)
        assert holder.process.poll() is None
    assert result.exit_code == 3
    assert "NOT confirmed off" in result.stderr


def test_safe_takes_the_settings_of_the_run() -> None:
    """A board that only --set names is commanded off; the same protocol without them says that it is a mock."""
    with board.start(clock=RealClock(), latency=NONE) as server:
        named = ["hardware.chip.driver=memristor-board", f"hardware.chip.address={server.address}"]
        result = call("safe", "memristor-digits", *(part for text in named for part in ("--set", text)))
        assert result.exit_code == 0, result.output
        assert "row drivers, word lines" in " ".join(result.stdout.split())
        assert "mock" not in result.stdout
    plain = call("safe", "memristor-digits")
    assert plain.exit_code == 0
    assert "mock: no device was commanded" in plain.stdout
    assert "row drivers" not in plain.stdout


def test_settings_are_refused_for_a_folder(folder: Path) -> None:
    """The devices of a run are known, and not to be changed."""
    result = call("safe", folder, "--set", "hardware.chip.address=socket://127.0.0.1:1")
    assert result.exit_code == 2
    assert "leave out --set" in result.stderr
