"""`pib-lab check` of a procedure holds the strongest that it will do against the chip's limits."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pib_lab.bring_up import BringUp, load
from pib_lab.cli import app
from pib_lab.errors import LimitError
from pib_lab.unit import CancelToken

BOARD = ("hardware.chip={driver='memristor-board', address='socket://127.0.0.1:1'}",)


@pytest.mark.parametrize("device", [(), BOARD])
@pytest.mark.parametrize(
    ("protocol", "change"),
    [
        ("form-cells", "procedure.level='9 V'"),
        ("form-cells", "procedure.gate_max='9 V'"),
        ("form-cells", "procedure.reset_level='9 V'"),
        ("form-cells", "procedure.current='1 A'"),
        ("pulse-response", "procedure.set_level='9 V'"),
        ("pulse-response", "procedure.width='1 s'"),
    ],
)
def test_what_is_beyond_a_limit_is_refused_by_the_check(protocol: str, change: str, device: tuple[str, ...]) -> None:
    """Ends of ramps and trains beyond the profile's limits end with exit code 4, on a mock and on a board."""
    arguments = [part for each in (change, *device) for part in ("--set", each)]
    result = CliRunner().invoke(app, ["check", protocol, *arguments])
    assert result.exit_code == 4
    assert "is beyond the limit" in result.output
    assert "in order" not in result.output


@pytest.mark.parametrize(
    "change", ["procedure.set_level='9 V'", "procedure.reset_gate='9 V'", "procedure.compliance='1 A'"]
)
def test_levels_that_are_held_are_checked_too(change: str) -> None:
    """A sweep beyond the limits is refused before it is run."""
    with pytest.raises(LimitError):
        BringUp(load("iv-sweep", [change], None)).check()


def test_the_check_tells_each_extreme_beside_its_limit() -> None:
    """A line for each kind of act: the last step of the gate's ramp among them."""
    result = CliRunner().invoke(app, ["check", "form-cells"])
    assert result.exit_code == 0
    assert "forming: 5 V (limit 5.5 V), gate 4 V (limit 4.2 V), 0.0001 A (limit 0.002 A)" in result.output
    assert "RESET after forming: 3 V" in result.output


@pytest.mark.parametrize("protocol", ["scan-faults", "daily-check", "map-conductance"])
@pytest.mark.parametrize(("device", "gate"), [((), ""), (BOARD, "gate 2.5 V (limit 4.2 V), ")], ids=["mock", "board"])
def test_the_check_tells_what_lines_are_read_with(protocol: str, device: tuple[str, ...], gate: str) -> None:
    """Read voltage, gate and limit of current, where nothing stronger may be meant at all."""
    result = CliRunner().invoke(app, ["check", protocol, *(part for each in device for part in ("--set", each))])
    assert result.exit_code == 0
    assert f"reads: 0.2 V (limit 5.5 V), {gate}0.002 A (limit 0.002 A)" in result.output


def test_the_check_of_a_fault_scan_tells_its_pulses() -> None:
    """Writes as strong as the profile lets them be, and how many pulses a cell may get: two writes of twelve."""
    result = CliRunner().invoke(app, ["check", "scan-faults"])
    assert "writes: 3.3 V" in result.output
    assert "up to 24 pulses a cell" in result.output


def test_a_fault_scan_beyond_a_limit_is_refused_by_the_check() -> None:
    """Pulses longer than the charge that a cell may get end with exit code 4."""
    table = "hardware.chip.override={pulse_s=1.0}"
    result = CliRunner().invoke(app, ["check", "scan-faults", "--set", table])
    assert result.exit_code == 4
    assert "fault scan, writes: charge of a pulse" in result.output


def test_the_check_of_a_procedure_as_json() -> None:
    """One object with each act, its values and the limits beside them; what is not limited is null."""
    result = CliRunner().invoke(app, ["check", "scan-faults", "--json"])
    assert result.exit_code == 0
    told = json.loads(result.stdout)
    assert (told["protocol"], told["procedure"], told["mock"]) == ("scan-faults", "scan-faults", True)
    reads, writes = told["acts"]
    assert (reads["level_v"], reads["width_s"], reads["limits"]["power_w"]) == (0.2, None, None)
    assert (writes["level_v"], writes["width_s"], writes["pulses"]) == (3.3, 1e-6, 24)
    assert writes["limits"]["voltage_v"] == 5.5
    assert writes["power_w"] == pytest.approx(writes["level_v"] * writes["current_a"])


def test_the_check_of_a_bad_procedure_prints_no_json() -> None:
    """Standard output stays empty, and the exit code is that of a limit."""
    result = CliRunner().invoke(app, ["check", "form-cells", "--json", "--set", "procedure.level='9 V'"])
    assert result.exit_code == 4
    assert result.stdout == ""


def test_lines_behind_a_matrix_stay_within_what_a_write_may_have() -> None:
    """The shipped contact check is in order; at 1 V its lines would go beyond the protocol's strongest pulse."""
    BringUp(load("contact-check-smu-matrix", [], None)).check()
    with pytest.raises(LimitError, match=r"limit of 0\.95 V"):
        BringUp(load("contact-check-smu-matrix", ["procedure.level='1 V'"], None)).check()


def test_a_port_without_a_board_is_told_as_such(tmp_path: Path) -> None:
    """What takes the connection and answers nothing is named by its address, and not called unconnected."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"socket://127.0.0.1:{silent.getsockname()[1]}"
        table = f"hardware.chip={{driver='memristor-board', address='{address}', timeout_s=0.02}}"
        job = BringUp(load("map-conductance", [table], None), passport_dir=tmp_path / "p", wear_dir=tmp_path / "w")
        with pytest.raises(Exception, match=f"no board answered at {address}") as problem:
            job.run(tmp_path, lambda progress: None, CancelToken())
    assert "never connected" not in str(problem.value)
