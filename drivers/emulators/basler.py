"""Basler's own camera emulation behind the driver of its cameras, with the faults that a cable makes."""

from __future__ import annotations

from drivers.optics.camera_basler import BaslerCamera


class EmulatedBasler(BaslerCamera):
    """An emulated camera. Its test image of 8 bits tells a stream's frame k: the sensor's pixel 0, 0 is 1 + k.

    forced: buffers that the emulation was told to leave incomplete.
    """

    forced = 0

    def fail_one(self) -> None:
        """The next buffer will be incomplete."""
        with self._errors("forcing a failed buffer"):
            self._camera.ForceFailedBufferCount.SetValue(1)
            self._camera.ForceFailedBuffer.Execute()
        self.forced += 1

    def take_one_away(self, timeout_s: float) -> None:
        """Take the next buffer, so that the driver never sees it, as if it had been lost on the way."""
        with self._errors("taking a buffer away"):
            result = self._camera.RetrieveResult(round(1e3 * timeout_s), self._pylon.TimeoutHandling_ThrowException)
            result.Release()
