"""The instruments of a run, as far as its protocol and its events tell of them. No Qt."""

from __future__ import annotations

import json
import re
import tomllib
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.wording import interval
from gui.model import RunModel

TRAFFIC = "traffic.jsonl"
"""In a run's folder, of a run that keeps what goes over its links."""

_TAIL_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Instrument:
    """One device. identity: address, profile and serial number, as the protocol names them; level: of `outputs`."""

    name: str
    driver: str
    identity: str
    units: str
    drive: str
    compliance: str
    outputs: str
    level: str
    error: str


def instruments(model: RunModel) -> list[Instrument]:
    """A line for each device of the run, in the protocol's order of units."""
    if model.procedure is not None and model.procedure.started is not None:
        return [_of_procedure(model, model.procedure.started.device)]
    tree = _tree(model)
    found = []
    for device in dict.fromkeys(unit.device for unit in model.units.values()):
        units = [unit for unit in model.units.values() if unit.device == device]
        outputs, level = _outputs(model, [unit.name for unit in units])
        drives = dict.fromkeys(interval(unit.drive_limits, unit.drive_unit) for unit in units)
        found.append(
            Instrument(
                device,
                ", ".join(dict.fromkeys(unit.driver for unit in units)),
                _identity(tree.get("hardware", {}).get(device, {})),
                ", ".join(unit.name for unit in units),
                ", ".join(drives),
                str(tree.get("limits", {}).get("current", "the device's own")),
                outputs,
                level,
                _last_error(model, [device, *(unit.name for unit in units)]),
            )
        )
    return found


def traffic_tail(folder: Path | None, lines: int = 200) -> list[str]:
    """The newest lines of what went over the links, as "12.345  ADDRESS  > text"; none when it is not kept."""
    if folder is None:
        return []
    try:
        with (folder / TRAFFIC).open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - _TAIL_BYTES))
            text = file.read().decode("ascii", errors="replace")
    except OSError:
        return []
    whole = text.splitlines()[1 if size > _TAIL_BYTES else 0 :]
    return [line for line in deque((_traffic_line(part) for part in whole), maxlen=lines) if line]


def _traffic_line(text: str) -> str:
    """One line for people; "" for one that is not whole yet, and for the time of day that a file begins with."""
    try:
        told = json.loads(text)
        sign = {"sent": ">", "got": "<"}.get(told["way"], "·")
        words = repr(told["text"])[1:-1] if "text" in told else f"[{told['hex']}]"
        return f"{told['t_s']:10.3f}  {told['address']}  {sign} {words}"
    except (ValueError, KeyError, TypeError):
        return ""


def _of_procedure(model: RunModel, device: str) -> Instrument:
    outputs, level = _outputs(model, [device])
    return Instrument(device, "", "", "bring-up", "", "", outputs, level, _last_error(model, [device]))


def _tree(model: RunModel) -> dict[str, Any]:
    started = model.status.started
    try:
        return tomllib.loads(started.protocol_text) if started is not None else {}
    except tomllib.TOMLDecodeError:
        return {}


def _identity(hardware: dict[str, Any]) -> str:
    known = [f"{hardware[key]}" for key in ("address", "profile", "serial") if key in hardware]
    return ", ".join(known) or "–"


def _outputs(model: RunModel, units: list[str]) -> tuple[str, str]:
    """What is known of the outputs of a device, by its units, and the level of that."""
    told = [model.safe[unit] for unit in units if unit in model.safe]
    doubtful = [output for report in told for output in report.not_confirmed]
    if doubtful:
        return f"NOT confirmed off: {', '.join(dict.fromkeys(doubtful))}", "bad"
    if len(told) == len(units):
        return "off", "good"
    if model.killed:
        return "not known", "bad"
    return ("in use", "info") if model.live and not model.ended else ("–", "plain")


def _last_error(model: RunModel, names: list[str]) -> str:
    """The newest error of the log that names the device or one of its units."""
    words = re.compile("|".join(rf"(?<![\w-]){re.escape(name)}(?![\w-])" for name in names))
    for line in reversed(model.log):
        if line.level == "error" and words.search(line.text):
            return f"step {line.step}: {line.text}" if line.step >= 0 else line.text
    return ""
