"""Plots of bring-up procedures, from their arrays alone; those of optical rigs are in `optics_plots`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from data.map_plots import FAULT_COLOURS
from data.optics_plots import OPTICS_PLOTS
from data.plot_axes import make_axes, picture
from data.profile_fit import ProfileFit
from pib_lab.fault_kinds import FaultKind
from pib_lab.findings import Measured

matplotlib.use("Agg")

Arrays = Mapping[str, Measured]

_OUTCOMES = ("not tried", "formed", "formed before", "not formed", "shorted", "over-reset", "not reset")
_OUTCOME_COLOURS = ("#FFFFFF", "#009E73", "#A6DCC9", "#E69F00", "#D55E00", "#000000", "#CC79A7")


def write_plots(procedure: str, arrays: Arrays, folder: Path) -> tuple[str, ...]:
    """Draw what there is to draw of a procedure into PNG files in `folder`; returns their names. Raises OSError."""
    names = []
    for name, draw in _PLOTS.get(procedure, {}).items():
        figure = draw(arrays)
        if figure is not None:
            figure.savefig(folder / f"{name}.png", dpi=110)
            names.append(f"{name}.png")
    return tuple(names)


def _currents(arrays: Arrays) -> Figure | None:
    names = [name for name in arrays if name.endswith("_a")]
    if not names:
        return None
    figure, (axes,) = make_axes("Currents of the contact check")
    for position, name in enumerate(names):
        values = np.abs(arrays[name])
        values = np.maximum(values[np.isfinite(values)], 1e-15)
        axes.plot(np.full(len(values), position), values, "o", alpha=0.4)
    axes.set_yscale("log")
    axes.set_ylabel("current (A); 1e-15 is none")
    axes.set_xticks(range(len(names)), [name[:-2].replace("_", "\n") for name in names], fontsize=8)
    return figure


def _codes(axes: Axes, codes: Measured, names: tuple[str, ...], colours: tuple[str, ...], title: str) -> None:
    norm = BoundaryNorm(np.arange(len(names) + 1) - 0.5, len(names))
    axes.imshow(codes, cmap=ListedColormap(list(colours)), norm=norm, aspect="auto", interpolation="nearest")
    axes.set(title=title, xlabel="column", ylabel="row")
    handles = [
        Patch(facecolor=colour, edgecolor="0.4", label=f"{name} ({int((codes == code).sum())})")
        for code, (name, colour) in enumerate(zip(names, colours, strict=True))
        if (codes == code).any()
    ]
    axes.legend(handles=handles, fontsize=7, loc="upper right")


def _forming(arrays: Arrays) -> Figure | None:
    if "outcome" not in arrays:
        return None
    figure, (left, middle, right) = make_axes("Forming", 3)
    _codes(left, arrays["outcome"], _OUTCOMES, _OUTCOME_COLOURS, "outcome")
    words = {"gate_v": "gate voltage", "level_v": "voltage"}  # without gates the voltage across the cell is ramped
    ramped = next(name for name in words if name in arrays)
    picture(figure, middle, arrays[ramped], f"{words[ramped]} at forming", "V")
    for name, label in (("formed_siemens", "after forming"), ("reset_siemens", "after RESET")):
        values = np.sort(arrays[name][np.isfinite(arrays[name])]) * 1e6
        right.step(values, np.linspace(0.0, 1.0, len(values)), label=label)
    right.set(title="conductance", xlabel="µS", ylabel="share of cells below")
    right.legend()
    return figure


def _loops(arrays: Arrays) -> Figure | None:
    if "currents_a" not in arrays:
        return None
    figure, (left, right) = make_axes("Current-voltage loops", 2)
    volts = arrays["volts_v"]
    for cell in arrays["currents_a"]:
        left.plot(volts, np.maximum(np.abs(cell[-1]) * 1e6, 1e-4), lw=0.8)
    left.set(
        xlabel="voltage across the cell (V)", ylabel="|current| (µA)", yscale="log", title="last cycle of each cell"
    )
    states = arrays["states_siemens"] * 1e6
    for half, label in ((0, "after SET"), (1, "after RESET")):
        right.plot(np.nanmean(states[:, :, half], axis=1), "o", label=label)
    right.set(xlabel="cell of the sample", ylabel="conductance (µS)", title="states")
    right.legend()
    return figure


def _trains(arrays: Arrays) -> Figure | None:
    if "response_siemens" not in arrays:
        return None
    figure, (left, right) = make_axes("Response to identical pulses", 2)
    response = arrays["response_siemens"].mean(axis=-1) * 1e6
    pulses = response.shape[3] - 1
    for cell in response:
        path = np.concatenate([cell[:, 0].mean(axis=0), cell[:, 1].mean(axis=0)[1:]])
        left.plot(path, lw=0.8)
    left.axvline(pulses, color="0.6", ls=":")
    left.set(xlabel="pulse: SET, then RESET", ylabel="conductance (µS)", title="mean over cycles, each cell")
    for way, label in ((0, "SET"), (1, "RESET")):
        step = np.diff(response[:, :, way], axis=-1)
        right.plot(response[:, :, way, :-1].ravel(), step.ravel(), ".", ms=3, alpha=0.4, label=label)
    right.set(xlabel="conductance before (µS)", ylabel="step (µS)", title="steps")
    right.legend()
    return figure


def _map(arrays: Arrays) -> Figure | None:
    if "readings_siemens" not in arrays:
        return None
    readings = arrays["readings_siemens"]
    figure, (left, right) = make_axes("Conductance", 2)
    mean = readings.mean(axis=0)
    picture(figure, left, mean * 1e6, f"mean of {len(readings)} readings", "µS")
    right.hist(mean.ravel() * 1e6, bins=40)
    right.set(xlabel="µS", ylabel="cells")
    return figure


def _faults(arrays: Arrays) -> Figure | None:
    if "faults" not in arrays:
        return None
    figure, (left, right) = make_axes("Fault scan", 2)
    names = tuple(kind.name.lower().replace("_", " ") for kind in FaultKind)
    _codes(left, arrays["faults"], names, tuple(FAULT_COLOURS[kind] for kind in FaultKind), "found")
    picture(figure, right, arrays["readings_siemens"] * 1e6, "mean reading", "µS")
    return figure


def _daily(arrays: Arrays) -> Figure | None:
    shown = [
        ("offsets_a", "offset of each column (nA)", 1e9),
        ("reference_cells_siemens", "reference cells (µS)", 1e6),
        ("golden_vector_a", "golden vector (µA)", 1e6),
    ]
    present = [item for item in shown if item[0] in arrays]
    if not present:
        return None
    figure, panels = make_axes("Daily check", len(present))
    for axes, (name, label, scale) in zip(panels, present, strict=True):
        axes.plot(arrays[name] * scale, "o")
        if f"stored_{name}" in arrays:
            axes.plot(arrays[f"stored_{name}"] * scale, "_", ms=14, color="0.4", label="kept in the passport")
            axes.legend()
        axes.set(ylabel=label)
    return figure


def write_fit_plot(fit: ProfileFit, path: Path) -> None:
    """Measured and fitted mean paths of each cell, and what is left between them. Raises OSError."""
    figure, (left, right) = make_axes(f"Profile fit to {fit.cells} cells", 2)
    pulses = fit.measured.shape[2] - 1
    position = np.arange(2 * pulses + 2)
    for measured, model in zip(fit.measured.reshape(fit.cells, -1), fit.model.reshape(fit.cells, -1), strict=True):
        left.plot(position, measured * 1e6, ".", ms=3, color="0.5")
        left.plot(position, model * 1e6, lw=0.7)
        right.plot(position, (measured - model) * 1e6, lw=0.7)
    right.axhline(0.0, color="0.6")
    for axes, title in ((left, "points measured, lines fitted"), (right, "measured less fitted")):
        axes.axvline(pulses + 0.5, color="0.6", ls=":")
        axes.set(title=title, xlabel="pulse: SET, then RESET", ylabel="conductance (µS)")
    figure.savefig(path, dpi=110)


_PLOTS: dict[str, dict[str, Callable[[Arrays], Figure | None]]] = {
    "contact-check": {"currents": _currents},
    "form-cells": {"forming": _forming},
    "iv-sweep": {"loops": _loops},
    "pulse-response": {"response": _trains},
    "map-conductance": {"map": _map},
    "scan-faults": {"faults": _faults},
    "daily-check": {"daily": _daily},
    **OPTICS_PLOTS,
}
