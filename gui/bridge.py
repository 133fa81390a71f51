"""The only place where another thread meets Qt: a mailbox that a timer of the window empties into the model."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Hashable
from typing import Protocol, TypeVar

from PySide6.QtCore import QObject, Qt, QTimer, Signal

from gui.model import Item, LogLine, Lost, RunModel, Topic
from gui.panel import Panel
from pib_lab.latest import latest_key

T = TypeVar("T")

FRAME_MS = 16
"""Between two looks at the mailbox: nothing is drawn more often than the screen shows it."""

MAILBOX_LIMIT = 5000
"""Items that may wait; then the source waits for the window."""

WATCH_S = 0.1
"""Between two calls of a watcher, unless another run has begun or something was switched off: words change as often as
people read."""

_TAKING_S = 0.005
_DRAWING_S = 0.003
"""Time a frame may spend on taking events and on refreshing panels; what is left over waits for the next frame."""


class Source(Protocol):
    """Where the events of a run come from."""

    def feed(self, put: Callable[[Item], bool], stopping: threading.Event) -> None:
        """Give `put` all there is, on a thread of its own, until there is no more, `stopping` is set or `put` says
        False."""


class Mailbox:
    """Items on their way to the window, from any thread. A newer map or frame takes an older one's place; nothing else
    is lost: whoever puts into a full mailbox waits."""

    def __init__(self, limit: int = MAILBOX_LIMIT) -> None:
        self._limit = limit
        self._items: dict[Hashable, Item] = {}
        self._serial = 0
        self._room = threading.Condition()
        self._closed = False

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: Item) -> bool:
        """Add `item`, when there is room for it. False when the mailbox has been closed."""
        with self._room:
            self._room.wait_for(lambda: self._closed or len(self._items) < self._limit)
            self._serial += 1
            key: Hashable = latest_key(item) or self._serial
            self._items.pop(key, None)
            self._items[key] = item
            return not self._closed

    def take(self, most: int) -> list[Item]:
        """The oldest items, `most` at most; does not wait."""
        with self._room:
            keys = list(self._items)[:most] if len(self._items) > most else list(self._items)
            taken = [self._items.pop(key) for key in keys]
            self._room.notify_all()
            return taken

    def close(self) -> None:
        """Let nobody wait for room any more, and forget what is in it."""
        with self._room:
            self._closed = True
            self._items.clear()
            self._room.notify_all()


class Bridge(QObject):
    """Takes what a source gives to the model, and lets the panels that it concerns refresh themselves.

    panel_failed: a panel raised and was detached; its title and why.
    """

    panel_failed = Signal(str, str)

    def __init__(self, model: RunModel) -> None:
        super().__init__()
        self.model = model
        self.watchers: list[Callable[[set[Topic]], None]] = []
        self.refreshes = 0  # of panels, since the beginning
        self._untold: set[Topic] = set()
        self._watch_s = 0.0
        self._slots: list[_Slot] = []
        self._calls: deque[Callable[[], None]] = deque()
        self._mailbox = Mailbox()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._timer = QTimer(self)
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.setInterval(FRAME_MS)
        self._timer.timeout.connect(self.turn)
        self._timer.start()

    @property
    def idle(self) -> bool:
        """Whether the source has come to its end and all it gave has been taken."""
        return (self._thread is None or not self._thread.is_alive()) and not len(self._mailbox)

    def add(self, panel: Panel) -> None:
        """Let `panel` be refreshed from now on."""
        self._slots.append(_Slot(panel))

    def watch(self, watcher: Callable[[set[Topic]], None]) -> None:
        """Call `watcher` with the topics that changed, at most every WATCH_S; at once for another run, and for what was
        switched off."""
        self.watchers.append(watcher)

    def follow(self, source: Source) -> None:
        """Leave the source that was followed so far, and follow this one."""
        self.leave()
        mailbox, stopping = self._mailbox, self._stopping = Mailbox(), threading.Event()

        def feed() -> None:
            try:
                source.feed(mailbox.put, stopping)
            except Exception as error:  # an unreadable file, a foreign frame: the desktop stays, and says so
                mailbox.put(Lost("", killed=False))
                mailbox.put(LogLine("error", f"{error}"))

        # A daemon: a source that waits for a run must not keep a closed desktop alive.
        self._thread = threading.Thread(target=feed, name="source", daemon=True)
        self._thread.start()

    def leave(self) -> None:
        """Take nothing more from the present source; it ends by itself."""
        self._stopping.set()
        self._mailbox.close()
        self._thread = None

    def later(self, call: Callable[[], None]) -> None:
        """From any thread: have `call` called in the window's thread, in the next frame."""
        self._calls.append(call)

    def background(
        self, work: Callable[[], T], done: Callable[[T], None], failed: Callable[[Exception], None] | None = None
    ) -> None:
        """Do `work` on a thread of its own, then call `done` with what it returned in the window's thread.

        failed: is called with what it raised; without it, that becomes a line of the log.
        """

        def run() -> None:
            try:
                result = work()
            except Exception as error:
                problem = error
                self.later(lambda: (failed or self._log_failure)(problem))
            else:
                self.later(lambda: done(result))

        threading.Thread(target=run, name="background", daemon=True).start()

    def restyle(self) -> None:
        """The theme changed: all panels take their colours anew and are refreshed."""
        for slot in self._slots:
            slot.panel.restyle()
            slot.pending = True

    def turn(self) -> None:
        """One frame."""
        while self._calls:
            self._calls.popleft()()
        until_s = time.perf_counter() + _TAKING_S
        while time.perf_counter() < until_s and (items := self._mailbox.take(32)):
            for item in items:
                self.model.take(item)
        changed = self.model.take_changes()
        self._untold |= changed
        now_s = time.perf_counter()
        if self._untold and (now_s >= self._watch_s or self._untold & {Topic.RUN, Topic.SAFE}):
            told, self._untold, self._watch_s = self._untold, set(), now_s + WATCH_S
            for watcher in self.watchers:
                watcher(told)
        if changed:
            for slot in self._slots:
                slot.pending = slot.pending or bool(changed & slot.panel.topics)
        self._draw()

    def close(self) -> None:
        """Leave the source and draw nothing more. Idempotent."""
        self._timer.stop()
        self.leave()

    def _draw(self) -> None:
        """Refresh the panels that wait, the one that has waited longest first, while the frame has time for them."""
        now_s = time.perf_counter()
        until_s = now_s + _DRAWING_S
        for slot in sorted(self._slots, key=lambda slot: slot.due_s):
            if not slot.pending or slot.due_s > now_s or slot.panel.failed or not slot.panel.isVisible():
                continue
            began_s = time.perf_counter()
            if began_s > until_s:
                return
            slot.pending = False
            try:
                slot.panel.show_model(self.model)
            except Exception as error:  # a panel is anyone's code: whatever it raises must not reach the others
                slot.panel.detach(error)
                self.panel_failed.emit(slot.panel.title, f"{type(error).__name__}: {error}")
            ended_s = time.perf_counter()
            rest_s = max(ended_s - began_s, slot.panel.period_s)  # a slow panel rests as long as it works
            slot.due_s = ended_s + rest_s
            self.refreshes += 1

    def _log_failure(self, error: Exception) -> None:
        self.model.take(LogLine("error", str(error)))


class _Slot:
    """A panel, whether it has to be refreshed, and when it may be."""

    def __init__(self, panel: Panel) -> None:
        self.panel = panel
        self.pending = True
        self.due_s = 0.0
