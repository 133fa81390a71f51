"""Forming virgin cells through the wires: real drivers, emulated instruments, physics that the drivers do not see."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from board_bench import Rig
from bringup_bench import bring_up, check_of, failed
from smu_bench import Station

from data.passport import Passport
from data.wear_ledger import WearLedger
from drivers.bringup.form_cells import Outcome
from drivers.chip.probe import ChipProbe, Pulse
from drivers.chip.smu_matrix_chip import MemristorSmuMatrix
from drivers.emulators.board import start
from drivers.mock.forming import SHORTED_SIEMENS, CellDefects
from pib_lab.bring_up import BringUp
from pib_lab.clocks import VirtualClock
from pib_lab.device import DeviceContext
from pib_lab.errors import ConfigurationError, LimitError
from pib_lab.fault_kinds import FaultKind
from pib_lab.findings import Findings, Verdict
from pib_lab.unit import CancelToken

QUIET = {"faulty_cells": 0.0, "step_device_to_device": 0.0, "relaxation_log_siemens": 0.0}
ON_BOARD = {"level": "4 V"}
"""The board's firmware resets fully at 3 V, which is the procedure's own."""
BY_SMU = {"level": "3.5 V", "width": "1 ms", "reset_level": "1 V", "reset_gate": "1.5 V", "current": "200 uA"}
"""The bench's cells reset fully at 1 V, and break down at 2 V."""
RAMP = {"gate_start": "2.1 V", "gate_max": "3.3 V", "gate_step": "0.2 V"}


class Chip:
    """A probe of the 4 x 4 cells of a virgin chip, and the truth about these."""

    def __init__(self, probe: ChipProbe, rig: Rig | None, station: Station | None) -> None:
        self.probe, self._rig, self._station = probe, rig, station
        self.forming = BY_SMU if station else ON_BOARD

    def form(self, **more: object) -> Findings:
        """Run the procedure."""
        return bring_up("form-cells", self.probe, **{**self.forming, **RAMP, **more})

    def truth(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Conductances, FaultKind codes and pulses of the cells (4, 4)."""
        if self._station is not None:
            state = self._station.bench.state()
            return tuple(np.array(state[name]) for name in ("conductances", "faults", "pulses"))
        assert self._rig is not None
        with self._rig.server.board() as firmware:
            array = firmware.chip.arrays[max(firmware.chip.arrays)]  # the rig has asked for the first one
            pulses = array._used.cells.pulses.reshape(4, 4).copy()
            return array.conductances().reshape(4, 4), array.faults().reshape(4, 4), pulses


@contextmanager
def on_board(defects: CellDefects) -> Iterator[Chip]:
    """Behind a board on a TCP port."""
    rig = Rig(profile="chip-b", override=QUIET | {"rows": 4, "columns": 4}, defects=defects)
    try:
        probe = rig.device.probe(4, 4)
        probe.open()
        yield Chip(probe, rig, None)
        assert probe.make_safe().safe
        probe.close()
    finally:
        rig.server.close()


@contextmanager
def by_smu(defects: CellDefects) -> Iterator[Chip]:
    """Behind source-measure units and a switch matrix, each on a socket of its own."""
    station = Station(lines=(4, 4), scheme="1t1r", override=QUIET, defects=defects)
    station.serve()
    try:
        probe = station.device_by_address().probe(4, 4)
        probe.open()
        yield Chip(probe, None, station)
        assert probe.make_safe().safe
        probe.close()
        assert station.truly_on() == []
    finally:
        station.close()


BOTH = pytest.mark.parametrize("behind", [on_board, by_smu])


@BOTH
def test_virgin_cells_are_formed_through_the_wires(behind) -> None:
    """Every cell conducts within its window afterwards, none is shorted, and every pulse was counted."""
    with behind(CellDefects(virgin=True)) as chip:
        assert (chip.truth()[0] < 0.1e-6).all()
        findings = chip.form()
        assert findings.verdict is Verdict.PASS
        conductances, faults, pulses = chip.truth()
        assert (faults == FaultKind.HEALTHY).all()
        assert ((conductances > 1e-6) & (conductances < 60e-6)).all()
        assert (findings.arrays["outcome"] == Outcome.FORMED).all()
        assert (findings.arrays["gate_v"] >= 2.2).all()
        assert (chip.probe.pulses() == pulses).all()
        assert bring_up("map-conductance", chip.probe).verdict is Verdict.PASS


@BOTH
def test_a_ramp_that_begins_too_high_stops_after_the_cells_it_spoils(behind) -> None:
    """Cells whose first pulse comes with too much gate are shorted; the procedure stops and leaves the others alone."""
    with behind(CellDefects(virgin=True)) as chip:
        findings = chip.form(gate_start="3.9 V", gate_max="4 V", gate_step="0.1 V", max_shorted=1)
        conductances, faults, pulses = chip.truth()
    assert "shorted cells" in failed(findings)
    assert "completed" in failed(findings)
    assert np.isclose(conductances, SHORTED_SIEMENS).sum() == 2
    assert (faults == FaultKind.STUCK_HIGH).sum() == 2
    assert pulses.sum() == 2


@BOTH
def test_bad_cells_are_named_and_left_alone(behind) -> None:
    """One that does not form, one that shorts and one that a RESET spoils: each is told apart, and no other suffers."""
    defects = CellDefects(virgin=True, unformable=((0, 1),), shorting=((0, 2),), over_reset=((1, 0),))
    with behind(defects) as chip:
        outcome = chip.form(gate_start="2.2 V", gate_step="0.3 V").arrays["outcome"]
        _, faults, pulses = chip.truth()
        assert (chip.probe.pulses() == pulses).all()
    bad = {(0, 1): Outcome.NOT_FORMED, (0, 2): Outcome.SHORTED, (1, 0): Outcome.OVER_RESET}
    for cell, expected in bad.items():
        assert outcome[cell] == expected
    assert (outcome == Outcome.FORMED).sum() == 13
    assert (faults == FaultKind.HEALTHY).sum() == 13
    assert pulses[0, 1] == 4  # the whole ramp


@BOTH
def test_forming_stops_when_nothing_forms(behind) -> None:
    """A bit line too low for any cell: after so many bad cells in a row the rest of the chip is not touched."""
    with behind(CellDefects(virgin=True)) as chip:
        findings = chip.form(level="2 V", gate_start="3 V", gate_step="0.2 V", max_bad_in_a_row=2)
        conductances, _, pulses = chip.truth()
    assert "check contacts" in check_of(findings, "completed").detail
    assert (pulses > 0).sum() == 2
    assert (conductances < 0.1e-6).all()


PASSIVE = {
    "level": "3.2 V",
    "level_start": "2 V",
    "level_step": "0.2 V",
    "width": "1 ms",
    "reset_level": "2.6 V",
    "current": "600 uA",
}
"""Half of the strongest pulse is 1.6 V, and the bench's cells of `passive` switch from 1.7 V. The source carries what
half-selected cells take as well."""


@contextmanager
def passive(scheme: str = "v/2", threshold_v: float = 1.7, **defects: object) -> Iterator[Chip]:
    """3 x 2 virgin cells without transistors, behind source-measure units and a switch matrix on sockets."""
    station = Station(
        lines=(3, 2),
        scheme=scheme,
        override=QUIET | {"iv_cubic": 0.0},
        defects=CellDefects(virgin=True, **defects),  # type: ignore[arg-type]
        threshold_v=threshold_v,
        write_v=2.5,
        more={"write": {"threshold_v": threshold_v}},
    )
    station.serve()
    try:
        probe = station.device_by_address().probe(3, 2)
        probe.open()
        yield Chip(probe, None, station)
        assert probe.make_safe().safe
        probe.close()
        assert station.truly_on() == []
    finally:
        station.close()


def test_a_passive_array_is_formed_by_half_select() -> None:
    """The voltage is ramped; every cell forms at its own, and none is written by pulses on another one."""
    with passive() as chip:
        findings = bring_up("form-cells", chip.probe, **PASSIVE)
        conductances, faults, pulses = chip.truth()
        read = findings.arrays["reset_siemens"]
        assert findings.verdict is Verdict.PASS
        assert (findings.arrays["outcome"] == Outcome.FORMED).all()
        assert ((findings.arrays["level_v"] >= 2.2) & (findings.arrays["level_v"] <= 3.2)).all()
        assert (faults == FaultKind.HEALTHY).all()
        assert (chip.probe.pulses() == pulses).all()
        np.testing.assert_allclose(conductances, read, atol=4e-6)  # as they were read right after their own RESET


def test_bad_cells_of_a_passive_array_are_named_and_left_alone() -> None:
    """One that does not form and one that shorts: no other cell suffers from what was tried on them."""
    with passive(unformable=((0, 1),), shorting=((2, 1),)) as chip:
        outcome = bring_up("form-cells", chip.probe, **PASSIVE).arrays["outcome"]
        _, faults, _ = chip.truth()
    assert (outcome[0, 1], outcome[2, 1]) == (Outcome.NOT_FORMED, Outcome.SHORTED)
    assert (outcome == Outcome.FORMED).sum() == 4
    assert (faults == FaultKind.HEALTHY).sum() == 4


def test_forming_that_would_write_half_selected_cells_is_refused() -> None:
    """Half of the last step is at the threshold of the cells that are formed already: nothing is sent, and why."""
    with passive(threshold_v=1.6) as chip:
        with pytest.raises(LimitError, match=r"puts 1\.6 V on cells that are not selected.*scheme v/3"):
            bring_up("form-cells", chip.probe, **PASSIVE)
        with pytest.raises(LimitError, match="not selected"):
            chip.probe.pulse(0, 0, Pulse(3.2, 1e-3, 0.0, 500e-6))
        assert chip.truth()[2].sum() == 0


def test_a_third_of_the_voltage_forms_what_half_of_it_would_write() -> None:
    """With a source for the columns as well, cells that switch from 1.2 V stand 3.2 V on their neighbours."""
    with passive("v/3", 1.2) as chip:
        findings = bring_up("form-cells", chip.probe, **PASSIVE)
        assert findings.verdict is Verdict.PASS
        np.testing.assert_allclose(chip.truth()[0], findings.arrays["reset_siemens"], atol=4e-6)


def test_passive_forming_takes_a_source_that_holds_the_other_lines() -> None:
    """Without one the device is refused, and told which source is missing."""
    options = Station(lines=(4, 4)).options()
    del options["sources"]["bias"]
    with pytest.raises(ConfigurationError, match=r"takes exactly .*bias is missing"):
        MemristorSmuMatrix(options, DeviceContext("chip", 1, VirtualClock()))


def test_a_run_of_the_procedure_keeps_the_wear_of_forming(tmp_path: Path) -> None:
    """A protocol of form-cells on a virgin chip: passed, guarded, off at its end, every pulse in the chip's ledger."""
    override = QUIET | {"rows": 4, "columns": 4}
    with start(profile="chip-b", override=override, chip_serial="wafer-7", defects=CellDefects(virgin=True)) as server:
        text = f"""
name = "forming"
[procedure]
name = "form-cells"
level = "4 V"
gate_start = "2.1 V"
gate_step = "0.2 V"
[array]
rows = 4
columns = 4
[hardware.chip]
driver = "memristor-board"
address = "{server.address}"
override = {{ {", ".join(f"{key} = {value}" for key, value in override.items())} }}
"""
        job = BringUp(text, passport_dir=tmp_path / "p", wear_dir=tmp_path / "w")
        outcome = job.run(tmp_path / "runs", lambda progress: None, CancelToken())
        assert outcome.error is None
        assert not any(server.outputs().values())
        given = server.state()["arrays"]["0"]["pulses"]
    assert [entry.verdict for entry in Passport("wafer-7", tmp_path / "p").entries()] == [Verdict.PASS]
    wear = WearLedger(tmp_path / "w").read("wafer-7")
    assert sum(int(held.counted.sum()) for held in wear.arrays.values()) == given >= 32
