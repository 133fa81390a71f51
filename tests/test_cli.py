"""The command line: exit codes, messages, interrupts, and a whole small run."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cli_tools import PROTOCOL, FakeLab, call, last_line

from pib_lab import lab
from pib_lab.control import Commands
from pib_lab.errors import ConfigurationError, DeviceError, LimitError, PibError
from pib_lab.unit import SafeReport


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeLab:
    """A lab that finishes at once, in the place of the real one."""
    made = FakeLab(lambda commands: "finished")
    monkeypatch.setattr(lab, "open", lambda protocol, **options: made.calls.update(options, protocol=protocol) or made)
    monkeypatch.setattr(lab, "reopen", lambda folder, **options: made.calls.update(options, folder=folder) or made)
    return made


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], str]:
    """A tiny protocol that has really been run: the run's folder, the JSON result, and what stderr said."""
    folder = tmp_path_factory.mktemp("cli")
    protocol = folder / "tiny.toml"
    protocol.write_text(PROTOCOL)
    result = call("run", protocol, "--out", folder / "runs", "--json", "--seed", 3, "--set", "schedule.epochs=1")
    assert result.exit_code == 0, result.output
    outcome = last_line(result)
    return Path(outcome["run"]), outcome, result.stderr


@pytest.mark.parametrize("arguments", ["--help", "run --help", "list protocols", "list drivers", "--version"])
def test_light_commands_import_nothing_heavy(arguments: str) -> None:
    """Help and lists of protocols and drivers import neither torch nor h5py; help imports no numpy either."""
    heavy = {"torch", "h5py", "sklearn", "matplotlib"} | ({"numpy"} if "list" not in arguments else set())
    program = (
        "import sys; from pib_lab.cli import app\n"
        f"try: app({arguments.split()!r})\n"
        f"except SystemExit as end: sys.exit(end.code or ' '.join({heavy!r} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_lists_name_what_there_is(tmp_path: Path) -> None:
    """`list` names the shipped protocols and the drivers, and says where it found no runs."""
    assert "memristor-digits" in call("list", "protocols").stdout
    assert "mock-memristor-chip" in call("list", "drivers").stdout
    assert f"no runs in {tmp_path}" in call("list", "runs", "--out", tmp_path).stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "memristor-digit"], "did you mean 'memristor-digits'"),
        (["run", "memristor-digits", "--set", "schedule.epoch=3"], "schedule.epoch"),
        (["run", "memristor-digits", "--set", "limits.drive=200"], "limits.drive"),
        (["check", "memristor-digits", "--set", "nonsense"], "key.path=value"),
        (["run"], "say what to run"),
        (["run", "--resume", "r", "--seed", "2"], "leave out --seed"),
        (["run", "memristor-digits", "--bogus"], "bogus"),
        (["report", "no-such-run"], "no-such-run"),
        (["export", "no-such-run"], "no-such-run"),
        (["run", "--resume", "no-such-run"], "no-such-run"),
        (["list", "cats"], "cats"),
    ],
)
def test_bad_input_is_one_message_and_exit_code_2(arguments: list[str], message: str) -> None:
    """A user's mistake ends with code 2 and a message that names it, without a traceback."""
    result = call(*arguments)
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("error", "code"),
    [(ConfigurationError("bad"), 2), (DeviceError("dead"), 3), (LimitError("too much"), 4)],
)
def test_errors_of_a_run_give_their_exit_code_and_json(
    fake: FakeLab, tmp_path: Path, error: PibError, code: int
) -> None:
    """A run that fails ends with the code of its error, and --json still ends stdout with one object."""
    fake.act = lambda commands: error
    result = call("run", "any", "--out", tmp_path, "--json")
    assert result.exit_code == code
    outcome = last_line(result)
    assert (outcome["status"], outcome["error"]) == ("failed", str(error))
    assert f"error: {error}" in result.stderr


def test_errors_before_the_run_give_json_too(tmp_path: Path) -> None:
    """With --json even a protocol that does not exist ends stdout with one object."""
    result = call("run", "nothing", "--out", tmp_path, "--json")
    assert result.exit_code == 2
    outcome = last_line(result)
    assert outcome["status"] == "failed"
    assert "nothing" in outcome["error"]
    assert set(outcome) >= {"run", "status", "metrics", "passes", "pulses", "wall_s"}


def test_options_reach_the_lab(fake: FakeLab, tmp_path: Path) -> None:
    """Seed, overrides, --mock and the data folder are handed on as they were given."""
    given = ["--seed", 9, "--set", "a=1", "--set", "b=2", "--mock", "--data-dir", tmp_path, "--wear-dir", tmp_path]
    call("run", "p", "--out", tmp_path, *given)
    handed_on = {"seed": 9, "overrides": ["a=1", "b=2"], "mock": True, "data_dir": tmp_path, "wear_dir": tmp_path}
    assert fake.calls == handed_on | {"protocol": "p"}


def test_numbers_that_json_does_not_know_become_null(fake: FakeLab, tmp_path: Path) -> None:
    """A metric that is not a number is null: the last line must be JSON for every reader."""
    outcome = last_line(call("run", "any", "--out", tmp_path, "--json"))
    assert outcome["metrics"] == {"test_accuracy": 0.9, "loss": None}
    assert outcome["passes"]["total"] == 5


def test_outputs_not_confirmed_off_are_an_error(fake: FakeLab, tmp_path: Path) -> None:
    """A finished run whose outputs were not confirmed off does not end with 0."""
    fake.safe = False
    result = call("run", "any", "--out", tmp_path)
    assert result.exit_code == 3
    assert "NOT confirmed off" in result.stderr


def test_run_folder_is_no_place_for_runs(tmp_path: Path) -> None:
    """--out naming a run is refused before anything is opened."""
    (tmp_path / "run.h5").touch()
    result = call("run", "memristor-digits", "--out", tmp_path)
    assert result.exit_code == 2
    assert "is a run itself" in result.stderr


def test_place_that_cannot_hold_runs_is_refused(fake: FakeLab, tmp_path: Path) -> None:
    """--out below a file is bad input."""
    (tmp_path / "file").touch()
    result = call("run", "any", "--out", tmp_path / "file")
    assert result.exit_code == 2
    assert "Choose another --out" in result.stderr


def test_defect_leaves_its_traceback_in_a_file(fake: FakeLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception that nobody expected is one short message; its traceback is in the run's folder."""

    def break_down(commands: Commands) -> str:
        raise ZeroDivisionError("oops")

    fake.act = break_down
    result = call("run", "any", "--out", tmp_path, "--json")
    assert result.exit_code == 1
    assert "ZeroDivisionError: oops" in last_line(result)["error"]
    assert "Traceback" not in result.output
    (log,) = (tmp_path / "fake-run").glob("pib-lab-crash-*.log")
    assert "break_down" in log.read_text()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("data.export.export_run", break_down)
    assert call("export", "r", "--to", "x").exit_code == 1
    assert list(tmp_path.glob("pib-lab-crash-*.log"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_first_interrupt_lets_the_run_end_in_order(fake: FakeLab, tmp_path: Path, number: signal.Signals) -> None:
    """The first Ctrl-C, or a termination, posts "abort" and lets the step end; the exit code is 130."""
    seen: list[object] = []

    def interrupted(commands: Commands) -> str:
        signal.raise_signal(number)
        seen.extend([commands.take(), commands.cancel.cancelled])
        return "aborted"

    fake.act = interrupted
    result = call("run", "any", "--out", tmp_path, "--json")
    assert result.exit_code == 130
    assert seen == ["abort", False]
    assert last_line(result)["status"] == "aborted"


def test_second_interrupt_ends_at_once_and_safely(fake: FakeLab, tmp_path: Path) -> None:
    """The second Ctrl-C ends the training where it stands; the command then makes the devices safe itself."""

    def stuck(commands: Commands) -> str:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        return "never reached"

    fake.act = stuck
    result = call("run", "any", "--out", tmp_path)
    assert result.exit_code == 130
    assert fake.made_safe == 1
    assert "hidden: off" in result.stderr
    assert not (tmp_path / "fake-run").exists()


def test_interrupt_while_making_safe_is_only_answered(fake: FakeLab, tmp_path: Path) -> None:
    """A third Ctrl-C cannot keep the outputs from being switched off."""
    plain = fake.make_safe

    def pestered() -> list[SafeReport]:
        signal.raise_signal(signal.SIGINT)
        return plain()

    def stuck(commands: Commands) -> str:
        raise KeyboardInterrupt

    fake.act, fake.make_safe = stuck, pestered  # type: ignore[method-assign]
    assert call("run", "any", "--out", tmp_path).exit_code == 130
    assert fake.made_safe == 1


def test_interrupt_during_start_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Ctrl-C before the lab is there ends with 130, even when it surfaces as another exception."""

    def interrupted(*_: object, **__: object) -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise ImportError("half imported") from None

    monkeypatch.setattr(lab, "open", interrupted)
    result = call("run", "any", "--out", tmp_path, "--json")
    assert result.exit_code == 130
    assert last_line(result)["status"] == "aborted"
    assert list(tmp_path.iterdir()) == []


def test_run_records_and_reports(recorded: tuple[Path, dict[str, Any], str]) -> None:
    """A run of a tiny protocol leaves a run file, a report, a JSON line and a summary, and no endpoint."""
    folder, outcome, stderr = recorded
    assert outcome["status"] == "finished"
    assert 0.0 <= outcome["metrics"]["test_accuracy"] <= 1.0
    assert outcome["passes"]["training"] > 0
    assert outcome["safe"] is True
    assert {path.name for path in folder.iterdir()} >= {"run.h5", "report.html"}
    assert not (folder / "endpoint.json").exists()
    assert "read-out: off" in stderr
    assert "\x1b" not in stderr
    assert str(folder / "run.h5") in stderr


def test_recorded_run_is_listed_and_exported(recorded: tuple[Path, dict[str, Any], str], tmp_path: Path) -> None:
    """`list runs` and `export` know a recorded run."""
    folder = recorded[0]
    listed = call("list", "runs", "--out", folder.parent).stdout
    assert folder.name in listed
    assert "finished" in listed
    paths = [Path(line) for line in call("export", folder, "--to", tmp_path / "x").stdout.splitlines()]
    assert paths
    assert all(path.exists() for path in paths)


def test_report_prints_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`report` prints where it wrote the report, on a line of its own however long it is."""
    monkeypatch.setattr("data.report.write_report", lambda folder: folder / "report.html")
    assert call("report", tmp_path).stdout == f"{tmp_path / 'report.html'}\n"


def test_report_that_fails_does_not_fail_the_run(
    fake: FakeLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the report cannot be written the run still counts, and the message says how to try again."""

    def fail(folder: Path) -> Path:
        raise ValueError("no fonts")

    monkeypatch.setattr("data.report.write_report", fail)
    (tmp_path / "fake-run").mkdir()
    (tmp_path / "fake-run" / "run.h5").touch()
    result = call("run", "any", "--out", tmp_path)
    assert result.exit_code == 0
    assert "no report was written: no fonts; try `pib-lab report" in result.stderr


def test_damaged_run_does_not_hide_the_others(recorded: tuple[Path, dict[str, Any], str], tmp_path: Path) -> None:
    """A file that cannot be read is listed as unreadable."""
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "run.h5").write_bytes(b"no HDF5")
    (tmp_path / "whole").symlink_to(recorded[0].resolve())
    listed = call("list", "runs", "--out", tmp_path).stdout
    assert "unreadable" in listed
    assert "finished" in listed


def test_check_prints_costs(tmp_path: Path) -> None:
    """The dry run tells passes, pulses, wear and limits, in words and in JSON, and leaves nothing behind."""
    (tmp_path / "tiny.toml").write_text(PROTOCOL)
    text = call("check", tmp_path / "tiny.toml").stdout
    assert "read-out" in text
    assert re.search(r"total [\d,]+, and at most [\d,]+ to verify writes", text)
    assert re.search(r"at most [\d.:]+ (s|min) at 10 us a pulse", text)
    costs = last_line(call("check", tmp_path / "tiny.toml", "--json"))
    assert costs["passes"]["training"] == costs["steps"] * 64 * 2
    assert len(list(tmp_path.iterdir())) == 1


def test_limit_beyond_the_devices_own_has_exit_code_4(tmp_path: Path) -> None:
    """`check` and `run` refuse a current limit that the chip does not allow, and name the key and the limit."""
    (tmp_path / "tiny.toml").write_text(PROTOCOL + '[limits]\ncurrent = "1 A"\n')
    for command in ("check", "run"):
        result = call(command, tmp_path / "tiny.toml")
        assert result.exit_code == 4
        assert "limits.current: 1 A is beyond 0.005 A, the limit of hidden" in result.stderr


def test_check_warns_of_a_fault_that_never_strikes(tmp_path: Path) -> None:
    """A fault scheduled beyond the last step is pointed out."""
    (tmp_path / "tiny.toml").write_text(PROTOCOL + "[[faults]]\nstep = 999\nfraction = 0.1\n")
    costs = last_line(call("check", tmp_path / "tiny.toml", "--json"))
    assert any("step 999 is beyond the last" in warning for warning in costs["warnings"])


def test_an_error_does_not_hide_outputs_in_doubt(fake: FakeLab, tmp_path: Path) -> None:
    """A run that fails on a limit and is not confirmed off says both, and ends as a device error."""
    fake.safe, fake.act = False, lambda commands: LimitError("too many pulses")
    result = call("run", tmp_path / "tiny.toml", "--out", tmp_path, "--json")
    assert result.exit_code == 3
    assert "too many pulses; outputs were NOT confirmed off" in last_line(result)["error"]


def test_safe_after_a_run_and_for_a_protocol(recorded: tuple[Path, dict[str, Any], str]) -> None:
    """`safe` takes a run that is over, or a protocol that never ran; of mocks it says that no device was commanded."""
    for target in (recorded[0], "memristor-digits"):
        result = call("safe", target)
        assert result.exit_code == 0, result.output
        assert "read-out" in result.stdout
        assert "mock: no device was commanded" in result.stdout
        assert "read voltage" not in result.stdout
