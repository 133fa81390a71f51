"""What a chip is like before and while it is brought up: lines with contacts and shorts, virgin cells, raw pulses.

The cells are those of the mock crossbar (`drivers.mock.memristor.Cells`), so that what is formed here is what a network
is trained on. A virgin cell and a spoilt one are among the faulty ones: programming pulses leave them where they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field

from drivers.mock.memristor import Cells
from pib_lab.experiment import Model
from pib_lab.fault_kinds import FaultKind
from pib_lab.quantities import Array, Array64, Codes, Counts, Mask

CONTACT_OHM = 2.0
SHORT_OHM = 100.0
OFF_SIEMENS = 1e-12
"""Of a cell whose gate is down, of sound oxides, and from every line to the substrate."""
LEAKY_SIEMENS = 2e-6
GATE_ON_V = 0.7
"""Transistor threshold: below it a row's cells do not conduct."""
FORMING_V = (2.5, 0.2, 2.2, 3.1)
"""Mean, deviation and bounds of the gate voltage at which a virgin cell forms (SkyWater NI-RRAM: 2.2 to 3.1 V)."""
OVERSHOOT_V = 0.6
"""A cell whose first forming pulse comes with the gate so far above its forming voltage is shorted by it."""
SWITCH_V, FULL_V = 1.0, 3.0
"""Pulses below the first leave a formed cell alone; one of the second makes the profile's whole step."""
SHORTED_SIEMENS = 5e-3


class Defects(Model):
    """What is wrong with a mock chip, line by line and cell by cell, counted from 0.

    shorted_rows, shorted_columns: each to its next neighbour; leaky lines: to the substrate; cells as (row, column):
    unformable ones stay virgin, shorting ones short when formed, over_reset ones lose all conductance at a full RESET.
    offset_a, gain: of the front end, which sound ones have 0 and 1. k: the chip's temperature, None without a sensor.
    """

    virgin: bool = False
    open_rows: tuple[int, ...] = ()
    open_columns: tuple[int, ...] = ()
    open_gates: tuple[int, ...] = ()
    shorted_rows: tuple[int, ...] = ()
    shorted_columns: tuple[int, ...] = ()
    leaky_rows: tuple[int, ...] = ()
    leaky_columns: tuple[int, ...] = ()
    leaky_gates: tuple[int, ...] = ()
    unformable: tuple[tuple[int, int], ...] = ()
    shorting: tuple[tuple[int, int], ...] = ()
    over_reset: tuple[tuple[int, int], ...] = ()
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
        mean, deviation, low, high = FORMING_V
        self.forming_v: Array64 = np.clip(mean + deviation * rng.standard_normal(cells.count), low, high)
        for row, column in defects.unformable:
            self.forming_v[row * columns + column] = np.inf
        self.virgin: Mask = np.full(cells.count, defects.virgin)
        self._born: Codes = cells.faults.copy()
        self._born_siemens: Array = cells.effective.copy()
        if defects.virgin:
            cells.faults[:] = FaultKind.STUCK_LOW
            cells.effective[:] = 20e-9 * np.exp(0.3 * rng.standard_normal(cells.count))  # below 0.1 uS
        else:  # as somebody left them
            sound = cells.faults == FaultKind.HEALTHY
            cells.written = np.where(sound, rng.uniform(cells.low, cells.high), cells.written).astype(np.float32)
            cells.effective = np.where(sound, cells.written, cells.effective)

    def pulse(self, row: int, column: int, level_v: float, gate_v: float, now_s: float) -> None:
        """One pulse; whether the lines reach the cell is for the caller to know."""
        cell = row * self._columns + column
        cells = self._cells
        if self.virgin[cell]:
            if min(level_v, gate_v) >= self.forming_v[cell]:
                self._form(cell, gate_v, now_s)
            else:
                cells.pulses[cell] += 1
            return
        strength = (abs(level_v) - SWITCH_V) / (FULL_V - SWITCH_V) if gate_v >= GATE_ON_V else 0.0
        if strength <= 0.0 or cells.faults[cell] != FaultKind.HEALTHY:
            cells.pulses[cell] += 1
            return
        up = (level_v > 0.0) != self._defects.reversed
        if not up and strength >= 0.9 and (row, column) in self._defects.over_reset:
            self._spoil(cell, FaultKind.OPEN, 0.0)
            return
        self._commit(cell, self._stepped(cell, up, strength), now_s)

    def _form(self, cell: int, gate_v: float, now_s: float) -> None:
        self.virgin[cell] = False
        shorting = divmod(cell, self._columns) in self._defects.shorting
        if shorting or gate_v > self.forming_v[cell] + OVERSHOOT_V:
            self._spoil(cell, FaultKind.STUCK_HIGH, SHORTED_SIEMENS)
            return
        if self._born[cell] != FaultKind.HEALTHY:  # it forms into what it is
            self._spoil(cell, FaultKind(int(self._born[cell])), float(self._born_siemens[cell]))
            return
        self._cells.faults[cell] = FaultKind.HEALTHY
        self._commit(cell, self._cells.profile.g_max_siemens * self._rng.uniform(0.75, 3.0), now_s)

    def _stepped(self, cell: int, up: bool, strength: float) -> float:
        """dG = strength step d_i (1 +- a) bound(x) (1 + c2c N), within the cell's bounds: one pulse of an open loop.

        bound = 1 - b x upwards and 1 - b (1 - x) downwards. From above the window, where forming leaves a cell, a full
        RESET leads back into it at once.
        """
        cells, p = self._cells, self._cells.profile
        g, low, high = float(cells.written[cell]), float(cells.low[cell]), float(cells.high[cell])
        if g > high and not up and strength >= 0.9:
            return low + (high - low) * float(self._rng.uniform(0.3, 0.7))
        x = (g - p.g_min_siemens) / p.span_siemens
        room = max(0.0, 1.0 - p.soft_bound * (x if up else 1.0 - x))
        step = strength * p.step_siemens * float(cells.response[cell]) * room
        step *= 1.0 + p.step_cycle_to_cycle * float(self._rng.standard_normal())
        g_new = g + step * (1.0 + p.asymmetry) if up else g - step * (1.0 - p.asymmetry)
        return min(max(g_new, min(low, g)), max(high, g))

    def _commit(self, cell: int, written: float, now_s: float) -> None:
        one: Counts = np.ones(1, np.int32)
        self._cells.commit(np.array([cell]), np.array([written], np.float32), one, now_s, self._rng)

    def _spoil(self, cell: int, kind: FaultKind, conductance: float) -> None:
        self._cells.pulses[cell] += 1
        self._cells.faults[cell] = kind
        self._cells.effective[cell] = conductance


def _mask(indices: tuple[int, ...], count: int) -> Mask:
    mask = np.zeros(count, np.bool_)
    mask[list(indices)] = True
    return mask
