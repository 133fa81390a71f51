"""Bring-up from a protocol: opens the device under a guardian, runs the procedure, records it, keeps the passport."""

from __future__ import annotations

import contextlib
import getpass
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import numpy as np

import protocols
from data.bringup_plots import write_plots
from data.bringup_summary import write_summary
from data.passport import Passport
from data.procedure_record import PROTOCOL, ProcedureRecord, write_protocol, write_record
from data.wear_ledger import WearLedger, default_folder
from drivers.bringup.catalogue import read_settings
from drivers.bringup.extremes import Extreme
from drivers.bringup.reach import Reach, reach
from drivers.chip.limits import ElectricalLimits
from drivers.chip.probe import ChipProbe
from drivers.safe.commands import Guarded, SafeAction
from drivers.safe.execution import carry_out_all
from drivers.safe.kept import KEPT
from pib_lab.bring_up_session import Detachable, NeverBegun, Session, View
from pib_lab.clocks import RealClock, VirtualClock
from pib_lab.device import Clock, Device, DeviceContext
from pib_lab.errors import Cancelled, LimitError, PibError
from pib_lab.events import MadeSafe
from pib_lab.findings import Findings, Measured, Progress, Publish, Verdict
from pib_lab.guarding import (
    Watch,
    actions_of,
    check_addresses,
    not_commanded,
    require_links,
    traffic_log,
)
from pib_lab.overrides import apply_overrides, refuse_other_profiles
from pib_lab.procedure import Procedure, parse_procedure
from pib_lab.procedure_events import ProcedureFinished, ProcedureStarted
from pib_lab.provenance import git_commit, versions
from pib_lab.registry import find_driver, is_mock, is_real
from pib_lab.run_folder import made_folder
from pib_lab.unit import CancelToken, SafeReport

ARRAY = "0"
"""What a chip's ledger calls the array that probes reach; units of training call it by the same name."""


@dataclass(frozen=True)
class Outcome:
    """How a procedure ended: its folder, what was recorded, the chip's passport, and what ended a failed one."""

    folder: Path
    record: ProcedureRecord
    passport: Path
    error: PibError | None = None


Watched = Callable[[Path], AbstractContextManager[View]]


class BringUp:
    """One procedure with its device. Building it connects to nothing."""

    def __init__(
        self,
        text: str,
        *,
        mock: bool = False,
        passport_dir: Path | None = None,
        wear_dir: Path | None = None,
        traffic: bool = False,
    ) -> None:
        self.protocol: Procedure = parse_procedure(text)
        self._text = text
        wanted = self.protocol.procedure
        self._kind, self._settings = read_settings(wanted.name, wanted.options)
        (self._name, self._hardware), *_ = self.protocol.hardware.items()
        _, self._factory = find_driver(self._hardware.driver, mock, f"hardware.{self._name}")
        self.mock = is_mock(self._factory)
        self._keep_traffic = traffic
        self.traffic_failure = ""
        """Why what went over the links could not be kept to the end."""
        self._passport_dir = passport_dir
        self._ledger = WearLedger(wear_dir or default_folder())
        self._view = Detachable(None)
        self.report: SafeReport | None = None

    def run(self, out: Path, publish: Publish, cancel: CancelToken, watched: Watched | None = None) -> Outcome:
        """Run the procedure into a new folder under `out`, and leave every output off.

        watched: from the folder to a view, in a `with` block that lasts as long as the procedure. What ends it on a
        device or by the operator comes back as the outcome's `error`, recorded. Raises ConfigurationError for a device
        that offers no probe, RunFileError for a folder that cannot be written.
        """
        if self._keep_traffic:
            require_links(self.mock)
        started = _now()
        folder = made_folder(out, self.protocol.name)
        write_protocol(folder, self._text)
        with contextlib.ExitStack() as stack:
            view = stack.enter_context(watched(folder)) if watched is not None else None
            self._view = Detachable(view)
            try:
                return self._run(folder, started, publish, cancel)
            except NeverBegun as problem:
                stack.close()  # the view may keep something in the folder
                if not (folder / KEPT).exists():  # else outputs are in doubt, and `pib-lab safe` needs both files
                    with contextlib.suppress(OSError):  # the guardian has written something into it
                        (folder / PROTOCOL).unlink()
                        folder.rmdir()
                raise problem.why from None

    def _run(self, folder: Path, started: str, publish: Publish, cancel: CancelToken) -> Outcome:
        """Raises NeverBegun for what ends it before the device is open: then there is nothing to keep."""
        protocol = self.protocol
        self._view.show(
            ProcedureStarted(folder.name, protocol.name, protocol.procedure.name, self._name, self.mock, time.time())
        )
        clock: Clock = VirtualClock() if self.mock else RealClock()
        watch = None if self.mock else Watch(folder)
        log = traffic_log(folder, clock) if self._keep_traffic else None
        context = DeviceContext(self._name, self.protocol.seed, clock, watch.guardian if watch else None, log)
        device: Device | None = None
        try:
            device = self._factory(self._hardware.options, context)
            probe = self._probe(device)
            session = Session(device, probe, watch, self._name, self._keep_report)
            told = _both(self._view.show, publish)
            findings, error, pulses = self._carry_out(session, probe, folder.name, told, cancel)
        except PibError as problem:
            raise NeverBegun(problem) from None
        finally:
            if device is not None:
                device.close()
            if log is not None:
                log.close()
                self.traffic_failure = log.failure
        if error is None and cancel.cancelled:
            error = Cancelled("stopped by the operator; what was found so far is recorded")
        record = self._record(probe, findings, error, pulses, started)
        outcome = self._keep(folder, record, findings, error)
        self._view.show(
            ProcedureFinished(record.status, record.verdict.value, pulses, record.error, not record.not_confirmed)
        )
        return outcome

    def check(self) -> None:
        """Build the device and its probe, connecting to nothing, and hold all that is planned against the limits.

        Raises ConfigurationError for what device and probe refuse, LimitError with every act that is beyond a limit.
        """
        device = self._factory(self._hardware.options, DeviceContext(self._name, self.protocol.seed, VirtualClock()))
        check_addresses({self._name: device})
        problems = []
        for extreme, limits in self._extremes(self._probe(device)):
            try:
                extreme.check(limits)
            except LimitError as problem:
                problems.append(str(problem))
        device.close()
        if problems:
            raise LimitError("\n".join(problems))

    def planned(self) -> list[tuple[Extreme, ElectricalLimits]]:
        """The strongest acts of the procedure, each with the limits that hold for it. Connects to nothing."""
        device = self._factory(self._hardware.options, DeviceContext(self._name, self.protocol.seed, VirtualClock()))
        found = self._extremes(self._probe(device))
        device.close()
        return found

    def _extremes(self, probe: Reach) -> list[tuple[Extreme, ElectricalLimits]]:
        """With the limits that are known before the device is open. None of what does not drive a chip."""
        if self._kind.subject != "chip":
            return []
        chip = cast(ChipProbe, probe)  # which is what a procedure about a chip has asked its device for
        found = self._kind.extremes(self._settings, chip)
        return [(extreme, chip.planned_limits(held=extreme.width_s is None)) for extreme in found]

    def safe_actions(self) -> list[SafeAction]:
        """How the device is made safe, one action for each link. Connects to nothing. Raises ConfigurationError."""
        device = self._factory(self._hardware.options, DeviceContext(self._name, self.protocol.seed, VirtualClock()))
        actions = actions_of({self._name: device})
        device.close()
        return actions

    def make_safe(self) -> list[SafeReport]:
        """Connect to the device, command all outputs off, read them back. A dead link is reported, not raised."""
        clock: Clock = VirtualClock() if self.mock else RealClock()
        device = self._factory(self._hardware.options, DeviceContext(self._name, self.protocol.seed, clock))
        try:
            if isinstance(device, Guarded):
                done = carry_out_all(device.safe_actions())
                return [SafeReport(each.device, each.confirmed, each.not_confirmed, each.detail) for each in done]
            probe = self._probe(device)
            with contextlib.suppress(PibError):  # what cannot be opened says so in its report
                probe.open()
            report = probe.make_safe()
            probe.close()
            return [not_commanded(report, self._factory)]
        finally:
            device.close()

    def _carry_out(
        self,
        session: Session,
        probe: Reach,
        run: str,
        publish: Publish,
        cancel: CancelToken,
    ) -> tuple[Findings, PibError | None, int]:
        """Findings, what ended the procedure early, and the pulses it sent. Raises what opening the device raises."""
        findings, pulses = Findings(()), 0
        try:
            with session.opened(), self._worn(probe, run) as told:
                before = probe.pulses()
                stored = self._passport(probe.serial).stored(*probe.shape)
                try:
                    findings = self._kind.run(
                        self._kind.job(probe, _both(publish, told), cancel, stored), self._settings
                    )
                finally:
                    pulses = int((probe.pulses() - before).sum(dtype=np.int64))
        except PibError as problem:
            if not session.begun:
                raise
            return findings, problem, pulses
        return findings, None, pulses

    def _keep_report(self, report: SafeReport) -> None:
        self.report = report
        self._view.show(MadeSafe(self._name, report.confirmed, report.not_confirmed, report.detail))

    def _passport(self, serial: str) -> Passport:
        return Passport(serial, self._passport_dir, mock=self.mock)

    def _probe(self, device: Device) -> Reach:
        return reach(device, self._kind.subject, self.protocol.array, f"hardware.{self._name}")

    @contextlib.contextmanager
    def _worn(self, probe: Reach, run: str) -> Iterator[Publish]:
        """Counts pulses of a real chip into its ledger: whenever the procedure tells of progress, and at the end."""
        if self.mock or self._kind.subject == "rig":  # patterns wear nothing out
            yield _silent
            return
        cells = {ARRAY: np.ones(probe.shape, np.bool_)}
        session = self._ledger.begin(probe.serial, run, cells, self._kind.most_pulses(self._settings))
        written = probe.pulses()

        def flush(last: bool = False) -> None:
            nonlocal written
            now = probe.pulses()
            self._ledger.add(probe.serial, session, {ARRAY: now - written}, last=last)
            written = now

        try:
            yield lambda progress: flush()
        finally:
            flush(last=True)

    def _record(
        self,
        probe: Reach,
        findings: Findings,
        error: PibError | None,
        pulses: int,
        started: str,
    ) -> ProcedureRecord:
        status = "finished" if error is None else "aborted" if isinstance(error, Cancelled) else "failed"
        return ProcedureRecord(
            procedure=self.protocol.procedure.name,
            serial=probe.serial,
            subject=self._kind.subject,
            mock=self.mock,
            rows=probe.shape[0],
            columns=probe.shape[1],
            started=started,
            ended=_now(),
            status=status,
            verdict=_verdict(findings, error),
            checks=findings.checks,
            settings=self._settings.model_dump(),
            who=f"{_user()}@{platform.node()}",
            versions=versions(),
            commit=git_commit(),
            pulses=pulses,
            error="" if error is None else str(error),
            not_confirmed=self.report.not_confirmed if self.report is not None else (),
            arrays=findings.arrays,
        )

    def _keep(self, folder: Path, record: ProcedureRecord, findings: Findings, error: PibError | None) -> Outcome:
        """Record first, then plots, then the passport, so that a plot that fails costs nothing."""
        write_record(folder, record)
        try:
            record = replace(record, plots=write_plots(record.procedure, record.arrays, folder))
        except Exception as problem:  # whatever matplotlib objects to: what was measured is what counts
            record = replace(record, error=f"{record.error}; no plots: {problem}".removeprefix("; "))
        write_record(folder, record)
        write_summary(folder, record)
        renew = bool(getattr(self._settings, "renew", False))
        reference: dict[str, Measured] = dict(findings.reference) if error is None else {}
        passport = self._passport(record.serial)
        passport.add(record, folder, reference, renew)
        return Outcome(folder, record, passport.path, error)


def load(protocol: str, overrides: list[str], seed: int | None, mock: bool = False) -> str:
    """The protocol's text with its overrides. Raises ConfigurationError as reading and overriding do, LimitError for an
    override that names another profile for a real device."""
    _, text = protocols.read(protocol)
    text = apply_overrides(text, [*overrides] + ([f"seed={seed}"] if seed is not None else []))
    for name, hardware in parse_procedure(text).hardware.items():
        if is_real(find_driver(hardware.driver, mock, f"hardware.{name}")[1]):
            refuse_other_profiles(overrides, (name,))
    return text


def _both(first: Publish, second: Publish) -> Publish:
    def publish(progress: Progress) -> None:
        first(progress)
        second(progress)

    return publish


def _verdict(findings: Findings, error: PibError | None) -> Verdict:
    """That of the checks; what ended early can fail, and never passes."""
    verdict = findings.verdict
    return Verdict.INCOMPLETE if error is not None and verdict is Verdict.PASS else verdict


def _silent(progress: Progress) -> None:
    pass


def _now() -> str:
    return datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="seconds")


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container without a user of that number
        return "unknown"
