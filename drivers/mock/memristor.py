"""Cells of a memristor crossbar: what they were written to, how that ages, and which of them are faulty."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import numpy.typing as npt

from drivers.chip.profiles import MemristorProfile
from drivers.mock.noise import gaussian
from pib_lab.errors import ConfigurationError
from pib_lab.fault_kinds import FaultKind
from pib_lab.quantities import Array, Array64, Codes, Counts

Index = npt.NDArray[np.int64]

REFRESH_S = 1.0
"""Ageing is applied when the clock has moved by this much: it is logarithmic in time, so nothing is lost."""
KINDS = {
    "low": (FaultKind.STUCK_LOW,),
    "high": (FaultKind.STUCK_HIGH,),
    "between": (FaultKind.STUCK_BETWEEN,),
    "open": (FaultKind.OPEN,),
    "mixed": (FaultKind.STUCK_LOW, FaultKind.STUCK_HIGH, FaultKind.STUCK_BETWEEN, FaultKind.OPEN),
}
_STUCK_AT = {  # where in the window each kind sits: from, to
    FaultKind.STUCK_LOW: (0.0, 0.05),
    FaultKind.STUCK_HIGH: (0.95, 1.0),
    FaultKind.STUCK_BETWEEN: (0.15, 0.85),
}


class Cells:
    """All cells of a unit as flat arrays, cell (i, j, polarity) of shape (n_in, n_out, 2) at its C-order index.

    `effective` is the conductance now, free of read noise:
        G(t) = G_written + xi (sigma_1 + k ln(1 + t / 1 s)) - r ln(1 + t / t_0), never below 0,
    with xi ~ N(0, 1) drawn at each write and t the time since it; the last term never leads below the window.
    """

    def __init__(
        self, shape: tuple[int, int, int], profile: MemristorProfile, now_s: float, rng: np.random.Generator
    ) -> None:
        count = int(np.prod(shape))
        self.shape, self.count, self.profile = shape, count, profile
        spread, bounds = profile.step_device_to_device, profile.bound_device_to_device * profile.span_siemens / 2
        self.response: Array = np.maximum(1.0 + spread * rng.standard_normal(count, np.float32), 0.05)
        self.low: Array = _spread(profile.g_min_siemens, bounds, count, rng)
        self.high: Array = np.maximum(_spread(profile.g_max_siemens, bounds, count, rng), self.low)
        self.lifetime: Array = (
            np.exp(profile.endurance_spread * rng.standard_normal(count, np.float32)) * profile.endurance_pulses
        ).astype(np.float32)
        self.written: Array = self.low.copy()  # as after a RESET
        self.direction: Array = np.zeros(count, np.float32)
        self.written_at_s: Array64 = np.full(count, now_s)
        self.effective: Array = self.written.copy()
        self.pulses: Counts = np.zeros(count, np.int32)
        self.faults: Codes = np.zeros(count, np.int8)
        self.row_reads: Array64 = np.zeros(shape[0])
        self.refreshed_at_s = now_s
        born = np.flatnonzero(rng.random(count) < profile.faulty_cells)
        self.stick(born, rng.choice(np.array(KINDS["mixed"], np.int8), born.size), rng)

    def age(self, now_s: float) -> bool:
        """Apply relaxation, retention and read disturb up to `now_s` if it is time to; True if conductances moved."""
        p = self.profile
        disturbed = p.disturb_per_read * float(self.row_reads.max()) > 1e-4
        drifts = p.relaxation_log_siemens > 0.0 or p.retention_log_siemens > 0.0
        if not disturbed and not (drifts and now_s - self.refreshed_at_s >= REFRESH_S):
            return False
        if disturbed:
            toward = np.repeat(-np.expm1(-p.disturb_per_read * self.row_reads), self.count // self.shape[0])
            self.written += np.maximum(p.g_max_siemens - self.written, 0.0) * toward.astype(np.float32)
            self.row_reads[:] = 0.0
        self.refreshed_at_s = now_s
        since_s = np.maximum(now_s - self.written_at_s, 0.0).astype(np.float32)
        effective = self.written + self.direction * (
            np.float32(p.relaxation_siemens) + np.float32(p.relaxation_log_siemens) * np.log1p(since_s)
        )
        if p.retention_log_siemens > 0.0:
            lost = np.float32(p.retention_log_siemens) * np.log1p(since_s / np.float32(p.retention_time_s))
            floor = np.minimum(effective, np.float32(p.g_min_siemens))
            effective = np.maximum(effective - lost, floor)
        np.maximum(effective, 0.0, out=effective)
        self.effective = np.where(self.faults != FaultKind.HEALTHY, self.effective, effective)
        return True

    def commit(self, index: Index, written: Array, pulses: Counts, now_s: float, rng: np.random.Generator) -> None:
        """Leave `written` on those cells of `index` that got pulses: they relax at once, and wear; the worn stick."""
        self.pulses[index] += pulses
        touched = (pulses > 0) & (self.faults[index] == FaultKind.HEALTHY)
        if not touched.all():
            index, written = index[touched], written[touched]
        direction = gaussian(rng, index.shape)
        self.written[index] = written
        self.direction[index] = direction
        self.written_at_s[index] = now_s
        relaxed = written + direction * np.float32(self.profile.relaxation_siemens)
        self.effective[index] = np.maximum(relaxed, 0.0, out=relaxed)
        worn = index[self.pulses[index] > self.lifetime[index]]
        if worn.size:
            position = (self.effective[worn] - self.profile.g_min_siemens) / self.profile.span_siemens
            self.faults[worn] = np.select(
                [position < 1 / 3, position > 2 / 3],
                [FaultKind.STUCK_LOW, FaultKind.STUCK_HIGH],
                FaultKind.STUCK_BETWEEN,
            )

    def stick(self, index: Index, kinds: Codes, rng: np.random.Generator) -> None:
        """Make the cells of `index` faulty, of the given FaultKind codes; each sits where its kind sits."""
        place = rng.random(index.size)
        value = np.zeros(index.size)
        for kind, (start, end) in _STUCK_AT.items():
            chosen = kinds == kind
            value[chosen] = self.profile.g_min_siemens + self.profile.span_siemens * (
                start + (end - start) * place[chosen]
            )
        self.faults[index] = kinds
        self.effective[index] = value

    def strike(self, kind: str, fraction: float, lines: Index | None, rng: np.random.Generator) -> int:
        """Strike `fraction` of all cells, choosing among the healthy; returns how many.

        lines: the line each cell is on; whole lines are struck one after another. None: cells are struck singly.
        Raises ConfigurationError for an unknown kind or a fraction outside 0..1.
        """
        if kind not in KINDS:
            raise ConfigurationError(f"fault kind {kind!r} does not exist (known: {', '.join(KINDS)})")
        if not 0.0 <= fraction <= 1.0:
            raise ConfigurationError(f"fraction of cells to strike: {fraction} is not between 0 and 1")
        healthy = np.flatnonzero(self.faults == FaultKind.HEALTHY)
        struck = rng.permutation(healthy)
        if lines is not None:
            rank = rng.permutation(int(lines.max()) + 1)
            struck = struck[np.argsort(rank[lines[struck]], kind="stable")]
        struck = struck[: round(fraction * self.count)]
        self.stick(struck, rng.choice(np.array(KINDS[kind], np.int8), struck.size), rng)
        return int(struck.size)

    def part(self, index: Index, rows: slice, shape: tuple[int, int, int]) -> Cells:
        """The cells of some rows and columns, `shape` in all, with their own state from now on."""
        made = copy.copy(self)
        made.shape, made.count = shape, index.size
        for name in ("response", "low", "high", "lifetime", *_STATE):
            setattr(made, name, getattr(self, name)[rows if name == "row_reads" else index])
        made.row_reads = made.row_reads.copy()
        return made

    def put_back(self, part: Cells, index: Index, rows: slice) -> None:
        """Take over what has become of a part."""
        for name in _STATE:
            getattr(self, name)[rows if name == "row_reads" else index] = getattr(part, name)

    def snapshot(self) -> dict[str, Any]:
        """All that changes during the life of the cells."""
        state = {name: getattr(self, name).copy() for name in _STATE}
        return {**state, "refreshed_at_s": self.refreshed_at_s}

    def restore(self, state: Any) -> None:
        """Go back to a snapshot."""
        for name in _STATE:
            setattr(self, name, np.array(state[name], dtype=getattr(self, name).dtype))
        self.refreshed_at_s = float(state["refreshed_at_s"])


_STATE = ("written", "direction", "written_at_s", "effective", "pulses", "faults", "row_reads")


def _spread(value: float, deviation: float, count: int, rng: np.random.Generator) -> Array:
    spread = value + deviation * rng.standard_normal(count, np.float32)
    return np.asarray(np.maximum(spread, 0.0), np.float32)
