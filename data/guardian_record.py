"""What the guardian of a run has written beside the run file, read back: its word is later than the run's own."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

GUARDIAN_RECORD = "guardian.jsonl"
"""`drivers.safe.guardian.RECORD`, without importing drivers: the file is there when the guardian had to act."""
_ROUNDING_S = 1e-3


@dataclass(frozen=True, slots=True)
class GuardianWord:
    """The last time that the guardian acted. unix_s: when it began; why; devices and their outputs, as they ended.

    ended: it has come to its end; one that was killed meanwhile has confirmed nothing beyond what is listed.
    """

    unix_s: float
    why: str
    confirmed: tuple[str, ...]
    not_confirmed: tuple[str, ...]
    ended: bool
    safe: bool

    def vouches_for(self, devices: Collection[str]) -> bool:
        """Whether it has read back off all outputs of these devices; those with several links are named device.link."""
        known = {output.partition(":")[0].partition(".")[0] for output in self.confirmed}
        return self.safe and known.issuperset(devices)

    def told(self) -> str:
        """A sentence for people."""
        at = datetime.fromtimestamp(self.unix_s, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        if self.safe:
            result = f"it has read back all outputs off ({', '.join(self.confirmed)})"
        elif self.ended:
            result = f"NOT confirmed off: {', '.join(self.not_confirmed)}"
        else:
            result = "it came to no end, so outputs are NOT confirmed off"
        return f"the guardian acted at {at} ({self.why}): {result}"


def read_guardian(folder: Path, since_unix_s: float = 0.0) -> GuardianWord | None:
    """The guardian's last word, if it began to act at or after `since_unix_s`; None when it did not, or never had to.

    Lines that cannot be read (a disk was full, a machine went down) are passed over: they confirm nothing.
    """
    try:
        lines = (folder / GUARDIAN_RECORD).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    began: dict[str, Any] | None = None
    outcomes: list[dict[str, Any]] = []
    end: dict[str, Any] | None = None
    for note in filter(None, map(_note, lines)):
        if note["what"] == "acting":
            began, outcomes, end = note, [], None
        elif note["what"] == "outcome":
            outcomes.append(note)
        elif note["what"] == "ended":
            end = note
    if began is None or _number(began.get("unix_s")) < since_unix_s - _ROUNDING_S:
        return None
    confirmed, doubtful = (_outputs(outcomes, key) for key in ("confirmed", "not_confirmed"))
    safe = end is not None and end.get("safe") is True and not doubtful
    return GuardianWord(
        _number(began.get("unix_s")), str(began.get("why", "")), confirmed, doubtful, end is not None, safe
    )


def _note(line: str) -> dict[str, Any] | None:
    try:
        note = json.loads(line)
    except ValueError:
        return None
    return note if isinstance(note, dict) and "what" in note else None


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _outputs(outcomes: list[dict[str, Any]], key: str) -> tuple[str, ...]:
    named = [(note.get("device", "a device"), note.get(key)) for note in outcomes]
    return tuple(f"{device}: {output}" for device, outputs in named if isinstance(outputs, list) for output in outputs)
