"""`status`, `pause`, `resume`, `abort` and `attach`: commands to a run that goes on in another process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pib_lab.commands.outcome import reporting
from pib_lab.commands.recorded import RunFolder
from pib_lab.errors import LinkError

if TYPE_CHECKING:
    from rich.console import Console

    from pib_lab.client import Client


@reporting
def status(
    run: RunFolder, as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False
) -> None:
    """Where a live run stands; of one that is not live any more, what its guardian has done, if it had to act."""
    from data.guardian_record import read_guardian

    try:
        told = _ask(run, "status")
    except LinkError as problem:
        if (word := read_guardian(run)) is None:
            raise
        raise LinkError(f"{problem}; {word.told()}") from problem
    _print_status(told, as_json)


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
