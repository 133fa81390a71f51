"""The simulated phase panel and its look-up table."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from light_bench import SMALL, bench, patterns, settled

from drivers.optics.lut import PhaseLut
from drivers.optics.slm import dump_pattern
from pib_lab.errors import ConfigurationError, DeviceError, LimitError


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.floats(0.0, 7.5), min_size=2, max_size=40, unique=True),
    st.lists(st.floats(-20.0, 20.0), min_size=1, max_size=20),
)
def test_the_table_finds_the_level_nearest_on_the_circle(levels: list[float], wanted: list[float]) -> None:
    """No other level is closer by more than the grain of the inverse table, for any table and any phase."""
    lut = PhaseLut(levels)

    def distance(phase_rad: np.ndarray) -> np.ndarray:
        return np.abs(np.angle(np.exp(1j * phase_rad)))

    chosen = distance(lut.to_phase(lut.to_gray(wanted)) - np.array(wanted))
    best = distance(np.array(levels)[:, None] - np.array(wanted)[None, :]).min(axis=0)
    assert (chosen <= best + 2.0 * math.pi / (16 * len(levels)) + 1e-9).all()


@pytest.mark.parametrize("levels", [16, 256, 1024])
def test_a_level_comes_back_from_its_own_phase(levels: int) -> None:
    """From gray to phase and back changes nothing, for an even table of 4, 8 and 10 bit."""
    lut, gray = PhaseLut.linear(levels), np.arange(levels, dtype=np.uint16)
    assert (lut.to_gray(lut.to_phase(gray)) == gray).all()
    assert lut.worst_error_rad() == pytest.approx(math.pi / levels)


def test_a_table_that_is_none_is_refused() -> None:
    """One level, or a phase that is not a number, makes no table; a phase that is not a number gets no level."""
    for wrong in ([1.0], [0.0, math.nan], [[0.0, 1.0]]):
        with pytest.raises(ConfigurationError, match="two or more levels"):
            PhaseLut(wrong)
    with pytest.raises(LimitError, match="not finite"):
        PhaseLut.linear(8).to_gray([0.0, math.inf])


def test_the_panel_follows_its_curve() -> None:
    """phase = range (gray / top level)^gamma on a flat panel, whatever the crosstalk."""
    made = bench(**SMALL, phase_range_rad=7.0, lut_gamma=1.5, crosstalk=0.15)
    flat = np.full((1, 6, 5), 100, np.uint16)
    assert made.panel.steady(flat) == pytest.approx(7.0 * (100 / 255) ** 1.5, rel=1e-5)


def test_crosstalk_weighs_four_neighbours_by_the_number_of_the_profile() -> None:
    """A single raised pixel keeps 1 / (1 + 4 c) of its phase and lends c / (1 + 4 c) to each neighbour."""
    made = bench(**SMALL, crosstalk=0.15)
    alone = np.zeros((1, 6, 5))
    alone[0, 2, 2] = 1.6
    expected = np.zeros((6, 5))
    expected[2, 2] = 1.0
    expected[1, 2] = expected[3, 2] = expected[2, 1] = expected[2, 3] = 0.15
    assert np.allclose(made.panel.blur(alone).reshape(6, 5), expected, atol=1e-12)


def test_a_dead_pixel_stays_where_it_is() -> None:
    """Its phase is the same for all patterns, and its neighbours' are not."""
    made = bench(panel_dead=0.1)
    steady, dead = made.panel.steady(patterns(made, 8)), made.panel.dead.reshape(-1)
    assert 5 <= dead.sum() <= 60
    assert (np.ptp(steady[:, dead], axis=0) == 0.0).all()
    assert (np.ptp(steady[:, ~dead], axis=0) > 0.0).all()


def test_phases_settle_exponentially_after_the_latency() -> None:
    """Nothing moves during the latency; then the way left falls to 1/e in each response time."""
    made = bench(**SMALL, response_s=0.01, latency_s=0.02)
    made.show(np.full((6, 5), 255, np.uint16), 1.0)
    full_rad = made.profile.phase_range_rad
    assert made.panel.phase_at(1.0199) == pytest.approx(0.0, abs=1e-9)
    for passed_s in (0.0, 0.01, 0.03):
        left = math.exp(-passed_s / 0.01)
        assert made.panel.phase_at(1.02 + passed_s) == pytest.approx(full_rad * (1.0 - left), abs=1e-5)


def test_the_settle_time_is_that_to_within_one_level() -> None:
    """After `settle_s` the largest step has come within one gray level, and a millisecond earlier it had not."""
    made = bench(**SMALL, response_s=0.01, latency_s=0.02)
    made.show(np.full((6, 5), 255, np.uint16), 0.0)
    level_rad = made.profile.phase_range_rad / 255
    left_rad = made.profile.phase_range_rad - made.panel.phase_at(made.panel.settle_s())
    early_rad = made.profile.phase_range_rad - made.panel.phase_at(made.panel.settle_s() - 1e-3)
    assert left_rad.max() < level_rad < early_rad.min()


def test_a_frame_asked_for_too_late_is_refused() -> None:
    """The panel remembers a few patterns; an exposure before those is an error and no guess."""
    made = bench(**SMALL)
    for k in range(10):
        made.show(patterns(made, 1)[0], 1.0 + k)
    with pytest.raises(DeviceError, match="grab each frame sooner"):
        made.frame(1e-3, 0.5)


def test_a_pattern_from_the_past_is_refused() -> None:
    """Two patterns in the wrong order are a mistake of clocks."""
    made = bench(**SMALL)
    made.show(patterns(made, 1)[0], 5.0)
    with pytest.raises(DeviceError, match="one clock"):
        made.show(patterns(made, 1)[0], 4.0)


def test_flicker_moves_phases_by_the_amplitude_of_the_profile() -> None:
    """A short exposure sees all of it, one of a whole period none."""
    made = bench(flicker_rad=0.06, flicker_hz=100.0)
    start_s = np.arange(0.0, 0.01, 1e-4)
    short = (made.panel.flicker(start_s, 1e-7) - 1.0) * made.profile.phase_range_rad
    assert np.ptp(short) == pytest.approx(0.12, rel=1e-3)
    assert made.panel.flicker(start_s, 0.01) == pytest.approx(1.0, abs=1e-12)


def test_the_beam_is_gaussian_and_carries_unit_power() -> None:
    """Amplitude 1/e at the stated radius, sum of squares 1, uniform for radius 0."""
    made = bench(panel_rows=41, panel_columns=41, camera_rows=4, camera_columns=4, beam_radius=1.0)
    amplitude = made.panel.amplitude.reshape(41, 41)
    assert (amplitude**2).sum() == pytest.approx(1.0)
    assert amplitude[20, 40] / amplitude[20, 20] == pytest.approx(math.exp(-((20 / 20.5) ** 2)))
    assert np.ptp(bench().panel.amplitude) == 0.0


def test_light_between_pixels_stays_in_the_zero_order() -> None:
    """With stripes of half a wave the axis is dark at fill factor 1, and keeps (1 - f)^2 of the light else."""
    stripes = dump_pattern((16, 16), 0, 128)
    for fill, left in ((1.0, 0.0), (0.9, 0.01)):
        made = bench(medium="lens", fill_factor=fill, photons_hz=1e4, exposure_min_s=1e-6)
        made_rad = made.panel.lut_rad[np.stack([np.zeros_like(stripes), stripes])]
        flat, dumped = made.true_intensity(made_rad, 0.0)[:, 32, 32]
        assert dumped / flat == pytest.approx(left, abs=1e-3)


def test_a_blanked_panel_is_the_brightest_state() -> None:
    """Behind a lens nothing outshines a flat panel; the dump pattern leaves 3 % of it on the axis at most."""
    made = bench(medium="lens", crosstalk=0.15, photons_hz=5e4)
    dumped = dump_pattern((16, 16), 0, 128)
    frames = settled(made, np.stack([np.zeros_like(dumped), dumped, *patterns(made, 50)])).astype(float)
    assert frames[0].max() == frames[0, 32, 32] > 1.5 * frames[1:].max()
    assert frames[1, 32, 32] < 0.03 * frames[0, 32, 32]


def test_patterns_the_panel_does_not_have_are_refused() -> None:
    """Wrong shapes, levels beyond the top one, negative ones, and fractions."""
    made = bench(**SMALL, panel_levels=16)
    for wrong in (np.zeros((5, 6), np.uint16), np.full((6, 5), 16), np.full((6, 5), -1), np.zeros((6, 5))):
        with pytest.raises(LimitError, match="nothing was shown"):
            made.show(wrong, 0.0)


@pytest.mark.parametrize("response_s", [0.0, 0.0056, 0.05])
@pytest.mark.parametrize("seen_after_s", [0.01, 0.04])
@pytest.mark.parametrize("count", [1, 5, 30])
def test_many_patterns_settle_as_one_after_the_other(response_s: float, seen_after_s: float, count: int) -> None:
    """Shown all at once or in turn, seen before or after the panel's latency: the same to the last bit."""
    panels = [bench(response_s=response_s, latency_s=0.0167).panel for _ in range(2)]
    targets = panels[0].steady(patterns(bench(), count))
    at_s = 1.0 + 0.045 * np.arange(count, dtype=np.float64)
    in_turn = np.empty_like(targets)
    for k, time_s in enumerate(at_s):
        panels[0].show(targets[k], float(time_s))
        in_turn[k] = panels[0].phase_at(float(time_s + seen_after_s))
    seen_s = np.asarray(at_s + seen_after_s, np.float64)
    np.testing.assert_array_equal(panels[1].show_all(targets, at_s, seen_s), in_turn)
    first, second = (panel.snapshot() for panel in panels)
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])
