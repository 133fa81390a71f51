"""The dry run: what a protocol would cost and which limits hold, from arithmetic alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pib_lab.capabilities import Compensates, Costs, Digital, InjectsFaults, ReportsHealth, TellsHow, UnitCosts
from pib_lab.experiment import Experiment
from pib_lab.experiment import Unit as WantedUnit
from pib_lab.faults import can_scan, scan_effort
from pib_lab.lessons import learner_config
from pib_lab.records import Passes
from pib_lab.rules import samples_of, settings_of, writes_of
from pib_lab.unit import PhysicalUnit

PULSE_FAST_S = 10e-6  # a pulse engine on a board
PULSE_SLOW_S = 1e-3  # a source-measure unit stepping point by point


@dataclass(frozen=True)
class UnitRow:
    """One unit in a dry run."""

    name: str
    driver: str
    shape: tuple[int, int]
    parameters: int
    drive_limit: str
    objective: str
    how: str = ""


@dataclass(frozen=True)
class DryRun:
    """Costs of a protocol.

    passes: as the run will count them, but for `verify`, which is an upper bound, as are the scans of units that do not
    verify their writes. digital_weights: stand in memory instead of in physics, all units; they have no passes and no
    writes. writes_max: every parameter written in every update and scan; pulses_max: each of these writes at the most
    pulses that its driver gives it. measuring_s: settling and conversion of all passes but `verify`; programming_s: of
    pulses_max and of the verify passes; writes_at_10us_s, writes_at_1ms_s: one pulse for each of writes_max, at these
    pulse times.
    """

    units: tuple[UnitRow, ...]
    steps: int
    steps_per_epoch: int
    passes: Passes
    digital_weights: int
    writes_max: int
    pulses_max: int
    measuring_s: float
    programming_s: float
    writes_at_10us_s: float
    writes_at_1ms_s: float
    limits: dict[str, str]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class _Forecast:
    """What one unit would cost; the fields are those of DryRun."""

    passes: Passes
    writes: int
    pulses: int
    measuring_s: float
    programming_s: float


def dry_run(
    experiment: Experiment, units: Sequence[PhysicalUnit], drivers: Sequence[str], sizes: tuple[int, int, int]
) -> DryRun:
    """Costs of `experiment` on `units` with `sizes` samples for training, validation and test. No I/O."""
    per_epoch = sizes[0] // experiment.schedule.batch
    steps = experiment.schedule.epochs * per_epoch
    evaluated = _evaluated(experiment, units, sizes, steps)
    costs = [
        _forecast(experiment, unit, wanted, steps, evaluated)
        for unit, wanted in zip(units, experiment.units, strict=True)
    ]
    writes, pulses = sum(cost.writes for cost in costs), sum(cost.pulses for cost in costs)
    rows = tuple(
        UnitRow(
            wanted.name,
            driver,
            (wanted.inputs, wanted.outputs),
            unit.spec.parameters.size,
            f"{unit.spec.drive.low:g} to {unit.spec.drive.high:g} {unit.spec.drive.unit}".removesuffix(" 1"),
            wanted.objective.name,
            unit.how() if isinstance(unit, TellsHow) else "",
        )
        for wanted, unit, driver in zip(experiment.units, units, drivers, strict=True)
    )
    return DryRun(
        units=rows,
        steps=steps,
        steps_per_epoch=per_epoch,
        passes=sum((cost.passes for cost in costs), Passes()),
        digital_weights=sum(unit.digital_weights() for unit in units if isinstance(unit, Digital)),
        writes_max=writes,
        pulses_max=pulses,
        measuring_s=sum(cost.measuring_s for cost in costs),
        programming_s=sum(cost.programming_s for cost in costs),
        writes_at_10us_s=writes * PULSE_FAST_S,
        writes_at_1ms_s=writes * PULSE_SLOW_S,
        limits={key: str(value) for key, value in experiment.limits.model_dump(exclude_none=True).items()},
        warnings=_warnings(experiment, units, sizes[0], steps, pulses),
    )


def _strikes(experiment: Experiment, unit: PhysicalUnit, steps: int) -> set[int]:
    """The steps before which `unit` is struck by faults."""
    if not isinstance(unit, InjectsFaults):
        return set()
    due = {max(fault.step, 1) for fault in experiment.faults if fault.unit in ("*", unit.spec.name)}
    return {step for step in due if step <= steps}


def _evaluated(experiment: Experiment, units: Sequence[PhysicalUnit], sizes: tuple[int, int, int], steps: int) -> int:
    """Samples of all evaluations: at intervals, around faults, and of the test split at the end."""
    interval = experiment.schedule.evaluate_every or max(sizes[0] // experiment.schedule.batch, 1)
    strikes = set().union(*(_strikes(experiment, unit, steps) for unit in units))
    around = 3 if experiment.scan.after_faults and experiment.scan.compensate else 2
    return (steps // interval + around * len(strikes)) * sizes[1] + sizes[2]


def _forecast(experiment: Experiment, unit: PhysicalUnit, wanted: WantedUnit, steps: int, evaluated: int) -> _Forecast:
    """What `unit` costs. One that does not tell its costs is taken to settle only, at a pulse a write, unverified."""
    spec, batch, plan = unit.spec, experiment.schedule.batch, experiment.scan
    costs = unit.costs() if isinstance(unit, Costs) else UnitCosts(spec.settle_s, 0.0, 0.0, 1, 0, 0)
    if isinstance(unit, Digital):
        return _Forecast(Passes(), 0, 0, 0.0, 0.0)
    config = learner_config(experiment, wanted)
    shifts, samples = settings_of(config, unit), samples_of(config, unit, batch)
    updates = steps if wanted.train else 0
    late = {max(fault.step, 1) for fault in experiment.faults} if plan.after_faults and plan.compensate else set()
    recalibrations = sum(step <= steps for step in late)
    scans = 0
    if can_scan(unit):
        scans = plan.at_start + (steps // plan.every if plan.every else 0)
        scans += len(_strikes(experiment, unit, steps)) if plan.after_faults else 0
    sets, scan_writes = scan_effort(verifies=costs.verify_passes_max > 0)
    scan_writes += plan.compensate and isinstance(unit, Compensates)
    programmings = 1 + updates * (1 + writes_of(config, unit)) + scans * scan_writes
    measured = Passes(
        training=steps * batch + updates * shifts * samples,
        evaluation=evaluated,
        calibration=batch * (1 + recalibrations) + _references(experiment, unit, steps),
        scan=scans * sets * plan.reads * costs.read_passes,
    )
    verify = programmings * costs.verify_passes_max
    writes = programmings * spec.parameters.size
    pulses = writes * costs.pulses_per_write_max
    return _Forecast(
        measured + Passes(verify=verify),
        writes,
        pulses,
        measured.total * costs.sample_s,
        pulses * costs.pulse_s + verify * costs.verify_s,
    )


def _references(experiment: Experiment, unit: PhysicalUnit, steps: int) -> int:
    """Passes that ask `unit` for drift; those of zeroing it anew cannot be foreseen."""
    every = experiment.health.every
    return -(-steps // every) if every and isinstance(unit, ReportsHealth) else 0


def _warnings(
    experiment: Experiment, units: Sequence[PhysicalUnit], samples: int, steps: int, pulses: int
) -> tuple[str, ...]:
    found = []
    budget, batch = experiment.limits.pulses, experiment.schedule.batch
    if budget is not None and pulses > budget:
        found.append(f"limits.pulses = {budget:,} may stop the run: up to {pulses:,} pulses are foreseen")
    late = sorted({fault.step for fault in experiment.faults if fault.step > steps})
    if late:
        found.append(f"faults: step {', '.join(map(str, late))} is beyond the last of {steps:,} steps: never struck")
    if samples < batch:
        found.append(f"schedule.batch = {batch} is larger than the {samples} training samples")
    silent = [unit.spec.name for unit in units if not isinstance(unit, (Costs, Digital))]
    if silent:
        found.append(
            f"{', '.join(silent)}: the driver tells no costs, so passes of scans and verify reads, pulses beyond one a "
            "write and times beyond settling are not counted"
        )
    return tuple(found)
