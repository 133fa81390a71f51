"""The sink of a run: every event goes into the run file before any view sees it; of camera frames some do."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from data.frame_choice import FrameChoice
from data.layout import RUN_FILE, writing
from data.lock import WriterLock
from data.reader import Reader
from data.recovery import rewrite
from data.writer import RunFileWriter, build
from pib_lab.errors import RunFileError
from pib_lab.events import CheckpointTaken, Event, RunFinished, RunStarted
from pib_lab.frames import FrameTaken

_log = logging.getLogger(__name__)


class Recorder:
    """Writes the events of one run; made by `create` or `resume`. Any failure raises RunFileError and ends the run."""

    def __init__(self, path: Path, lock: WriterLock, started: RunStarted) -> None:
        """For `create` and `resume`: append to the clean file at `path`, in a folder that `lock` guards."""
        self.path = path
        self._lock = lock
        self._started = started
        self._finished = False
        self._failed = False
        self._closed = False
        self._writer = RunFileWriter(path, started, live=True)
        self._frames = FrameChoice(self._writer.frames_kept)

    @classmethod
    def create(cls, folder: Path, started: RunStarted, initial: CheckpointTaken) -> Recorder:
        """Start a run file in `folder` (made if missing) and record `started` and `initial`.

        `initial` fixes the names, shapes and types of all later checkpoints. Raises RunFileError when the folder holds
        a run already, is locked by another run, or cannot be written to.
        """
        path = folder / RUN_FILE
        _make(folder)
        lock = WriterLock(folder)
        try:
            _refuse_taken(folder)
            return cls._begin(path, lock, started, initial)
        except BaseException:
            lock.release()
            raise

    @staticmethod
    def make_free(folder: Path) -> None:
        """Make `folder` if it is missing; RunFileError when that cannot be done or when it holds a run already."""
        _make(folder)
        _refuse_taken(folder)

    @classmethod
    def _begin(cls, path: Path, lock: WriterLock, started: RunStarted, initial: CheckpointTaken) -> Recorder:
        try:
            build(path, started, initial.state)
            recorder = cls(path, lock, started)
            recorder._write(started)
            recorder.record(initial)
        except BaseException:
            with contextlib.suppress(OSError):  # the first error is the one to tell
                path.unlink()  # half a file would make the folder look taken
            raise
        return recorder

    @classmethod
    def resume(
        cls, folder: Path, accept: Callable[[CheckpointTaken], None] = lambda checkpoint: None
    ) -> tuple[Recorder, RunStarted, CheckpointTaken]:
        """Continue the run in `folder` from its newest whole checkpoint.

        What was recorded after the checkpoint is dropped from the file and kept in run.h5.before-recovery. `accept` is
        given the checkpoint first: when it raises, the file is left as it was. Returns the recorder, the first
        RunStarted and the checkpoint. Raises RunFileError when there is no run, no whole checkpoint, or another process
        is writing.
        """
        path = folder / RUN_FILE
        with Reader(path):  # refuses a folder that holds no run before anything is made there
            lock = WriterLock(folder)
        try:
            with Reader(path) as reader:
                started, held = reader.started, reader.held()
            if not held or not held[0].state:  # no state: it ended before its first step
                raise RunFileError(f"{path}: holds no whole checkpoint to resume from; start the run again")
            checkpoint = CheckpointTaken(held[0].step, held[0].state)
            accept(checkpoint)
            rewrite(path, held[0], keep_old=True)
            recorder = cls(path, lock, started)
        except BaseException:
            lock.release()
            raise
        return recorder, started, checkpoint

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def record(self, event: Event) -> None:
        """Write an event and flush. The RunStarted that `create` has recorded may come again and is passed over.

        Frames are thinned out as `FrameChoice` says; the last of each unit comes before the end of the run.
        """
        if self._closed:
            raise RunFileError(f"{self.path}: the recorder is closed; nothing more can be recorded")
        if isinstance(event, RunStarted) and event == self._started:
            return
        if isinstance(event, FrameTaken) and not self._frames.wants(event):
            return
        if isinstance(event, RunFinished):
            for frame in self._frames.newest_left_out():
                self._write(frame)
        self._write(event)

    def close(self) -> None:
        """Close the file; a finished run's is rewritten compactly first. Idempotent, silent after a failed `record`."""
        if self._closed:
            return
        self._closed = True
        try:
            self._close_file()
            if self._finished and not self._failed:
                self._compact()
        finally:
            self._lock.release()

    def _write(self, event: Event) -> None:
        try:
            self._writer.record(event)
            self._writer.flush()
        except BaseException:
            self._failed = True
            raise
        self._finished = self._finished or isinstance(event, RunFinished)

    def _close_file(self) -> None:
        try:
            self._writer.close()
        except RunFileError:
            if not self._failed:
                raise

    def _compact(self) -> None:
        """Compress the tables, which could not be while they grew. The run is whole without, so failing is no error."""
        try:
            with writing(self.path):
                rewrite(self.path, None, keep_old=False, compress=True)
        except RunFileError as error:
            _log.warning("the run file is complete, but was left uncompressed: %s", error)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunFileError(f"{folder}: cannot be made ({error.strerror}). Choose another --out") from error


def _refuse_taken(folder: Path) -> None:
    if (folder / RUN_FILE).exists():
        raise RunFileError(
            f"{folder}: already holds a run, and a second run into the same folder would destroy it. Choose "
            f"another --out, or continue that run with --resume {folder}"
        )
