"""Contact check: continuity of lines, shorts between neighbours, leakage, selectors, gate leakage.

Each line is driven alone or with all others at the same potential, so that every check sees one thing only:

| check | driven | sensed | gates |
|---|---|---|---|
| continuity | the line | the line: what its own cells carry | up |
| shorts | the line | its neighbour, held at 0 V | down |
| leakage | all rows and columns | the line: what goes to the substrate | down |
| selectors | all columns | the row, held at 0 V: what cells carry that should be off | down |
| gate leakage | the gate | the gate | - |

Bleeds to ground, one on each line, take a current V / R of a line that is driven and sensed. It is known but for their
tolerance, so it is subtracted, and limits give way by what is left open.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Collection

import numpy as np

from drivers.bringup.extremes import Extreme
from drivers.bringup.job import Job, completed
from drivers.chip.probe import ChipProbe, Line, LineKind, LineReading, SensesLines
from pib_lab.findings import Check, Findings, Measured, Verdict, judged, not_tested, some
from pib_lab.procedure import Amperes, Fraction, Ohms, Settings, Siemens, Volts


class ContactCheck(Settings):
    """level: of driven lines; gate: while cells must conduct, and of the gates' own test; bleed: of each line to
    ground, 0 where there are none, good to `bleed_tolerance`; the others are limits, beyond what bleeds take."""

    level_v: Volts = 0.1
    gate_v: Volts = 2.5
    line_siemens: Siemens = 20e-9  # a line whose cells together conduct less is open
    short_siemens: Siemens = 1e-6  # neighbours that conduct more are shorted
    leakage_a: Amperes = 10e-9
    gate_leakage_a: Amperes = 1e-9
    bleed_ohm: Ohms = 0.0
    bleed_tolerance: Fraction = 0.05


_NAMES = ("continuity", "shorts between neighbours", "leakage", "selectors off", "gate leakage")
SETTLED = 0.1
"""Of a limit: by so much two readings of a line may differ and count as settled."""


def run(job: Job, settings: ContactCheck) -> Findings:
    """Test every line of the array. Raises LimitError before anything is sent."""
    probe = job.probe
    if not isinstance(probe, SensesLines):
        why = "this device cannot drive and sense single lines; use a source-measure unit with a matrix"
        return Findings(tuple(not_tested(name, why) for name in _NAMES))
    for extreme in extremes(settings, probe):
        extreme.check(probe.limits)
    rows = [Line(LineKind.ROW, index) for index in range(probe.shape[0])]
    columns = [Line(LineKind.COLUMN, index) for index in range(probe.shape[1])]
    gates = [Line(LineKind.GATE, line.index) for line in rows] if probe.has_gates() else []
    every = [*rows, *columns]
    tests = _Tests(job, settings)
    neighbours = {a: b for lines in (rows, columns) for a, b in itertools.pairwise(lines)}
    level_v = settings.level_v

    def own(line: Line, within_a: float) -> LineReading:
        gates_v = settings.gate_v if gates else 0.0
        return probe.line_current([line], level_v, line, gates_v=gates_v, within_a=within_a)

    def short(line: Line, within_a: float) -> LineReading:
        return probe.line_current([line], level_v, neighbours[line], within_a=within_a)

    def leak(line: Line, within_a: float) -> LineReading:
        return probe.line_current(every, level_v, line, within_a=within_a)

    def through(line: Line, within_a: float) -> LineReading:
        return probe.line_current(columns, level_v, line, within_a=within_a)

    def gate(line: Line, within_a: float) -> LineReading:
        return probe.line_current([line], settings.gate_v, line, within_a=within_a)

    continuity = tests.lines(
        "continuity",
        every,
        own,
        settings.line_siemens * level_v,
        bled_at_v=level_v,
        at_least=True,
        advice="open: look at the bonds, the card and the cells; a row is also dead when its gate is open",
    )
    # without transistors a floating row carries the current of one column to the others, and the other way round
    open_kinds = set() if gates else {line.kind for line in tests.bad}
    joined = [b for a, b in ((LineKind.ROW, LineKind.COLUMN), (LineKind.COLUMN, LineKind.ROW)) if a in open_kinds]
    checks = [
        continuity,
        tests.lines(
            "shorts between neighbours",
            list(neighbours),
            short,
            settings.short_siemens * level_v,
            joined=joined,
            advice="shorted to the next line: do not form cells on either",
        ),
        tests.lines(
            "leakage",
            every,
            leak,
            settings.leakage_a,
            bled_at_v=level_v,
            joined=joined,
            advice="leaks to the substrate",
        ),
    ]
    if gates:
        checks += [
            tests.lines(
                "selectors off",
                rows,
                through,
                settings.leakage_a,
                advice="conducts with its gate down: its transistors do not switch off",
            ),
            tests.lines(
                "gate leakage",
                gates,
                gate,
                settings.gate_leakage_a,
                bled_at_v=settings.gate_v,
                advice="leaks: its oxide is damaged; do not raise this gate",
            ),
        ]
    else:
        checks += [not_tested(name, "a passive array has no gates") for name in _NAMES[3:]]
    return Findings((*checks, completed(tests.done, tests.total)), tests.arrays)


def extremes(settings: ContactCheck, probe: ChipProbe) -> list[Extreme]:
    """What lines and gates are held at."""
    if not isinstance(probe, SensesLines):
        return []
    lines = Extreme("contact check, lines", settings.level_v)
    return [lines, Extreme("contact check, gates", 0.0, settings.gate_v)] if probe.has_gates() else [lines]


class _Tests:
    """Runs one kind of test over lines and keeps what was read."""

    def __init__(self, job: Job, settings: ContactCheck) -> None:
        self._job, self._settings = job, settings
        self.arrays: dict[str, Measured] = {}
        self.bad: list[Line] = []
        """Of the last check."""
        self.done = self.total = 0

    def lines(
        self,
        name: str,
        lines: list[Line],
        read: Callable[[Line, float], LineReading],
        limit_a: float,
        *,
        advice: str,
        bled_at_v: float = 0.0,
        at_least: bool = False,
        joined: Collection[LineKind] = (),
    ) -> Check:
        """A check of the magnitude of one current a line, against the largest (or least) that is good.

        bled_at_v: of the sensed line; what its bleed takes there is no part of the current that is kept and judged.
        joined: lines that an open one joins through its cells: a current beyond the limit accuses none of them.
        """
        s = self._settings
        bled_a = bled_at_v / s.bleed_ohm if s.bleed_ohm else 0.0
        within_a, limit_a = SETTLED * limit_a, limit_a + s.bleed_tolerance * bled_a
        self.total += len(lines)
        found: dict[Line, float] = {}
        restless: list[Line] = []
        for line in self._job.each(lines, name):
            reading = read(line, within_a)
            found[line] = math.inf if reading.clamped else abs(reading.current_a) - bled_a
            if not reading.settled:
                restless.append(line)
        self.done += len(found)
        self.arrays[f"{name.replace(' ', '_')}_a"] = np.array([found.get(line, math.nan) for line in lines])
        if not found:
            return not_tested(name, "stopped by the operator before it began")
        beyond = [line for line, value in found.items() if (value < limit_a if at_least else value > limit_a)]
        beyond = [line for line in beyond if line not in restless]
        linked = [line for line in beyond if line.kind in joined]
        bad = self.bad = [line for line in beyond if line.kind not in joined]
        stories = (
            (bad, advice),
            (restless, "not told, the current never settled"),
            (linked, "not told, the open line joins it to others through its cells; mend that first"),
        )
        details = [f"{some([str(line) for line in lines])}: {story}" for lines, story in stories if lines]
        worst = min(found.values()) if at_least else max(found.values())
        numbers = {"lines": len(found), "bad": len(bad), "worst_a": worst}
        limits = {"least_a" if at_least else "most_a": limit_a}
        if bled_a:
            limits["bled_a"] = bled_a
        if (restless or linked) and not bad:
            return Check(name, Verdict.NOT_TESTED, numbers, limits, "; ".join(details))
        return judged(name, not bad, "; ".join(details), numbers, limits)
