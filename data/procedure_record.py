"""The folder of one bring-up procedure: what was asked, what was found, and the raw arrays; safe to open anywhere."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pib_lab.errors import RunFileError
from pib_lab.findings import Check, Measured, Verdict, untested

SCHEMA = 1
RECORD, ARRAYS, PROTOCOL = "procedure.json", "arrays.npz", "protocol.toml"


@dataclass(frozen=True)
class ProcedureRecord:
    """One procedure on one chip. status: "finished", "aborted" or "failed": of the last two, what is held is a part;
    the verdict is that of its checks.

    settings: SI values; who: user and computer; versions: of the software; pulses: sent to all cells together;
    not_confirmed: outputs that were not read back off; subject: "chip", or "rig" for a calibration of optics, whose
    rows and columns are those of the panel.
    """

    procedure: str
    serial: str
    mock: bool
    rows: int
    columns: int
    started: str
    ended: str
    status: str
    verdict: Verdict
    checks: tuple[Check, ...]
    settings: Mapping[str, Any]
    who: str
    versions: Mapping[str, str]
    commit: str
    pulses: int = 0
    error: str = ""
    not_confirmed: tuple[str, ...] = ()
    plots: tuple[str, ...] = ()
    subject: str = "chip"
    arrays: Mapping[str, Measured] = field(default_factory=dict, repr=False)

    @property
    def not_tested(self) -> tuple[str, ...]:
        """Names of the checks that were not tested: why a procedure without a failure is incomplete."""
        return untested(self.checks)


def write_protocol(folder: Path, text: str) -> None:
    """Put the protocol into a procedure's folder before anything is opened, so that its devices can be made safe.

    Raises RunFileError when it cannot be written.
    """
    try:
        write_whole(folder / PROTOCOL, text.encode())
    except OSError as error:
        raise RunFileError(f"{folder}: cannot be written ({error.strerror}); choose another --out") from error


def write_record(folder: Path, record: ProcedureRecord) -> None:
    """Write arrays and record into `folder`, the record last: a folder without one is incomplete.

    Raises RunFileError when they cannot be written.
    """
    try:
        partial = folder / f"{ARRAYS}.partial"
        with partial.open("wb") as file:
            np.savez_compressed(file, **dict(record.arrays))  # type: ignore[arg-type]  # its stub takes no mapping
        os.replace(partial, folder / ARRAYS)
        write_whole(folder / RECORD, to_json(record).encode())
    except OSError as error:
        raise RunFileError(
            f"{folder}: cannot be written ({error.strerror}); make room or choose another --out"
        ) from error


def read_record(folder: Path) -> ProcedureRecord:
    """What a procedure's folder holds. Raises RunFileError for one that is missing, damaged or of another schema."""
    path = Path(folder) / RECORD
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
        if tree.pop("schema") != SCHEMA:
            raise RunFileError(f"{path}: written by another version of pib-lab; read it with that one")
        with np.load(Path(folder) / ARRAYS, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        checks = tuple(check_from(item) for item in tree.pop("checks"))
        tree.pop("not_tested", None)  # told by the checks
        verdict = Verdict(tree.pop("verdict"))
        plots, doubtful = tuple(tree.pop("plots")), tuple(tree.pop("not_confirmed"))
        return ProcedureRecord(
            **tree, verdict=verdict, checks=checks, plots=plots, not_confirmed=doubtful, arrays=arrays
        )
    except FileNotFoundError as error:
        raise RunFileError(f"{folder}: holds no finished procedure ({Path(error.filename).name} is missing)") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError) as error:
        raise RunFileError(f"{folder}: cannot be read as a procedure ({error}); it is damaged") from error


def to_json(record: ProcedureRecord) -> str:
    """Everything but the arrays; numbers that are not finite become null, for JSON has none."""
    tree = {key: value for key, value in record.__dict__.items() if key not in ("arrays", "checks")}
    checks = [check_to(check) for check in record.checks]
    return json.dumps(plain({"schema": SCHEMA, **tree, "not_tested": record.not_tested, "checks": checks}), indent=1)


def check_to(check: Check) -> dict[str, Any]:
    """A check as plain JSON values."""
    return dict(plain(asdict(check)))


def check_from(tree: Mapping[str, Any]) -> Check:
    """A check from plain JSON values; null numbers come back as NaN. Raises KeyError, ValueError or TypeError."""
    numbers, limits = (
        {name: math.nan if value is None else float(value) for name, value in tree[key].items()}
        for key in ("numbers", "limits")
    )
    return Check(str(tree["name"]), Verdict(tree["verdict"]), numbers, limits, str(tree["detail"]))


def plain(value: Any) -> Any:
    """Lists, texts, numbers and null in the place of tuples, arrays and numbers that are not finite."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that it is the old one or the new one, whatever happens. Raises OSError."""
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)
