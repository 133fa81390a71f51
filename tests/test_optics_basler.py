"""The driver of Basler cameras against the maker's own library and its camera emulation."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("pypylon", reason="needs the extra optics")

from drivers.emulators.basler import EmulatedBasler
from drivers.optics import triggered_camera
from drivers.optics.camera import Camera, Frame, Roi
from drivers.optics.camera_basler import BaslerCamera, BaslerOptions, make_basler
from drivers.optics.parts import make_camera
from drivers.optics.rig_options import Driven
from pib_lab.clocks import RealClock
from pib_lab.device import DeviceContext
from pib_lab.errors import ConfigurationError, DeviceError, LimitError, LinkError

CONTEXT = DeviceContext("rig", 1, RealClock())
SMALL = Roi(8, 4, 16, 24)


def _camera(**options: Any) -> EmulatedBasler:
    return EmulatedBasler(BaslerOptions(**({"emulated": True, "pixel_format": "Mono8"} | options)), CONTEXT)


@pytest.fixture
def camera() -> Iterator[EmulatedBasler]:
    """An open camera of a small region."""
    camera = _camera()
    camera.open()
    camera.set_exposure_s(1e-3)
    camera.set_roi(SMALL)
    yield camera
    camera.close()


def _told(frame: Frame) -> int:
    """The number that the emulation's picture shows: its grays rise by one a pixel, and by one a frame."""
    return int(frame.pixels[0, 0]) - SMALL.top - SMALL.left - 1


def _take(camera: EmulatedBasler) -> Frame:
    camera.trigger()
    return camera.grab(2.0)


def test_it_is_a_camera_and_a_part_of_a_rig() -> None:
    """A protocol's `camera.driver = "basler"` makes it; nothing is connected yet."""
    made = make_camera(Driven.model_validate({"driver": "basler", "serial": "1"}), CONTEXT, "rig.camera")
    assert isinstance(made, BaslerCamera)
    assert isinstance(made, Camera)
    for use in (made.trigger, lambda: made.grab(0.1), made.temperature_c, lambda: made.set_gain_db(0.0)):
        with pytest.raises(DeviceError, match="not open"):
            use()
    made.close()


def test_settings_are_read_back(camera: EmulatedBasler) -> None:
    """Exposure in steps of 1 us, gain over the lowest, the region; and the camera has no thermometer."""
    assert camera.set_exposure_s(1.23456e-3) == pytest.approx(1.235e-3, abs=1e-9)
    assert camera.set_gain_db(3.0) == pytest.approx(3.0, abs=0.01)
    assert camera.set_roi(SMALL) == SMALL
    assert camera.shape == (16, 24)
    assert camera.frame_s > 0.0
    assert camera.temperature_c() is None
    assert _take(camera).pixels.shape == (16, 24)


@pytest.mark.parametrize(
    "ask",
    [
        lambda camera: camera.set_exposure_s(1e-7),
        lambda camera: camera.set_exposure_s(11.0),
        lambda camera: camera.set_gain_db(-1.0),
        lambda camera: camera.set_gain_db(49.0),
        lambda camera: camera.set_roi(Roi(0, 0, 4097, 10)),
        lambda camera: camera.set_roi(Roi(0, 0, 0, 10)),
    ],
)
def test_what_the_camera_cannot_do_is_refused(camera: EmulatedBasler, ask: Any) -> None:
    """Before anything is set: the next frame is as before."""
    with pytest.raises(LimitError):
        ask(camera)
    assert camera.set_roi(SMALL) == SMALL
    assert _take(camera).pixels.shape == (16, 24)


def test_every_frame_answers_its_trigger(camera: EmulatedBasler) -> None:
    """The emulation's picture counts frames; triggers may be sent ahead."""
    for number in range(5):
        frame = _take(camera)
        assert (frame.number, _told(frame)) == (number, number)
    for _ in range(3):
        camera.trigger()
    assert [_told(camera.grab(2.0)) for _ in range(3)] == [5, 6, 7]
    assert (camera.dropped, camera.failed) == (0, 0)


def test_a_frame_tells_between_which_times_it_was_exposed(camera: EmulatedBasler) -> None:
    """On the host's clock: not before the trigger, and for the exposure after the trigger was sent at the latest."""
    camera.set_exposure_s(5e-3)
    before_s = time.monotonic()
    from_s = camera.trigger()
    sent_s = time.monotonic()
    frame = camera.grab(2.0)
    assert before_s <= from_s == frame.exposed_from_s
    assert from_s + 5e-3 <= frame.exposed_to_s <= sent_s + 5e-3


def test_an_incomplete_buffer_is_refused_and_counted(camera: EmulatedBasler) -> None:
    """The emulation is told to leave one so; the next frame is whole and has its own number."""
    _take(camera)
    camera.fail_one()
    camera.trigger()
    with pytest.raises(DeviceError, match="frame 1 was refused: The buffer was incompletely grabbed"):
        camera.grab(2.0)
    frame = _take(camera)
    assert (frame.number, _told(frame)) == (2, 2)
    assert (camera.failed, camera.dropped) == (1, 0)


def test_a_lost_frame_is_reported_and_the_next_is_not_taken_for_it(camera: EmulatedBasler) -> None:
    """By the numbers that the library gives to buffers."""
    _take(camera)
    camera.trigger()
    camera.trigger()
    camera.take_one_away(2.0)
    with pytest.raises(DeviceError, match="frame 1 was lost"):
        camera.grab(2.0)
    frame = camera.grab(2.0)
    assert (frame.number, _told(frame)) == (2, 2)
    assert camera.dropped == 1


def test_a_frame_that_does_not_come_is_a_dead_link(camera: EmulatedBasler) -> None:
    """And is counted; the camera can be triggered again."""
    camera.trigger()
    camera.take_one_away(2.0)
    with pytest.raises(LinkError, match=r"no frame within 0\.05 s"):
        camera.grab(0.05)
    assert camera.dropped == 1
    assert _take(camera).number == 1
    with pytest.raises(LinkError, match="trigger first"):
        camera.grab(0.05)


def test_a_line_without_pulses_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """The camera waits for the pulse within `trigger`; that none came is said by `grab`, and counted."""
    monkeypatch.setattr(triggered_camera, "PATIENCE_S", 0.05)
    camera = _camera(trigger="Line1")
    camera.open()
    camera.set_roi(SMALL)
    camera.trigger()
    with pytest.raises(DeviceError, match="frame 0 was lost"):
        camera.grab(2.0)
    camera.close()
    assert camera.dropped == 1


def test_settings_wait_for_frames_that_are_outstanding(camera: EmulatedBasler) -> None:
    """Refused until they have been grabbed."""
    camera.trigger()
    with pytest.raises(DeviceError, match="1 frames are outstanding"):
        camera.set_exposure_s(1e-3)
    camera.grab(2.0)
    camera.set_exposure_s(1e-3)


@pytest.mark.parametrize(("name", "bits"), [("Mono8", 8), ("Mono12", 12), ("Mono16", 16)])
def test_counts_are_right_justified_in_every_format(name: str, bits: int) -> None:
    """Of that many bits; the top count may be clipped."""
    camera = _camera(pixel_format=name)
    camera.open()
    camera.set_roi(Roi(0, 0, 64, 512))
    frame = _take(camera)
    camera.close()
    assert camera.bits == bits
    assert frame.saturated_level == 2**bits - 1
    assert frame.pixels.dtype == np.uint16
    assert 2 ** (bits - 8) <= frame.pixels.max() < 2**bits


def test_a_format_that_the_camera_has_not_is_refused_with_those_it_has() -> None:
    """And nothing stays open."""
    camera = _camera(pixel_format="Mono12p")
    with pytest.raises(DeviceError, match="has no Mono12p; of those that can be read: Mono8, Mono10, Mono12, Mono16"):
        camera.open()
    with pytest.raises(DeviceError, match="not open"):
        camera.trigger()


def test_a_camera_is_found_by_its_serial_number() -> None:
    """One that is not connected is a dead link; the emulation is not taken for a real camera."""
    camera = _camera(serial="0815-0000")
    camera.open()
    camera.close()
    camera.close()
    with pytest.raises(LinkError, match="no such camera"):
        _camera(serial="1234").open()
    with pytest.raises(LinkError, match="no such camera"):
        _camera(emulated=False).open()


def test_a_missing_library_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not at import: when the camera is opened."""
    monkeypatch.setitem(sys.modules, "pypylon.pylon", None)
    with pytest.raises(LinkError, match=r"pip install pib-lab\[optics\]"):
        _camera().open()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"pixel_format": "BayerRG8"}, "rig.camera.pixel_format.*choose one of Mono8"),
        ({"trigger": "hardware"}, "rig.camera.trigger"),
        ({"exposure": 1}, "rig.camera.exposure"),
    ],
)
def test_wrong_options_are_named(options: dict[str, object], told: str) -> None:
    """With the path of the key."""
    with pytest.raises(ConfigurationError, match=told):
        make_basler(options, CONTEXT, "rig.camera")
