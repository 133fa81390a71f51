"""The lab has its real devices guarded: from before the first output to after the last."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_tools import PROTOCOL, call
from guarded_chip import SourcedChip, UnguardedChip
from guardian_bench import Source

import pib_lab
import pib_lab.lab
from data.reader import Reader
from drivers.safe.guardian import RECORD, Guardian
from pib_lab.errors import DeviceError
from pib_lab.events import Message
from pib_lab.lab import Lab


@pytest.fixture
def source() -> Iterator[Source]:
    with Source() as made:
        yield made


@pytest.fixture(autouse=True)
def _drivers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Two real drivers besides those that are installed; the wear of their chips is kept apart."""
    monkeypatch.setenv("PIB_LAB_WEAR", str(tmp_path / "wear"))
    plain = pib_lab.lab.find_driver
    known = {"sourced": SourcedChip, "unguarded": UnguardedChip}
    monkeypatch.setattr(
        pib_lab.lab,
        "find_driver",
        lambda name, mock, where: (name, known[name]) if name in known and not mock else plain(name, mock, where),
    )


def protocol(folder: Path, source: Source, driver: str = "sourced", more: str = "") -> Path:
    text = PROTOCOL.replace('driver = "mock-memristor-chip"', f'driver = "{driver}"\nport = {source.port}\n{more}')
    path = folder / "real.toml"
    path.write_text(text.replace("epochs = 2", "epochs = 1"))
    return path


def opened(folder: Path, source: Source, driver: str = "sourced", more: str = "") -> Lab:
    return pib_lab.open(protocol(folder, source, driver, more))


def test_a_real_run_is_guarded_and_left_alone(tmp_path: Path, source: Source) -> None:
    """The run ends finished, its output off, and the guardian had nothing to do."""
    run = opened(tmp_path, source).train(tmp_path)
    assert (run.status, run.safe) == ("finished", True)
    assert ":OUTP ON" in source.heard
    assert not source.on
    assert source.clients == 1
    assert not (run.folder / RECORD).exists()


def test_the_guardian_does_what_the_run_could_not_confirm(tmp_path: Path, source: Source) -> None:
    """Outputs that the run has not confirmed off are switched off over the guardian's own link."""
    run = opened(tmp_path, source, more="mute = true").train(tmp_path)
    assert not run.safe
    assert not source.on
    lines = [json.loads(line) for line in (run.folder / RECORD).read_text().splitlines()]
    assert lines[0]["why"] == "the run did not confirm all outputs of hidden, read-out off"
    assert lines[-1]["safe"]


def test_a_run_whose_guardian_dies_goes_no_further(tmp_path: Path, source: Source) -> None:
    """The next output does not go on, the run fails, and its outputs are off."""
    run = opened(tmp_path, source, more="kill_guardian_after = 6").train(tmp_path)
    assert run.status == "failed"
    assert isinstance(run.error, DeviceError)
    assert "guardian has died" in str(run.error)
    assert source.heard.count(":OUTP ON") == 5
    assert not source.on


def test_a_guardians_death_ends_the_run_also_while_outputs_stay_on(tmp_path: Path, source: Source) -> None:
    """A driver that switches on once asks once: the lab asks after each step."""
    run = opened(tmp_path, source, more="kill_guardian_after = 9\nlazy = true").train(tmp_path)
    assert run.status == "failed"
    assert "guardian has died" in str(run.error)
    assert not source.on


def test_a_driver_that_cannot_be_guarded_is_warned_of(tmp_path: Path, source: Source) -> None:
    """A real device without safe actions runs, and the file says that nobody would switch it off."""
    run = opened(tmp_path, source, driver="unguarded").train(tmp_path)
    with Reader(run.folder) as reader:
        warnings = [event.text for event in reader.events() if isinstance(event, Message) and event.level == "warning"]
    unsafe, *unkept = warnings
    assert unsafe == (
        "hardware.chip: its driver offers no safe_actions, so the guardian cannot switch it off if the run dies"
    )
    assert [text.split(":")[0] for text in unkept] == ["unit hidden", "unit read-out"]


def test_mocks_need_no_guardian(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mock run starts no process."""
    monkeypatch.setattr(Guardian, "start", lambda guardian: pytest.fail("a guardian was started"))
    (tmp_path / "mock.toml").write_text(PROTOCOL.replace("epochs = 2", "epochs = 1"))
    assert pib_lab.open(tmp_path / "mock.toml").train(tmp_path).status == "finished"


def test_safe_commands_the_devices_of_a_protocol(tmp_path: Path, source: Source) -> None:
    """`pib-lab safe PROTOCOL` switches off over a link of its own and shows what was confirmed."""
    source.on = True
    result = call("safe", protocol(tmp_path, source))
    assert result.exit_code == 0, result.output
    assert not source.on
    assert "confirmed off" in result.stdout
    assert "output" in result.stdout


def test_safe_says_what_is_not_confirmed(tmp_path: Path, source: Source) -> None:
    """An output that stays on is NOT confirmed, and the exit code is 3."""
    source.on = source.stuck = True
    result = call("safe", protocol(tmp_path, source))
    assert result.exit_code == 3
    assert "output answers '1'" in result.stdout
    assert "NOT confirmed off" in result.stderr


def test_safe_of_a_dead_runs_folder_commands_its_devices(tmp_path: Path, source: Source) -> None:
    """A run that has ended is known by its folder: its devices are commanded again."""
    folder = opened(tmp_path, source).train(tmp_path).folder
    source.on = True
    assert call("safe", folder).exit_code == 0
    assert not source.on
