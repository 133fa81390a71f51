"""A map of all conductances, read several times: where cells stand, and how much a reading of them scatters."""

from __future__ import annotations

import contextlib

import numpy as np

from drivers.bringup.extremes import Extreme, reading
from drivers.bringup.job import Job, completed
from drivers.chip.probe import ChipProbe
from pib_lab.errors import Cancelled
from pib_lab.findings import Findings, judged, some
from pib_lab.procedure import Count, Fraction, Settings


class MapConductance(Settings):
    """reads: of the whole map; margin: of the window, by which a cell may lie outside it; scatter: standard deviation
    of readings, as a fraction of the window, that the median cell may have."""

    reads: Count = 4
    margin: Fraction = 0.1
    least_inside: Fraction = 0.95
    scatter: Fraction = 0.05


def run(job: Job, settings: MapConductance) -> Findings:
    """Read at the read voltage, cell by cell as the probe can; nothing is written."""
    probe, s = job.probe, settings
    maps = []
    with contextlib.suppress(Cancelled):  # within a map: those before it are whole
        for _ in job.each(range(s.reads), "map"):
            maps.append(probe.read_map(cancel=job.cancel))
    if not maps:
        return Findings((completed(0, s.reads),))
    readings = np.array(maps)
    mean = readings.mean(axis=0)
    low, high = probe.window_siemens
    span = high - low
    inside = (mean >= low - s.margin * span) & (mean <= high + s.margin * span)
    share = float(inside.mean())
    scatter = float(np.median(readings.std(axis=0, ddof=1))) if len(maps) > 1 else 0.0
    lines = [f"row {row}" for row in np.flatnonzero(~inside.any(axis=1))]
    lines += [f"column {column}" for column in np.flatnonzero(~inside.any(axis=0))]
    detail = f"no cell of {some(lines)} is in the window; " if lines else ""
    if share < s.least_inside:
        detail += f"{int((~inside).sum())} cells are outside: form them, or scan for faults"
    checks = [
        judged(
            "cells in the window",
            share >= s.least_inside and not lines,
            detail,
            {"inside": share, "mean_siemens": float(mean.mean())},
            {"least_inside": s.least_inside, "low_siemens": low, "high_siemens": high},
        )
    ]
    if len(maps) > 1:
        noisy = scatter > s.scatter * span
        advice = "readings scatter: check averaging, shields and ranges" if noisy else ""
        checks.append(
            judged(
                "scatter of readings",
                not noisy,
                advice,
                {"median_siemens": scatter},
                {"most_siemens": s.scatter * span},
            )
        )
    return Findings((*checks, completed(len(maps), s.reads)), {"readings_siemens": readings})


def extremes(settings: MapConductance, probe: ChipProbe) -> list[Extreme]:
    """What rows are held at to read cells; nothing is pulsed."""
    return [reading(probe, "map of conductances")]
