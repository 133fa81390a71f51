"""Basler cameras through the maker's library, pylon. Proved against the maker's camera emulation only.

The library is imported when a camera is opened. Exposure, gain and region are read back; automatic functions are off.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from drivers.optics.camera import Roi
from drivers.optics.pixel_formats import FORMATS, decode
from drivers.optics.roi_steps import Axis, check_roi
from drivers.optics.triggered_camera import Arrival, TriggeredCamera
from pib_lab.device import DeviceContext
from pib_lab.errors import ConfigurationError, DeviceError, LimitError, LinkError

READY_S = 2.0
"""Longest wait, beyond an exposure, until the camera takes a trigger."""

_EMULATION = "BaslerCamEmu"


class BaslerOptions(BaseModel):
    """serial: needed where there is more than one camera. emulated: the library's own camera emulation.

    pixel_format: a monochrome one. significant_bits: where the camera left-justifies fewer bits in it. trigger:
    "Software", or a line such as "Line1". saturated_level: counts from which a pixel may be clipped, default the top
    one; lower where the full well is reached before.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    serial: str | None = None
    emulated: bool = False
    pixel_format: str = "Mono12"
    significant_bits: Annotated[int, Field(ge=1, le=16)] | None = None
    saturated_level: Annotated[int, Field(ge=1, le=65535)] | None = None
    trigger: Annotated[str, Field(pattern=r"^(Software|Line\d+)$")] = "Software"

    @field_validator("pixel_format")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in FORMATS:
            raise ValueError(f"choose one of {', '.join(FORMATS)}")
        return value


def read_basler_options(options: Mapping[str, Any], where: str) -> BaslerOptions:
    """Raises ConfigurationError with the key that is unknown or wrong."""
    try:
        return BaslerOptions.model_validate(dict(options))
    except ValidationError as error:
        lines = [f"{where}.{'.'.join(map(str, detail['loc']))}: {detail['msg']}" for detail in error.errors()]
        raise ConfigurationError("\n".join(lines)) from None


def make_basler(options: Mapping[str, Any], context: DeviceContext, where: str) -> BaslerCamera:
    """Connects to nothing. Raises ConfigurationError."""
    return BaslerCamera(read_basler_options(options, where), context)


class BaslerCamera(TriggeredCamera):
    """A `Camera`. Temperature: `temperature_c`; refused buffers: `failed`."""

    def __init__(self, options: BaslerOptions, context: DeviceContext) -> None:
        which = options.serial or ("emulated Basler" if options.emulated else "Basler")
        name = f"{context.name}.camera {which}"
        super().__init__(name, context.clock, in_software=options.trigger == "Software")
        self._options = options
        self._camera: Any = None
        self._pylon: Any = None
        self._genicam: Any = None
        self._roi = Roi(0, 0, 1, 1)
        self.bits = options.significant_bits or FORMATS[options.pixel_format]
        self.saturated_level = options.saturated_level or 2**self.bits - 1

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of a frame."""
        return self._roi.height, self._roi.width

    @property
    def frame_s(self) -> float:
        """Least time between two triggers, as the camera says for its settings; 0 where not, or when not open."""
        if not self._is_open:
            return 0.0
        with self._errors("frame rate"):
            rate = self._node("ResultingFrameRate", "BslResultingAcquisitionFrameRate", "ResultingFrameRateAbs")
            return 1.0 / float(rate.GetValue()) if rate is not None else 0.0

    def open(self) -> None:
        """Connect, settings to a known state. Raises LinkError when the camera, or its library, is not there."""
        if self._is_open:
            return
        self._load()
        try:
            with self._errors("opening", LinkError):
                factory = self._pylon.TlFactory.GetInstance()
                self._camera = self._pylon.InstantCamera(factory.CreateDevice(self._find(factory)))
                self._camera.Open()
            with self._errors("set-up"):
                self._set_up()
                self._roi = self._read_roi()
                self.exposure_s = float(self._needed("ExposureTime", "ExposureTimeAbs").GetValue()) * 1e-6
            self._opened()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the camera. Idempotent."""
        self._closed()
        if self._camera is not None:
            with suppress(self._genicam.GenericException):
                self._camera.StopGrabbing()
            with suppress(self._genicam.GenericException):
                self._camera.Close()
            self._camera = None

    def set_exposure_s(self, exposure_s: float) -> float:
        """Choose the exposure; returns it as read back. Raises LimitError beyond the camera's limits."""
        self._require_idle()
        with self._errors("exposure"):
            node = self._needed("ExposureTime", "ExposureTimeAbs")
            low, high = float(node.GetMin()) * 1e-6, float(node.GetMax()) * 1e-6
            if not low <= exposure_s <= high:
                raise LimitError(f"{self.name}: exposure {exposure_s:g} s is beyond {low:g} to {high:g} s")
            node.SetValue(exposure_s * 1e6)
            self.exposure_s = float(node.GetValue()) * 1e-6
        return self.exposure_s

    def set_gain_db(self, gain_db: float) -> float:
        """Choose the gain over the camera's lowest; returns it as read back. Raises LimitError beyond the limits."""
        self._require_idle()
        with self._errors("gain"):
            node = self._node("Gain")
            if node is None:  # older cameras: steps whose size in dB depends on the model
                raw = self._needed("GainRaw")
                if gain_db != 0.0:
                    raise LimitError(f"{self.name}: its gain has no scale in dB; use gain_db = 0")
                raw.SetValue(raw.GetMin())
                return 0.0
            low, high = float(node.GetMin()), float(node.GetMax())
            if not 0.0 <= gain_db <= high - low:
                raise LimitError(f"{self.name}: gain {gain_db:g} dB is beyond 0 to {high - low:g} dB")
            node.SetValue(low + gain_db)
            return float(node.GetValue()) - low

    def set_roi(self, roi: Roi | None) -> Roi:
        """Choose a region, None for the whole sensor; returns it as read back.

        Raises LimitError for one that leaves the sensor or is off the camera's steps, and names the nearest it takes.
        """
        self._require_idle()
        with self._errors("region of interest"):
            nodes = top, left, height, width = [self._needed(n) for n in ("OffsetY", "OffsetX", "Height", "Width")]
            whole = Roi(0, 0, int(self._needed("HeightMax").GetValue()), int(self._needed("WidthMax").GetValue()))
            wanted = roi or whole
            check_roi(wanted, whole, [Axis(int(n.GetMin()), int(n.GetInc())) for n in nodes], self.name)
            left.SetValue(left.GetMin())
            top.SetValue(top.GetMin())
            width.SetValue(wanted.width)
            height.SetValue(wanted.height)
            left.SetValue(wanted.left)
            top.SetValue(wanted.top)
            self._roi = self._read_roi()
        if self._roi != wanted:
            raise DeviceError(f"{self.name}: asked for {wanted}, the camera says {self._roi}")
        return self._roi

    def temperature_c(self) -> float | None:
        """Of the camera's inside, in degrees Celsius; None where it has no thermometer."""
        self._require_open()
        with self._errors("temperature"):
            node = self._node("DeviceTemperature", "TemperatureAbs")
            return None if node is None else float(node.GetValue())

    # The stream

    def _start_stream(self) -> None:
        with self._errors("start", LinkError):
            self._camera.StartGrabbing(self._pylon.GrabStrategy_OneByOne)

    def _stop_stream(self) -> None:
        with self._errors("stop", LinkError):
            self._camera.StopGrabbing()

    def _fire(self) -> None:
        with self._errors("trigger", LinkError):
            within_ms = round((self.exposure_s + READY_S) * 1e3)
            if not self._camera.WaitForFrameTriggerReady(within_ms, self._pylon.TimeoutHandling_Return):
                raise LinkError(f"{self.name}: not ready for a trigger within {within_ms} ms; look at its cable")
            self._camera.ExecuteSoftwareTrigger()

    def _fetch(self, timeout_s: float) -> Arrival | None:
        with self._errors("grab", LinkError):
            result = self._camera.RetrieveResult(max(1, round(timeout_s * 1e3)), self._pylon.TimeoutHandling_Return)
            if not result.IsValid():
                return None
            try:
                if not result.GrabSucceeded():
                    return Arrival(int(result.BlockID), None, str(result.ErrorDescription))
                if (result.Height, result.Width) != self.shape:
                    return Arrival(int(result.BlockID), None, f"it has {result.Height} x {result.Width} pixels")
                data, o = bytes(result.GetBuffer()), self._options
                pixels = decode(data, o.pixel_format, *self.shape, int(result.PaddingX), o.significant_bits)
                return Arrival(int(result.BlockID), pixels)
            finally:
                result.Release()

    # Settings

    def _load(self) -> None:
        if self._options.emulated:
            os.environ.setdefault("PYLON_CAMEMU", "1")
        try:
            self._pylon, self._genicam = import_module("pypylon.pylon"), import_module("pypylon.genicam")
        except ImportError:
            raise LinkError(f"{self.name}: Basler's library is missing; run: pip install pib-lab[optics]") from None

    def _find(self, factory: Any) -> Any:
        found = [
            info
            for info in factory.EnumerateDevices()
            if (info.GetDeviceClass() == _EMULATION) == self._options.emulated
            and self._options.serial in (None, info.GetSerialNumber())
        ]
        if not found:
            raise LinkError(f"{self.name}: no such camera is connected; look at its cable, and with pylon's viewer")
        if len(found) > 1 and not self._options.emulated:
            serials = ", ".join(info.GetSerialNumber() for info in found)
            raise LinkError(f"{self.name}: several cameras are connected; write serial, one of {serials}")
        return found[0]

    def _set_up(self) -> None:
        for name, value in (("ExposureAuto", "Off"), ("GainAuto", "Off"), ("GammaEnable", False), ("Gamma", 1.0)):
            self._set_if_there(name, value)
        self._set_if_there("AcquisitionFrameRateEnable", False)
        self._set_if_there("AcquisitionMode", "Continuous")
        formats = self._needed("PixelFormat")
        if self._options.pixel_format not in formats.GetSymbolics():
            told = ", ".join(name for name in formats.GetSymbolics() if name in FORMATS) or "none"
            raise DeviceError(f"{self.name}: has no {self._options.pixel_format}; of those that can be read: {told}")
        formats.SetValue(self._options.pixel_format)
        selector, mode = self._needed("TriggerSelector"), self._needed("TriggerMode")
        for kind in selector.GetSymbolics():
            selector.SetValue(kind)
            if self._genicam.IsWritable(mode):
                mode.SetValue("Off")
        selector.SetValue("FrameStart")
        mode.SetValue("On")
        self._needed("TriggerSource").SetValue(self._options.trigger)
        self._set_if_there("TriggerDelay", 0.0)

    def _set_if_there(self, name: str, value: object) -> None:
        node = self._camera.GetNodeMap().GetNode(name)
        if node is not None and self._genicam.IsWritable(node):
            node.SetValue(value)

    def _read_roi(self) -> Roi:
        top, left, height, width = (self._needed(n).GetValue() for n in ("OffsetY", "OffsetX", "Height", "Width"))
        return Roi(int(top), int(left), int(height), int(width))

    def _node(self, *names: str) -> Any:
        """The first of these that the camera has, None when it has none."""
        self._require_camera()
        for name in names:
            node = self._camera.GetNodeMap().GetNode(name)
            if node is not None and self._genicam.IsReadable(node):
                return node
        return None

    def _needed(self, *names: str) -> Any:
        node = self._node(*names)
        if node is None:
            raise DeviceError(f"{self.name}: has no {' or '.join(names)}; this driver cannot use it")
        return node

    def _require_camera(self) -> None:
        if self._camera is None:
            raise DeviceError(f"{self.name} is not open; open it first")

    @contextmanager
    def _errors(self, what: str, kind: type[DeviceError] = DeviceError) -> Iterator[None]:
        """The library's errors as ours; a camera that was unplugged is a LinkError whatever was being done."""
        self._load()
        try:
            yield
        except self._genicam.GenericException as problem:
            gone = self._camera is not None and self._camera.IsCameraDeviceRemoved()
            told = "it was unplugged" if gone else str(problem).split(" : ")[0]
            raise (LinkError if gone else kind)(f"{self.name}: {what} failed: {told}") from problem
