"""Mock panel, camera and shutter behind the interfaces of real ones."""

from __future__ import annotations

import numpy as np
import pytest
from light_bench import NOISE_OFF, SMALL, bench, devices, patterns, settled

from drivers.optics.camera import Camera, ExposesBatches, Roi
from drivers.optics.camera_mock import BUFFERS, MockCamera
from drivers.optics.shutter import Shutter
from drivers.optics.shutter_mock import MockShutter
from drivers.optics.slm import SpatialLightModulator
from drivers.optics.slm_mock import MockSlm
from pib_lab.errors import DeviceError, LimitError, LinkError


def test_the_mocks_are_what_the_interfaces_say() -> None:
    """Panel, camera and shutter; the camera also takes batches."""
    made = bench(**SMALL)
    assert isinstance(MockSlm(made), SpatialLightModulator)
    assert isinstance(MockCamera(made), Camera)
    assert isinstance(MockCamera(made), ExposesBatches)
    assert isinstance(MockShutter(made), Shutter)


def test_nothing_is_shown_or_taken_before_it_is_open() -> None:
    """And closing twice is one closing."""
    made = bench(**SMALL)
    slm, camera = MockSlm(made), MockCamera(made)
    for use in (lambda: slm.show(patterns(made, 1)[0]), camera.trigger, lambda: camera.grab(1.0), slm.park):
        with pytest.raises(DeviceError, match="not open"):
            use()
    slm.close()
    camera.close()


def test_a_panel_opens_on_its_dump_pattern() -> None:
    """Behind a lens the axis holds less than a tenth of a flat panel's light once it is open."""
    made = bench(medium="lens", photons_hz=5e4)
    before = made.frame(1e-3, 0.0)[32, 32]
    devices(made)
    assert made.frame(1e-3, 1.0)[32, 32] < 0.1 * before


@pytest.mark.parametrize("wrong", [np.zeros((2, 6, 5), np.uint16), np.zeros((5, 6), np.uint16), np.full((6, 5), 256)])
def test_a_panel_refuses_what_it_cannot_show(wrong: np.ndarray) -> None:
    """Batches, wrong shapes, and levels beyond its top one; and goes on showing what it showed."""
    made = bench(**SMALL)
    slm, _ = devices(made)
    slm.show(patterns(made, 1)[0])
    before = made.frame(1e-3, 1.0)
    with pytest.raises(LimitError):
        slm.show(wrong)
    assert (made.frame(1e-3, 1.0) == before).all()


def test_a_frame_tells_when_it_was_exposed() -> None:
    """From the trigger for the exposure; the clock has then moved on by the read-out as well."""
    made = bench(**SMALL)
    _, camera = devices(made)
    made.clock.sleep_s(2.0)
    assert camera.set_exposure_s(0.01) == pytest.approx(0.01)
    from_s = camera.trigger()
    frame = camera.grab(1.0)
    assert (from_s, frame.exposed_from_s, frame.exposed_to_s) == pytest.approx((2.0, 2.0, 2.01))
    assert made.clock.now_s() == pytest.approx(2.01 + camera.frame_s)
    assert frame.pixels.dtype == np.uint16
    assert frame.pixels.shape == camera.shape == (12, 10)


def test_triggers_keep_the_frame_time() -> None:
    """A second trigger waits until the camera can take it."""
    made = bench(**SMALL)
    _, camera = devices(made)
    first_s, second_s = camera.trigger(), camera.trigger()
    assert second_s - first_s == pytest.approx(camera.frame_s)
    assert [camera.grab(1.0).number, camera.grab(1.0).number] == [0, 1]


def test_a_frame_read_late_shows_its_own_pattern() -> None:
    """The next pattern is on the panel already when a frame is grabbed, and does not show in it."""
    made = bench(**SMALL)
    slm, camera = devices(made)
    one, other = patterns(made, 2)
    slm.show(one)
    camera.trigger()
    prompt = camera.grab(1.0).pixels
    camera.trigger()
    made.clock.sleep_s(0.01)
    slm.show(other)
    assert (camera.grab(1.0).pixels == prompt).all()
    camera.trigger()
    assert (camera.grab(1.0).pixels != prompt).any()


def test_no_frame_in_time_is_a_link_error() -> None:
    """Without a trigger, or with a time-out shorter than exposure and read-out."""
    made = bench(**SMALL)
    _, camera = devices(made)
    with pytest.raises(LinkError, match="trigger first"):
        camera.grab(0.5)
    assert made.clock.now_s() == pytest.approx(0.5)
    camera.set_exposure_s(1.0)
    camera.trigger()
    with pytest.raises(LinkError, match="no frame within"):
        camera.grab(0.5)


def test_an_incomplete_frame_is_never_given_out() -> None:
    """It raises, and the next is whole; its number came, so that it is not a lost one."""
    made = bench(**SMALL)
    _, camera = devices(made)
    camera.fail_next.append("incomplete")
    camera.trigger()
    with pytest.raises(DeviceError, match="incomplete"):
        camera.grab(1.0)
    camera.trigger()
    assert camera.grab(1.0).number == 1
    assert camera.dropped == 0


def test_a_lost_frame_is_noticed_by_the_number_of_the_next() -> None:
    """The later frame is kept for its own trigger, and the loss counted."""
    made = bench(**SMALL)
    _, camera = devices(made)
    camera.fail_next.append("lost")
    camera.trigger()
    camera.trigger()
    with pytest.raises(DeviceError, match="frame 0 was lost"):
        camera.grab(1.0)
    assert camera.dropped == 1
    assert camera.grab(1.0).number == 1


def test_a_lost_frame_with_none_after_it_is_a_time_out() -> None:
    """And is counted when the next one comes."""
    made = bench(**SMALL)
    _, camera = devices(made)
    camera.fail_next.append("lost")
    camera.trigger()
    with pytest.raises(LinkError, match="no frame within"):
        camera.grab(1.0)
    camera.trigger()
    assert (camera.grab(1.0).number, camera.dropped) == (1, 1)


def test_frames_that_no_buffer_holds_are_lost_and_counted() -> None:
    """One trigger more than there are buffers costs the oldest frame."""
    _, camera = devices(bench(**SMALL))
    for _ in range(BUFFERS + 1):
        camera.trigger()
    with pytest.raises(DeviceError, match="lost"):
        camera.grab(1.0)
    assert [camera.grab(1.0).number for _ in range(BUFFERS)] == [1, 2, 3, 4]
    assert camera.dropped == 1


def test_settings_read_back_and_have_limits() -> None:
    """Exposure in the camera's steps, gain in tenths of a decibel, regions within the sensor."""
    made = bench("bench-a")
    _, camera = devices(made)
    assert camera.set_exposure_s(1.001e-3) == pytest.approx(182 * 5.5e-6)
    assert camera.set_gain_db(6.04) == pytest.approx(6.0)
    for wrong in (
        lambda: camera.set_exposure_s(1e-6),
        lambda: camera.set_gain_db(30.0),
        lambda: camera.set_gain_db(-1),
    ):
        with pytest.raises(LimitError, match="beyond"):
            wrong()
    for roi in (Roi(60, 0, 5, 4), Roi(-1, 0, 5, 4), Roi(0, 0, 0, 4)):
        with pytest.raises(LimitError, match="leaves the sensor"):
            camera.set_roi(roi)
    camera.trigger()
    with pytest.raises(DeviceError, match="outstanding"):
        camera.set_exposure_s(1e-3)


def test_gain_multiplies_counts() -> None:
    """6.0 dB are a factor of two, to half a per cent, where nothing is clipped."""
    made = bench()
    _, camera = devices(made)
    frames = []
    for gain_db in (0.0, 6.0):
        camera.set_gain_db(gain_db)
        camera.trigger()
        frames.append(camera.grab(1.0))
    dim = frames[0].pixels < 1500
    assert frames[1].pixels[dim].sum() / frames[0].pixels[dim].sum() == pytest.approx(10 ** (6.0 / 20.0), rel=5e-3)
    assert frames[1].saturated_level == 4095


def test_a_region_of_interest_is_cut_from_the_frame() -> None:
    """The same counts as the whole sensor's, in frames and in batches."""
    made = bench()
    slm, camera = devices(made)
    gray = patterns(made, 1)
    slm.show(gray[0])
    camera.trigger()
    whole = camera.grab(1.0).pixels
    assert camera.set_roi(Roi(3, 5, 10, 20)) == Roi(3, 5, 10, 20)
    camera.trigger()
    assert (camera.grab(1.0).pixels == whole[3:13, 5:25]).all()
    assert (camera.expose_batch(gray, 0.0).pixels[0] == whole[3:13, 5:25]).all()
    assert camera.set_roi(None) == Roi(0, 0, 64, 64)


def test_saturated_pixels_are_marked() -> None:
    """All pixels at or above the level of the frame, and no others."""
    made = bench("bench-a")
    _, camera = devices(made)
    made.clock.sleep_s(1.0)
    camera.set_exposure_s(0.01)
    camera.trigger()
    frame = camera.grab(1.0)
    assert 0.1 < frame.saturated().mean() < 0.9
    assert frame.pixels[~frame.saturated()].max() < frame.saturated_level


def test_a_batch_through_the_devices_is_the_same_as_frame_by_frame() -> None:
    """Show, wait the settle time, trigger, grab: within one count, crosstalk and settling on, noise off."""
    settings = {"drift_s": 0.0, "flicker_rad": 0.0, **NOISE_OFF}
    made, other = bench("bench-a", **settings), bench("bench-a", **settings)
    gray = patterns(made, 40)
    _, camera = devices(made)
    slm, slow = devices(other)
    batch = camera.expose_batch(gray, 2.0 * slm.settle_s)
    for k, pattern in enumerate(gray):
        slm.show(pattern)
        other.clock.sleep_s(2.0 * slm.settle_s)
        slow.trigger()
        assert np.abs(slow.grab(1.0).pixels.astype(int) - batch.pixels[k]).max() <= 1


def test_a_batch_takes_its_time_and_its_numbers() -> None:
    """Wait and exposure for each pattern, at least a frame time, and numbers that go on."""
    made = bench(**SMALL)
    _, camera = devices(made)
    batch = camera.expose_batch(patterns(made, 10), 0.05)
    assert batch.period_s == pytest.approx(0.051)
    assert made.clock.now_s() == pytest.approx(10 * 0.051 + camera.frame_s)
    assert camera.expose_batch(patterns(made, 2), 0.0).period_s == pytest.approx(camera.frame_s)
    camera.trigger()
    assert (batch.first_number, camera.grab(1.0).number) == (0, 12)
    assert camera.dropped == 0


def test_a_closed_shutter_is_dark_and_reads_back() -> None:
    """Nothing but the black level, and light again once it is open."""
    made = bench(**SMALL, black_counts=20.0)
    shutter = MockShutter(made)
    assert shutter.close_and_read_back()
    assert shutter.is_closed()
    assert (settled(made, patterns(made, 1)) == 20).all()
    shutter.open()
    assert not shutter.is_closed()
    assert settled(made, patterns(made, 1), start_s=9.0).max() > 100


def test_a_shutter_that_fails_is_noticed() -> None:
    """A stuck blade reads back where it is; a silent shutter is a link error."""
    made = bench(**SMALL)
    shutter = MockShutter(made)
    shutter.stuck = True
    assert not shutter.close_and_read_back()
    made.shutter_open = False
    with pytest.raises(DeviceError, match="did not open"):
        shutter.open()
    shutter.silent = True
    for use in (shutter.open, shutter.close_and_read_back, shutter.is_closed):
        with pytest.raises(LinkError, match="does not answer"):
            use()
