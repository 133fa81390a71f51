"""One run at a time owns an address on this computer: what another run drives is neither commanded nor taken over."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from drivers.wire.places import place_of
from pib_lab.endpoint import birth_of
from pib_lab.errors import DeviceError

try:
    import fcntl
except ImportError:  # Windows, where no output of a real device goes on for want of a guardian
    fcntl = None  # type: ignore[assignment]


@dataclass(frozen=True, slots=True)
class Owner:
    """Who has claimed an address. folder: of its run, None for what is no run.

    The process may have ended: then its guardian holds the address, until it has switched everything off. pid 0: it has
    not written its number yet. birth: as `pib_lab.endpoint.birth_of` tells it.
    """

    pid: int = 0
    birth: str = ""
    folder: Path | None = None


class Claims:
    """Locks on addresses, held until `release` and, through `descriptors`, by a child process that inherits them.

    The system lets go of a lock when the last process that holds it has ended, however it ended. So a guardian that
    inherits the locks of its run keeps the next run away until it has switched everything off.
    folder: of the run that claims, where whoever wants the address can find it.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._owner = Owner(os.getpid(), birth_of(os.getpid()) or "", folder.resolve() if folder is not None else None)
        self._held: dict[str, int] = {}

    @property
    def descriptors(self) -> tuple[int, ...]:
        """Of the open locks, for a child process to inherit."""
        return tuple(self._held.values())

    def claim(self, addresses: Iterable[str]) -> None:
        """Lock these addresses. Raises DeviceError, holding nothing, when another process owns one."""
        for address in sorted(set(addresses)):
            owner = self.take(address)
            if owner is not None:
                self.release()
                raise DeviceError(
                    f"{address} is in use by process {owner.pid or 'unknown'} or by the guardian that switches its "
                    "outputs off; let that run end, or end it with `pib-lab abort` or `pib-lab safe`"
                )

    def take(self, address: str) -> Owner | None:
        """Lock one address; who owns it when another process does, None when it is ours from now on."""
        place = place_of(address)
        if fcntl is None or place in self._held:
            return None
        descriptor = os.open(_lock_file(place), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            with contextlib.closing(os.fdopen(descriptor, "rb")) as file:
                return _owner(file.read())
        os.truncate(descriptor, 0)
        folder = None if self._owner.folder is None else str(self._owner.folder)
        os.write(descriptor, json.dumps([self._owner.pid, self._owner.birth, folder]).encode())
        self._held[place] = descriptor
        return None

    def release(self) -> None:
        """Let go of all. Idempotent. A child that has inherited them goes on holding them."""
        for descriptor in self._held.values():
            with contextlib.suppress(OSError):
                os.close(descriptor)
        self._held.clear()


def _owner(written: bytes) -> Owner:
    try:
        pid, birth, folder = json.loads(written)
        return Owner(int(pid), str(birth), None if folder is None else Path(folder))
    except (ValueError, TypeError):  # it is about to write
        return Owner()


def _lock_file(place: str) -> Path:
    folder = Path(tempfile.gettempdir()) / f"pib-lab-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder / f"{hashlib.sha256(place.encode()).hexdigest()[:24]}.lock"
