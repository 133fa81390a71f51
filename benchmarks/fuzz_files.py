"""Parsers of files, of what operators type, of the guardian's lines, of events. What each promises to raise is
caught."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

import protocols
from benchmarks.fuzz_emulators import Feed, Make, always
from data.passport import Passport
from data.wear_ledger import FILE, WearLedger
from drivers.safe.commands import SafeAction
from drivers.safe.guardian_process import _Guardian
from drivers.safe.recipes import keithley_2400, keithley_2600
from pib_lab.errors import PibError


def text_parser(parse: Callable[[str], object]) -> Make:
    def feed(data: bytes) -> None:
        with contextlib.suppress(PibError):
            parse(data.decode("utf-8", "replace"))

    return always(feed)


def bytes_parser(parse: Callable[[bytes], object]) -> Make:
    def feed(data: bytes) -> None:
        with contextlib.suppress(PibError):
            parse(data)

    return always(feed)


def file_parser(name: str, read: Callable[[Path], object]) -> Make:
    """A file of that name with these bytes."""

    @contextmanager
    def make() -> Iterator[Feed]:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / name
            path.parent.mkdir(exist_ok=True, parents=True)

            def feed(data: bytes) -> None:
                path.write_bytes(data)
                with contextlib.suppress(PibError):
                    read(path)

            yield feed

    return make


def read_passport(path: Path) -> None:
    with contextlib.suppress(PibError):
        Passport(path.stem, path.parent).entries()
    Passport(path.stem, path.parent).stored(8, 8)


def ledger_bytes() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        ledger = WearLedger(Path(folder))
        session = ledger.begin("chip", "run", {"array 0": np.ones((4, 4), np.bool_)}, 10)
        ledger.add("chip", session, {"array 0": np.ones((4, 4), np.int32)})
        return (Path(folder) / "chip" / FILE).read_bytes()


def ledger_facts() -> bytes:
    with np.load(BytesIO(ledger_bytes())) as file:
        return bytes(file["facts"])


def read_ledger(path: Path) -> None:
    WearLedger(path.parent.parent).read("chip")


def read_ledger_facts(path: Path) -> None:
    """The same file with other facts in it."""
    facts = path.read_bytes()
    with np.load(BytesIO(_LEDGER)) as file:
        content = dict(file)
    with path.open("wb") as new:
        np.savez(new, **(content | {"facts": np.frombuffer(facts, np.uint8)}))
    read_ledger(path)


@contextmanager
def guardian_told() -> Iterator[Feed]:
    """One line to a guardian that knows of no device yet; its answers go nowhere."""
    kept = os.dup(1), os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    try:
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            yield lambda data: _hear(data.replace(b"\n", b" "))
    finally:
        for number, copy in zip((1, 2), kept, strict=True):
            os.dup2(copy, number)
            os.close(copy)
        os.close(nowhere)


def _hear(line: bytes) -> None:
    guardian = _Guardian()
    guardian.hear(line)
    if not guardian._actions and not str(guardian._record).startswith(("/", "..")):
        guardian.act("to see whether it still can")


def guardian_lines() -> tuple[bytes, ...]:
    actions: list[SafeAction] = [keithley_2400("a", "TCPIP::127.0.0.1::1::SOCKET"), keithley_2600("b", "serial:/dev/x")]
    lines: list[dict[str, Any]] = [{"do": "register", "action": action.to_json()} for action in actions]
    lines += [{"do": "record", "path": "record.jsonl"}, {"do": "beat"}, {"do": "done"}, {"do": "act", "why": "x"}]
    return tuple(json.dumps(line).encode() for line in lines)


_LEDGER = ledger_bytes()
EXAMPLE = protocols.read("memristor-digits")[1]
