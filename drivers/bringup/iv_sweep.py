"""Current-voltage loops: does each cell switch, which way, and how far."""

from __future__ import annotations

import numpy as np

from drivers.bringup.extremes import Extreme
from drivers.bringup.job import Job, completed, sample_cells
from drivers.chip.probe import ChipProbe, SweepsCells
from pib_lab.findings import Findings, cell_name, judged, not_tested, some
from pib_lab.procedure import Amperes, Count, Fraction, Settings, Volts
from pib_lab.quantities import Array64


class IvSweep(Settings):
    """sample: cells, spread over the array; points: of each of the four branches; opening: of the window, which a
    cell must open between its SET and its RESET to count as switching."""

    sample: Count = 16
    cycles: Count = 2
    points: Count = 20
    set_level_v: Volts = 2.5
    set_gate_v: Volts = 1.3
    reset_level_v: Volts = 3.0
    reset_gate_v: Volts = 2.5
    compliance_a: Amperes = 200e-6
    opening: Fraction = 0.3
    least_switching: Fraction = 0.9


def run(job: Job, settings: IvSweep) -> Findings:
    """0 to +SET and back, 0 to -RESET and back, on a sample of cells; each is read after either half.

    Raises LimitError before anything is sent.
    """
    probe = job.probe
    if not isinstance(probe, SweepsCells):
        return Findings((not_tested("switching", "this device cannot hold a voltage across a cell and measure"),))
    s = settings
    for extreme in extremes(settings, probe):
        extreme.check(probe.limits)
    cells = sample_cells(probe.shape, s.sample)
    halves = ((_branch(s.set_level_v, s.points), s.set_gate_v), (_branch(-s.reset_level_v, s.points), s.reset_gate_v))
    volts = np.concatenate([levels for levels, _ in halves])
    currents = np.full((len(cells), s.cycles, len(volts)), np.nan)
    clamped = np.zeros(currents.shape, np.bool_)
    states = np.full((len(cells), s.cycles, 2), np.nan)
    done = 0
    for index, cell in enumerate(job.each(cells, "I-V loop of cell")):
        for cycle in range(s.cycles):
            for half, (levels, gate_v) in enumerate(halves):
                here = slice(half * len(levels), (half + 1) * len(levels))
                currents[index, cycle, here], clamped[index, cycle, here] = probe.sweep(
                    *cell, levels, gate_v, s.compliance_a
                )
                states[index, cycle, half] = probe.read_cell(*cell)
        done += 1
    low, high = probe.window_siemens
    opened = (states[:done, :, 0] - states[:done, :, 1]).mean(axis=1)
    least = s.opening * (high - low)
    names = [cell_name(*cell) for cell in cells[:done]]
    idle = [name for name, value in zip(names, opened, strict=True) if abs(value) < least]
    wrong = [name for name, value in zip(names, opened, strict=True) if value <= -least]
    share = 1.0 - len(idle) / max(1, done)
    checks = (
        judged(
            "switching",
            done > 0 and share >= s.least_switching,
            f"{some(idle)} did not switch" if idle else "",
            {"switching": share, "mean_opening_siemens": float(opened.mean()) if done else 0.0},
            {"least_switching": s.least_switching, "least_opening_siemens": least},
        ),
        judged(
            "polarity",
            not wrong,
            f"{some(wrong)} conduct less after SET: rows and columns are exchanged, or the cells are" if wrong else "",
            {"reversed": len(wrong)},
            {"most": 0},
        ),
        completed(done, len(cells)),
    )
    arrays = {"volts_v": volts, "currents_a": currents, "clamped": clamped, "states_siemens": states}
    return Findings(checks, {**arrays, "cells": np.array(cells), "pulses": probe.pulses()})


def extremes(settings: IvSweep, probe: ChipProbe) -> list[Extreme]:
    """The ends of both branches."""
    s = settings
    if not isinstance(probe, SweepsCells):
        return []
    return [
        Extreme("I-V sweep, SET", s.set_level_v, s.set_gate_v, s.compliance_a),
        Extreme("I-V sweep, RESET", s.reset_level_v, s.reset_gate_v, s.compliance_a),
    ]


def _branch(level_v: float, points: int) -> Array64:
    up = np.linspace(0.0, level_v, points + 1)
    return np.concatenate([up, up[-2::-1]])
