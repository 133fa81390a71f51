"""The wear of real chips over all runs: nothing is lost, what is unknown is charged, budgets hold."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
import pytest
from cli_tools import PROTOCOL, call
from event_samples import step
from guarded_chip import SourcedChip, UnguardedChip
from guardian_bench import ROOT, Source

import pib_lab
import pib_lab.lab
import protocols
from data.wear_ledger import FILE, ArrayWear, WearLedger
from drivers.chip.smu_matrix_chip import MemristorSmuMatrix
from drivers.emulators import board
from pib_lab.capabilities import UnitCosts
from pib_lab.clocks import VirtualClock
from pib_lab.device import DeviceContext, UnitRequest
from pib_lab.errors import ConfigurationError, LimitError, RunFileError
from pib_lab.lab import Lab
from pib_lab.lifetime import Lifetime
from pib_lab.quantities import Counts, Quantity
from pib_lab.unit import PhysicalUnit, UnitSpec

CELLS = np.ones((2, 3), np.bool_)


def counts(*rows: list[int]) -> npt.NDArray[np.int64]:
    return np.array(rows, np.int64)


def test_pulses_add_up_over_runs(tmp_path: Path) -> None:
    """Two runs on one chip: each cell has the pulses of both, and nothing is assumed."""
    ledger = WearLedger(tmp_path)
    for run in ("first", "second"):
        session = ledger.begin("A/7", run, {"0": CELLS}, 100)
        ledger.add("A/7", session, {"0": counts([1, 2, 3], [0, 0, 0])})
        ledger.add("A/7", session, {"0": counts([0, 0, 0], [4, 5, 6])}, last=True)
    wear = WearLedger(tmp_path).read("A/7")
    np.testing.assert_array_equal(wear.arrays["0"].counted, [[2, 4, 6], [8, 10, 12]])
    assert not wear.arrays["0"].assumed.any()
    assert (wear.runs, wear.killed, wear.sessions) == (2, 0, {})
    assert ledger.chips() == ["A/7"]


def test_a_killed_run_is_charged_with_its_allowance(tmp_path: Path) -> None:
    """What a dead process had not written is assumed for each of its cells, once, and kept apart."""
    program = (
        "import sys; import numpy as np; from pathlib import Path; from data.wear_ledger import WearLedger\n"
        "ledger = WearLedger(Path(sys.argv[1]))\n"
        "session = ledger.begin('A', 'killed', {'0': np.array([[True, False], [True, True]])}, 100)\n"
        "ledger.add('A', session, {'0': np.array([[3, 0], [0, 1]])})\n"
        "import os; os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], cwd=ROOT, check=False, timeout=60)
    for _ in range(2):
        held = WearLedger(tmp_path).read("A")
        np.testing.assert_array_equal(held.arrays["0"].counted, [[3, 0], [0, 1]])
        np.testing.assert_array_equal(held.arrays["0"].assumed, [[100, 0], [100, 100]])
        assert held.killed == 1


def test_a_live_run_is_not_charged(tmp_path: Path) -> None:
    """A session of a process that lives is left alone by others that look."""
    ledger = WearLedger(tmp_path)
    ledger.begin("A", "live", {"0": CELLS}, 100)
    held = WearLedger(tmp_path).read("A")
    assert not held.arrays["0"].total.any()
    assert len(held.sessions) == 1


def test_an_array_grows_with_the_units_on_it(tmp_path: Path) -> None:
    """A larger unit on the same array keeps what smaller ones have worn."""
    ledger = WearLedger(tmp_path)
    small = ledger.begin("A", "small", {"0": np.ones((1, 2), np.bool_)}, 10)
    ledger.add("A", small, {"0": counts([5, 6])}, last=True)
    large = ledger.begin("A", "large", {"0": CELLS}, 10)
    held = ledger.add("A", large, {"0": np.ones((2, 3), np.int64)}, last=True)
    np.testing.assert_array_equal(held.arrays["0"].counted, [[6, 7, 1], [1, 1, 1]])


def test_processes_that_write_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    """Each addition is a locked, whole replacement."""
    program = (
        "import sys; import numpy as np; from pathlib import Path; from data.wear_ledger import WearLedger\n"
        "ledger = WearLedger(Path(sys.argv[1]))\n"
        "session = ledger.begin('A', 'one', {'0': np.ones((2, 2), bool)}, 10)\n"
        "for _ in range(20): ledger.add('A', session, {'0': np.ones((2, 2), int)})\n"
        "ledger.add('A', session, {}, last=True)"
    )
    writers = [subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], cwd=ROOT) for _ in range(3)]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    held = WearLedger(tmp_path).read("A")
    assert (held.arrays["0"].counted == 60).all()
    assert held.runs == 3


def test_a_ledger_that_cannot_be_read_is_not_begun_anew(tmp_path: Path) -> None:
    """A damaged file is an error that says what to do; wear must not silently become nothing."""
    ledger = WearLedger(tmp_path)
    ledger.add("A", ledger.begin("A", "run", {"0": CELLS}, 10), {}, last=True)
    path = tmp_path / "A" / FILE
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(RunFileError, match="cannot be read"):
        ledger.begin("A", "next", {"0": CELLS}, 10)


def test_an_unknown_chip_is_named_with_those_that_are_known(tmp_path: Path) -> None:
    """The message helps with a misspelt serial number."""
    ledger = WearLedger(tmp_path)
    ledger.begin("A", "run", {"0": CELLS}, 10)
    with pytest.raises(RunFileError, match=r"chip 'B' \(known: A\)"):
        ledger.read("B")


# Runs on a real chip


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch) -> Iterator[Source]:
    drivers = {"sourced": SourcedChip, "unguarded": UnguardedChip}
    monkeypatch.setattr(pib_lab.lab, "find_driver", lambda name, mock, where: (name, drivers[name]))
    with Source() as made:
        yield made


def real(folder: Path, source: Source, *overrides: str, driver: str = "sourced") -> Lab:
    hardware = f'driver = "{driver}"\nport = {source.port}\nserial = "chip-7"'
    path = folder / "real.toml"
    path.write_text(PROTOCOL.replace('driver = "mock-memristor-chip"', hardware).replace("epochs = 2", "epochs = 1"))
    return pib_lab.open(path, overrides=overrides, wear_dir=folder / "wear")


def test_a_runs_pulses_are_all_in_the_ledger(tmp_path: Path, source: Source) -> None:
    """After two runs the ledger of the chip holds exactly the pulses that the two runs report."""
    spent = sum(real(tmp_path, source).train(tmp_path).pulses for _ in range(2))
    held = WearLedger(tmp_path / "wear").read("chip-7")
    assert sum(int(array.total.sum()) for array in held.arrays.values()) == spent > 0
    assert {name: array.counted.shape for name, array in held.arrays.items()} == {"0": (64, 16), "1": (8, 20)}
    assert held.runs == 2
    assert held.sessions == {}


def test_the_board_knows_its_cells(tmp_path: Path) -> None:
    """Wear through the board's driver is kept by the serial number that the board tells, array by array; a unit that is
    larger than an array wears several."""
    with board.start(profile="ideal", override={"rows": 32, "columns": 32}, chip_serial="C-12") as server:
        hardware = f'driver = "memristor-board"\naddress = "{server.address}"\nprofile = "ideal"'
        hardware += "\n[hardware.chip.override]\nrows = 32\ncolumns = 32"
        path = tmp_path / "board.toml"
        text = PROTOCOL.replace('driver = "mock-memristor-chip"\nprofile = "ideal"', hardware)
        path.write_text(text.replace("epochs = 2", "epochs = 1"))
        run = pib_lab.open(path, wear_dir=tmp_path / "wear").train(tmp_path)
        assert run.error is None
        with server.board() as firmware:
            truth = {str(number): array.pulses() for number, array in firmware.chip.arrays.items()}
    held = WearLedger(tmp_path / "wear").read("C-12")
    shapes = {name: array.counted.shape for name, array in held.arrays.items()}
    assert shapes == {"0": (32, 16), "1": (32, 16), "2": (8, 20)}
    assert {name: int(array.counted.sum()) for name, array in held.arrays.items()} == truth
    assert sum(truth.values()) == run.pulses


def test_units_behind_a_matrix_have_cells_of_their_own() -> None:
    """Units side by side on one array: each cell has one place, and no two share one."""
    at = "TCPIP0::127.0.0.1::9::SOCKET"
    sources = {
        name: {"model": "keithley-2400", "address": f"{at[:-9]}{number}::SOCKET", "bus": bus}
        for number, (name, bus) in enumerate({"drive": "A", "bias": "B", "plus": "C", "minus": "D"}.items())
    }
    options = {"rows": 4, "columns": 8, "serial": "S-3", "matrix": {"address": at}, "sources": sources}
    chip = MemristorSmuMatrix(options, DeviceContext("chip", 1, VirtualClock()))
    units = [chip.unit(UnitRequest("one", 4, 2)), chip.unit(UnitRequest("two", 2, 2))]
    assert {unit.chip_serial() for unit in units} == {"S-3"}
    places = [tuple(place) for unit in units for place in unit.cell_sites().reshape(-1, 3).tolist()]
    assert len(set(places)) == len(places) == 16 + 8
    assert max(places) == (0, 3, 3)
    assert max(column for _, _, column in places) == 7


def test_a_worn_chip_is_refused_before_anything_is_pulsed(tmp_path: Path, source: Source) -> None:
    """One cell that is near its lifetime budget keeps the run from starting, with exit code 4."""
    ledger = WearLedger(tmp_path / "wear")
    worn = counts([0] * 15 + [990])
    ledger.add("chip-7", ledger.begin("chip-7", "before", {"0": worn > 0}, 10), {"0": worn}, last=True)
    with pytest.raises(LimitError, match=r"cell \(0, 0, 15\) .* chip chip-7 has had 990 of 991 pulses and the first"):
        real(tmp_path, source, "limits.lifetime_pulses=991").train(tmp_path)
    assert ":OUTP ON" not in source.heard
    assert ledger.read("chip-7").arrays["0"].total.sum() == 990


def test_a_run_stops_before_a_cell_is_overdrawn(tmp_path: Path, source: Source) -> None:
    """The run fails with LimitError, is on record, and no cell has more than its budget."""
    run = real(tmp_path, source, "limits.lifetime_pulses=5", "schedule.epochs=50").train(tmp_path)
    assert run.status == "failed"
    assert isinstance(run.error, LimitError)
    assert "and the next step could cost it" in str(run.error)
    held = WearLedger(tmp_path / "wear").read("chip-7")
    assert 0 < max(int(array.total.max()) for array in held.arrays.values()) <= 5


def test_a_budget_needs_a_driver_that_knows_its_chip(tmp_path: Path, source: Source) -> None:
    """A lifetime budget that nobody could hold is refused."""
    with pytest.raises(ConfigurationError, match="does not tell which cells of which chip"):
        real(tmp_path, source, "limits.lifetime_pulses=1000", driver="unguarded").train(tmp_path)


class Counter:
    """A unit of one cell that is only counted: at most two pulses a write."""

    spec = UnitSpec("hidden", Quantity("V", (1,)), Quantity("A", (1,)), Quantity("S", (1,)), settle_s=0.0)

    def __init__(self) -> None:
        self.count = 0

    def pulses(self) -> Counts:
        return np.array([self.count], np.int32)

    def verify_passes(self) -> int:
        return 0

    def write_misses(self) -> Counts:
        return np.zeros(1, np.int32)

    def costs(self) -> UnitCosts:
        return UnitCosts(0.0, 0.0, 0.0, 2, 0, 0)

    def chip_serial(self) -> str:
        return "A"

    def cell_sites(self) -> Counts:
        return np.zeros((1, 3), np.int32)


def test_a_kill_never_costs_more_than_is_charged(tmp_path: Path) -> None:
    """However a run writes, what is not on record and what the next step can add stay within the allowance; what waits
    for ten seconds is written as well."""
    (tmp_path / "tiny.toml").write_text(PROTOCOL)
    experiment = pib_lab.open(tmp_path / "tiny.toml").experiment
    ledger, unit, clock = WearLedger(tmp_path / "wear"), Counter(), VirtualClock()
    rng = np.random.default_rng(1)
    unwritten = []
    with Lifetime(ledger, experiment, [cast(PhysicalUnit, unit)], "run", clock.now_s) as lifetime:
        (session,) = ledger.read("A").sessions.values()
        for _ in range(400):
            unit.count += int(rng.integers(0, 7))  # a step that perturbs: three writes
            unwritten.append(unit.count - int(ledger.read("A").arrays["0"].total[0, 0]))
            lifetime.show(step(1))
        assert 0.5 * session["allowance"] < max(unwritten) <= session["allowance"]
        unit.count += 1
        clock.sleep_s(10.0)
        lifetime.show(step(1))
        assert ledger.read("A").arrays["0"].total[0, 0] == unit.count


def test_wear_shows_the_map(tmp_path: Path) -> None:
    """`pib-lab wear` lists chips, tells the worst cell and what is assumed, and writes a picture."""
    ledger = WearLedger(tmp_path)
    session = ledger.begin("A", "run", {"0": CELLS, "1": CELLS}, 10)
    ledger.add("A", session, {"0": counts([1, 2, 3], [4, 5, 66]), "1": counts([1, 1, 1], [1, 1, 1])}, last=True)
    assert call("wear", "--wear-dir", tmp_path).stdout == "A\n"
    result = call("wear", "A", "--wear-dir", tmp_path, "--out", tmp_path / "map.png")
    assert result.exit_code == 0, result.output
    assert "66 (row 1, column 2)" in result.stdout
    assert "chip A: 1 run" in result.stdout
    assert (tmp_path / "map.png").read_bytes().startswith(b"\x89PNG")


def test_wear_of_an_unknown_chip_is_an_error(tmp_path: Path) -> None:
    """Exit code 2, and no empty map."""
    assert call("wear", "B", "--wear-dir", tmp_path).exit_code == 2


def test_wear_tells_counted_and_assumed_apart_and_what_a_budget_leaves(tmp_path: Path) -> None:
    """Sums and the worst cell's pulses stand in columns of their own; a budget is held against both together."""
    ledger = WearLedger(tmp_path)
    session = ledger.begin("A", "run", {"0": CELLS}, 10)
    ledger.add("A", session, {"0": counts([1, 2, 3], [4, 5, 66])}, last=True)
    held = ledger.read("A").arrays["0"]
    killed = ArrayWear(held.counted, np.full_like(held.counted, 10))
    with ledger._changing("A") as wear:
        wear.arrays["0"] = killed
    row = " ".join(call("wear", "A", "--wear-dir", tmp_path, "--lifetime", 100).stdout.split())
    assert "81 60" in row  # counted, assumed
    assert "76 (row 1, column 2) 66 10 24" in row
    assert "24 left to the worst cell, 0 of 6 cells have spent theirs" in row
    assert "6 of 6 cells have spent theirs" in call("wear", "A", "--wear-dir", tmp_path, "--lifetime", 11).stdout


def test_the_budget_of_wear_comes_from_the_protocol_or_is_given(tmp_path: Path) -> None:
    """`--protocol` takes its limits.lifetime_pulses; a protocol without one, or two budgets, are refused."""
    ledger = WearLedger(tmp_path)
    ledger.add("A", ledger.begin("A", "run", {"0": CELLS}, 10), {"0": counts([1, 2, 3], [4, 5, 6])}, last=True)
    protocol = tmp_path / "p.toml"
    protocol.write_text(protocols.read("memristor-digits")[1].replace("[limits]", "[limits]\nlifetime_pulses = 1000"))
    shown = call("wear", "A", "--wear-dir", tmp_path, "--protocol", protocol)
    assert "994 left to the worst cell" in shown.stdout
    assert call("wear", "A", "--wear-dir", tmp_path, "--protocol", "memristor-digits").exit_code == 2
    assert call("wear", "A", "--wear-dir", tmp_path, "--protocol", protocol, "--lifetime", 5).exit_code == 2
