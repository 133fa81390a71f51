"""Wear of real chips over all runs: programming pulses of every cell, kept by chip serial number.

A chip is a folder with `wear.npz`, replaced as a whole, and a lock. A run writes now and then, not at every pulse. So
it leaves a session in the file beforehand: the cells that it may write, and an allowance, the most pulses that any of
them gets without being written down. A session whose process has died is charged in full: its allowance goes to each of
its cells, and is kept apart as `assumed`, for nobody has counted it.
"""

from __future__ import annotations

import json
import os
import socket
import time
import uuid
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import numpy as np
import numpy.typing as npt
import platformdirs

from data.lock import WriterLock
from pib_lab.endpoint import birth_of
from pib_lab.errors import RunFileError
from pib_lab.quantities import Mask

Pulses = npt.NDArray[np.int64]

FILE = "wear.npz"
_LOCK_WAIT_S = 10.0
_DAMAGE = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    OSError,
    RecursionError,
    TypeError,
    ValueError,
    zipfile.BadZipFile,
)
"""What a file with anything else in it can raise while it is read."""


def default_folder() -> Path:
    """Where ledgers are kept unless told otherwise: PIB_LAB_WEAR, or else the user's data folder."""
    return Path(os.environ.get("PIB_LAB_WEAR") or platformdirs.user_data_path("pib-lab") / "wear")


@dataclass
class ArrayWear:
    """Pulses of one array's cells, (rows, columns): `counted` by runs, and `assumed` for runs that were killed."""

    counted: Pulses
    assumed: Pulses

    @property
    def total(self) -> Pulses:
        """What a cell may have received: the number to hold against its endurance."""
        return self.counted + self.assumed


@dataclass
class ChipWear:
    """All that is known of one chip. runs: how many have written to it; killed: how many of them did not end."""

    serial: str
    arrays: dict[str, ArrayWear] = field(default_factory=dict)
    sessions: dict[str, dict[str, Any]] = field(default_factory=dict)
    cells: dict[tuple[str, str], Mask] = field(default_factory=dict)  # by session and array
    runs: int = 0
    killed: int = 0


class WearLedger:
    """The ledgers in one folder. Every change is one locked, atomic replacement of a chip's file."""

    def __init__(self, folder: Path, wait_s: float = _LOCK_WAIT_S, sleep_s: Callable[[float], None] = time.sleep):
        self._folder, self._wait_s, self._sleep_s = folder, wait_s, sleep_s

    def chips(self) -> list[str]:
        """Serial numbers of the chips that have a ledger."""
        return sorted(unquote(path.parent.name) for path in self._folder.glob(f"*/{FILE}"))

    def read(self, serial: str) -> ChipWear:
        """The wear of a chip; sessions whose process has died are charged first.

        Raises RunFileError for a chip without a ledger, or one that cannot be read.
        """
        if not (self._home(serial) / FILE).is_file():
            known = ", ".join(self.chips()) or "none"
            raise RunFileError(f"{self._folder}: no wear is on record for chip {serial!r} (known: {known})")
        with self._locked(serial) as wear:
            return wear

    def begin(self, serial: str, run: str, cells: Mapping[str, Mask], allowance: int) -> str:
        """Open a session of this process on `cells`, masks by array; returns its name.

        allowance: the most pulses that any cell gets between two calls of `add`.
        """
        with self._changing(serial) as wear:
            session = uuid.uuid4().hex
            pid = os.getpid()
            wear.sessions[session] = {
                "run": run,
                "host": socket.gethostname(),
                "pid": pid,
                "birth": birth_of(pid) or "",
                "allowance": int(allowance),
                "unix_s": time.time(),
            }
            wear.runs += 1
            for array, mask in cells.items():
                _make_room(wear, array, mask.shape)
                wear.cells[session, array] = mask
        return session

    def add(self, serial: str, session: str, pulses: Mapping[str, npt.NDArray[Any]], *, last: bool = False) -> ChipWear:
        """Add pulses, (rows, columns) by array, since the call before; with `last` the session ends.

        Raises RunFileError when it cannot be written: then the pulses are not on record, but the session is.
        """
        with self._changing(serial) as wear:
            for array, counts in pulses.items():
                _make_room(wear, array, counts.shape)
                rows, columns = counts.shape
                wear.arrays[array].counted[:rows, :columns] += counts
            if last:
                _forget(wear, session)
            elif session in wear.sessions:
                wear.sessions[session]["unix_s"] = time.time()
            return wear

    def _home(self, serial: str) -> Path:
        return self._folder / quote(serial, safe=" ").replace(".", "%2E")

    @contextmanager
    def _changing(self, serial: str) -> Iterator[ChipWear]:
        """As `_locked`; what the caller has changed replaces the file."""
        with self._locked(serial) as wear:
            yield wear
            _store(self._home(serial) / FILE, wear)

    @contextmanager
    def _locked(self, serial: str) -> Iterator[ChipWear]:
        """The chip's wear, those sessions charged that have died, while nobody else can change it."""
        home = self._home(serial)
        try:
            home.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunFileError(f"{home}: cannot be made ({error.strerror}); choose another --wear-dir") from error
        lock = self._lock(home)
        try:
            with _readable(home / FILE):
                wear = _load(home / FILE, serial)
                charged = _charge_dead(wear)
            if charged:
                _store(home / FILE, wear)
            yield wear
        finally:
            lock.release()

    def _lock(self, home: Path) -> WriterLock:
        left_s = self._wait_s
        while True:
            try:
                return WriterLock(home)
            except RunFileError as problem:
                if left_s <= 0.0:
                    raise RunFileError(f"{home}: the wear of this chip is locked by another process") from problem
            self._sleep_s(0.02)
            left_s -= 0.02


def _make_room(wear: ChipWear, array: str, shape: tuple[int, ...]) -> None:
    """An array is as large as the largest part of it that has been named."""
    held = wear.arrays.get(array)
    now = held.counted.shape if held else (0, 0)
    rows, columns = max(now[0], shape[0]), max(now[1], shape[1])
    if (rows, columns) == now:
        return
    grown = ArrayWear(np.zeros((rows, columns), np.int64), np.zeros((rows, columns), np.int64))
    if held is not None:
        grown.counted[: now[0], : now[1]] = held.counted
        grown.assumed[: now[0], : now[1]] = held.assumed
    wear.arrays[array] = grown


def _charge_dead(wear: ChipWear) -> bool:
    """True when there was something to charge. Processes of other machines cannot be seen: their sessions are left."""
    before = wear.killed
    for session, facts in list(wear.sessions.items()):
        if facts["host"] != socket.gethostname():
            continue
        birth = birth_of(facts["pid"])
        if birth is not None and birth == facts["birth"]:
            continue
        for (owner, array), mask in wear.cells.items():
            if owner == session:
                rows, columns = mask.shape
                wear.arrays[array].assumed[:rows, :columns][mask] += facts["allowance"]
        wear.killed += 1
        _forget(wear, session)
    return wear.killed > before


def _forget(wear: ChipWear, session: str) -> None:
    wear.sessions.pop(session, None)
    for key in [key for key in wear.cells if key[0] == session]:
        del wear.cells[key]


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """A file that holds something else than a ledger is a RunFileError, wherever that shows."""
    try:
        yield
    except _DAMAGE as error:
        raise RunFileError(
            f"{path}: the wear of this chip cannot be read ({error}); put a copy back, or move the file away to begin "
            "anew"
        ) from error


def _load(path: Path, serial: str) -> ChipWear:
    if not path.exists():
        return ChipWear(serial)
    with np.load(path, allow_pickle=False) as file:
        facts = json.loads(bytes(file["facts"]).decode())
        wear = ChipWear(facts["serial"], sessions=facts["sessions"], runs=facts["runs"], killed=facts["killed"])
        for number, array in enumerate(facts["arrays"]):
            wear.arrays[array] = ArrayWear(file[f"counted {number}"], file[f"assumed {number}"])
        for number, (session, array) in enumerate(facts["cells"]):
            wear.cells[session, array] = file[f"cells {number}"]
    return wear


def _store(path: Path, wear: ChipWear) -> None:
    facts = {
        "serial": wear.serial,
        "sessions": wear.sessions,
        "runs": wear.runs,
        "killed": wear.killed,
        "arrays": list(wear.arrays),
        "cells": list(wear.cells),
    }
    content: dict[str, npt.NDArray[Any]] = {"facts": np.frombuffer(json.dumps(facts).encode(), np.uint8)}
    for number, held in enumerate(wear.arrays.values()):
        content |= {f"counted {number}": held.counted, f"assumed {number}": held.assumed}
    content |= {f"cells {number}": mask for number, mask in enumerate(wear.cells.values())}
    new = path.with_name(path.name + ".new")
    try:
        with new.open("wb") as file:
            np.savez(file, **content)  # type: ignore[arg-type]  # its stub takes names for its own options
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, path)
    except OSError as error:
        raise RunFileError(f"{path}: the wear cannot be written ({error.strerror})") from error
