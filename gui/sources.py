"""Where events come from: a live run, one that was just started, the file of an ended one, or its replay."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable
from pathlib import Path

from gui.model import History, Item, LogLine, Lost, Opened
from gui.processes import RunProcess
from pib_lab.client import Client
from pib_lab.endpoint import read_endpoint
from pib_lab.errors import LinkError, RunFileError
from pib_lab.events import RunFinished, RunStarted
from pib_lab.procedure_events import ProcedureFinished

Put = Callable[[Item], bool]

_LOOK_S = 0.1
_LONGEST_GAP_S = 1.0
"""Of a replay: a night's pause between two events is not waited for."""


class RunSource:
    """The run in `folder`: what its file holds, then its events as long as it is live.

    It attaches again, and loads the file again, when the run has sent more than the desktop could take in.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def feed(self, put: Put, stopping: threading.Event) -> None:
        """Give all events; at the end a Lost when the run's process died. Raises RunFileError when there is no run."""
        while not stopping.is_set():
            try:
                client = Client(self.folder)
            except LinkError:
                self._give_file(put)
                return
            with client:
                try:
                    if self._follow(client, put, stopping):
                        return
                except LinkError as error:
                    if not client.endpoint.alive or "has ended" in str(error):
                        self._give_file(put)
                        return
                    put(LogLine("warning", f"{error}; attaching again"))
                    stopping.wait(_LOOK_S)

    def _follow(self, client: Client, put: Put, stopping: threading.Event) -> bool:
        """Live events up to the run's end; True when it was heard, or nobody listens any more."""
        from gui.history import Seen  # HDF5, which the first picture need not wait for

        procedure = "procedure" in client.status()
        client.attach()  # before the file is read, so that no event falls between the two
        history = None if procedure else self._history()
        if not put(Opened(self.folder, live=True)) or (history is not None and not put(history)):
            return True
        seen = Seen(history)
        while not stopping.is_set():
            for event in client.procedure_events(timeout_s=_LOOK_S) if procedure else client.events(timeout_s=_LOOK_S):
                if isinstance(event, RunStarted) and history is not None and event.run_id == history.started.run_id:
                    continue
                if not seen.knows(event) and not put(event):  # type: ignore[arg-type]
                    return True
                if isinstance(event, RunFinished | ProcedureFinished):
                    put(Lost("", killed=False))
                    return True
        return True

    def _history(self) -> History | None:
        """What has been recorded; None before the first event is."""
        from gui.history import read_history

        try:
            return read_history(self.folder)[0]
        except RunFileError:
            return None

    def _give_file(self, put: Put) -> None:
        from gui.history import read_history

        history, status = read_history(self.folder)
        put(Opened(self.folder, live=False))
        put(history)
        killed = status == "killed"
        advice = "STOP switches its outputs off; a run can be resumed from its last checkpoint"
        put(Lost(f"the process of this run has died without ending it; {advice}" if killed else "", killed))


class StartedSource:
    """A run that was just started here: waits for its folder, then follows it, then for the end of its process."""

    def __init__(self, process: RunProcess) -> None:
        self.process = process

    def feed(self, put: Put, stopping: threading.Event) -> None:
        """As RunSource.feed; a run that ends before it begins gives a line of the log that says why."""
        put(Opened(Path(), live=True))
        while self.process.find_folder() is None and self.process.poll() is None:
            if stopping.wait(_LOOK_S):
                return
        if self.process.folder is not None:
            with contextlib.suppress(RunFileError):  # it ended before it recorded anything: its process says why
                RunSource(self.process.folder).feed(put, stopping)
        while self.process.poll() is None:
            if stopping.wait(_LOOK_S):
                return
        if self.process.error:
            put(LogLine("error", self.process.error))
        if self.process.folder is None or not (self.process.folder / "run.h5").is_file():
            put(Lost("the run did not begin", killed=False))


class ReplaySource:
    """The recorded events of a run at the pace at which they were recorded, times `speed`; no hardware is touched.

    speed: may be changed while it goes on; infinity: as fast as they can be shown. wait: is given seconds.
    """

    def __init__(self, folder: Path, speed: float = math.inf, wait: Callable[[float], object] | None = None) -> None:
        self.folder = folder
        self.speed = speed
        self.going = threading.Event()
        self.going.set()
        self._wait = wait

    def feed(self, put: Put, stopping: threading.Event) -> None:
        """Give all events. Raises RunFileError when there is no run in the folder."""
        from data.layout import Kind
        from data.reader import Reader

        with Reader(self.folder) as reader:
            put(Opened(self.folder, live=False, replay=True))
            debt_s, before_s, event = 0.0, math.inf, None
            for at_s, event in reader.timed_events(leave_out=frozenset({Kind.CHECKPOINT_TAKEN})):
                debt_s += min(max(0.0, at_s - before_s) / self.speed, _LONGEST_GAP_S)
                before_s = at_s
                if debt_s > 0.005:  # shorter waits take longer than they should
                    began_s = time.perf_counter()
                    (self._wait or stopping.wait)(debt_s)
                    debt_s = 0.0 if self._wait else debt_s - (time.perf_counter() - began_s)
                while not self.going.wait(_LOOK_S) and not stopping.is_set():
                    pass
                if stopping.is_set() or not put(event):
                    return
            if not isinstance(event, RunFinished):
                put(Lost("the record ends here: the process of this run died", killed=True))


def is_live(folder: Path) -> bool:
    """Whether the process of the run in `folder` goes on."""
    try:
        return read_endpoint(folder).alive
    except LinkError:
        return False
