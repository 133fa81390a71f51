"""Time for units: the computer's, or a virtual one that only mocks move, so that mock runs and tests never sleep.

And a stopwatch for runs.
"""

from __future__ import annotations

import time
from collections.abc import Callable


class RealClock:
    """The computer's monotonic clock."""

    def now_s(self) -> float:
        """Seconds since an arbitrary origin."""
        return time.monotonic()

    def sleep_s(self, duration_s: float) -> None:
        """Wait."""
        time.sleep(max(0.0, duration_s))


class Stopwatch:
    """Adds up seconds of work: goes on from `before_s`, and stands while it is held."""

    def __init__(self, clock: Callable[[], float], before_s: float = 0.0):
        self._clock = clock
        self._before_s = before_s
        self._since_s: float | None = None

    def go(self) -> None:
        """Count from now on, unless it counts already."""
        if self._since_s is None:
            self._since_s = self._clock()

    def hold(self) -> None:
        """Stand still until the next `go`."""
        self._before_s, self._since_s = self.elapsed_s, None

    @property
    def elapsed_s(self) -> float:
        """Seconds counted so far."""
        return self._before_s + (self._clock() - self._since_s if self._since_s is not None else 0.0)


class VirtualClock:
    """Time that passes only when something sleeps on it: what the chip would have lived through."""

    def __init__(self, time_s: float = 0.0):
        self.time_s = time_s

    def now_s(self) -> float:
        """Seconds of virtual time."""
        return self.time_s

    def sleep_s(self, duration_s: float) -> None:
        """Move on by `duration_s`, at once."""
        self.time_s += max(0.0, duration_s)
