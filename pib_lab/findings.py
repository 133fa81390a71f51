"""What a bring-up procedure found about a chip: checks with numbers, limits and verdicts, and the raw arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy.typing as npt

Measured = npt.NDArray[Any]


class Verdict(StrEnum):
    """How a check or a whole procedure ended. A check is never INCOMPLETE, a procedure never NOT_TESTED."""

    PASS = "pass"
    FAIL = "fail"
    NOT_TESTED = "not tested"
    INCOMPLETE = "incomplete"


@dataclass(frozen=True, slots=True)
class Check:
    """One question put to the chip. numbers and limits: SI values by names that carry their unit as a suffix.

    detail: what was found where, and what to do about it; for what was not tested, why.
    """

    name: str
    verdict: Verdict
    numbers: Mapping[str, float] = field(default_factory=dict)
    limits: Mapping[str, float] = field(default_factory=dict)
    detail: str = ""


def judged(
    name: str, good: bool, detail: str, numbers: Mapping[str, float], limits: Mapping[str, float] | None = None
) -> Check:
    """A check that passed when `good`; `detail` is kept either way."""
    return Check(name, Verdict.PASS if good else Verdict.FAIL, dict(numbers), dict(limits or {}), detail)


def not_tested(name: str, why: str) -> Check:
    """A check that the probe or the settings did not allow."""
    return Check(name, Verdict.NOT_TESTED, detail=why)


@dataclass(frozen=True, slots=True)
class Findings:
    """All that one procedure found. arrays: raw data, SI, by names that carry their unit as a suffix.

    reference: arrays that later runs compare with, when the passport holds none under their names yet.
    """

    checks: tuple[Check, ...]
    arrays: Mapping[str, Measured] = field(default_factory=dict)
    reference: Mapping[str, Measured] = field(default_factory=dict)

    @property
    def verdict(self) -> Verdict:
        """Failed when any check failed, passed when all passed, else incomplete."""
        return overall(check.verdict for check in self.checks)


def overall(verdicts: Iterable[Verdict]) -> Verdict:
    """The verdict over several: a failure outweighs, and what was not tested keeps the whole from passing."""
    found = set(verdicts)
    if Verdict.FAIL in found:
        return Verdict.FAIL
    return Verdict.PASS if found == {Verdict.PASS} else Verdict.INCOMPLETE


def untested(checks: Iterable[Check]) -> tuple[str, ...]:
    """Names of the checks that were not tested."""
    return tuple(check.name for check in checks if check.verdict is Verdict.NOT_TESTED)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a procedure has come: `done` of `total` items, and the one that is worked on."""

    done: int
    total: int
    text: str


Publish = Callable[[Progress], None]


def some(items: list[str], most: int = 8) -> str:
    """The first few of a list as a text, and how many more there are."""
    shown = ", ".join(items[:most])
    return f"{shown} and {len(items) - most} more" if len(items) > most else shown


def cell_name(row: int, column: int) -> str:
    """How texts call a cell, counted from 0 as arrays are."""
    return f"({row}, {column})"
