"""Quasi-static programming of the bench's cells by the voltages they see; `bench` states the rule."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from drivers.mock.forming import FULL_RESET, Forming
from drivers.mock.memristor import Cells, Index
from drivers.mock.noise import gaussian
from pib_lab.fault_kinds import FaultKind
from pib_lab.quantities import Array64

REFERENCE_S = 1e-3
"""A cell that stays beyond the threshold gets one more pulse for each decade of time beyond this."""
STRONGEST = 2.0
"""Steps of a pulse at most, in steps at the write voltage."""
BREAKDOWN = 2.0
"""A cell that sees more than this many write voltages breaks down."""

_ALL = 1 << 60
"""More pulses than any stay beyond the threshold can owe."""


class Switching:
    """Which cells are beyond the threshold, with which sign and since when."""

    def __init__(self, cells: Cells, forming: Forming, threshold_v: float, write_v: float) -> None:
        self._cells, self._forming, self._threshold_v, self._write_v = cells, forming, threshold_v, write_v
        self._since_s: Array64 = np.zeros(cells.count)
        self._given: npt.NDArray[np.int64] = np.zeros(cells.count, np.int64)
        self._sign: Array64 = np.zeros(cells.count)
        self._resting = True

    def rest(self) -> None:
        """No cell is beyond the threshold."""
        if not self._resting:
            self._sign[:] = 0.0
            self._resting = True

    def feel(self, across_v: Array64, gate_v: Array64, now_s: float, rng: np.random.Generator) -> bool:
        """Give each cell the pulses that are due at these voltages across it and at its gate (cells,); True if any got
        one. What forms has all of the pulse that formed it behind it: from then on its gate holds the current."""
        over = np.abs(across_v) > self._threshold_v
        if not over.any():
            self.rest()
            return False
        self._resting = False
        sign = np.where(over, np.sign(across_v), 0.0)
        fresh = over & (sign != self._sign)
        self._since_s[fresh], self._given[fresh], self._sign = now_s, 0, sign
        stressed = (np.abs(across_v) > BREAKDOWN * self._write_v) & (self._given < _ALL)
        broken = np.flatnonzero(stressed & (self._cells.faults == FaultKind.HEALTHY))
        if broken.size:
            self._cells.stick(broken, np.full(broken.size, FaultKind.STUCK_HIGH, np.int8), rng)
        elapsed = np.maximum(now_s - self._since_s, REFERENCE_S) / REFERENCE_S
        owed = np.where(over, 1 + np.floor(np.log10(elapsed) + 1e-9).astype(np.int64) - self._given, 0)
        self._form(owed, across_v, gate_v, now_s)
        index: Index = np.flatnonzero(owed > 0)
        self._given[index] += owed[index]
        self._pulse(index, across_v, owed, now_s, rng)
        return bool(index.size or broken.size)

    def _form(self, owed: npt.NDArray[np.int64], across_v: Array64, gate_v: Array64, now_s: float) -> None:
        """What virgin cells are owed, and full RESETs of cells that they do not merely move; leaves the rest owed."""
        for cell in np.flatnonzero((owed > 0) & self._forming.virgin).tolist():
            while owed[cell] > 0 and self._forming.pulse(cell, across_v[cell], gate_v[cell], now_s):
                owed[cell] -= 1
                self._given[cell] += 1
            if not self._forming.virgin[cell]:
                owed[cell], self._given[cell] = 0, _ALL
        for cell in np.flatnonzero((owed > 0) & (self._strength(across_v) >= FULL_RESET) & (across_v < 0.0)).tolist():
            if self._forming.full_reset(cell, now_s):
                owed[cell] -= 1
                self._given[cell] += 1

    def _strength(self, across_v: Array64) -> Array64:
        """In steps at the write voltage."""
        return np.asarray((np.abs(across_v) - self._threshold_v) / (self._write_v - self._threshold_v))

    def _pulse(
        self, index: Index, across_v: Array64, owed: npt.NDArray[np.int64], now_s: float, rng: np.random.Generator
    ) -> None:
        cells, p = self._cells, self._cells.profile
        for again in range(int(owed[index].max(initial=0))):
            index = index[owed[index] > again]
            g, low, high = cells.effective[index], cells.low[index], cells.high[index]
            up = across_v[index] > 0.0
            strength = self._strength(across_v[index])
            position = (g - p.g_min_siemens) / p.span_siemens
            room = np.maximum(1.0 - p.soft_bound * np.where(up, position, 1.0 - position), 0.0)
            step = p.step_siemens * np.minimum(strength, STRONGEST) * room * cells.response[index]
            step *= np.where(up, 1.0 + p.asymmetry, -(1.0 - p.asymmetry))
            step *= 1.0 + p.step_cycle_to_cycle * gaussian(rng, g.shape)
            moved = np.minimum(np.maximum(g + step, np.minimum(low, g)), np.maximum(high, g)).astype(np.float32)
            cells.commit(index, moved, np.ones(index.size, np.int32), now_s, rng)
