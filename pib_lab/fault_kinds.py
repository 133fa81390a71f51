"""The states of a cell, as scans find them and maps show them."""

from __future__ import annotations

from enum import IntEnum


class FaultKind(IntEnum):
    """State of one cell (memristor) or element, as a code in fault maps."""

    HEALTHY = 0
    STUCK_LOW = 1
    STUCK_HIGH = 2
    STUCK_BETWEEN = 3
    OPEN = 4
