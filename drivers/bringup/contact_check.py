"""Contact check: continuity of lines, shorts between neighbours, leakage, selectors, gate leakage.

Each line is driven alone or with all others at the same potential, so that every check sees one thing only:

| check | driven | sensed | gates |
|---|---|---|---|
| continuity | the line | the line: what its own cells carry | up |
| shorts | the line | its neighbour, held at 0 V | down |
| leakage | all rows and columns | the line: what goes to the substrate | down |
| selectors | all columns | the row, held at 0 V: what cells carry that should be off | down |
| gate leakage | the gate | the gate | - |
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np

from drivers.bringup.job import Job, completed
from drivers.chip.probe import Line, LineKind, LineReading, SensesLines
from pib_lab.findings import Check, Findings, Measured, judged, not_tested, some
from pib_lab.procedure import Amperes, Settings, Siemens, Volts


class ContactCheck(Settings):
    """level: of driven lines; gate: while cells must conduct, and of the gates' own test; the others are limits."""

    level_v: Volts = 0.1
    gate_v: Volts = 2.5
    line_siemens: Siemens = 20e-9  # a line whose cells together conduct less is open
    short_siemens: Siemens = 1e-6  # neighbours that conduct more are shorted
    leakage_a: Amperes = 10e-9
    gate_leakage_a: Amperes = 1e-9


_NAMES = ("continuity", "shorts between neighbours", "leakage", "selectors off", "gate leakage")


def run(job: Job, settings: ContactCheck) -> Findings:
    """Test every line of the array. Raises LimitError before anything is sent."""
    probe = job.probe
    if not isinstance(probe, SensesLines):
        why = "this device cannot drive and sense single lines; use a source-measure unit with a matrix"
        return Findings(tuple(not_tested(name, why) for name in _NAMES))
    probe.limits.check_voltage(settings.level_v, 0.0, "contact check: lines")
    rows = [Line(LineKind.ROW, index) for index in range(probe.shape[0])]
    columns = [Line(LineKind.COLUMN, index) for index in range(probe.shape[1])]
    gates = [Line(LineKind.GATE, line.index) for line in rows] if probe.has_gates() else []
    if gates:
        probe.limits.check_gate(settings.gate_v, "contact check: gates")
    every = [*rows, *columns]
    tests = _Tests(job)
    neighbours = {a: b for lines in (rows, columns) for a, b in itertools.pairwise(lines)}
    level_v = settings.level_v

    def short(line: Line) -> LineReading:
        return probe.line_current([line], level_v, neighbours[line])

    checks = [
        tests.lines(
            "continuity",
            every,
            lambda line: probe.line_current([line], level_v, line, gates_v=settings.gate_v if gates else 0.0),
            settings.line_siemens * level_v,
            at_least=True,
            advice="open: look at the bonds, the card and the cells; a row is also dead when its gate is open",
        ),
        tests.lines(
            "shorts between neighbours",
            list(neighbours),
            short,
            settings.short_siemens * level_v,
            advice="shorted to the next line: do not form cells on either",
        ),
        tests.lines(
            "leakage",
            every,
            lambda line: probe.line_current(every, level_v, line),
            settings.leakage_a,
            advice="leaks to the substrate",
        ),
    ]
    if gates:
        checks += [
            tests.lines(
                "selectors off",
                rows,
                lambda line: probe.line_current(columns, level_v, line),
                settings.leakage_a,
                advice="conducts with its gate down: its transistors do not switch off",
            ),
            tests.lines(
                "gate leakage",
                gates,
                lambda line: probe.line_current([line], settings.gate_v, line),
                settings.gate_leakage_a,
                advice="leaks: its oxide is damaged; do not raise this gate",
            ),
        ]
    else:
        checks += [not_tested(name, "a passive array has no gates") for name in _NAMES[3:]]
    return Findings((*checks, completed(tests.done, tests.total)), tests.arrays)


class _Tests:
    """Runs one kind of test over lines and keeps what was read."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self.arrays: dict[str, Measured] = {}
        self.done = self.total = 0

    def lines(
        self,
        name: str,
        lines: list[Line],
        read: Callable[[Line], LineReading],
        limit_a: float,
        *,
        advice: str,
        at_least: bool = False,
    ) -> Check:
        """A check of the magnitude of one current a line, against the largest (or least) that is good."""
        self.total += len(lines)
        found: dict[Line, float] = {}
        for line in self._job.each(lines, name):
            reading = read(line)
            found[line] = math.inf if reading.clamped else abs(reading.current_a)
        self.done += len(found)
        currents = np.array([found.get(line, math.nan) for line in lines])
        self.arrays[f"{name.replace(' ', '_')}_a"] = currents
        bad = [str(line) for line, value in found.items() if (value < limit_a if at_least else value > limit_a)]
        if not found:
            return not_tested(name, "stopped by the operator before it began")
        worst = min(found.values()) if at_least else max(found.values())
        limits = {"least_a" if at_least else "most_a": limit_a}
        detail = f"{some(bad)}: {advice}" if bad else ""
        return judged(name, not bad, detail, {"lines": len(found), "bad": len(bad), "worst_a": worst}, limits)
