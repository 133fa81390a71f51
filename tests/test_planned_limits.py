"""`pib-lab check` of a procedure holds the strongest that it will do against the chip's limits."""

from __future__ import annotations

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
