"""The report of a run: one HTML file that needs nothing but itself, made from the run's events."""

from __future__ import annotations

import base64
import math
import os
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path

import jinja2
import numpy as np
from matplotlib.figure import Figure

from data import plots
from data.guardian_record import GuardianWord, read_guardian
from data.map_plots import maps_figure
from data.reader import Reader
from data.summary import PASS_KINDS, PULSE_TIMES_S, RunData, summarise
from data.wording import count, duration, interval, percent
from pib_lab.errors import RunFileError
from pib_lab.events import Event
from pib_lab.records import disturbs_key

REPORT_NAME = "report.html"
_TITLES = {"finished": "finished", "aborted": "aborted", "failed": "failed", "unfinished": "no end recorded"}


def write_report(folder: Path) -> Path:
    """Write report.html into a run's folder, of a run that has ended, was killed or is still going; return its path.

    Raises RunFileError when the folder holds no readable run or cannot be written to.
    """
    folder = Path(folder)
    beside = folder if folder.is_dir() else folder.parent
    events = _Timed(Reader(folder).timed_events())
    page = render(events, lambda: read_guardian(beside, events.last_unix_s))
    path = beside / REPORT_NAME
    partial = path.with_suffix(".html.partial")
    try:
        partial.write_text(page, encoding="utf-8")
        os.replace(partial, path)
    except OSError as error:
        raise RunFileError(f"cannot write {path}: {error.strerror}; make room or the folder writable") from error
    return path


class _Timed:
    """Events, and when the last one that was taken was recorded."""

    def __init__(self, events: Iterable[tuple[float, Event]]) -> None:
        self._events, self.last_unix_s = events, 0.0

    def __iter__(self) -> Iterator[Event]:
        for unix_s, event in self._events:
            self.last_unix_s = unix_s
            yield event


def render(events: Iterable[Event], guardian: Callable[[], GuardianWord | None] = lambda: None) -> str:
    """The report of these events as HTML, with style and pictures inside.

    guardian: asked once all events are known, for what it has done since; that says more of outputs than the run did.
    """
    run = summarise(events)
    word = guardian()
    doubtful = {event.unit for event in run.safe if event.not_confirmed}
    devices = {unit.info.device for unit in run.units if unit.info.name in doubtful}
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters.update(percent=percent, count=count, interval=interval)
    template = environment.from_string((resources.files("data") / "templates" / REPORT_NAME).read_text("utf-8"))
    return template.render(
        run=run,
        title=f"{run.started.protocol_name}: {run.started.dataset}",
        begun=datetime.fromtimestamp(run.started.started_unix_s, UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
        headline=_headline(run),
        guardian=word,
        settled=word is not None and word.vouches_for(devices),
        unsafe=[f"{event.unit} ({output})" for event in run.safe for output in event.not_confirmed],
        newest=[event for split in ("validation", "test") if (event := run.accuracy(split)) is not None],
        passes=[(kind, getattr(run.passes, kind)) for kind in PASS_KINDS],
        pulse_times=[(duration(width), duration(width * run.pulses)) for width in PULSE_TIMES_S],
        worn=[(unit.info.name, unit.wear) for unit in run.units if unit.wear is not None],
        disturbs=_disturbs(run),
        scans=[scan for unit in run.units for scan in unit.scans],
        pictures=_pictures(run),
    )


def _headline(run: RunData) -> list[tuple[str, str]]:
    metrics = run.finished.metrics if run.finished is not None else {}
    test = run.accuracy("test")
    test_accuracy = metrics.get("test_accuracy", test.accuracy if test is not None else math.nan)
    validation = run.accuracy("validation")
    return [
        ("status", _TITLES.get(run.status, run.status)),
        ("test accuracy", percent(test_accuracy)),
        ("validation accuracy", percent(validation.accuracy if validation is not None else math.nan)),
        ("steps", f"{run.last_step} of {run.started.total_steps}"),
        ("wall time", duration(run.elapsed_s)),
        ("data set", run.started.dataset),
        ("seed", str(run.started.seed)),
    ]


def _disturbs(run: RunData) -> list[tuple[str, float]]:
    """Units and the most that a cell of each was disturbed, for those that count it, of a run that has concluded."""
    metrics = run.finished.metrics if run.finished is not None else {}
    names = [(unit.info.name, disturbs_key(unit.info.name)) for unit in run.units]
    return [(name, metrics[key]) for name, key in names if key in metrics]


def _pictures(run: RunData) -> dict[str, list[dict[str, str]]]:
    stepped = run.columns["step"].size > 0
    entropies = any(np.isfinite(unit.columns["i_xz"]).any() for unit in run.units)
    maps = [(unit.info.name, figure) for unit in run.units if (figure := maps_figure(unit)) is not None]
    return {
        "entropies": [_svg(plots.entropy_figure(run), "Entropies of each unit against the step")] if entropies else [],
        "plane": [_svg(plots.information_plane_figure(run), "Information plane")] if entropies else [],
        "accuracy": [_svg(plots.accuracy_figure(run), "Accuracy against the step")] if stepped else [],
        "losses": [_svg(plots.loss_figure(run), "Local loss of each unit against the step")] if stepped else [],
        "maps": [_png(figure, f"Maps of {name}: parameters, known faults, pulses") for name, figure in maps],
    }


def _svg(figure: Figure, alt: str) -> dict[str, str]:
    # An image, not inline markup: matplotlib numbers glyphs and clip paths alike in every file, and they would collide.
    return {"alt": alt, "source": _embedded("image/svg+xml", plots.as_svg(figure))}


def _png(figure: Figure, alt: str) -> dict[str, str]:
    return {"alt": alt, "source": _embedded("image/png", plots.as_png(figure))}


def _embedded(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
