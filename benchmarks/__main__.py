"""`python -m benchmarks [NAME ...]`: print the figures and put them into docs/benchmarks.md."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Callable, Sequence
from datetime import date
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from benchmarks import speed
from benchmarks.accuracy import CONTESTS, contest, depth
from benchmarks.board import board, board_faults
from benchmarks.desktop_first_paint import desktop_first_paint
from benchmarks.desktop_load import desktop_load
from benchmarks.desktop_stop import desktop_stop
from benchmarks.fault_recovery import fault_recovery
from benchmarks.fuzz import fuzz
from benchmarks.kills import kills
from benchmarks.light_accuracy import light_accuracy
from benchmarks.light_drift import light_drift
from benchmarks.light_masks import light_masks
from benchmarks.light_path import light_path
from benchmarks.light_rate import light_rate
from benchmarks.light_rules import light_rules
from benchmarks.link_faults import link_faults
from benchmarks.pipeline import pipeline
from benchmarks.smu_matrix import smu_matrix

PAGE = Path(__file__).resolve().parents[1] / "docs" / "benchmarks.md"

Bench = Callable[[Sequence[int], int], str]


def benches(tune: bool, n: int | None) -> dict[str, Bench]:
    """Every benchmark by name, in the order of the page."""
    return {
        **{name: partial(contest, name, tune=tune) for name in CONTESTS},
        "depth": depth,
        "faults": fault_recovery,
        "demo": speed.demo,
        "entropy": speed.entropy,
        "overhead": speed.overhead,
        "measurement": speed.measurement,
        "startup": speed.startup,
        "board": board,
        "board-faults": board_faults,
        "kills": partial(kills, n=n or 100),
        "link-faults": partial(link_faults, n=n or 10_000),
        "fuzz": partial(fuzz, n=n or 4_000),
        "pipeline": pipeline,
        "smu-matrix": smu_matrix,
        "light-masks": light_masks,
        "light-accuracy": light_accuracy,
        "light-rules": partial(light_rules, tune=tune),
        "light-path": light_path,
        "light-drift": light_drift,
        "light-rate": light_rate,
        "desktop-load": partial(desktop_load, n=n or 600),
        "desktop-first-paint": desktop_first_paint,
        "desktop-stop": partial(desktop_stop, n=n or 20),
    }


def main(
    names: Annotated[list[str] | None, typer.Argument(help="which; all when left out")] = None,
    seeds: Annotated[int, typer.Option(help="how many seeds, from 1")] = 5,
    processes: Annotated[int, typer.Option(help="runs at a time")] = os.cpu_count() or 1,
    tune: Annotated[bool, typer.Option(help="tune every method anew first")] = False,
    n: Annotated[
        int | None,
        typer.Option(
            help="runs that are killed (100, other kinds a quarter), link faults (10,000), inputs a parser (4,000), "
            "seconds of load on the desktop (600), presses of STOP (20)"
        ),
    ] = None,
    write: Annotated[bool, typer.Option(help="put the figures into docs/benchmarks.md")] = True,
) -> None:
    """Measure the figures of docs/benchmarks.md."""
    known = benches(tune, n)
    for name in names or list(known):
        if name not in known:
            raise typer.BadParameter(f"{name}: choose from {', '.join(known)}")
    for name in names or list(known):
        print(f"== {name}", flush=True)
        section = known[name](range(1, seeds + 1), processes)
        machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
        section += f"\nMeasured {date.today():%Y-%m-%d}, {machine}.\n"
        print(section, flush=True)
        if write:
            _put(name, section)


def _put(name: str, section: str) -> None:
    """Replace the section between this benchmark's marks."""
    text = PAGE.read_text()
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    if begin not in text:
        raise typer.BadParameter(f"{PAGE} has no marks for {name}")
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    PAGE.write_text(pattern.sub(lambda _: f"{begin}\n{section}{end}", text))


if __name__ == "__main__":
    typer.run(main)
