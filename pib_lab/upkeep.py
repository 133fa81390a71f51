"""What happens to units besides learning: faults strike, scans find them, outputs go off."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from pib_lab.capabilities import Cancels, Digital, InjectsFaults, ReportsFaults
from pib_lab.errors import PibError, ResponseError
from pib_lab.events import BatchRejected, Event, FaultsScanned, FaultsStruck, MadeSafe, Message
from pib_lab.experiment import Fault, Scan
from pib_lab.faults import can_scan, score
from pib_lab.health import HealthWatch
from pib_lab.learner import LocalLearner
from pib_lab.quantities import Array
from pib_lab.records import NAN, Passes
from pib_lab.repair import compensate, find_faults, mend
from pib_lab.switching_off import device_by_device, switch_off
from pib_lab.unit import CancelToken
from pib_lab.wear import WearBudget

Publish = Callable[[Event], None]

TakeOver = Callable[[], tuple[int, int]]
"""Lets healthy cells take over; returns (cells written, signals moved to other lines)."""


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

    def scheduled(self, step: int) -> bool:
        """Whether any fault is to strike before `step`."""
        return any(max(fault.step, 1) == step for fault in self._faults)

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
            why = "has no cells" if isinstance(learner.unit, Digital) else "is real"
            self._publish(Message("warning", f"unit {learner.name} {why}: the scheduled fault is left out", step))
            return
        cells = learner.unit.inject_faults(fault.kind, fault.fraction, fault.cluster, seed)
        self._publish(FaultsStruck(step, learner.name, fault.kind, fault.fraction, fault.cluster, cells))


def scan_unit(
    learner: LocalLearner, reads: int, take_over: TakeOver, step: int, publish: Publish
) -> tuple[Passes, int]:
    """Scan a unit before `step`, and let healthy cells take over; returns passes and cells written.

    A warning for a unit that cannot read its cells; nothing for a digital one, which has none.
    """
    if isinstance(learner.unit, Digital):
        return Passes(), 0
    if not can_scan(learner.unit):
        publish(Message("warning", f"unit {learner.name} cannot read its cells: not scanned", step))
        return Passes(), 0
    pulses_before, verify_before = learner.wear()
    tested = int(np.count_nonzero(learner.parameters.usable))
    result = find_faults(learner, reads)
    rewritten, moved = take_over()
    pulses, verify = learner.wear()
    recall, precision = NAN, NAN
    if isinstance(learner.unit, ReportsFaults):
        recall, precision = score(learner.parameters.faults, learner.unit.true_faults())
    found, pulses = int(np.count_nonzero(learner.parameters.faults)), pulses - pulses_before
    faults = learner.parameters.faults.copy()
    publish(FaultsScanned(step, learner.name, faults, found, result.passes, pulses, recall, precision))
    if moved:
        lines = len(learner.lines.carried)
        text = f"unit {learner.name}: {moved} of {lines} signals moved to other lines, {rewritten:,} cells rewritten"
        publish(Message("info", text, step))
    return Passes(scan=result.passes, verify=verify - verify_before), 2 * tested + rewritten


class Upkeep:
    """Strikes, scans, health and wear of one run. What it spends in passes it returns; evaluations are the caller's."""

    def __init__(
        self,
        learners: Sequence[LocalLearner],
        faults: Sequence[Fault],
        scan: Scan,
        budget: WearBudget,
        seed: int,
        publish: Publish,
        health: HealthWatch,
    ):
        self._learners, self._scan, self._budget, self._publish = learners, scan, budget, publish
        self._health = health
        self._striker = Striker(learners, faults, seed, publish)

    def scan_at_start(self) -> Passes:
        """The scan before the first step, if asked for. Raises LimitError when it could overdraw the wear budget."""
        if not self._scan.at_start:
            return Passes()
        self._budget.spare(self._foresee_scan(self._learners), "the first scan")
        return self._scan_all(1)

    def spare_step(self, step: int) -> None:
        """Raise LimitError when `step`, with the scans that come with it, could overdraw the wear budget."""
        if not self._budget.limited:
            return
        foreseen = self._budget.foresee_step()
        if self._scan.after_faults:
            foreseen += self._foresee_scan(self._striker.targets(step))
        if self._scan.every and step % self._scan.every == 0:
            foreseen += self._foresee_scan(self._learners)
        self._budget.spare(foreseen, "the next step")

    def _foresee_scan(self, learners: Sequence[LocalLearner]) -> int:
        return self._budget.foresee_scan(learners, writes=2 + self._scan.compensate)

    def due_between(self, step: int) -> bool:
        """Whether a scan is due after `step`, or faults strike or units are asked for drift before the next one."""
        scans = bool(self._scan.every and step % self._scan.every == 0)
        return scans or self._striker.scheduled(step + 1) or self._health.due(step + 1)

    def strike(self, step: int, validate: Callable[[int], None], signal: Array) -> Passes:
        """Before `step` units are asked for drift, and faults strike.

        What faults cost, and what mending brings back, is validated around them.

        `signal`: a batch of the network's input. In its order every unit is scanned, mended for the signals that it now
        gets, and calibrated: faults shift whole columns, and conditioning by what columns were before would hide what
        the healthy cells have brought back.
        """
        spent = self._health.before(step, signal)
        struck = self._striker.targets(step)
        if not struck:
            self._striker.strike(step)
            return spent
        validate(step)
        self._striker.strike(step)
        validate(step)
        if not self._scan.after_faults:
            return spent
        for learner in self._learners:
            if learner in struck:
                spent += self._scan_one(learner, step, functools.partial(self._mend, learner, signal))
            if self._scan.compensate:
                signal, passes = learner.calibrate(signal)
                spent += Passes(calibration=passes)
        if self._scan.compensate:
            validate(step)
        return spent

    def _mend(self, learner: LocalLearner, signal: Array) -> tuple[int, int]:
        return mend(learner, signal) if self._scan.refit else _let_partners_take_over(learner)

    def scan_after(self, step: int) -> Passes:
        """The regular scan, when one is due after `step`."""
        due = self._scan.every and step % self._scan.every == 0
        return self._scan_all(step + 1) if due else Passes()

    def _scan_all(self, step: int) -> Passes:
        spent = Passes()
        for learner in self._learners:
            spent += self._scan_one(learner, step, functools.partial(_let_partners_take_over, learner))
        return spent

    def _scan_one(self, learner: LocalLearner, step: int, take_over: TakeOver) -> Passes:
        mended = take_over if self._scan.compensate else _leave
        passes, written = scan_unit(learner, self._scan.reads, mended, step, self._publish)
        self._budget.note_writes(written)
        return passes


def _let_partners_take_over(learner: LocalLearner) -> tuple[int, int]:
    return compensate(learner)[0], 0


def _leave() -> tuple[int, int]:
    return 0, 0


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


def cancel_by(token: CancelToken, learners: Sequence[LocalLearner]) -> None:
    """Measurements, and writes that take long, stop at the next safe point once `token` is set."""
    for learner in learners:
        learner.cancel = token
        if isinstance(learner.unit, Cancels):
            learner.unit.cancel_with(token)


def make_all_safe(learners: Sequence[LocalLearner], publish: Publish) -> bool:
    """Command every unit's outputs off and read them back; True when all were confirmed off.

    Units of one device in turn, devices at the same time; told in the same order always, last unit first.
    """
    reports = device_by_device([learner.unit for learner in learners], switch_off)
    for report in reports:
        with contextlib.suppress(PibError):  # a recorder that has failed fails again on the run's last events
            publish(MadeSafe(report.unit, report.confirmed, report.not_confirmed, report.detail))
    return all(report.safe for report in reports)
