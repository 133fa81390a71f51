"""One writer a run folder: a lock of the operating system on `writer.lock`, which dies with its process."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import BinaryIO

from pib_lab.errors import RunFileError

if sys.platform == "win32":
    import msvcrt

    def _take(file: BinaryIO) -> None:
        file.seek(1024)  # a byte beyond the text, so that others can still read whose lock it is
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _take(file: BinaryIO) -> None:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)


LOCK_FILE = "writer.lock"


class WriterLock:
    """Held from construction to `release`. The file stays: removing it would open a race with the next writer."""

    def __init__(self, folder: Path) -> None:
        """Raises RunFileError when another writer, of this process or another, holds the lock."""
        path = folder / LOCK_FILE
        try:
            self._file = path.open("a+b")
        except OSError as error:
            raise RunFileError(f"{folder}: cannot be written to ({error.strerror}). Choose another --out") from error
        try:
            _take(self._file)
        except OSError as error:
            self._file.seek(0)
            owner = self._file.read(64).decode(errors="replace").strip() or "unknown"
            self._file.close()
            raise RunFileError(
                f"{folder}: another run is writing here (process {owner}). Wait until it has ended, or choose "
                f"another --out"
            ) from error
        self._file.truncate(0)
        self._file.write(f"{os.getpid()}\n".encode())
        self._file.flush()

    def release(self) -> None:
        """Let the next writer in. Idempotent."""
        self._file.close()


def writer_is_alive(folder: Path) -> bool:
    """True while some process holds the writer's lock of `folder`."""
    path = folder / LOCK_FILE
    try:
        with path.open("rb") as file:
            _take(file)
    except FileNotFoundError:
        return False
    except OSError:  # held by another, or the file system cannot tell: then better not to call a run dead
        return True
    return False
