"""Trains of identical SET and RESET pulses: how far each pulse takes a cell. Device profiles are fitted from this."""

from __future__ import annotations

import numpy as np

from drivers.bringup.extremes import Extreme
from drivers.bringup.job import Cell, Job, completed, sample_cells
from drivers.chip.probe import ChipProbe, Pulse, PulsesCells, has_gates
from pib_lab.findings import Findings, cell_name, judged, not_tested, some
from pib_lab.procedure import Amperes, Count, Fraction, Seconds, Settings, Volts
from pib_lab.quantities import Array64


class PulseResponse(Settings):
    """sample: cells, spread over the array; cycles: of a SET train and a RESET train; pulses: of a train; reads: after
    each pulse; opening: of the window, which a cell must open to count as responding."""

    sample: Count = 16
    cycles: Count = 4
    pulses: Count = 20
    reads: Count = 2
    set_level_v: Volts = 3.0
    set_gate_v: Volts = 1.3
    reset_level_v: Volts = 3.0
    reset_gate_v: Volts = 2.5
    width_s: Seconds = 1e-6
    current_a: Amperes = 100e-6
    opening: Fraction = 0.3
    least_responding: Fraction = 0.9


def run(job: Job, settings: PulseResponse) -> Findings:
    """A RESET train first, unrecorded, so that all cycles begin alike; then SET and RESET trains in turn.

    Raises LimitError before anything is sent.
    """
    probe, s = job.probe, settings
    if not isinstance(probe, PulsesCells):
        return Findings((not_tested("response to pulses", "this device cannot give raw pulses"),))
    set_gate_v, reset_gate_v = _gates_v(s, probe)
    trains = (
        Pulse(s.set_level_v, s.width_s, set_gate_v, s.current_a),
        Pulse(-s.reset_level_v, s.width_s, reset_gate_v, s.current_a),
    )
    for extreme in extremes(settings, probe):
        extreme.check(probe.limits)
    cells = sample_cells(probe.shape, s.sample)
    response = np.full((len(cells), s.cycles, 2, s.pulses + 1, s.reads), np.nan)
    done = 0
    for index, cell in enumerate(job.each(cells, "pulses to cell")):
        probe.pulse(*cell, trains[1], s.pulses)
        for cycle in range(s.cycles):
            for way, pulse in enumerate(trains):
                response[index, cycle, way, 0] = _read(probe, cell, s.reads)
                for number in range(1, s.pulses + 1):
                    probe.pulse(*cell, pulse)
                    response[index, cycle, way, number] = _read(probe, cell, s.reads)
        done += 1
    low, high = probe.window_siemens
    mean = response[:done].mean(axis=(1, 4))
    opened = mean[:, 0, -1] - mean[:, 1, -1]
    least = s.opening * (high - low)
    idle = [cell_name(*cell) for cell, value in zip(cells, opened, strict=False) if not value >= least]
    share = 1.0 - len(idle) / max(1, done)
    checks = (
        judged(
            "response to pulses",
            done > 0 and share >= s.least_responding,
            f"{some(idle)} did not open the window from RESET to SET" if idle else "",
            {"responding": share, "mean_opening_siemens": float(opened.mean()) if done else 0.0},
            {"least_responding": s.least_responding, "least_opening_siemens": least},
        ),
        completed(done, len(cells)),
    )
    arrays = {"response_siemens": response, "cells": np.array(cells), "window_siemens": np.array([low, high])}
    return Findings(checks, {**arrays, "pulses": probe.pulses()})


def extremes(settings: PulseResponse, probe: ChipProbe) -> list[Extreme]:
    """A pulse of either train."""
    s = settings
    if not isinstance(probe, PulsesCells):
        return []
    set_gate_v, reset_gate_v = _gates_v(s, probe)
    return [
        Extreme("pulse response, SET", s.set_level_v, set_gate_v, s.current_a, s.width_s),
        Extreme("pulse response, RESET", s.reset_level_v, reset_gate_v, s.current_a, s.width_s),
    ]


def _gates_v(settings: PulseResponse, probe: ChipProbe) -> tuple[float, float]:
    """Of SET and of RESET; a passive array has none."""
    return (settings.set_gate_v, settings.reset_gate_v) if has_gates(probe) else (0.0, 0.0)


def _read(probe: ChipProbe, cell: Cell, reads: int) -> Array64:
    return np.array([probe.read_cell(*cell) for _ in range(reads)])
