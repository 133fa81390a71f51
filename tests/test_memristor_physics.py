"""Each physical effect of the mock chip against the number that its profile states."""

from __future__ import annotations

import math

import numpy as np
import pytest
from memristor_bench import MIDDLE, Rig

from drivers.chip.profiles import load_profile
from drivers.mock.noise import Telegraph, gaussian
from pib_lab.fault_kinds import FaultKind

NO_NOISE = {"read_noise": 0.0, "faulty_cells": 0.0}


def test_chip_b_writes_with_a_spread_of_two_microsiemens() -> None:
    """5 % of the window, freshly written and mid-window, within a tenth."""
    rig = Rig(256, 128, "chip-b")
    rig.fill(MIDDLE)
    healthy = rig.unit.true_faults() == FaultKind.HEALTHY
    assert rig.unit.true_parameters()[healthy].std() == pytest.approx(2.0e-6, rel=0.1)


def test_the_spread_grows_to_that_of_a_day() -> None:
    """3.9 uS after a day, with no write between."""
    rig = Rig(200, 64, "chip-b", override=NO_NOISE)
    rig.fill(MIDDLE)
    rig.clock.sleep_s(86400.0)
    assert rig.unit.true_parameters().std() == pytest.approx(3.9e-6, rel=0.1)


def test_healthy_cells_of_chip_b_hardly_ever_miss() -> None:
    """A miss points to a fault: under 1 % of sound cells miss a write, over 90 % of stuck ones do."""
    rig = Rig(200, 64, "chip-b")
    rig.unit.program(rig.uniform())
    healthy, missed = rig.unit.true_faults() == FaultKind.HEALTHY, rig.unit.write_misses() > 0
    assert missed[healthy].mean() < 0.01
    assert missed[~healthy].mean() > 0.9


def test_two_percent_of_the_cells_of_chip_b_are_born_faulty() -> None:
    """All kinds occur."""
    faults = Rig(400, 128, "chip-b").unit.true_faults()
    assert (faults != FaultKind.HEALTHY).mean() == pytest.approx(0.02, rel=0.1)
    assert set(np.unique(faults)) == set(FaultKind)


def test_the_read_noise_of_a_cell_is_that_of_its_profile() -> None:
    """Single cells read over times long against all traps scatter by 2 % of their conductance."""
    rig = Rig(1, 2000, override={"read_noise": 0.02, "telegraph_fraction": 0.5}).wide()
    rig.unit.program(np.broadcast_to(np.array([MIDDLE, 0.0], np.float32), rig.shape))
    readings = []
    for _ in range(60):
        rig.clock.sleep_s(1000.0)
        readings.append(rig.measure(np.full((1, 1), 0.2, np.float32))[0])
    noise = np.sqrt(np.mean(np.var(readings, axis=0))) / (MIDDLE * 0.2)
    assert noise == pytest.approx(0.02, rel=0.1)


def test_half_of_the_variance_is_telegraph_noise() -> None:
    """Within one block traps are still and white noise is left: its variance is half of the whole."""
    rig = Rig(1, 2000, override={"read_noise": 0.02, "telegraph_fraction": 0.5}).wide()
    rig.unit.program(np.broadcast_to(np.array([MIDDLE, 0.0], np.float32), rig.shape))
    readings = rig.measure(np.full((200, 1), 0.2, np.float32)) / (rig.unit.true_parameters()[0, :, 0] * 0.2)
    assert np.var(readings, axis=0).mean() == pytest.approx(0.5 * 0.02**2, rel=0.1)
    assert np.var(readings.mean(axis=0)) == pytest.approx(0.5 * 0.02**2, rel=0.25)


def test_noise_of_a_column_adds_up_over_its_cells() -> None:
    """White noise of a response has variance sum V^2 s^2 (G+^2 + G-^2)."""
    rig = Rig(50, 200, override={"read_noise": 0.02, "telegraph_fraction": 0.0}).wide()
    rig.fill(MIDDLE)
    noise = rig.measure(np.full((50, 50), 0.1, np.float32)).std(axis=0, ddof=1).mean()
    assert noise == pytest.approx(0.1 * 0.02 * MIDDLE * math.sqrt(2 * 50), rel=0.05)


def test_traps_switch_at_their_rates() -> None:
    """After t, a fraction (1 - exp(-2 rate t)) / 2 of each class of traps is found flipped."""
    profile = load_profile("chip-b")
    rng = np.random.Generator(np.random.SFC64(1))
    telegraph = Telegraph(50_000, profile, rng)
    before = telegraph.deviation.copy()
    telegraph.advance(0.1, rng)
    flipped = np.sign(before) != np.sign(telegraph.deviation)
    rates = np.geomspace(profile.telegraph_slow_hz, profile.telegraph_fast_hz, 5)
    assert flipped.mean() == pytest.approx(np.mean((1 - np.exp(-0.2 * rates)) / 2), rel=0.03)


def test_fast_gaussian_numbers_are_gaussian() -> None:
    """Unit variance, no skew, the kurtosis of a normal distribution."""
    sample = gaussian(np.random.Generator(np.random.SFC64(2)), (1000, 1000)).astype(np.float64)
    assert abs(sample.mean()) < 0.005
    assert sample.std() == pytest.approx(1.0, rel=0.003)
    assert abs(np.mean(sample**3)) < 0.01
    assert np.mean(sample**4) == pytest.approx(3.0, rel=0.02)


def test_the_current_bends_with_the_voltage() -> None:
    """At half the read voltage the current is below half by the cubic law."""
    rig = Rig(1, 1, override={"iv_cubic": 0.2}).wide()
    rig.unit.program(np.array([[[40e-6, 0.0]]], np.float32))
    half, full = rig.measure(np.array([[0.1], [0.2]], np.float32))[:, 0]
    assert full == pytest.approx(40e-6 * 0.2, rel=1e-4)
    assert half / full == pytest.approx(0.5 * (1 + 0.2 / 4) / 1.2, rel=1e-4)


def _open_loop(**override: float) -> Rig:
    quiet = {"step_cycle_to_cycle": 0.0, "step_device_to_device": 0.0, "bound_device_to_device": 0.0}
    still = {"relaxation_siemens": 0.0, "read_noise": 0.0, "asymmetry": 0.0}
    return Rig(40, 25, "gong-2018-reram-es", override=quiet | still | override)


def test_soft_bounds_make_steps_smaller_towards_the_bound() -> None:
    """Open-loop writes that ask for equal changes move cells monotonically by less and less."""
    rig = _open_loop()
    levels = []
    for target in np.arange(2e-6, 20e-6, 2e-6):
        rig.unit.program(np.full(rig.shape, target, np.float32))
        levels.append(rig.unit.true_parameters().mean())
    assert (np.diff(levels) > 0).all()
    first = levels[0] / 20e-6
    assert first == pytest.approx(1 - math.exp(-0.1), rel=0.02)  # dx/dn = s (1 - x)


def test_upward_steps_are_larger_by_the_asymmetry() -> None:
    """From mid-window, equal numbers of pulses up and down move in the ratio (1 + a) / (1 - a), but for the bounds."""
    moves = []
    for sign in (1.0, -1.0):
        rig = _open_loop(asymmetry=0.26, soft_bound=0.0)
        rig.fill(8e-6)
        start = rig.unit.true_parameters().mean()
        rig.unit.program(rig.unit.program(rig.uniform(), np.zeros(rig.shape, bool)) + np.float32(sign * 1e-6))
        moves.append(abs(rig.unit.true_parameters().mean() - start))
    assert moves[0] / moves[1] == pytest.approx(1.26 / 0.74, rel=0.01)


def test_pulse_trains_spread_with_the_root_of_their_length() -> None:
    """n pulses of 500 % cycle-to-cycle variation spread by sqrt(n) * 5 steps."""
    rig = _open_loop(step_cycle_to_cycle=5.0, soft_bound=0.0)
    rig.fill(8e-6)
    pulses = rig.unit.pulses().mean()
    step = load_profile("gong-2018-reram-es").step_siemens
    assert rig.unit.true_parameters().std() == pytest.approx(math.sqrt(pulses) * 5 * step, rel=0.1)


def test_devices_differ_in_their_step() -> None:
    """20 % device-to-device: the change of a noiseless pulse train spreads by a fifth."""
    rig = _open_loop(step_device_to_device=0.2, soft_bound=0.0)
    rig.fill(5e-6)
    moved = rig.unit.true_parameters()
    assert moved.std() / moved.mean() == pytest.approx(0.2, rel=0.1)


def test_open_loop_believes_the_mean_cell() -> None:
    """The belief is the old one plus the expected change, and is never corrected by a reading."""
    rig = _open_loop(step_device_to_device=0.2)
    believed = rig.fill(5e-6)
    assert believed.std() < 1e-9
    assert believed.mean() == pytest.approx(rig.unit.true_parameters().mean(), rel=0.02)
    assert rig.unit.verify_passes() == 0


def test_write_verify_believes_its_last_reading() -> None:
    """The belief is within the tolerance of the target for cells that did not miss."""
    rig = Rig(60, 30, "chip-b")
    cells = rig.uniform()
    believed = rig.unit.program(cells)
    hit = rig.unit.write_misses() == 0
    profile = load_profile("chip-b")
    allowed = profile.tolerance_siemens + profile.level_siemens / 2
    assert np.abs(believed - cells)[hit].max() <= allowed * 1.001


def test_a_cell_within_the_tolerance_gets_no_pulse() -> None:
    """Asking again for what is there costs verify passes but no wear, and nothing relaxes anew."""
    rig = Rig(20, 10)
    rig.fill(MIDDLE)
    pulses = rig.unit.pulses()
    rig.fill(MIDDLE)
    np.testing.assert_array_equal(rig.unit.pulses(), pulses)


def test_retention_loses_with_the_logarithm_of_time() -> None:
    """-r ln(1 + t / t0), never below the window."""
    rig = Rig(10, 5, override={"retention_log_siemens": 0.089e-6, "retention_time_s": 1.0})
    rig.fill(MIDDLE)
    rig.clock.sleep_s(1e5)
    lost = MIDDLE - rig.unit.true_parameters()
    np.testing.assert_allclose(lost, 0.089e-6 * math.log1p(1e5), rtol=0.01)
    rig.fill(0.2e-6)
    rig.clock.sleep_s(1e9)
    assert rig.unit.true_parameters().min() >= 0.0


def test_reads_disturb_the_rows_they_drive() -> None:
    """n reads at the read voltage move a cell by 1 - exp(-n d) of its way to g_max; undriven rows stay."""
    rig = Rig(2, 3, override={"disturb_per_read": 1e-5}).wide()
    rig.fill(MIDDLE)
    drive = np.zeros((2000, 2), np.float32)
    drive[:, 0] = 0.2
    for _ in range(5):
        rig.measure(drive)
    moved = (rig.unit.true_parameters() - MIDDLE) / (40e-6 - MIDDLE)
    np.testing.assert_allclose(moved[0], 1 - math.exp(-0.1), rtol=0.02)
    np.testing.assert_allclose(moved[1], 0.0, atol=1e-3)


def test_worn_cells_stick_where_they_are() -> None:
    """Beyond its lifetime in pulses a cell is faulty, of the kind of its place, and moves no more."""
    rig = Rig(10, 10, override={"endurance_pulses": 4.5, "endurance_spread": 0.0})
    for level in (10e-6, 30e-6, 10e-6, 30e-6):
        rig.fill(level)
    assert (rig.unit.true_faults() == FaultKind.HEALTHY).all()
    rig.fill(38e-6)
    assert (rig.unit.true_faults() == FaultKind.STUCK_HIGH).all()
    rig.fill(5e-6)
    np.testing.assert_allclose(rig.unit.true_parameters(), 38e-6, rtol=1e-3)


def test_lifetimes_are_log_normal() -> None:
    """With a spread, cells die one after another around the median."""
    rig = Rig(40, 50, override={"endurance_pulses": 8.0, "endurance_spread": 0.5})
    for level in (10e-6, 30e-6) * 4:
        rig.fill(level)
    dead = (rig.unit.true_faults() != FaultKind.HEALTHY).mean()
    assert dead == pytest.approx(0.4, abs=0.1)  # 8 pulses do not exceed a lifetime of just 8


def test_every_profile_states_a_source_for_each_number() -> None:
    """Profiles load, and every key of the model has a source text."""
    from drivers.chip.profiles import MemristorProfile, profile_names, profile_sources

    assert {"ideal", "gong-2018-reram-es", "wan-2022", "li-2018", "chip-b"} <= set(profile_names())
    for name in profile_names():
        load_profile(name)
        assert set(profile_sources(name)) == set(MemristorProfile.model_fields)
