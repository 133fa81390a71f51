"""From a gradient in physical parameters to programming: optimisers and the digital accumulator. Pure arithmetic.

Parameters are normalised here: 0 is the low limit, 1 the high limit of the physical parameter.
"""

from __future__ import annotations

import math
from typing import Literal, Protocol

import numpy as np

from pib_lab.quantities import Array, Counts, Mask

OptimiserState = dict[str, np.ndarray | int]


class Optimiser(Protocol):
    """Turns gradients into steps; keeps its own digital state, one or two numbers a parameter."""

    def step(self, gradient: Array, learning_rate: float) -> Array:
        """The change to make to normalised parameters."""

    def reorder(self, order: Counts) -> None:
        """Parameters have changed places along the first axis: entry i is now what entry order[i] was."""

    def snapshot(self) -> OptimiserState:
        """State as arrays and numbers."""

    def restore(self, state: OptimiserState) -> None:
        """Go back to a snapshot."""


class Adam:
    """Kingma and Ba, "Adam" (2015): -rate * m / (sqrt(v) + eps), m and v bias-corrected running moments.

    eps is relative to the largest sqrt(v), for gradients in physical units have no natural size.
    """

    def __init__(self, shape: tuple[int, ...], momentum: float, second_momentum: float):
        self._beta1, self._beta2 = momentum, second_momentum
        self._m = np.zeros(shape, np.float32)
        self._v = np.zeros(shape, np.float32)
        self._t = 0
        self._unit = 0.0  # until the first gradient that is not 0

    def step(self, gradient: Array, learning_rate: float) -> Array:
        """The change to make to normalised parameters; nothing moves when every gradient so far was 0."""
        # Physical gradients can be as small as 1e-9 or as large as 1e9: float32 squares need them near 1.
        if self._unit == 0.0:
            largest = float(np.abs(gradient).max(initial=0.0))
            self._unit = 1.0 / largest if largest > 0.0 else 0.0
        self._t += 1
        gradient = gradient * np.float32(self._unit)
        self._m += np.float32(1 - self._beta1) * (gradient - self._m)
        np.square(gradient, out=gradient)
        self._v += np.float32(1 - self._beta2) * (gradient - self._v)
        rate = learning_rate * math.sqrt(1 - self._beta2**self._t) / (1 - self._beta1**self._t)
        root = np.sqrt(self._v)
        root += np.float32(1e-6 * float(root.max(initial=0.0)) + 1e-30)
        change: Array = np.divide(self._m * np.float32(-rate), root, out=root)
        return change

    def reorder(self, order: Counts) -> None:
        """Moments move with their parameters."""
        self._m, self._v = self._m[order], self._v[order]

    def snapshot(self) -> OptimiserState:
        """Moments, count and the gradient's unit."""
        unit = np.array([self._unit], np.float64)
        return {"m": self._m.copy(), "v": self._v.copy(), "t": self._t, "unit": unit}

    def restore(self, state: OptimiserState) -> None:
        """Go back to a snapshot."""
        self._m, self._v = np.array(state["m"], np.float32), np.array(state["v"], np.float32)
        self._t = int(state["t"])
        self._unit = float(np.asarray(state["unit"]).ravel()[0])


class Momentum:
    """Gradient descent with momentum; the step is -rate * m / rms(m), so that the rate is a fraction of the range."""

    def __init__(self, shape: tuple[int, ...], momentum: float):
        self._beta = momentum
        self._m = np.zeros(shape, np.float32)

    def step(self, gradient: Array, learning_rate: float) -> Array:
        """The change to make to normalised parameters."""
        self._m += np.float32(1 - self._beta) * (gradient - self._m)
        rms = math.sqrt(float(np.mean(np.square(self._m, dtype=np.float64))))
        return self._m * np.float32(-learning_rate / rms) if rms > 0 else np.zeros_like(self._m)

    def reorder(self, order: Counts) -> None:
        """The running gradient moves with its parameters."""
        self._m = self._m[order]

    def snapshot(self) -> OptimiserState:
        """The running gradient."""
        return {"m": self._m.copy()}

    def restore(self, state: OptimiserState) -> None:
        """Go back to a snapshot."""
        self._m = np.array(state["m"], np.float32)


def make_optimiser(
    name: Literal["adam", "momentum"], shape: tuple[int, ...], momentum: float, second_momentum: float
) -> Optimiser:
    """The optimiser that a protocol names."""
    return Adam(shape, momentum, second_momentum) if name == "adam" else Momentum(shape, momentum)


class Accumulator:
    """The digital target of every parameter, finer than the device can be programmed.

    Updates smaller than a pulse are not lost: they add up in `target`, and a parameter is programmed once the target is
    `deadband` or more from what the device is believed to hold. Where parameters are `periodic`, 1 is 0 again: targets
    go round instead of stopping at the ends, and distances are the shorter way round.
    """

    def __init__(self, held: Array, deadband: float, periodic: bool = False):
        self.held = held.astype(np.float32).copy()
        self.target = self.held.copy()
        self.deadband = deadband
        self.periodic = periodic

    def add(self, change: Array) -> None:
        """Move the targets, within the limits or round."""
        self.target += change
        if self.periodic:
            self.target -= np.floor(self.target)
        else:
            np.clip(self.target, 0.0, 1.0, out=self.target)

    def due(self, usable: Mask) -> Mask:
        """Where programming is worth a pulse."""
        away = np.abs(self.target - self.held)
        if self.periodic:
            away = np.minimum(away, 1.0 - away)
        due: Mask = (away >= self.deadband) & usable
        return due
