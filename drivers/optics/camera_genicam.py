"""Any camera with a GenTL producer, through harvesters. Proved against the genicam package's simulated producer only,
which runs freely: the software trigger of this driver has never met a camera.

The libraries are imported when a camera is opened. Only one camera of a producer at a time: it belongs to the process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from drivers.optics.camera import Pixels, Roi
from drivers.optics.pixel_formats import FORMATS, justify
from drivers.optics.roi_steps import Axis, check_roi
from drivers.optics.triggered_camera import Arrival, TriggeredCamera
from pib_lab.device import DeviceContext
from pib_lab.errors import ConfigurationError, DeviceError, LimitError, LinkError

_CHANNELS = {"red": 0, "green": 1, "blue": 2}
_COLOURS = {"RGB8": 3, "RGBa8": 4}
"""Formats of which a channel can be taken, and their bytes a pixel."""

MONO = tuple(name for name in FORMATS if name[-1].isdigit())
"""Monochrome formats that the library hands over unpacked."""


class GenicamOptions(BaseModel):
    """producer: path of the maker's .cti file. serial: needed where it finds more than one camera.

    pixel_format: default what the camera is set to. channel: which of a colour camera's counts; without it colour is
    refused. significant_bits, saturated_level: as those of a Basler camera. trigger: "Software", or "stream-start":
    each frame is the first of a stream of its own, which any camera can and which is slow.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    producer: str
    serial: str | None = None
    pixel_format: str | None = None
    channel: Literal["red", "green", "blue"] | None = None
    significant_bits: Annotated[int, Field(ge=1, le=16)] | None = None
    saturated_level: Annotated[int, Field(ge=1, le=65535)] | None = None
    trigger: Literal["Software", "stream-start"] = "Software"


def make_genicam(options: Mapping[str, Any], context: DeviceContext, where: str) -> GenicamCamera:
    """Connects to nothing. Raises ConfigurationError with the key that is missing, unknown or wrong."""
    try:
        return GenicamCamera(GenicamOptions.model_validate(dict(options)), context)
    except ValidationError as error:
        lines = [f"{where}.{'.'.join(map(str, detail['loc']))}: {detail['msg']}" for detail in error.errors()]
        raise ConfigurationError("\n".join(lines)) from None


class GenicamCamera(TriggeredCamera):
    """A `Camera`. Refused buffers: `failed`."""

    def __init__(self, options: GenicamOptions, context: DeviceContext) -> None:
        name = f"{context.name}.camera {options.serial or Path(options.producer).name}"
        super().__init__(name, context.clock, in_software=options.trigger == "Software")
        self._options = options
        self._harvester: Any = None
        self._acquirer: Any = None
        self._failures: tuple[type[Exception], ...] = ()
        self._roi = Roi(0, 0, 1, 1)
        self._format = ""
        self._refused = 0
        self.bits = 8

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of a frame."""
        return self._roi.height, self._roi.width

    @property
    def frame_s(self) -> float:
        """Least time between two triggers, from the frame rate that the camera says; 0 where not, or when not open."""
        if not self._is_open:
            return 0.0
        with self._errors("frame rate"):
            rate = self._node("AcquisitionFrameRate")
            return 1.0 / float(rate.value) if rate is not None else 0.0

    def open(self) -> None:
        """Connect, settings to a known state. Raises LinkError when camera, producer or library is not there."""
        if self._is_open:
            return
        core = self._load()
        if not Path(self._options.producer).is_file():
            raise LinkError(
                f"{self.name}: there is no file {self._options.producer}; install the maker's GenTL producer"
            )
        try:
            with self._errors("opening", LinkError):
                self._harvester = core.Harvester()
                self._harvester.add_file(self._options.producer)
                self._harvester.update()
                self._acquirer = self._harvester.create(self._find())
                self._acquirer.add_callback(self._acquirer.Events.INCOMPLETE_BUFFER, _Refusals(self._count))
            with self._errors("set-up"):
                self._set_up()
            self._opened()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the camera. Idempotent."""
        self._closed()
        if self._acquirer is not None:
            with suppress(*self._failures):
                self._acquirer.destroy()
            self._acquirer = None
        if self._harvester is not None:
            with suppress(*self._failures):
                self._harvester.reset()
            self._harvester = None

    def set_exposure_s(self, exposure_s: float) -> float:
        """Choose the exposure; returns it as read back. Raises LimitError beyond the camera's limits."""
        self._require_idle()
        with self._errors("exposure"):
            node = self._needed("ExposureTime")
            low, high = float(node.min) * 1e-6, float(node.max) * 1e-6
            if not low <= exposure_s <= high:
                raise LimitError(f"{self.name}: exposure {exposure_s:g} s is beyond {low:g} to {high:g} s")
            node.value = exposure_s * 1e6
            self.exposure_s = float(node.value) * 1e-6
        return self.exposure_s

    def set_gain_db(self, gain_db: float) -> float:
        """Choose the gain over the camera's lowest, if its unit is dB; returns it as read back. Raises LimitError."""
        self._require_idle()
        with self._errors("gain"):
            node = self._node("Gain")
            if node is None or node.unit != "dB":
                if gain_db != 0.0:
                    raise LimitError(f"{self.name}: its gain has no scale in dB; use gain_db = 0")
                if node is not None:
                    node.value = node.min
                return 0.0
            if not 0.0 <= gain_db <= node.max - node.min:
                raise LimitError(f"{self.name}: gain {gain_db:g} dB is beyond 0 to {node.max - node.min:g} dB")
            node.value = node.min + gain_db
            return float(node.value - node.min)

    def set_roi(self, roi: Roi | None) -> Roi:
        """Choose a region, None for the whole sensor; returns it as read back. Raises LimitError as `Camera` says."""
        self._require_idle()
        with self._errors("region of interest"):
            top, left = self._node("OffsetY"), self._node("OffsetX")
            height, width = self._needed("Height"), self._needed("Width")
            whole = Roi(0, 0, self._largest("HeightMax", height), self._largest("WidthMax", width))
            wanted = roi or whole
            fixed = Axis(0, max(whole.height, whole.width))  # a camera without offsets starts its frames at 0
            axes = [fixed if node is None else Axis(int(node.min), int(node.inc)) for node in (top, left)]
            axes += [Axis(int(node.min), int(node.inc)) for node in (height, width)]
            check_roi(wanted, whole, axes, self.name)
            for node in (top, left):
                if node is not None:
                    node.value = node.min
            height.value, width.value = wanted.height, wanted.width
            for node, place in ((top, wanted.top), (left, wanted.left)):
                if node is not None:
                    node.value = place
            self._roi = self._read_roi()
        if self._roi != wanted:
            raise DeviceError(f"{self.name}: asked for {wanted}, the camera says {self._roi}")
        return self._roi

    # The stream

    def _start_stream(self) -> None:
        with self._errors("start", LinkError):
            self._refused = 0
            self._acquirer.start()

    def _stop_stream(self) -> None:
        with self._errors("stop", LinkError):
            self._acquirer.stop()

    def _fire(self) -> None:
        with self._errors("trigger", LinkError):
            self._needed("TriggerSoftware").execute()

    def _fetch(self, timeout_s: float) -> Arrival | None:
        with self._errors("grab", LinkError):
            buffer = self._acquirer.try_fetch(timeout=max(1e-3, timeout_s))
            if buffer is None:
                refused, self._refused = self._refused, 0
                return Arrival(None, None, "it came incomplete") if refused else None
            try:
                return self._arrival_of(buffer)
            finally:
                buffer.queue()

    def _arrival_of(self, buffer: Any) -> Arrival:
        block, image = int(buffer.module.frame_id), buffer.payload.components[0]
        if (image.height, image.width) != self.shape or image.data_format != self._format or image.x_padding:
            found = f"{image.height} x {image.width} pixels of {image.data_format}, {image.x_padding} bytes of padding"
            return Arrival(block, None, f"it has {found}")
        return Arrival(block, self._counts(image.data))

    def _counts(self, data: Any) -> Pixels:
        if self._format in _COLOURS:
            pixels = data.reshape(*self.shape, _COLOURS[self._format])
            return np.array(pixels[..., _CHANNELS[self._options.channel or "green"]], np.uint16)
        return justify(data.reshape(self.shape).astype(np.uint16), self._format, self.bits)

    def _count(self) -> None:
        self._refused += 1

    # Settings

    def _load(self) -> Any:
        try:
            core = import_module("harvesters.core")
            self._failures = tuple(import_module(f"genicam.{part}").GenericException for part in ("gentl", "genapi"))
        except ImportError:
            raise LinkError(f"{self.name}: harvesters is missing; run: pip install pib-lab[optics]") from None
        return core

    def _find(self) -> dict[str, str]:
        found = [str(info.serial_number) for info in self._harvester.device_info_list]
        if self._options.serial is None and len(found) == 1:
            return {"serial_number": found[0]}
        if self._options.serial not in found:
            raise LinkError(f"{self.name}: write serial, one of those that are connected: {', '.join(found) or 'none'}")
        return {"serial_number": str(self._options.serial)}

    def _set_up(self) -> None:
        for name, value in (("ExposureAuto", "Off"), ("GainAuto", "Off"), ("AcquisitionMode", "Continuous")):
            node = self._node(name)
            if node is not None and node.value != value and value in node.symbolics:
                node.value = value
        self._choose_format()
        if self._in_software:
            if self._node("TriggerSoftware") is None:
                raise DeviceError(f'{self.name}: has no software trigger; write trigger = "stream-start"')
            self._needed("TriggerSelector").value = "FrameStart"
            self._needed("TriggerMode").value = "On"
            self._needed("TriggerSource").value = "Software"
        exposure = self._node("ExposureTime")
        self.exposure_s = float(exposure.value) * 1e-6 if exposure is not None else 0.0
        self._roi = self._read_roi()

    def _choose_format(self) -> None:
        o, node = self._options, self._needed("PixelFormat")
        known = [name for name in node.symbolics if name in MONO or name in _COLOURS]
        if o.pixel_format is not None:
            if o.pixel_format not in known:
                raise DeviceError(
                    f"{self.name}: has no {o.pixel_format}; of those that can be read: {', '.join(known)}"
                )
            node.value = o.pixel_format
        self._format = str(node.value)
        if self._format not in known:
            raise DeviceError(
                f"{self.name}: {self._format} cannot be read; write pixel_format, one of {', '.join(known)}"
            )
        if (self._format in _COLOURS) != (o.channel is not None):
            raise DeviceError(
                f"{self.name}: sends {self._format}; a colour camera needs channel, red, green or blue, and any other "
                f"must not have one (formats that can be read: {', '.join(known)})"
            )
        self.bits = 8 if self._format in _COLOURS else o.significant_bits or FORMATS[self._format]
        self.saturated_level = o.saturated_level or 2**self.bits - 1

    def _largest(self, name: str, node: Any) -> int:
        whole = self._node(name)
        return int(node.max if whole is None else whole.value)

    def _read_roi(self) -> Roi:
        top, left = (0 if node is None else int(node.value) for node in map(self._node, ("OffsetY", "OffsetX")))
        return Roi(top, left, int(self._needed("Height").value), int(self._needed("Width").value))

    def _node(self, name: str) -> Any:
        if self._acquirer is None:
            raise DeviceError(f"{self.name} is not open; open it first")
        nodes = self._acquirer.remote_device.node_map
        return getattr(nodes, name) if nodes.has_node(name) else None

    def _needed(self, name: str) -> Any:
        node = self._node(name)
        if node is None:
            raise DeviceError(f"{self.name}: has no {name}; this driver cannot set it")
        return node

    @contextmanager
    def _errors(self, what: str, kind: type[DeviceError] = DeviceError) -> Iterator[None]:
        """The libraries' errors as ours."""
        try:
            yield
        except self._failures as problem:
            raise kind(f"{self.name}: {what} failed: {str(problem).split(' : ')[0]}") from problem


class _Refusals:
    """What the library calls for each incomplete buffer, which it keeps to itself."""

    def __init__(self, count: Callable[[], None]) -> None:
        self._count = count

    def emit(self, context: object = None) -> None:
        """One more."""
        self._count()
