"""Maps of a unit's parameters, of its known faults and of its wear.

Fault kinds have colours of Okabe and Ito (Color Universal Design, 2008) that differ in lightness as well.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colorbar import Colorbar
from matplotlib.colors import BoundaryNorm, ListedColormap, LogNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from data.summary import UnitData
from data.wording import prefixed
from pib_lab.fault_kinds import FaultKind

FAULT_COLOURS = {
    FaultKind.HEALTHY: "#D9D9D9",
    FaultKind.STUCK_LOW: "#0072B2",
    FaultKind.STUCK_HIGH: "#D55E00",
    FaultKind.STUCK_BETWEEN: "#F0E442",
    FaultKind.OPEN: "#000000",
}

_SKEWED = 20  # times the median: beyond it a linear scale would show nothing but the worst cells
_WIDE = 2.5  # panels whose sides differ more than this are given a row each


def maps_figure(unit: UnitData) -> Figure | None:
    """Maps of one unit's parameters, known faults and pulses; None before the first map.

    Parameters (inputs, outputs, 2) are differential pairs of cells: their difference and both cells are shown.
    Others are shown as they are, flattened to (first axis, rest). Outputs run downwards, inputs to the right.
    """
    taken = unit.last_map
    if taken is None:
        return None
    faults = unit.faults if unit.faults is not None else taken.faults
    scale, symbol = prefixed(float(np.nanmax(np.abs(taken.parameters), initial=0.0)), unit.info.parameter_unit)
    values = taken.parameters.astype(np.float64) / scale
    low, high = (limit / scale for limit in unit.info.parameter_limits)
    if not np.isfinite([low, high]).all():
        low, high = float(np.nanmin(values)), float(np.nanmax(values))
    paired = values.ndim == 3 and values.shape[2] == 2
    first = values[..., 0] if paired else _flat(values)
    panels = _Panels(first.shape[0], first.shape[1], 6 if paired else 3)
    if paired:
        span = high - low
        panels.picture(values[..., 0] - values[..., 1], f"g⁺ − g⁻ ({symbol})", "RdBu_r", -span, span)
        panels.picture(values[..., 0], f"g⁺ ({symbol})", "viridis", low, high)
        panels.picture(values[..., 1], f"g⁻ ({symbol})", "viridis", low, high)
        panels.codes(faults[..., 0], "known faults, g⁺")
        panels.codes(faults[..., 1], "known faults, g⁻")
        panels.wear(taken.pulses.sum(axis=2), "pulses (both cells)")
    else:
        panels.picture(first, f"parameters ({symbol})", "viridis", low, high)
        panels.codes(_flat(faults), "known faults")
        panels.wear(_flat(taken.pulses), "pulses")
    return panels.finish(f"{unit.info.name}, step {taken.step}", np.unique(faults))


class _Panels:
    """A figure of equal panels that are filled one after the other."""

    def __init__(self, inputs: int, outputs: int, count: int) -> None:
        ratio = inputs / outputs
        columns = 1 if ratio > _WIDE else 3
        rows = -(-count // columns)
        height = min(3.6, max(1.7, 2.9 / ratio)) if columns == 3 else min(3.0, max(1.5, 9.5 / ratio))
        self.figure = Figure(figsize=(10.5, rows * (height + 0.45) + 0.7), layout="constrained")
        self._axes = list(self.figure.subplots(rows, columns, squeeze=False).flat)
        self._next = 0
        self._aspect: Any = "equal" if 0.5 <= ratio <= _WIDE else "auto"

    def picture(self, values: npt.NDArray[Any], title: str, colours: str, low: float, high: float) -> None:
        """Draw `values` (inputs, outputs) with a colour bar."""
        axes = self._take(title)
        bar = self._bar(axes, axes.imshow(values.T, cmap=colours, vmin=low, vmax=high, aspect=self._aspect))
        bar.locator = MaxNLocator(5)
        bar.update_ticks()

    def wear(self, pulses: npt.NDArray[Any], title: str) -> None:
        """Draw counts (inputs, outputs); on a logarithmic scale where a few cells have taken most of them."""
        shown = np.maximum(pulses, 1)
        if shown.max() < _SKEWED * np.median(shown):
            return self.picture(pulses, title, "cividis", 0.0, float(shown.max()))
        axes = self._take(f"{title}, log scale")
        norm = LogNorm(1, float(shown.max()))
        self._bar(axes, axes.imshow(shown.T, cmap="cividis", norm=norm, aspect=self._aspect))
        return None

    def codes(self, codes: npt.NDArray[Any], title: str) -> None:
        """Draw FaultKind codes (inputs, outputs); blended, not skipped, where a pixel shows several cells."""
        axes = self._take(title)
        edges = [kind - 0.5 for kind in FaultKind] + [max(FaultKind) + 0.5]
        axes.imshow(
            codes.T,
            cmap=ListedColormap([FAULT_COLOURS[kind] for kind in FaultKind]),
            norm=BoundaryNorm(edges, len(FaultKind)),
            aspect=self._aspect,
            interpolation_stage="rgba",
        )

    def finish(self, title: str, present: Iterable[int]) -> Figure:
        """Add the title and a legend of the fault kinds, those that do not occur marked as absent."""
        found = set(present)
        patches = [
            Patch(
                facecolor=FAULT_COLOURS[kind],
                edgecolor="0.4",
                label=kind.name.lower().replace("_", " ") + ("" if kind in found else " (none)"),
            )
            for kind in FaultKind
        ]
        self.figure.suptitle(title, fontsize=13)
        self.figure.legend(handles=patches, loc="outside lower center", ncols=len(patches), frameon=False, fontsize=9.5)
        return self.figure

    def _bar(self, axes: Axes, image: AxesImage) -> Colorbar:
        bar = self.figure.colorbar(image, ax=axes, shrink=0.75 if self._aspect == "equal" else 0.9, pad=0.02)
        bar.ax.tick_params(labelsize=8)
        return bar

    def _take(self, title: str) -> Axes:
        axes: Axes = self._axes[self._next]
        self._next += 1
        axes.set_title(title, fontsize=11)
        axes.set_xlabel("input", fontsize=9)
        axes.set_ylabel("output", fontsize=9)
        axes.tick_params(labelsize=8)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(4, integer=True))
        return axes


def _flat(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return values.reshape(values.shape[0] if values.ndim > 1 else 1, -1)
