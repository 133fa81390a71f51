"""`emulate`: instruments that are not there, on real sockets and pseudo-terminals, with a mock chip behind them."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from pib_lab.commands.outcome import reporting
from pib_lab.errors import ConfigurationError, nearest

if TYPE_CHECKING:
    from drivers.emulators.emulate import Running

LOCAL = "127.0.0.1"
BENCH_TIP = "`pib-lab emulate bench FILE` starts several instruments that are wired to one chip"


class Emulated(StrEnum):
    """What can be emulated."""

    SMU_2400 = "smu-2400"
    SMU_2450 = "smu-2450"
    SMU_2602B = "smu-2602b"
    MATRIX_707B = "matrix-707b"
    CROSSBAR_BOARD = "crossbar-board"
    BENCH = "bench"


NAMES = "|".join(Emulated)


@reporting
def emulate(
    what: Annotated[str, typer.Argument(metavar=NAMES, help="The instrument, or a bench of several.")],
    file: Annotated[Optional[Path], typer.Argument(metavar="[FILE]", help="Of a bench: its TOML file.")] = None,  # noqa: UP045
    port: Annotated[int, typer.Option(help="TCP port; 0 takes any free one.", min=0, max=65535)] = 0,
    pty: Annotated[bool, typer.Option("--pty", help="A pseudo-terminal instead of a TCP port.")] = False,
    chip: Annotated[str, typer.Option(metavar="PROFILE", help="Device profile of the cells.")] = "chip-b",
    seed: Annotated[int, typer.Option(help="Makes the chip and its noise.", min=0)] = 0,
    control_port: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(help="Port that shows and sets the true state, in JSON lines.", min=0, max=65535),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on; by default this computer alone.")] = LOCAL,
    fast: Annotated[bool, typer.Option("--fast", help="Without the instruments' own latencies.")] = False,
    virgin: Annotated[bool, typer.Option("--virgin", help="With cells that are still to be formed.")] = False,
) -> None:
    """Emulate an instrument, or a bench of instruments wired to one chip, until Ctrl-C."""
    from drivers.emulators.emulate import start_bench, start_one
    from drivers.emulators.latency import LIKE_REAL, NONE

    latency = NONE if fast else LIKE_REAL
    known = [str(name) for name in Emulated]
    if what not in known:
        raise ConfigurationError(f"{what!r} cannot be emulated{nearest(what, known)} (known: {', '.join(known)})")
    if what == Emulated.BENCH:
        from drivers.emulators.bench_file import read_bench_file

        if file is None or pty or port:
            raise ConfigurationError("a bench needs its file, which names the ports: pib-lab emulate bench FILE")
        bench = read_bench_file(file)
        if virgin:
            bench = bench.made_virgin()
        running = start_bench(bench, host=host, control_port=control_port, latency=latency)
    else:
        if file is not None:
            raise ConfigurationError(f"{what} takes no file; {BENCH_TIP}")
        if pty and port:
            raise ConfigurationError("a pseudo-terminal has no port: leave out one of --pty and --port")
        running = start_one(
            what,
            chip,
            seed,
            port=port,
            pty=pty,
            host=host,
            control_port=control_port,
            latency=latency,
            virgin=virgin,
        )
    with running, _asked_to_end() as ended:
        _tell(running)
        ended.wait()


def _tell(running: Running) -> None:
    for name, address in running.addresses.items():
        typer.echo(f'{name}: address = "{address}"')
    if running.control_server is not None:
        typer.echo(f"control: {running.control_server.host}:{running.control_server.port}")
    typer.echo("Ctrl-C ends")


@contextlib.contextmanager
def _asked_to_end() -> Iterator[threading.Event]:
    """Set by Ctrl-C or a request to terminate, both of which end in order."""
    ended = threading.Event()
    before = {number: signal.signal(number, lambda *_: ended.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield ended
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
