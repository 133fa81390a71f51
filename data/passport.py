"""The chip's passport: every bring-up procedure it went through, by serial number, and what later checks compare with.

One JSON file a chip. Mock chips have a folder of their own, so that a dry run never passes a real chip.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import numpy as np
import platformdirs

from data.lock import WriterLock
from data.procedure_record import ProcedureRecord, check_from, check_to, plain, write_whole
from pib_lab.errors import RunFileError
from pib_lab.findings import Check, Measured, Verdict, untested

SCHEMA = 1
_PATIENCE = 100  # tries, 50 ms apart, for another process to finish its own entry


@dataclass(frozen=True)
class Entry:
    """One procedure in a passport; run: its folder; plots: paths; not_tested: names of checks."""

    procedure: str
    date: str
    status: str
    verdict: Verdict
    checks: tuple[Check, ...]
    settings: Mapping[str, Any]
    who: str
    versions: Mapping[str, str]
    commit: str
    array: tuple[int, int]
    pulses: int
    run: str
    plots: tuple[str, ...]
    error: str
    not_tested: tuple[str, ...] = ()


class Passport:
    """Reads and adds to one chip's passport. folder: of all passports; None: the user's own data folder."""

    def __init__(self, serial: str, folder: Path | None = None, *, mock: bool = False) -> None:
        self.serial, self.mock = serial, mock
        self._folder = passport_folder(folder, mock)
        self.path = self._folder / f"{quote(serial, safe='')}.json"

    def entries(self) -> list[Entry]:
        """All procedures, oldest first; none for a chip without a passport. Raises RunFileError for a damaged file."""
        try:
            return [_entry(item) for item in self._read()["entries"]]
        except (KeyError, ValueError, TypeError) as error:
            raise self._damaged(error) from error

    def latest(self) -> dict[str, Entry]:
        """The newest entry of each procedure."""
        return {entry.procedure: entry for entry in self.entries()}

    def stored(self, rows: int, columns: int) -> dict[str, Measured]:
        """Arrays to compare with, kept for an array of that size. Raises RunFileError for a damaged file."""
        try:
            kept = self._read()["reference"].get(f"{rows}x{columns}", {})
            return {name: np.array(item["values"], np.float64) for name, item in kept.items()}
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise self._damaged(error) from error

    def add(self, record: ProcedureRecord, run: Path, reference: Mapping[str, Measured], renew: bool = False) -> None:
        """Append a procedure. `reference` is kept where nothing is kept yet, or with `renew` in its place.

        Raises RunFileError when the passport cannot be written, or is damaged: then nothing is changed.
        """
        lock = self._lock()
        try:
            tree = self._read()
            tree["entries"].append(_tree(record, run.resolve()))
            kept = tree["reference"].setdefault(f"{record.rows}x{record.columns}", {})
            for name, values in reference.items():
                if renew or name not in kept:
                    kept[name] = {"values": plain(values), "date": record.ended, "run": str(run.resolve())}
            write_whole(self.path, json.dumps(tree, indent=1).encode())
        except OSError as error:
            raise RunFileError(
                f"passport {self.path}: cannot be written ({error.strerror}); see --passport-dir"
            ) from error
        except (KeyError, AttributeError, TypeError) as error:
            raise self._damaged(error) from error
        finally:
            lock.release()

    def _read(self) -> dict[str, Any]:
        try:
            tree = json.loads(self.path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {"schema": SCHEMA, "serial": self.serial, "mock": self.mock, "entries": [], "reference": {}}
        except (OSError, ValueError) as error:
            raise self._damaged(error) from error
        if not isinstance(tree, dict) or tree.get("schema") != SCHEMA:
            raise self._damaged(ValueError("of an unknown schema"))
        return tree

    def _lock(self) -> WriterLock:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunFileError(f"{self._folder}: cannot be made ({error.strerror}); choose --passport-dir") from error
        for attempt in range(_PATIENCE):
            try:
                return WriterLock(self._folder)
            except RunFileError:
                if attempt == _PATIENCE - 1:
                    raise
                time.sleep(0.05)
        raise AssertionError  # the loop returns or raises

    def _damaged(self, error: Exception) -> RunFileError:
        return RunFileError(
            f"passport {self.path}: damaged ({error}); nothing was written to it: mend it or move it away"
        )


def passport_folder(folder: Path | None, mock: bool) -> Path:
    """Where passports are kept; those of mock chips apart."""
    base = folder if folder is not None else platformdirs.user_data_path("pib-lab") / "passports"
    return base / "mock" if mock else base


def known_chips(folder: Path | None, mock: bool) -> list[str]:
    """Serial numbers of all chips that have a passport."""
    return sorted(unquote(path.stem) for path in passport_folder(folder, mock).glob("*.json"))


def _tree(record: ProcedureRecord, run: Path) -> dict[str, Any]:
    return dict(
        plain(
            {
                "procedure": record.procedure,
                "date": record.ended,
                "status": record.status,
                "verdict": record.verdict.value,
                "not_tested": record.not_tested,
                "checks": [check_to(check) for check in record.checks],
                "settings": record.settings,
                "who": record.who,
                "versions": record.versions,
                "commit": record.commit,
                "array": [record.rows, record.columns],
                "pulses": record.pulses,
                "run": str(run),
                "plots": [str(run / plot) for plot in record.plots],
                "error": record.error,
            }
        )
    )


def _entry(tree: Mapping[str, Any]) -> Entry:
    checks = tuple(check_from(item) for item in tree["checks"])
    changed = {
        "verdict": Verdict(tree["verdict"]),
        "checks": checks,
        "not_tested": untested(checks),
        "array": tuple(tree["array"]),
        "plots": tuple(tree["plots"]),
    }
    return Entry(**{**tree, **changed})
