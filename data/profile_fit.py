"""From a measured pulse response to numbers of a device profile, each with its standard error.

The model is that of the mock's identical pulses: a cell at x = (G - low) / (high - low) moves by
    s d_i (1 + a) (1 - b x)  upwards,   s d_i (1 - a) (1 - b (1 - x))  downwards,
within [low, high], times 1 + c N(0, 1) a pulse; what is read also carries a displacement of standard deviation r that
each pulse draws anew, and white read noise in proportion to G.

The window is where trains come to rest (medians, for nothing reads below zero); s d_i, a and b are fitted to the mean
paths of all trains by least squares. r is the scatter of readings of cells that rest against their upper bound, c what
single steps scatter about the fit beyond that. Standard errors are jackknifed over groups of cells.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares
from scipy.sparse import lil_matrix

from data.procedure_record import ProcedureRecord
from pib_lab.errors import ConfigurationError
from pib_lab.findings import Measured
from pib_lab.quantities import Array64

GROUPS = 8
LEAST_CELLS = 4
REST = 4
"""Pulses at the end of a train that a cell must have rested for, to tell where its bound is."""
SATURATED = 0.1  # of the first steps: a train whose last steps are smaller has come to rest
_RESPONDING = 0.2  # of the window: cells that open less are faulty, and left out


@dataclass(frozen=True)
class Fitted:
    """One number of a profile: value and standard error, in the profile's unit.

    The error is that of the whole device: cells differ, and only a sample of them was measured.
    """

    value: float
    error: float


@dataclass(frozen=True)
class ProfileFit:
    """numbers: by key of the profile; measured, model: mean paths (cells, 2, pulses + 1) in siemens; cells: how many
    were fitted; left_out: that did not respond; notes: what the data did not allow."""

    numbers: Mapping[str, Fitted]
    measured: Array64
    model: Array64
    cells: int
    left_out: int
    notes: tuple[str, ...]

    @property
    def residual_siemens(self) -> float:
        """Root mean square of measured less model paths."""
        return float(np.sqrt(np.mean((self.measured - self.model) ** 2)))


def fit_record(record: ProcedureRecord) -> ProfileFit:
    """Fit what `pulse-response` measured. Raises ConfigurationError for another procedure, or too few sound cells."""
    if record.procedure != "pulse-response" or not {"response_siemens", "window_siemens"} <= set(record.arrays):
        raise ConfigurationError(f"a profile is fitted to a run of pulse-response, not of {record.procedure}")
    low, high = (float(value) for value in record.arrays["window_siemens"])
    return fit_response(record.arrays["response_siemens"], (low, high))


def fit_response(response: Measured, window: tuple[float, float]) -> ProfileFit:
    """Fit readings (cells, cycles, 2, pulses + 1, reads) in siemens: SET trains, then RESET trains.

    window: of the chip's present profile, in the place of what trains that do not come to rest cannot tell. Raises
    ConfigurationError when fewer than LEAST_CELLS cells respond, or for trains shorter than 2 * REST.
    """
    if response.ndim != 5 or response.shape[3] <= 2 * REST:
        raise ConfigurationError(f"the trains are too short to fit: measure at least {2 * REST} pulses each")
    whole = response[np.isfinite(response).all(axis=(1, 2, 3, 4))]
    paths = whole.mean(axis=(1, 4))
    span = float(np.ptp(paths)) if len(paths) else 0.0
    sound = whole[paths[:, 0, -1] - paths[:, 1, -1] > _RESPONDING * span]
    if len(sound) < LEAST_CELLS:
        raise ConfigurationError(f"only {len(sound)} cells respond; a fit takes at least {LEAST_CELLS}")
    rests = _rests(sound.mean(axis=(1, 4)))
    held = None if rests else window
    values, model = _estimate(sound, held)
    groups = np.array_split(np.arange(len(sound)), min(GROUPS, len(sound)))
    parts = [_estimate(np.delete(sound, group, axis=0), held)[0] for group in groups]
    errors = {key: _jackknife([part[key] for part in parts]) for key in values}
    spread, cells = values["step_device_to_device"], len(sound)
    for key, least in (  # what a sample of so many cells leaves open in any case
        ("step_siemens", spread * values["step_siemens"] / math.sqrt(cells)),
        ("step_device_to_device", spread / math.sqrt(2.0 * (cells - 1))),
    ):
        errors[key] = max(errors[key], least)
    numbers = {key: Fitted(value, errors[key]) for key, value in values.items()}
    notes = (
        ()
        if rests
        else ("the trains do not come to rest: window, displacement and scatter of steps could not be told",)
    )
    return ProfileFit(numbers, sound.mean(axis=(1, 4)), model, len(sound), len(response) - len(sound), notes)


def _jackknife(values: list[float]) -> float:
    n = len(values)
    return math.sqrt((n - 1) / n * float(np.sum((np.array(values) - np.mean(values)) ** 2)))


def _rests(paths: Array64) -> bool:
    steps = np.abs(np.diff(paths.mean(axis=0), axis=-1))
    return bool((steps[:, -REST:].mean(axis=-1) < SATURATED * steps[:, :2].mean(axis=-1)).all())


def _estimate(response: Measured, window: tuple[float, float] | None) -> tuple[dict[str, float], Array64]:
    """All numbers from sound cells, and the model's mean paths; `window` when the data do not tell it."""
    ends = response[:, :, :, -REST:]
    low, high = window or (float(np.median(ends[:, :, 1])), float(np.median(ends[:, :, 0])))
    white = _white(response)
    r = _displacement(ends[:, :, 0], white) if window is None else 0.0
    b, a, steps, model = _mean_paths(response.mean(axis=(1, 4)), low, high)
    c = _cycle_to_cycle(response, (b, a, low, high), steps, r, white) if window is None else 0.0
    strides = response.shape[1] * 2.0 * (high - low) / steps.mean()  # steps between the bounds that a cell has shown
    between = float(np.var(steps / steps.mean(), ddof=1)) - c**2 / max(strides, 1.0)
    values = {
        "step_siemens": float(steps.mean()),
        "soft_bound": b,
        "asymmetry": a,
        "step_device_to_device": math.sqrt(max(between, 0.0)),
        "read_noise_white": white,
    }
    if window is None:
        values |= {"step_cycle_to_cycle": c, "relaxation_siemens": r}
        values |= {"g_min_siemens": max(low, 0.0), "g_max_siemens": high}
    return values, model


def _mean_paths(paths: Array64, low: float, high: float) -> tuple[float, float, Array64, Array64]:
    """Least squares: (soft bound, asymmetry, step of each cell, the model's paths)."""
    span = high - low
    first = 0.5 * (np.abs(paths[:, 0, 1] - paths[:, 0, 0]) + np.abs(paths[:, 1, 1] - paths[:, 1, 0]))
    start = np.concatenate([[0.3, 0.0], np.log(np.clip(first / span, 1e-3, 1.0))])
    bounds = np.full((2, len(start)), [[-np.inf], [np.inf]])
    bounds[:, 0], bounds[:, 1] = (0.0, 1.0), (-0.9, 0.9)
    measured = np.clip((paths - low) / span, 0.0, 1.0)
    pattern = lil_matrix((measured.size, len(start)), dtype=int)
    pattern[:, :2] = 1
    for cell in range(len(paths)):
        pattern[cell * measured[0].size : (cell + 1) * measured[0].size, 2 + cell] = 1
    found = least_squares(
        lambda p: (_model(p, measured) - measured).ravel(), start, bounds=bounds, jac_sparsity=pattern, max_nfev=100
    ).x
    return float(found[0]), float(found[1]), np.exp(found[2:]) * span, low + span * _model(found, measured)


def _model(p: Array64, measured: Array64) -> Array64:
    """Mean paths (cells, 2, pulses + 1), as fractions of the window; each starts where the measured one does."""
    b, a, step = p[0], p[1], np.exp(p[2:])
    made = np.empty_like(measured)
    for way, sign in ((0, 1.0), (1, -1.0)):
        x = measured[:, way, 0]
        made[:, way, 0] = x
        for pulse in range(1, measured.shape[-1]):
            room = 1.0 - b * (x if way == 0 else 1.0 - x)
            x = np.clip(x + sign * (1.0 + sign * a) * step * room, 0.0, 1.0)
            made[:, way, pulse] = x
    return made


def _white(response: Measured) -> float:
    """Relative white noise of one reading, from repeated readings; 0 when there is only one."""
    if response.shape[-1] < 2:
        return 0.0
    level = response.mean(axis=-1)
    large = level > 0.2 * level.max()  # where the converter's step is small beside the noise
    return float(np.sqrt(np.mean(response.var(axis=-1, ddof=1)[large]) / np.mean(level[large] ** 2)))


def _displacement(tops: Measured, white: float) -> float:
    """From readings (cells, cycles, pulses, reads) at rest against the upper bound, the read noise taken off."""
    level = tops.mean(axis=-1)
    moved = np.diff(level, axis=2)  # successive differences, for a slow cell may still be on its way
    each = 0.5 * moved.var(axis=(1, 2), ddof=1)
    freedom = (moved[0].size - 1) * 2.0 / 3.0  # successive differences share readings
    # The median cell, for a few switch a trap meanwhile; less by this than the mean of a chi-squared variance.
    scatter = float(np.median(each)) / (1.0 - 2.0 / (9.0 * freedom)) ** 3
    return math.sqrt(max(scatter - white**2 * float(np.mean(level**2)) / tops.shape[-1], 0.0))


def _cycle_to_cycle(
    response: Measured, shape: tuple[float, float, float, float], steps: Array64, r: float, white: float
) -> float:
    """Relative scatter of single steps, well inside the window.

    A step's residual is c e N + r xi' - (1 - k) r xi: the displacement before it also shifts the step that is expected,
    by k = b s (1 +- a) / (high - low).
    """
    b, a, low, high = shape
    level = response.mean(axis=-1)
    moved = np.diff(level, axis=-1)
    position = (level[..., :-1] - low) / (high - low)
    excess, size = 0.0, 0.0
    for way, sign in ((0, 1.0), (1, -1.0)):
        strength = (1.0 + sign * a) * steps[:, None, None]
        room = 1.0 - b * (position[:, :, way] if way == 0 else 1.0 - position[:, :, way])
        expected = sign * strength * room
        before = level[:, :, way, :-1]
        after = before + 2.0 * expected
        inside = (np.minimum(before, after) > low + 2.0 * r) & (np.maximum(before, after) < high - 2.0 * r)
        shift = b * strength / (high - low)
        known = r**2 * (1.0 + (1.0 - shift) ** 2) + 2.0 * white**2 * before**2 / response.shape[-1]
        residual = (moved[:, :, way] - expected) ** 2 - known
        excess += float(residual[inside].sum())
        size += float((expected[inside] ** 2).sum())
    return math.sqrt(max(excess / size, 0.0)) if size > 0.0 else 0.0
