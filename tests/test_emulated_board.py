"""The emulated board from outside: control port, fault modes under the real driver, benches that hold a board."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bringup_bench import bring_up, failed
from emulator_bench import LineClient

from drivers.chip.board_chip import BoardCrossbar, MemristorBoard
from drivers.emulators.bench_file import read_bench_file
from drivers.emulators.emulate import Running, start_bench
from drivers.emulators.latency import NONE
from pib_lab.clocks import RealClock, VirtualClock
from pib_lab.device import DeviceContext, UnitRequest
from pib_lab.errors import ConfigurationError, DeviceError
from pib_lab.unit import CancelToken

OVERRIDE = {"rows": 4, "columns": 4}
BOARD = """
[[instruments]]
name = "board"
model = "crossbar-board"
pty = PTY
[instruments.chip]
profile = "ideal"
override = { rows = 4, columns = 4 }
serial = "wafer-9"
"""
CHIP = '[chip]\nprofile = "ideal"\nrows = 4\ncolumns = 4\n'
SMU = '[[instruments]]\nname = "smu"\nmodel = "smu-2400"\nbuses = ["A"]\n[wiring]\ngrounded = ["H"]\n'
WIRED = '[wiring.fixed]\nA = ["row 1"]\nH = ["column 1", "column 2", "column 3", "column 4"]\n'


def _bench(folder: Path, text: str) -> Running:
    path = folder / "bench.toml"
    path.write_text(text)
    return start_bench(read_bench_file(path), clock=VirtualClock(), latency=NONE)


def _device(address: str, **options: Any) -> MemristorBoard:
    options = {
        "address": address,
        "profile": "ideal",
        "override": OVERRIDE,
        "timeout_s": 0.1,
        "deadman_s": 1.0,
    } | options
    return MemristorBoard(options, DeviceContext("chip", 1, RealClock()))


class Set:
    """A bench with a board and a source-measure unit beside it, and a unit of the real driver on the board."""

    def __init__(self, running: Running) -> None:
        assert running.control_server is not None
        self.running, self.client = running, LineClient(running.control_server.port)
        self.device = _device(running.addresses["board"])
        self.unit: BoardCrossbar = self.device.unit(UnitRequest("unit", 4, 2))

    def ask(self, **request: Any) -> dict[str, Any]:
        """Over the control port, which must agree."""
        answer = json.loads(self.client.ask(json.dumps(request)))
        assert answer.pop("ok"), answer
        return dict(answer)

    def board(self) -> dict[str, Any]:
        """The truth of the board."""
        return dict(self.ask(get="state")["instruments"]["board"])

    def measure(self) -> np.ndarray:
        """Response to the read voltage on all rows."""
        return self.unit.measure(np.full((1, 4), 0.2, np.float32), cancel=CancelToken()).values[0]


@contextmanager
def opened(folder: Path, pty: bool = False) -> Iterator[Set]:
    """The set, with its unit open."""
    with _bench(folder, BOARD.replace("PTY", str(pty).lower()) + CHIP + SMU + WIRED) as running:
        bench = Set(running)
        try:
            bench.unit.open()
            yield bench
        finally:
            bench.unit.close()
            bench.device.close()
            bench.client.close()


GRID = [[[4e-6, 1e-6], [2e-6, 2e-6]], [[8e-6, 0.0], [0.0, 5e-6]], [[0.0, 0.0], [1e-6, 0.0]], [[3e-6, 0.0], [0.0, 0.0]]]
EXPECTED = [0.2 * 14e-6, 0.2 * -4e-6]


def test_the_control_port_shows_and_sets_the_cells_of_a_board(tmp_path: Path) -> None:
    """What is set there is what the driver measures, and outputs that it switched on are seen there."""
    with opened(tmp_path) as bench:
        bench.ask(set={"board": {"conductances": {"0": GRID}}})
        assert bench.measure() == pytest.approx(EXPECTED, rel=1e-3)
        truth = bench.board()
        assert truth["outputs"] == {"row drivers": True, "word lines": True}
        assert np.array(truth["state"]["arrays"]["0"]["conductances_siemens"]) == pytest.approx(np.array(GRID))
        assert bench.ask(get="outputs")["outputs_on"] == ["board.row drivers", "board.word lines"]
        assert bench.ask(fault="cells", instrument="board", kind="low", fraction=0.25, seed=1) == {"struck": 4}
        assert np.count_nonzero(bench.board()["state"]["arrays"]["0"]["faults"]) == 4
        bench.ask(switch_off=True)
        assert bench.ask(get="outputs")["outputs_on"] == []


@pytest.mark.parametrize("pty", [False, True], ids=["tcp", "pty"])
@pytest.mark.parametrize("fault", ["no-answer", "late-answer", "half-line", "late-half", "two-answers", "garbage"])
def test_a_fault_of_one_answer_does_not_reach_the_caller(tmp_path: Path, fault: str, pty: bool) -> None:
    """Switched on while the driver runs: the request is sent again, carried out once, and its values are right."""
    with opened(tmp_path, pty) as bench:
        bench.ask(set={"board": {"conductances": {"0": GRID}}})
        bench.measure()
        before = bench.board()["state"]["requests"]
        bench.ask(fault=fault, instrument="board", **{"for": 1}, late_s=0.15)
        for _ in range(3):
            assert bench.measure() == pytest.approx(EXPECTED, rel=1e-3)
        truth = bench.board()
        assert truth["faults"] == {"armed": None, "left": None, "hits": 1}
        assert truth["state"]["requests"] - before <= 3 + 8  # three vectors, and heartbeats


@pytest.mark.parametrize("pty", [False, True], ids=["tcp", "pty"])
@pytest.mark.parametrize("fault", ["no-answer", "late-answer", "half-line", "garbage", "dropped-link"])
def test_a_fault_that_stays_is_an_error_and_never_a_value(tmp_path: Path, fault: str, pty: bool) -> None:
    """Every attempt fails: the driver says so; once healed, a new session measures what is there."""
    with opened(tmp_path, pty) as bench:
        bench.ask(set={"board": {"conductances": {"0": GRID}}})
        bench.ask(fault=fault, instrument="board", late_s=5.0)
        with pytest.raises(DeviceError):
            bench.measure()
        assert not bench.unit.make_safe().safe
        bench.ask(fault="none", instrument="board")
        bench.unit.close()
        bench.unit.open()
        assert bench.measure() == pytest.approx(EXPECTED, rel=1e-3)


def test_another_chip_is_not_taken_for_the_one_that_is_named(tmp_path: Path) -> None:
    """A board that tells another identity is refused before anything is switched on."""
    with opened(tmp_path) as bench:
        bench.unit.close()
        named = _device(bench.running.addresses["board"], serial="wafer-9").unit(UnitRequest("unit", 4, 2))
        bench.ask(fault="wrong-identity", instrument="board", **{"for": 1})
        with pytest.raises(ConfigurationError, match="'wafer-9', but the board carries 'another chip'"):
            named.open()
        assert bench.ask(get="outputs")["outputs_on"] == []
        named.open()
        named.close()


def test_a_current_that_is_clamped_is_flagged(tmp_path: Path) -> None:
    """A front end that clamps below the limits: the reading says that it is none."""
    with opened(tmp_path) as bench:
        bench.ask(set={"board": {"conductances": {"0": GRID}}})
        bench.ask(fault="stuck-compliance", instrument="board", value=1e-6)
        made = bench.unit.measure(np.full((1, 4), 0.2, np.float32), cancel=CancelToken())
        assert made.saturated.tolist() == [[True, True]]


def test_an_offset_fails_the_daily_check(tmp_path: Path) -> None:
    """Nothing in a reading tells an offset: the check of zero does."""
    with opened(tmp_path) as bench:
        bench.unit.close()
        probe = bench.device.probe(4, 4)
        probe.open()
        assert "zero" not in failed(bring_up("daily-check", probe))
        bench.ask(fault="offset", instrument="board", value=1e-6)
        assert "zero" in failed(bring_up("daily-check", probe))
        probe.close()


def test_a_word_line_that_hangs_is_reported(tmp_path: Path) -> None:
    """An output that does not go off reads back on, and is not confirmed."""
    with opened(tmp_path) as bench:
        bench.measure()
        bench.ask(fault="hanging-output", instrument="board")
        assert bench.unit.make_safe().not_confirmed == ("word lines",)
        bench.ask(fault="none", instrument="board")
        assert bench.unit.make_safe().safe


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"fault": "welded-relay", "instrument": "board"}, "crossbar-board has no state 'welded'"),
        ({"fault": "hanging-output", "instrument": "board", "value": ["fan"]}, "no output 'fan'"),
        ({"fault": "offset", "instrument": "board", "value": "much"}, "no number"),
        ({"set": {"board": {"drop": 2}}}, "not between 0 and 1"),
        ({"set": {"board": {"conductances": {"0": [[1.0]]}}}}, "of shape"),
        ({"set": {"board": {"conductances": {"99": GRID}}}}, "array 99 of 32"),
        ({"set": {"board": {"colour": 1}}}, "no state 'colour'"),
        ({"fault": "cells", "instrument": "smu"}, "no chip of its own"),
    ],
)
def test_what_cannot_be_set_is_refused(tmp_path: Path, request_: dict[str, Any], message: str) -> None:
    """With the name and what is wrong with it."""
    with opened(tmp_path) as bench:
        answer = bench.running.control.handle(json.dumps(request_))
        assert answer["ok"] is False
        assert message in answer["error"]


def test_board_and_source_measure_unit_share_a_chip(tmp_path: Path) -> None:
    """A board without a chip of its own has the bench's: one reads what the other one has written."""
    shared = '[[instruments]]\nname = "board"\nmodel = "crossbar-board"\n'
    with _bench(tmp_path, shared + CHIP + SMU + WIRED) as running, closing(_smu(running)) as smu:
        unit = _device(running.addresses["board"]).unit(UnitRequest("unit", 4, 2))
        unit.open()
        wanted = np.array(GRID, np.float32) + np.float32(10e-6)
        unit.program(wanted)
        unit.make_safe()
        chip = running.control.handle('{"get": "state"}')["chip"]
        assert np.array(chip["conductances"]).reshape(4, 2, 2) == pytest.approx(wanted, abs=0.1e-6)
        smu.tell(":SOUR:FUNC VOLT;:SOUR:VOLT 0.2;:SENS:CURR:PROT 1e-3;:OUTP ON")
        current_a = float(smu.ask(":MEAS:CURR?").split(",")[1])
        assert current_a == pytest.approx(0.2 * wanted[0].sum(), rel=0.02)
        smu.tell(":SOUR:VOLT 0.9;:SOUR:VOLT 0")
        smu.ask("*OPC?")
        written = np.array(running.control.handle('{"get": "state"}')["chip"]["conductances"]).reshape(4, 2, 2)
        assert (written[0] > wanted[0]).any()
        drive = np.array([[0.2, 0.0, 0.0, 0.0]], np.float32)
        seen = unit.measure(drive, cancel=CancelToken()).values[0]
        assert seen == pytest.approx(0.2 * (written[0, :, 0] - written[0, :, 1]), rel=1e-2, abs=1e-9)
        unit.close()


def _smu(running: Running) -> LineClient:
    return LineClient(int(running.addresses["smu"].split("::")[2]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("[instruments.chip]", 'buses = ["A"]\n[instruments.chip]'), "wired to 0 bus"),
        (("pty = false", "pty = true\nport = 5099"), "leave out one of pty and port"),
        (('serial = "wafer-9"', "defects = { virgn = true }"), "defects.virgn"),
        (('serial = "wafer-9"', "defects = { unformable = [[4, 0]] }"), "no cell (4, 0) among 4 x 4"),
        (('model = "crossbar-board"', 'model = "matrix-707b"'), "only a crossbar-board has a chip"),
    ],
)
def test_a_board_of_a_bench_file_that_is_wrong_says_where(
    tmp_path: Path, change: tuple[str, str], message: str
) -> None:
    """The key and what is wrong with it."""
    text = BOARD.replace("PTY", "false")
    assert change[0] in text
    with pytest.raises(ConfigurationError) as problem:
        _bench(tmp_path, text.replace(*change) + CHIP)
    assert message in str(problem.value)


def test_the_board_of_the_documents_can_be_started(tmp_path: Path) -> None:
    """The table shown for a bench file is one that is understood."""
    text = (Path(__file__).parents[1] / "docs" / "emulators.md").read_text()
    shown = text.split("```toml")[1].split("```")[0]
    with _bench(tmp_path, CHIP + shown.replace("5030", "0")) as running:
        assert running.addresses["board"].startswith("socket://")


def test_the_command_starts_a_board_with_a_control_port() -> None:
    """Address and control port are printed, both answer, and it ends cleanly."""
    command = [sys.executable, "-m", "pib_lab.cli", "emulate", "crossbar-board", "--chip", "ideal", "--fast"]
    command += ["--virgin", "--host", "127.0.0.1", "--control-port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        address = process.stdout.readline().strip().partition(": address = ")[2].strip('"')
        port = int(process.stdout.readline().strip().rpartition(":")[2])
        unit = MemristorBoard({"address": address, "profile": "ideal"}, DeviceContext("chip", 1, RealClock())).unit(
            UnitRequest("unit", 4, 2)
        )
        unit.open()
        with closing(LineClient(port)) as client:
            truth = json.loads(client.ask('{"get": "state"}'))["instruments"]["crossbar-board"]
            assert np.max(truth["state"]["arrays"]["0"]["conductances_siemens"]) < 0.1e-6
        unit.close()
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
        assert process.stderr.read() == ""
