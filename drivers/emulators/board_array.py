"""One array of the emulated board's chip: all its cells, the window in use, and its converters' range."""

from __future__ import annotations

import numpy as np

from drivers.chip.profiles import MemristorProfile
from drivers.mock.crossbar import CrossbarPhysics
from drivers.mock.programming import Write, open_loop, raw_pulses, write_verify
from pib_lab.device import Clock
from pib_lab.quantities import Array, Codes, Mask


class ChipArray:
    """Cells of rows x columns with wires, noise and ageing; seeds: what its cells and its noise are drawn from."""

    def __init__(self, profile: MemristorProfile, seeds: list[int], clock: Clock, full_scale_na: int) -> None:
        made, lived = np.random.SeedSequence(seeds).spawn(2)
        self._rng = np.random.Generator(np.random.SFC64(lived))
        self._clock, self._profile = clock, profile
        born = np.random.Generator(np.random.SFC64(made))
        self._whole = CrossbarPhysics(profile.rows, profile.columns // 2, profile, clock.now_s(), born)
        self._used = self._whole.part(profile.rows, profile.columns // 2)
        self.full_scale_na = full_scale_na

    @property
    def rows(self) -> int:
        """Rows of the window in use."""
        return self._used.shape[0]

    @property
    def pairs(self) -> int:
        """Pairs of the window in use."""
        return self._used.shape[1]

    def use(self, rows: int, pairs: int) -> None:
        """Use another window of the same cells."""
        if (rows, pairs) != (self.rows, self.pairs):
            self._whole.put_back(self._used)
            self._used = self._whole.part(rows, pairs)

    def respond(self, volts: Array, drive_limit_v: float, column_limit_a: float) -> tuple[Array, Mask]:
        """Difference currents (vectors, pairs), digitised, and where a converter or a line clipped."""
        limits = (drive_limit_v, column_limit_a)
        return self._used.respond(volts, limits, self.full_scale_na * 1e-9, self._clock.now_s(), self._rng)

    def sense(self, first_row: int, rows: int, full_scale_a: float) -> tuple[Array, Mask]:
        """Currents (rows, pairs, 2) of cells, each row alone at the read voltage, digitised, and what clipped."""
        chosen = slice(first_row, first_row + rows)
        return self._used.sense_cells(chosen, full_scale_a, self._clock.now_s(), self._rng)

    def write(self, first_row: int, mask: Mask, target: Array, start: Array | None, max_pulses: int) -> Write:
        """Program the cells of `mask` (rows, columns) from `first_row`; start None: verified. Takes its time."""
        p, physics = self._profile, self._used
        physics.age(self._clock.now_s())
        index = np.flatnonzero(mask) + first_row * 2 * self.pairs
        if start is None:
            done = write_verify(physics.cells, physics.telegraph, index, target, self._rng, max_pulses)
        else:
            done = open_loop(physics.cells, index, target, start, self._rng, max_pulses)
        self._clock.sleep_s(int(done.pulses.sum()) * p.pulse_s + done.verify_passes * p.verify_s)
        physics.cells.commit(index, done.conductance, done.pulses, self._clock.now_s(), self._rng)
        physics.rewire()
        return done

    def pulse(self, row: int, column: int, strength: float, count: int, period_s: float) -> None:
        """Raw pulses to one cell, of a strength relative to the strongest pulse of the verify loop. Takes its time."""
        physics, cell = self._used, row * 2 * self.pairs + column
        physics.age(self._clock.now_s())
        done = raw_pulses(physics.cells, cell, strength, count, self._rng)
        self._clock.sleep_s(count * period_s)
        physics.cells.commit(np.array([cell]), done.conductance, done.pulses, self._clock.now_s(), self._rng)
        physics.rewire()

    def conductances(self) -> Array:
        """The truth, now: (rows, pairs, 2) of the window, in siemens."""
        self._used.age(self._clock.now_s())
        return self._used.cells.effective.reshape(self._used.shape).copy()

    def pulses(self) -> int:
        """The truth: pulses that all cells of the window have ever got."""
        return int(self._used.cells.pulses.sum())

    def faults(self) -> Codes:
        """The truth: FaultKind codes (rows, pairs, 2) of the window."""
        return self._used.cells.faults.reshape(self._used.shape).copy()

    def strike(self, kind: str, fraction: float, seed: int) -> int:
        """Strike healthy cells of the window with faults; returns how many."""
        rng = np.random.Generator(np.random.SFC64(seed))
        struck = self._used.cells.strike(kind, fraction, None, rng)
        self._used.rewire()
        return struck
