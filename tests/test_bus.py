"""The bus: recorder first and lossless, views never in the way."""

from __future__ import annotations

import logging
import threading

import pytest
from event_samples import map_taken, step, whole_run

from pib_lab.bus import Bus, Mailbox
from pib_lab.errors import RunFileError
from pib_lab.events import CheckpointTaken, Event, MapTaken, Message, StepDone


class Memory:
    """A recorder, or a view, that keeps what it gets."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.closed = 0

    def record(self, event: Event) -> None:
        self.events.append(event)

    show = record

    def close(self) -> None:
        self.closed += 1


class Blocked(Memory):
    """A view that shows nothing until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.entered = threading.Event()
        self.go = threading.Event()

    def show(self, event: Event) -> None:
        self.entered.set()
        self.go.wait(10)
        super().show(event)


class Failing:
    """A view that raises at the first event."""

    def __init__(self) -> None:
        self.raised = threading.Event()

    def show(self, event: Event) -> None:
        self.raised.set()
        raise ValueError("no display")


def test_recorder_and_views_get_all_events_in_order() -> None:
    """Recorder and view get every event in order, but checkpoints stay with the recorder."""
    recorder, view = Memory(), Memory()
    bus = Bus(recorder, [view])
    run = whole_run()
    for event in run:
        bus.publish(event)
    bus.close()
    assert recorder.events == run
    assert view.events == [event for event in run if not isinstance(event, CheckpointTaken)]


def test_failing_recorder_ends_publishing_before_views_see_the_event() -> None:
    """What the recorder raises is raised by publish, and no view shows an event that is not in the file."""

    class Full(Memory):
        def record(self, event: Event) -> None:
            raise RunFileError("the disk is full: make room and resume")

    view = Memory()
    bus = Bus(Full(), [view])
    with pytest.raises(RunFileError, match="full"):
        bus.publish(step(0))
    bus.close()
    assert view.events == []


def test_slow_view_never_slows_the_run_and_misses_only_older_maps() -> None:
    """Behind a view that is stuck, steps pile up without loss, and of each unit's maps the latest is kept."""
    view, recorder = Blocked(), Memory()
    bus = Bus(recorder, [view])
    bus.publish(step(0))
    assert view.entered.wait(10)
    for index in range(1, 50):
        bus.publish(step(index))
        bus.publish(map_taken(index, "hidden-1"))
        bus.publish(map_taken(index, "read-out"))
    view.go.set()
    bus.close()
    assert len(recorder.events) == 148
    assert [event.step for event in view.events if isinstance(event, StepDone)] == list(range(50))
    maps = [(event.unit, event.step) for event in view.events if isinstance(event, MapTaken)]
    assert maps == [("hidden-1", 49), ("read-out", 49)]


def test_raising_view_is_detached_and_reported() -> None:
    """A view that raises is detached; a warning is recorded and reaches the other views; the run goes on."""
    recorder, other, failing = Memory(), Memory(), Failing()
    bus = Bus(recorder, [failing, other])
    bus.publish(step(0))
    assert failing.raised.wait(10)
    for thread in threading.enumerate():
        if thread.name == "view-Failing":
            thread.join(10)
    bus.publish(step(1))
    bus.close()
    kinds = [type(event) for event in recorder.events]
    assert kinds == [StepDone, Message, StepDone]
    notice = recorder.events[1]
    assert isinstance(notice, Message)
    assert notice.level == "warning"
    assert "Failing was detached: ValueError: no display" in notice.text
    assert other.events == recorder.events


def test_view_that_hangs_is_detached_when_its_mailbox_is_full() -> None:
    """A view that takes no more events is given up after `mailbox_limit` of them instead of filling the memory."""
    view, recorder = Blocked(), Memory()
    bus = Bus(recorder, [view], mailbox_limit=10)
    for index in range(30):
        bus.publish(step(index))
    view.go.set()
    bus.close()
    assert sum(isinstance(event, Message) for event in recorder.events) == 1
    assert len(view.events) <= 2


def test_close_does_not_wait_for_ever(caplog: pytest.LogCaptureFixture) -> None:
    """A view that hangs cannot keep the run from ending; that it was given up is logged; close is idempotent."""
    view, recorder = Blocked(), Memory()
    bus = Bus(recorder, [view])
    bus.publish(step(0))
    with caplog.at_level(logging.WARNING):
        bus.close(timeout_s=0.01)
        bus.close()
    view.go.set()
    assert recorder.closed == 1
    assert "did not finish in time" in caplog.text


def test_mailbox_ends_after_what_it_holds() -> None:
    """A closed mailbox gives out what it holds, then None."""
    mailbox = Mailbox(4)
    event = step(0)
    assert mailbox.put(event)
    mailbox.close()
    assert mailbox.take() is event
    assert mailbox.take() is None
