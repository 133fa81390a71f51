"""The lab has its real devices guarded: from before the first output to after the last."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_tools import PROTOCOL, call, last_line
from guarded_chip import SourcedChip, UnguardedChip
from guardian_bench import Source

import pib_lab
import pib_lab.lab
from data.reader import Reader
from data.report import write_report
from drivers.safe.guardian import RECORD, Guardian
from drivers.safe.kept import KEPT, read_kept
from pib_lab.assembly import make_units
from pib_lab.clocks import VirtualClock
from pib_lab.errors import DeviceError
from pib_lab.events import Message
from pib_lab.guarding import Watch
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


def test_the_last_word_is_the_guardians(tmp_path: Path, source: Source) -> None:
    """What it has confirmed off is not called NOT confirmed in the end; the exit code is still 3."""
    result = call("run", protocol(tmp_path, source, more="mute = true"), "--out", tmp_path, "--no-report", "--json")
    assert result.exit_code == 3
    (error,) = (line for line in result.stderr.splitlines() if line.startswith("error:"))
    assert "the guardian has then read back all of them off" in error
    assert "NOT confirmed" not in error
    assert (last_line(result)["safe"], last_line(result)["confirmed_by"]) == (False, "the guardian")


def test_the_report_ends_with_the_guardians_word(tmp_path: Path, source: Source) -> None:
    """The run's own doubt is told beside what the guardian has read back since, and the run file stays as it was."""
    run = opened(tmp_path, source, more="mute = true").train(tmp_path)
    before = (run.folder / "run.h5").read_bytes()
    page = write_report(run.folder).read_text()
    assert "The run could not confirm these outputs off" in page
    assert "it has read back all outputs off" in page
    assert "NOT confirmed off" not in page
    assert (run.folder / "run.h5").read_bytes() == before


def test_the_status_of_an_ended_run_tells_the_guardians_word(tmp_path: Path, source: Source) -> None:
    """Nothing answers for it any more; what the guardian has done is told with that."""
    run = opened(tmp_path, source, more="mute = true").train(tmp_path)
    result = call("status", run.folder)
    assert result.exit_code == 3
    assert "not live" in result.stderr
    assert "it has read back all outputs off" in result.stderr


def nowhere() -> str:
    """An address at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"socket://127.0.0.1:{listener.getsockname()[1]}"


def two_devices(folder: Path, source: Source, more: str = "") -> Path:
    """The first unit on the source's chip, the second on a board that is not there."""
    path = protocol(folder, source, more=more)
    board = f'[hardware.far]\ndriver = "memristor-board"\naddress = "{nowhere()}"\n'
    text = path.read_text().replace('name = "hidden"', 'name = "hidden"\ndevice = "chip"')
    path.write_text(text.replace('name = "read-out"', 'name = "read-out"\ndevice = "far"') + board)
    return path


def test_a_device_that_cannot_be_connected_raises_no_alarm(tmp_path: Path, source: Source) -> None:
    """The run says so, by address, with what to check, and exit code 3; the other device is off, nobody is alarmed."""
    result = call("run", two_devices(tmp_path, source), "--out", tmp_path / "runs", "--no-report")
    assert result.exit_code == 3
    assert "hardware.far could not be connected: no connection to 127.0.0.1, port" in result.stderr
    assert "pib-lab list instruments" in result.stderr
    assert "its state is unknown" in result.stderr
    assert "NOT confirmed" not in result.stderr
    assert not source.on
    assert list((tmp_path / "runs").iterdir()) == []


def test_a_procedure_on_a_device_that_cannot_be_connected(tmp_path: Path) -> None:
    """Bring-up says the same, leaves nothing behind, and nobody is alarmed."""
    path = tmp_path / "map.toml"
    path.write_text(
        'name = "map"\n[procedure]\nname = "map-conductance"\n[array]\nrows = 4\ncolumns = 4\n'
        f'[hardware.far]\ndriver = "memristor-board"\naddress = "{nowhere()}"\n'
    )
    result = call("run", path, "--out", tmp_path / "runs")
    assert result.exit_code == 3
    assert "hardware.far could not be connected" in result.stderr
    assert "its state is unknown" in result.stderr
    assert "confirmed" not in result.stderr
    assert list((tmp_path / "runs").iterdir()) == []


def test_the_guardian_leaves_a_device_alone_that_was_never_connected(tmp_path: Path, source: Source) -> None:
    """It does what the run could not confirm on the other one, and is content with that."""
    result = call("run", two_devices(tmp_path, source, more="mute = true"), "--out", tmp_path / "runs", "--no-report")
    assert result.exit_code == 3
    assert "the guardian has then read back all outputs off" in result.stderr
    (folder,) = (tmp_path / "runs").iterdir()
    lines = [json.loads(line) for line in (folder / RECORD).read_text().splitlines()]
    assert lines[0]["devices"] == ["chip"]
    assert lines[-1]["safe"]


def test_safe_says_that_an_unreachable_device_is_not_confirmed(
    tmp_path: Path, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever asks for it to be off is told that nobody knows."""
    monkeypatch.setattr("drivers.safe.execution.RETRY_S", 60.0)  # one attempt shows it
    result = call("safe", two_devices(tmp_path, source))
    assert result.exit_code == 3
    assert "row drivers, word lines" in " ".join(result.stdout.split())
    assert "NOT confirmed off" in result.stderr


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


def test_what_a_run_has_noted_of_its_devices_goes_when_they_are_off(tmp_path: Path, source: Source) -> None:
    """No note is left of devices that the run, or its guardian, has read back off."""
    for more in ("", "mute = true"):
        assert not (opened(tmp_path, source, more=more).train(tmp_path / f"runs{more}").folder / KEPT).exists()


def test_what_a_run_has_noted_of_its_devices_stays_while_they_are_in_doubt(tmp_path: Path, source: Source) -> None:
    """An output that neither the run nor the guardian has read back off is still known by the run's folder."""
    source.stuck = True
    kept = read_kept(opened(tmp_path, source, more="mute = true").train(tmp_path).folder)
    assert kept is not None
    assert [action.device for action in kept.actions] == ["chip"]


def test_a_device_that_says_not_how_it_is_made_safe_is_noted_too(tmp_path: Path, source: Source) -> None:
    """It is reported as NOT confirmed off, with what to do."""
    lab = opened(tmp_path, source, driver="unguarded")
    watch = Watch(tmp_path)
    watch.begin(make_units(lab.experiment, {"chip": UnguardedChip}, VirtualClock())[0])
    kept = read_kept(tmp_path)
    watch.end()
    assert kept is not None
    (report,) = kept.make_safe()
    assert (report.unit, report.not_confirmed) == ("chip", ("all outputs",))
    assert "pib-lab safe PROTOCOL" in report.detail
