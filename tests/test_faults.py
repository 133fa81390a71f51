"""Finding faulty cells from measurements, and letting healthy partners take over."""

from __future__ import annotations

import numpy as np
import pytest
from learning_bench import Wrapped, crossbar, learner

from pib_lab.fault_kinds import FaultKind
from pib_lab.faults import can_scan, classify, compensate_pairs, scan, score
from pib_lab.quantities import Quantity
from pib_lab.repair import compensate, find_faults
from pib_lab.unit import CancelToken

PROFILES = ["ideal", "chip-b", "wan-2022", "li-2018", "gong-2018-reram-es"]


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("cluster", ["none", "row", "column"])
def test_a_scan_finds_struck_cells(profile: str, cluster: str) -> None:
    """At least 99 % recall at 90 % precision, on every profile, open-loop programming included."""
    made = learner(crossbar(24, 12, profile))
    made.unit.inject_faults("mixed", 0.2, cluster, 11)
    find_faults(made, reads=4)
    recall, precision = score(made.parameters.faults, made.unit.true_faults())
    assert recall >= 0.99
    assert precision >= 0.9


@pytest.mark.parametrize("profile", PROFILES)
def test_cells_that_are_known_to_be_held_where_they_are_stuck_are_found(profile: str) -> None:
    """Cells stuck from birth, which the first write has already read back, are found all the same."""
    made = learner(crossbar(24, 12, profile, faulty_cells=0.15))
    find_faults(made, reads=4)
    recall, precision = score(made.parameters.faults, made.unit.true_faults())
    assert recall >= 0.99
    assert precision >= 0.9


@pytest.mark.parametrize("profile", ["li-2018", "gong-2018-reram-es"])
def test_few_faults_in_a_large_array_are_found(profile: str) -> None:
    """2 % of 16,384 cells, on lines whose drop changes with their neighbours (li-2018) and without verification."""
    made = learner(crossbar(128, 64, profile))
    made.unit.inject_faults("mixed", 0.02, "none", 11)
    find_faults(made, reads=4)
    recall, precision = score(made.parameters.faults, made.unit.true_faults())
    assert recall >= 0.99
    assert precision >= 0.9


def test_an_open_loop_scan_says_what_its_further_strokes_cost() -> None:
    """Four further sets of reads; of every stuck cell five writes more, of sound cells hardly any."""
    unit = crossbar(16, 8, "gong-2018-reram-es")
    made = learner(unit)
    unit.inject_faults("mixed", 0.1, "none", 11)
    before = unit.pulses()
    result = find_faults(made, reads=4)
    assert result.passes == (3 + 4) * 4 * 2 * 16
    spent, stuck = unit.pulses() - before, result.faults > 0
    assert result.pulses == spent.sum()
    assert np.median(spent[~stuck]) < 2 * 0.5 * 1480
    assert 2 * 1480 < np.median(spent[stuck]) < 5 * 1480


def test_worn_cells_are_found() -> None:
    """A cell that stuck where it stood because it was worn out is as faulty as one that was struck."""
    made = learner(crossbar(24, 12, endurance_pulses=6.0, endurance_spread=0.3))
    rng = np.random.default_rng(0)
    limits = made.unit.spec.parameters
    for _ in range(5):
        wanted = rng.uniform(limits.low, limits.high, limits.shape).astype(np.float32)
        made.parameters.accumulator.held = made.parameters.normalised(made.unit.program(wanted))
    truth = made.unit.true_faults()
    assert truth.any()
    find_faults(made, reads=2)
    assert score(made.parameters.faults, truth)[0] >= 0.99


def test_a_scan_says_what_it_cost() -> None:
    """Three sets of reads of 2 n_in passes each, and the pulses that were really spent."""
    unit = crossbar(16, 8)
    made = learner(unit)
    before = int(unit.pulses().sum())
    result = find_faults(made, reads=4)
    assert result.passes == 3 * 4 * 2 * 16
    assert result.pulses == int(unit.pulses().sum()) - before > 0


def test_a_scan_puts_healthy_cells_back() -> None:
    """After a scan of an ideal chip the transfer is what it was."""
    unit = crossbar()
    made = learner(unit)
    before = unit.true_transfer()
    find_faults(made, reads=1)
    np.testing.assert_allclose(unit.true_transfer(), before, atol=2e-3 * unit.spec.parameters.span)


def test_untested_cells_are_left_alone() -> None:
    """Cells outside the mask get no pulse and come back healthy."""
    unit = crossbar(faulty_cells=0.5)
    held = unit.program(np.full(unit.spec.parameters.shape, 2e-5, np.float32))
    tested = np.zeros(held.shape, np.bool_)
    tested[:4] = True
    before = unit.pulses()
    result = scan(unit, held, tested, 1, CancelToken())
    assert not (unit.pulses() - before)[4:].any()
    assert not result.faults[4:].any()
    assert result.faults[:4].any()


def test_a_unit_that_cannot_read_its_cells_is_not_scanned() -> None:
    """can_scan says no, and scan refuses."""
    unit = Wrapped(crossbar())
    assert not can_scan(unit)
    with pytest.raises(TypeError, match="cannot read"):
        scan(unit, np.zeros(unit.spec.parameters.shape, np.float32), np.ones(1, np.bool_), 1, CancelToken())


def test_kinds_are_told_from_where_stuck_cells_read() -> None:
    """Within a tenth of either end, between, or far below a low end that is not 0."""
    limits = Quantity("S", (5,), 1e-5, 9e-5)
    readings = np.array([1.2e-5, 8.9e-5, 5e-5, 1e-6, 5e-5], np.float32)
    codes = classify(readings, np.array([True, True, True, True, False]), limits)
    assert codes.tolist() == [
        FaultKind.STUCK_LOW,
        FaultKind.STUCK_HIGH,
        FaultKind.STUCK_BETWEEN,
        FaultKind.OPEN,
        FaultKind.HEALTHY,
    ]


def test_the_healthy_partner_takes_over_the_difference() -> None:
    """One stuck cell of a pair: the wanted difference is kept, as far as the window allows. Two: nothing is asked."""
    wanted = np.array([[0.6, 0.4], [0.6, 0.4], [0.6, 0.4], [0.9, 0.1]], np.float32)
    held = np.array([[0.5, 0.4], [0.6, 0.7], [0.5, 0.5], [0.3, 0.1]], np.float32)
    faulty = np.array([[True, False], [False, True], [True, True], [True, False]])
    target = compensate_pairs(wanted, held, faulty, 0.0, 1.0)
    np.testing.assert_allclose(target, [[0.5, 0.3], [0.9, 0.7], [0.5, 0.5], [0.3, 0.0]], atol=1e-6)


def test_compensation_brings_the_transfer_back() -> None:
    """After a strike, a scan and one rewrite, the error of the transfer is a fraction of what the strike made it."""
    unit = crossbar(24, 12)
    made = learner(unit)
    before = unit.true_transfer()
    unit.inject_faults("mixed", 0.2, "none", 4)
    struck = float(np.abs(unit.true_transfer() - before).mean())
    find_faults(made, reads=2)
    written, pulses, _ = compensate(made)
    mended = float(np.abs(unit.true_transfer() - before).mean())
    assert written > 0
    assert pulses > 0
    assert mended < 0.35 * struck


def test_scores_without_faults_are_undefined() -> None:
    """Nothing to find and nothing claimed: not a number, not 0 and not 1."""
    none = np.zeros(4, np.int8)
    assert np.isnan(score(none, none)).all()
    assert score(np.array([1, 1, 0, 0], np.int8), np.array([2, 0, 2, 0], np.int8)) == (0.5, 0.5)
