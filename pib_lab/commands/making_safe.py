"""`safe`: all outputs off, whoever has the devices: a live run is asked, one that does not obey is ended."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Protocol

import typer

from pib_lab.commands.outcome import reporting
from pib_lab.commands.running import Overrides
from pib_lab.errors import ConfigurationError, DeviceError, RunFileError

if TYPE_CHECKING:
    from drivers.safe.commands import SafeAction
    from pib_lab.bring_up import BringUp
    from pib_lab.lab import Lab
    from pib_lab.unit import SafeReport


class _Devices(Protocol):
    """What can be made safe: a lab, a procedure, or what a killed run has noted."""

    @property
    def mock(self) -> bool: ...
    def safe_actions(self) -> list[SafeAction]: ...
    def make_safe(self) -> list[SafeReport]: ...


@reporting
def safe(
    run: Annotated[str, typer.Argument(metavar="RUN|PROTOCOL", help="A run's folder, or the protocol of its devices.")],
    overrides: Overrides = None,
    timeout_s: Annotated[float, typer.Option("--timeout", help="Seconds given to a live run to switch off.")] = 10.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line of stdout.")] = False,
) -> None:
    """Switch all outputs off: ask the run; if it does not do so in time, end it and command its devices.

    With a protocol, the run that holds its devices is found and asked. Give the --set options that the run was given.
    """
    from data.guardian_record import GUARDIAN_RECORD, read_guardian
    from pib_lab.commands.owners import ask_run

    folder = Path(run)
    if folder.is_dir() and overrides:
        raise ConfigurationError(f"{run} is a run's folder, whose devices are known: leave out --set")
    reports = ask_run(folder, timeout_s)
    if reports is None:
        if (word := read_guardian(folder)) is not None:
            typer.echo(f"{word.told()}; see {folder / GUARDIAN_RECORD}")
        devices, actions = _devices_of(folder, run, overrides or [])
        reports = _command_off(devices, actions, timeout_s)
    if as_json:
        _print_reports(reports)
    if not all(report.safe for report in reports):
        raise DeviceError("outputs were NOT confirmed off: look at the devices and switch them off by hand")


def _devices_of(folder: Path, run: str, overrides: list[str]) -> tuple[_Devices, list[SafeAction]]:
    """As a killed run has noted them, which takes no run file and the least time; else as its protocol says."""
    from drivers.safe.kept import KEPT, read_kept

    kept = read_kept(folder) if folder.is_dir() else None
    if kept is not None and not kept.unguarded:
        return kept, kept.safe_actions()
    try:
        opened = _lab_of(folder, run, overrides)
        return opened, opened.safe_actions()
    except ConfigurationError as problem:
        if kept is None:
            raise
        typer.echo(f"{problem}; only those devices are commanded that are known from {folder / KEPT}", err=True)
        return kept, kept.safe_actions()


def _lab_of(folder: Path, run: str, overrides: list[str]) -> Lab | BringUp:
    from pib_lab import lab
    from pib_lab.commands.bringing_up import procedure_of

    procedure = procedure_of(folder, run, overrides)
    if procedure is not None:
        return procedure
    if not folder.is_dir():
        return lab.open(run, overrides=overrides)
    try:
        return lab.reopen(folder)
    except RunFileError as error:
        raise RunFileError(f"{error}; name the protocol of its devices: `pib-lab safe PROTOCOL`") from error


def _command_off(devices: _Devices, actions: Sequence[SafeAction], timeout_s: float) -> list[SafeReport]:
    """Command every device off, and hold it meanwhile, so that no run switches it on again; a row for each device.

    One that another process does not let go of is commanded too, but nobody can say that it stays off: NOT confirmed.
    """
    from drivers.wire.ownership import Claims
    from pib_lab.commands.owners import take_over
    from pib_lab.commands.tables import make_console, safe_table

    claims = Claims()
    try:
        held = take_over(claims, [action.address for action in actions], timeout_s)
        doubts = {action.device: held[action.address] for action in actions if action.address in held}
        reports = [_doubted(report, doubts.get(report.unit, "")) for report in devices.make_safe()]
    finally:
        claims.release()
    make_console().print(safe_table(reports))
    if devices.mock:
        typer.echo("mock: no device was commanded; for those of a run with --set options, give the same ones here")
    return reports


def _doubted(report: SafeReport, why: str) -> SafeReport:
    if not why:
        return report
    outputs = report.confirmed + report.not_confirmed
    detail = "; ".join(filter(None, [f"{why}: whatever was read back, it may go on again", report.detail]))
    return dataclasses.replace(report, confirmed=(), not_confirmed=outputs, detail=detail)


def _print_reports(reports: Sequence[SafeReport]) -> None:
    typer.echo(
        json.dumps(
            {
                "safe": all(report.safe for report in reports),
                "reports": [dataclasses.asdict(report) for report in reports],
            }
        )
    )
