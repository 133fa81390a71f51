"""The recorded runs in a folder, as lines that can be searched. No Qt."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from pib_lab.errors import PibError


@dataclass(frozen=True, slots=True)
class RunLine:
    """One run. accuracy: of the test split, or else the newest of the validation split; None without one.

    status: as `data.reader.RunStatus`, or "unreadable", with why in `problem`.
    """

    folder: Path
    status: str
    protocol: str = ""
    steps: str = ""
    accuracy: float | None = None
    began: str = ""
    mock: bool = False
    metrics: dict[str, float] = field(default_factory=dict)
    text: str = field(default="", repr=False)
    problem: str = ""

    @property
    def can_resume(self) -> bool:
        """Whether the run has ended before its last step, so that `run --resume` can go on with it."""
        return self.status in ("killed", "aborted", "failed")

    def matches(self, wanted: str) -> bool:
        """Whether every word of `wanted` is in what is known of the run, its protocol's text included."""
        known = " ".join((self.folder.name, self.protocol, self.status, self.began, self.text)).lower()
        if not self.problem:
            known += " mock" if self.mock else " real"
        return all(word in known for word in wanted.lower().split())


def read_line(folder: Path) -> RunLine:
    """What is known of the run in `folder`. A file that cannot be read gives a line that says so."""
    from data.reader import Reader  # HDF5, which the first picture need not wait for

    try:
        with Reader(folder) as reader:
            status, started = reader.status(), reader.started
    except PibError as error:  # one damaged file must not hide the others
        return RunLine(folder, "unreadable", problem=str(error))
    accuracy = status.metrics.get("test_accuracy", status.metrics.get("validation_accuracy"))
    return RunLine(
        folder,
        status.status,
        status.protocol_name,
        f"{status.steps_done:,} / {status.total_steps:,}",
        accuracy,
        f"{datetime.fromtimestamp(status.started_unix_s):%Y-%m-%d %H:%M}",
        started.mock,
        status.metrics,
        started.protocol_text,
    )


class RunList:
    """Lines of all runs, the newest first; a run is read again only after its file has changed."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[tuple[int, int], RunLine]] = {}

    def read(self, folders: list[Path]) -> list[RunLine]:
        """Lines of the runs in `folders`, in this order."""
        lines = []
        for folder in folders:
            stamp = _stamp(folder)
            known = self._known.get(folder)
            if known is None or known[0] != stamp or known[1].status == "running":
                self._known[folder] = known = (stamp, read_line(folder))
            lines.append(known[1])
        return lines


def _stamp(folder: Path) -> tuple[int, int]:
    try:
        state = (folder / "run.h5").stat()
    except OSError:
        return 0, 0
    return state.st_mtime_ns, state.st_size
