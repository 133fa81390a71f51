"""`run` and `check`: what starts from a protocol."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from pib_lab.commands.bringing_up import PassportDir, check_procedure, is_procedure, run_procedure
from pib_lab.commands.outcome import DEFECT, INTERRUPTED, log_crash, reporting, tell_error
from pib_lab.commands.wearing import WearDir
from pib_lab.errors import ConfigurationError, DeviceError, PibError, RunFileError

if TYPE_CHECKING:
    from rich.console import Console

    from pib_lab.commands.interrupts import Interrupts
    from pib_lab.lab import Lab, Run
    from pib_lab.progress import Progress
    from pib_lab.unit import SafeReport

# Typer reads these at run time, and older versions of it know Optional only.
Seed = Annotated[Optional[int], typer.Option(help="Seed, in the place of the protocol's.", min=0)]  # noqa: UP045
Overrides = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option("--set", metavar="KEY.PATH=VALUE", help="Override a key of the protocol; may be given several times."),
]
Mock = Annotated[bool, typer.Option("--mock", help="Use mocks in the place of all devices.")]
DataDir = Annotated[Optional[Path], typer.Option(help="Folder with data sets (default: PIB_LAB_DATA).")]  # noqa: UP045
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line of stdout.")]


@reporting
def run(
    protocol: Annotated[
        Optional[str],  # noqa: UP045
        typer.Argument(metavar="PROTOCOL|NAME", help="A TOML file or a shipped protocol; not needed with --resume."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder in which the run's own folder is made.")] = Path("runs"),
    seed: Seed = None,
    overrides: Overrides = None,
    resume: Annotated[Optional[Path], typer.Option(help="Go on with this stopped or killed run.")] = None,  # noqa: UP045
    mock: Mock = False,
    data_dir: DataDir = None,
    wear_dir: WearDir = None,
    passport_dir: PassportDir = None,
    as_json: AsJson = False,
    report: Annotated[bool, typer.Option(help="Write the HTML report at the end.")] = True,
    traffic: Annotated[
        bool, typer.Option("--traffic", help="Keep what goes over the links in the run's folder, as traffic.jsonl.")
    ] = False,
) -> None:
    """Train a network, or bring a chip up, as a protocol says, and record it."""
    from pib_lab.commands.interrupts import Interrupts

    job = _Job()
    with Interrupts() as interrupts:
        try:
            if (protocol is None) == (resume is None):
                raise ConfigurationError("say what to run: a protocol (`pib-lab list protocols`) or --resume RUN")
            if resume is not None and (seed is not None or overrides or mock):
                raise ConfigurationError("--resume goes on with the run as it was: leave out --seed, --set and --mock")
            if protocol is not None and is_procedure(protocol):
                code = run_procedure(
                    interrupts, protocol, out, seed, overrides or [], mock, wear_dir, passport_dir, as_json, traffic
                )
                raise typer.Exit(code)
            job.train(
                interrupts, protocol, out, seed, overrides or [], resume, mock, data_dir, wear_dir, as_json, traffic
            )
        except typer.Exit:
            raise
        except KeyboardInterrupt:
            interrupts.ignore()
            job.stop_at_once()
        except PibError as error:
            job.fail(str(error), error.exit_code)
        except Exception as error:  # so that --json keeps its promise, and the traceback goes to the run's folder
            if interrupts.count:  # some imports turn KeyboardInterrupt into an error of their own
                job.stop_at_once()
            else:
                job.fail(log_crash(error, job.existing_folder()), DEFECT)
        interrupts.ignore()
        if report:
            job.write_report()
        job.tidy()
    if as_json:
        typer.echo(json.dumps(job.result))
    raise typer.Exit(job.code)


@reporting
def check(
    protocol: Annotated[str, typer.Argument(metavar="PROTOCOL|NAME", help="A TOML file or a shipped protocol.")],
    seed: Seed = None,
    overrides: Overrides = None,
    mock: Mock = False,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Dry run: limits, passes, pulses, times and wear. Touches no device."""
    from pib_lab import lab
    from pib_lab.commands.tables import dry_run_tables, make_console

    if is_procedure(protocol):
        from pib_lab.bring_up import BringUp, load

        job = BringUp(load(protocol, overrides or [], seed, mock), mock=mock)
        check_procedure(job, as_json)
        return

    opened = lab.open(protocol, seed=seed, overrides=overrides or [], mock=mock, data_dir=data_dir)
    dry = opened.check()
    if as_json:
        typer.echo(json.dumps(dataclasses.asdict(dry) | {"mock": opened.mock}))
        return
    make_console().print(dry_run_tables(dry))


class _Job:
    """One `run` command: what is known about its run so far, and how it ends."""

    def __init__(self) -> None:
        self.code = 0
        self.folder: Path | None = None
        self.result: dict[str, Any] = {
            "run": None,
            "status": "failed",
            "metrics": {},
            "passes": {},
            "pulses": 0,
            "wall_s": 0.0,
        }
        self._lab: Lab | None = None
        self._console: Console | None = None

    def train(
        self,
        interrupts: Interrupts,
        protocol: str | None,
        out: Path,
        seed: int | None,
        overrides: list[str],
        resume: Path | None,
        mock: bool,
        data_dir: Path | None,
        wear_dir: Path | None,
        as_json: bool,
        traffic: bool,
    ) -> None:
        """Open the lab, train, and tell how it went."""
        from pib_lab.commands.tables import make_console

        console = self._console = make_console(stderr=as_json)
        console.print(f"preparing {resume or protocol}", style="dim", soft_wrap=True, highlight=False)
        if (out / "run.h5").exists():
            raise RunFileError(f"--out {out} is a run itself: name the folder that holds runs, or --resume {out}")
        from pib_lab import lab
        from pib_lab.control import Commands
        from pib_lab.progress import make_progress, summary
        from pib_lab.service import Service

        if resume is not None:
            self._lab = lab.reopen(resume, data_dir=data_dir, wear_dir=wear_dir)
        else:
            assert protocol is not None
            self._lab = lab.open(
                protocol, seed=seed, overrides=overrides, mock=mock, data_dir=data_dir, wear_dir=wear_dir
            )
        commands = interrupts.commands = Commands()
        with contextlib.ExitStack() as stack:
            progress: Progress = stack.enter_context(make_progress(console))

            def on_folder(folder: Path) -> list[Service]:
                self.folder = folder
                return [stack.enter_context(Service(folder, commands))]

            done = self._lab.train(
                out, views=[progress], commands=commands, resume=resume, on_folder=on_folder, traffic=traffic
            )
        if progress.status.finished is not None:
            console.print(summary(progress.status))
        self._take(done)

    def _take(self, done: Run) -> None:
        self.folder = done.folder
        self.result |= {
            "run": str(done.folder),
            "status": done.status,
            "metrics": {key: value if math.isfinite(value) else None for key, value in done.metrics.items()},
            "passes": dataclasses.asdict(done.passes) | {"total": done.passes.total},
            "pulses": done.pulses,
            "wall_s": round(done.wall_s, 3),
            "safe": done.safe,
            "confirmed_by": done.confirmed_by,
        }
        tell_traffic_failure(done.traffic_failure)
        if done.confirmed_by:
            reason = f"{done.error}; " if done.error is not None else ""
            self.fail(
                f"{reason}the run did not confirm all outputs off at first; {done.confirmed_by} has then read back all "
                "of them off",
                DeviceError.exit_code,
            )
        elif not done.safe:
            advice = f"look at the devices, then `pib-lab safe {done.folder}`"
            reason = f"{done.error}; " if done.error is not None else ""
            self.fail(f"{reason}outputs were NOT confirmed off: {advice}", DeviceError.exit_code)
        elif done.error is not None:
            self.fail(str(done.error), done.error.exit_code)
        elif done.status != "finished":
            self.code = INTERRUPTED
        self._line(f"run file: {done.folder / 'run.h5'}")

    def fail(self, message: str, code: int) -> None:
        """The run ended for a reason that its user must read."""
        self.code = code
        self.result |= {"error": message}
        if code == INTERRUPTED:
            self.result["status"] = "aborted"
        tell_error(message)

    def stop_at_once(self) -> None:
        """After the second Ctrl-C: whatever the run left on is switched off here."""
        self.code = INTERRUPTED
        self.result |= {"status": "aborted", "error": "interrupted"}
        if self._lab is None:
            tell_error("interrupted before anything was switched on")
            return
        reports = self._lab.make_safe()
        if show_safe(reports):
            tell_error("interrupted; outputs are off")
        else:
            self.fail("interrupted; outputs were NOT confirmed off: look at the devices", DeviceError.exit_code)

    def existing_folder(self) -> Path:
        """Where a crash is logged."""
        return self.folder if self.folder is not None and self.folder.is_dir() else Path.cwd()

    def write_report(self) -> None:
        """Write the report of whatever was recorded; a report that fails does not fail the run."""
        if self.folder is None or not (self.folder / "run.h5").is_file():
            return
        self.result["run"] = str(self.folder)
        from data.report import write_report

        try:
            path = write_report(self.folder)
        except Exception as error:  # the run and its file are complete: a plot that fails must not cost them
            tell_error(f"no report was written: {error}; try `pib-lab report {self.folder}`")
            return
        self.result["report"] = str(path)
        self._line(f"report:   {path}")

    def tidy(self) -> None:
        """Take away the folder of a run that never began."""
        if self.folder is not None:
            with contextlib.suppress(OSError):  # it holds something, or is gone
                self.folder.rmdir()

    def _line(self, text: str) -> None:
        if self._console is not None:
            self._console.print(text, soft_wrap=True, highlight=False, markup=False)


def tell_traffic_failure(why: str) -> None:
    """A record of the links that ended early is no error of the run, but must not be taken for a whole one."""
    if why:
        tell_error(f"what went over the links is not kept to the end: {why}")


def show_safe(reports: list[SafeReport]) -> bool:
    """A line per unit on stderr; True when every output was confirmed off."""
    from pib_lab.commands.tables import make_console
    from pib_lab.progress import safe_line

    console = make_console(stderr=True)
    for report in reports:
        console.print(safe_line(report.unit, report.not_confirmed))
    return all(report.safe for report in reports)
