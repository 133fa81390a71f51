"""One run at a time owns an address on this computer: what another run drives is neither commanded nor taken over."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from pib_lab.errors import DeviceError

try:
    import fcntl
except ImportError:  # Windows, where no output of a real device goes on for want of a guardian
    fcntl = None  # type: ignore[assignment]


class Claims:
    """Locks on addresses, held until `release` and, through `descriptors`, by a child process that inherits them.

    The system lets go of a lock when the last process that holds it has ended, however it ended. So a guardian that
    inherits the locks of its run keeps the next run away until it has switched everything off.
    """

    def __init__(self) -> None:
        self._held: dict[str, int] = {}

    @property
    def descriptors(self) -> tuple[int, ...]:
        """Of the open locks, for a child process to inherit."""
        return tuple(self._held.values())

    def claim(self, addresses: Iterable[str]) -> None:
        """Lock these addresses. Raises DeviceError, holding nothing, when another process owns one."""
        for address in sorted(set(addresses)):
            if fcntl is None or address in self._held:
                continue
            descriptor = os.open(_lock_file(address), os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                owner = os.read(descriptor, 32).decode("ascii", "replace").strip() or "unknown"
                os.close(descriptor)
                self.release()
                raise DeviceError(
                    f"{address} is in use by process {owner} or by the guardian that switches its outputs off; let "
                    "that run end, or end it with `pib-lab abort` or `pib-lab safe`"
                ) from None
            os.truncate(descriptor, 0)
            os.write(descriptor, f"{os.getpid()}\n".encode())
            self._held[address] = descriptor

    def release(self) -> None:
        """Let go of all. Idempotent. A child that has inherited them goes on holding them."""
        for descriptor in self._held.values():
            with contextlib.suppress(OSError):
                os.close(descriptor)
        self._held.clear()


def _lock_file(address: str) -> Path:
    folder = Path(tempfile.gettempdir()) / f"pib-lab-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder / f"{hashlib.sha256(address.encode()).hexdigest()[:24]}.lock"
