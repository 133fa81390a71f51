"""A rig's parts by the names that a protocol uses. A vendor's library is imported only where it is needed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from drivers.optics.camera import Camera
from drivers.optics.rig_options import Driven
from drivers.optics.shutter import Shutter
from drivers.optics.shutter_line import LineShutter, read_line_options
from drivers.optics.shutter_none import NoShutter
from drivers.optics.slm import SpatialLightModulator
from pib_lab.device import DeviceContext
from pib_lab.errors import ConfigurationError, nearest

Make = Callable[[Mapping[str, Any], DeviceContext, str], Any]

_SLMS = {"screen": "drivers.optics.slm_screen:make_screen_slm", "slmsuite": "drivers.optics.slm_slmsuite:make_slmsuite"}
_CAMERAS = {
    "basler": "drivers.optics.camera_basler:make_basler",
    "genicam": "drivers.optics.camera_genicam:make_genicam",
}


def make_slm(part: Driven, context: DeviceContext, where: str) -> SpatialLightModulator:
    """The panel that a protocol names; connects to nothing. Raises ConfigurationError."""
    slm: SpatialLightModulator = _find(part.driver, _SLMS, where)(part.options, context, where)
    return slm


def make_camera(part: Driven, context: DeviceContext, where: str) -> Camera:
    """The camera that a protocol names; connects to nothing. Raises ConfigurationError."""
    camera: Camera = _find(part.driver, _CAMERAS, where)(part.options, context, where)
    return camera


def make_shutter(part: Driven, context: DeviceContext, where: str) -> Shutter:
    """The shutter that a protocol names; connects to nothing. Raises ConfigurationError."""
    if part.driver == "line":
        return LineShutter(read_line_options(part.options, where), context)
    if part.driver == "none":
        return NoShutter(part.options, where)
    raise _unknown(part.driver, ("line", "none"), where)


def _find(name: str, known: Mapping[str, str], where: str) -> Make:
    if name not in known:
        raise _unknown(name, known, where)
    module, _, function = known[name].partition(":")
    make: Make = getattr(import_module(module), function)
    return make


def _unknown(name: str, known: Any, where: str) -> ConfigurationError:
    hint = f"{nearest(name, known)} (known: {', '.join(known)}; a simulated rig is the driver mock-optical-rig)"
    return ConfigurationError(f"{where}: {name!r} does not exist{hint}")
