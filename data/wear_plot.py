"""Heat maps of a chip's wear over all runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from data.wear_ledger import ChipWear
from pib_lab.errors import RunFileError

_COLUMNS = 3
_SKEWED = 20  # times the median: beyond it a linear scale would show nothing but the worst cells


def wear_figure(wear: ChipWear) -> Figure:
    """A panel per array: pulses of each cell, counted and assumed; rows downwards. A logarithmic scale where a few
    cells have taken most of them."""
    count = max(1, len(wear.arrays))
    columns = min(_COLUMNS, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(4.2 * columns, 3.6 * rows + 0.5), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).flat
    for axes, (name, held) in zip(panels, sorted(wear.arrays.items()), strict=False):
        shown = np.maximum(held.total, 1)
        skewed = shown.max() > _SKEWED * np.median(shown)
        scale = {"norm": LogNorm(1, float(shown.max()))} if skewed else {"vmin": 0.0, "vmax": float(shown.max())}
        image = axes.imshow(shown if skewed else held.total, cmap="cividis", aspect="auto", **scale)
        bar = figure.colorbar(image, ax=axes, pad=0.02)
        bar.ax.tick_params(labelsize=8)
        axes.set_title(f"array {name}{', log scale' if skewed else ''}", fontsize=11)
        axes.set_xlabel("column", fontsize=9)
        axes.set_ylabel("row", fontsize=9)
        axes.tick_params(labelsize=8)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(6, integer=True))
    for axes in list(figure.axes)[: rows * columns][len(wear.arrays) :]:
        axes.set_axis_off()
    figure.suptitle(f"chip {wear.serial}: programming pulses per cell, all runs", fontsize=13)
    return figure


def write_wear_map(wear: ChipWear, path: Path) -> Path:
    """Write the maps as a PNG. Raises RunFileError when the file cannot be written."""
    try:
        wear_figure(wear).savefig(path, dpi=110, format="png")
    except OSError as error:
        raise RunFileError(f"{path}: cannot be written ({error.strerror})") from error
    return path
