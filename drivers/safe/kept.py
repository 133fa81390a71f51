"""What a run notes in its folder before its first output goes on, for `pib-lab safe RUN` if the run is killed.

The file is there for as long as outputs may be on that nobody has read back off. A run file comes later than the first
output, and one that was being written when its process died may be damaged.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from drivers.safe.commands import SafeAction
from drivers.safe.execution import carry_out_all
from pib_lab.errors import RunFileError
from pib_lab.unit import SafeReport

KEPT = "devices.json"


@dataclass(frozen=True)
class KeptDevices:
    """The devices of one run: how each link is made safe, and the names of those that do not say how."""

    actions: tuple[SafeAction, ...]
    unguarded: tuple[str, ...] = ()
    mock = False

    def safe_actions(self) -> list[SafeAction]:
        """One for each link."""
        return list(self.actions)

    def make_safe(self) -> list[SafeReport]:
        """Command every link off over one of its own: a report for each. What cannot be commanded is NOT confirmed."""
        told = [
            SafeReport(done.device, done.confirmed, done.not_confirmed, done.detail)
            for done in carry_out_all(self.actions)
        ]
        why = "its driver offers no safe_actions; name the protocol of the run: `pib-lab safe PROTOCOL`"
        return told + [SafeReport(name, (), ("all outputs",), why) for name in self.unguarded]


def keep(folder: Path, actions: Sequence[SafeAction], unguarded: Sequence[str]) -> None:
    """Write the file whole and on the disk, mode 0600: addresses are nobody else's business. Raises RunFileError."""
    tree = {"actions": [action.to_json() for action in actions], "unguarded": list(unguarded)}
    temporary = folder / f"{KEPT}.{os.getpid()}"
    try:
        temporary.unlink(missing_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(tree, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(folder / KEPT)
    except OSError as error:
        raise RunFileError(
            f"{folder / KEPT} cannot be written ({error.strerror}), and no output goes on without it; make room, or "
            "choose another --out"
        ) from error


def forget(folder: Path) -> None:
    """Every output was read back off: delete the file. One that cannot be deleted only has devices commanded again."""
    with contextlib.suppress(OSError):
        (folder / KEPT).unlink(missing_ok=True)


def read_kept(folder: Path) -> KeptDevices | None:
    """What was kept; None when nothing was. Raises RunFileError for a file that cannot be read."""
    path = folder / KEPT
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
        actions = tuple(SafeAction.from_json(action) for action in tree["actions"])
        return KeptDevices(actions, tuple(str(name) for name in tree["unguarded"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunFileError(
            f"{path}: cannot be read ({error}); name the protocol of its devices: `pib-lab safe PROTOCOL`"
        ) from error
