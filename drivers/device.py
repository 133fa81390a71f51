"""A device session: one link that several units share, with one owner at a time, first come first served."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Generic, TypeVar

from pib_lab.errors import DeviceError, LinkError, LostLinkError
from pib_lab.unit import SafeReport

Link = TypeVar("Link")
Achieved = tuple[tuple[str, ...], tuple[str, ...], str]
"""Outputs confirmed off, outputs not confirmed, and why not."""


@contextmanager
def once_answered() -> Iterator[None]:
    """For the part of opening after a device's first answer: a link that fails here raises LostLinkError.

    A plain LinkError says that nothing has answered, so that whoever opens takes nothing there for its own doing.
    """
    try:
        yield
    except LostLinkError:
        raise
    except LinkError as problem:
        raise LostLinkError(str(problem)) from problem


class FairLock:
    """A lock that is granted in the order in which it was asked for; a thread that holds it may take it again.

    `threading.Lock` promises no order, and a unit that measures in a tight loop would starve the others.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._changed = threading.Condition()
        self._queue: deque[object] = deque()
        self._owner: int | None = None
        self._holder = ""
        self._depth = 0

    @property
    def waiting(self) -> int:
        """How many threads wait for their turn."""
        with self._changed:
            return len(self._queue)

    @contextmanager
    def turn(self, who: str, wait_s: float | None = None) -> Iterator[None]:
        """Hold the lock in a `with` block, as `who`; wait at most `wait_s` seconds (None: as long as it takes).

        Raises LinkError when the turn has not come in time, naming who holds the device.
        """
        self._acquire(who, wait_s)
        try:
            yield
        finally:
            with self._changed:
                self._depth -= 1
                if self._depth == 0:
                    self._owner = None
                    if self._queue:
                        self._changed.notify_all()

    def _acquire(self, who: str, wait_s: float | None) -> None:
        me = threading.get_ident()
        ticket = object()
        with self._changed:
            if self._owner == me:
                self._depth += 1
                return
            if self._owner is None and not self._queue:  # as nearly always: no ticket is needed
                self._owner, self._holder, self._depth = me, who, 1
                return
            self._queue.append(ticket)
            try:
                if not self._changed.wait_for(lambda: self._owner is None and self._queue[0] is ticket, wait_s):
                    raise LinkError(
                        f"device {self._name}: {self._holder or 'another unit'} has held it for {wait_s:g} s while "
                        f"{who} waited; let that measurement end or abort the run"
                    )
                self._owner, self._holder, self._depth = me, who, 1
            finally:  # also when Ctrl-C ends the wait: a ticket left behind would block everyone after it
                self._queue.remove(ticket)
                self._changed.notify_all()


class DeviceSession(Generic[Link]):
    """Connects when its first user opens, disconnects when its last user closes.

    Users are named, so that opening or closing twice counts once. `connect` makes the link and may raise LinkError;
    `disconnect` lets go of it.
    """

    def __init__(self, name: str, connect: Callable[[], Link], disconnect: Callable[[Link], None]) -> None:
        self._name = name
        self._connect = connect
        self._disconnect = disconnect
        self._lock = FairLock(name)
        self._users: set[str] = set()
        self._link: Link | None = None
        self._doubt: SafeReport | None = None
        self._not_told: set[str] = set()

    @property
    def connected(self) -> bool:
        """True while at least one user has the device open."""
        return self._link is not None

    def open(self, user: str) -> None:
        """Count `user` in; the first one connects. Raises what `connect` raises; the user is then not counted."""
        with self._lock.turn(user):
            self._not_told.clear()
            if self._link is None:
                self._link = self._connect()
            self._users.add(user)

    def close(self, user: str) -> None:
        """Count `user` out, after its turn has come; the last one disconnects. Idempotent."""
        with self._lock.turn(user):
            self._users.discard(user)
            if self._link is not None and not self._users:
                link, self._link = self._link, None
                self._disconnect(link)

    @contextmanager
    def link(self, user: str, wait_s: float | None = None) -> Iterator[Link]:
        """The link, for `user` alone, in a `with` block: a whole exchange, with no other unit's command between.

        Raises DeviceError when `user` has not opened the device, LinkError when its turn does not come in time.
        """
        with self._lock.turn(user, wait_s):
            if self._link is None or user not in self._users:
                raise DeviceError(f"device {self._name}: not open for {user}; call open() first")
            self._not_told.clear()
            yield self._link

    def switch_off(self, user: str, outputs: tuple[str, ...], act: Callable[[Link], Achieved]) -> SafeReport:
        """What `act` achieved on the outputs, which all users share; for a `user` who has not opened it, nothing.

        A dead link is waited for once: what one user could not have confirmed, the others are told without another
        attempt, each of them once, unless the device has been used in between. Whoever asks again has it tried again.
        """
        with self._lock.turn(user):
            if self._doubt is not None and user in self._not_told:
                self._not_told.discard(user)
                return replace(self._doubt, unit=user)
            try:
                with self.link(user) as link:
                    report = SafeReport(user, *act(link))
            except DeviceError as problem:  # not open, or a dead link: nothing was read back, so nothing is confirmed
                report = SafeReport(user, (), outputs, str(problem))
            self._doubt = None if report.safe else report
            self._not_told = self._users - {user} if user in self._users and not report.safe else set()
            return report
