"""`gui`: the desktop, imported only when it is wanted."""

from __future__ import annotations

import importlib
import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Optional

import typer

from pib_lab.commands.outcome import reporting
from pib_lab.errors import ConfigurationError

_DISPLAYS = ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")


class ThemeName(StrEnum):
    """What `--theme` may be."""

    DARK = "dark"
    LIGHT = "light"


@reporting
def gui(
    what: Annotated[
        Optional[str],  # noqa: UP045
        typer.Argument(metavar="PROTOCOL|RUN", help="A protocol to start, or the folder of a run to look at."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the runs.")] = Path("runs"),
    theme: Annotated[Optional[ThemeName], typer.Option(help="Colours (default: those of the last time).")] = None,  # noqa: UP045
) -> None:
    """Open the desktop: start, watch and stop runs in a window."""
    # By name: the window is above the commands in the order of layers, and this is the only door to it.
    try:
        app = importlib.import_module("gui.app")
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in {"PySide6", "shiboken6", "pyqtgraph", "superqt"}:
            raise
        raise ConfigurationError(f"the desktop needs {error.name}: pip install 'pib-lab[gui]'") from error
    if sys.platform == "linux" and not any(os.environ.get(name) for name in _DISPLAYS):
        raise ConfigurationError("there is no screen here (DISPLAY is not set): log in on a desktop, or use ssh -X")
    raise typer.Exit(app.main(what, out, theme.value if theme is not None else None))
