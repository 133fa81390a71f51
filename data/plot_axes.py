"""Figures and pictures that the plots of all procedures are made of."""

from __future__ import annotations

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pib_lab.findings import Measured

matplotlib.use("Agg")


def make_axes(title: str, count: int = 1) -> tuple[Figure, list[Axes]]:
    """A figure of `count` panels side by side."""
    figure = Figure(figsize=(5.2 * count, 4.0), layout="constrained")
    figure.suptitle(title)
    return figure, list(figure.subplots(1, count, squeeze=False).flat)


def picture(figure: Figure, axes: Axes, values: Measured, title: str, label: str) -> None:
    """Draw values (rows, columns) with a colour bar."""
    image = axes.imshow(values, cmap="viridis", aspect="auto", interpolation="nearest")
    figure.colorbar(image, ax=axes, label=label)
    axes.set(title=title, xlabel="column", ylabel="row")
