"""Forming, loops, pulse response, map, fault scan: each passes a good chip and fails a bad one for the right reason."""

from __future__ import annotations

import numpy as np
import pytest
from bringup_bench import bring_up, check_of, failed, mock_probe

from drivers.bringup.catalogue import read_settings
from drivers.bringup.form_cells import Outcome
from drivers.bringup.job import Job, sample_cells
from drivers.chip.probe import Pulse, PulsesCells
from pib_lab.errors import ConfigurationError, LimitError
from pib_lab.fault_kinds import FaultKind
from pib_lab.findings import Progress, Verdict
from pib_lab.unit import CancelToken

SMALL = (4, 4)


def test_forming_takes_virgin_cells_into_the_window() -> None:
    """Every cell of a virgin chip is formed at 2.2 to 3.1 V of gate, RESET at once, and then lies in the window."""
    probe = mock_probe(SMALL, virgin=True)
    assert probe.read_map(cancel=CancelToken()).max() < 0.1e-6
    findings = bring_up("form-cells", probe)
    assert findings.verdict is Verdict.PASS
    assert (findings.arrays["outcome"] == Outcome.FORMED).all()
    assert ((findings.arrays["gate_v"] > 2.15) & (findings.arrays["gate_v"] < 3.15)).all()
    assert (findings.arrays["formed_siemens"] > 20e-6).all()
    assert (findings.arrays["reset_siemens"] < 40e-6).all()


def test_forming_sends_no_pulse_to_formed_cells() -> None:
    """Cells that are formed already are read and left alone."""
    probe = mock_probe(SMALL, seed=2)
    findings = bring_up("form-cells", probe, virgin="1 nS")
    assert set(np.unique(findings.arrays["outcome"])) <= {Outcome.FORMED_BEFORE, Outcome.NOT_FORMED}
    assert (probe.pulses()[findings.arrays["outcome"] == Outcome.FORMED_BEFORE] == 0).all()


def test_forming_leaves_a_shorted_cell_alone() -> None:
    """A cell that shorts when it is formed gets no further pulse and is named."""
    probe = mock_probe(SMALL, virgin=True, shorting=[(1, 2)])
    findings = bring_up("form-cells", probe, max_shorted=0)
    assert findings.arrays["outcome"][1, 2] == Outcome.SHORTED
    assert "(1, 2)" in check_of(findings, "shorted cells").detail
    assert set(failed(findings)) == {"forming yield", "shorted cells", "completed"}
    assert int((findings.arrays["outcome"] == Outcome.NOT_TRIED).sum()) == 9  # those after it: stopped


def test_forming_leaves_a_cell_of_very_high_resistance_alone() -> None:
    """A cell that the RESET pushes to a very high resistance gets no further pulse: it may short."""
    probe = mock_probe(SMALL, virgin=True, over_reset=[(0, 1)])
    findings = bring_up("form-cells", probe, least_yield=0.9)
    assert findings.arrays["outcome"][0, 1] == Outcome.OVER_RESET
    assert failed(findings) == ["over-reset cells"]
    ramp = round((findings.arrays["gate_v"][0, 1] - 1.3) / 0.05) + 1
    assert probe.pulses()[0, 1] == ramp + 1


def test_forming_gives_up_at_the_largest_gate_voltage() -> None:
    """A cell that does not form gets the whole ramp once, up to the largest gate voltage and no more."""
    probe = mock_probe(SMALL, virgin=True, unformable=[(2, 2)])
    findings = bring_up("form-cells", probe)
    assert findings.arrays["outcome"][2, 2] == Outcome.NOT_FORMED
    assert failed(findings) == ["forming yield"]
    assert probe.pulses()[2, 2] == 55  # 1.3 to 4 V in steps of 50 mV


def test_forming_stops_when_cells_in_a_row_end_badly() -> None:
    """An open row ends the procedure after a few cells, with the reason, and spares the rest."""
    probe = mock_probe(SMALL, virgin=True, open_rows=[1])
    findings = bring_up("form-cells", probe, max_bad_in_a_row=3)
    assert "3 cells in a row ended badly" in check_of(findings, "completed").detail
    assert (probe.pulses()[2:] == 0).all()


@pytest.mark.parametrize(
    ("key", "value"), [("gate_max", "6 V"), ("level", "9 V"), ("current", "1 A"), ("width", "1 s")]
)
def test_forming_beyond_the_limits_sends_nothing(key: str, value: str) -> None:
    """A ramp, level, current or charge beyond the chip's limits is refused before the first pulse."""
    probe = mock_probe(SMALL, virgin=True)
    with pytest.raises(LimitError, match="nothing was sent"):
        bring_up("form-cells", probe, **{key: value})
    assert probe.pulses().sum() == 0


def test_forming_refuses_a_ramp_without_steps() -> None:
    """A gate step of zero is refused."""
    with pytest.raises(ConfigurationError, match="gate_step"):
        bring_up("form-cells", mock_probe(SMALL, virgin=True), gate_step="0 V")


def test_a_ramp_of_endless_steps_is_refused() -> None:
    """A step far below what any source can set is a slip of the unit."""
    with pytest.raises(ConfigurationError, match="gate_step of 1e-12 V makes over 10000 steps"):
        bring_up("form-cells", mock_probe(SMALL, virgin=True), gate_step="1e-12 V")


def test_a_coarse_ramp_shorts_cells() -> None:
    """The mock shorts a cell whose first forming pulse comes far above its forming voltage: the ramp is needed."""
    probe = mock_probe(SMALL, virgin=True)
    findings = bring_up("form-cells", probe, gate_start="2 V", gate_step="2 V", max_shorted=0)
    assert "shorted cells" in failed(findings)


def test_stopping_keeps_what_was_found() -> None:
    """A stop by the operator ends forming between cells; the cells done so far are in the findings."""
    probe, cancel = mock_probe(SMALL, virgin=True), CancelToken()
    kind, settings = read_settings("form-cells", {})

    def publish(progress: Progress) -> None:
        if progress.done == 2:
            cancel.cancel()

    findings = kind.run(Job(probe, publish, cancel), settings)
    assert int((findings.arrays["outcome"] == Outcome.FORMED).sum()) == 3
    assert check_of(findings, "completed").numbers["done"] == 3


def test_loops_pass_switching_cells_and_fail_idle_ones() -> None:
    """A formed chip passes the sweep; one whose cells are virgin does not switch."""
    assert bring_up("iv-sweep", mock_probe(SMALL), sample=4, cycles=1).verdict is Verdict.PASS
    assert failed(bring_up("iv-sweep", mock_probe(SMALL, virgin=True), sample=4, cycles=1)) == ["switching"]


def test_loops_tell_a_reversed_chip() -> None:
    """Cells that conduct less after SET fail the polarity check, and only that one."""
    findings = bring_up("iv-sweep", mock_probe(SMALL, reversed=True), sample=4, cycles=1)
    assert failed(findings) == ["polarity"]


def test_loops_never_exceed_the_compliance() -> None:
    """No current of a loop is beyond the compliance, and those at it are marked."""
    findings = bring_up("iv-sweep", mock_probe(SMALL), sample=2, cycles=1, compliance="50 uA")
    assert np.abs(findings.arrays["currents_a"]).max() <= 50e-6
    assert findings.arrays["clamped"].any()


def test_pulse_response_passes_sound_cells_and_fails_virgin_ones() -> None:
    """Trains open the window of formed cells, and not of virgin ones; pulses are counted."""
    probe = mock_probe(SMALL)
    findings = bring_up("pulse-response", probe, sample=3, cycles=2, pulses=8)
    assert findings.verdict is Verdict.PASS
    assert findings.arrays["response_siemens"].shape == (3, 2, 2, 9, 2)
    assert probe.pulses().sum() == 3 * 8 * 5
    virgin = mock_probe(SMALL, virgin=True)
    assert failed(bring_up("pulse-response", virgin, sample=3, cycles=1, pulses=8)) == ["response to pulses"]


def test_map_passes_a_formed_chip_and_names_a_dead_line() -> None:
    """All cells of a formed chip lie in the window; shorted cells do not, and a line of nothing else is named."""
    assert bring_up("map-conductance", mock_probe(SMALL)).verdict is Verdict.PASS
    shorting = [(1, column) for column in range(4)]
    probe = mock_probe(SMALL, virgin=True, shorting=shorting)
    bring_up("form-cells", probe, max_shorted=4)
    findings = bring_up("map-conductance", probe)
    assert "row 1" in check_of(findings, "cells in the window").detail


def test_scan_finds_a_dead_row() -> None:
    """Cells that no pulse reaches are found as faulty, and their line is named."""
    assert bring_up("scan-faults", mock_probe((8, 8))).verdict is Verdict.PASS
    probe = mock_probe((8, 8), virgin=True, unformable=[(5, column) for column in range(8)])
    bring_up("form-cells", probe, max_bad_in_a_row=20)
    findings = bring_up("scan-faults", probe)
    assert (findings.arrays["faults"][5] != FaultKind.HEALTHY).all()
    assert "row 5" in check_of(findings, "whole lines").detail


def test_raw_pulses_need_the_gate() -> None:
    """A pulse with the gate down is refused: gate before drain."""
    probe = mock_probe(SMALL)
    assert isinstance(probe, PulsesCells)
    with pytest.raises(LimitError, match="gate is off"):
        probe.pulse(0, 0, Pulse(3.0, 1e-6, 0.0, 1e-4))


def test_samples_are_spread_and_repeatable() -> None:
    """A sample holds different cells, from all quarters of the array, and is the same each time."""
    cells = sample_cells((16, 16), 16)
    assert len(set(cells)) == 16
    assert cells == sample_cells((16, 16), 16)
    assert {(row // 8, column // 8) for row, column in cells} == {(0, 0), (0, 1), (1, 0), (1, 1)}
    assert len(sample_cells((3, 2), 99)) == 6
