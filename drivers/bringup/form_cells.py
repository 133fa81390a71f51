"""Forming: one cell at a time, the gate ramped until the cell is formed, verified, and RESET at once.

The gate holds the current (a source's compliance is too slow), so it is what is ramped; the bit line stays. In a
passive array there is none: the voltage across the cell is ramped, and the source's compliance is all that holds the
current, while other cells see a part of that voltage, which must not write them.

A cell is left alone for good as soon as it is shorted, has lost its conductance, or has had its share of pulses; the
procedure stops when too many cells in a row end badly, for then something other than the cells is wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from drivers.bringup.extremes import Extreme
from drivers.bringup.job import Cell, Job, completed
from drivers.chip.probe import ChipProbe, HalfSelects, Pulse, PulsesCells, has_gates
from pib_lab.errors import ConfigurationError
from pib_lab.findings import Check, Findings, Measured, cell_name, judged, not_tested, some
from pib_lab.procedure import Amperes, Count, Fraction, Seconds, Settings, Siemens, Volts
from pib_lab.quantities import Array64, Codes


class FormCells(Settings):
    """level, width: of forming pulses on the bit line; gate_*: the ramp; reset_*: what follows at once. level_start,
    level_step: the ramp up to `level` in a passive array, where the gates' settings mean nothing.

    current: what the gate lets through at most. Conductances: a cell below `virgin` is not formed, above `formed` it
    is, above `shorted` it is short; after the RESET it must read below `reset_below` (0: the window's upper end) and
    above `dead`. Stop rules: pulses of a cell, cells in a row that end badly, shorted cells.
    """

    level_v: Volts = 5.0
    width_s: Seconds = 1e-6
    current_a: Amperes = 100e-6
    gate_start_v: Volts = 1.3
    gate_max_v: Volts = 4.0
    gate_step_v: Volts = 0.05
    level_start_v: Volts = 1.0
    level_step_v: Volts = 0.1
    reset_level_v: Volts = 3.0
    reset_gate_v: Volts = 2.5
    reset_attempts: Count = 5
    virgin_siemens: Siemens = 0.1e-6
    formed_siemens: Siemens = 5e-6
    shorted_siemens: Siemens = 1e-3
    reset_below_siemens: Siemens = 0.0
    dead_siemens: Siemens = 0.1e-6
    max_pulses: Count = 100
    max_bad_in_a_row: Count = 8
    max_shorted: int = 3
    least_yield: Fraction = 0.95


class Outcome(IntEnum):
    """How forming a cell ended, as codes in maps."""

    NOT_TRIED = 0
    FORMED = 1
    FORMED_BEFORE = 2
    NOT_FORMED = 3
    SHORTED = 4
    OVER_RESET = 5
    NOT_RESET = 6


_MOST_STEPS = 10_000
_GOOD = (Outcome.FORMED, Outcome.FORMED_BEFORE)
_ADVICE = {
    Outcome.NOT_FORMED: "did not form up to the largest gate voltage or the largest number of pulses",
    Outcome.SHORTED: "shorted: use a finer gate ramp or less current, and keep off these cells",
    Outcome.OVER_RESET: "pushed to a very high resistance by the RESET: pulsing them further may short them",
    Outcome.NOT_RESET: "formed, but no RESET brought them back into the window",
}


def run(job: Job, settings: FormCells) -> Findings:
    """Form all cells of the array. Raises LimitError, before anything is sent, for a ramp beyond the chip's limits."""
    probe = job.probe
    if not isinstance(probe, PulsesCells):
        return Findings((not_tested("forming yield", "this device cannot give raw pulses"),))
    for extreme in extremes(settings, probe):
        extreme.check(probe.limits)
    ramp = _ramp(settings, probe)
    rows, columns = probe.shape
    cells = [(row, column) for row in range(rows) for column in range(columns)]
    former = _Former(probe, probe, settings, ramp)
    ramped = "gate_v" if has_gates(probe) else "level_v"
    codes: Codes = np.full((rows, columns), Outcome.NOT_TRIED, np.int8)
    formed_at_v, formed, reset = (np.full((rows, columns), np.nan) for _ in range(3))
    why, bad_in_a_row, done = "", 0, 0
    for cell in job.each(cells, "forming"):
        story = former.form(cell)
        codes[cell], formed_at_v[cell] = story.outcome, story.at_v
        formed[cell], reset[cell] = story.formed, story.reset
        done += 1
        bad_in_a_row = 0 if story.outcome in _GOOD else bad_in_a_row + 1
        shorted = int((codes == Outcome.SHORTED).sum())
        if bad_in_a_row >= settings.max_bad_in_a_row:
            why = f"{bad_in_a_row} cells in a row ended badly: check contacts, gate and bit-line voltages"
        elif shorted > settings.max_shorted:
            why = f"{shorted} cells are shorted: look at the ramp before going on"
        if why:
            break
    arrays: dict[str, Measured] = {"outcome": codes, ramped: formed_at_v, "formed_siemens": formed}
    arrays["reset_siemens"] = reset
    checks = (*_judge(codes, formed_at_v, ramped, settings), completed(done, len(cells), why))
    return Findings(checks, {**arrays, "pulses": probe.pulses()})


def _ramp(settings: FormCells, probe: ChipProbe) -> Array64:
    """Volts of the gate, or across a cell without one."""
    s = settings
    if has_gates(probe):
        names, (first, last, step) = "gate_start and gate_max", (s.gate_start_v, s.gate_max_v, s.gate_step_v)
    else:
        names, (first, last, step) = "level_start and level", (s.level_start_v, s.level_v, s.level_step_v)
    if not 0.0 < step <= last - first:
        raise ConfigurationError(f"procedure: {names.split('_')[0]}_step must be positive and fit between {names}")
    if (last - first) / step > _MOST_STEPS:
        raise ConfigurationError(f"procedure: {names.split('_')[0]}_step of {step:g} V makes over {_MOST_STEPS} steps")
    return np.asarray(first + step * np.arange(int((last - first) / step + 1e-6) + 1))


def extremes(settings: FormCells, probe: ChipProbe) -> list[Extreme]:
    """The end of the ramp, and a RESET. Raises ConfigurationError for a ramp that does not fit its steps, LimitError
    for one under which cells that are not selected would be written."""
    s, last_v = settings, float(_ramp(settings, probe)[-1])
    if not isinstance(probe, PulsesCells):
        return []
    if isinstance(probe, HalfSelects):
        for what, level_v in (("forming", last_v), ("RESET after forming", s.reset_level_v)):
            probe.check_others(level_v, what)
    level_v, gate_v, reset_gate_v = (s.level_v, last_v, s.reset_gate_v) if has_gates(probe) else (last_v, 0.0, 0.0)
    return [
        Extreme("forming", level_v, gate_v, s.current_a, s.width_s),
        Extreme("RESET after forming", s.reset_level_v, reset_gate_v, s.current_a, s.width_s),
    ]


@dataclass(frozen=True, slots=True)
class _Story:
    """at_v: of the ramp, where it formed; formed, reset: siemens after either; NaN where it did not come so far."""

    outcome: Outcome
    at_v: float = np.nan
    formed: float = np.nan
    reset: float = np.nan


class _Former:
    def __init__(self, probe: ChipProbe, pulser: PulsesCells, settings: FormCells, ramp: Array64) -> None:
        self._probe, self._pulser, self._settings, self._ramp = probe, pulser, settings, ramp
        self._gated = has_gates(probe)
        self._in_window = settings.reset_below_siemens or probe.window_siemens[1]

    def form(self, cell: Cell) -> _Story:
        """Ramp, verify after each pulse, RESET at once."""
        s = self._settings
        before = self._probe.read_cell(*cell)
        if before > s.shorted_siemens:
            return _Story(Outcome.SHORTED)
        if before > s.virgin_siemens:
            return _Story(Outcome.FORMED_BEFORE, reset=before)
        for at_v in self._ramp[: s.max_pulses].tolist():
            level_v, gate_v = (s.level_v, at_v) if self._gated else (at_v, 0.0)
            self._pulser.pulse(*cell, Pulse(level_v, s.width_s, gate_v, s.current_a))
            after = self._probe.read_cell(*cell)
            if after > s.shorted_siemens:
                return _Story(Outcome.SHORTED, at_v, after)
            if after > s.formed_siemens:
                return self._reset(cell, at_v, after)
        return _Story(Outcome.NOT_FORMED)

    def _reset(self, cell: Cell, at_v: float, formed: float) -> _Story:
        s = self._settings
        reset, gate_v = formed, s.reset_gate_v if self._gated else 0.0
        for _ in range(s.reset_attempts):
            self._pulser.pulse(*cell, Pulse(-s.reset_level_v, s.width_s, gate_v, s.current_a))
            reset = self._probe.read_cell(*cell)
            if reset > s.shorted_siemens:
                return _Story(Outcome.SHORTED, at_v, formed, reset)
            if reset < s.dead_siemens:
                return _Story(Outcome.OVER_RESET, at_v, formed, reset)
            if reset <= self._in_window:
                return _Story(Outcome.FORMED, at_v, formed, reset)
        return _Story(Outcome.NOT_RESET, at_v, formed, reset)


def _judge(codes: Codes, at_v: Array64, ramped: str, settings: FormCells) -> list[Check]:
    tried = codes != Outcome.NOT_TRIED
    good = np.isin(codes, _GOOD)
    share = float(good.sum() / max(1, tried.sum()))
    formed_at = at_v[codes == Outcome.FORMED]
    numbers = {"yield": share, "formed": float(good.sum()), "tried": float(tried.sum())}
    if formed_at.size:
        numbers |= {f"mean_{ramped}": float(formed_at.mean()), f"largest_{ramped}": float(formed_at.max())}
    bad = {kind: [cell_name(*cell) for cell in np.argwhere(codes == kind).tolist()] for kind in _ADVICE}
    detail = "; ".join(f"{some(cells)} {_ADVICE[kind]}" for kind, cells in bad.items() if cells)
    shorted, dead = len(bad[Outcome.SHORTED]), len(bad[Outcome.OVER_RESET])
    return [
        judged("forming yield", share >= settings.least_yield, detail, numbers, {"least_yield": settings.least_yield}),
        judged(
            "shorted cells",
            shorted <= settings.max_shorted,
            some(bad[Outcome.SHORTED]),
            {"shorted": shorted},
            {"most": settings.max_shorted},
        ),
        judged("over-reset cells", not dead, some(bad[Outcome.OVER_RESET]), {"over_reset": dead}, {"most": 0}),
    ]
