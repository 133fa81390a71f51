"""The dry run: what a protocol would cost and which limits hold, from arithmetic alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pib_lab.events import Passes
from pib_lab.experiment import Experiment
from pib_lab.unit import UnitSpec

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


@dataclass(frozen=True)
class DryRun:
    """Costs of a protocol. Pulses are bounded from above by one write of every parameter in every update, one pulse a
    write; write-verify spends several pulses a write on fewer writes."""

    units: tuple[UnitRow, ...]
    steps: int
    steps_per_epoch: int
    passes: Passes
    pulses_estimate: int
    hours_at_10us: float
    hours_at_1ms: float
    measure_hours: float
    limits: dict[str, str]
    warnings: tuple[str, ...]


def dry_run(
    experiment: Experiment, specs: Sequence[UnitSpec], drivers: Sequence[str], sizes: tuple[int, int, int]
) -> DryRun:
    """Costs of `experiment` with `sizes` samples for training, validation and test."""
    schedule = experiment.schedule
    per_epoch = sizes[0] // schedule.batch
    steps = schedule.epochs * per_epoch
    depth = len(specs)
    evaluations = steps // (schedule.evaluate_every or max(per_epoch, 1))
    strikes = len({max(fault.step, 1) for fault in experiment.faults if fault.step <= steps})
    evaluations += strikes * (3 if experiment.scan.after_faults and experiment.scan.compensate else 2)
    passes = Passes(
        training=steps * schedule.batch * depth,
        evaluation=(evaluations * sizes[1] + sizes[2]) * depth,
        calibration=schedule.batch * depth,
    )
    parameters = sum(spec.parameters.size for spec in specs)
    pulses = parameters * steps
    measure_s = sum(spec.settle_s for spec in specs) * passes.total / max(depth, 1)
    warnings = []
    budget = experiment.limits.pulses
    if budget is not None and pulses > budget:
        warnings.append(f"limits.pulses = {budget:,} may stop the run: up to {pulses:,} writes are foreseen")
    if per_epoch == 0:
        warnings.append(f"schedule.batch = {schedule.batch} is larger than the {sizes[0]} training samples")
    limits = {key: str(value) for key, value in experiment.limits.model_dump(exclude_none=True).items()}
    rows = tuple(
        UnitRow(
            unit.name,
            driver,
            (unit.inputs, unit.outputs),
            spec.parameters.size,
            f"{spec.drive.low:g} to {spec.drive.high:g} {spec.drive.unit}",
            unit.objective.name,
        )
        for unit, spec, driver in zip(experiment.units, specs, drivers, strict=True)
    )
    return DryRun(
        rows,
        steps,
        per_epoch,
        passes,
        pulses,
        pulses * PULSE_FAST_S / 3600,
        pulses * PULSE_SLOW_S / 3600,
        measure_s / 3600,
        limits,
        tuple(warnings),
    )
