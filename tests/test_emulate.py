"""Benches of emulators, models started alone, `pib-lab emulate`, and the project's own drivers on all of them."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

import pytest
from emulator_bench import LineClient
from typer.testing import CliRunner

from drivers.chip.limits import ElectricalLimits
from drivers.emulators.bench_file import read_bench_file
from drivers.emulators.emulate import Running, start_bench, start_one
from drivers.emulators.latency import LIKE_REAL, NONE
from drivers.smu.keithley_2600b import Keithley2600B
from drivers.smu.switch_matrix import Keithley707B
from drivers.wire.dialects import TSP
from drivers.wire.links import make_transport
from pib_lab.cli import app
from pib_lab.clocks import VirtualClock
from pib_lab.errors import ConfigurationError

EXAMPLE = Path(__file__).parents[1] / "docs" / "examples" / "bench.toml"
QUIET_CHIP = 'profile = "ideal"'


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Running]:
    """The example's bench on free ports, with sound and quiet cells, in virtual time."""
    text = EXAMPLE.read_text()
    for number in ("5025", "5026", "5028", "5029"):
        text = text.replace(number, "0")
    path = tmp_path / "bench.toml"
    path.write_text(text.replace('profile = "chip-b"', QUIET_CHIP))
    with start_bench(read_bench_file(path), clock=VirtualClock(), latency=NONE) as running:
        yield running


def _clients(running: Running) -> dict[str, LineClient]:
    ports = {name: int(address.split("::")[2]) for name, address in running.addresses.items()}
    return {name: LineClient(port) for name, port in ports.items()}


def test_a_bench_wires_instruments_through_the_matrix_to_one_chip(bench: Running) -> None:
    """A row driven by one instrument is measured at a column by another, through the crosspoints that are closed."""
    assert bench.control_server is not None
    control, on = LineClient(bench.control_server.port), _clients(bench)
    grid = [[(1 + row + column) * 1e-6 for column in range(8)] for row in range(8)]
    assert json.loads(control.ask(json.dumps({"set": {"chip": {"conductances": grid}}}))) == {"ok": True}
    on["drive"].tell(":SOUR:FUNC VOLT;:SOUR:VOLT 0.2;:SENS:CURR:PROT 1e-3;:OUTP ON")
    on["sense"].tell(":SOUR:FUNC VOLT;:SOUR:VOLT 0;:SOUR:VOLT:ILIM 1e-3;:OUTP ON")
    grounded = ",".join([f"1H{i:02d}" for i in range(1, 9) if i != 3] + [f"2H{j:02d}" for j in range(1, 9) if j != 5])
    on["matrix"].tell(f'channel.close("1A03,2B05,{grounded}")')
    on["matrix"].ask("*OPC?")
    on["drive"].ask("*OPC?")
    current = float(on["sense"].ask(":MEAS:CURR?"))
    assert abs(current) == pytest.approx(0.2 * grid[2][4], rel=1e-2)
    state = json.loads(control.ask('{"get": "state"}'))
    assert state["outputs_on"] == ["drive.output", "sense.output", "matrix.crosspoints"]
    assert state["chip"]["volts"]["row 3"] == pytest.approx(0.2, rel=1e-3)
    assert json.loads(control.ask('{"switch_off": true}'))["ok"]
    assert json.loads(control.ask('{"get": "outputs"}'))["outputs_on"] == []
    for client in (control, *on.values()):
        client.close()


def test_a_welded_relay_of_a_bench_keeps_the_chip_connected(bench: Running) -> None:
    """The matrix says open; the chip's line is still held."""
    control = bench.control
    assert control.handle('{"fault": "welded-relay", "instrument": "matrix", "value": "1A01"}')["ok"]
    assert control.handle('{"get": "outputs"}')["outputs_on"] == ["matrix.crosspoints"]
    assert ["A", "row 1"] in json.loads(json.dumps(control.handle('{"get": "state"}')))["chip"]["contacts"]


def test_cells_of_a_bench_can_be_struck(bench: Running) -> None:
    """Faults of the chip are set through the control port."""
    answer = bench.control.handle('{"fault": "cells", "kind": "low", "fraction": 0.25, "seed": 3}')
    assert answer == {"ok": True, "struck": 16}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('model = "smu-2400"', 'model = "smu-9999"'), "instruments.0.model"),
        (('buses = ["A"]', 'buses = ["A", "C"]'), "smu-2400 is wired to 1 bus"),
        (('buses = ["B"]', 'buses = ["A"]'), "bus 'A' is taken"),
        (('"1:01" = "row 1"', '"1:01" = "row 99"'), "line 'row 99' does not exist"),
        (('"1:01"', '"9:01"'), "wiring.columns.9:01"),
        (("rows = 8", "rows = 0"), "chip.rows"),
        (('name = "sense"', 'name = "drive"'), "different names"),
        (("seed = 1", "sed = 1"), "chip.sed"),
        (('"chip-b"', '"chip-z"'), "profile 'chip-z' does not exist"),
        (("[chip]", "[chip"), "not valid TOML"),
    ],
)
def test_a_bench_file_that_is_wrong_says_where(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    """The file, the key and what is wrong with it."""
    path = tmp_path / "bench.toml"
    text = EXAMPLE.read_text()
    for number in ("5025", "5026", "5028", "5029"):
        text = text.replace(number, "0")
    assert change[0] in text
    path.write_text(text.replace(*change, 1))
    with pytest.raises(ConfigurationError, match=message):
        start_bench(read_bench_file(path)).close()


@pytest.mark.parametrize("model", ["smu-2400", "smu-2450", "smu-2602b", "matrix-707b"])
def test_each_model_starts_alone_and_answers_its_name(model: str) -> None:
    """One instrument across a cell of the chip, on any free port."""
    with start_one(model, "ideal", 1, clock=VirtualClock(), latency=NONE) as running:
        (client,) = _clients(running).values()
        assert model.split("-")[1].upper() in client.ask("*IDN?")
        client.close()


@pytest.mark.parametrize(
    "arguments",
    [("smu-2400", "file.toml"), ("bench",), ("bench", "nowhere.toml"), ("smu-2400", "--chip", "nothing")],
)
def test_emulate_refuses_what_it_cannot_start(arguments: tuple[str, ...]) -> None:
    """Bad input ends with a message and exit code 2."""
    assert CliRunner().invoke(app, ["emulate", *arguments]).exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("smu-2460",), "'smu-2460' cannot be emulated; did you mean 'smu-2450'?"),
        (("smu-2400", "--pty", "--port", "3"), "a pseudo-terminal has no port"),
        (("crossbar-board", "--pty", "--port", "3"), "a pseudo-terminal has no port"),
    ],
)
def test_emulate_says_what_is_wrong(arguments: tuple[str, ...], message: str) -> None:
    """An instrument that does not exist and a pseudo-terminal with a port are refused in plain words, exit code 2."""
    result = CliRunner().invoke(app, ["emulate", *arguments])
    assert result.exit_code == 2
    assert message in result.output
    assert "Value error" not in result.output


def test_a_bench_can_be_made_virgin() -> None:
    """All cells are still to be formed, those of a board's own chip too."""
    bench = read_bench_file(EXAMPLE).made_virgin()
    assert bench.chip.defects.virgin
    assert all(instrument.chip.defects.virgin for instrument in bench.instruments if instrument.chip)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_emulate_prints_the_address_and_ends_cleanly(number: signal.Signals) -> None:
    """The printed address answers; Ctrl-C ends with exit code 0 and without a traceback."""
    command = [sys.executable, "-m", "pib_lab.cli", "emulate", "smu-2602b", "--chip", "ideal", "--fast"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        name, _, address = process.stdout.readline().strip().partition(": address = ")
        assert name == "smu-2602b"
        with closing(LineClient(int(address.strip('"').split("::")[2]))) as client:
            assert "2602B" in client.ask("*IDN?")
        assert process.stdout.readline() == "Ctrl-C ends\n"
        process.send_signal(number)
        assert process.wait(10) == 0
        assert process.stderr.read() == ""


def test_the_table_of_latencies_in_the_documents_is_the_one_in_force() -> None:
    """Every name with its value, and none besides."""
    units = {"ms": 1e-3, "us": 1e-6, "": 1.0}
    told = {}
    for row in (EXAMPLE.parents[1] / "emulators.md").read_text().splitlines():
        if found := re.match(r"\| `(\w+)` \| ([\d.]+) ?(ms|us|) \|", row):
            told[found[1]] = float(found[2]) * units[found[3]]
    assert told == pytest.approx(asdict(LIKE_REAL))


@pytest.mark.parametrize("pty", [False, True])
def test_the_2600b_driver_measures_the_cell_behind_the_emulator(pty: bool) -> None:
    """Over a socket and over a pseudo-terminal: ramp, read, sweep, pulse, off and read back."""
    with start_one("smu-2602b", "ideal", 1, pty=pty, clock=VirtualClock(), latency=NONE) as running:
        transport = make_transport(running.addresses["smu-2602b"], marker=TSP.marker)
        transport.open()
        assert running.control.handle('{"set": {"chip": {"conductances": [[2e-5], [1e-5]]}}}')["ok"]
        smu = Keithley2600B(transport, ElectricalLimits(3.0, 1e-2), VirtualClock(), "a")
        smu.prepare()
        smu.source_voltage(1e-3, level_range_v=1.0)
        smu.switch(True)
        smu.ramp_to(0.2, 0.1)
        assert running.control.outputs_on() == ["smu-2602b.smua"]
        assert smu.read().current_a == pytest.approx(4e-6, rel=1e-3)
        assert [at.current_a for at in smu.sweep([0.1, 0.2], 0.001)] == pytest.approx([2e-6, 4e-6], rel=1e-3)
        assert smu.pulse(0.3, 0.001) is False
        smu.switch(False)
        assert running.control.outputs_on() == []
        transport.close()


@pytest.mark.parametrize("pty", [False, True])
def test_the_707b_driver_finds_what_it_closed(pty: bool) -> None:
    """Over a socket and over a pseudo-terminal: close, read back, open."""
    with start_one("matrix-707b", pty=pty, clock=VirtualClock(), latency=NONE) as running:
        transport = make_transport(running.addresses["matrix-707b"], marker=TSP.marker)
        transport.open()
        matrix = Keithley707B(transport, VirtualClock(), lambda: None)
        matrix.prepare()
        matrix.close_only(["1A01", "1B02"])
        assert matrix.closed() == {"1A01", "1B02"}
        assert running.control.outputs_on() == ["matrix-707b.crosspoints"]
        matrix.open_all()
        assert running.control.outputs_on() == []
        transport.close()
