"""From exceptions to messages and exit codes: 0 finished, 2 bad input, 3 device or connection, 4 refused by a limit,
130 interrupted and made safe, 1 a defect of this program."""

from __future__ import annotations

import functools
import traceback
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import ParamSpec, TypeVar

import typer

from pib_lab.errors import PibError

INTERRUPTED = 130
DEFECT = 1

P = ParamSpec("P")
R = TypeVar("R")


def tell_error(text: str) -> None:
    """One red message on stderr."""
    typer.secho(f"error: {text}", fg=typer.colors.RED, err=True)


def log_crash(error: BaseException, folder: Path) -> str:
    """Keep the traceback of an unexpected exception in a file in `folder`; the short message to show instead."""
    path = folder / f"pib-lab-crash-{datetime.now():%Y%m%d-%H%M%S}.log"
    text = "".join(traceback.format_exception(error))
    short = f"{type(error).__name__}: {error}\nThis is a defect of pib-lab, not of your input."
    try:
        path.write_text(text, encoding="utf-8")
    except OSError:  # nowhere to keep it: then it is shown after all
        return f"{short}\n{text}"
    return f"{short} Please report it with {path}"


def reporting(command: Callable[P, R]) -> Callable[P, R]:
    """Let `command` end with a message and an exit code, never with a traceback."""

    @functools.wraps(command)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except (typer.Exit, BrokenPipeError):  # the reader of a pipe that has seen enough is no error
            raise
        except KeyboardInterrupt:
            tell_error("interrupted")
            raise typer.Exit(INTERRUPTED) from None
        except PibError as error:
            tell_error(str(error))
            raise typer.Exit(error.exit_code) from None
        except Exception as error:  # the last resort, so that a user never meets a traceback
            tell_error(log_crash(error, Path.cwd()))
            raise typer.Exit(DEFECT) from None

    return guarded
