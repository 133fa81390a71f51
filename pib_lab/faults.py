"""The fault map, and how it is found from measurements alone.

Every tested cell is asked to move by `_STROKE` of the window towards the far half, then back home; it is a suspect when
what is measured of it moved by less than `_MOVED` of the window.

- A unit that verifies its writes: a suspect is stuck when it also missed its target both times (the second time only
  where there was a way to go: a cell known to be held where it is stuck misses nothing by staying). How far it moved is
  the lesser of what scan reads and verify reads say, for line resistance lets a stuck cell's reading move with its
  neighbours. Cost: two writes of every tested cell, three sets of reads.
- A unit that writes in open loop: pulses may find little room left, or a slow cell, so that a sound cell hardly moves.
  Suspects are therefore driven to the end of the window away from where they read, then to the other, in `_ROUNDS`
  rounds, and home; what has moved by less than `_MOVED` between any two sets of reads is stuck. A sound cell passes for
  stuck only when no round moves it. Cost, beyond the above: two sets of reads a round, and of every suspect two writes
  a round and one home.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pib_lab.capabilities import CountsWear, Digital, ReadsParameters, wear
from pib_lab.fault_kinds import FaultKind
from pib_lab.quantities import Array, Codes, Mask, Quantity
from pib_lab.unit import CancelToken, PhysicalUnit

_STROKE = 0.4  # of the window: several times the spread after a write of the worst device in data/profiles
_MOVED = 0.1  # of the window: beyond the telegraph noise of a stuck cell
_ROUNDS = 2


@dataclass(frozen=True)
class ScanResult:
    """faults: FaultKind codes; readings: mean measured parameters; held: what the device is believed to hold now;
    passes: of the reads; pulses: spent."""

    faults: Codes
    readings: Array
    held: Array
    passes: int
    pulses: int


def can_scan(unit: PhysicalUnit) -> bool:
    """A scan needs a physical unit that can read its own parameters."""
    return isinstance(unit, ReadsParameters) and not isinstance(unit, Digital)


def scan_effort(verifies: bool) -> tuple[int, int]:
    """(sets of reads, writes of a tested cell) that a scan takes at most, on a unit that verifies writes or does not.

    Verified: read before, away and home; write away and home. Open loop: two strokes a round more, and home again.
    """
    return (3, 2) if verifies else (3 + 2 * _ROUNDS, 3 + 2 * _ROUNDS)


def scan(unit: PhysicalUnit, held: Array, tested: Mask, reads: int, cancel: CancelToken) -> ScanResult:
    """Find cells that no longer respond, among those `tested`; untested ones come back HEALTHY.

    `held` is what the unit is believed to hold (in its own units): tested cells are put back there.
    Raises TypeError for a unit that cannot read its parameters: ask `can_scan` first.
    """
    if not isinstance(unit, ReadsParameters):
        raise TypeError(f"{unit.spec.name} cannot read its parameters")
    limits = unit.spec.parameters
    pulses_before = wear(unit)[0]
    reader = _Reader(unit, reads, cancel)
    middle = 0.5 * (limits.low + limits.high)
    least = np.float32(_MOVED * limits.span)
    before = reader.read()
    stroke = np.where(before > middle, -_STROKE, _STROKE) * limits.span
    away = np.clip(before + stroke, limits.low, limits.high).astype(np.float32)
    verified_before = wear(unit)[1]
    held_away = unit.program(away, tested)
    missed = _missed(unit, tested)
    reader.read()
    home = np.where(tested, np.clip(held, limits.low, limits.high), held)
    held_now = unit.program(home, tested)
    missed &= _missed(unit, tested) | (np.abs(home - held_away) < least)
    reader.read()
    suspects = tested & (reader.spread() < least)
    if wear(unit)[1] > verified_before:  # every write of a unit that verifies takes some
        stuck = missed & (suspects | (tested & (np.abs(held_now - held_away) < least)))
    else:
        stuck = _drive_to_the_ends(unit, reader, suspects, before > middle)
        held_now = unit.program(home, suspects)
    codes = classify(reader.mean(), stuck, limits)
    return ScanResult(codes, reader.mean(), held_now, reader.passes, wear(unit)[0] - pulses_before)


def _drive_to_the_ends(unit: PhysicalUnit, reader: _Reader, suspects: Mask, above: Mask) -> Mask:
    """Suspects that do not move when driven to the end of the window away from where they read, then to the other."""
    limits = unit.spec.parameters
    for _ in range(_ROUNDS):
        for low in (above, ~above):
            if suspects.any():
                unit.program(np.where(low, limits.low, limits.high).astype(np.float32), suspects)
                reader.read()
        suspects = suspects & (reader.spread() < np.float32(_MOVED * limits.span))
    return suspects


class _Reader:
    """Reads all parameters, each time as a mean of several; remembers what was read and what it cost."""

    def __init__(self, unit: ReadsParameters, reads: int, cancel: CancelToken) -> None:
        self._unit, self._reads, self._cancel = unit, reads, cancel
        self._seen: list[Array] = []
        self.passes = 0

    def read(self) -> Array:
        """The mean of one set of reads."""
        values = []
        for _ in range(self._reads):
            value, cost = self._unit.read_parameters(cancel=self._cancel)
            values.append(value)
            self.passes += cost
        self._seen.append(np.mean(values, axis=0, dtype=np.float32))
        return self._seen[-1]

    def mean(self) -> Array:
        """Over all sets."""
        return np.asarray(np.mean(self._seen, axis=0, dtype=np.float32))

    def spread(self) -> Array:
        """Largest difference between sets."""
        return np.asarray(np.ptp(self._seen, axis=0))


def _missed(unit: PhysicalUnit, tested: Mask) -> Mask:
    """Tested cells whose last write missed, as far as the unit's own verify reads tell."""
    return tested & (unit.write_misses() > 0) if isinstance(unit, CountsWear) else np.zeros_like(tested)


def classify(readings: Array, stuck: Mask, limits: Quantity) -> Codes:
    """Kinds of the stuck cells from where they read: within a tenth of the window from either end, or between.

    A cell that reads less than half of a window's low end that is not 0 is open; with a window that starts at 0, open
    and stuck low cannot be told apart, and are called stuck low.
    """
    codes = np.full(readings.shape, FaultKind.HEALTHY, np.int8)
    relative = (readings - limits.low) / limits.span
    codes[stuck] = FaultKind.STUCK_BETWEEN
    codes[stuck & (relative < 0.1)] = FaultKind.STUCK_LOW
    codes[stuck & (relative > 0.9)] = FaultKind.STUCK_HIGH
    codes[stuck & (readings < 0.5 * limits.low)] = FaultKind.OPEN
    return codes


def compensate_pairs(wanted: Array, held: Array, faulty: Mask, low: float, high: float) -> Array:
    """For differential pairs (..., 2): where one cell is faulty, the other takes over the whole difference.

    wanted difference w = wanted[..., 0] - wanted[..., 1]; with the + cell stuck at h the - cell goes to h - w, with
    the - cell stuck at h the + cell goes to h + w, within [low, high]. Faulty cells come back as they are held.
    """
    difference = wanted[..., 0] - wanted[..., 1]
    target = np.where(faulty, held, wanted).astype(np.float32)
    only_plus = faulty[..., 0] & ~faulty[..., 1]
    only_minus = faulty[..., 1] & ~faulty[..., 0]
    target[..., 1] = np.where(only_plus, np.clip(held[..., 0] - difference, low, high), target[..., 1])
    target[..., 0] = np.where(only_minus, np.clip(held[..., 1] + difference, low, high), target[..., 0])
    return target


def pair_reach(held: Array, faulty: Mask, low: float, high: float) -> tuple[Array, Array]:
    """Least and largest difference of each pair (..., 2), with healthy cells anywhere in [low, high]."""
    least, largest = np.where(faulty, held, np.float32(low)), np.where(faulty, held, np.float32(high))
    return least[..., 0] - largest[..., 1], largest[..., 0] - least[..., 1]


def pair_targets(difference: Array, held: Array, faulty: Mask, low: float, high: float) -> Array:
    """Cells (..., 2) that make `difference`: healthy pairs around mid-window, others by the healthy partner."""
    middle, half = np.float32(0.5 * (low + high)), 0.5 * difference
    wanted = np.stack([middle + half, middle - half], axis=-1)
    target = compensate_pairs(wanted, held, faulty, low, high)
    return np.where(faulty, target, np.clip(target, np.float32(low), np.float32(high)))


def score(found: Codes, truth: Codes) -> tuple[float, float]:
    """(recall, precision) of a fault map against the truth; NaN where undefined."""
    claimed, real = found != FaultKind.HEALTHY, truth != FaultKind.HEALTHY
    hits = int((claimed & real).sum())
    recall = hits / int(real.sum()) if real.any() else float("nan")
    precision = hits / int(claimed.sum()) if claimed.any() else float("nan")
    return recall, precision
