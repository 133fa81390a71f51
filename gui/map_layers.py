"""From a unit's maps to pictures of rows and columns, and to the words about one cell. No Qt."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from data.wording import count, prefixed
from pib_lab.events import MapTaken
from pib_lab.fault_kinds import FaultKind
from pib_lab.records import UnitInfo

Picture = npt.NDArray[Any]

FAULT_COLOURS = {
    FaultKind.HEALTHY: "#BDBDBD",
    FaultKind.STUCK_LOW: "#0072B2",
    FaultKind.STUCK_HIGH: "#D55E00",
    FaultKind.STUCK_BETWEEN: "#F0E442",
    FaultKind.OPEN: "#000000",
}
"""Of Okabe and Ito (Color Universal Design, 2008), as in the report; they differ in lightness as well."""

FAULT_WORDS = {kind: kind.name.lower().replace("_", " ") for kind in FaultKind}

_SKEWED = 20  # times the median: beyond it a linear scale would show nothing but the worst cells


@dataclass(frozen=True, slots=True)
class Layer:
    """One picture, (rows, columns), with the ends of its scale and the name of its colour map."""

    title: str
    values: Picture
    low: float
    high: float
    colours: str


def is_paired(shape: tuple[int, ...]) -> bool:
    """Whether parameters of this shape are differential pairs of cells (inputs, outputs, 2)."""
    return len(shape) == 3 and shape[2] == 2


def views_of(unit: UnitInfo) -> tuple[str, ...]:
    """What can be shown of a unit's parameters."""
    return ("g⁺ − g⁻", "g⁺", "g⁻") if is_paired(unit.parameter_shape) else ("parameters",)


def parameter_layer(unit: UnitInfo, taken: MapTaken, view: int) -> Layer:
    """The parameters of `taken` in view number `view` of `views_of`. Phases have a colour map that closes."""
    values = np.asarray(taken.parameters, np.float32)
    low, high = unit.parameter_limits
    if not np.isfinite([low, high]).all():
        low, high = (float(np.nanmin(values)), float(np.nanmax(values))) if values.size else (0.0, 1.0)
    factor, symbol = _scale(unit, (low, high))
    name = views_of(unit)[view]
    if is_paired(unit.parameter_shape) and view == 0:
        span = (high - low) / factor
        return Layer(f"{name} ({symbol})", _side(values, 0) / factor, -span, span, "CET-CBD1")
    colours = "CET-CBC1" if unit.parameter_unit == "rad" else "viridis"
    title = "phase" if unit.parameter_unit == "rad" else name
    return Layer(f"{title} ({symbol})", _side(values, view) / factor, low / factor, high / factor, colours)


def fault_layer(unit: UnitInfo, faults: Picture, view: int) -> Picture:
    """FaultKind codes (rows, columns); of a pair as a whole, the code of the first cell that is faulty."""
    if is_paired(unit.parameter_shape) and view == 0:
        return np.asarray(np.where(faults[..., 0] != 0, faults[..., 0], faults[..., 1]), np.uint8)
    return np.asarray(_side(faults, view), np.uint8)


def wear_layer(unit: UnitInfo, taken: MapTaken, view: int) -> Layer:
    """Pulses so far; their logarithm where a few cells have taken most of them."""
    pulses = np.asarray(taken.pulses)
    both = is_paired(unit.parameter_shape) and view == 0
    pulses = pulses[..., 0] + pulses[..., 1] if both else _side(pulses, view)
    most = float(pulses.max(initial=1))
    some = pulses.ravel()[:: max(1, pulses.size // 10_000)]
    if most > _SKEWED * max(float(np.median(some)) if some.size else 1.0, 1.0):
        return Layer("log₁₀ of pulses", np.log10(np.maximum(pulses, 1)), 0.0, max(np.log10(most), 1.0), "cividis")
    return Layer("pulses", pulses, 0.0, most, "cividis")


def shrunk(codes: Picture, block: tuple[int, int]) -> Picture:
    """Codes (rows, columns) in blocks of so many rows and columns, the largest code of each: no fault is lost.

    Cells of a last block that is not whole are kept: the picture is padded with healthy ones.
    """
    if block == (1, 1):
        return codes
    padded = np.pad(codes, [(0, -side % step) for side, step in zip(codes.shape, block, strict=True)])
    rows, columns = (side // step for side, step in zip(padded.shape, block, strict=True))
    parts = padded.reshape(rows, block[0], padded.shape[1])
    lines = functools.reduce(np.maximum, (parts[:, place] for place in range(block[0])))
    cells = lines.reshape(rows, columns, block[1])
    return np.asarray(functools.reduce(np.maximum, (cells[..., place] for place in range(block[1]))))


def cell_text(
    unit: UnitInfo, taken: MapTaken, faults: Picture | None, since: Picture | None, row: int, column: int
) -> str:
    """What is known of one cell, or pair of cells: place, value, pulses, and since which step it is faulty."""
    paired = is_paired(unit.parameter_shape)
    names = ("g⁺ ", "g⁻ ") if paired else ("",)
    parts = []
    for side, name in enumerate(names):
        value = float(_side(taken.parameters, side + 1 if paired else 0)[row, column])
        factor, symbol = _scale(unit, unit.parameter_limits)
        pulses = int(_side(taken.pulses, side + 1 if paired else 0)[row, column])
        text = f"{name}{value / factor:.4g} {symbol}, {count(pulses)} pulses"
        known = taken.faults if faults is None else faults
        code = int(_side(known, side + 1 if paired else 0)[row, column])
        if code:
            text += f", {FAULT_WORDS[FaultKind(code)]}"
            step = -1 if since is None else int(_side(since, side + 1 if paired else 0)[row, column])
            text += f" since step {step}" if step >= 0 else ""
        parts.append(text)
    return f"row {row}, column {column}:  " + "   |   ".join(parts)


def _side(values: Picture, view: int) -> Picture:
    """A view of values (rows, columns, ...): of pairs the difference (0), the first (1) or second (2) cell."""
    if is_paired(values.shape):
        if view == 0:
            return np.asarray(values[..., 0] - values[..., 1])
        return np.asarray(values[..., view - 1])
    return np.asarray(values.reshape(values.shape[0], -1) if values.ndim > 1 else values.reshape(1, -1))


def _scale(unit: UnitInfo, limits: tuple[float, float]) -> tuple[float, str]:
    largest = max(abs(limit) for limit in limits)
    return prefixed(largest if np.isfinite(largest) else 1.0, "" if unit.parameter_unit == "1" else unit.parameter_unit)
