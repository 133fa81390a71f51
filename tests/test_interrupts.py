"""Ctrl-C: what the first does, what the second does, and when a measurement is cut short."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest

from pib_lab.commands.interrupts import GRACE_S, Interrupts
from pib_lab.control import Commands


class FakeTimer:
    """Goes off when a test says so."""

    def __init__(self, delay_s: float, call: Callable[[], None]):
        self.delay_s, self.call = delay_s, call
        self.started = self.cancelled = False

    def start(self) -> None:
        self.started = True

    def cancel(self) -> None:
        self.cancelled = True


class Scene:
    """Interrupts of a run, and the timers they made."""

    def __init__(self) -> None:
        self.timers: list[FakeTimer] = []
        self.commands = Commands()
        self.interrupts = Interrupts(self._make)
        self.interrupts.commands = self.commands

    def _make(self, delay_s: float, call: Callable[[], None]) -> FakeTimer:
        self.timers.append(FakeTimer(delay_s, call))
        return self.timers[-1]


def test_the_first_lets_the_step_end() -> None:
    """It posts "abort" and starts the grace; no measurement is cancelled, and the text says so."""
    scene = Scene()
    with scene.interrupts:
        signal.raise_signal(signal.SIGINT)
        assert scene.commands.take() == "abort"
        (timer,) = scene.timers
        assert (timer.started, timer.delay_s) == (True, GRACE_S)
        assert not scene.commands.cancel.cancelled


def test_a_measurement_longer_than_the_grace_is_cancelled() -> None:
    """When the grace is over the token is set."""
    scene = Scene()
    with scene.interrupts:
        signal.raise_signal(signal.SIGINT)
        scene.timers[0].call()
        assert scene.commands.cancel.cancelled


def test_the_second_ends_at_once() -> None:
    """KeyboardInterrupt, and nothing is left of the grace."""
    scene = Scene()
    with scene.interrupts:
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        assert scene.timers[0].cancelled


def test_a_run_that_ended_within_the_grace_is_not_cancelled() -> None:
    """Leaving the block, or making safe, ends the grace."""
    scene = Scene()
    with scene.interrupts:
        signal.raise_signal(signal.SIGINT)
    assert scene.timers[0].cancelled
    assert not scene.commands.cancel.cancelled


@pytest.mark.parametrize("count", [1, 2])
def test_what_is_said_is_what_is_done(count: int, capfd: pytest.CaptureFixture[str]) -> None:
    """The first tells of the step and of the grace, the second of an end at once."""
    scene = Scene()
    with scene.interrupts:
        signal.raise_signal(signal.SIGINT)
        if count == 2:
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
    said = capfd.readouterr().err
    assert "stopping after this step, or within it when it takes over 2 s; once more to stop at once" in said
    assert ("stopping at once" in said.splitlines()) == (count == 2)
