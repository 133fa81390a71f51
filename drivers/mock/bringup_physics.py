"""What a chip is like before and while it is brought up: lines with contacts and shorts, virgin cells, raw pulses.

The cells are those of the mock crossbar (`drivers.mock.memristor.Cells`), so that what is formed here is what a network
is trained on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field

from drivers.mock.forming import FULL_RESET, CellDefects, Forming
from drivers.mock.memristor import Cells
from pib_lab.fault_kinds import FaultKind
from pib_lab.quantities import Array64, Counts, Mask

CONTACT_OHM = 2.0
SHORT_OHM = 100.0
OFF_SIEMENS = 1e-12
"""Of a cell whose gate is down, of sound oxides, and from every line to the substrate."""
LEAKY_SIEMENS = 2e-6
GATE_ON_V = 0.7
"""Transistor threshold: below it a row's cells do not conduct."""
SWITCH_V, FULL_V = 1.0, 3.0
"""Pulses below the first leave a formed cell alone; one of the second makes the profile's whole step."""


class Defects(CellDefects):
    """What is wrong with a mock chip, line by line and cell by cell, counted from 0.

    shorted_rows, shorted_columns: each to its next neighbour; leaky lines: to the substrate. offset_a, gain: of the
    front end, which sound ones have 0 and 1. k: the chip's temperature, None without a sensor.
    """

    open_rows: tuple[int, ...] = ()
    open_columns: tuple[int, ...] = ()
    open_gates: tuple[int, ...] = ()
    shorted_rows: tuple[int, ...] = ()
    shorted_columns: tuple[int, ...] = ()
    leaky_rows: tuple[int, ...] = ()
    leaky_columns: tuple[int, ...] = ()
    leaky_gates: tuple[int, ...] = ()
    reversed: bool = False
    offset_a: float = 0.0
    gain: Annotated[float, Field(gt=0.0)] = 1.0
    temperature_k: float | None = 300.0


@dataclass(frozen=True)
class LineNetwork:
    """Rows, columns and gates as nodes (in this order), with contacts, shorts, leaks; cells join rows and columns."""

    rows: int
    columns: int
    defects: Defects

    @property
    def plain(self) -> bool:
        """Whether all lines are connected, and to nothing but their cells: each cell is then read alone."""
        d = self.defects
        return not (d.open_rows or d.open_columns or d.open_gates or d.shorted_rows or d.shorted_columns)

    def pad_currents(self, conductance: Array64, pad_v: Array64, gates_up: Mask) -> Array64:
        """What each pad supplies (nodes,) when held at `pad_v` (nodes,).

        conductance: (rows, columns) of the cells; those of rows whose gate is not up, or does not reach them, are off.
        Solves (Y + diag(y_pad)) u = y_pad pad_v; the currents are y_pad (pad_v - u). Cells are taken as ohmic.
        """
        r, c = self.rows, self.columns
        conducting = gates_up & ~_mask(self.defects.open_gates, r)
        cells = np.where(conducting[:, None], conductance, OFF_SIEMENS)
        matrix = np.zeros((2 * r + c, 2 * r + c))
        matrix[:r, r : r + c] = -cells
        matrix[r : r + c, :r] = -cells.T
        for start, shorted in ((0, self.defects.shorted_rows), (r, self.defects.shorted_columns)):
            for line in shorted:
                matrix[[start + line, start + line + 1], [start + line + 1, start + line]] = -1.0 / SHORT_OHM
        diagonal = -matrix.sum(axis=1) + self._leaks()
        pads = np.full(2 * r + c, 1.0 / CONTACT_OHM)
        pads[np.flatnonzero(self._open())] = 0.0
        matrix[np.diag_indices_from(matrix)] = diagonal + pads
        node_v = np.linalg.solve(matrix, pads * pad_v)
        return np.asarray(pads * (pad_v - node_v))

    def _leaks(self) -> Array64:
        d = self.defects
        leaky = [_mask(d.leaky_rows, self.rows), _mask(d.leaky_columns, self.columns), _mask(d.leaky_gates, self.rows)]
        return np.where(np.concatenate(leaky), LEAKY_SIEMENS, OFF_SIEMENS)

    def _open(self) -> Mask:
        d = self.defects
        lines = [_mask(d.open_rows, self.rows), _mask(d.open_columns, self.columns), _mask(d.open_gates, self.rows)]
        return np.concatenate(lines)


class SwitchingCells:
    """Forms, SETs and RESETs cells (rows, columns) by raw pulses, one at a time."""

    def __init__(self, cells: Cells, columns: int, defects: Defects, rng: np.random.Generator) -> None:
        self._cells, self._columns, self._defects, self._rng = cells, columns, defects, rng
        self._forming = Forming(cells, columns, defects, rng)
        if not defects.virgin:  # as somebody left them
            sound = cells.faults == FaultKind.HEALTHY
            cells.written = np.where(sound, rng.uniform(cells.low, cells.high), cells.written).astype(np.float32)
            cells.effective = np.where(sound, cells.written, cells.effective)

    def pulse(self, row: int, column: int, level_v: float, gate_v: float, now_s: float) -> None:
        """One pulse; whether the lines reach the cell is for the caller to know."""
        cell = row * self._columns + column
        cells = self._cells
        if self._forming.pulse(cell, level_v, gate_v, now_s):
            return
        strength = (abs(level_v) - SWITCH_V) / (FULL_V - SWITCH_V) if gate_v >= GATE_ON_V else 0.0
        if strength <= 0.0 or cells.faults[cell] != FaultKind.HEALTHY:
            cells.pulses[cell] += 1
            return
        up = (level_v > 0.0) != self._defects.reversed
        if not up and strength >= FULL_RESET and self._forming.full_reset(cell, now_s):
            return
        one: Counts = np.ones(1, np.int32)
        stepped = np.array([self._stepped(cell, up, strength)], np.float32)
        cells.commit(np.array([cell]), stepped, one, now_s, self._rng)

    def _stepped(self, cell: int, up: bool, strength: float) -> float:
        """dG = strength step d_i (1 +- a) bound(x) (1 + c2c N), within the cell's bounds: one pulse of an open loop.

        bound = 1 - b x upwards and 1 - b (1 - x) downwards.
        """
        cells, p = self._cells, self._cells.profile
        g, low, high = float(cells.written[cell]), float(cells.low[cell]), float(cells.high[cell])
        x = (g - p.g_min_siemens) / p.span_siemens
        room = max(0.0, 1.0 - p.soft_bound * (x if up else 1.0 - x))
        step = strength * p.step_siemens * float(cells.response[cell]) * room
        step *= 1.0 + p.step_cycle_to_cycle * float(self._rng.standard_normal())
        g_new = g + step * (1.0 + p.asymmetry) if up else g - step * (1.0 - p.asymmetry)
        return min(max(g_new, min(low, g)), max(high, g))


def _mask(indices: tuple[int, ...], count: int) -> Mask:
    mask = np.zeros(count, np.bool_)
    mask[list(indices)] = True
    return mask
