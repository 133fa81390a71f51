"""A shutter in the beam: the interface of its drivers. It serves the experiment and is no laser-safety function."""

from __future__ import annotations

from typing import Protocol, runtime_checkable


@runtime_checkable
class Shutter(Protocol):
    """Lets light through or stops it, and tells which by a reading of its own."""

    @property
    def name(self) -> str:
        """What the shutter is called in messages."""

    def open(self) -> None:
        """Let light through. Raises DeviceError when it does not read back open, LinkError when it is silent."""

    def close_and_read_back(self) -> bool:
        """Stop the light; True only if the shutter was then read back closed. Raises LinkError when it is silent."""

    def is_closed(self) -> bool:
        """Read the position. Raises LinkError when the shutter is silent."""

    def release(self) -> None:
        """Let go of the link; the shutter stays as it is. Idempotent."""
