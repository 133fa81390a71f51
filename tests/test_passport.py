"""The chip's passport, and procedures from the command line to it."""

from __future__ import annotations

import json
import math
import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_tools import call, last_line

import protocols
from data.passport import Passport, known_chips
from data.procedure_record import ProcedureRecord, read_record, write_record
from pib_lab.bring_up import BringUp
from pib_lab.errors import ConfigurationError, DeviceError, RunFileError
from pib_lab.findings import Progress, Verdict, judged, not_tested
from pib_lab.unit import CancelToken

PROTOCOL = """
name = "small"
[procedure]
name = "contact-check"
[array]
rows = 4
columns = 4
[hardware.chip]
driver = "mock-memristor-chip"
serial = "A/1"
defects = { virgin = true }
"""


def record(serial: str = "A/1", **changed: Any) -> ProcedureRecord:
    """A procedure with one check of each kind."""
    checks = (judged("first", True, "", {"worst_a": math.inf}, {"most_a": 1e-9}), not_tested("second", "no sensor"))
    given: dict[str, Any] = {
        "procedure": "contact-check",
        "serial": serial,
        "mock": False,
        "rows": 2,
        "columns": 2,
        "started": "2026-01-01T08:00:00+00:00",
        "ended": "2026-01-01T08:01:00+00:00",
        "status": "finished",
        "verdict": Verdict.PASS,
        "checks": checks,
        "settings": {"level_v": 0.1},
        "who": "me@here",
        "versions": {"pib-lab": "0"},
        "commit": "",
        "plots": ("a.png",),
        "arrays": {"x_siemens": np.array([1.0, np.nan])},
    }
    return ProcedureRecord(**given | changed)


def test_a_record_comes_back_as_it_was(tmp_path: Path) -> None:
    """What is written into a procedure's folder is read back, arrays and numbers that are not finite included."""
    write_record(tmp_path, record())
    back = read_record(tmp_path)
    assert back.verdict is Verdict.PASS
    assert math.isnan(back.checks[0].numbers["worst_a"])
    assert np.array_equal(back.arrays["x_siemens"], [1.0, np.nan], equal_nan=True)


@pytest.mark.parametrize("damage", [b"", b"{", b'{"schema": 1}', b'{"schema": 99}', b"\x00\xff"])
def test_a_damaged_record_is_refused(tmp_path: Path, damage: bytes) -> None:
    """A record that is cut, foreign or of another schema raises RunFileError."""
    write_record(tmp_path, record())
    (tmp_path / "procedure.json").write_bytes(damage)
    with pytest.raises(RunFileError):
        read_record(tmp_path)


def test_entries_are_kept_in_order_and_by_chip(tmp_path: Path) -> None:
    """Each chip has a file of its own, whatever characters its serial number holds; entries stay in order."""
    passport = Passport("A/1", tmp_path)
    passport.add(record(), tmp_path, {})
    passport.add(record(verdict=Verdict.FAIL), tmp_path, {})
    Passport("../B", tmp_path).add(record("../B"), tmp_path, {})
    assert [entry.verdict for entry in Passport("A/1", tmp_path).entries()] == [Verdict.PASS, Verdict.FAIL]
    assert Passport("A/1", tmp_path).latest()["contact-check"].verdict is Verdict.FAIL
    assert known_chips(tmp_path, mock=False) == ["../B", "A/1"]
    assert all(path.parent == tmp_path for path in tmp_path.rglob("*.json"))


def test_references_are_kept_until_renewed(tmp_path: Path) -> None:
    """The first values stay, until they are renewed; they belong to one size of array."""
    passport = Passport("A", tmp_path)
    for value, renew in ((1.0, False), (2.0, False)):
        passport.add(record("A"), tmp_path, {"golden_a": np.array([value])}, renew)
    assert passport.stored(2, 2)["golden_a"].tolist() == [1.0]
    passport.add(record("A"), tmp_path, {"golden_a": np.array([3.0])}, True)
    assert passport.stored(2, 2)["golden_a"].tolist() == [3.0]
    assert passport.stored(4, 4) == {}


def test_a_damaged_passport_is_not_written_to(tmp_path: Path) -> None:
    """A passport that cannot be read is refused and left as it is."""
    passport = Passport("A", tmp_path)
    passport.path.write_text("{broken")
    with pytest.raises(RunFileError, match="damaged"):
        passport.add(record("A"), tmp_path, {})
    assert passport.path.read_text() == "{broken"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    """A passport that cannot be written raises RunFileError with what to do."""
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    with pytest.raises(RunFileError, match=r"passport-dir|--out"):
        Passport("A", tmp_path).add(record("A"), tmp_path, {})


def test_command_line_runs_records_and_shows(tmp_path: Path) -> None:
    """`run` with a procedure makes a folder with summary and plots and adds to the passport of mocks, exit code 0."""
    protocol, home = tmp_path / "p.toml", tmp_path / "passports"
    protocol.write_text(PROTOCOL)
    done = call("run", protocol, "--out", tmp_path / "runs", "--passport-dir", home, "--json")
    assert done.exit_code == 0, done.output
    result = last_line(done)
    assert result["verdict"] == "pass"
    assert result["safe"]
    folder = Path(result["run"])
    assert {"procedure.json", "arrays.npz", "protocol.toml", "summary.html", "currents.png"} <= {
        path.name for path in folder.iterdir()
    }
    assert Passport("A/1", home).entries() == []  # no mock passes a real chip
    shown = call("passport", "A/1", "--mock", "--passport-dir", home)
    assert shown.exit_code == 0
    assert "contact-check" in shown.stdout


def test_a_bad_chip_has_an_exit_code_of_its_own(tmp_path: Path) -> None:
    """A procedure that finds a fault exits with 5, and so does the passport that holds it."""
    protocol = tmp_path / "p.toml"
    protocol.write_text(PROTOCOL)
    options = ("--passport-dir", tmp_path / "passports")
    done = call("run", protocol, "--out", tmp_path, "--set", "hardware.chip.defects.open_rows=[2]", *options)
    assert done.exit_code == 5, done.output
    assert "row 2: open" in " ".join(done.output.split())
    assert call("passport", "A/1", "--mock", *options).exit_code == 5


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        ("procedure.name=contact-chek", 2, "did you mean 'contact-check'"),
        ("procedure.level=1", 2, "procedure.level"),
        ("procedure.gate=50 V", 4, "beyond the limit"),
        ("hardware.chip={driver='template'}", 2, "offers no probe"),
        ("array.columns=3", 2, "array.columns"),
        ("hardware.chip.defects.open_row=[1]", 2, "open_rows"),
    ],
)
def test_bad_protocols_are_refused(tmp_path: Path, change: str, code: int, message: str) -> None:
    """A mistake in a procedure's protocol is one message with its path, and its exit code."""
    protocol = tmp_path / "p.toml"
    protocol.write_text(PROTOCOL)
    options = ("--out", tmp_path / "runs", "--passport-dir", tmp_path / "pass")
    done = call("run", protocol, "--set", change, *options)
    assert done.exit_code == code, done.output
    assert message in done.output
    if code == 2:
        assert not list((tmp_path / "runs").glob("*"))


@pytest.mark.parametrize(
    "name",
    ["contact-check", "form-cells", "iv-sweep", "pulse-response", "map-conductance", "scan-faults", "daily-check"],
)
def test_shipped_protocols_pass_on_the_mock(tmp_path: Path, name: str) -> None:
    """Every shipped procedure runs on a small mock chip and passes; a daily check once there is something kept."""
    size = ["--set", "array.rows=4", "--set", "array.columns=4"]
    if "sample" in protocols.read(name)[1]:
        size += ["--set", "procedure.sample=4"]
    for _ in range(2 if name == "daily-check" else 1):
        done = call("run", name, "--mock", *size, "--out", tmp_path, "--passport-dir", tmp_path / "p", "--json")
    assert last_line(done)["verdict"] == "pass", done.output
    assert call("check", name, "--mock").exit_code == 0


def test_a_stop_is_recorded_as_one(tmp_path: Path) -> None:
    """A procedure that the operator stops is recorded as aborted and incomplete, with outputs off."""
    cancel = CancelToken()

    def publish(progress: Progress) -> None:
        cancel.cancel()

    outcome = BringUp(PROTOCOL, passport_dir=tmp_path / "p").run(tmp_path, publish, cancel)
    assert outcome.record.status == "aborted"
    assert outcome.record.verdict is Verdict.INCOMPLETE
    assert "completed" in outcome.record.not_tested
    assert "aborted: a part only" in (outcome.folder / "summary.html").read_text().replace("\n", "")
    assert outcome.record.not_confirmed == ()
    assert outcome.error is not None
    assert outcome.error.exit_code == 130


def test_a_link_that_dies_is_told_and_nothing_is_called_off(tmp_path: Path) -> None:
    """When the link dies on the way, the outcome is a DeviceError that says what was not confirmed off."""
    job = BringUp(PROTOCOL, passport_dir=tmp_path / "p")
    made: list[Any] = []
    factory = job._factory
    job._factory = lambda options, context: made.append(factory(options, context)) or made[-1]  # type: ignore[func-returns-value]

    def publish(progress: Progress) -> None:
        made[0]._link.dead = True

    outcome = job.run(tmp_path, publish, CancelToken())
    assert isinstance(outcome.error, DeviceError)
    assert "NOT confirmed off" in str(outcome.error)
    assert outcome.record.not_confirmed
    entry = Passport("A/1", tmp_path / "p", mock=True).entries()[-1]
    assert (entry.status, entry.verdict) == ("failed", Verdict.INCOMPLETE)


def test_json_of_a_passport_is_the_file(tmp_path: Path) -> None:
    """`passport --json` prints what the file holds."""
    Passport("A", tmp_path).add(record("A"), tmp_path, {})
    shown = call("passport", "A", "--passport-dir", tmp_path, "--json")
    assert json.loads(shown.stdout)["serial"] == "A"


def test_an_unknown_chip_is_told_the_known_ones(tmp_path: Path) -> None:
    """A serial number without a passport is refused with those that have one."""
    Passport("chip-7", tmp_path).add(record("chip-7"), tmp_path, {})
    done = call("passport", "chip-8", "--passport-dir", tmp_path)
    assert done.exit_code == ConfigurationError.exit_code
    assert "did you mean 'chip-7'" in done.output


def test_safe_takes_the_protocol_and_the_folder_of_a_procedure(tmp_path: Path) -> None:
    """`safe` takes a procedure by its protocol or by its folder; of a mock it says that no device was commanded."""
    protocol = tmp_path / "p.toml"
    protocol.write_text(PROTOCOL)
    done = call("run", protocol, "--out", tmp_path / "runs", "--passport-dir", tmp_path / "pass", "--json")
    for named in (protocol, last_line(done)["run"]):
        shown = call("safe", named)
        assert shown.exit_code == 0, shown.output
        assert "mock: no device was commanded" in shown.output


def test_what_was_not_tested_is_listed_everywhere(tmp_path: Path) -> None:
    """A first daily check has nothing to compare with: incomplete; passport, terminal, report and JSON say what of."""
    size = ["--set", "array.rows=4", "--set", "array.columns=4"]
    where = ("--out", tmp_path, "--passport-dir", tmp_path / "p")
    done = call("run", "daily-check", "--mock", *size, *where, "--json")
    result = last_line(done)
    names = ["reference cells", "golden vector"]
    assert (done.exit_code, result["verdict"], result["not_tested"]) == (0, "incomplete", names)
    assert "daily-check incomplete, 0 pulses; not tested: reference cells, golden vector" in done.output
    assert "Not tested: reference cells, golden vector" in (Path(result["run"]) / "summary.html").read_text()
    (entry,) = json.loads(Path(result["passport"]).read_text())["entries"]
    assert (entry["verdict"], entry["not_tested"]) == ("incomplete", names)
    assert read_record(Path(result["run"])).not_tested == tuple(names)
