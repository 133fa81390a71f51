"""Procedures over the real board driver on an emulated board."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from board_bench import Rig
from bringup_bench import bring_up, check_of

from data.passport import Passport
from data.wear_ledger import WearLedger
from drivers.chip.board_chip import MemristorBoard
from drivers.chip.probe import ChipProbe, SensesLines
from drivers.chip.profiles import load_profile
from drivers.emulators.board import start
from drivers.mock.forming import CellDefects
from pib_lab.bring_up import BringUp
from pib_lab.clocks import RealClock
from pib_lab.device import DeviceContext
from pib_lab.errors import LimitError
from pib_lab.findings import Verdict
from pib_lab.unit import CancelToken

PROFILE = {"rows": 8, "columns": 8, "faulty_cells": 0.0}


@pytest.fixture
def probe() -> Iterator[ChipProbe]:
    """An open probe of an array of 4 x 4 on an emulated board."""
    rig = Rig(profile="chip-b", override=PROFILE)  # its unit stays closed: bring-up has the board to itself
    try:
        probe = rig.device.probe(4, 4)
        probe.open()
        yield probe
        assert probe.make_safe().safe
        probe.close()
    finally:
        rig.server.close()


def test_single_lines_are_not_tested(probe: ChipProbe) -> None:
    """A board senses no single lines: the contact check says so, and is neither passed nor failed."""
    assert not isinstance(probe, SensesLines)
    assert bring_up("contact-check", probe).verdict is Verdict.INCOMPLETE


def test_pulse_response_map_scan_and_daily_check_pass(probe: ChipProbe) -> None:
    """What the board can do passes on a sound chip; references it has none, and they are not tested."""
    assert bring_up("pulse-response", probe, sample=4, cycles=1, pulses=10).verdict is Verdict.PASS
    assert probe.pulses().sum() == 4 * 10 * 3
    assert bring_up("map-conductance", probe).verdict is Verdict.PASS
    assert bring_up("scan-faults", probe).verdict is Verdict.PASS
    daily = bring_up("daily-check", probe, offset="1 uA")
    assert daily.verdict is Verdict.INCOMPLETE
    assert check_of(daily, "gain").verdict is Verdict.NOT_TESTED


def test_forming_beyond_the_limits_is_refused(probe: ChipProbe) -> None:
    """6 V is more than the chip's profile allows: refused before anything is sent."""
    with pytest.raises(LimitError, match="nothing was sent"):
        bring_up("form-cells", probe, level="6 V")
    assert probe.pulses().sum() == 0


def test_virgin_cells_are_formed_within_the_limits_of_profile_and_board() -> None:
    """The shipped 5 V, more than a write may have, forms all cells, and RESET leads them into the window."""
    with start(profile="chip-b", override=PROFILE, defects=CellDefects(virgin=True)) as server:
        options = {"address": server.address, "profile": "chip-b", "override": PROFILE}
        probe = MemristorBoard(options, DeviceContext("chip", 1, RealClock())).probe(2, 2)
        probe.open()
        assert probe.limits.voltage_v > 5.0 > load_profile("chip-b").write_max_v
        assert bring_up("form-cells", probe).verdict is Verdict.PASS
        assert probe.make_safe().safe
        probe.close()


def test_a_real_board_is_guarded_and_its_wear_is_kept(tmp_path: Path) -> None:
    """A procedure on a real driver runs guarded; pulses reach the chip's ledger, its entry the real passport."""
    with start(profile="chip-b", override=PROFILE, chip_serial="wafer-3") as server:
        text = f"""
name = "real"
[procedure]
name = "pulse-response"
sample = 2
cycles = 1
pulses = 5
[array]
rows = 4
columns = 4
[hardware.chip]
driver = "memristor-board"
address = "{server.address}"
override = {{ rows = 8, columns = 8, faulty_cells = 0.0 }}
"""
        job = BringUp(text, passport_dir=tmp_path / "p", wear_dir=tmp_path / "w")
        outcome = job.run(tmp_path / "runs", lambda progress: None, CancelToken())
        assert outcome.error is None
        assert not any(server.outputs().values())
    assert outcome.record.serial == "wafer-3"
    assert outcome.record.pulses == 2 * 5 * 3
    assert [entry.procedure for entry in Passport("wafer-3", tmp_path / "p").entries()] == ["pulse-response"]
    wear = WearLedger(tmp_path / "w").read("wafer-3")
    assert sum(int(held.counted.sum()) for held in wear.arrays.values()) == 30
    assert wear.killed == 0
