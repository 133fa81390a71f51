"""Tables for the terminal: protocols, drivers, runs, dry runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from pib_lab.check import DryRun
    from pib_lab.unit import SafeReport


def make_console(*, stderr: bool = False) -> Console:
    """A console for tables; logs and pipes get wider lines than the 80 columns that rich assumes there."""
    console = Console(stderr=stderr)
    return console if console.is_terminal else Console(stderr=stderr, width=140)


def table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """Plain columns under bold titles; nothing is cut off, long texts are folded."""
    result = Table(box=None, padding=(0, 3, 0, 0))
    for title in titles:
        result.add_column(title, overflow="fold")
    for row in rows:
        result.add_row(*(Text(cell) for cell in row))
    return result


def dry_run_tables(dry: DryRun) -> RenderableType:
    """What a protocol would do and cost."""
    units = table(
        ("unit", "driver", "shape", "parameters", "drive limits", "objective"),
        [
            (unit.name, unit.driver, _shape(unit.shape), f"{unit.parameters:,}", unit.drive_limit, unit.objective)
            for unit in dry.units
        ],
    )
    from pib_lab.progress import duration  # other tables do without what this brings along

    counts = asdict(dry.passes)
    verify = counts.pop("verify")
    more = f", and at most {verify:,} to verify writes" if verify else ""
    passes = ", ".join(f"{kind} {count:,}" for kind, count in counts.items() if count)
    costs = Table.grid(padding=(0, 3, 0, 0))
    costs.add_column(style="bold")
    costs.add_column()
    costs.add_row("steps", f"{dry.steps:,} ({dry.steps_per_epoch:,} an epoch)")
    costs.add_row("passes", f"{passes}; total {sum(counts.values()):,}{more}")
    costs.add_row("measuring", f"{duration(dry.measuring_s)} of settling and conversion")
    costs.add_row("wear", f"at most {dry.writes_max:,} writes of a cell, at most {dry.pulses_max:,} pulses")
    costs.add_row("programming", f"at most {duration(dry.programming_s)} of pulses and verify reads on these devices")
    fast, slow = duration(dry.writes_at_10us_s), duration(dry.writes_at_1ms_s)
    costs.add_row("", f"with one pulse a write: at most {fast} at 10 us a pulse, {slow} at 1 ms")
    costs.add_row("limits", ", ".join(f"{key} {value}" for key, value in dry.limits.items()) or "the devices' own")
    if dry.digital_weights:
        parameters = sum(unit.parameters for unit in dry.units)
        costs.add_row("digital", f"{dry.digital_weights:,} of {parameters:,} parameters are weights in memory")
    for unit in dry.units:
        if unit.how:
            costs.add_row("how", f"{unit.name}: {unit.how}")
    warnings = [Text(f"warning: {warning}", style="yellow") for warning in dry.warnings]
    return Group(units, "", costs, *warnings)


def safe_table(reports: Sequence[SafeReport]) -> Table:
    """What was read back off, what was NOT confirmed, and why."""
    result = table(("device or unit", "confirmed off", "NOT confirmed", "why"), [])
    for report in reports:
        result.add_row(
            report.unit,
            Text(", ".join(report.confirmed) or "nothing"),
            Text(", ".join(report.not_confirmed) or "-", style="bold red" if report.not_confirmed else ""),
            Text(report.detail),
        )
    return result


def _shape(shape: tuple[int, int]) -> str:
    return f"{shape[0]} x {shape[1]}"
