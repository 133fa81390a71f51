"""`wear`: what the cells of a real chip have been through, over all runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from pib_lab.commands.outcome import reporting
from pib_lab.errors import ConfigurationError

if TYPE_CHECKING:
    from rich.table import Table

    from data.wear_ledger import ChipWear

# Typer reads this at run time, and older versions of it know Optional only.
WearDir = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(help="Folder of the chips' wear (default: PIB_LAB_WEAR, or the user's data folder)."),
]


@reporting
def wear(
    chip: Annotated[
        Optional[str],  # noqa: UP045
        typer.Argument(metavar="CHIP", help="The chip's serial number; left out: all chips on record."),
    ] = None,
    out: Annotated[Optional[Path], typer.Option(help="Write the maps into this PNG file.")] = None,  # noqa: UP045
    wear_dir: WearDir = None,
    protocol: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="PROTOCOL|NAME", help="Tell what its limits.lifetime_pulses leaves each array."),
    ] = None,
    lifetime: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=1, metavar="PULSES", help="Tell what this many pulses a cell leave each array."),
    ] = None,
) -> None:
    """Show the programming pulses that a real chip's cells have had over all runs, counted and assumed apart."""
    from data.wear_ledger import WearLedger, default_folder
    from pib_lab.commands.tables import make_console

    budget = _budget(protocol, lifetime)
    ledger = WearLedger(wear_dir or default_folder())
    if chip is None:
        for serial in ledger.chips():
            typer.echo(serial)
        return
    found = ledger.read(chip)
    make_console().print(_summary(found, budget))
    typer.echo(_story(found))
    if budget is not None:
        typer.echo(_left(found, budget))
    if out is not None:
        from data.wear_plot import write_wear_map

        typer.echo(write_wear_map(found, out))


def _budget(protocol: str | None, lifetime: int | None) -> int | None:
    """Pulses a cell may have, from where the operator says. Raises ConfigurationError for two answers, or none."""
    if protocol is None:
        return lifetime
    if lifetime is not None:
        raise ConfigurationError("--protocol and --lifetime both give a budget: leave one out")
    import protocols
    from pib_lab.experiment import parse_experiment

    limit = parse_experiment(protocols.read(protocol)[1]).limits.lifetime_pulses
    if limit is None:
        raise ConfigurationError(f"{protocol}: has no limits.lifetime_pulses; give --lifetime PULSES instead")
    return limit


def _summary(found: ChipWear, budget: int | None) -> Table:
    """A row per array; the worst cell is named, for it is the one that a budget is held against."""
    import numpy as np

    from pib_lab.commands.tables import table

    rows = []
    for name, held in sorted(found.arrays.items()):
        total = held.total
        row, column = np.unravel_index(int(total.argmax()), total.shape)
        used = total[total > 0]
        rows.append(
            (
                name,
                f"{total.shape[0]} x {total.shape[1]}",
                f"{len(used):,} of {total.size:,}",
                f"{int(held.counted.sum()):,}",
                f"{int(held.assumed.sum()):,}",
                f"{float(used.mean()) if len(used) else 0.0:,.1f}",
                f"{int(np.percentile(used, 99)) if len(used) else 0:,}",
                f"{int(total.max()):,} (row {row}, column {column})",
                f"{int(held.counted[row, column]):,}",
                f"{int(held.assumed[row, column]):,}",
                *(() if budget is None else (f"{max(budget - int(total.max()), 0):,}",)),
            )
        )
    titles = [
        "array",
        "shape",
        "cells used",
        "counted",
        "assumed",
        "mean",
        "99 %",
        "worst cell",
        "of it counted",
        "of it assumed",
    ]
    return table([*titles, *(() if budget is None else ("left to it",))], rows)


def _story(found: ChipWear) -> str:
    runs = f"chip {found.serial}: {found.runs} run{'s' if found.runs != 1 else ''}"
    killed = f", {found.killed} killed (charged with all that they may have written)" if found.killed else ""
    live = f", {len(found.sessions)} writing now" if found.sessions else ""
    return runs + killed + live


def _left(found: ChipWear, budget: int) -> str:
    """How far the budget of a cell reaches; assumed pulses are held against it, as a run does."""
    import numpy as np

    totals = [held.total for held in found.arrays.values()]
    cells = sum(total.size for total in totals)
    spent = sum(int(np.count_nonzero(total >= budget)) for total in totals)
    left = max(budget - max((int(total.max()) for total in totals), default=0), 0)
    return (
        f"budget {budget:,} pulses a cell, assumed ones included: {left:,} left to the worst cell, "
        f"{spent:,} of {cells:,} cells have spent theirs"
    )
