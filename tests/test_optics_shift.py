"""Parameter shift on the simulated bench against automatic differentiation of an independent formula."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from light_bench import bench, phases
from torch import Tensor

from drivers.mock.optics import OpticalBench
from drivers.optics.lut import PhaseLut


def small(**override: Any) -> OpticalBench:
    """A bench with a camera of 12 x 12 pixels."""
    return bench(camera_rows=12, camera_columns=12, **override)


def true_gradient(made: OpticalBench, phase_rad: np.ndarray, modes: np.ndarray, crosstalk: float = 0.0) -> np.ndarray:
    """dI / dtheta (modes, camera pixels) of phase + theta mode at theta = 0, where
    I = |sum_n a_n (f exp(i phase_n) + 1 - f) T_n|^2 is written for torch; T as the bench shows it, pixel by pixel."""
    columns = made.medium.fields(np.eye(made.panel.amplitude.size, dtype=np.complex128))
    matrix, amplitude = torch.from_numpy(columns.reshape(len(columns), -1)), torch.from_numpy(made.panel.amplitude)
    base, directions, fill = torch.from_numpy(phase_rad), torch.from_numpy(modes), made.profile.fill_factor

    def intensity(theta: Tensor) -> Tensor:
        phase = base + torch.einsum("m,mrc->rc", theta, directions)
        edge = torch.nn.functional.pad(phase[None, None], (1, 1, 1, 1), mode="replicate")[0, 0]
        around = edge[:-2, 1:-1] + edge[2:, 1:-1] + edge[1:-1, :-2] + edge[1:-1, 2:]
        blurred = ((phase + crosstalk * around) / (1.0 + 4.0 * crosstalk)).reshape(-1)
        field = amplitude * (fill * torch.exp(1j * blurred) + 1.0 - fill)
        return (field @ matrix).abs() ** 2

    jacobian = torch.autograd.functional.jacobian(intensity, torch.zeros(len(modes), dtype=torch.float64))
    return jacobian.numpy().T


def shifted(made: OpticalBench, phase_rad: np.ndarray, modes: np.ndarray, shift_rad: float) -> np.ndarray:
    """I(phase + shift mode) - I(phase - shift mode) on the bench, (modes, camera pixels)."""
    up, down = (made.true_intensity(phase_rad + sign * shift_rad * modes, 0.0) for sign in (1.0, -1.0))
    return (up - down).reshape(len(modes), -1)


def modes_of(kind: str) -> np.ndarray:
    """Eight patterns (8, 16, 16) of a basis."""
    rng, modes = np.random.default_rng(3), np.zeros((8, 16, 16))
    if kind == "pixel":
        modes.reshape(8, -1)[np.arange(8), rng.permutation(256)[:8]] = 1.0
    elif kind == "block":
        for k in range(8):
            modes[k, 4 * (k // 4) : 4 * (k // 4) + 4, 4 * (k % 4) : 4 * (k % 4) + 4] = 1.0
    else:
        modes = rng.choice([-1.0, 1.0], modes.shape)
    return modes


def relative_error(one: np.ndarray, other: np.ndarray) -> float:
    """rms of the difference over rms of the second."""
    return float(np.linalg.norm(one - other) / np.linalg.norm(other))


@pytest.mark.parametrize(
    ("kind", "shift_rad", "factor"), [("pixel", 0.5, 0.5), ("block", 0.5, 0.5), ("plus-minus", 0.25, 1.0)]
)
@pytest.mark.parametrize("fill", [1.0, 0.9])
def test_parameter_shift_is_exact(kind: str, shift_rad: float, factor: float, fill: float) -> None:
    """[I(+pi/2) - I(-pi/2)] / 2 for pixels and blocks, I(+pi/4) - I(-pi/4) for patterns of +1 and -1."""
    made, modes = small(fill_factor=fill if kind != "plus-minus" else 1.0, beam_radius=1.5), modes_of(kind)
    phase_rad = phases(made, 1)[0]
    measured = factor * shifted(made, phase_rad, modes, shift_rad * math.pi)
    assert relative_error(measured, true_gradient(made, phase_rad, modes)) < 1e-6


def test_a_pattern_of_plus_and_minus_shifted_by_half_a_turn_shows_nothing() -> None:
    """I(+pi/2) - I(-pi/2) is zero whatever the gradient."""
    made, modes = small(), modes_of("plus-minus")
    assert np.abs(shifted(made, phases(made, 1)[0], modes, math.pi / 2.0)).max() < 1e-9


def test_light_between_pixels_spoils_patterns_of_plus_and_minus() -> None:
    """Unmodulated light adds a term of half the frequency: pixels stay exact, these patterns do not."""
    made, modes = small(fill_factor=0.9), modes_of("plus-minus")
    phase_rad = phases(made, 1)[0]
    measured = shifted(made, phase_rad, modes, math.pi / 4.0)
    assert 0.005 < relative_error(measured, true_gradient(made, phase_rad, modes)) < 0.1


def test_crosstalk_leaves_an_error_of_a_third_and_the_direction() -> None:
    """15 % crosstalk: a pixel's measured gradient is 30 to 40 % off in size, with a direction cosine above 0.998."""
    made, modes = small(crosstalk=0.15), modes_of("pixel")
    phase_rad = phases(made, 1)[0]
    measured = 0.5 * shifted(made, phase_rad, modes, math.pi / 2.0)
    true = true_gradient(made, phase_rad, modes, 0.15)
    assert 0.30 < relative_error(measured, true) < 0.40
    assert (measured * true).sum() / (np.linalg.norm(measured) * np.linalg.norm(true)) > 0.998


def test_crosstalk_across_wraps_turns_the_gradient() -> None:
    """A shift that wraps a gray level moves its neighbours the other way: the direction cosine falls to about 0.7."""
    made, modes, lut = small(crosstalk=0.15), modes_of("pixel"), PhaseLut.linear(256)
    phase_rad = phases(made, 1)[0]
    up, down = (
        made.true_intensity(lut.to_phase(lut.to_gray(phase_rad + sign * 0.5 * math.pi * modes)), 0.0)
        for sign in (1.0, -1.0)
    )
    measured, true = 0.5 * (up - down).reshape(8, -1), true_gradient(made, phase_rad, modes, 0.15)
    cosine = (measured * true).sum() / (np.linalg.norm(measured) * np.linalg.norm(true))
    assert 0.55 < cosine < 0.85


def test_a_nonlinear_medium_breaks_parameter_shift() -> None:
    """With a Kerr layer a block of pixels is no longer one sinusoid: three shifts do not fit the fourth."""
    for kind, exact in (("none", True), ("kerr", False)):
        made = small(nonlinearity=kind, nonlinear_strength=2.0)
        block, phase_rad = modes_of("block")[0], phases(made, 1)[0]
        at = made.true_intensity(phase_rad + np.arange(4)[:, None, None] * (math.pi / 2.0) * block, 0.0)
        assert bool(np.abs(at[0] + at[2] - at[1] - at[3]).max() < 1e-9) is exact
