"""How a unit measures, and what its writes do to unselected cells, reach the run file, the report and the dry run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import synthetic_run
from learning_bench import Linear, Log, network, started

import pib_lab
from data.report import render
from data.start import read_start, write_start
from drivers.chip.mock_chip import MockCrossbar
from pib_lab.commands.tables import dry_run_tables, make_console
from pib_lab.events import RunFinished
from pib_lab.quantities import Counts
from pib_lab.records import Passes

HOW = "digital sum of cell reads (a twin): each cell read alone, products summed in software"


def _told() -> synthetic_run.RunStarted:
    begun = synthetic_run.started()
    first, *others = begun.units
    return replace(begun, units=(replace(first, how=HOW), *others))


def test_a_run_file_keeps_how_units_measure(tmp_path: Path) -> None:
    """What a unit says of itself is read back; a unit that says nothing has an empty text."""
    with h5py.File(tmp_path / "run.h5", "w") as file:
        write_start(file, _told())
        assert [unit.how for unit in read_start(file).units] == [HOW, "", ""]


def test_older_run_files_say_nothing(tmp_path: Path) -> None:
    """A file from before units told how they measure is read as before."""
    with h5py.File(tmp_path / "run.h5", "w") as file:
        write_start(file, _told())
        for group in file["units"].values():
            del group.attrs["how"]
        assert [unit.how for unit in read_start(file).units] == ["", "", ""]


def test_the_report_says_how_units_measure_and_disturb() -> None:
    """A twin is named as one, and the most disturbed cell's count is there; units that say nothing are not named."""
    metrics = {"hidden-1_disturbs_max": 1234.0}
    finished = RunFinished("finished", 60, metrics, Passes(), 10, 1.0)
    page = render([_told(), finished])
    assert f"How hidden-1 is measured: {HOW}." in page
    assert "How hidden-2" not in page
    assert "hidden-1 at most <b>1\u2009234</b> times a cell." in page
    assert "Unselected cells" not in render([_told()])


def test_the_dry_run_says_how_units_measure() -> None:
    """`pib-lab check` prints a line for each unit that tells: here planes and readings of the shipped protocol."""
    dry = pib_lab.open("memristor-smu-matrix").check()
    console = make_console()
    with console.capture() as captured:
        console.print(dry_run_tables(dry))
    assert "hidden: analog column sums, 3 bit planes weighted in software" in " ".join(captured.get().split())
    assert [bool(row.how) for row in dry.units] == [True, True]
    assert [row.how for row in pib_lab.open("memristor-smu-matrix", mock=True).check().units] == ["", ""]


class Disturbing(Linear):
    """Says that its cells were disturbed."""

    def half_select_disturbs(self) -> Counts:
        counts = np.zeros(self.spec.parameters.shape, np.int32)
        counts[0, 0, 0] = 7
        return counts


def test_disturbs_are_among_the_last_metrics() -> None:
    """The most of one cell, for each unit that counts them."""

    def wrap(unit: MockCrossbar) -> Linear:
        return Disturbing(unit) if unit.spec.name == "hidden" else Linear(unit)

    finished = started(Log(), network(wrap=wrap)).run()
    assert finished.metrics["hidden_disturbs_max"] == 7.0
    assert "read-out_disturbs_max" not in finished.metrics
