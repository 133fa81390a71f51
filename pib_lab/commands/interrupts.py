"""Ctrl-C and termination: the first lets the run end in order, the second ends it at once; both end in a safe state."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Protocol, Self

from pib_lab.control import Commands

GRACE_S = 2.0
"""How long the step that is going on may take to end by itself."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Timer(Protocol):
    """What `threading.Timer` offers: calls once, later, unless cancelled."""

    def start(self) -> None:
        """Begin to wait."""

    def cancel(self) -> None:
        """Do not call any more."""


def _timer(delay_s: float, call: Callable[[], None]) -> Timer:
    timer = threading.Timer(delay_s, call)
    timer.daemon = True
    return timer


class Interrupts:
    """Signal handlers while a run is on.

    Before `commands` are set, a signal raises KeyboardInterrupt where the program stands. After that the first asks the
    run to abort, which it does after the present step, with a checkpoint; a measurement that still goes on when the
    grace is over is cancelled. The second raises KeyboardInterrupt, and further ones are ignored: outputs are being
    made safe. `timer` makes the timer of the grace from seconds and what to call.
    """

    def __init__(self, timer: Callable[[float, Callable[[], None]], Timer] = _timer) -> None:
        self.count = 0
        self.commands: Commands | None = None
        self._make_timer = timer
        self._grace: Timer | None = None
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> Self:
        for number in _SIGNALS:
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end_grace()
        for number, before in self._before.items():
            signal.signal(number, before)  # type: ignore[arg-type]  # signal.signal returned it

    def ignore(self) -> None:
        """From now on signals are only answered: what is going on must not be interrupted."""
        self.count = max(self.count, 2)
        self._end_grace()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.count += 1
        if self.count > 2:
            _tell("please wait: outputs are being made safe")
        elif self.commands is None or self.count == 2:
            _tell("stopping at once")
            self._end_grace()
            raise KeyboardInterrupt
        else:
            _tell(f"stopping after this step, or within it when it takes over {GRACE_S:g} s; once more to stop at once")
            self.commands.post("abort")
            self._grace = self._make_timer(GRACE_S, self.commands.cancel.cancel)
            self._grace.start()

    def _end_grace(self) -> None:
        if self._grace is not None:
            self._grace.cancel()


def _tell(text: str) -> None:
    # Straight to the descriptor: a signal may come in the middle of a print, and printing again would raise.
    os.write(2, f"\n{text}\n".encode())
