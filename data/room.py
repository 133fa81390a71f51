"""Room on the disk, taken before HDF5 writes: HDF5 damages its file, and crashes the process, when a write fails.

So a full disk must be met outside HDF5. Space for what comes next is reserved ahead of the end of the file; when the
system refuses, nothing has been written and the file can still be closed in order.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

RESERVE_BYTES = 1 << 20
"""Ahead of the end of a growing file; far more than all the small writes between two reservations."""

_END_ADDRESS = slice(28, 36)
"""Of the end of the file, in a superblock of version 2 or 3 (HDF5 File Format Specification 3.0, II.A)."""


class Reserve:
    """Space beyond the end of one open file. Blocks are taken in steps of RESERVE_BYTES, so most calls do nothing."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor
        self._end = 0

    def ahead_of(self, size: int, need: int) -> None:
        """Make sure of `need` bytes and the reserve beyond `size`, the bytes in use; OSError when there is no room."""
        if size + need + RESERVE_BYTES <= self._end:
            return
        end = size + need + 2 * RESERVE_BYTES
        start = max(self._end, size)
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(self._descriptor, start, end - start)
            self._end = end
        elif shutil.disk_usage(self._path.parent).free < end - start:
            raise OSError("no space left on the disk")


def trim(path: Path) -> None:
    """Give back the reserve of a file that HDF5 has closed in order: cut it where its superblock says that it ends."""
    with path.open("rb") as file:
        header = file.read(_END_ADDRESS.stop)
    os.truncate(path, int.from_bytes(header[_END_ADDRESS], "little"))


def check_room(folder: Path, need: int) -> None:
    """OSError unless a new file of `need` bytes and the reserve fits into `folder`; leaves nothing behind."""
    with tempfile.TemporaryFile(dir=folder) as probe:
        Reserve(folder / "probe", probe.fileno()).ahead_of(0, need)


def detach(descriptor: int) -> None:
    """Point a descriptor that HDF5 owns to a scratch file, after a failed write.

    HDF5 then closes without another failure, and the run file stays as it was at that moment, to be recovered.
    """
    with tempfile.TemporaryFile() as scratch:
        os.dup2(scratch.fileno(), descriptor)
