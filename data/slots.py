"""Checkpoints: two slots of fixed size, written in turn, so that the file does not grow and one is always whole.

A slot is written in three steps: its content, a flush, then its seal (step, place in the order of events, CRC-32), and
a flush. A process killed in between leaves a slot whose seal does not match; the other one still holds.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pib_lab.errors import RunFileError

_SEAL = np.dtype([("sealed", "u1"), ("step", "i8"), ("events", "i8"), ("crc32", "u4")])
_GROUPS = ("checkpoints/slot-0", "checkpoints/slot-1")
_TEXT_BYTES = 4096
_TEXT_ROOM = 4
"""Texts (states of random generators, mostly) get room to grow to this many times their first length."""

StateItems = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Held:
    """The content of one whole slot. `events`: how many events had been recorded before the checkpoint."""

    step: int
    events: int
    state: dict[str, Any]


def create_slots(file: Any, structure: StateItems) -> None:
    """Make both slots with room for a state like `structure`; neither is sealed yet.

    Raises RunFileError for a value that is no array, text, float or 64-bit integer.
    """
    for group in _GROUPS:
        for name, value in structure.items():
            kind = _kind(name, value)
            room = max(_TEXT_BYTES, _TEXT_ROOM * len(value.encode())) if kind == "text" else 0
            # Written now, so that HDF5 allocates the space: nothing new may be allocated under a reader's feet.
            content = np.zeros(room, np.uint8) if kind == "text" else _array(value)
            file.create_dataset(f"{group}/state/{name}", data=content).attrs["pib_kind"] = kind
        file.create_dataset(f"{group}/seal", data=np.zeros(1, _SEAL))


def write_slot(file: Any, step: int, events: int, state: StateItems, flush: Callable[[], None]) -> None:
    """Write a checkpoint into the slot that does not hold the newest one.

    Raises RunFileError when names, shapes or types differ from those the file was made for.
    """
    seals = [file[f"{group}/seal"][0] for group in _GROUPS]
    ages = [int(seal["events"]) if seal["sealed"] else -1 for seal in seals]
    group = file[_GROUPS[ages.index(min(ages))]]
    names = set(_names(group["state"])) if "state" in group else set()
    if names != set(state):
        changed = ", ".join(sorted(names ^ set(state))[:3])
        raise RunFileError(f"the checkpoint of step {step} does not have the parts of the first one ({changed} differ)")
    stored = group.get("state")
    for name, value in state.items():
        _write_item(stored[name], name, value)
    flush()
    group["seal"][0] = (1, step, events, _checksum(step, events, state))
    flush()


def held_checkpoints(file: Any) -> list[Held]:
    """All whole checkpoints in the file, the newest first; torn slots are left out."""
    found = []
    for name in _GROUPS:
        group = file[name]
        for dataset in (group["seal"], *_datasets(group)):
            dataset.id.refresh()
        seal = group["seal"][0]
        if not seal["sealed"]:
            continue
        items = _names(group["state"]) if "state" in group else []
        try:
            state = {item: _read_item(group["state"][item]) for item in items}
        except UnicodeDecodeError:  # a text that was cut in mid-write: the slot is torn
            continue
        step, events = int(seal["step"]), int(seal["events"])
        if _checksum(step, events, state) == int(seal["crc32"]):
            found.append(Held(step, events, state))
    return sorted(found, key=lambda held: held.events, reverse=True)


def _kind(name: str, value: Any) -> str:
    if isinstance(value, str):
        return "text"
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "biufc":
        return "array"
    if isinstance(value, int) and -(2**63) <= value < 2**63:
        return "int"
    if isinstance(value, float):
        return "float"
    raise RunFileError(
        f"checkpoint: {name!r} is {type(value).__name__} and cannot be stored; a state holds arrays of numbers, texts, "
        f"floats and 64-bit integers (write larger integers as text)"
    )


def _array(value: Any) -> np.ndarray[Any, Any]:
    """Numbers as they are stored; int64 on every platform."""
    return np.asarray(value, np.int64 if isinstance(value, int) else None)


def _write_item(dataset: Any, name: str, value: Any) -> None:
    kind = _kind(name, value)
    if kind != dataset.attrs["pib_kind"]:
        raise RunFileError(f"checkpoint: {name!r} was {dataset.attrs['pib_kind']} at first and is {kind} now")
    if kind == "text":
        content = np.zeros(dataset.shape, np.uint8)
        encoded = value.encode()
        if len(encoded) > content.size or b"\0" in encoded:
            raise RunFileError(
                f"checkpoint: the text {name!r} ({len(encoded)} bytes) must be at most {content.size} bytes without NUL"
            )
        content[: len(encoded)] = np.frombuffer(encoded, np.uint8)
    else:
        content = _array(value)
        if content.shape != dataset.shape or content.dtype != dataset.dtype:
            raise RunFileError(
                f"checkpoint: {name!r} was {dataset.dtype} {dataset.shape} at first and is {content.dtype} "
                f"{content.shape} now; shapes and types must not change during a run"
            )
    if content.size:
        dataset[...] = content


def _read_item(dataset: Any) -> Any:
    content = np.asarray(dataset[()])
    match dataset.attrs["pib_kind"]:
        case "text":
            return content.tobytes().rstrip(b"\0").decode()
        case "int":
            return int(content)
        case "float":
            return float(content)
    return content


def _checksum(step: int, events: int, state: StateItems) -> int:
    crc = zlib.crc32(np.array([step, events], np.int64).tobytes())
    for name in sorted(state):
        value = state[name]
        content = value.encode() if isinstance(value, str) else _array(value).tobytes()
        crc = zlib.crc32(content, zlib.crc32(name.encode(), crc))
    return crc


def _names(group: Any) -> list[str]:
    found: list[str] = []
    group.visititems(lambda name, item: found.append(name) if hasattr(item, "dtype") else None)
    return found


def _datasets(group: Any) -> list[Any]:
    return [group["state"][name] for name in _names(group["state"])] if "state" in group else []
