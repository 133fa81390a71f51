"""The times that emulators let pass: those of `drivers.latencies`, or none at all for tests of anything but time."""

from __future__ import annotations

from drivers.latencies import LIKE_REAL, NONE, Latency

__all__ = ["LIKE_REAL", "NONE", "Latency"]
