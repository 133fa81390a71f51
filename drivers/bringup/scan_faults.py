"""The fault scan of training, on a chip of its own: which cells no longer respond."""

from __future__ import annotations

import numpy as np

from drivers.bringup.extremes import Extreme, reading
from drivers.bringup.job import Job
from drivers.chip.probe import ChipProbe, ScansFaults
from pib_lab.capabilities import Cancels, Costs
from pib_lab.fault_kinds import FaultKind
from pib_lab.faults import can_scan, scan, scan_effort
from pib_lab.findings import Findings, Measured, Progress, judged, not_tested, some
from pib_lab.procedure import Count, Fraction, Settings

MOST_PULSES = 1000
"""Of a cell in one scan, with room: two writes and, in open loop, a few strokes, of at most a hundred pulses each."""


class ScanFaults(Settings):
    """reads: of each set; most_faulty: of all cells; most_of_a_line: of one row's or column's cells."""

    reads: Count = 4
    most_faulty: Fraction = 0.2
    most_of_a_line: Fraction = 0.5


def run(job: Job, settings: ScanFaults) -> Findings:
    """Every cell is asked to move and put back. Raises Cancelled when stopped: a part of a scan tells nothing."""
    probe, s = job.probe, settings
    if not isinstance(probe, ScansFaults):
        return Findings((not_tested("faulty cells", "this device offers no unit over the same cells"),))
    unit = probe.scan_unit()
    if not can_scan(unit):
        return Findings((not_tested("faulty cells", f"{unit.spec.name} cannot read its own parameters"),))
    if isinstance(unit, Cancels):
        unit.cancel_with(job.cancel)
    job.publish(Progress(0, 1, "scanning"))
    limits = unit.spec.parameters
    rows, columns = probe.shape
    held = np.clip(probe.read_map(cancel=job.cancel), limits.low, limits.high).astype(np.float32)
    shape = limits.shape
    result = scan(unit, held.reshape(shape), np.ones(shape, np.bool_), s.reads, job.cancel)
    job.publish(Progress(1, 1, "scanning"))
    codes = result.faults.reshape(rows, columns)
    faulty = codes != FaultKind.HEALTHY
    share = float(faulty.mean())
    lines = [f"row {row}" for row in np.flatnonzero(faulty.mean(axis=1) > s.most_of_a_line)]
    lines += [f"column {column}" for column in np.flatnonzero(faulty.mean(axis=0) > s.most_of_a_line)]
    kinds = {kind.name.lower(): float((codes == kind).sum()) for kind in FaultKind if kind is not FaultKind.HEALTHY}
    checks = (
        judged(
            "faulty cells",
            share <= s.most_faulty,
            f"{int(faulty.sum())} cells do not respond" if faulty.any() else "",
            {"faulty": share, **kinds},
            {"most": s.most_faulty},
        ),
        judged(
            "whole lines",
            not lines,
            f"most cells of {some(lines)} do not respond: check contacts of the lines" if lines else "",
            {"lines": len(lines)},
            {"most": 0},
        ),
    )
    arrays: dict[str, Measured] = {"faults": codes, "readings_siemens": result.readings.reshape(rows, columns)}
    return Findings(checks, {**arrays, "pulses": probe.pulses()})


def extremes(settings: ScanFaults, probe: ChipProbe) -> list[Extreme]:
    """Reads, and the strongest pulse of the writes that move cells and put them back. None where nothing is scanned."""
    if not isinstance(probe, ScansFaults) or not can_scan(unit := probe.scan_unit()):
        return []
    write, pulses = probe.strongest_write(), 0
    if isinstance(unit, Costs):
        costs = unit.costs()
        pulses = scan_effort(verifies=costs.verify_passes_max > 0)[1] * costs.pulses_per_write_max
    writes = Extreme(
        "fault scan, writes", abs(write.level_v), write.gate_v, write.current_a, write.width_s, pulses=pulses
    )
    return [reading(probe, "fault scan"), writes]
