"""`list`, `report` and `export`: what needs no live run."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Optional

import typer

from pib_lab.commands.outcome import reporting
from pib_lab.errors import PibError

RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="The run's folder.")]


class Listed(StrEnum):
    """What `list` can list."""

    PROTOCOLS = "protocols"
    DRIVERS = "drivers"
    RUNS = "runs"
    INSTRUMENTS = "instruments"


@reporting
def list_(
    what: Annotated[Listed, typer.Argument(help="What to list.")],
    out: Annotated[Path, typer.Option(help="Folder of the runs.")] = Path("runs"),
) -> None:
    """List shipped protocols, installed drivers, recorded runs, or instruments that are connected."""
    from pib_lab.commands.tables import make_console, table

    if what is Listed.PROTOCOLS:
        import protocols

        shown = table(("name", "title"), protocols.available().items())
    elif what is Listed.DRIVERS:
        shown = table(("name", "from"), _drivers())
    elif what is Listed.INSTRUMENTS:
        found = _instruments()
        if not found:
            typer.echo("no instruments found (those on raw sockets cannot be: see the instrument's own LAN menu)")
            return
        shown = table(("address", "by", "description"), found)
    else:
        rows = _runs(out)
        if not rows:
            typer.echo(f"no runs in {out}")
            return
        shown = table(("name", "status", "step", "accuracy", "started"), rows)
    make_console().print(shown)


@reporting
def report(run: RunFolder) -> None:
    """Write the HTML report of a run and print its path."""
    from data.report import write_report

    typer.echo(write_report(run))


@reporting
def export(
    run: RunFolder,
    to: Annotated[Optional[Path], typer.Option(help="Folder for the files (default: in the run's).")] = None,  # noqa: UP045
) -> None:
    """Write a run's tables as CSV, its maps as NPZ, its summary as JSON; print their paths."""
    from data.export import export_run

    for path in export_run(run, to):
        typer.echo(path)


def _drivers() -> list[tuple[str, str]]:
    from pib_lab.registry import drivers

    return sorted((entry.name, entry.value) for entry in drivers().values())


def _instruments() -> list[tuple[str, str, str]]:
    from drivers.wire import discovery

    survey = discovery.discover()
    for problem in survey.problems:
        typer.secho(f"warning: {problem}", fg=typer.colors.YELLOW, err=True)
    return [(found.address, found.kind, found.description) for found in survey.found]


def _runs(out: Path) -> list[tuple[str, str, str, str, str]]:
    folders = sorted(path.parent for path in out.glob("*/run.h5"))
    return [_run_row(folder) for folder in folders]


def _run_row(folder: Path) -> tuple[str, str, str, str, str]:
    from data.reader import Reader

    try:
        with Reader(folder) as reader:
            status = reader.status()
            began = datetime.fromtimestamp(status.started_unix_s).strftime("%Y-%m-%d %H:%M")
            accuracy = status.metrics.get("test_accuracy", status.metrics.get("validation_accuracy"))
    except PibError as error:  # one damaged file must not hide the others
        return folder.name, "unreadable", "", "", str(error)
    shown = f"{accuracy:.2%}" if accuracy is not None else ""
    return folder.name, status.status, f"{status.steps_done}/{status.total_steps}", shown, began
