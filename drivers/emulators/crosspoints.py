"""Names of a switch matrix's crosspoints: "1A01" is slot 1, row A, column 1; lists and ranges of them."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

ROWS = "ABCDEFGH"
COLUMNS = 12
_NAME = re.compile(r"([1-6])([A-H])(\d\d)")


@dataclass(frozen=True, slots=True, order=True)
class Crosspoint:
    """One relay, between a row (a bus common to all slots) and a column of a slot's card."""

    slot: int
    row: str
    column: int

    def __str__(self) -> str:
        return f"{self.slot}{self.row}{self.column:02d}"


class BadCrosspoints(ValueError):
    """A list that names no crosspoints of the installed cards; the message says which entry."""


def parse_crosspoint(name: str) -> Crosspoint:
    """The crosspoint of that name. Raises BadCrosspoints."""
    match = _NAME.fullmatch(name.strip().upper())
    if match is None or not 1 <= int(match[3]) <= COLUMNS:
        raise BadCrosspoints(f"invalid channel {name.strip()[:20]!r}")
    return Crosspoint(int(match[1]), match[2], int(match[3]))


def parse_crosspoints(text: str, slots: tuple[int, ...], whole_slots: bool) -> list[Crosspoint]:
    """Crosspoints of a channel list: "1A01,1B02", "1A01:1A05", and, with `whole_slots`, "slot1" and "allslots".

    A range runs along the columns of a row, then over the rows, within one slot. Raises BadCrosspoints.
    """
    return list(_parsed(text, slots, whole_slots))


@functools.lru_cache(maxsize=256)  # a driver closes the same sets over and over
def _parsed(text: str, slots: tuple[int, ...], whole_slots: bool) -> tuple[Crosspoint, ...]:
    found: dict[Crosspoint, None] = {}
    for entry in (part.strip() for part in text.split(",")):
        first, colon, last = entry.partition(":")
        if entry == "allslots" or re.fullmatch(r"slot[1-6]", entry):
            if not whole_slots:
                raise BadCrosspoints(f"{entry} is not allowed here")
            chosen = slots if entry == "allslots" else (int(entry[-1]),)
            points = [point for slot in chosen for point in _card(slot)]
        elif colon:
            points = _between(parse_crosspoint(first), parse_crosspoint(last))
        else:
            points = [parse_crosspoint(entry)]
        for point in points:
            if point.slot not in slots:
                raise BadCrosspoints(f"slot {point.slot} is empty")
            found[point] = None
    return tuple(found)


@functools.cache
def _card(slot: int) -> tuple[Crosspoint, ...]:
    """All crosspoints of a slot, along the columns of each row: asked for at every read-back."""
    return tuple(Crosspoint(slot, row, column) for row in ROWS for column in range(1, COLUMNS + 1))


def _between(first: Crosspoint, last: Crosspoint) -> list[Crosspoint]:
    if first.slot != last.slot or not first <= last:
        raise BadCrosspoints(f"range {first}:{last} is not an ascending one within a slot")
    return [point for point in _card(first.slot) if first <= point <= last]
