"""One array of the emulated board's chip: all its cells, the window in use, and its converters' range."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np

from drivers.chip.profiles import MemristorProfile
from drivers.mock.bringup_physics import GATE_ON_V
from drivers.mock.crossbar import CrossbarPhysics
from drivers.mock.forming import FULL_RESET, CellDefects, Forming
from drivers.mock.frontend import digitise
from drivers.mock.memristor import Cells
from drivers.mock.noise import Telegraph
from drivers.mock.programming import Write, open_loop, raw_pulses, write_verify
from pib_lab.device import Clock
from pib_lab.quantities import Array, Codes, Mask

PULSE_V = 3.0
"""Amplitude of a pulse that, `pulse_s` wide, makes a step of the profile's `step_siemens`; proportional besides."""


@dataclass(frozen=True, slots=True)
class RawPulse:
    """`count` pulses to one cell, SET with a positive level, RESET with a negative one, `period_s` apart."""

    level_v: float
    width_s: float
    gate_v: float
    count: int
    period_s: float


@dataclass(frozen=True, slots=True)
class SharedCells:
    """Cells of rows x columns that another emulator has behind its terminals as well; `lock` is held while either
    looks at them or changes them."""

    cells: Cells
    telegraph: Telegraph
    forming: Forming
    lock: AbstractContextManager[object]


class ChipArray:
    """Cells of rows x columns with wires, noise and ageing; seeds: what its cells and its noise are drawn from.

    shared: take these cells in the place of its own.
    """

    def __init__(
        self,
        profile: MemristorProfile,
        seeds: list[int],
        clock: Clock,
        full_scale_na: int,
        defects: CellDefects,
        shared: SharedCells | None = None,
    ) -> None:
        made, lived, formed = np.random.SeedSequence(seeds).spawn(3)
        self._rng = np.random.Generator(np.random.SFC64(lived))
        self._clock, self._profile = clock, profile
        born = np.random.Generator(np.random.SFC64(made))
        self._whole = CrossbarPhysics(profile.rows, profile.columns // 2, profile, clock.now_s(), born)
        self._shared = shared
        if shared is None:
            former = np.random.Generator(np.random.SFC64(formed))
            self._forming = Forming(self._whole.cells, profile.columns, defects, former)
        else:
            self._whole.cells, self._whole.telegraph, self._forming = shared.cells, shared.telegraph, shared.forming
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
            with self._window():
                self._gather()
                self._used = self._whole.part(rows, pairs)

    def respond(
        self, volts: Array, drive_limit_v: float, column_limit_a: float, offset_a: float = 0.0
    ) -> tuple[Array, Mask]:
        """Difference currents (vectors, pairs), digitised, and where a converter or a line clipped."""
        limits, full_scale_a = (drive_limit_v, column_limit_a), self.full_scale_na * 1e-9
        with self._window() as physics:
            seen = physics.respond(volts, limits, full_scale_a, self._clock.now_s(), self._rng)
        return self._shifted(seen, full_scale_a, offset_a)

    def sense(
        self, first_row: int, rows: int, full_scale_a: float, column_limit_a: float, offset_a: float = 0.0
    ) -> tuple[Array, Mask]:
        """Currents (rows, pairs, 2) of cells, each row alone at the read voltage, digitised, and what clipped."""
        chosen = slice(first_row, first_row + rows)
        with self._window() as physics:
            seen = physics.sense_cells(chosen, full_scale_a, self._clock.now_s(), self._rng)
        clamped = np.asarray(seen[0] > np.float32(column_limit_a))
        held = np.minimum(seen[0], np.float32(column_limit_a)), seen[1] | clamped
        return self._shifted(held, full_scale_a, offset_a)

    def _shifted(self, seen: tuple[Array, Mask], full_scale_a: float, offset_a: float) -> tuple[Array, Mask]:
        """As a front end with an offset shows it."""
        if not offset_a:
            return seen
        values = seen[0] + np.float32(offset_a)
        return values, seen[1] | digitise(values, full_scale_a, self._profile.adc_bits)

    def write(self, first_row: int, mask: Mask, target: Array, start: Array | None, max_pulses: int) -> Write:
        """Program the cells of `mask` (rows, columns) from `first_row`; start None: verified. Takes its time."""
        p = self._profile
        index = np.flatnonzero(mask) + first_row * 2 * self.pairs
        with self._window() as physics:
            physics.age(self._clock.now_s())
            if start is None:
                done = write_verify(physics.cells, physics.telegraph, index, target, self._rng, max_pulses)
            else:
                done = open_loop(physics.cells, index, target, start, self._rng, max_pulses)
            self._clock.sleep_s(int(done.pulses.sum()) * p.pulse_s + done.verify_passes * p.verify_s)
            physics.cells.commit(index, done.conductance, done.pulses, self._clock.now_s(), self._rng)
            physics.rewire()
        return done

    def pulse(self, row: int, column: int, pulse: RawPulse) -> None:
        """Raw pulses to one cell. Takes their time.

        A formed cell makes steps of a strength relative to the strongest pulse of the verify loop, proportional to
        level and width; a virgin one forms, by `Forming`. Nothing moves a cell whose gate is down.
        """
        p = self._profile
        strength = pulse.level_v / PULSE_V * (pulse.width_s / p.pulse_s if p.pulse_s else 1.0)
        if pulse.gate_v < GATE_ON_V:
            strength = 0.0
        with self._window() as physics:
            physics.age(self._clock.now_s())
            self._clock.sleep_s(pulse.count * pulse.period_s)
            left = self._formed(row, column, pulse, strength)
            if left:
                cells, index = self._used.cells, np.array([row * 2 * self.pairs + column])
                done = raw_pulses(cells, int(index[0]), strength, left, self._rng)
                cells.commit(index, done.conductance, done.pulses, self._clock.now_s(), self._rng)
                self._used.rewire()

    def _formed(self, row: int, column: int, pulse: RawPulse, strength: float) -> int:
        """Give what forms a cell, or leads it back into the window after forming; returns how many pulses are left."""
        forming, left, now_s = self._forming, pulse.count, self._clock.now_s()
        cell = (self._profile.rows - self.rows + row) * self._profile.columns + column
        if not forming.virgin[cell] and strength > -FULL_RESET:
            return left
        self._gather()
        while left and forming.pulse(cell, pulse.level_v, pulse.gate_v, now_s):
            left -= 1
        if left and strength <= -FULL_RESET and forming.full_reset(cell, now_s):
            left -= 1
        self._used = self._whole.part(self.rows, self.pairs)
        return left

    def set_conductances(self, values: object) -> None:
        """Put the cells of the window to (rows, pairs, 2) siemens. Raises ValueError for what cannot be."""
        wanted = np.asarray(values, np.float32)
        if wanted.shape != self._used.shape or not np.isfinite(wanted).all() or (wanted < 0.0).any():
            raise ValueError(f"conductances must be numbers of shape {self._used.shape}, 0 or more")
        with self._window():
            self._gather()
            self._forming.finish()
            self._used = self._whole.part(self.rows, self.pairs)
            cells = self._used.cells
            cells.written[:] = cells.effective[:] = wanted.reshape(-1)
            cells.direction[:] = 0.0

    def _gather(self) -> None:
        """Bring all cells, and not only those of the window, to now."""
        self._whole.telegraph.advance(self._clock.now_s(), self._rng)
        self._whole.put_back(self._used)

    @contextlib.contextmanager
    def _window(self) -> Iterator[CrossbarPhysics]:
        """The cells of the window; while another emulator has the same ones, they are taken from it and given back."""
        if self._shared is None:
            yield self._used
            return
        with self._shared.lock:
            self._used = self._whole.part(self.rows, self.pairs)
            yield self._used
            self._gather()

    def conductances(self) -> Array:
        """The truth, now: (rows, pairs, 2) of the window, in siemens."""
        with self._window() as physics:
            physics.age(self._clock.now_s())
            return physics.cells.effective.reshape(physics.shape).copy()

    def pulses(self) -> int:
        """The truth: pulses that all cells of the window have ever got."""
        with self._window() as physics:
            return int(physics.cells.pulses.sum())

    def faults(self) -> Codes:
        """The truth: FaultKind codes (rows, pairs, 2) of the window."""
        with self._window() as physics:
            return physics.cells.faults.reshape(physics.shape).copy()

    def strike(self, kind: str, fraction: float, seed: int) -> int:
        """Strike healthy cells of the window with faults; returns how many."""
        rng = np.random.Generator(np.random.SFC64(seed))
        with self._window() as physics:
            struck = physics.cells.strike(kind, fraction, None, rng)
            physics.rewire()
        return struck
