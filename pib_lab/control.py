"""What an operator can ask of a run, handed from any thread to the loop, which obeys at step boundaries."""

from __future__ import annotations

import threading
from collections import deque
from typing import Literal, get_args

from pib_lab.errors import ConfigurationError
from pib_lab.unit import CancelToken

Verb = Literal["pause", "resume", "abort", "safe"]


class Commands:
    """Thread-safe mailbox of commands. "safe" also cancels the measurement that is going on; "abort" lets it end."""

    def __init__(self) -> None:
        self.cancel = CancelToken()
        self._waiting: deque[Verb] = deque()
        self._changed = threading.Condition()

    def post(self, verb: str) -> None:
        """Ask for "pause", "resume", "abort" or "safe". Raises ConfigurationError for another word."""
        for known in get_args(Verb):
            if verb == known:
                with self._changed:
                    self._waiting.append(known)
                    self._changed.notify_all()
                if known == "safe":
                    self.cancel.cancel()
                return
        raise ConfigurationError(f"unknown command {verb!r}: use pause, resume, abort or safe")

    def take(self, wait: bool = False) -> Verb | None:
        """The oldest command, or None; with `wait`, waits until there is one."""
        with self._changed:
            if wait:
                # A timeout in a loop, so that Ctrl-C is noticed on systems where a plain wait cannot be interrupted.
                while not self._waiting:
                    self._changed.wait(timeout=0.5)
            return self._waiting.popleft() if self._waiting else None
