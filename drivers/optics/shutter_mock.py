"""The shutter of the simulated bench."""

from __future__ import annotations

from drivers.mock.optics import OpticalBench
from pib_lab.errors import DeviceError, LinkError


class MockShutter:
    """A `Shutter` in the bench's beam. stuck: the blade does not move; silent: nothing answers. Both for drills."""

    def __init__(self, bench: OpticalBench, name: str = "mock shutter") -> None:
        self._bench, self._name = bench, name
        self.stuck = False
        self.silent = False

    @property
    def name(self) -> str:
        """What the shutter is called in messages."""
        return self._name

    def open(self) -> None:
        """Let light through. Raises DeviceError when it does not read back open, LinkError when it is silent."""
        self._move(open_it=True)
        if self.is_closed():
            raise DeviceError(f"{self._name} did not open; look at the blade and its supply")

    def close_and_read_back(self) -> bool:
        """Stop the light; True only if then read back closed. Raises LinkError when it is silent."""
        self._move(open_it=False)
        return self.is_closed()

    def is_closed(self) -> bool:
        """Read the position. Raises LinkError when the shutter is silent."""
        if self.silent:
            raise LinkError(f"{self._name} does not answer; close the beam by hand, then look at its cable")
        return not self._bench.shutter_open

    def release(self) -> None:
        """Let go of the link; the shutter stays as it is."""

    def _move(self, *, open_it: bool) -> None:
        if self.silent:
            raise LinkError(f"{self._name} does not answer; close the beam by hand, then look at its cable")
        if not self.stuck:
            self._bench.shutter_open = open_it
