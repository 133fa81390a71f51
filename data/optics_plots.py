"""Plots of the calibrations of an optical rig, from their arrays alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from data.plot_axes import make_axes, picture
from pib_lab.findings import Measured

Arrays = Mapping[str, Measured]


def _lut(arrays: Arrays) -> Figure | None:
    if "phases_rad" not in arrays:
        return None
    figure, (left, right) = make_axes("Phase of each gray level", 2)
    levels, phases = arrays["levels"], arrays["phases_rad"]
    for name, label in (("one_edge_rad", "one edge"), ("three_edges_rad", "three edges")):
        left.plot(levels, arrays[name], lw=0.8, label=label)
    left.plot(levels, arrays["measured_rad"], ".", label="no edges")
    left.plot(phases, "k", lw=0.8, label="curve")
    left.axhline(2.0 * np.pi, color="0.6", ls=":")
    left.set(xlabel="gray level", ylabel="phase (rad)")
    left.legend()
    right.plot(levels, arrays["measured_rad"] - phases[levels], ".")
    right.axhline(0.0, color="0.6")
    right.set(xlabel="gray level", ylabel="points less curve (rad)")
    return figure


def _dark(arrays: Arrays) -> Figure | None:
    if "dark" not in arrays:
        return None
    figure, (left, middle, right) = make_axes("Camera in the dark", 3)
    picture(figure, left, arrays["dark"], "mean", "counts")
    middle.hist(arrays["dark_noise_counts"].ravel(), bins=60, log=True)
    middle.set(xlabel="noise (counts)", ylabel="pixels")
    picture(figure, right, arrays["bad"], f"bad pixels ({int(arrays['bad'].sum())})", "bad")
    return figure


def _linearity(arrays: Arrays) -> Figure | None:
    if "should_counts" not in arrays:
        return None
    figure, (left, right) = make_axes("Linearity and photon transfer", 2)
    should = arrays["should_counts"]
    left.plot(should, arrays["is_counts"], ".-")
    left.plot(should, should, color="0.6", ls=":")
    left.set(xlabel="counts by exposure", ylabel="counts read")
    right.plot(arrays["transfer_counts"], arrays["transfer_variance"], ".")
    right.plot(arrays["transfer_counts"], arrays["transfer_counts"] / arrays["e_per_count"], color="0.6", label="gain")
    right.set(xlabel="signal (counts)", ylabel="variance (counts squared)")
    right.legend()
    return figure


def _settling(arrays: Arrays) -> Figure | None:
    if "change" not in arrays:
        return None
    figure, (axes,) = make_axes("Light after a change of pattern")
    delay_ms = arrays["delay_s"] * 1e3
    axes.plot(delay_ms, np.sqrt(np.maximum(arrays["change"], 1e-8)), "o", label="measured")
    axes.plot(delay_ms, np.sqrt(np.maximum(arrays["model"], 1e-8)), label="fit")
    for time_s, label in zip(arrays["settled_s"][::2], ("latency", "proposed"), strict=True):
        axes.axvline(time_s * 1e3, color="0.6", ls=":" if label == "latency" else "--", label=label)
    axes.set(xlabel="time after the pattern was handed over (ms)", ylabel="what is left of the change", yscale="log")
    axes.legend()
    return figure


def _roi(arrays: Arrays) -> Figure | None:
    if "envelope_counts" not in arrays:
        return None
    figure, (left, right) = make_axes("Light on the sensor", 2)
    picture(figure, left, arrays["envelope_counts"], "mean over patterns, lit box", "counts")
    top, edge, height, width = arrays["roi"]
    left.add_patch(Rectangle((edge - 0.5, top - 0.5), width, height, fill=False, edgecolor="w"))
    picture(figure, right, arrays["frame_counts"], "one frame", "counts")
    return figure


def _matrix(arrays: Arrays) -> Figure | None:
    if "singular_values" not in arrays:
        return None
    figure, (left, middle, right) = make_axes("Transmission matrix", 3)
    values = arrays["singular_values"]
    left.hist(values / np.sqrt(np.mean(values**2)), bins=30)
    left.set(xlabel="singular value over their rms", ylabel="number")
    middle.plot(arrays["predicted_counts"], arrays["measured_counts"], ".", ms=3)
    middle.set(xlabel="predicted (counts)", ylabel="measured (counts)", title="first test pattern")
    right.plot(arrays["fidelity"], "o")
    right.set(xlabel="test pattern", ylabel="correlation", ylim=(0.0, 1.05))
    return figure


def _drift(arrays: Arrays) -> Figure | None:
    if "to_first" not in arrays:
        return None
    figure, (left, middle, right) = make_axes("Drift of the medium", 3)
    time_min = arrays["time_s"] / 60.0
    left.plot(time_min, arrays["to_first"], ".-")
    left.set(xlabel="time (min)", ylabel="correlation of intensity with the first frame")
    middle.plot(arrays["lag_s"] / 60.0, arrays["correlation"], ".")
    rate = float(arrays["fit"][0])
    if np.isfinite(rate):
        shape = np.exp(-rate * arrays["lag_s"])
        middle.plot(arrays["lag_s"] / 60.0, shape * (arrays["correlation"] / shape).mean(), color="0.6", label="fit")
        middle.legend()
    middle.set(xlabel="lag (min)", ylabel="correlation, mean over pairs")
    right.plot(time_min, arrays["brightness"], ".-")
    right.set(xlabel="time (min)", ylabel="brightness over that of the first frame")
    return figure


OPTICS_PLOTS: dict[str, dict[str, Callable[[Arrays], Figure | None]]] = {
    "slm-lut": {"phase": _lut},
    "camera-dark": {"dark": _dark},
    "camera-linearity": {"linearity": _linearity},
    "settle-time": {"settling": _settling},
    "align-roi": {"light": _roi},
    "transmission-matrix": {"matrix": _matrix},
    "drift-monitor": {"drift": _drift},
}
