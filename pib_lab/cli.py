"""The command line: `pib-lab COMMAND`. Commands are in `pib_lab.commands`; this is their list."""

from __future__ import annotations

from typing import Annotated

import typer

from pib_lab._version import __version__
from pib_lab.commands import bringing_up, by_hand, desktop, emulating, live, making_safe, recorded, running, wearing


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"pib-lab {__version__}")
        raise typer.Exit


def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Train deep physical neural networks on real instruments with the physical information bottleneck."""


# Without rich's help pages: they alone cost a tenth of a second.
app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=True)
app.callback()(_common)
for _function in (
    running.run,
    running.check,
    recorded.report,
    recorded.export,
    live.status,
    live.pause,
    live.resume,
    live.abort,
    making_safe.safe,
    live.attach,
    wearing.wear,
    emulating.emulate,
    bringing_up.passport,
    by_hand.manual,
    desktop.gui,
):
    app.command()(_function)
app.command("list")(recorded.list_)
app.add_typer(bringing_up.profile, name="profile")


def main() -> None:
    """Entry point of the `pib-lab` program."""
    app(prog_name="pib-lab")


if __name__ == "__main__":
    main()
