"""A small coherent unit for tests of learning rules: light of a phase mask through a complex matrix onto detectors.

Its formula is written twice, in numpy for what is measured, in torch for autograd; training sees the first.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from learning_bench import learner

from pib_lab.errors import DeviceError
from pib_lab.learner import LocalLearner
from pib_lab.objectives import ConditionalEntropy, Context
from pib_lab.quantities import Array, Mask, Quantity
from pib_lab.unit import CancelToken, Measurement, SafeReport, State, UnitSpec

TURN = 2 * np.pi


class BlackLight:
    """intensity = |reference + sum_p e^{i (drive_p + mask_p)} T_pk|^2, from a drive of a phase a pixel, 0 to pi."""

    def __init__(self, shape: tuple[int, int] = (4, 4), outputs: int = 6, reference: float = 0.0, levels: int = 0):
        pixels, rng = shape[0] * shape[1], np.random.default_rng(11)
        self.spec = UnitSpec(
            name="light",
            drive=Quantity("rad", (pixels,), 0.0, np.pi),
            response=Quantity("1", (outputs,), 0.0),
            parameters=Quantity("rad", shape, 0.0, TURN, TURN / levels if levels else 0.0, periodic=True),
            settle_s=0.0,
        )
        matrix = rng.standard_normal((2, pixels, outputs)) / np.sqrt(2 * pixels)
        self.matrix, self.reference = matrix[0] + 1j * matrix[1], reference
        self.asked: list[Array] = []
        self._mask, self._open = np.zeros(shape, np.float32), False

    def open(self) -> None:
        self._open = True

    def program(self, parameters: Array, where: Mask | None = None) -> Array:
        self.spec.parameters.check_batch(parameters[np.newaxis], "light: parameters")
        self.asked.append(parameters.copy())
        step = self.spec.parameters.resolution
        wanted = np.mod(np.rint(parameters / step) * step, TURN) if step else parameters
        self._mask = np.where(True if where is None else where, wanted, self._mask).astype(np.float32)
        return self._mask.copy()

    def measure(self, drive: Array, *, cancel: CancelToken) -> Measurement:
        return self.respond(drive, self._mask.ravel())

    def respond(self, drive: Array, mask: Array) -> Measurement:
        if not self._open:
            raise DeviceError("light: not open; call open() first")
        field = np.exp(1j * (drive.astype(np.float64) + mask)) @ self.matrix + self.reference
        values = (np.abs(field) ** 2).astype(np.float32)
        return Measurement(values, np.zeros(values.shape, np.bool_), len(drive), 0.0, 0.0)

    def make_safe(self) -> SafeReport:
        return SafeReport("light", confirmed=("light",))

    def close(self) -> None:
        self._open = False

    def snapshot(self) -> State:
        return {"mask": self._mask.copy()}

    def restore(self, state: State) -> None:
        self._mask = np.array(state["mask"], np.float32)


class Light(BlackLight):
    """The same, which says that it is coherent."""

    def phase_period(self) -> float:
        return TURN


class ScatteredLight(Light):
    """Shifts each sample by itself; its mask stays within 0 to pi, and is not periodic."""

    def __init__(self, shape: tuple[int, int] = (4, 4), outputs: int = 6, levels: int = 0):
        super().__init__(shape, outputs, levels=levels)
        phases = replace(self.spec.parameters, high=np.pi, periodic=False)
        self.spec = replace(self.spec, parameters=phases)
        self.shifts: list[Array] = []

    def measure_shifted(self, drive: Array, shift: Array, *, cancel: CancelToken) -> Measurement:
        self.shifts.append(shift)
        return self.respond(drive, (self._mask + shift).reshape(len(drive), -1))


def light_learner(unit: BlackLight, **config: object) -> LocalLearner:
    """A started and calibrated learner on this unit."""
    unit.open()
    return learner(unit, **config)


def intensities(unit: BlackLight, drive: Array, mask: torch.Tensor) -> torch.Tensor:
    """What the unit measures (batch, outputs), in float64, differentiable in `mask` (pixels,)."""
    phase = torch.from_numpy(drive.astype(np.float64)) + mask
    field = torch.exp(1j * phase) @ torch.from_numpy(unit.matrix) + unit.reference
    return field.real**2 + field.imag**2


def true_gradient(unit: BlackLight, drive: Array, mask: Array, context: Context, headroom: float = 3.0) -> Array:
    """dL/d(mask) of the conditional entropy of a conditioned, rectified response, by autograd throughout."""
    phases = torch.from_numpy(mask.astype(np.float64).ravel()).requires_grad_()
    values = intensities(unit, drive, phases)
    scale = values.std(dim=0, unbiased=False)
    signal = ((values - values.mean(dim=0)) / (headroom * scale)).clamp(0.0, 1.0)
    context = replace(context, x_gram=context.x_gram.double())
    ConditionalEntropy().loss(signal, context).backward()
    assert phases.grad is not None
    return phases.grad.numpy().reshape(mask.shape)
