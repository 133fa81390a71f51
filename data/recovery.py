"""Copies run files out: whole events only, into a clean file that takes the place of the old one atomically.

HDF5 lets a file whose writer was killed be opened by SWMR readers only, and its own repair tools can lose data; reading
all whole events and writing them anew is safe.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from data.layout import run_file, writing
from data.lock import WriterLock
from data.reader import Reader
from data.room import check_room
from data.slots import Held
from data.writer import RunFileWriter, build
from pib_lab.errors import RunFileError
from pib_lab.events import CheckpointTaken, RunFinished

KEPT_SUFFIX = ".before-recovery"
_NEW_SUFFIX = ".new"


def recover(folder: Path, upto_step: int | None = None) -> Path:
    """Make the run file of a killed run an ordinary one; returns its path. The old one stays as run.h5.before-recovery.

    upto_step: keep only what was recorded up to the checkpoint of that step, and no end of the run, so that it can go
    on from there. Raises RunFileError when a run is writing there, when the file cannot be read or when no such
    checkpoint is held.
    """
    path = run_file(folder)
    lock = WriterLock(path.parent)
    try:
        with Reader(path) as reader:
            cut = next((held for held in reader.held() if held.step == upto_step), None)
        if upto_step is not None and cut is None:
            raise RunFileError(f"{path}: no checkpoint of step {upto_step} is held any more; only the last two are")
        return rewrite(path, cut, keep_old=True)
    finally:
        lock.release()


def rewrite(path: Path, cut: Held | None, *, keep_old: bool, compress: bool = False) -> Path:
    """Replace a run file by a clean copy, up to and with the checkpoint `cut`, or whole. The caller holds the lock."""
    new = path.with_name(path.name + _NEW_SUFFIX)
    try:
        with writing(new):
            new.unlink(missing_ok=True)
            check_room(path.parent, path.stat().st_size)
        with Reader(path) as reader:
            _copy(reader, new, cut, compress=compress)
        with writing(path):
            _sync(new)
            if keep_old:
                _keep(path)
            os.replace(new, path)
    finally:
        new.unlink(missing_ok=True)
    return path


def _copy(reader: Reader, target: Path, cut: Held | None, *, compress: bool) -> None:
    held = reader.held()
    build(target, reader.started, held[0].state if held else {}, compress=compress)
    writer = RunFileWriter(target, reader.started, live=False)
    try:
        count = 0
        for unix_s, event in reader.timed_events():
            if cut is not None and count >= cut.events:
                break
            if cut is not None and isinstance(event, RunFinished):
                count += 1
                continue
            if isinstance(event, CheckpointTaken) and not any(h.events == count for h in held):
                writer.note_lost_checkpoint(event.step, unix_s)
            else:
                writer.record(event, unix_s)
            count += 1
        newest = cut or (held[0] if held else None)
        if newest is not None and newest.events >= count:  # the cut itself; or the writer was killed before noting it
            writer.record(CheckpointTaken(newest.step, newest.state))
    finally:
        writer.close()


def _sync(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _keep(path: Path) -> None:
    """Give the old file a second name, so that at no moment there is none under the first."""
    kept = path.with_name(path.name + KEPT_SUFFIX)
    kept.unlink(missing_ok=True)
    try:
        os.link(path, kept)
    except OSError:  # a file system without hard links
        shutil.copy2(path, kept)
