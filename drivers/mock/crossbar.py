"""The analog side of one unit: cells tiled over arrays, with wires, noise and converters."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from drivers.chip.profiles import MemristorProfile
from drivers.mock.frontend import digitise, quantise_drive
from drivers.mock.memristor import Cells, Index
from drivers.mock.noise import Telegraph, gaussian
from drivers.mock.wires import cell_attenuation
from pib_lab.quantities import Array, Mask


class CrossbarPhysics:
    """n_in rows and n_out pairs, g+ and g- in neighbouring columns, rows split evenly over as many arrays as needed.

    `static` makes the cells, `rng` is the noise of their life. Time is an argument everywhere: physics has no clock.
    """

    def __init__(
        self, n_in: int, n_out: int, profile: MemristorProfile, now_s: float, static: np.random.Generator
    ) -> None:
        self.profile = profile
        self.shape = (n_in, n_out, 2)
        self.tile_rows = math.ceil(n_in / math.ceil(n_in / profile.rows))
        self.tile_pairs = math.ceil(n_out / math.ceil(n_out / (profile.columns // 2)))
        self.cells = Cells(self.shape, profile, now_s, static)
        self.telegraph = Telegraph(self.cells.count, profile, static)
        self._attenuation: Array | None = None

    def age(self, now_s: float) -> None:
        """Let the cells age until `now_s`."""
        if self.cells.age(now_s):
            self.rewire()

    def rewire(self) -> None:
        """To be called when conductances have changed: what the wires take is found anew when next needed."""
        self._attenuation = None

    def attenuation(self) -> Array:
        """Voltage across each cell per volt of drive, for the present conductances."""
        if self._attenuation is None:
            self._attenuation = self.attenuation_of(self.cells.effective.reshape(self.shape))
        return self._attenuation

    def attenuation_of(self, conductance: Array) -> Array:
        """Attenuation for conductances of the unit's shape; unused rows and columns of an array do not conduct."""
        n_in, n_out, _ = self.shape
        rows, pairs = self.tile_rows, self.tile_pairs
        down, across = math.ceil(n_in / rows), math.ceil(n_out / pairs)
        padded = np.zeros((down * rows, across * pairs, 2), np.float32)
        padded[:n_in, :n_out] = conductance
        arrays = padded.reshape(down, rows, across * pairs * 2).swapaxes(0, 1).reshape(rows, down * across, pairs * 2)
        attenuation = cell_attenuation(arrays, self.profile.segment_ohm)
        whole = attenuation.reshape(rows, down, across * pairs * 2).swapaxes(0, 1).reshape(padded.shape)
        return np.ascontiguousarray(whole[:n_in, :n_out])

    def present(self, now_s: float, rng: np.random.Generator) -> Array:
        """Conductances as the lines show them now: aged, with telegraph noise, times the attenuation of the wires."""
        self.age(now_s)
        self.telegraph.advance(now_s, rng)
        seen = self.cells.effective * (self.telegraph.deviation + np.float32(1.0))
        return np.asarray(seen.reshape(self.shape) * self.attenuation())

    def respond(
        self, drive: Array, limits: tuple[float, float], full_scale_a: float, now_s: float, rng: np.random.Generator
    ) -> tuple[Array, Mask]:
        """Difference currents (batch, n_out) for read voltages (batch, n_in), and where a converter or a line clipped.

        I = sum_i f(V_i) T_ij + noise for each row tile, digitised there and summed in digital, with
        f(V) = V (1 + k (V / V_read)^2) / (1 + k) and white noise of variance sum_i f(V_i)^2 s^2 (T+_ij^2 + T-_ij^2).
        limits: drive in volts and sensed line's current in amperes, at which the front end clamps.
        """
        p = self.profile
        drive_limit_v, current_limit_a = limits
        cells = self.present(now_s, rng)
        volts = quantise_drive(drive, p.v_read_v, p.dac_bits)
        np.minimum(volts, np.float32(drive_limit_v), out=volts)
        if p.iv_cubic:
            bend = np.float32(1.0 / (1.0 + p.iv_cubic))
            volts *= volts * volts * (bend * np.float32(p.iv_cubic / p.v_read_v**2)) + bend
        plus, minus = cells[..., 0], cells[..., 1]
        transfer = plus - minus
        white = np.float32(p.read_noise**2 * (1.0 - p.telegraph_fraction))
        scatter = (plus * plus + minus * minus) * white
        power = volts * volts
        values = np.zeros((len(drive), self.shape[1]), np.float32)
        saturated = np.zeros(values.shape, np.bool_)
        for start in range(0, self.shape[0], self.tile_rows):
            tile = slice(start, start + self.tile_rows)
            if float(cells[tile].sum(axis=0).max()) * p.v_read_v <= current_limit_a:  # no drive can reach the limit
                current = volts[:, tile] @ transfer[tile]
            else:
                current, clamped = _clamped(volts[:, tile], cells[tile], current_limit_a)
                saturated |= clamped
            if white:
                spread = power[:, tile] @ scatter[tile]
                np.sqrt(spread, out=spread)
                spread *= gaussian(rng, spread.shape)
                current += spread
            saturated |= digitise(current, full_scale_a, p.adc_bits)
            values += current
        self.cells.row_reads += volts.sum(axis=0, dtype=np.float64) / p.v_read_v
        return values, saturated

    def read_cells(self, full_scale_a: float, now_s: float, rng: np.random.Generator) -> Array:
        """Each row alone at the read voltage, both columns of a pair sensed apart: conductances (n_in, n_out, 2).

        Line resistance is corrected as for cells that are all mid-window; what the real cells change is left in.
        """
        p = self.profile
        current, _ = self.sense_cells(slice(None), full_scale_a, now_s, rng)
        middle = np.full(self.shape, (p.g_min_siemens + p.g_max_siemens) / 2, np.float32)
        return np.asarray(current / (self.attenuation_of(middle) * np.float32(p.v_read_v)))

    def sense_cells(
        self, rows: slice, full_scale_a: float, now_s: float, rng: np.random.Generator
    ) -> tuple[Array, Mask]:
        """What the converters say of these rows, each driven alone at the read voltage: (rows, n_out, 2) in amperes,
        and where they clipped."""
        p = self.profile
        current = self.present(now_s, rng)[rows] * np.float32(p.v_read_v)
        white = np.float32(p.read_noise * math.sqrt(1.0 - p.telegraph_fraction))
        current *= gaussian(rng, current.shape) * white + np.float32(1.0)
        clipped = digitise(current, full_scale_a, p.adc_bits)
        self.cells.row_reads[rows] += 2.0
        return current, clipped

    def lines(self, cluster: str) -> Index:
        """For each cell, the number of the "row" or "column" line it is on; lines end where their array ends."""
        n_out = self.shape[1]
        row, pair, polarity = np.indices(self.shape).reshape(3, -1)
        if cluster == "row":
            return np.asarray(row * math.ceil(n_out / self.tile_pairs) + pair // self.tile_pairs)
        return np.asarray((row // self.tile_rows * n_out + pair) * 2 + polarity)

    def part(self, rows: int, pairs: int) -> CrossbarPhysics:
        """The window of a single array that is in use: the `rows` rows next to the sense inputs and the `pairs` pairs
        next to the drivers. All other cells are cut off by their transistors and do not conduct."""
        index, used = self._window(rows, pairs)
        made = copy.copy(self)
        made.shape = (rows, pairs, 2)
        made.tile_rows, made.tile_pairs = rows, pairs
        made.cells = self.cells.part(index, used, made.shape)
        made.telegraph = self.telegraph.part(index)
        made.rewire()
        return made

    def put_back(self, part: CrossbarPhysics) -> None:
        """Take over what has become of a part."""
        index, used = self._window(*part.shape[:2])
        self.cells.put_back(part.cells, index, used)
        self.telegraph.deviation[index] = part.telegraph.deviation
        self.rewire()

    def _window(self, rows: int, pairs: int) -> tuple[Index, slice]:
        first = self.shape[0] - rows
        whole = np.arange(self.cells.count).reshape(self.shape)
        return whole[first:, :pairs].reshape(-1), slice(first, None)

    def snapshot(self) -> dict[str, Any]:
        """State of cells and traps."""
        return {**self.cells.snapshot(), **self.telegraph.snapshot()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go back to a snapshot."""
        self.cells.restore(state)
        self.telegraph.restore(np.asarray(state["telegraph"]), float(state["telegraph_at_s"]))
        self.rewire()


def _clamped(volts: Array, cells: Array, limit_a: float) -> tuple[Array, Mask]:
    """Difference currents of lines whose own current the front end clamps at `limit_a`, and where it did."""
    plus, minus = volts @ cells[..., 0], volts @ cells[..., 1]
    clamped = (plus > limit_a) | (minus > limit_a)
    return np.minimum(plus, np.float32(limit_a)) - np.minimum(minus, np.float32(limit_a)), clamped
