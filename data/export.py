"""A run's records in formats that every tool reads: CSV, NPZ, TOML and JSON."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from data.reader import Reader
from data.summary import PASS_KINDS, STEP_FIELDS, UNIT_FIELDS, RunData, summarise
from pib_lab.errors import RunFileError
from pib_lab.events import Evaluated, Event, MapTaken, StepDone

STEP_COLUMNS = (*STEP_FIELDS, *(f"passes_{kind}" for kind in PASS_KINDS))
UNIT_COLUMNS = ("step", "unit", *UNIT_FIELDS)
EVALUATION_COLUMNS = ("step", "split", "accuracy", "loss", "samples")


def export_run(folder: Path, to: Path | None = None) -> list[Path]:
    """Write a run's records to the folder `to` (default: "export" inside the run's folder); return the files.

    steps.csv (a row per step), units.csv (a row per step and unit), evaluations.csv, maps-<unit>.npz (arrays step (k,),
    parameters, faults and pulses (k, *shape)), protocol.toml, summary.json. Entropies are in bits, times in seconds,
    parameters in their SI unit; a value that was not computed is an empty cell. Files that exist are replaced.

    Raises RunFileError when the run cannot be read or the files cannot be written.
    """
    folder = Path(folder)
    to = Path(to) if to is not None else (folder if folder.is_dir() else folder.parent) / "export"
    events = list(Reader(folder).events())
    try:
        to.mkdir(parents=True, exist_ok=True)
        return export_events(events, to)
    except OSError as error:
        raise RunFileError(f"cannot export to {to}: {error.strerror}; choose another folder") from error


def export_events(events: Sequence[Event], to: Path) -> list[Path]:
    """Write the records of these events to the existing folder `to`; return the files."""
    run = summarise(events)
    steps = [event for event in events if isinstance(event, StepDone)]
    files = [
        _table(to / "steps.csv", STEP_COLUMNS, (_step_row(event) for event in steps)),
        _table(
            to / "units.csv",
            UNIT_COLUMNS,
            (
                [event.step, unit.name, *(getattr(unit, name) for name in UNIT_FIELDS)]
                for event in steps
                for unit in event.units
            ),
        ),
        _table(
            to / "evaluations.csv",
            EVALUATION_COLUMNS,
            ([getattr(event, name) for name in EVALUATION_COLUMNS] for event in events if isinstance(event, Evaluated)),
        ),
    ]
    for unit in run.units:
        maps = [event for event in events if isinstance(event, MapTaken) and event.unit == unit.info.name]
        if maps:
            files.append(_maps(to / f"maps-{unit.info.name}.npz", maps))
    protocol = to / "protocol.toml"
    protocol.write_text(run.started.protocol_text, encoding="utf-8")
    summary = to / "summary.json"
    summary.write_text(json.dumps(summary_of(run), indent=2, allow_nan=False) + "\n", encoding="utf-8")
    return [*files, protocol, summary]


def summary_of(run: RunData) -> dict[str, Any]:
    """The run in a few dozen numbers, fit for JSON: what is not known is None."""
    tree = {
        "run": run.started.run_id,
        "protocol": run.started.protocol_name,
        "status": run.status,
        "mock": run.started.mock,
        "seed": run.started.seed,
        "dataset": run.started.dataset,
        "split_sizes": dict(zip(("training", "validation", "test"), run.started.split_sizes, strict=True)),
        "steps": run.last_step,
        "total_steps": run.started.total_steps,
        "metrics": dict(run.finished.metrics) if run.finished is not None else {},
        "passes": asdict(run.passes),
        "pulses": run.pulses,
        "wall_s": run.elapsed_s,
        "safe": run.finished.safe if run.finished is not None else None,
        "error": run.finished.error if run.finished is not None else None,
        "units": [
            {**asdict(unit.info), "wear": asdict(unit.wear) if unit.wear is not None else None} for unit in run.units
        ],
        "versions": run.started.versions,
        "git_commit": run.started.git_commit,
        "schema": run.started.schema,
    }
    clean: dict[str, Any] = _without_nan(tree)
    return clean


def _step_row(event: StepDone) -> list[Any]:
    row = [getattr(event, name) for name in STEP_FIELDS]
    return row + [getattr(event.passes, kind) for kind in PASS_KINDS]


def _table(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        for row in rows:
            writer.writerow(["" if isinstance(value, float) and math.isnan(value) else value for value in row])
    return path


def _maps(path: Path, maps: Sequence[MapTaken]) -> Path:
    np.savez_compressed(
        path,
        step=np.array([taken.step for taken in maps]),
        parameters=np.stack([taken.parameters for taken in maps]),
        faults=np.stack([taken.faults for taken in maps]),
        pulses=np.stack([taken.pulses for taken in maps]),
    )
    return path


def _without_nan(value: Any) -> Any:
    """JSON knows neither NaN nor infinity: both become None."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
