"""Ctrl-C and termination: the first lets the run end in order, the second ends it at once; both end in a safe state."""

from __future__ import annotations

import os
import signal
from types import FrameType, TracebackType
from typing import Self

from pib_lab.control import Commands

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """Signal handlers while a run is on.

    Before `commands` are set, a signal raises KeyboardInterrupt where the program stands. After that the first asks the
    run to abort, the second raises KeyboardInterrupt, and further ones are ignored: outputs are being made safe.
    """

    def __init__(self) -> None:
        self.count = 0
        self.commands: Commands | None = None
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> Self:
        for number in _SIGNALS:
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)  # type: ignore[arg-type]  # signal.signal returned it

    def ignore(self) -> None:
        """From now on signals are only answered: what is going on must not be interrupted."""
        self.count = max(self.count, 2)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.count += 1
        if self.count > 2:
            _tell("please wait: outputs are being made safe")
        elif self.commands is None or self.count == 2:
            _tell("stopping at once")
            raise KeyboardInterrupt
        else:
            _tell("stopping at the next step; once more to stop at once")
            self.commands.post("abort")
            self.commands.cancel.cancel()


def _tell(text: str) -> None:
    # Straight to the descriptor: a signal may come in the middle of a print, and printing again would raise.
    os.write(2, f"\n{text}\n".encode())
