"""Sharing one link between units: counted opens, one owner at a time, first come first served."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from drivers.device import DeviceSession, FairLock
from pib_lab.errors import DeviceError, LinkError

PATIENCE_S = 10.0


class _Wire:
    """A link that logs its life and is broken when two threads use it at once."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.users = 0
        self.most = 0

    def connect(self) -> _Wire:
        self.log.append("connect")
        return self

    def disconnect(self, link: _Wire) -> None:
        assert link is self
        self.log.append("disconnect")

    def exchange(self) -> None:
        self.users += 1
        self.most = max(self.most, self.users)
        time.sleep(0)  # let another thread in, if the session would allow it
        self.users -= 1


@pytest.fixture
def wire() -> _Wire:
    """A fresh link."""
    return _Wire()


@pytest.fixture
def session(wire: _Wire) -> DeviceSession[_Wire]:
    """A session of that link; nobody has opened it."""
    return DeviceSession("chip", wire.connect, wire.disconnect)


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0)


def test_the_first_user_connects_and_the_last_one_disconnects(session: DeviceSession[_Wire], wire: _Wire) -> None:
    """Two users, one link, from the first open to the last close."""
    session.open("a")
    session.open("b")
    session.close("a")
    assert session.connected
    assert wire.log == ["connect"]
    session.close("b")
    assert not session.connected
    assert wire.log == ["connect", "disconnect"]


def test_opening_and_closing_twice_counts_once(session: DeviceSession[_Wire], wire: _Wire) -> None:
    """A user that closes twice does not close for the others."""
    session.open("a")
    session.open("a")
    session.open("b")
    session.close("a")
    session.close("a")
    assert session.connected
    session.close("b")
    session.close("b")
    assert wire.log == ["connect", "disconnect"]


def test_use_without_open_is_a_device_error(session: DeviceSession[_Wire]) -> None:
    """Another unit's open is not one's own."""
    session.open("a")
    with pytest.raises(DeviceError, match=r"not open for b.*open\(\)"), session.link("b"):
        pass


def test_a_connection_that_fails_leaves_the_session_closed(wire: _Wire) -> None:
    """The user is not counted, and the next try connects anew."""
    answers = iter([LinkError("no answer"), None])

    def connect() -> _Wire:
        error = next(answers)
        if error is not None:
            raise error
        return wire.connect()

    session = DeviceSession("chip", connect, wire.disconnect)
    with pytest.raises(LinkError, match="no answer"):
        session.open("a")
    assert not session.connected
    session.open("a")
    assert session.connected


def test_one_owner_at_a_time(session: DeviceSession[_Wire], wire: _Wire) -> None:
    """Eight threads never meet on the link."""

    def work(user: str) -> None:
        session.open(user)
        for _ in range(50):
            with session.link(user) as link:
                link.exchange()
        session.close(user)

    threads = [threading.Thread(target=work, args=(f"unit-{i}",)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert wire.most == 1
    assert not session.connected
    assert wire.log.count("connect") == wire.log.count("disconnect")


def test_turns_come_in_the_order_in_which_they_were_asked_for() -> None:
    """Threads that queue up while the lock is held are served first come first served."""
    lock, served = FairLock("chip"), list[int]()

    def wait(number: int) -> None:
        with lock.turn(f"unit-{number}"):
            served.append(number)

    threads = [threading.Thread(target=wait, args=(number,)) for number in range(6)]
    with lock.turn("holder"):
        for number, thread in enumerate(threads):
            thread.start()
            _until(lambda queued=number + 1: lock.waiting == queued)
    for thread in threads:
        thread.join(PATIENCE_S)
    assert served == list(range(6))


def test_the_owner_may_take_its_turn_again() -> None:
    """Making safe in the middle of a measurement does not wait for that measurement."""
    lock = FairLock("chip")
    with lock.turn("a"), lock.turn("a", wait_s=0.0):
        pass
    with lock.turn("b", wait_s=0.0):
        pass


def test_a_wait_that_is_too_long_names_who_holds_the_device() -> None:
    """The error says who has it, and those who gave up do not block those behind them."""
    lock, errors, served = FairLock("chip"), list[str](), list[str]()

    def impatient() -> None:
        try:
            with lock.turn("b", wait_s=0.01):
                served.append("b")
        except LinkError as error:
            errors.append(str(error))

    def patient() -> None:
        with lock.turn("c"):
            served.append("c")

    second, third = threading.Thread(target=impatient), threading.Thread(target=patient)
    with lock.turn("a"):
        second.start()
        _until(lambda: lock.waiting == 1 or bool(errors))
        third.start()
        second.join(PATIENCE_S)
    third.join(PATIENCE_S)
    assert served == ["c"]
    assert len(errors) == 1
    assert "a has held it" in errors[0]


def test_an_error_inside_a_turn_ends_the_turn(session: DeviceSession[_Wire]) -> None:
    """A failed exchange does not lock the device for ever."""
    session.open("a")
    with pytest.raises(ValueError, match="broken"), session.link("a"):
        raise ValueError("broken")
    with session.link("a", wait_s=0.0):
        pass


class _Dead:
    """What switches off behind a link that is dead, or has come back; counts how often it was tried."""

    def __init__(self) -> None:
        self.tried = 0
        self.back = False

    def off(self, link: _Wire) -> tuple[tuple[str, ...], tuple[str, ...], str]:
        self.tried += 1
        if self.back:
            return ("drive",), (), ""
        raise LinkError("no answer")


def _three(session: DeviceSession[_Wire]) -> tuple[str, ...]:
    for user in ("a", "b", "c"):
        session.open(user)
    return "a", "b", "c"


def test_a_dead_link_is_tried_once_for_all_its_users(session: DeviceSession[_Wire]) -> None:
    """Each user is told under its own name that nothing is confirmed off, from one attempt."""
    dead, users = _Dead(), _three(session)
    reports = [session.switch_off(user, ("drive",), dead.off) for user in users]
    assert dead.tried == 1
    assert [(report.unit, report.confirmed, report.not_confirmed) for report in reports] == [
        (user, (), ("drive",)) for user in users
    ]
    assert all("no answer" in report.detail for report in reports)


def test_who_asks_again_has_a_dead_link_tried_again(session: DeviceSession[_Wire]) -> None:
    """A link that has come back switches off at the next request, for all."""
    dead, users = _Dead(), _three(session)
    for user in users:
        session.switch_off(user, ("drive",), dead.off)
    dead.back = True
    assert all(session.switch_off(user, ("drive",), dead.off).safe for user in users)
    assert dead.tried == 4


def _used(session: DeviceSession[_Wire]) -> None:
    with session.link("c") as link:
        link.exchange()


def _opened(session: DeviceSession[_Wire]) -> None:
    session.open("d")


@pytest.mark.parametrize("between", [_used, _opened], ids=["used", "opened"])
def test_doubts_do_not_outlive_the_next_use(
    session: DeviceSession[_Wire], between: Callable[[DeviceSession[_Wire]], None]
) -> None:
    """After anything was exchanged, or somebody has opened it, no user is told what was found before."""
    dead, _ = _Dead(), _three(session)
    session.switch_off("a", ("drive",), dead.off)
    between(session)
    session.switch_off("b", ("drive",), dead.off)
    assert dead.tried == 2


def test_who_has_not_opened_a_device_has_nothing_switched_off(session: DeviceSession[_Wire]) -> None:
    """It is told so, and nothing is tried on its behalf."""
    dead = _Dead()
    session.open("a")
    report = session.switch_off("b", ("drive",), dead.off)
    assert report.not_confirmed == ("drive",)
    assert "not open" in report.detail
    assert dead.tried == 0
