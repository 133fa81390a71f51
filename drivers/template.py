"""Copy this file to write a driver. EchoUnit is a stand-in that answers drive @ weights; replace what it does by I/O.

Register it in your package's pyproject.toml, and name it in a protocol as `driver = "my-device"`:
    [project.entry-points."pib_lab.drivers"]
    my-device = "my_package:MyDevice" """

from __future__ import annotations

from typing import Any

import numpy as np

from pib_lab.device import DeviceContext, UnitRequest
from pib_lab.errors import DeviceError
from pib_lab.experiment import check_options
from pib_lab.quantities import Array, Mask, Quantity
from pib_lab.unit import CancelToken, Measurement, SafeReport, UnitSpec


class EchoUnit:
    """One layer. Methods beyond PhysicalUnit are capabilities: here PullsBack, for the response is linear."""

    def __init__(self, request: UnitRequest, context: DeviceContext, gain: float) -> None:
        shape = (request.inputs, request.outputs)
        self.spec = UnitSpec(
            name=request.name,
            drive=Quantity("V", (request.inputs,), 0.0, 1.0),
            response=Quantity("V", (request.outputs,)),
            parameters=Quantity("1", shape, -1.0, 1.0, resolution=1 / 2048),
            settle_s=0.0,
        )
        self._clock, self._gain = context.clock, np.float32(gain)
        self._weights, self._open = np.zeros(shape, np.float32), False

    def open(self) -> None:
        self._open = True  # connect here; leave outputs off

    def program(self, parameters: Array, where: Mask | None = None) -> Array:
        self._require_open()
        self.spec.parameters.check_batch(parameters[np.newaxis], f"{self.spec.name}: parameters")
        self._weights = np.where(True if where is None else where, parameters, self._weights).astype(np.float32)
        return self._weights.copy()  # what the device holds now, which may differ from what was asked

    def measure(self, drive: Array, *, cancel: CancelToken) -> Measurement:
        self._require_open()
        self.spec.drive.check_batch(drive, f"{self.spec.name}: drive")
        cancel.raise_if_cancelled()  # look again between samples when they take long
        started_s = self._clock.now_s()
        values = self._gain * (drive.astype(np.float32) @ self._weights)
        return Measurement(values, np.zeros(values.shape, np.bool_), len(drive), started_s, self._clock.now_s())

    def make_safe(self) -> SafeReport:
        return SafeReport(self.spec.name, confirmed=("drive",))  # read back; list what did not answer as not_confirmed

    def close(self) -> None:
        self._open = False

    def pullback(self, drive: Array, d_response: Array) -> Array:
        return self._gain * (drive.T @ d_response)

    def _require_open(self) -> None:
        if not self._open:
            raise DeviceError(f"{self.spec.name}: not open; call open() first")


class EchoDevice:
    """One instrument. `options` are the protocol's keys under [hardware.NAME], without `driver`."""

    is_mock = True  # leave this out for real hardware: runs are badged by it, and mocks are given a virtual clock

    def __init__(self, options: dict[str, Any], context: DeviceContext) -> None:
        check_options(options, {"gain"}, f"hardware.{context.name}")
        self._gain, self._context = float(options.get("gain", 1.0)), context

    def unit(self, request: UnitRequest) -> EchoUnit:
        return EchoUnit(request, self._context, self._gain)

    def close(self) -> None:
        pass  # let go of the link here; units that share one use drivers.device.DeviceSession
