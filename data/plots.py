"""The report's figures: matplotlib's object-oriented API on the Agg and SVG canvases, with no state of pyplot.

Colours are those of Okabe and Ito (Color Universal Design, 2008), which people with any colour vision can tell apart.
"""

from __future__ import annotations

import io

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from data.summary import RunData, UnitData
from pib_lab.quantities import Array64

OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")

_MOST_POINTS = 2000  # more are not seen at this size, and make the file heavy


def as_svg(figure: Figure) -> bytes:
    """The figure as SVG; glyphs are paths, so it looks the same where the font is missing."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg")
    return buffer.getvalue()


def as_png(figure: Figure, dots_per_inch: int = 120) -> bytes:
    """The figure as PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dots_per_inch)
    return buffer.getvalue()


def entropy_figure(run: RunData) -> Figure:
    """Per unit, I(X;Z), I(Z;Y) and H(Z) in bits against the step, under the ceiling log2 n of a batch of n."""
    columns = min(3, len(run.units))
    rows = -(-len(run.units) // columns)
    figure = Figure(figsize=(4.1 * columns, 3.1 * rows + 0.5), layout="constrained")
    grid = figure.subplots(rows, columns, sharey=True, squeeze=False)
    ceiling = float(run.columns["ceiling_bits"].max())
    lines = (("h_z", "H(Z)", "-"), ("i_xz", "I(X;Z)", "--"), ("i_zy", "I(Z;Y)", "-."))
    for axes, unit in zip(grid.flat, run.units, strict=False):
        axes.axhline(ceiling, color="0.35", linewidth=1.2, linestyle=":", label="ceiling log₂ n")
        for colour, (name, label, style) in zip(OKABE_ITO, lines, strict=False):
            axes.plot(*_known(unit, name), color=colour, linestyle=style, linewidth=1.6, label=label)
        _dress(axes, unit.info.name, "step", "bits" if axes in grid[:, 0] else "")
        axes.set_ylim(0, 1.05 * ceiling if ceiling > 0 else 1)
    for axes in grid.flat[len(run.units) :]:
        axes.set_axis_off()
    handles, labels = grid.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4, frameon=False, fontsize=10)
    return figure


def information_plane_figure(run: RunData) -> Figure:
    """I(Z;Y) against I(X;Z), a path per unit, coloured by the step."""
    figure = Figure(figsize=(8.4, 4.6), layout="constrained")
    axes = figure.subplots()
    points = None
    for index, unit in enumerate(run.units):
        step, x = _known(unit, "i_xz")
        y = _known(unit, "i_zy")[1]
        axes.plot(x, y, color="0.75", linewidth=0.8, zorder=1)
        points = axes.scatter(
            x,
            y,
            c=step,
            cmap="viridis",
            vmin=0,
            vmax=max(run.last_step, 1),
            s=24,
            marker="os^Dv<>P*X"[index % 10],
            zorder=2,
            label=unit.info.name,
        )
        if x.size:
            axes.scatter(x[-1:], y[-1:], s=110, facecolors="none", edgecolors="black", linewidths=1.2, zorder=3)
    _dress(axes, "", "I(X;Z), bits", "I(Z;Y), bits")
    axes.xaxis.set_major_locator(MaxNLocator(6))
    figure.legend(frameon=False, fontsize=10, title="unit (ring: last step)", loc="outside right upper")
    if points is not None:
        figure.colorbar(points, ax=axes, label="step", pad=0.02)
    return figure


def accuracy_figure(run: RunData) -> Figure:
    """Accuracy on the batches as they came, and on the validation and test splits."""
    figure = Figure(figsize=(8.4, 3.6), layout="constrained")
    axes = figure.subplots()
    step, accuracy = _thin(run.columns["step"], run.columns["batch_accuracy"])
    axes.plot(step, accuracy, color=OKABE_ITO[5], linewidth=0.9, label="batch (before its update)")
    for colour, marker, split in ((OKABE_ITO[0], "o", "validation"), (OKABE_ITO[1], "D", "test")):
        chosen = [event for event in run.evaluations if event.split == split]
        if chosen:
            axes.plot(
                [event.step for event in chosen],
                [event.accuracy for event in chosen],
                color=colour,
                marker=marker,
                markersize=4 if len(chosen) > 1 else 9,
                linewidth=1.6,
                label=split,
            )
    for struck in dict.fromkeys(event.step for event in run.struck):
        axes.axvline(struck, color="black", linestyle=":", linewidth=1.2, label="faults struck")
    _dress(axes, "", "step", "accuracy")
    axes.set_ylim(0, 1.02)
    handles, labels = axes.get_legend_handles_labels()
    single = dict(zip(labels, handles, strict=True))
    axes.legend(single.values(), single.keys(), frameon=False, fontsize=10, loc="lower right")
    return figure


def loss_figure(run: RunData) -> Figure:
    """Each unit's own local loss: every unit has an objective, and so a scale, of its own."""
    columns = min(3, len(run.units))
    rows = -(-len(run.units) // columns)
    figure = Figure(figsize=(4.1 * columns, 2.7 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes, unit in zip(grid.flat, run.units, strict=False):
        axes.plot(*_known(unit, "loss"), color=OKABE_ITO[0], linewidth=1.2)
        _dress(axes, f"{unit.info.name}: {unit.info.objective}", "step", "local loss")
    for axes in grid.flat[len(run.units) :]:
        axes.set_axis_off()
    return figure


def _dress(axes: Axes, title: str, across: str, up: str) -> None:
    axes.set_title(title, fontsize=12)
    axes.set_xlabel(across, fontsize=11)
    axes.set_ylabel(up, fontsize=11)
    axes.tick_params(labelsize=10)
    axes.grid(color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))


def _known(unit: UnitData, name: str) -> tuple[Array64, Array64]:
    """Step and value where the value was computed."""
    values = unit.columns[name]
    known = np.isfinite(values)
    return _thin(unit.columns["step"][known], values[known])


def _thin(x: Array64, y: Array64) -> tuple[Array64, Array64]:
    """At most _MOST_POINTS of the points, evenly chosen, the first and the last among them."""
    if x.size <= _MOST_POINTS:
        return x, y
    chosen = np.linspace(0, x.size - 1, _MOST_POINTS).astype(np.intp)
    return x[chosen], y[chosen]
