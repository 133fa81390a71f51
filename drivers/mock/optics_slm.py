"""A liquid-crystal phase panel: gray level to phase, neighbours that blur into each other, settling, zero order.

Equations: docs/mock-optics.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from drivers.mock.optics_profile import OpticsProfile
from drivers.optics.slm import Gray
from pib_lab.errors import DeviceError
from pib_lab.quantities import Array, Array64
from pib_lab.unit import State

Field = npt.NDArray[np.complexfloating[Any, Any]]
Phase = npt.NDArray[np.floating[Any]]

KEPT = 8
"""Patterns whose way is remembered, so that frames may still be read out while later patterns are on the panel."""


@dataclass(frozen=True, slots=True)
class _Turn:
    """From `since_s` on, the phases (n,) go from `start` towards `target`."""

    start: Array
    target: Array
    since_s: float


class PhasePanel:
    """phases of n = rows x columns pixels; lut_rad (levels,): phase of each gray level in the middle of a flat area."""

    def __init__(self, profile: OpticsProfile, now_s: float, rng: np.random.Generator) -> None:
        p = self._profile = profile
        self._shape = p.panel_shape
        self.lut_rad: Array64 = p.phase_range_rad * np.linspace(0.0, 1.0, p.panel_levels) ** p.lut_gamma
        self._lut = self.lut_rad.astype(np.float32)
        pixels = math.prod(self._shape)
        self.dead = rng.random(pixels).reshape(self._shape) < p.panel_dead
        self._stuck = rng.uniform(0.0, p.phase_range_rad, self._shape)
        self.amplitude: Array64 = _illumination(self._shape, p.beam_radius)
        flat = self.steady(np.zeros((1, *self._shape), np.uint16))[0]
        self._turns = [_Turn(flat, flat, now_s)]

    def steady(self, gray: Gray) -> Array:
        """Phases in rad (batch, n) that patterns (batch, rows, columns) settle to."""
        return np.asarray(self.blur(self._lut[gray]), np.float32)

    def blur(self, phase_rad: Phase) -> Phase:
        """Phases (batch, n), dead pixels in: (own + c x sum of 4 neighbours) / (1 + 4 c), edges repeated."""
        if self.dead.any():
            phase_rad = np.where(self.dead, self._stuck.astype(phase_rad.dtype), phase_rad)
        c = self._profile.crosstalk
        if c > 0.0:
            edge = np.pad(phase_rad, ((0, 0), (1, 1), (1, 1)), mode="edge")
            around = edge[:, :-2, 1:-1] + edge[:, 2:, 1:-1] + edge[:, 1:-1, :-2] + edge[:, 1:-1, 2:]
            phase_rad = (phase_rad + c * around) / (1.0 + 4.0 * c)
        return phase_rad.reshape(len(phase_rad), -1)

    def show(self, target: Array, at_s: float) -> None:
        """Phases head for `target` (n,) from `latency_s` after `at_s` on. Raises DeviceError when time goes back."""
        effect_s = at_s + self._profile.latency_s
        if effect_s < self._turns[-1].since_s:
            raise DeviceError("mock panel: a pattern was shown before the one that is on it; use one clock throughout")
        self._turns = [*self._turns[1 - KEPT :], _Turn(self.phase_at(effect_s), target, effect_s)]

    def show_all(self, targets: Array, at_s: Array64, seen_s: Array64) -> Array:
        """Phases (batch, n) at `seen_s` (batch,) of patterns `targets` (batch, n) shown one after the other at `at_s`.

        To the last bit what `show` and `phase_at` give in turn, each pattern seen before the next is shown.
        """
        since_s = at_s + self._profile.latency_s
        if (seen_s < since_s).any() or (np.diff(since_s) < 0.0).any():
            return np.array([self._show_one(*one) for one in zip(targets, at_s, seen_s, strict=True)], targets.dtype)
        self.show(targets[0], float(at_s[0]))
        starts = np.empty_like(targets)
        starts[0] = self._turns[-1].start
        for k, passed_s in enumerate(np.diff(since_s), start=1):
            before = targets[k - 1]
            starts[k] = before + np.float32(self._left(float(passed_s))) * (starts[k - 1] - before)
        kept = range(max(1, len(targets) - KEPT), len(targets))
        turns = [*self._turns, *(_Turn(starts[k].copy(), targets[k].copy(), float(since_s[k])) for k in kept)]
        self._turns = turns[-KEPT:]
        left = np.array([self._left(float(passed_s)) for passed_s in seen_s - since_s], np.float32)
        return np.asarray(targets + left[:, None] * (starts - targets))

    def _show_one(self, target: Array, at_s: float, seen_s: float) -> Array:
        self.show(target, float(at_s))
        return self.phase_at(float(seen_s))

    def _left(self, passed_s: float) -> float:
        """What is left of a step that began so long ago."""
        return math.exp(-passed_s / self._profile.response_s) if self._profile.response_s else 0.0

    def phase_at(self, time_s: float) -> Array:
        """Phases (n,) at a time, flicker not included: target + (start - target) exp(-t / response_s).

        Raises DeviceError for a time before the patterns that are remembered.
        """
        turn = next((turn for turn in reversed(self._turns) if turn.since_s <= time_s), None)
        if turn is None:
            raise DeviceError(f"mock panel: {KEPT} patterns were shown since that exposure; grab each frame sooner")
        return turn.target + np.float32(self._left(time_s - turn.since_s)) * (turn.start - turn.target)

    def flicker(self, from_s: Array64, exposure_s: float) -> Array64:
        """Factor on all phases, averaged over exposures that start at `from_s` (batch,)."""
        p = self._profile
        middle_s = from_s + 0.5 * exposure_s
        ripple = np.sinc(p.flicker_hz * exposure_s) * np.sin(2.0 * math.pi * p.flicker_hz * middle_s)
        return np.asarray(1.0 + p.flicker_rad / p.phase_range_rad * ripple)

    def field(self, phase_rad: Phase) -> Field:
        """Fields (batch, n) that leave the panel, in the precision of the phases: a (f exp(i phase) + 1 - f)."""
        fill = self._profile.fill_factor
        out: Field = np.empty(phase_rad.shape, np.result_type(phase_rad.dtype, np.complex64))
        out.real = fill * np.cos(phase_rad) + (1.0 - fill)
        out.imag = fill * np.sin(phase_rad)
        out *= self.amplitude.astype(phase_rad.dtype)
        return out

    def settle_s(self) -> float:
        """Latency, and the time in which a step over the whole range comes within one gray level."""
        return self._profile.latency_s + self._profile.response_s * math.log(self._profile.panel_levels)

    def snapshot(self) -> dict[str, Any]:
        """The way of the patterns that are remembered."""
        return {
            "panel_phases": np.stack([np.stack([turn.start, turn.target]) for turn in self._turns]),
            "panel_since_s": np.array([turn.since_s for turn in self._turns]),
        }

    def restore(self, state: State) -> None:
        """Go back to a snapshot."""
        phases, since_s = np.asarray(state["panel_phases"], np.float32), np.asarray(state["panel_since_s"])
        pairs = zip(phases, since_s, strict=True)
        self._turns = [_Turn(start.copy(), target.copy(), float(at_s)) for (start, target), at_s in pairs]


def _illumination(shape: tuple[int, int], beam_radius: float) -> Array64:
    """Amplitudes (n,) of a Gaussian beam, sum of squares 1; radius (1/e of the amplitude) in halves of the longer side,
    0 for uniform light."""
    if beam_radius == 0.0:
        return np.full(math.prod(shape), 1.0 / math.sqrt(math.prod(shape)))
    rows, columns = (np.arange(size) - 0.5 * (size - 1) for size in shape)
    squares = (rows[:, None] ** 2 + columns[None, :] ** 2) / (0.5 * beam_radius * max(shape)) ** 2
    amplitude = np.exp(-squares).reshape(-1)
    return np.asarray(amplitude / np.linalg.norm(amplitude))
