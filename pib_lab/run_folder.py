"""The folder of one run: a fresh name for a new one, and whether it can be used before anything is opened."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from data.reader import Reader
from data.recorder import Recorder
from pib_lab.errors import RunFileError
from pib_lab.experiment import Experiment


def new_folder(out: Path, experiment: Experiment) -> Path:
    """A fresh name under `out`; the recorder makes the folder, and refuses one that holds a run."""
    stem = f"{experiment.name}-{datetime.now():%Y%m%d-%H%M%S}-s{experiment.seed}"
    folder, number = out / stem, 1
    while folder.exists():
        number += 1
        folder = out / f"{stem}-{number}"
    return folder


def made_folder(out: Path, name: str) -> Path:
    """A new folder under `out`, called `name` and the time. Raises RunFileError when it cannot be made."""
    stem = f"{name}-{datetime.now():%Y%m%d-%H%M%S}"
    for number in range(1, 1000):
        folder = out / (stem if number == 1 else f"{stem}-{number}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise RunFileError(f"{folder}: cannot be made ({error.strerror}); choose another --out") from error
        return folder
    raise RunFileError(f"{out}: too many of {name} in one second; choose another --out")


@contextlib.contextmanager
def claimed(folder: Path, resume: bool) -> Iterator[None]:
    """Refuse a folder that cannot be used; a new one that stays empty goes away again.

    Raises RunFileError for a folder that cannot be written or holds a run already, and, to resume, for one that holds
    none or a finished one.
    """
    if resume:
        with Reader(folder) as reader:
            if reader.status().status == "finished":
                raise RunFileError(f"{folder}: the run has finished, nothing is left to do; start a new one")
        yield
        return
    Recorder.make_free(folder)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # it holds something
            folder.rmdir()
