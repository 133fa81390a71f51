"""Light through the simulated medium into the simulated camera, each law by itself."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
from light_bench import NOISE_OFF, SMALL, bench, patterns, phases, settled

from drivers.mock.optics_camera import shot_noise
from drivers.mock.optics_profile import OpticsProfile, load_optics_profile, optics_profile_names, optics_profile_sources
from pib_lab.errors import ConfigurationError


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Modulus of the normalised correlation of two arrays of fields, or of centred intensities."""
    one, other = one.reshape(-1), other.reshape(-1)
    return float(abs(np.vdot(one, other)) / np.sqrt(np.vdot(one, one).real * np.vdot(other, other).real))


def test_speckle_has_full_contrast_and_exponential_intensity() -> None:
    """One speckle for each pixel: mean 1, contrast 1, and the exponential law by a Kolmogorov-Smirnov test."""
    made = bench()
    intensity = made.true_intensity(phases(made, 1), 0.0).reshape(-1)
    assert intensity.mean() == pytest.approx(1.0, abs=0.05)
    assert intensity.std() / intensity.mean() == pytest.approx(1.0, abs=0.06)
    assert scipy.stats.kstest(intensity, "expon").pvalue > 0.01


@pytest.mark.parametrize("speckle_px", [2.0, 3.5])
def test_speckles_are_as_wide_as_stated(speckle_px: float) -> None:
    """Intensities d pixels apart correlate as exp(-(d / width)^2), along rows and columns, at full contrast."""
    made = bench(speckle_px=speckle_px)
    intensity = made.true_intensity(phases(made, 60), 0.0)
    centred = intensity - intensity.mean(axis=0)
    assert intensity.std() / intensity.mean() == pytest.approx(1.0, abs=0.05)
    for d in (1, 2, 4):
        expected = pytest.approx(math.exp(-((d / speckle_px) ** 2)), abs=0.04)
        assert (centred[:, d:] * centred[:, :-d]).mean() / centred.var() == expected
        assert (centred[:, :, d:] * centred[:, :, :-d]).mean() / centred.var() == expected


def test_the_field_correlation_falls_with_the_stated_time() -> None:
    """exp(-t / tau) for the field, exp(-2 t / tau) for the intensity, and the mean intensity stays."""
    made = bench(drift_s=100.0)
    panel = made.panel.field(made.panel.blur(phases(made, 40)))
    first = made.medium.fields(panel)
    for time_s in (10.0, 50.0, 100.0):
        made.medium.advance(made.medium.index_at(time_s))
        now = made.medium.fields(panel)
        assert correlation(first, now) == pytest.approx(math.exp(-time_s / 100.0), abs=0.01)
        before, after = abs(first) ** 2, abs(now) ** 2
        assert correlation(before - before.mean(), after - after.mean()) == pytest.approx(
            math.exp(-2.0 * time_s / 100.0), abs=0.02
        )
        assert after.mean() == pytest.approx(1.0, abs=0.03)


def test_many_small_steps_drift_as_far_as_one() -> None:
    """The correlation depends on the time passed, not on how often one looks."""
    made = bench(**SMALL, drift_s=100.0)
    panel = made.panel.field(made.panel.blur(phases(made, 40)))
    first = made.medium.fields(panel)
    for time_s in np.linspace(0.0, 30.0, 200):
        made.medium.advance(made.medium.index_at(float(time_s)))
    assert correlation(first, made.medium.fields(panel)) == pytest.approx(math.exp(-0.3), abs=0.04)


@pytest.mark.parametrize("medium", ["lens", "free-space"])
def test_free_propagation_loses_no_light(medium: str) -> None:
    """The energy on the camera is that on the panel, pattern by pattern."""
    made = bench(medium=medium, beam_radius=1.0)
    intensity = made.true_intensity(phases(made, 5), 0.0)
    assert intensity.mean(axis=(1, 2)) == pytest.approx(np.ones(5), rel=1e-9)


def test_light_that_goes_nowhere_arrives_as_it_left() -> None:
    """Free space over no distance shows the panel itself in the middle of the camera, dark around."""
    made = bench(medium="free-space", distance_m=0.0)
    image = made.true_intensity(phases(made, 1), 0.0)[0]
    assert image[24:40, 24:40] == pytest.approx(16.0, rel=1e-6)
    assert image[:24].max() < 1e-9


def test_a_tilted_wavefront_moves_the_spot_of_a_lens() -> None:
    """A phase ramp of one turn over four pixels moves the axis by a quarter of the camera's columns."""
    made = bench(medium="lens")
    ramp = np.broadcast_to(np.arange(16) * (math.pi / 2.0), (1, 16, 16))
    image = made.true_intensity(np.array(ramp), 0.0)[0]
    assert np.unravel_index(image.argmax(), image.shape) == (32, 48)


@pytest.mark.parametrize("kind", ["kerr", "saturable"])
def test_a_nonlinear_medium_is_not_linear(kind: str) -> None:
    """Fields of two halves of the panel no longer add up, and do when its strength is 0."""
    for strength, linear in ((0.0, True), (1.0, False)):
        made = bench(nonlinearity=kind, nonlinear_strength=strength)
        whole = made.panel.field(made.panel.blur(phases(made, 1)))
        left = np.where(np.arange(256) < 128, whole, 0.0)
        total = made.medium.fields(left) + made.medium.fields(whole - left)
        error = np.abs(total - made.medium.fields(whole)).mean()
        assert bool(error < 1e-5) is linear
        assert linear or error > 0.05


def test_a_saturable_medium_passes_more_where_it_is_bright() -> None:
    """Doubling the power more than doubles the light behind."""
    made = bench(nonlinearity="saturable", nonlinear_strength=2.0)
    field = made.panel.field(made.panel.blur(phases(made, 4)))
    dim, bright = (np.mean(np.abs(made.medium.fields(field * scale)) ** 2) for scale in (1.0, math.sqrt(2.0)))
    assert bright > 2.1 * dim


@pytest.mark.parametrize("mean_e", [0.5, 8.0, 40.0, 2000.0])
def test_shot_noise_is_poisson(mean_e: float) -> None:
    """Mean and variance are the number of electrons, and the skewness is one over its root."""
    drawn = shot_noise(np.full(200_000, mean_e, np.float32), np.random.Generator(np.random.SFC64(1)))
    assert drawn.mean() == pytest.approx(mean_e, rel=0.01)
    assert drawn.var() == pytest.approx(mean_e, rel=0.02)
    assert scipy.stats.skew(drawn.astype(np.float64)) == pytest.approx(mean_e**-0.5, abs=0.03)


def test_the_variance_of_a_pixel_is_that_of_its_electrons() -> None:
    """Over 400 frames of one pattern, var(counts) gain^2 = electrons + read noise^2 + rounding."""
    made = bench(shot_noise=True, read_noise_e=2.5, e_per_count=1.0, camera_bits=16, camera_columns=32)
    frames = settled(made, np.repeat(patterns(made, 1), 400, axis=0)).astype(np.float64)
    mean, variance = frames.mean(axis=0).reshape(-1), frames.var(axis=0).reshape(-1)
    for low, high in ((20, 300), (300, 1500), (1500, 4000)):
        chosen = (mean > low) & (mean < high)
        assert variance[chosen].mean() == pytest.approx(mean[chosen].mean() + 2.5**2 + 1 / 12, rel=0.03)


def test_bench_a_exposes_to_a_fifth_of_full_well() -> None:
    """2,000 electrons, within 10 %, so that fewer than 1 % of all pixels saturate."""
    made = bench("bench-a")
    counts = settled(made, patterns(made, 40))
    assert (counts.mean() - 20.0) * 2.5 == pytest.approx(2000.0, rel=0.1)
    assert (counts >= made.detector.saturated_level(2.5)).mean() < 0.01


def test_counts_are_linear_in_the_exposure() -> None:
    """Twice the time, twice the counts, to one count, below saturation."""
    made = bench(camera_bits=16)
    shown = patterns(made, 1)
    one, two = (settled(made, shown, exposure_s=e).astype(float) for e in (1e-3, 2e-3))
    below = two < 3900
    assert np.abs(two - 2.0 * one)[below].max() <= 1.5


def test_a_full_well_clips_and_is_flagged() -> None:
    """Too much light stops at full well; the converter's top counts where the gain brings it first."""
    made = bench(read_noise_e=2.5)
    shown = patterns(made, 4)
    level = made.detector.saturated_level(2.5)
    assert 3990 <= level <= 4000
    bright = settled(made, shown, exposure_s=0.1)
    assert np.median(bright) == pytest.approx(4000, abs=1)
    assert (bright >= level).mean() > 0.9
    assert made.detector.saturated_level(0.5) == 4095
    assert settled(made, shown, start_s=9.0, exposure_s=0.1, e_per_count=0.5).max() == 4095


def test_hot_pixels_glow_and_dead_ones_are_dark() -> None:
    """In the dark only hot pixels rise; in the light dead ones stay black."""
    made = bench(camera_hot=0.01, hot_e_hz=1e6, camera_dead=0.02, dark_e_hz=1e4, black_counts=20.0)
    light = settled(made, patterns(made, 30)).mean(axis=0)
    made.shutter_open = False
    dark = settled(made, patterns(made, 1), start_s=100.0)[0]
    hot, dead = made.detector.hot, made.detector.dead
    assert dead.any()
    assert (dark[hot] == 420).all()
    assert (dark[~hot] == 24).all()
    assert (light[dead] == 24).all()
    assert (light[~dead] > 100).all()


def test_read_noise_is_that_of_the_profile() -> None:
    """In the dark, in electrons, rounding included."""
    made = bench(read_noise_e=2.5, e_per_count=0.5, black_counts=100.0)
    made.shutter_open = False
    assert settled(made, patterns(made, 8)).std() * 0.5 == pytest.approx(2.5, rel=0.02)


def test_the_laser_warms_up_and_jitters() -> None:
    """It starts below its final power by the stated fraction, and scatters from frame to frame by the stated rms."""
    made = bench(warmup_fraction=-0.2, warmup_s=100.0, camera_bits=16)
    shown = np.repeat(patterns(made, 1), 2, axis=0)
    cold, warm = settled(made, shown, period_s=1000.0).astype(float)
    below = warm < 3900
    assert cold[below].sum() / warm[below].sum() == pytest.approx(1.0 - 0.2 * math.exp(-0.009), abs=2e-3)
    made = bench(power_noise=0.05, camera_bits=16, full_well_e=1e5, e_per_count=1.0, camera_columns=32)
    power = settled(made, np.repeat(patterns(made, 1), 400, axis=0)).mean(axis=(1, 2))
    assert power.std() / power.mean() == pytest.approx(0.05, rel=0.15)


def test_the_same_seed_makes_the_same_bench_and_another_another() -> None:
    """Medium, defects and noise, count by count."""
    shown = patterns(bench(), 3)
    one, again, other = (settled(bench("bench-a", seed), shown) for seed in (1, 1, 2))
    assert (one == again).all()
    assert abs(np.corrcoef(one.reshape(-1), other.reshape(-1))[0, 1]) < 0.05


def test_a_restored_bench_goes_on_bit_by_bit() -> None:
    """Phases under way, drift, noise and shutter, into a bench freshly made."""
    made, later = bench("bench-a", drift_s=60.0), bench("bench-a", drift_s=60.0)
    later.shutter_open = False
    shown = patterns(made, 12)
    settled(made, shown[:4])
    state = made.snapshot()
    timing = {"start_s": 10.0, "period_s": 0.03, "delay_s": 0.01}
    expected = settled(made, shown, **timing)
    later.restore(state)
    assert (settled(later, shown, **timing) == expected).all()
    made.restore(state)
    assert (settled(made, shown, **timing) == expected).all()


def test_a_snapshot_of_another_bench_is_refused() -> None:
    """Another seed is another medium."""
    with pytest.raises(ConfigurationError, match="another bench"):
        bench(seed=1).restore(bench(seed=2).snapshot())


def test_a_batch_is_the_same_as_frame_by_frame() -> None:
    """Everything on but noise, patterns that never settle, a medium that changes within the batch: to one count."""
    settings = {
        "camera_rows": 32,
        "camera_columns": 24,
        "drift_s": 20.0,
        "warmup_fraction": -0.1,
        "warmup_s": 5.0,
        **NOISE_OFF,
    }
    made, other = bench("bench-a", **settings), bench("bench-a", **settings)
    shown = patterns(made, 100)
    batch = made.expose(shown, exposure_s=2e-3, start_s=1.0, period_s=0.02, delay_s=0.018)
    for k, gray in enumerate(shown):
        at_s = 1.0 + 0.02 * k
        other.show(gray, at_s)
        frame = other.frame(2e-3, at_s + 0.018)
        assert np.abs(frame.astype(int) - batch[k]).max() <= 1


def test_every_number_of_every_profile_has_a_source() -> None:
    """And each shipped profile loads."""
    for name in optics_profile_names():
        load_optics_profile(name)
        assert set(optics_profile_sources(name)) == set(OpticsProfile.model_fields)


@pytest.mark.parametrize(
    ("name", "override", "said"),
    [
        ("bench-b", {}, "did you mean 'bench-a'"),
        ("ideal", {"crostalk": 0.1}, "did you mean 'crosstalk'"),
        ("ideal", {"fill_factor": 1.5}, "fill_factor"),
        ("ideal", {"medium": "lens", "drift_s": 5.0}, "need medium = scattering"),
        ("ideal", {"medium": "lens", "camera_rows": 8}, "at least the panel's"),
        ("ideal", {"exposure_s": 100.0}, "exposure_min_s"),
        ("ideal", {"black_counts": 4095.0}, "below the camera's largest count"),
        ("ideal", {"drift_s": math.nan}, "drift_s"),
    ],
)
def test_a_wrong_profile_says_what_is_wrong(name: str, override: dict[str, float], said: str) -> None:
    """Unknown names and keys, numbers out of their domain, and effects that do not go together."""
    with pytest.raises(ConfigurationError, match=said):
        load_optics_profile(name, override)
