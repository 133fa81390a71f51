"""The mock chip as a unit: programming, measuring, limits, tiles, ranges, faults and snapshots."""

from __future__ import annotations

import numpy as np
import pytest
from memristor_bench import MIDDLE, Rig, StillClock

from drivers.chip.mock_chip import MockMemristorChip
from drivers.mock.link import OUTPUTS
from pib_lab.capabilities import (
    Compensates,
    Costs,
    CountsWear,
    Initialises,
    InjectsFaults,
    LimitsCurrent,
    PullsBack,
    Ranges,
    ReadsParameters,
    ReportsFaults,
    Resets,
    RevealsParameters,
    Snapshots,
)
from pib_lab.device import DeviceContext, UnitRequest
from pib_lab.errors import Cancelled, ConfigurationError, DeviceError, LimitError
from pib_lab.fault_kinds import FaultKind
from pib_lab.unit import CancelToken

CAPABILITIES = (
    PullsBack,
    Initialises,
    ReadsParameters,
    RevealsParameters,
    ReportsFaults,
    InjectsFaults,
    CountsWear,
    Ranges,
    Snapshots,
    Compensates,
    Costs,
    LimitsCurrent,
)


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_the_crossbar_offers_its_capabilities(capability: type) -> None:
    """Every capability of a programmable crossbar is there."""
    assert isinstance(Rig(4, 3).unit, capability)


def test_the_crossbar_has_no_memory_to_reset() -> None:
    """A unit without memory does not offer reset."""
    assert not isinstance(Rig(4, 3).unit, Resets)


def test_an_ideal_chip_multiplies() -> None:
    """Without any imperfection the response is the drive times the difference of each pair."""
    rig = Rig(20, 6).wide()
    cells, drive = rig.uniform(), rig.drive(9)
    rig.unit.program(cells)
    np.testing.assert_allclose(rig.measure(drive), drive @ (cells[..., 0] - cells[..., 1]), atol=1e-8)


def test_tiles_add_up_to_the_whole() -> None:
    """An ideal unit larger than its arrays responds as one that fits into a single array."""
    tiled, whole = Rig(50, 9, override={"rows": 16, "columns": 8}).wide(), Rig(50, 9).wide()
    for rig in (tiled, whole):
        rig.unit.program(rig.uniform())
    np.testing.assert_allclose(tiled.measure(tiled.drive(7)), whole.measure(whole.drive(7)), atol=1e-8)


def test_each_tile_has_a_converter_of_its_own() -> None:
    """A current that would clip one converter passes when it is shared by two tiles."""
    flags = []
    for rows in (64, 32):
        rig = Rig(64, 2, override={"rows": rows, "adc_bits": 8})
        rig.unit.set_full_scale(200e-6)
        rig.unit.program(np.broadcast_to(np.array([40e-6, 0.0], np.float32), rig.shape))
        drive = np.full((1, 64), 0.15, np.float32)  # 384 uA, 192 uA a tile of 32 rows
        flags.append(bool(rig.unit.measure(drive, cancel=CancelToken()).saturated.any()))
    assert flags == [True, False]


def test_clipped_readings_are_flagged_and_held_at_full_scale() -> None:
    """Beyond full scale the converter gives full scale and says so."""
    rig = Rig(64, 2, override={"adc_bits": 8})
    full_scale_a = rig.unit.set_full_scale(10e-6)
    rig.unit.program(np.broadcast_to(np.array([0.0, 40e-6], np.float32), rig.shape))
    measured = rig.unit.measure(np.full((1, 64), 0.2, np.float32), cancel=CancelToken())
    assert measured.saturated.all()
    np.testing.assert_allclose(measured.values, -full_scale_a)


def test_readings_lie_on_the_codes_of_the_converter() -> None:
    """An 8-bit converter gives multiples of full scale / 127."""
    rig = Rig(30, 8, override={"adc_bits": 8})
    rig.unit.program(rig.uniform())
    codes = rig.measure(rig.drive(20)) / (rig.unit.full_scale() / 127)
    np.testing.assert_allclose(codes, np.rint(codes), atol=1e-3)


def test_drives_are_put_out_with_the_resolution_of_the_dac() -> None:
    """A 2-bit DAC knows four voltages only."""
    rig = Rig(1, 1, override={"dac_bits": 2}).wide()
    rig.unit.program(np.array([[[40e-6, 0.0]]], np.float32))
    drive = np.linspace(0.0, 0.2, 101, dtype=np.float32)[:, np.newaxis]
    assert len(np.unique(rig.measure(drive))) == 4


def test_a_line_beyond_the_current_limit_is_clamped_and_flagged() -> None:
    """The limit acts on each sensed line, even where the difference of a pair is small."""
    rig = Rig(64, 2, limits={"current_limit_a": 100e-6}).wide()
    rig.fill(40e-6)
    measured = rig.unit.measure(np.full((1, 64), 0.2, np.float32), cancel=CancelToken())
    assert measured.saturated.all()
    assert not rig.unit.measure(np.full((1, 64), 0.01, np.float32), cancel=CancelToken()).saturated.any()


def test_a_limit_of_the_protocol_only_tightens() -> None:
    """A drive limit above the profile's read voltage changes nothing; one below it holds."""
    assert Rig(4, 2, limits={"drive_limit_v": 1.0}).unit.spec.drive.high == 0.2
    rig = Rig(4, 2, limits={"drive_limit_v": 0.1})
    with pytest.raises(LimitError, match="nothing was sent"):
        rig.measure(rig.drive(3))


def test_a_refused_write_costs_nothing() -> None:
    """A conductance outside the window is refused before any pulse."""
    rig = Rig(4, 2)
    with pytest.raises(LimitError):
        rig.fill(50e-6)
    assert rig.unit.pulses().sum() == 0
    assert rig.clock.time_s == 0.0


def test_use_before_open_says_what_to_do() -> None:
    """Measuring a closed unit is a device error that names open()."""
    rig = Rig(4, 2)
    rig.unit.close()
    with pytest.raises(DeviceError, match=r"open\(\)"):
        rig.measure(rig.drive(1))


def test_a_closed_chip_does_not_measure() -> None:
    """Once the device has been let go, its units say so."""
    rig = Rig(4, 2)
    rig.chip.close()
    with pytest.raises(DeviceError, match="closed"):
        rig.measure(rig.drive(1))


def test_a_cancelled_measurement_ends_with_outputs_off() -> None:
    """The token is honoured, and the read voltage is read back off."""
    rig = Rig(4, 2)
    token = CancelToken()
    token.cancel()
    with pytest.raises(Cancelled):
        rig.unit.measure(rig.drive(1), cancel=token)
    assert rig.unit.make_safe().confirmed == OUTPUTS


def test_measuring_takes_settling_and_conversion() -> None:
    """Time passes per sample, on the chip's own clock."""
    rig = Rig(4, 2, override={"settle_s": 1e-3, "conversion_s": 2e-3})
    measured = rig.unit.measure(rig.drive(1000), cancel=CancelToken())
    assert measured.ended_s - measured.started_s == pytest.approx(3.0)
    assert measured.passes == 1000


def test_ranges_follow_a_1_2_5_series() -> None:
    """The nearest range not below the wish is taken; beyond the largest, the largest."""
    rig = Rig(4, 2)
    assert rig.unit.set_full_scale(11e-6) == pytest.approx(20e-6)
    assert rig.unit.set_full_scale(20e-6) == pytest.approx(20e-6)
    assert rig.unit.set_full_scale(1.0) == pytest.approx(2e-3)
    with pytest.raises(LimitError):
        rig.unit.set_full_scale(0.0)


def test_targets_are_rounded_to_levels() -> None:
    """Five levels on a window of 40 uS lie 10 uS apart."""
    rig = Rig(40, 10, override={"levels": 5, "tolerance_siemens": 1e-9})
    rig.unit.program(rig.uniform())
    levels = rig.unit.true_parameters() / 10e-6
    np.testing.assert_allclose(levels, np.rint(levels), atol=1e-3)


def test_only_masked_cells_are_written() -> None:
    """Cells outside the mask keep value, belief and pulse count."""
    rig = Rig(20, 5, "chip-b")
    believed = rig.unit.program(rig.uniform())
    true, pulses = rig.unit.true_parameters(), rig.unit.pulses()
    where = np.random.default_rng(0).random(rig.shape) < 0.3
    after = rig.unit.program(rig.uniform(seed=8), where)
    np.testing.assert_array_equal(after[~where], believed[~where])
    np.testing.assert_array_equal(rig.unit.true_parameters()[~where], true[~where])
    np.testing.assert_array_equal(rig.unit.pulses()[~where], pulses[~where])


def test_a_verify_pass_is_one_row_of_one_polarity() -> None:
    """An ideal write of all cells reads each row twice a round: before the pulse, and after it."""
    rig = Rig(10, 4)
    rig.fill(30e-6)
    assert rig.unit.verify_passes() == 2 * 2 * 10


def test_both_cells_of_a_pair_learn() -> None:
    """The pullback is +g for the plus cell and -g for the minus cell, so that a partner can compensate."""
    rig = Rig(6, 3)
    drive, slope = rig.drive(5), np.random.default_rng(1).standard_normal((5, 3)).astype(np.float32)
    gradient = rig.unit.pullback(drive, slope)
    np.testing.assert_allclose(gradient[..., 0], drive.T @ slope, rtol=1e-5)
    np.testing.assert_array_equal(gradient[..., 1], -gradient[..., 0])


def test_healthy_partners_bring_the_difference_back() -> None:
    """With a plus cell stuck, compensation moves only its partner, and the transfer is as wanted again."""
    rig = Rig(30, 10)
    wanted = rig.unit.initial_parameters(np.random.default_rng(0), 0.15)
    rig.unit.program(wanted)
    rig.unit.inject_faults("between", 0.1, "none", seed=3)
    faulty = rig.unit.true_faults() != FaultKind.HEALTHY
    single = faulty.sum(axis=-1) == 1
    rig.unit.program(rig.unit.compensate(wanted, rig.unit.true_parameters(), faulty), ~faulty)
    error = rig.unit.true_transfer() - (wanted[..., 0] - wanted[..., 1])
    assert np.median(np.abs(error[single])) < 1e-9


def test_a_cluster_fills_whole_lines_of_one_array() -> None:
    """Row faults on a tiled unit lie on few rows, each within one array."""
    rig = Rig(40, 16, override={"rows": 20, "columns": 16})
    assert rig.unit.inject_faults("open", 0.1, "row", seed=1) == 128
    struck = (rig.unit.true_faults() == FaultKind.OPEN).reshape(40, 2, 16)
    assert sorted(np.unique(struck.sum(axis=-1))) == [0, 16]


def test_faults_strike_healthy_cells_only() -> None:
    """A second strike adds to the first, up to all cells."""
    rig = Rig(10, 10)
    assert rig.unit.inject_faults("low", 0.7, "none", seed=1) == 140
    assert rig.unit.inject_faults("high", 0.7, "none", seed=2) == 60
    with pytest.raises(ConfigurationError, match="known"):
        rig.unit.inject_faults("warm", 0.1, "none", seed=1)


def test_faulty_cells_take_pulses_and_stay() -> None:
    """A stuck cell is missed by every write, wears, and does not move; misses are counted in a row."""
    rig = Rig(20, 5)
    rig.fill(MIDDLE)
    rig.unit.inject_faults("low", 0.2, "none", seed=1)
    faulty = rig.unit.true_faults() != FaultKind.HEALTHY
    before, pulses = rig.unit.true_parameters(), rig.unit.pulses()
    rig.fill(30e-6)
    rig.fill(35e-6)
    np.testing.assert_array_equal(rig.unit.true_parameters()[faulty], before[faulty])
    assert (rig.unit.pulses() - pulses)[faulty].min() == 6
    np.testing.assert_array_equal(rig.unit.write_misses(), np.where(faulty, 2, 0))


def test_a_read_costs_two_passes_a_row() -> None:
    """Parameters read back are those written, at 2 n_in passes."""
    rig = Rig(12, 4)
    cells = rig.uniform()
    rig.unit.program(cells)
    values, passes = rig.unit.read_parameters(cancel=CancelToken())
    assert passes == 24
    np.testing.assert_allclose(values, cells, atol=1e-9)


def test_a_read_corrects_for_wires_as_of_mid_window() -> None:
    """With 1 ohm a segment, a read of random cells is off by a few per cent of the window at most."""
    rig = Rig(128, 64, override={"segment_ohm": 1.0})
    cells = rig.unit.initial_parameters(np.random.default_rng(0), 0.15)
    rig.unit.program(cells)
    values, _ = rig.unit.read_parameters(cancel=CancelToken())
    assert np.abs(values - cells).max() < 0.03 * 40e-6


def test_a_snapshot_repeats_bit_by_bit_on_a_fresh_chip() -> None:
    """Noise, relaxation, traps and range all come back, after ageing, faults and partial writes."""
    first, second = Rig(40, 12, "chip-b"), Rig(40, 12, "chip-b")
    first.unit.program(first.uniform())
    first.measure(first.drive(30))
    first.unit.inject_faults("mixed", 0.1, "column", seed=4)
    first.clock.sleep_s(1000.0)
    first.measure(first.drive(30))
    first.unit.set_full_scale(100e-6)
    second.unit.restore(first.unit.snapshot())
    second.clock.time_s = first.clock.time_s
    for _ in range(2):
        believed = [rig.unit.program(rig.uniform(seed=9)) for rig in (first, second)]
        np.testing.assert_array_equal(*believed)
        np.testing.assert_array_equal(*[rig.measure(rig.drive(30)) for rig in (first, second)])
    np.testing.assert_array_equal(first.unit.true_transfer(), second.unit.true_transfer())


def test_a_snapshot_of_another_chip_is_refused() -> None:
    """Another seed means other cells: the state would not fit them."""
    with pytest.raises(ConfigurationError, match="another chip"):
        Rig(4, 2, seed=1).unit.restore(Rig(4, 2, seed=2).unit.snapshot())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"profil": "ideal"}, "profile"),
        ({"profile": "chip-c"}, "chip-b"),
        ({"override": {"level": 3}}, "levels"),
        ({"override": {"levels": 1}}, "levels"),
        ({"override": {"g_max_siemens": 0.0}}, "g_max_siemens"),
        ({"override": 3}, "table"),
    ],
)
def test_wrong_options_name_the_right_ones(options: dict[str, object], message: str) -> None:
    """A misspelt option, profile or key is answered with the nearest right name, a bad value with its key."""
    with pytest.raises(ConfigurationError, match=message):
        MockMemristorChip(options, DeviceContext("chip", 1, StillClock()))


def test_outputs_behind_a_dead_link_are_not_confirmed_off() -> None:
    """make_safe on a link that died never raises, and claims nothing."""
    rig = Rig(4, 2)
    with rig.chip.session.link(rig.unit.spec.name) as link:
        link.dead = True
    report = rig.unit.make_safe()
    assert report.confirmed == ()
    assert report.not_confirmed == OUTPUTS
    assert "dead" in report.detail


def test_an_output_that_hangs_is_reported_as_still_on() -> None:
    """An output that was commanded off and reads back on is not confirmed; the other one is."""
    rig = Rig(4, 2)
    with rig.chip.session.link(rig.unit.spec.name) as link:
        link.hanging.add("word lines")
    rig.measure(rig.drive(1))
    report = rig.unit.make_safe()
    assert report.confirmed == ("read voltage",)
    assert report.not_confirmed == ("word lines",)


def test_units_of_one_chip_share_its_link() -> None:
    """The first unit connects, the last one to close disconnects."""
    rig = Rig(4, 2)
    other = rig.chip.unit(UnitRequest("other", 4, 4))
    other.open()
    rig.unit.close()
    assert rig.chip.session.connected
    other.close()
    assert not rig.chip.session.connected
