"""Forming: one cell at a time, the gate ramped until the cell is formed, verified, and RESET at once.

The gate holds the current (a source's compliance is too slow), so it is what is ramped; the bit line stays. A cell is
left alone for good as soon as it is shorted, has lost its conductance, or has had its share of pulses; the procedure
stops when too many cells in a row end badly, for then something other than the cells is wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from drivers.bringup.extremes import Extreme
from drivers.bringup.job import Cell, Job, completed
from drivers.chip.probe import ChipProbe, Pulse, PulsesCells
from pib_lab.errors import ConfigurationError
from pib_lab.findings import Check, Findings, Measured, cell_name, judged, not_tested, some
from pib_lab.procedure import Amperes, Count, Fraction, Seconds, Settings, Siemens, Volts
from pib_lab.quantities import Array64, Codes


class FormCells(Settings):
    """level, width: of forming pulses on the bit line; gate_*: the ramp; reset_*: what follows at once.

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
    ramp = _ramp(settings)
    rows, columns = probe.shape
    cells = [(row, column) for row in range(rows) for column in range(columns)]
    former = _Former(probe, probe, settings, ramp)
    codes: Codes = np.full((rows, columns), Outcome.NOT_TRIED, np.int8)
    gate_v, formed, reset = (np.full((rows, columns), np.nan) for _ in range(3))
    why, bad_in_a_row, done = "", 0, 0
    for cell in job.each(cells, "forming"):
        story = former.form(cell)
        codes[cell], gate_v[cell], formed[cell], reset[cell] = story.outcome, story.gate_v, story.formed, story.reset
        done += 1
        bad_in_a_row = 0 if story.outcome in _GOOD else bad_in_a_row + 1
        shorted = int((codes == Outcome.SHORTED).sum())
        if bad_in_a_row >= settings.max_bad_in_a_row:
            why = f"{bad_in_a_row} cells in a row ended badly: check contacts, gate and bit-line voltages"
        elif shorted > settings.max_shorted:
            why = f"{shorted} cells are shorted: look at the ramp before going on"
        if why:
            break
    arrays: dict[str, Measured] = {"outcome": codes, "gate_v": gate_v, "formed_siemens": formed, "reset_siemens": reset}
    checks = (*_judge(codes, gate_v, settings), completed(done, len(cells), why))
    return Findings(checks, {**arrays, "pulses": probe.pulses()})


def _ramp(settings: FormCells) -> Array64:
    if not 0.0 < settings.gate_step_v <= settings.gate_max_v - settings.gate_start_v:
        raise ConfigurationError("procedure: gate_step must be positive and fit between gate_start and gate_max")
    steps = int((settings.gate_max_v - settings.gate_start_v) / settings.gate_step_v + 1e-6)
    return np.asarray(settings.gate_start_v + settings.gate_step_v * np.arange(steps + 1))


def extremes(settings: FormCells, probe: ChipProbe) -> list[Extreme]:
    """The end of the ramp, and a RESET. Raises ConfigurationError for a ramp that does not fit its steps."""
    s, last_v = settings, float(_ramp(settings)[-1])
    if not isinstance(probe, PulsesCells):
        return []
    return [
        Extreme("forming", s.level_v, last_v, s.current_a, s.width_s),
        Extreme("RESET after forming", s.reset_level_v, s.reset_gate_v, s.current_a, s.width_s),
    ]


@dataclass(frozen=True, slots=True)
class _Story:
    """gate_v: at which it formed; formed, reset: siemens read after either; NaN where it did not come so far."""

    outcome: Outcome
    gate_v: float = np.nan
    formed: float = np.nan
    reset: float = np.nan


class _Former:
    def __init__(self, probe: ChipProbe, pulser: PulsesCells, settings: FormCells, ramp: Array64) -> None:
        self._probe, self._pulser, self._settings, self._ramp = probe, pulser, settings, ramp
        self._in_window = settings.reset_below_siemens or probe.window_siemens[1]

    def form(self, cell: Cell) -> _Story:
        """Ramp, verify after each pulse, RESET at once."""
        s = self._settings
        before = self._probe.read_cell(*cell)
        if before > s.shorted_siemens:
            return _Story(Outcome.SHORTED)
        if before > s.virgin_siemens:
            return _Story(Outcome.FORMED_BEFORE, reset=before)
        for gate in self._ramp[: s.max_pulses]:
            self._pulser.pulse(*cell, Pulse(s.level_v, s.width_s, float(gate), s.current_a))
            after = self._probe.read_cell(*cell)
            if after > s.shorted_siemens:
                return _Story(Outcome.SHORTED, float(gate), after)
            if after > s.formed_siemens:
                return self._reset(cell, float(gate), after)
        return _Story(Outcome.NOT_FORMED)

    def _reset(self, cell: Cell, gate_v: float, formed: float) -> _Story:
        s = self._settings
        reset = formed
        for _ in range(s.reset_attempts):
            self._pulser.pulse(*cell, Pulse(-s.reset_level_v, s.width_s, s.reset_gate_v, s.current_a))
            reset = self._probe.read_cell(*cell)
            if reset > s.shorted_siemens:
                return _Story(Outcome.SHORTED, gate_v, formed, reset)
            if reset < s.dead_siemens:
                return _Story(Outcome.OVER_RESET, gate_v, formed, reset)
            if reset <= self._in_window:
                return _Story(Outcome.FORMED, gate_v, formed, reset)
        return _Story(Outcome.NOT_RESET, gate_v, formed, reset)


def _judge(codes: Codes, gate_v: Array64, settings: FormCells) -> list[Check]:
    tried = codes != Outcome.NOT_TRIED
    good = np.isin(codes, _GOOD)
    share = float(good.sum() / max(1, tried.sum()))
    formed_at = gate_v[codes == Outcome.FORMED]
    numbers = {"yield": share, "formed": float(good.sum()), "tried": float(tried.sum())}
    if formed_at.size:
        numbers |= {"mean_gate_v": float(formed_at.mean()), "largest_gate_v": float(formed_at.max())}
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
