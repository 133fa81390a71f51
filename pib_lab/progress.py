"""A run as it goes on, in a terminal: a live table where there is one, plain lines where there is not."""

from __future__ import annotations

import math
import threading
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from pib_lab.events import Event, FaultsScanned, FaultsStruck, Message, StepDone
from pib_lab.records import UnitStep
from pib_lab.status import RunStatus

_REDRAWS_PER_S = 5
_PLAIN_EVERY = 0.05  # of all steps
_STYLES = {"info": "", "warning": "yellow", "error": "red"}
_STATE_STYLES = {"running": "green", "finished": "green", "paused": "yellow", "failed": "red", "aborted": "red"}


class Progress(Protocol):
    """A view to be used in a `with` block; `status` is what it knows."""

    status: RunStatus

    def show(self, event: Event) -> None:
        """Show `event`."""

    def __enter__(self) -> Self:
        """Begin to draw."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Leave the last picture standing."""


def make_progress(console: Console) -> Progress:
    """The view that suits where the output goes."""
    return LiveProgress(console) if console.is_terminal else PlainProgress(console)


class LiveProgress:
    """Redraws a table, five times a second at most, whatever the pace of the run."""

    def __init__(self, console: Console) -> None:
        self.status = RunStatus()
        self._planes: dict[str, UnitStep] = {}
        self._lock = threading.Lock()  # events come from the run's thread, redraws from rich's
        self._live = Live(
            console=console, get_renderable=self._render, refresh_per_second=_REDRAWS_PER_S, vertical_overflow="visible"
        )

    def show(self, event: Event) -> None:
        """Take note of `event`; what is worth a line of its own is printed above the table."""
        with self._lock:
            self.status.show(event)
            if isinstance(event, StepDone):
                remember_planes(self._planes, event)
        line = line_of(event)
        if line is not None:
            self._live.console.print(line)

    def __enter__(self) -> Self:
        self._live.start(refresh=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._live.stop()

    def _render(self) -> RenderableType:
        with self._lock:
            return picture(self.status, self._planes)


class PlainProgress:
    """One line every twentieth of the run, for logs: no control characters."""

    def __init__(self, console: Console) -> None:
        self.status = RunStatus()
        self._planes: dict[str, UnitStep] = {}
        self._next = 0
        self._console = console

    def show(self, event: Event) -> None:
        """Print a line when it is time for one."""
        self.status.show(event)
        line = line_of(event)
        if line is not None:
            self._print(line)
        if isinstance(event, StepDone):
            remember_planes(self._planes, event)
            total = self.status.started.total_steps if self.status.started else event.step
            if event.step >= self._next or event.step == total:
                self._next = event.step + max(1, round(_PLAIN_EVERY * total))
                self._print(Text(plain_line(self.status, self._planes)))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        return None

    def _print(self, line: Text) -> None:
        self._console.print(line, soft_wrap=True, highlight=False)


def remember_planes(planes: dict[str, UnitStep], event: StepDone) -> None:
    """Entropies are computed every few steps only: keep the latest that there are."""
    for unit in event.units:
        if not math.isnan(unit.i_xz):
            planes[unit.name] = unit


def line_of(event: Event) -> Text | None:
    """Messages and faults are worth a line of their own; None for other events."""
    match event:
        case Message():
            return Text(event.text, style=_STYLES.get(event.level, ""))
        case FaultsStruck():
            return Text(f"step {event.step}: {event.cells} cells of {event.unit} struck ({event.kind})", style="yellow")
        case FaultsScanned():
            return Text(
                f"step {event.step}: scan of {event.unit} knows {event.found} faulty cells "
                f"({event.passes} passes, {event.pulses} pulses)"
            )
        case _:
            return None


def plain_line(status: RunStatus, planes: dict[str, UnitStep]) -> str:
    """Step, time left, accuracies, and each unit's place in the information plane."""
    step, started = status.step, status.started
    if step is None or started is None:
        return status.word
    left = duration(status.remaining_s) if status.remaining_s is not None else "?"
    parts = [f"step {step.step}/{started.total_steps}", f"left {left}", f"batch {step.batch_accuracy:.1%}"]
    parts += [f"{split} {evaluated.accuracy:.1%}" for split, evaluated in status.evaluations.items()]
    parts += [f"{name} I(X;Z) {unit.i_xz:.2f} I(Z;Y) {unit.i_zy:.2f}" for name, unit in planes.items()]
    return "  ".join(parts) + f"  of {step.ceiling_bits:.2f} bits"


def picture(status: RunStatus, planes: dict[str, UnitStep]) -> RenderableType:
    """Header, bar, accuracies and a row per unit."""
    started, step = status.started, status.step
    if started is None:
        return Text("preparing: loading data, opening devices, first programming", style="dim")
    badge = (" MOCK ", "black on cyan") if started.mock else (" REAL HARDWARE ", "white on red")
    state = (status.word, _STATE_STYLES.get(status.word, ""))
    header = Text.assemble((started.run_id, "bold"), "  ", badge, "  ", state, "  ", started.dataset)
    bar = Table.grid(padding=(0, 2))
    left = f"{duration(status.remaining_s)} left" if status.remaining_s is not None else ""
    bar.add_row(
        ProgressBar(total=max(1, started.total_steps), completed=status.steps_done, width=40),
        f"step {status.steps_done}/{started.total_steps}",
        f"epoch {step.epoch}" if step else "",
        left,
    )
    accuracy = [f"batch {step.batch_accuracy:.1%}"] if step else []
    accuracy += [f"{split} {evaluated.accuracy:.1%}" for split, evaluated in status.evaluations.items()]
    numbers = Text(
        f"accuracy: {', '.join(accuracy) or '-'}   passes: {status.passes.total:,}   pulses: {status.pulses:,}"
    )
    return Group(header, bar, numbers, unit_table(status, planes))


def unit_table(status: RunStatus, planes: dict[str, UnitStep]) -> Table:
    """One row per unit: mutual information against its ceiling, loss, pulses, clipped readings."""
    ceiling = status.step.ceiling_bits if status.step else math.nan
    table = Table(box=None, padding=(0, 2, 0, 0), title_justify="left")
    table.add_column("unit")
    table.add_column("I(X;Z)", justify="right")
    table.add_column("", width=12)
    table.add_column("I(Z;Y)", justify="right")
    table.add_column("", width=12)
    table.add_column(f"of {ceiling:.2f} bits" if status.step else "bits")
    for title in ("loss", "pulses/step", "clipped"):
        table.add_column(title, justify="right")
    for unit in status.step.units if status.step else ():
        plane = planes.get(unit.name)
        table.add_row(
            unit.name,
            *(_gauge(plane.i_xz, ceiling) if plane else ("-", "")),
            *(_gauge(plane.i_zy, ceiling) if plane else ("-", "")),
            "",
            f"{unit.loss:.3f}",
            f"{unit.pulses:,}",
            f"{unit.saturated:.1%}",
        )
    return table


def _gauge(bits: float, ceiling: float) -> tuple[RenderableType, RenderableType]:
    return f"{bits:.2f}", ProgressBar(total=max(ceiling, 1e-9), completed=max(0.0, min(bits, ceiling)), width=12)


def summary(status: RunStatus) -> RenderableType:
    """How the run ended: accuracy, passes, wear, and whether every output was confirmed off."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold")
    grid.add_column()
    for split in ("test", "validation"):
        if split in status.evaluations:
            evaluated = status.evaluations[split]
            grid.add_row(f"{split} accuracy", f"{evaluated.accuracy:.2%} of {evaluated.samples:,} samples")
    passes = status.passes
    kinds = {kind: getattr(passes, kind) for kind in ("training", "verify", "scan", "calibration", "evaluation")}
    grid.add_row("passes", ", ".join(f"{kind} {count:,}" for kind, count in kinds.items() if count) or "none")
    grid.add_row("wear", _wear(status))
    if status.finished is not None:
        grid.add_row("training took", duration(status.finished.wall_s))
    if status.safe:
        grid.add_row("outputs", Group(*(safe_line(made.unit, made.not_confirmed) for made in status.safe.values())))
    mock = status.started is not None and status.started.mock
    title = f"{status.word}{' (on mocks)' if mock else ''}"
    return Panel(grid, title=title, border_style=_STATE_STYLES.get(status.word, ""), expand=False)


def safe_line(unit: str, not_confirmed: tuple[str, ...]) -> Text:
    """One unit's outputs: "off", or in red what could NOT be confirmed off."""
    if not_confirmed:
        return Text(f"{unit}: NOT confirmed off: {', '.join(not_confirmed)}", style="bold red")
    return Text(f"{unit}: off", style="green")


def _wear(status: RunStatus) -> str:
    units = status.started.units if status.started else ()
    cells = sum(math.prod(unit.parameter_shape) for unit in units)
    each = f", {status.pulses / cells:.1f} per cell" if cells else ""
    fast, slow = (duration(status.pulses * pulse_s) for pulse_s in (10e-6, 1e-3))
    return f"{status.pulses:,} pulses{each}; at 10 us a pulse {fast}, at 1 ms {slow}"


def duration(seconds: float) -> str:
    """Seconds for people: 0.4 s, 1:05 min, 2:03:04 h, 3.1 days."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}:{rest:02d} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d} h" if hours < 48 else f"{hours / 24:.1f} days"
