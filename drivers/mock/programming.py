"""Programming of memristor cells by pulses: open loop, or with a verify read after each pulse."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from drivers.chip.profiles import MemristorProfile
from drivers.mock.frontend import digitise
from drivers.mock.memristor import Cells, Index
from drivers.mock.noise import Telegraph, gaussian
from pib_lab.quantities import Array, Counts, Mask


@dataclass(frozen=True, slots=True)
class Write:
    """What one write did to the cells of its index: what each is believed to hold, the pulses each got, what is left.

    conductance: where the last pulse left the cell; missed: True where it ended outside the tolerance, as far as known;
    verify_passes: rows driven for verification, all columns of one polarity sensed at once.
    """

    believed: Array
    conductance: Array
    pulses: Counts
    missed: Mask
    verify_passes: int


def write_verify(
    cells: Cells,
    telegraph: Telegraph,
    index: Index,
    target: Array,
    rng: np.random.Generator,
    max_pulses: int | None = None,
) -> Write:
    """Read, stop if within the tolerance, else give one pulse sized by the error; repeat up to the pulse budget.

    dG = clip(gain * error, +-step) * d_i * (1 + c2c N(0, 1)) * (1 +- asymmetry) * bound(x), with x the position in the
    window, bound = 1 - b x upwards and 1 - b (1 - x) downwards. Faulty cells take pulses and stay. Only cells that are
    still off are touched. The verify read assumes that line resistance has been calibrated out. max_pulses: the
    profile's when left out.
    """
    p = cells.profile
    budget = p.max_pulses if max_pulses is None else max_pulses
    g = cells.effective[index]
    believed, final, pulses = np.empty_like(g), g.copy(), np.zeros(g.size, np.int32)
    missed = np.zeros(g.size, np.bool_)
    response = cells.response[index] * (cells.faults[index] == 0)
    low, high = cells.low[index], cells.high[index]
    seen = telegraph.deviation[index] + np.float32(1.0)
    line = index // (cells.shape[1] * 2) * 2 + index % 2  # a (row, polarity) is verified in one pass
    white = np.float32(p.read_noise * math.sqrt((1.0 - p.telegraph_fraction) / p.verify_averages))
    active: Index = np.arange(g.size)
    passes = 0
    for attempt in range(budget + 1):
        flags = np.zeros(cells.shape[0] * 2, np.bool_)
        flags[line] = True
        passes += int(np.count_nonzero(flags))
        reading = g * seen
        if white:
            reading *= gaussian(rng, g.shape) * white + np.float32(1.0)
        digitise(reading, 1.5 * p.g_max_siemens, p.adc_bits)
        believed[active], final[active] = reading, g
        error = target - reading
        off = np.flatnonzero(np.abs(error) > np.float32(p.tolerance_siemens))
        active = active[off]
        if attempt == budget or not off.size:
            missed[active] = True
            break
        pulses[active] += 1
        g, target, seen, line = g[off], target[off], seen[off], line[off]
        response, low, high = response[off], low[off], high[off]
        step = np.clip(error[off] * np.float32(p.verify_gain), -p.step_siemens, p.step_siemens)
        step *= response * _bound(g, step > 0.0, p)
        if p.step_cycle_to_cycle:
            step *= gaussian(rng, g.shape) * np.float32(p.step_cycle_to_cycle) + np.float32(1.0)
        step += g
        # A relaxed cell may stand outside its bounds; a pulse does not push it further, nor does it snap back.
        g = np.minimum(np.maximum(step, np.minimum(low, g)), np.maximum(high, g))
    return Write(believed, final, pulses, missed, passes)


def _bound(g: Array, up: Mask, p: MemristorProfile) -> Array:
    """Relative step size at conductance g: room left to the soft bound, and asymmetry of the directions."""
    x = (g - np.float32(p.g_min_siemens)) * np.float32(1.0 / p.span_siemens)
    room = np.where(up, x, np.float32(1.0) - x)
    room *= np.float32(-p.soft_bound)
    room += np.float32(1.0)
    np.maximum(room, 0.0, out=room)
    room *= np.where(up, np.float32(1.0 + p.asymmetry), np.float32(1.0 - p.asymmetry))
    return np.asarray(room)


def open_loop(
    cells: Cells,
    index: Index,
    target: Array,
    believed: Array,
    rng: np.random.Generator,
    max_pulses: int | None = None,
) -> Write:
    """Give n = |target - believed| / mean step identical pulses, and believe what the mean cell would have done.

    n pulses move the mean of a cell along its soft bound in closed form (`_advance`) and spread it by
    sqrt(n) * c2c * step * N(0, 1), scaled by the mean room left. Nothing is read, so no miss is ever noticed.
    """
    p = cells.profile
    wanted = target - believed
    budget = p.max_pulses if max_pulses is None else max_pulses
    pulses = np.minimum(np.rint(np.abs(wanted) / np.float32(p.step_siemens)), budget).astype(np.int32)
    up = wanted > 0.0
    step = np.where(up, 1.0 + p.asymmetry, 1.0 - p.asymmetry).astype(np.float32) * np.float32(p.step_siemens)
    bottom, top = np.float32(p.g_min_siemens), np.float32(p.g_max_siemens)
    nominal = _advance(believed, bottom, top, step * pulses, up, p.soft_bound)
    g, low, high = cells.written[index], cells.low[index], cells.high[index]
    step *= cells.response[index]
    moved = _advance(g, low, high, step * pulses, up, p.soft_bound)
    if p.step_cycle_to_cycle:
        room = np.abs(moved - g) / np.maximum(step * pulses, np.float32(1e-12))
        spread = np.sqrt(pulses, dtype=np.float32) * step * np.float32(p.step_cycle_to_cycle)
        moved += gaussian(rng, g.shape) * spread * room
    moved = np.minimum(np.maximum(moved, np.minimum(low, g)), np.maximum(high, g))
    return Write(nominal, moved, pulses, np.zeros(g.size, np.bool_), 0)


def raw_pulses(cells: Cells, cell: int, strength: float, count: int, rng: np.random.Generator) -> Write:
    """Give one cell `count` equal pulses: SET where `strength` is positive, RESET where it is negative.

    strength: relative to the strongest pulse of the verify loop, which makes a step of `step_siemens`. Nothing is read.
    """
    p, index = cells.profile, np.array([cell])
    g = cells.effective[index].copy()
    response = cells.response[index] * (cells.faults[index] == 0)
    for _ in range(count):
        step = np.full(1, strength * p.step_siemens, np.float32)
        step *= response * _bound(g, step > 0.0, p)
        step *= gaussian(rng, g.shape) * np.float32(p.step_cycle_to_cycle) + np.float32(1.0)
        g = np.minimum(np.maximum(g + step, np.minimum(cells.low[index], g)), np.maximum(cells.high[index], g))
    return Write(g, g, np.full(1, count, np.int32), np.zeros(1, np.bool_), 0)


def _advance(
    g: Array, low: Array | np.float32, high: Array | np.float32, travel: Array, up: Mask, soft_bound: float
) -> Array:
    """Where pulses worth `travel` at an empty bound lead: the solution of dx/dn = s (1 - b x) or -s (1 - b (1 - x))."""
    span = np.maximum(high - low, np.float32(1e-9))
    way = travel / span
    room = np.where(up, high - g, g - low) / span  # 1 - x upwards, x downwards
    if soft_bound:
        b = np.float32(soft_bound)
        way = (1.0 - b + b * room) * -np.expm1(-b * way) / b
    way = np.minimum(way, np.maximum(room, 0.0)) * span
    return np.asarray(np.where(up, g + way, g - way), np.float32)
