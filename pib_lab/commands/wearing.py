"""`wear`: what the cells of a real chip have been through, over all runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from pib_lab.commands.outcome import reporting

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
) -> None:
    """Show the programming pulses that a real chip's cells have had over all runs."""
    from data.wear_ledger import WearLedger, default_folder
    from pib_lab.commands.tables import make_console

    ledger = WearLedger(wear_dir or default_folder())
    if chip is None:
        for serial in ledger.chips():
            typer.echo(serial)
        return
    found = ledger.read(chip)
    make_console().print(_summary(found))
    typer.echo(_story(found))
    if out is not None:
        from data.wear_plot import write_wear_map

        typer.echo(write_wear_map(found, out))


def _summary(found: ChipWear) -> Table:
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
                f"{int(total.sum()):,}",
                f"{float(used.mean()) if len(used) else 0.0:,.1f}",
                f"{int(np.percentile(used, 99)) if len(used) else 0:,}",
                f"{int(total.max()):,} (row {row}, column {column})",
                f"{int(held.assumed.max()):,}",
            )
        )
    return table(("array", "shape", "cells used", "pulses", "mean", "99 %", "worst cell", "assumed, at most"), rows)


def _story(found: ChipWear) -> str:
    runs = f"chip {found.serial}: {found.runs} run{'s' if found.runs != 1 else ''}"
    killed = f", {found.killed} killed (charged with all that they may have written)" if found.killed else ""
    live = f", {len(found.sessions)} writing now" if found.sessions else ""
    return runs + killed + live
