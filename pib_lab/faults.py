"""The fault map, and how it is found from measurements alone.

A cell is faulty when it was asked to move twice and did not. Each cell is asked to move by `_STROKE` of the window
towards the far half, then back; it is called stuck when neither move reached `_MOVED` of the stroke, and the unit's own
write-verify (where it has one) missed the target both times (the second time only where there was a way to go: a cell
known to be held where it is stuck misses nothing by staying). Cost: two writes of every tested cell, three sets of
reads.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pib_lab.quantities import Array, Codes, Mask, Quantity
from pib_lab.capabilities import CountsWear, ReadsParameters
from pib_lab.unit import CancelToken, FaultKind, PhysicalUnit

_STROKE = 0.4  # of the window: several times the spread after a write of the worst device in data/profiles
_MOVED = 0.25  # of the stroke: several times the read noise of a stuck cell


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
    """A scan needs a unit that can read its own parameters."""
    return isinstance(unit, ReadsParameters)


def scan(unit: PhysicalUnit, held: Array, tested: Mask, reads: int, cancel: CancelToken) -> ScanResult:
    """Find cells that no longer respond, among those `tested`; untested ones come back HEALTHY.

    `held` is what the unit is believed to hold (in its own units): tested cells are put back there.
    Raises TypeError for a unit that cannot read its parameters: ask `can_scan` first.
    """
    if not isinstance(unit, ReadsParameters):
        raise TypeError(f"{unit.spec.name} cannot read its parameters")
    limits = unit.spec.parameters
    pulses_before = int(unit.pulses().sum()) if isinstance(unit, CountsWear) else 0
    passes = 0

    def read() -> Array:
        nonlocal passes
        total = np.zeros(limits.shape, np.float32)
        for _ in range(reads):
            values, cost = unit.read_parameters(cancel=cancel)
            total += values
            passes += cost
        return total / np.float32(reads)

    before = read()
    stroke = np.float32(_STROKE * limits.span)
    middle = np.float32(0.5 * (limits.low + limits.high))
    away = np.where(before < middle, before + stroke, before - stroke).astype(np.float32)
    unit.program(np.clip(away, limits.low, limits.high), tested)
    missed = _missed(unit, tested)
    moved = read()
    home = np.where(tested, np.clip(held, limits.low, limits.high), held)
    held_now = unit.program(home, tested)
    missed &= _missed(unit, tested) | (np.abs(home - moved) < _MOVED * stroke)
    after = read()
    largest = np.maximum(np.abs(moved - before), np.abs(after - moved))
    stuck = tested & missed & (largest < _MOVED * stroke)
    readings = (before + moved + after) / np.float32(3.0)
    pulses = int(unit.pulses().sum()) - pulses_before if isinstance(unit, CountsWear) else 0
    return ScanResult(classify(readings, stuck, limits), readings, held_now, passes, pulses)


def _missed(unit: PhysicalUnit, tested: Mask) -> Mask:
    """Cells whose last write missed; every tested cell where the unit does not verify its writes."""
    if not isinstance(unit, CountsWear):
        return tested.copy()
    misses = unit.write_misses() > 0
    return misses if misses.any() else tested.copy()


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


def score(found: Codes, truth: Codes) -> tuple[float, float]:
    """(recall, precision) of a fault map against the truth; NaN where undefined."""
    claimed, real = found != FaultKind.HEALTHY, truth != FaultKind.HEALTHY
    hits = int((claimed & real).sum())
    recall = hits / int(real.sum()) if real.any() else float("nan")
    precision = hits / int(claimed.sum()) if claimed.any() else float("nan")
    return recall, precision
