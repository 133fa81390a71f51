"""Time for units: the computer's, or a virtual one that only mocks move, so that mock runs and tests never sleep."""

from __future__ import annotations

import time


class RealClock:
    """The computer's monotonic clock."""

    def now_s(self) -> float:
        """Seconds since an arbitrary origin."""
        return time.monotonic()

    def sleep_s(self, duration_s: float) -> None:
        """Wait."""
        time.sleep(max(0.0, duration_s))


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
