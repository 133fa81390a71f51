"""Forming: what virgin cells are like, what makes them conduct, and what goes wrong with it.

A cell forms when both the level across it and its gate reach its forming voltage. A virgin cell and a spoilt one are
among the faulty ones: programming pulses leave them where they are.
"""

from __future__ import annotations

import numpy as np

from drivers.mock.memristor import Cells
from pib_lab.errors import ConfigurationError
from pib_lab.experiment import Model
from pib_lab.fault_kinds import FaultKind
from pib_lab.quantities import Array, Array64, Codes, Counts, Mask

FORMING_V = (2.5, 0.2, 2.2, 3.1)
"""Mean, deviation and bounds of the gate voltage at which a virgin cell forms (SkyWater NI-RRAM: 2.2 to 3.1 V)."""
OVERSHOOT_V = 0.6
"""A cell whose first forming pulse comes with the gate so far above its forming voltage is shorted by it."""
SHORTED_SIEMENS = 5e-3
FULL_RESET = 0.9
"""RESETs of this strength, in steps of the profile, lead a cell that forming has left above the window back into it."""


class CellDefects(Model):
    """Of single cells, as (row, column) of the array, counted from 0. virgin: all cells are still to be formed;
    unformable ones stay virgin, shorting ones short when formed, over_reset ones lose all conductance at a full RESET.
    """

    virgin: bool = False
    unformable: tuple[tuple[int, int], ...] = ()
    shorting: tuple[tuple[int, int], ...] = ()
    over_reset: tuple[tuple[int, int], ...] = ()

    def check(self, rows: int, columns: int) -> None:
        """Raise ConfigurationError for a cell that an array of this size does not have."""
        for row, column in (*self.unformable, *self.shorting, *self.over_reset):
            if not (0 <= row < rows and 0 <= column < columns):
                raise ConfigurationError(
                    f"defects: there is no cell ({row}, {column}) among {rows} x {columns}, counted from (0, 0)"
                )


SOUND = CellDefects()


class Forming:
    """Which of the cells (rows, columns) are virgin, and what pulses do to these."""

    def __init__(self, cells: Cells, columns: int, defects: CellDefects, rng: np.random.Generator) -> None:
        defects.check(cells.count // columns, columns)
        self._cells, self._rng = cells, rng
        mean, deviation, low, high = FORMING_V
        self.forming_v: Array64 = np.clip(mean + deviation * rng.standard_normal(cells.count), low, high)
        self.forming_v[_at(defects.unformable, columns)] = np.inf
        self._shorting = frozenset(_at(defects.shorting, columns))
        self._over_reset = frozenset(_at(defects.over_reset, columns))
        self._above: set[int] = set()
        self.virgin: Mask = np.full(cells.count, defects.virgin)
        self._born: Codes = cells.faults.copy()
        self._born_siemens: Array = cells.effective.copy()
        if defects.virgin:
            cells.faults[:] = FaultKind.STUCK_LOW
            cells.effective[:] = 20e-9 * np.exp(0.3 * rng.standard_normal(cells.count))  # below 0.1 uS

    def pulse(self, cell: int, level_v: float, gate_v: float, now_s: float) -> bool:
        """A pulse to a cell that is virgin, counted; False, and nothing done, for one that is not."""
        if not self.virgin[cell]:
            return False
        if min(level_v, gate_v) < self.forming_v[cell]:
            self._cells.pulses[cell] += 1
            return True
        self.virgin[cell] = False
        profile = self._cells.profile
        if cell in self._shorting or gate_v > self.forming_v[cell] + OVERSHOOT_V:
            self._spoil(cell, FaultKind.STUCK_HIGH, SHORTED_SIEMENS)
        elif self._born[cell] != FaultKind.HEALTHY:  # it forms into what it is
            self._spoil(cell, FaultKind(int(self._born[cell])), float(self._born_siemens[cell]))
        else:
            self._cells.faults[cell] = FaultKind.HEALTHY
            self._above.add(cell)
            self._commit(cell, profile.g_max_siemens * self._rng.uniform(0.75, 3.0), now_s)
        return True

    def full_reset(self, cell: int, now_s: float) -> bool:
        """A RESET of at least FULL_RESET, counted, of a cell that it does not merely move by a step: one that loses all
        conductance, or one that forming has left above the window. False, and nothing done, for any other."""
        cells = self._cells
        if cells.faults[cell] != FaultKind.HEALTHY:
            return False
        if cell in self._over_reset:
            self._spoil(cell, FaultKind.OPEN, 0.0)
            return True
        if cell not in self._above:
            return False
        self._above.discard(cell)
        low, high = float(cells.low[cell]), float(cells.high[cell])
        if cells.written[cell] <= high:
            return False
        self._commit(cell, low + (high - low) * float(self._rng.uniform(0.3, 0.7)), now_s)
        return True

    def finish(self) -> None:
        """All that is virgin becomes what it was born to be, without a pulse: cells are set from outside."""
        self._cells.faults[self.virgin] = self._born[self.virgin]
        self._cells.effective[self.virgin] = self._born_siemens[self.virgin]
        self.virgin[:] = False

    def _commit(self, cell: int, written: float, now_s: float) -> None:
        one: Counts = np.ones(1, np.int32)
        self._cells.commit(np.array([cell]), np.array([written], np.float32), one, now_s, self._rng)

    def _spoil(self, cell: int, kind: FaultKind, conductance: float) -> None:
        self._cells.pulses[cell] += 1
        self._cells.faults[cell] = kind
        self._cells.effective[cell] = conductance


def _at(places: tuple[tuple[int, int], ...], columns: int) -> list[int]:
    return [row * columns + column for row, column in places]
