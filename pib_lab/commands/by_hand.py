"""`manual`: one device of a protocol in a person's hands, message by message."""

from __future__ import annotations

import contextlib
import json
import queue
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from pib_lab.commands.outcome import INTERRUPTED, reporting
from pib_lab.commands.running import Mock, Overrides
from pib_lab.errors import ConfigurationError, PibError

if TYPE_CHECKING:
    from pib_lab.commands.interrupts import Interrupts
    from pib_lab.manual import Hands

_LINGER_S = 1.0
_WORDS = "identify, state, set NAME VALUE, on OUTPUT, off OUTPUT, measure, end"


@reporting
def manual(
    protocol: Annotated[str, typer.Argument(metavar="PROTOCOL", help="A TOML file or a shipped protocol.")],
    device: Annotated[
        Optional[str],  # noqa: UP045
        typer.Argument(metavar="DEVICE", help="Its name under [hardware]; not needed where there is only one."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder in which a folder of its own is made.")] = Path("runs"),
    overrides: Overrides = None,
    mock: Mock = False,
    traffic: Annotated[bool, typer.Option("--traffic", help="Keep what goes over the links as traffic.jsonl.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Answer each message by one JSON object.")] = False,
) -> None:
    """Take one device into your hands: identity, levels within its limits, outputs on and off, single measurements.

    Reads messages from stdin, a line each, as words or as JSON objects. The device is guarded as in a run; at the end
    of the input, on Ctrl-C, `pib-lab safe` and STOP, all outputs go off and are read back.
    """
    from pib_lab.commands.interrupts import Interrupts
    from pib_lab.manual import ManualControl, devices_of
    from pib_lab.procedure_status import ProcedureStatus
    from pib_lab.service import Service

    known = devices_of(protocol, overrides or [])
    if device is None and len(known) != 1:
        raise ConfigurationError(f"{protocol} has several devices; say which: {', '.join(known)}")
    control = ManualControl(protocol, device or known[0], overrides=overrides or [], mock=mock, traffic=traffic)
    tell = _tell_json if as_json else _tell_words
    inbox = _Inbox()
    hands: Hands | None = None
    with Interrupts() as interrupts:
        folder = control.new_folder(out)
        try:
            service = Service(folder, inbox, status=ProcedureStatus(), verbs=("abort", "safe"))
            with service, _lingering(inbox), control.opened(folder, service.show) as hands:
                opened = {
                    "did": "open",
                    "ok": True,
                    "folder": str(folder),
                    "device": control.name,
                    "mock": control.mock,
                }
                tell(opened | {"identity": hands.manual.identity(), **hands.state()})
                inbox.listen()
                _obey(inbox, hands, tell, interrupts)
        except PibError as problem:
            tell(_ended(hands) | {"ok": False, "error": str(problem)})
            raise
        finally:
            with contextlib.suppress(OSError):  # it holds what was done
                folder.rmdir()
    tell(_ended(hands))
    if inbox.interrupted:
        raise typer.Exit(INTERRUPTED)


class _Inbox:
    """Messages from stdin and commands from the endpoint, for one loop. A command to stop overtakes what waits."""

    def __init__(self) -> None:
        self.stopped = threading.Event()
        self.interrupted = False
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def post(self, verb: str) -> None:
        """From the service's thread: "abort" or "safe"."""
        self.stopped.set()
        self._lines.put(None)

    def listen(self) -> None:
        """Read stdin from now on; after its end there is nothing more to do."""
        threading.Thread(target=self._read, name="stdin", daemon=True).start()

    def next(self) -> str | None:
        """The next line, once there is one; None to stop."""
        line = self._lines.get()
        return None if self.stopped.is_set() else line

    def _read(self) -> None:
        for line in sys.stdin:
            self._lines.put(line)
        self._lines.put(None)


@contextlib.contextmanager
def _lingering(inbox: _Inbox) -> Iterator[None]:
    """Whoever has asked to stop may ask next what became of it: outputs are off, and the endpoint stays a moment."""
    try:
        yield
    finally:
        if inbox.stopped.is_set():
            time.sleep(_LINGER_S)


def _obey(inbox: _Inbox, hands: Hands, tell: Any, interrupts: Interrupts) -> None:
    """Do as the lines say, until told to end. What comes after the first Ctrl-C no longer interrupts."""
    try:
        while (line := inbox.next()) is not None:
            try:
                message = _message(line)
            except ConfigurationError as problem:
                tell({"did": None, "ok": False, "error": str(problem)})
                continue
            if message == {"do": "end"}:
                break
            if message:
                tell(hands.answer(message))
    except KeyboardInterrupt:
        inbox.interrupted = True
    interrupts.ignore()


def _message(line: str) -> dict[str, Any]:
    """A JSON object, or words; {} for an empty line. Raises ConfigurationError."""
    if line.lstrip().startswith("{"):
        try:
            return dict(json.loads(line))
        except ValueError as error:
            raise ConfigurationError(f"{line.strip()[:80]}: is not a JSON object ({error})") from None
    match line.split():
        case []:
            return {}
        case ["set", name, value]:
            try:
                return {"do": "set", "name": name, "value": float(value)}
            except ValueError:
                return {"do": "set", "name": name, "value": value}
        case ["on" | "off" as state, output]:
            return {"do": "switch", "output": output, "on": state == "on"}
        case ["identify" | "state" | "measure" | "end" as word]:
            return {"do": word}
    raise ConfigurationError(f"{line.strip()[:80]!r} is no command (known: {_WORDS})")


def _ended(hands: Hands | None) -> dict[str, Any]:
    report = hands.report if hands is not None else None
    if report is None:  # it was never open
        return {"did": "end", "ok": True, "safe": None}
    outputs = {"confirmed": report.confirmed, "not_confirmed": report.not_confirmed, "detail": report.detail}
    return {"did": "end", "ok": True, "safe": report.safe, **outputs}


def _tell_json(answer: dict[str, Any]) -> None:
    with contextlib.suppress(BrokenPipeError):  # nobody listens any more: the end of stdin says so too
        typer.echo(json.dumps(answer))


def _tell_words(answer: dict[str, Any]) -> None:
    for part, name in answer.get("identity", {}).items():
        typer.echo(f"{part}: {name}")
    for control in answer.get("controls", ()):
        bounds = ", ".join(control["choices"]) or f"{control['low']:g} to {control['high']:g} {control['unit']}".strip()
        value = control["value"] if isinstance(control["value"], str) else f"{control['value']:g}"
        typer.echo(f"  {control['name']} = {value}  ({bounds}; {control['help']})")
    for output, on in answer.get("outputs", {}).items():
        typer.echo(f"  {output}: {'ON' if on else 'off'}")
    for reading in answer.get("readings", ()):
        note = f"  ({reading['note']})" if reading["note"] else ""
        typer.echo(f"{reading['name']}: {reading['value']:.6g} {reading['unit']}{note}")
    if answer["did"] == "open":
        typer.echo(f"commands: {_WORDS}")
    if answer["did"] == "end" and answer["safe"] is not None:
        typer.echo("all outputs were read back off" if answer["safe"] else "outputs were NOT confirmed off")
    elif answer["did"] != "end" and answer.get("error"):
        typer.secho(answer["error"], fg=typer.colors.RED)
