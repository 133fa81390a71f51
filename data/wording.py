"""Numbers as people read them: shares, counts, times, quantities with an SI prefix."""

from __future__ import annotations

import math

_PREFIXES = ((1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"), (1e-12, "p"))


def percent(value: float) -> str:
    """0.9712 as "97.12 %"; a dash for what is not known."""
    return f"{100 * value:.2f} %" if math.isfinite(value) else "–"


def count(value: int) -> str:
    """A whole number with thin spaces between thousands."""
    return f"{value:,}".replace(",", "\u2009")


def duration(seconds: float) -> str:
    """A time in the unit that suits it: "10 µs", "43 min", "71 h"."""
    for factor, unit in ((3600.0, "h"), (60.0, "min"), (1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if seconds >= 2 * factor or (seconds >= factor and factor <= 1.0):
            return f"{seconds / factor:.3g} {unit}"
    return f"{seconds:.3g} s"


def prefixed(largest: float, unit: str) -> tuple[float, str]:
    """The SI prefix that brings the largest value to 1 or more: its factor, and the unit's symbol with it."""
    factor, prefix = next((pair for pair in _PREFIXES if largest >= pair[0]), _PREFIXES[0])
    return factor, prefix + unit


def interval(limits: tuple[float, float], unit: str) -> str:
    """Two limits with their unit: "0 to 40 µS"."""
    factor, symbol = prefixed(max(abs(limit) for limit in limits), unit)
    return f"{limits[0] / factor:.4g} to {limits[1] / factor:.4g} {symbol}"
