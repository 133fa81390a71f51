"""`status`, `pause`, `resume`, `abort`, `safe` and `attach`: commands to a run that goes on in another process."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pib_lab.commands.outcome import reporting, tell_error
from pib_lab.commands.recorded import RunFolder
from pib_lab.errors import DeviceError, LinkError, RunFileError

GUARDIAN_RECORD = "guardian.jsonl"
"""`drivers.safe.guardian.RECORD`, without importing drivers for every command."""

if TYPE_CHECKING:
    from rich.console import Console

    from pib_lab.bring_up import BringUp
    from pib_lab.client import Client
    from pib_lab.endpoint import Endpoint
    from pib_lab.lab import Lab
    from pib_lab.unit import SafeReport


@reporting
def status(
    run: RunFolder, as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False
) -> None:
    """Where a live run stands."""
    _print_status(_ask(run, "status"), as_json)


@reporting
def pause(run: RunFolder) -> None:
    """Pause a live run at the next step."""
    _ask(run, "pause")
    typer.echo("pausing at the next step; `pib-lab resume` goes on")


@reporting
def resume(run: RunFolder) -> None:
    """Let a paused run go on."""
    _ask(run, "resume")
    typer.echo("going on")


@reporting
def abort(run: RunFolder) -> None:
    """End a live run at the next step; outputs are made safe."""
    if "procedure" in _ask(run, "abort"):
        typer.echo("ending after the present cell; what was found so far is kept, marked as a part")
    else:
        typer.echo("ending at the next step; `pib-lab run --resume` can continue it later")


@reporting
def attach(run: RunFolder) -> None:
    """Watch a live run; Ctrl-C leaves it running."""
    from pib_lab.client import Client
    from pib_lab.commands.tables import make_console

    console = make_console()
    with Client(run) as client:
        watch = _watch_procedure if "procedure" in client.status() else _watch_training
        client.attach()
        try:
            watch(client, console)
        except KeyboardInterrupt:
            typer.echo("detached; the run goes on", err=True)


def _watch_procedure(client: Client, console: Console) -> None:
    from pib_lab.commands.procedure_bar import ProcedureBar
    from pib_lab.findings import Progress
    from pib_lab.procedure_status import ProcedureStatus

    status = ProcedureStatus()
    with ProcedureBar(console, "procedure") as bar:
        for event in client.procedure_events():
            status.show(event)
            if isinstance(event, Progress):
                bar.show(event)
    if status.finished is not None:
        console.print(f"{status.finished.status}: {status.finished.verdict}, {status.finished.pulses} pulses")


def _watch_training(client: Client, console: Console) -> None:
    from pib_lab.progress import make_progress, summary

    with make_progress(console) as progress:
        for event in client.events():
            progress.show(event)
    console.print(summary(progress.status))


@reporting
def safe(
    run: Annotated[str, typer.Argument(metavar="RUN|PROTOCOL", help="A run's folder, or the protocol of its devices.")],
    timeout_s: Annotated[float, typer.Option("--timeout", help="Seconds given to a live run to switch off.")] = 10.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line of stdout.")] = False,
) -> None:
    """Switch all outputs off: ask the run; if it does not do so in time, end it and command its devices."""
    from pib_lab.endpoint import read_endpoint

    folder = Path(run)
    try:
        endpoint = read_endpoint(folder)
    except LinkError:
        endpoint = None
    if endpoint is not None and endpoint.alive:
        asked: dict[str, SafeReport] = {}
        if _run_made_safe(folder, timeout_s, asked):
            if as_json:
                _print_reports(list(asked.values()))
            return
        _end(endpoint, timeout_s)
    if (folder / GUARDIAN_RECORD).is_file():
        typer.echo(f"the guardian has acted before: see {folder / GUARDIAN_RECORD}")
    reports = _command_off(_lab_of(folder, run))
    if as_json:
        _print_reports(reports)
    if not all(report.safe for report in reports):
        raise DeviceError("outputs were NOT confirmed off: look at the devices and switch them off by hand")


def _ask(folder: Path, verb: str) -> dict[str, Any]:
    from pib_lab.client import Client

    with Client(folder) as client:
        return client.send(verb)


def _print_status(status: dict[str, Any], as_json: bool) -> None:
    from pib_lab.progress import duration

    if as_json:
        typer.echo(json.dumps(status))
        return
    if "procedure" in status:
        at = f", {status['step']}/{status['total_steps']} {status['text']}" if status["total_steps"] else ""
        typer.echo(f"{status['run'] or 'procedure'}: {status['state']}{at}")
        return
    left = f", {duration(status['remaining_s'])} left" if status["remaining_s"] is not None else ""
    accuracy = "".join(f", {split} accuracy {value:.2%}" for split, value in status["accuracy"].items())
    steps = f"step {status['step']}/{status['total_steps']}" if status["total_steps"] else "no step yet"
    typer.echo(f"{status['run'] or 'run'}: {status['state']}, {steps}{left}{accuracy}")


def _run_made_safe(folder: Path, timeout_s: float, reports: dict[str, SafeReport]) -> bool:
    """Ask the live run; True once it has confirmed every one of its units off. `reports`: what it said, by unit."""
    from pib_lab.client import Client
    from pib_lab.commands.tables import make_console
    from pib_lab.events import Event, MadeSafe, RunStarted
    from pib_lab.procedure_events import ProcedureEvent, ProcedureStarted
    from pib_lab.progress import safe_line
    from pib_lab.unit import SafeReport

    console = make_console()
    units: set[str] | None = None
    confirmed: set[str] = set()
    try:
        with Client(folder, timeout_s=timeout_s) as client:
            client.attach()
            events: Iterator[Event | ProcedureEvent] = (
                client.procedure_events(timeout_s=timeout_s)
                if "procedure" in client.send("safe")
                else client.events(timeout_s=timeout_s)
            )
            for event in events:
                if isinstance(event, RunStarted):
                    units = {unit.name for unit in event.units}
                elif isinstance(event, ProcedureStarted):
                    units = {event.device}
                elif isinstance(event, MadeSafe):
                    console.print(safe_line(event.unit, event.not_confirmed))
                    made = SafeReport(event.unit, event.confirmed, event.not_confirmed, event.detail)
                    reports[event.unit] = made
                    if not event.not_confirmed:
                        confirmed.add(event.unit)
                if units is not None and confirmed >= units:
                    return True
    except LinkError as error:
        tell_error(str(error))
    return False


def _end(endpoint: Endpoint, timeout_s: float) -> None:
    """The run did not switch everything off: end its process, so that its links are free. Raises LinkError."""
    # A run that was asked in vain may be on its way out: its links are free when it has gone.
    tell_error(f"the run has not confirmed all outputs off; ending process {endpoint.pid} and commanding the devices")
    endpoint.end_process()
    deadline_s = time.monotonic() + timeout_s
    while endpoint.alive:
        if time.monotonic() > deadline_s:
            raise LinkError(f"process {endpoint.pid} does not end; switch the devices off by hand")
        time.sleep(0.02)


def _lab_of(folder: Path, run: str) -> Lab | BringUp:
    from pib_lab import lab
    from pib_lab.commands.bringing_up import procedure_of

    procedure = procedure_of(folder, run)
    if procedure is not None:
        return procedure
    if not folder.is_dir():
        return lab.open(run)
    try:
        return lab.reopen(folder)
    except RunFileError as error:
        raise RunFileError(f"{error}; name the protocol of its devices: `pib-lab safe PROTOCOL`") from error


def _command_off(opened: Lab | BringUp) -> list[SafeReport]:
    """Connect to every device and switch it off; a row per device, or per unit of a device that is a mock."""
    from pib_lab.commands.tables import make_console, safe_table

    reports = opened.make_safe()
    make_console().print(safe_table(reports))
    return list(reports)


def _print_reports(reports: Sequence[SafeReport]) -> None:
    typer.echo(
        json.dumps(
            {
                "safe": all(report.safe for report in reports),
                "reports": [dataclasses.asdict(report) for report in reports],
            }
        )
    )
