"""The optical rig: which frames count, what is sent, and what happens when parts fail."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optics_bench import FrameByFrame, RealRig

from drivers.optics.encoder import MacroPixels, Projection, make_encoder
from drivers.optics.lut import TURN
from drivers.optics.optical_rig import MockOpticalRig
from drivers.optics.regions import Regions
from drivers.optics.shutter_none import NoShutter
from drivers.optics.unit import OpticalUnit
from pib_lab.clocks import VirtualClock
from pib_lab.device import DeviceContext, UnitRequest
from pib_lab.errors import Cancelled, ConfigurationError, DeviceError, LimitError, LinkError
from pib_lab.quantities import Array
from pib_lab.unit import CancelToken

NO = CancelToken()


def _drive(batch: int, inputs: int = 16, seed: int = 1) -> Array:
    return np.random.default_rng(seed).uniform(0.0, 2.0, (batch, inputs)).astype(np.float32)


@pytest.fixture
def clock() -> VirtualClock:
    """Time of the bench."""
    return VirtualClock()


@pytest.fixture
def real(clock: VirtualClock) -> RealRig:
    """The frame-by-frame device on a bench with everything on."""
    return RealRig(DeviceContext("rig", 3, clock))


@pytest.fixture
def unit(real: RealRig) -> OpticalUnit:
    """An open unit of it."""
    unit = real.device.unit(UnitRequest("layer", 16, 20))
    unit.open()
    return unit


# Encoder and regions


def test_a_square_drive_stays_an_image() -> None:
    """Each of 2 x 2 inputs fills a quarter of a 4 x 4 grid."""
    phases = MacroPixels(4, (4, 4)).phases(np.array([[1, 2, 3, 4]], np.float32))[0]
    np.testing.assert_array_equal(phases, np.kron([[1, 2], [3, 4]], np.ones((2, 2))))


@given(st.integers(1, 300), st.sampled_from([(16, 16), (8, 12), (20, 20)]))
def test_every_input_is_shown(inputs: int, grid: tuple[int, int]) -> None:
    """No input is left out, whatever the number, and none is refused that fits."""
    if inputs > grid[0] * grid[1]:
        with pytest.raises(ConfigurationError, match="finer grid"):
            MacroPixels(inputs, grid)
        return
    shown = set(MacroPixels(inputs, grid).place.tolist()) - {-1}
    assert shown == set(range(inputs))


@pytest.mark.parametrize("kind", ["hadamard", "random"])
def test_a_projection_spreads_each_input_over_the_grid(kind: str) -> None:
    """Entries are +-1 / sqrt(n_in); different inputs make different patterns; the seed decides which."""
    first, again = (make_encoder(kind, 30, (8, 8), 5) for _ in range(2))  # type: ignore[arg-type]
    assert isinstance(first, Projection)
    assert isinstance(again, Projection)
    np.testing.assert_array_equal(first.matrix, again.matrix)
    np.testing.assert_allclose(np.abs(first.matrix), 30**-0.5, rtol=1e-6)
    assert len(np.unique(first.matrix, axis=0)) == 30


@given(st.integers(1, 150), st.integers(1, 4))
def test_regions_lie_within_the_frame_and_apart(count: int, size: int) -> None:
    """No pixel belongs to two regions."""
    try:
        regions = Regions(count, size, (48, 64))
    except ConfigurationError:
        assert count * size * size > 48 * 64 / 4
        return
    seen = np.zeros((48, 64), np.int64)
    for top, left in regions.corners:
        assert top >= 0
        assert left >= 0
        assert top + size <= 48
        assert left + size <= 64
        seen[top : top + size, left : left + size] += 1
    assert seen.max() == 1
    assert seen.sum() == count * size * size


def test_bad_pixels_are_left_out_of_a_regions_mean() -> None:
    """A hot pixel changes nothing, and its saturation is not the region's."""
    bad = np.zeros((8, 8), np.bool_)
    regions = Regions(4, 2, (8, 8))
    top, left = regions.corners[2]
    bad[top, left] = True
    pixels = np.full((1, 8, 8), 10, np.uint16)
    pixels[0, top, left] = 4095
    regions = Regions(4, 2, (8, 8), bad)
    np.testing.assert_array_equal(regions.means(pixels), np.full((1, 4), 10.0))
    assert not regions.any_true(pixels >= 4095).any()


def test_a_region_without_a_sound_pixel_is_refused() -> None:
    """Its mean would be a number made up."""
    with pytest.raises(ConfigurationError, match="no sound pixel"):
        Regions(4, 2, (8, 8), np.ones((8, 8), np.bool_))


# Frames


def test_frame_by_frame_and_in_batches_agree() -> None:
    """With noise off the real device's path gives what the mock's gives, within a count of each pixel."""
    rig = MockOpticalRig({"profile": "ideal"}, DeviceContext("rig", 3, VirtualClock()))
    unit = rig.unit(UnitRequest("layer", 16, 20))
    unit.open()
    drive = _drive(12)
    in_batches = unit.measure(drive, cancel=NO).values
    rig.rig.camera = FrameByFrame(rig.camera)
    np.testing.assert_allclose(unit.measure(drive, cancel=NO).values, in_batches, atol=1.0)


def test_frames_come_at_the_settled_frame_rate(unit: OpticalUnit, real: RealRig) -> None:
    """Settling and exposure alone take time: reading out and computing overlap with the next pattern's settling."""
    seen = unit.measure(_drive(200), cancel=NO)
    allowed_s = 200 * (real.slm.settle_s + 0.001)
    assert allowed_s / (seen.ended_s - seen.started_s) >= 0.95


def test_an_incomplete_frame_is_taken_again(unit: OpticalUnit, real: RealRig) -> None:
    """It is refused, its pattern is shown once more, and the extra pass is counted."""
    real.camera.fail_next.extend(["incomplete", "lost"])
    seen = unit.measure(_drive(6), cancel=NO)
    assert seen.passes == 8
    assert np.isfinite(seen.values).all()


def test_a_frame_taken_again_belongs_to_its_own_pattern(clock: VirtualClock) -> None:
    """Responses are the same with and without failed frames, noise off."""
    values = []
    for faults in ([], ["incomplete"], ["lost"]):
        rig = RealRig(DeviceContext("rig", 3, clock), "ideal")
        unit = rig.device.unit(UnitRequest("layer", 16, 20))
        unit.open()
        rig.camera.fail_next.extend(faults)  # type: ignore[arg-type]
        values.append(unit.measure(_drive(5), cancel=NO).values)
    np.testing.assert_array_equal(values[0], values[1])
    np.testing.assert_array_equal(values[0], values[2])


def test_a_frame_that_fails_again_and_again_ends_the_measurement(unit: OpticalUnit, real: RealRig) -> None:
    """After `attempts` the error goes up; no value is made up."""
    real.camera.fail_next.extend(["incomplete"] * 3)
    with pytest.raises(DeviceError, match="failed 3 times"):
        unit.measure(_drive(1), cancel=NO)


def test_a_frame_exposed_before_its_pattern_settled_is_thrown_away(clock: VirtualClock) -> None:
    """A camera whose exposure began too early, by its own account, is not believed."""
    rig = RealRig(DeviceContext("rig", 3, clock))
    unit = rig.device.unit(UnitRequest("layer", 16, 20))
    unit.open()
    grab = rig.camera.grab
    early = iter([True, False])

    def shifted(timeout_s: float):  # type: ignore[no-untyped-def]
        from dataclasses import replace

        frame = grab(timeout_s)
        return replace(frame, exposed_from_s=frame.exposed_from_s - 0.5) if next(early, False) else frame

    rig.camera.grab = shifted  # type: ignore[method-assign]
    assert unit.measure(_drive(1), cancel=NO).passes == 2


def test_cancel_ends_between_frames(unit: OpticalUnit) -> None:
    """Nothing is left half done: the next measurement works."""
    token = CancelToken()
    token.cancel()
    with pytest.raises(Cancelled):
        unit.measure(_drive(4), cancel=token)
    assert unit.measure(_drive(4), cancel=NO).passes == 4


def test_a_saturated_region_is_flagged(clock: VirtualClock) -> None:
    """Ten times the exposure clips pixels, and says where."""
    rig = MockOpticalRig({"exposure_s": 0.02}, DeviceContext("rig", 3, clock))
    unit = rig.unit(UnitRequest("layer", 16, 20))
    unit.open()
    assert unit.measure(_drive(8), cancel=NO).saturated.mean() > 0.5


def test_the_mask_adds_to_the_drive(clock: VirtualClock) -> None:
    """A mask that is the drive gives what twice the drive gives, bench free of noise."""
    unit = MockOpticalRig({"profile": "ideal"}, DeviceContext("rig", 3, clock)).unit(UnitRequest("layer", 256, 20))
    unit.open()
    drive = np.full((1, 256), 0.5, np.float32) * np.linspace(0, 1, 256, dtype=np.float32)
    unit.program(drive.reshape(16, 16))
    both = unit.measure(drive, cancel=NO).values
    unit.program(np.zeros((16, 16), np.float32))
    np.testing.assert_array_equal(both, unit.measure(2.0 * drive, cancel=NO).values)


# Shifts and wraps


def test_shifted_frames_agree_on_both_paths() -> None:
    """Frame by frame or in batches, each sample has the mask with its own shift, within a count of each pixel."""
    rig = MockOpticalRig({"profile": "ideal"}, DeviceContext("rig", 3, VirtualClock()))
    unit = rig.unit(UnitRequest("layer", 16, 20))
    unit.open()
    drive = _drive(6)
    shift = np.random.default_rng(2).uniform(-7.0, 7.0, (6, 16, 16)).astype(np.float32)
    in_batches = unit.measure_shifted(drive, shift, cancel=NO).values
    assert np.abs(in_batches - unit.measure(drive, cancel=NO).values).max() > 10.0
    rig.rig.camera = FrameByFrame(rig.camera)
    np.testing.assert_allclose(unit.measure_shifted(drive, shift, cancel=NO).values, in_batches, atol=1.0)


@pytest.mark.parametrize("depth_rad", [0.5, 2.0, 3.1416, 6.0])
def test_no_drive_and_mask_wrap(clock: VirtualClock, depth_rad: float) -> None:
    """The highest mask under the highest drive shows the top of the panel, or just below, and never starts anew."""
    rig = MockOpticalRig({"profile": "ideal", "encoder": {"depth_rad": depth_rad}}, DeviceContext("rig", 3, clock))
    unit = rig.unit(UnitRequest("layer", 256, 20))
    unit.open()
    phases = unit.spec.parameters
    assert not phases.periodic
    unit.program(np.full((16, 16), phases.high, np.float32))
    shown: list[int] = []
    steady = rig.bench.panel.steady
    rig.bench.panel.steady = lambda gray: (shown.append(int(gray.min())), steady(gray))[1]  # type: ignore[method-assign]
    unit.measure(np.full((1, 256), unit.spec.drive.high, np.float32), cancel=NO)
    assert shown == [255]


def test_a_limit_of_the_drive_leaves_the_mask_more_room(clock: VirtualClock) -> None:
    """What counts is the phase that a drive can reach; a mask beyond is refused."""
    rig = MockOpticalRig({}, DeviceContext("rig", 3, clock))
    plain, limited = (rig.unit(UnitRequest("layer", 16, 20, options)) for options in ({}, {"drive_limit_rad": 1.0}))
    assert plain.spec.parameters.high == pytest.approx(TURN - 2.0 - TURN / 256)
    assert limited.spec.parameters.high == pytest.approx(TURN - 1.0 - TURN / 256)
    plain.open()
    with pytest.raises(LimitError, match="exceed the limits"):
        plain.program(np.full((16, 16), TURN - 1.5, np.float32))


def test_a_mask_starts_flat_in_the_middle_of_its_range(clock: VirtualClock) -> None:
    """Spread by the scale; a large one is clipped to the range."""
    unit = MockOpticalRig({}, DeviceContext("rig", 3, clock)).unit(UnitRequest("layer", 16, 20))
    high = unit.spec.parameters.high
    made = unit.initial_parameters(np.random.default_rng(1), 0.05)
    assert float(made.mean()) == pytest.approx(high / 2, rel=0.02)
    assert float(made.std()) == pytest.approx(0.05 * high, rel=0.15)
    wide = unit.initial_parameters(np.random.default_rng(1), 3.0)
    assert (wide.min(), wide.max()) == (0.0, np.float32(high))


@pytest.mark.parametrize(
    ("rig_options", "unit_options"),
    [({"encoder": {"wrap": True}}, {}), ({}, {"wrap": True}), ({"encoder": {"kind": "hadamard"}}, {})],
)
def test_a_mask_that_may_wrap_is_periodic(
    clock: VirtualClock, rig_options: dict[str, object], unit_options: dict[str, object]
) -> None:
    """By option of the rig or of the unit; the phases of projections have any sign, so theirs always may."""
    rig = MockOpticalRig(dict(rig_options), DeviceContext("rig", 3, clock))
    phases = rig.unit(UnitRequest("layer", 16, 20, unit_options)).spec.parameters
    assert phases.periodic
    assert phases.high == TURN


def test_a_drive_that_leaves_no_room_for_a_mask_is_refused(clock: VirtualClock) -> None:
    """A full turn of drive wraps under any mask."""
    rig = MockOpticalRig({"encoder": {"depth_rad": TURN}}, DeviceContext("rig", 3, clock))
    with pytest.raises(ConfigurationError, match="wrap = true"):
        rig.unit(UnitRequest("layer", 16, 20))
    assert rig.unit(UnitRequest("layer", 16, 20, {"wrap": True})).spec.parameters.periodic


# Safety


def test_the_light_stays_off_until_it_is_measured(unit: OpticalUnit, real: RealRig) -> None:
    """Opening a rig closes its shutter; measuring opens it; making safe closes it and parks the panel."""
    assert not real.bench.shutter_open
    unit.measure(_drive(1), cancel=NO)
    assert real.bench.shutter_open
    report = unit.make_safe()
    assert report.safe
    assert report.confirmed == ("light",)
    assert not real.bench.shutter_open


@pytest.mark.parametrize("fault", ["stuck", "silent"])
def test_a_shutter_that_does_not_close_is_not_confirmed(unit: OpticalUnit, real: RealRig, fault: str) -> None:
    """What was not read back closed is said, and the panel is parked all the same."""
    unit.measure(_drive(1), cancel=NO)
    setattr(real.shutter, fault, True)
    report = unit.make_safe()
    assert report.not_confirmed == ("light",)
    assert "by hand" in report.detail


def test_no_light_without_a_guardian(clock: VirtualClock) -> None:
    """The shutter does not open when nobody would close it."""

    class Dead:
        def require_alive(self) -> None:
            raise DeviceError("the guardian has died")

    rig = RealRig(DeviceContext("rig", 3, clock, Dead()))
    unit = rig.device.unit(UnitRequest("layer", 16, 20))
    unit.open()
    with pytest.raises(DeviceError, match="guardian"):
        unit.measure(_drive(1), cancel=NO)
    assert not rig.bench.shutter_open


def test_a_silent_shutter_keeps_the_rig_from_opening(clock: VirtualClock) -> None:
    """A rig whose light cannot be stopped is not used."""
    rig = RealRig(DeviceContext("rig", 3, clock))
    rig.shutter.silent = True
    with pytest.raises(LinkError, match="by hand"):
        rig.device.unit(UnitRequest("layer", 16, 20)).open()


def test_without_a_shutter_the_operator_must_have_said_why(clock: VirtualClock) -> None:
    """Light that software cannot stop is confirmed off only where the beam was stated to be enclosed."""
    assert NoShutter({"beam": "enclosed"}, "shutter").close_and_read_back()
    assert not NoShutter({}, "shutter").close_and_read_back()
    with pytest.raises(ConfigurationError, match="enclosed"):
        NoShutter({"beam": "closed"}, "shutter")


# Options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"encoder": {"gird": [8, 8]}}, "encoder.gird: unknown key; did you mean 'grid'"),
        ({"exposure_s": 2.0}, "beyond exposure_max_s"),
        ({"exposure_s": -1.0}, "exposure_s: Input should be greater than 0"),
        ({"lut": "nowhere.npz"}, "run slm-lut again"),
        ({"override": {"crosstak": 0.1}}, "did you mean 'crosstalk'"),
        ({"profile": "bench-b"}, "did you mean 'bench-a'"),
    ],
)
def test_wrong_options_are_named(clock: VirtualClock, options: dict[str, object], message: str) -> None:
    """Key, mistake and what to do."""
    with pytest.raises(ConfigurationError, match=message.replace("(", r"\(")):
        MockOpticalRig(dict(options), DeviceContext("rig", 3, clock))


def test_a_grid_must_divide_the_panel(clock: VirtualClock) -> None:
    """A macro pixel is a whole number of pixels."""
    rig = MockOpticalRig({"encoder": {"grid": [5, 5]}}, DeviceContext("rig", 3, clock))
    with pytest.raises(ConfigurationError, match="does not divide"):
        rig.unit(UnitRequest("layer", 16, 20))


def test_mask_phases_beyond_a_turn_are_refused(unit: OpticalUnit) -> None:
    """0 to 2 pi, nothing else."""
    with pytest.raises(LimitError, match="exceed the limits"):
        unit.program(np.full((16, 16), TURN + 0.1, np.float32))


def test_a_dark_calibration_is_subtracted_and_its_bad_pixels_left_out(clock: VirtualClock, tmp_path: Path) -> None:
    """The black level of the camera no longer shows in responses."""
    path = tmp_path / "dark.npz"
    bad = np.zeros((64, 64), np.bool_)
    np.savez(path, dark=np.full((64, 64), 20.0, np.float32), bad=bad)
    plain, less = (
        MockOpticalRig({"override": {"shot_noise": False, "read_noise_e": 0.0, "power_noise": 0.0}} | more, context)
        for more, context in (({}, DeviceContext("rig", 3, VirtualClock())),
                              ({"dark": str(path)}, DeviceContext("rig", 3, VirtualClock())))
    )  # fmt: skip
    values = []
    for rig in (plain, less):
        unit = rig.unit(UnitRequest("layer", 16, 20))
        unit.open()
        values.append(unit.measure(_drive(2), cancel=NO).values)
    np.testing.assert_allclose(values[0] - values[1], 20.0, atol=1e-3)
