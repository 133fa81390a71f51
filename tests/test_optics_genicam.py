"""The driver of GenICam cameras against the simulated GenTL producer that the genicam package ships."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("harvesters", reason="needs the extra optics")

from drivers.optics.camera import Camera, Roi
from drivers.optics.camera_genicam import GenicamCamera, make_genicam
from drivers.optics.parts import make_camera
from drivers.optics.rig_options import Driven
from pib_lab.clocks import RealClock
from pib_lab.device import DeviceContext
from pib_lab.errors import ConfigurationError, DeviceError, LimitError, LinkError

CONTEXT = DeviceContext("rig", 1, RealClock())
_PACKAGE = find_spec("genicam")
assert _PACKAGE is not None
assert _PACKAGE.origin is not None
PRODUCER = str(Path(_PACKAGE.origin).with_name("viky.cti"))
if not Path(PRODUCER).is_file():
    pytest.skip("this build of genicam ships no simulated producer", allow_module_level=True)


def _camera(**options: Any) -> GenicamCamera:
    own = {"producer": PRODUCER, "serial": "1", "trigger": "stream-start", "pixel_format": "Mono8"}
    return make_genicam(own | options, CONTEXT, "rig.camera")


def test_frames_come_through_any_producer() -> None:
    """Opened by its file and a serial number; a region is chosen and read back; each trigger has its frame."""
    camera = _camera()
    assert isinstance(camera, Camera)
    camera.open()
    assert (camera.shape, camera.bits) == ((400, 400), 8)
    assert camera.set_roi(Roi(0, 0, 200, 300)) == Roi(0, 0, 200, 300)
    for number in range(3):
        from_s = camera.trigger()
        frame = camera.grab(1.0)
        assert frame.number == number
        assert frame.pixels.shape == (200, 300)
        assert from_s == frame.exposed_from_s < frame.exposed_to_s
        assert frame.pixels.max() == 255  # the simulation's white court
    assert (camera.dropped, camera.failed) == (0, 0)
    camera.close()
    camera.close()


def test_colour_is_refused_unless_a_channel_is_chosen() -> None:
    """RGBa8: then that channel's counts are the frame; the red ball is dark in green and not in red."""
    with pytest.raises(DeviceError, match="sends RGBa8; a colour camera needs channel, red, green or blue"):
        _camera(pixel_format="RGBa8").open()
    with pytest.raises(DeviceError, match="any other must not have one"):
        _camera(channel="red").open()
    lowest = {}
    for channel in ("red", "green"):
        camera = _camera(serial="0", pixel_format="RGBa8", channel=channel)
        camera.open()
        camera.trigger()
        lowest[channel] = int(camera.grab(1.0).pixels.min())
        camera.close()
    assert lowest["green"] == 0
    assert lowest["red"] > 100


def test_what_the_camera_has_not_is_said() -> None:
    """No exposure, no gain, no offsets, no software trigger: each by its own message; what it has goes on working."""
    with pytest.raises(DeviceError, match='no software trigger; write trigger = "stream-start"'):
        _camera(trigger="Software").open()
    camera = _camera()
    camera.open()
    with pytest.raises(DeviceError, match="has no ExposureTime"):
        camera.set_exposure_s(1e-3)
    with pytest.raises(LimitError, match="no scale in dB"):
        camera.set_gain_db(1.0)
    assert camera.set_gain_db(0.0) == 0.0
    with pytest.raises(LimitError, match="the next one it takes is"):
        camera.set_roi(Roi(0, 4, 200, 200))
    with pytest.raises(LimitError, match="leaves the sensor"):
        camera.set_roi(Roi(0, 0, 900, 200))
    camera.trigger()
    assert camera.grab(1.0).pixels.shape == (400, 400)
    camera.close()


def test_a_camera_that_is_not_there_is_a_dead_link(tmp_path: Path) -> None:
    """Several without a serial number, a wrong one, no producer, and one that is none."""
    for options, told in (
        ({"serial": None}, "one of those that are connected: 0, 1, 2"),
        ({"serial": "7"}, "one of those that are connected: 0, 1, 2"),
        ({"producer": str(tmp_path / "no.cti")}, "install the maker's GenTL producer"),
    ):
        with pytest.raises(LinkError, match=told):
            _camera(**options).open()


def test_a_missing_library_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not at import: when the camera is opened."""
    monkeypatch.setitem(sys.modules, "harvesters.core", None)
    with pytest.raises(LinkError, match=r"pip install pib-lab\[optics\]"):
        _camera().open()


def test_options_make_it_a_part_of_a_rig() -> None:
    """A protocol's `camera.driver = "genicam"`; wrong ones are named with their path."""
    made = make_camera(Driven.model_validate({"driver": "genicam", "producer": "x.cti"}), CONTEXT, "rig.camera")
    assert isinstance(made, GenicamCamera)
    with pytest.raises(ConfigurationError, match=r"rig\.camera\.producer"):
        make_genicam({}, CONTEXT, "rig.camera")
