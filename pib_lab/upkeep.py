"""What happens to units besides learning: faults strike, scans find them, wear is budgeted, outputs go off."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from pib_lab.capabilities import InjectsFaults, ReportsFaults
from pib_lab.errors import LimitError, PibError, ResponseError
from pib_lab.events import NAN, BatchRejected, Event, FaultsScanned, FaultsStruck, MadeSafe, Message, Passes
from pib_lab.experiment import Fault
from pib_lab.faults import can_scan, score
from pib_lab.learner import LocalLearner

Publish = Callable[[Event], None]


class Striker:
    """Strikes units with the faults that a protocol schedules; those before the first step strike before step 1."""

    def __init__(self, learners: Sequence[LocalLearner], faults: Sequence[Fault], seed: int, publish: Publish):
        self._learners, self._faults = learners, tuple(faults)
        self._seed, self._publish = seed, publish

    def targets(self, step: int) -> list[LocalLearner]:
        """The units that are struck before `step`, in the order of the signal; real ones cannot be."""
        named = {fault.unit for fault in self._faults if max(fault.step, 1) == step}
        return [
            learner
            for learner in self._learners
            if ("*" in named or learner.name in named) and isinstance(learner.unit, InjectsFaults)
        ]

    def strike(self, step: int) -> None:
        """Strike all that is scheduled for `step`; a warning for units that are real."""
        for number, fault in enumerate(self._faults):
            if max(fault.step, 1) != step:
                continue
            struck = [learner for learner in self._learners if fault.unit in ("*", learner.name)]
            for position, learner in enumerate(struck):
                self._strike_unit(learner, fault, step, seed=self._seed + 7919 * (number + 1) + position)

    def _strike_unit(self, learner: LocalLearner, fault: Fault, step: int, seed: int) -> None:
        if not isinstance(learner.unit, InjectsFaults):
            self._publish(Message("warning", f"unit {learner.name} is real: the scheduled fault is left out", step))
            return
        cells = learner.unit.inject_faults(fault.kind, fault.fraction, fault.cluster, seed)
        self._publish(FaultsStruck(step, learner.name, fault.kind, fault.fraction, fault.cluster, cells))


def scan_units(
    learners: Sequence[LocalLearner], reads: int, compensate: bool, step: int, publish: Publish
) -> tuple[Passes, int]:
    """Scan units before `step`, and let healthy cells take over if asked for; returns passes and cells written.

    A warning for units that cannot read their cells.
    """
    spent, written = Passes(), 0
    for learner in learners:
        if not can_scan(learner.unit):
            publish(Message("warning", f"unit {learner.name} cannot read its cells: not scanned", step))
            continue
        pulses_before, verify_before = learner.wear()
        tested = int(np.count_nonzero(learner.usable))
        result = learner.scan(reads)
        written += 2 * tested + (learner.compensate()[0] if compensate else 0)
        pulses, verify = learner.wear()
        spent += Passes(scan=result.passes, verify=verify - verify_before)
        recall, precision = NAN, NAN
        if isinstance(learner.unit, ReportsFaults):
            recall, precision = score(learner.faults, learner.unit.true_faults())
        found = int(np.count_nonzero(learner.faults))
        publish(
            FaultsScanned(
                step,
                learner.name,
                learner.faults.copy(),
                found,
                result.passes,
                pulses - pulses_before,
                recall,
                precision,
            )
        )
    return spent, written


class WearBudget:
    """Ends a run before its budget of pulses (`limits.pulses`) is overdrawn.

    A step is foreseen to cost twice the costliest so far, the first a pulse a parameter; a scan two writes of every
    cell that is tested, each at the pulses that a write has cost so far.
    """

    def __init__(self, learners: Sequence[LocalLearner], limit: int | None):
        self._learners, self._limit = learners, limit
        self.largest_step_pulses = 0
        self.writes = 0
        """Cells written so far, by every programming of every unit."""

    def pulses(self) -> int:
        """Programming pulses so far, all units."""
        return sum(learner.wear()[0] for learner in self._learners)

    def note_step(self, pulses: int, written: int) -> None:
        """A step has cost this."""
        self.largest_step_pulses = max(self.largest_step_pulses, pulses)
        self.writes += written

    def foresee_step(self) -> int:
        """Pulses that the next step could cost."""
        return 2 * self.largest_step_pulses or sum(learner.faults.size for learner in self._learners)

    def foresee_scan(self, learners: Sequence[LocalLearner]) -> int:
        """Pulses that a scan of these units is likely to cost."""
        tested = sum(int(np.count_nonzero(learner.usable)) for learner in learners if can_scan(learner.unit))
        return round(2 * tested * self.pulses() / self.writes) if tested and self.writes else 2 * tested

    def spare(self, foreseen: int, what: str) -> None:
        """Raise LimitError when `what`, which could cost `foreseen` pulses, could overdraw the budget."""
        if self._limit is None:
            return
        spent = self.pulses()
        if spent + foreseen > self._limit:
            raise LimitError(
                f"limits.pulses: {spent:,} of {self._limit:,} pulses are spent and {what} could cost {foreseen:,}; "
                "raise the budget, lower rule.learning_rate or scan less often"
            )


@contextlib.contextmanager
def keeping_rejected(learners: Sequence[LocalLearner], publish: Publish, step: Callable[[], int]) -> Iterator[None]:
    """Save the measurement that a learner refused, then let the run fail. `step`: the steps completed by then."""
    try:
        yield
    except ResponseError as problem:
        for learner in learners:
            if learner.rejected is not None:
                bad = learner.rejected
                publish(BatchRejected(step(), learner.name, str(problem), bad.drive, bad.values))
        raise


def make_all_safe(learners: Sequence[LocalLearner], publish: Publish) -> bool:
    """Command every unit's outputs off and read them back, last unit first; True when all were confirmed off."""
    reports = [learner.unit.make_safe() for learner in reversed(learners)]
    for report in reports:
        with contextlib.suppress(PibError):  # a recorder that has failed fails again on the run's last events
            publish(MadeSafe(report.unit, report.confirmed, report.not_confirmed, report.detail))
    return all(report.safe for report in reports)
