"""Bring-up on the command line: `run` with a procedure's protocol, `passport`, and `profile fit`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from pib_lab.commands.outcome import INTERRUPTED, reporting, tell_error
from pib_lab.errors import ConfigurationError, DeviceError, RunFileError

if TYPE_CHECKING:
    from data.passport import Entry
    from pib_lab.bring_up import BringUp, Outcome
    from pib_lab.commands.interrupts import Interrupts
    from pib_lab.findings import Check
    from pib_lab.unit import SafeReport

CHIP_FAILED = 5
"""Exit code of a procedure that ran as it should and found that the chip is not good."""

_STYLES = {"pass": "green", "fail": "bold red", "incomplete": "yellow"}

# Typer reads these at run time, and older versions of it know Optional only.
PassportDir = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(help="Folder of the chips' passports (default: the user's data folder)."),
]


def is_procedure(protocol: str) -> bool:
    """Whether a protocol brings a chip up instead of training; one that is not found does not: the lab says so."""
    import protocols
    from pib_lab import procedure

    try:
        return procedure.is_procedure(protocols.read(protocol)[1])
    except ConfigurationError:
        return False


def procedure_of(folder: Path, run: str, overrides: list[str]) -> BringUp | None:
    """The procedure of a folder or of a protocol, for its devices to be made safe; None for what is a training.

    Raises ConfigurationError and LimitError as overriding does.
    """
    import protocols

    named = str(folder / "protocol.toml") if folder.is_dir() else run
    if not is_procedure(named):
        return None
    from pib_lab.bring_up import BringUp, load

    if folder.is_dir():
        return BringUp(protocols.read(named)[1], mock=_was_mock(folder))
    return BringUp(load(run, overrides, None))


def _was_mock(folder: Path) -> bool:
    """Whether a procedure ran on a mock; of one that has left no record nobody knows: then its device is commanded."""
    from data.procedure_record import read_record

    try:
        return read_record(folder).mock
    except RunFileError:
        return False


def run_procedure(
    interrupts: Interrupts,
    protocol: str,
    out: Path,
    seed: int | None,
    overrides: list[str],
    mock: bool,
    wear_dir: Path | None,
    passport_dir: Path | None,
    as_json: bool,
    traffic: bool,
) -> int:
    """Run it, show progress and what was found; returns the exit code. Raises PibError for what never began."""
    from pib_lab.bring_up import BringUp, load
    from pib_lab.commands.procedure_bar import ProcedureBar
    from pib_lab.commands.running import tell_traffic_failure
    from pib_lab.commands.tables import make_console
    from pib_lab.control import Commands
    from pib_lab.procedure_status import ProcedureStatus
    from pib_lab.service import Service

    class StopsBetweenCells(Commands):
        """A procedure looks for a stop between cells, so it is told at once."""

        def post(self, verb: str) -> None:
            super().post(verb)
            self.cancel.cancel()

    job = BringUp(
        load(protocol, overrides, seed, mock), mock=mock, passport_dir=passport_dir, wear_dir=wear_dir, traffic=traffic
    )
    console = make_console(stderr=as_json)
    commands = interrupts.commands = StopsBetweenCells()

    def watched(folder: Path) -> Service:
        return Service(folder, commands, status=ProcedureStatus(), verbs=("abort", "safe"))

    with ProcedureBar(console, job.protocol.name) as bar:
        try:
            outcome = job.run(out, bar.show, commands.cancel, watched)
        except KeyboardInterrupt:
            interrupts.ignore()
            return _interrupted(job.report)
    tell_traffic_failure(job.traffic_failure)
    _show(outcome, as_json)
    return _exit_code(outcome)


def check_procedure(job: BringUp, as_json: bool) -> None:
    """Show the strongest that it will do, beside the limits. Raises what `BringUp.check` raises; as JSON, before that
    nothing is printed."""
    planned, named = job.planned(), job.protocol.procedure.name
    if not as_json:
        for extreme, limits in planned:
            typer.echo(extreme.told(limits))
    job.check()
    if not as_json:
        typer.echo(f"{job.protocol.name}: the protocol of the procedure {named} is in order")
        return
    acts = [extreme.as_record(limits) for extreme, limits in planned]
    typer.echo(json.dumps({"protocol": job.protocol.name, "procedure": named, "mock": job.mock, "acts": acts}))


def _interrupted(report: SafeReport | None) -> int:
    """After the second Ctrl-C: what was switched off on the way out, and whether that was confirmed."""
    from pib_lab.commands.running import show_safe

    if report is None:
        tell_error("interrupted before anything was switched on")
    elif show_safe([report]):
        tell_error("interrupted; outputs are off; nothing was recorded")
    else:
        tell_error("interrupted; outputs were NOT confirmed off: look at the devices")
        return DeviceError.exit_code
    return INTERRUPTED


def _show(outcome: Outcome, as_json: bool) -> None:
    from rich.text import Text

    from data.bringup_summary import SUMMARY
    from data.procedure_record import check_to
    from pib_lab.commands.tables import make_console, table

    record = outcome.record
    console = make_console(stderr=as_json)
    console.print(table(("check", "verdict", "found", "limits", ""), [_row(check) for check in record.checks]))
    kind = f"mock {record.subject}" if record.mock else record.subject
    line = f"{kind} {record.serial}: {record.procedure} {record.verdict.value}"
    if record.subject == "chip":
        line += f", {record.pulses} pulses"
    if record.not_tested:
        line += f"; not tested: {', '.join(record.not_tested)}"
    console.print(Text(line, style=_STYLES[record.verdict.value]))
    console.print(f"summary:  {outcome.folder / SUMMARY}", soft_wrap=True, highlight=False, markup=False)
    console.print(f"passport: {outcome.passport}", soft_wrap=True, highlight=False, markup=False)
    if record.error:
        tell_error(record.error)
    if as_json:
        result: dict[str, Any] = {
            "run": str(outcome.folder),
            "status": record.status,
            "verdict": record.verdict.value,
            "not_tested": list(record.not_tested),
            "checks": [check_to(check) for check in record.checks],
            "pulses": record.pulses,
            "passport": str(outcome.passport),
            "safe": not record.not_confirmed,
        }
        typer.echo(json.dumps(result | ({"error": record.error} if record.error else {})))


def _exit_code(outcome: Outcome) -> int:
    if outcome.record.not_confirmed:
        return DeviceError.exit_code
    if outcome.error is not None:
        return outcome.error.exit_code
    return CHIP_FAILED if outcome.record.verdict.value == "fail" else 0


def _row(check: Check) -> tuple[str, str, str, str, str]:
    from data.bringup_summary import shown

    return check.name, check.verdict.value, shown(check.numbers), shown(check.limits), check.detail


@reporting
def passport(
    chip: Annotated[
        Optional[str],  # noqa: UP045
        typer.Argument(metavar="CHIP", help="The chip's serial number; left out: all chips with a passport."),
    ] = None,
    mock: Annotated[bool, typer.Option("--mock", help="Passports of mock chips.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="All entries, not only the newest of each.")] = False,
    passport_dir: PassportDir = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the passport as JSON.")] = False,
) -> None:
    """Show what a chip has passed and failed; the exit code is 5 when its newest checks hold a failure."""
    from data.passport import Passport, known_chips
    from pib_lab.commands.tables import make_console, table
    from pib_lab.errors import nearest
    from pib_lab.findings import Verdict

    known = known_chips(passport_dir, mock)
    if chip is None:
        for serial in known:
            typer.echo(serial)
        return
    held = Passport(chip, passport_dir, mock=mock)
    entries = held.entries()
    if not entries:
        raise ConfigurationError(f"chip {chip!r} has no passport{nearest(chip, known)} (known: {', '.join(known)})")
    if as_json:
        typer.echo(held.path.read_text(encoding="utf-8"))
    else:
        shown = entries if everything else list(held.latest().values())
        titles = ("date", "procedure", "array", "verdict", "by", "what failed or was not tested")
        make_console().print(table(titles, [_entry_row(entry) for entry in shown]))
        typer.echo(f"passport: {held.path}")
    if any(entry.verdict is Verdict.FAIL for entry in held.latest().values()):
        raise typer.Exit(CHIP_FAILED)


def _entry_row(entry: Entry) -> tuple[str, ...]:
    open_checks = [f"{check.name}: {check.detail}" for check in entry.checks if check.verdict.value != "pass"]
    rows, columns = entry.array
    why = "; ".join([entry.error] if entry.error else open_checks)
    return entry.date, entry.procedure, f"{rows} x {columns}", entry.verdict.value, entry.who, why


profile = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Device profiles of the mock chip.")


@profile.callback()
def _profile() -> None:
    """Device profiles of the mock chip."""


@profile.command("fit")
@reporting
def fit(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a pulse-response run.")],
    base: Annotated[str, typer.Option(help="Profile whose other numbers are kept.")] = "chip-b",
    out: Annotated[Optional[Path], typer.Option(help="The TOML file (default: fitted.toml in RUN).")] = None,  # noqa: UP045
) -> None:
    """Fit a device profile for the mock to a measured pulse response; residuals are shown and plotted."""
    from data.bringup_plots import write_fit_plot
    from data.procedure_record import read_record
    from data.profile_file import fitted_entries, write_profile
    from data.profile_fit import fit_record
    from drivers.chip.profiles import load_profile, read_entries
    from pib_lab.commands.tables import make_console, table

    entries = {key: (entry.value, entry.source) for key, entry in read_entries(base).items()}
    record = read_record(run)
    fitted = fit_record(record)
    path = out if out is not None else run / "fitted.toml"
    if path.suffix != ".toml":
        raise ConfigurationError(f"--out {path}: a profile is a .toml file")
    new = fitted_entries(fitted, record, run.resolve().name, entries, base)
    write_profile(path, f"Fitted to chip {record.serial}", new, fitted)
    load_profile(str(path))
    picture = path.with_suffix(".png")
    write_fit_plot(fitted, picture)
    rows = [(key, f"{item.value:.4g}", f"{item.error:.2g}") for key, item in fitted.numbers.items()]
    make_console().print(table(("number", "fitted", "+-"), rows))
    largest = float(abs(fitted.measured - fitted.model).max())
    typer.echo(
        f"{fitted.cells} cells, {fitted.left_out} left out; residual {fitted.residual_siemens * 1e6:.3g} uS rms, "
        f"{largest * 1e6:.3g} uS at most"
    )
    for note in fitted.notes:
        typer.echo(f"note: {note}")
    typer.echo(f"profile: {path}\nplot:    {picture}")
