"""From the orchestrator to the recorder, and then to the views.

The recorder comes first and loses nothing: when it fails, the run ends. A view can be slow, or fail, without the run
noticing: each has a bounded mailbox, drained by a thread of its own.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections import deque
from collections.abc import Hashable, Sequence
from typing import Protocol

from pib_lab.events import CheckpointTaken, Event, Message
from pib_lab.latest import latest_key

_log = logging.getLogger(__name__)


class Recorder(Protocol):
    """Keeps every event. Its exceptions end the run."""

    def record(self, event: Event) -> None:
        """Write `event`; on return it is safe in the file."""

    def close(self) -> None:
        """Finish the file. Idempotent."""


class View(Protocol):
    """Shows events to someone. Called from one thread, in order; an exception detaches the view."""

    def show(self, event: Event) -> None:
        """Show `event`."""


class Mailbox:
    """Events that one view has yet to show. Nothing but maps and frames is ever dropped: a newer one replaces an older.

    limit: events that a view may fall behind before it counts as hung (`put` then returns False).
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._events: dict[Hashable, Event] = {}  # a dict keeps the order and finds the older map at once
        self._serial = itertools.count()
        self._changed = threading.Condition()
        self._closed = False

    def put(self, event: Event) -> bool:
        """Add `event`; False when the mailbox is full."""
        with self._changed:
            key: Hashable = latest_key(event) or next(self._serial)
            self._events.pop(key, None)
            if len(self._events) >= self._limit:
                return False
            self._events[key] = event
            self._changed.notify()
            return True

    def take(self) -> Event | None:
        """Wait for the oldest event; None when the mailbox is closed and empty."""
        with self._changed:
            self._changed.wait_for(lambda: self._events or self._closed)
            if not self._events:
                return None
            return self._events.pop(next(iter(self._events)))

    def close(self, *, discard: bool = False) -> None:
        """No more events will come; with `discard`, forget those that wait."""
        with self._changed:
            self._closed = True
            if discard:
                self._events.clear()
            self._changed.notify()


class Bus:
    """Publishes events: recorder first, then every view's mailbox.

    `publish` and `close` belong to the thread of the run, so a recorder need not be thread-safe. Why a view was
    detached is therefore recorded with the next event that is published.
    """

    def __init__(self, recorder: Recorder, views: Sequence[View] = (), *, mailbox_limit: int = 100_000) -> None:
        self._recorder = recorder
        self._notices: deque[Message] = deque()
        self._attached = [_Attached(view, Mailbox(mailbox_limit), self._notices) for view in views]
        self._closed = False

    def publish(self, event: Event) -> None:
        """Record `event`, then hand it to the views. Whatever the recorder raises is raised here."""
        while self._notices:
            self._send(self._notices.popleft())
        self._send(event)

    def close(self, timeout_s: float = 5.0) -> None:
        """Let the views show what is left, for `timeout_s` at most, and close the recorder. Idempotent."""
        if self._closed:
            return
        self._closed = True
        deadline_s = time.monotonic() + timeout_s
        for attached in self._attached:
            attached.finish(max(0.0, deadline_s - time.monotonic()))
        for notice in self._notices:  # RunFinished is a run file's last event, so these go to the log only
            _log.warning(notice.text)
        self._recorder.close()

    def _send(self, event: Event) -> None:
        self._recorder.record(event)
        if isinstance(event, CheckpointTaken):  # megabytes that only the recorder has a use for
            return
        for attached in self._attached:
            attached.post(event)


class _Attached:
    """One view, its mailbox and its thread."""

    def __init__(self, view: View, mailbox: Mailbox, notices: deque[Message]) -> None:
        self._view = view
        self._mailbox = mailbox
        self._notices = notices
        self._detached = False
        # A daemon: a view that hangs must not keep a finished run's process alive.
        self._thread = threading.Thread(target=self._drain, name=f"view-{type(view).__name__}", daemon=True)
        self._thread.start()

    def post(self, event: Event) -> None:
        if not self._detached and not self._mailbox.put(event):
            self._detach("it has stopped taking events")

    def finish(self, timeout_s: float) -> None:
        self._mailbox.close()
        self._thread.join(timeout_s)
        if self._thread.is_alive() and not self._detached:
            self._detach("it did not finish in time")

    def _drain(self) -> None:
        while (event := self._mailbox.take()) is not None:
            try:
                self._view.show(event)
            except Exception as error:  # a view is anyone's code: whatever it raises must not reach the run
                self._detach(f"{type(error).__name__}: {error}")
                return

    def _detach(self, reason: str) -> None:
        self._detached = True
        self._mailbox.close(discard=True)
        self._notices.append(Message("warning", f"view {type(self._view).__name__} was detached: {reason}"))
