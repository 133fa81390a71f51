"""Runs that hold devices: asked to make them safe, ended when they do not, and waited for until they let go."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from pib_lab.commands.outcome import tell_error
from pib_lab.endpoint import Endpoint, read_endpoint
from pib_lab.errors import LinkError

if TYPE_CHECKING:
    from drivers.wire.ownership import Claims, Owner
    from pib_lab.events import Event
    from pib_lab.procedure_events import ProcedureEvent
    from pib_lab.unit import SafeReport

_LOOK_S = 0.02


def ask_run(folder: Path, timeout_s: float, pid: int | None = None) -> list[SafeReport] | None:
    """Ask the live run in `folder` to make safe: its reports, once all its units were read back off.

    One that does not confirm all of them within timeout_s is ended. None then, and when no run is live there. pid: of
    the run that is meant; that of another one is left alone. Raises LinkError when it cannot be ended.
    """
    try:
        endpoint = read_endpoint(folder)
    except LinkError:
        return None
    if not endpoint.alive or (pid is not None and endpoint.pid != pid):
        return None
    asked: dict[str, SafeReport] = {}
    if _made_safe(folder, timeout_s, asked):
        return list(asked.values())
    # A run that was asked in vain may be on its way out: its links are free when it has gone.
    tell_error(f"the run has not confirmed all outputs off; ending process {endpoint.pid} and commanding the devices")
    _end(endpoint, timeout_s)
    return None


def take_over(claims: Claims, addresses: Iterable[str], timeout_s: float) -> dict[str, str]:
    """Claim every address, also from runs that hold one; by address, why it could not be had.

    timeout_s: for each of the steps: a run's own making safe, its end, and then that of its guardian.
    """
    why: dict[str, str] = {}
    stubborn: dict[int, str] = {}
    for address in dict.fromkeys(addresses):
        owner = claims.take(address)
        if owner is None:
            continue
        if owner.pid not in stubborn:
            problem = _take_from(claims, address, owner, timeout_s)
            if not problem:
                continue
            stubborn[owner.pid] = problem
        why[address] = stubborn[owner.pid]
    return why


def _take_from(claims: Claims, address: str, owner: Owner, timeout_s: float) -> str:
    """End the owner's hold on an address; why that could not be done, or "" when it is ours."""
    who = f"process {owner.pid or 'unknown'}" + (f", the run {owner.folder}" if owner.folder is not None else "")
    if owner.pid == os.getpid():
        return f"in use by {who}, which asks for it"
    typer.echo(f"{address} is in use by {who}", err=True)
    process = Endpoint(0, "", owner.pid, owner.birth)
    try:
        if owner.folder is not None and process.alive:  # what is no run is another `pib-lab safe`: it ends by itself
            asked = ask_run(owner.folder, timeout_s, owner.pid)
            if asked is not None and _free(claims, address, timeout_s):
                return ""
            if process.alive:
                tell_error(f"it does not let go of its devices; ending process {owner.pid}")
                _end(process, timeout_s)
    except LinkError as problem:
        return f"in use by {who}; {problem}"
    if _free(claims, address, timeout_s):
        return ""
    return f"in use by {who}, or by its guardian"


def _free(claims: Claims, address: str, timeout_s: float) -> bool:
    """Wait until an address can be claimed; a guardian holds it until it has switched everything off."""
    deadline_s = time.monotonic() + timeout_s
    while claims.take(address) is not None:
        if time.monotonic() > deadline_s:
            return False
        time.sleep(_LOOK_S)
    return True


def _made_safe(folder: Path, timeout_s: float, reports: dict[str, SafeReport]) -> bool:
    """Ask the live run; True once it has confirmed every one of its units off. `reports`: what it said, by unit."""
    from pib_lab.client import Client
    from pib_lab.commands.tables import make_console
    from pib_lab.events import MadeSafe, RunStarted
    from pib_lab.procedure_events import ProcedureStarted
    from pib_lab.progress import safe_line
    from pib_lab.unit import SafeReport

    console = make_console()
    units: set[str] | None = None
    confirmed: set[str] = set()
    try:
        with Client(folder, timeout_s=timeout_s) as client:
            client.attach()
            events: Iterator[Event | ProcedureEvent] = (
                client.procedure_events(timeout_s=timeout_s)
                if "procedure" in client.send("safe")
                else client.events(timeout_s=timeout_s)
            )
            for event in events:
                if isinstance(event, RunStarted):
                    units = {unit.name for unit in event.units}
                elif isinstance(event, ProcedureStarted):
                    units = {event.device}
                elif isinstance(event, MadeSafe):
                    console.print(safe_line(event.unit, event.not_confirmed))
                    made = SafeReport(event.unit, event.confirmed, event.not_confirmed, event.detail)
                    reports[event.unit] = made
                    if not event.not_confirmed:
                        confirmed.add(event.unit)
                if units is not None and confirmed >= units:
                    return True
    except LinkError as error:
        tell_error(str(error))
    return False


def _end(process: Endpoint, timeout_s: float) -> None:
    """End a process, so that its links are free. Raises LinkError when it does not end."""
    process.end_process()
    deadline_s = time.monotonic() + timeout_s
    while process.alive:
        if time.monotonic() > deadline_s:
            raise LinkError(f"process {process.pid} does not end; switch the devices off by hand")
        time.sleep(_LOOK_S)
