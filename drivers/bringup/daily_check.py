"""Daily check: zero, gain on reference resistors, reference cells, a golden vector, temperature. Nothing is written.

Reference cells and the golden vector are compared with what the chip's passport holds; the first check, and one with
`renew`, puts it there.
"""

from __future__ import annotations

import numpy as np

from drivers.bringup.extremes import Extreme, reading
from drivers.bringup.job import Job, completed, sample_cells
from drivers.chip.probe import ChipProbe, MeasuresVectors, ReadsOffset, ReadsReferences, ReadsTemperature
from pib_lab.findings import Check, Findings, Measured, judged, not_tested, some
from pib_lab.procedure import Amperes, Count, Fraction, Kelvin, Settings
from pib_lab.quantities import Array64


class DailyCheck(Settings):
    """offset: of a column with nothing driven; gain: relative error on reference resistors; cells: how many reference
    cells; cell_tolerance: of the window; golden_tolerance: of the largest stored current; reads: averaged."""

    offset_a: Amperes = 100e-9
    gain: Fraction = 0.02
    cells: Count = 8
    cell_tolerance: Fraction = 0.1
    golden_tolerance: Fraction = 0.05
    reads: Count = 8
    coldest_k: Kelvin = 283.15
    warmest_k: Kelvin = 313.15
    renew: bool = False


CELLS, GOLDEN = "reference_cells_siemens", "golden_vector_a"


def run(job: Job, settings: DailyCheck) -> Findings:
    """Each part that the device allows, in the order zero, gain, cells, golden vector, temperature."""
    parts = {
        "zero": _zero,
        "gain": _gain,
        "reference cells": _cells,
        "golden vector": _golden,
        "temperature": _temperature,
    }
    checks: list[Check] = []
    kept: dict[str, Measured] = {}
    for name in job.each(list(parts), "checking"):
        check, measured = parts[name](job, settings)
        checks.append(check)
        kept |= measured
    return Findings((*checks, completed(len(checks), len(parts))), kept, {k: kept[k] for k in kept if _refers(k)})


def extremes(settings: DailyCheck, probe: ChipProbe) -> list[Extreme]:
    """What rows are held at to read cells and to measure the golden vector; nothing is pulsed."""
    return [reading(probe, "daily check")]


def _refers(name: str) -> bool:
    return name.startswith((CELLS, GOLDEN))


def _zero(job: Job, settings: DailyCheck) -> tuple[Check, dict[str, Measured]]:
    if not isinstance(job.probe, ReadsOffset):
        return not_tested("zero", "this device cannot read its columns with nothing driven"), {}
    probe = job.probe
    offsets = np.mean([probe.offsets() for _ in range(settings.reads)], axis=0)
    bad = [f"column {column}" for column in np.flatnonzero(np.abs(offsets) > settings.offset_a)]
    detail = f"{some(bad)}: zero the amplifiers, look for leaks" if bad else ""
    worst = float(np.abs(offsets).max())
    return judged("zero", not bad, detail, {"worst_a": worst}, {"most_a": settings.offset_a}), {"offsets_a": offsets}


def _gain(job: Job, settings: DailyCheck) -> tuple[Check, dict[str, Measured]]:
    found = job.probe.references() if isinstance(job.probe, ReadsReferences) else []
    if not found:
        return not_tested("gain", "this device has no reference resistors"), {}
    errors = {item.name: item.measured_siemens / item.nominal_siemens - 1.0 for item in found}
    bad = [f"{name} reads {100 * error:+.2g} % off" for name, error in errors.items() if abs(error) > settings.gain]
    worst = max(abs(error) for error in errors.values())
    detail = f"{some(bad)}: calibrate before measuring" if bad else ""
    measured = np.array([[item.nominal_siemens, item.measured_siemens] for item in found])
    check = judged("gain", not bad, detail, {"worst": worst}, {"most": settings.gain})
    return check, {"references_siemens": measured}


def _cells(job: Job, settings: DailyCheck) -> tuple[Check, dict[str, Measured]]:
    cells = sample_cells(job.probe.shape, settings.cells)
    readings = [[job.probe.read_cell(*cell) for cell in cells] for _ in range(settings.reads)]
    low, high = job.probe.window_siemens
    tolerance = settings.cell_tolerance * (high - low)
    return _compare(job, settings, "reference cells", CELLS, np.mean(readings, axis=0), tolerance, "siemens")


def _golden(job: Job, settings: DailyCheck) -> tuple[Check, dict[str, Measured]]:
    if not isinstance(job.probe, MeasuresVectors):
        return not_tested("golden vector", "this device cannot drive all rows at once"), {}
    probe = job.probe
    drive_v = golden_drive_v(probe.shape[0], probe.read_v)
    currents = np.mean([probe.column_currents(drive_v) for _ in range(settings.reads)], axis=0)
    stored = job.stored.get(GOLDEN, currents)
    tolerance = settings.golden_tolerance * float(np.abs(stored).max())
    return _compare(job, settings, "golden vector", GOLDEN, currents, tolerance, "a")


def golden_drive_v(rows: int, read_v: float) -> Array64:
    """The drive of the golden vector (rows,): from half to all of the read voltage, the same for every chip."""
    return np.asarray(read_v * (0.5 + 0.5 * (np.arange(rows) * 0.6180339887498949 % 1.0)))


def _compare(
    job: Job, settings: DailyCheck, name: str, key: str, now: Array64, tolerance: float, unit: str
) -> tuple[Check, dict[str, Measured]]:
    stored = job.stored.get(key)
    if stored is None or settings.renew:
        return not_tested(name, "nothing to compare with: kept in the passport from now on"), {key: now}
    if stored.shape != now.shape:
        return judged(name, False, f"{len(stored)} values are kept, {len(now)} were read: set renew = true", {}), {}
    off = np.abs(now - stored)
    bad = int((off > tolerance).sum())
    detail = (
        f"{bad} of {len(now)} values have moved: run scan-faults, or renew them after a known change" if bad else ""
    )
    numbers = {f"worst_{unit}": float(off.max()), "moved": bad}
    return judged(name, not bad, detail, numbers, {f"most_{unit}": tolerance}), {key: now, f"stored_{key}": stored}


def _temperature(job: Job, settings: DailyCheck) -> tuple[Check, dict[str, Measured]]:
    if not isinstance(job.probe, ReadsTemperature):
        return not_tested("temperature", "this device has no sensor"), {}
    now_k = job.probe.temperature_k()
    good = settings.coldest_k <= now_k <= settings.warmest_k
    limits = {"coldest_k": settings.coldest_k, "warmest_k": settings.warmest_k}
    detail = "" if good else "wait until the chip is at its temperature: conductances depend on it"
    return judged("temperature", good, detail, {"temperature_k": now_k}, limits), {"temperature_k": np.array(now_k)}
