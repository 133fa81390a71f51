"""The camera of the simulated bench, with the faults that a camera's link has."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from drivers.mock.optics import OpticalBench
from drivers.optics.camera import Frame, FrameBatch, Pixels, Roi
from drivers.optics.slm import Gray
from pib_lab.errors import DeviceError, LimitError, LinkError

BUFFERS = 4
"""Frames that wait for a grab; one more, and the oldest is lost."""

CameraFault = Literal["incomplete", "lost"]


@dataclass(frozen=True, slots=True)
class _Exposure:
    """A triggered exposure that has not been grabbed."""

    number: int
    from_s: float
    exposure_s: float
    ready_s: float
    lost: bool = False


class MockCamera:
    """A `Camera` that looks at the bench's light and `ExposesBatches`; time is the bench's clock.

    ready_s: when the next exposure may start. fail_next: what happens to the frames of the next grabs, for drills:
    "incomplete" (the buffer arrives and is refused), "lost" (it never arrives; the number of the next shows it).
    """

    def __init__(self, bench: OpticalBench, name: str = "mock camera") -> None:
        self._bench, self._name = bench, name
        self._open = False
        self._exposure_s, self._gain_db = bench.profile.exposure_s, 0.0
        self._roi = Roi(0, 0, *bench.profile.camera_shape)
        self._pending: deque[_Exposure] = deque()
        self.ready_s = bench.clock.now_s()
        self._number = self._missing = self._dropped = 0
        self.fail_next: deque[CameraFault] = deque()

    @property
    def name(self) -> str:
        """What the camera is called in messages."""
        return self._name

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of a frame, after the region of interest."""
        return self._roi.height, self._roi.width

    @property
    def bits(self) -> int:
        """Bits of a count."""
        return self._bench.profile.camera_bits

    @property
    def frame_s(self) -> float:
        """Least time between two triggers, and from the end of an exposure until its frame has been read out."""
        return self._bench.profile.frame_s

    @property
    def dropped(self) -> int:
        """Frames lost since `open`, from gaps in their numbers."""
        return self._dropped

    def open(self) -> None:
        """Connect; frames count from 0."""
        if not self._open:
            self._number = self._missing = self._dropped = 0
            self.ready_s = self._bench.clock.now_s()
        self._open = True

    def close(self) -> None:
        """Let go of the camera; frames not grabbed are forgotten. Idempotent."""
        self._open = False
        self._pending.clear()

    def set_exposure_s(self, exposure_s: float) -> float:
        """Choose the exposure, rounded to the camera's steps. Raises LimitError beyond its limits."""
        p = self._bench.profile
        self._require_idle()
        if not p.exposure_min_s <= exposure_s <= p.exposure_max_s:
            raise LimitError(
                f"{self._name}: exposure {exposure_s:g} s is beyond {p.exposure_min_s:g} to {p.exposure_max_s:g} s"
            )
        self._exposure_s = max(p.exposure_min_s, round(exposure_s / p.exposure_step_s) * p.exposure_step_s)
        return self._exposure_s

    def set_gain_db(self, gain_db: float) -> float:
        """Choose the gain, rounded to 0.1 dB. Raises LimitError beyond the camera's."""
        self._require_idle()
        if not 0.0 <= gain_db <= self._bench.profile.gain_max_db:
            raise LimitError(f"{self._name}: gain {gain_db:g} dB is beyond 0 to {self._bench.profile.gain_max_db:g} dB")
        self._gain_db = round(gain_db, 1)
        return self._gain_db

    def set_roi(self, roi: Roi | None) -> Roi:
        """Choose a region of interest, None for the whole sensor. Raises LimitError for one that leaves the sensor."""
        self._require_idle()
        rows, columns = self._bench.profile.camera_shape
        wanted = roi or Roi(0, 0, rows, columns)
        inside = wanted.top >= 0 and wanted.left >= 0 and wanted.height >= 1 and wanted.width >= 1
        if not inside or wanted.top + wanted.height > rows or wanted.left + wanted.width > columns:
            raise LimitError(f"{self._name}: {wanted} is empty or leaves the sensor of {rows} x {columns} pixels")
        self._roi = wanted
        return self._roi

    def trigger(self) -> float:
        """Start one exposure, once the last is over and a frame time has passed since its start."""
        self._require_open()
        clock, p = self._bench.clock, self._bench.profile
        clock.sleep_s(self.ready_s - clock.now_s())
        from_s = clock.now_s()
        self.ready_s = from_s + max(self._exposure_s, p.frame_s)
        ready_s = from_s + self._exposure_s + p.frame_s
        self._pending.append(_Exposure(self._number, from_s, self._exposure_s, ready_s))
        self._number += 1
        kept = [place for place, exposure in enumerate(self._pending) if not exposure.lost]
        if len(kept) > BUFFERS:
            self._pending[kept[0]] = replace(self._pending[kept[0]], lost=True)
        return from_s

    def grab(self, timeout_s: float) -> Frame:
        """The frame of the oldest trigger not yet answered; see `Camera.grab`."""
        self._require_open()
        clock, until_s = self._bench.clock, self._bench.clock.now_s() + timeout_s
        if not self._pending:
            clock.sleep_s(timeout_s)
            raise LinkError(
                f"{self._name}: no frame within {timeout_s:g} s, and no trigger is outstanding: trigger first"
            )
        asked = self._pending.popleft()
        fault = self.fail_next.popleft() if self.fail_next else None
        lost = asked.lost or fault == "lost"
        self._missing += lost
        arrives = next((other for other in self._pending if not other.lost), None) if lost else asked
        if arrives is None or arrives.ready_s > until_s:
            clock.sleep_s(timeout_s)
            raise LinkError(f"{self._name}: no frame within {timeout_s:g} s; look at its cable and its trigger")
        clock.sleep_s(arrives.ready_s - clock.now_s())
        self._dropped, self._missing = self._dropped + self._missing, 0
        if lost:
            raise DeviceError(f"{self._name}: frame {asked.number} was lost; trigger again")
        if fault == "incomplete":
            raise DeviceError(f"{self._name}: frame {asked.number} arrived incomplete and was refused; trigger again")
        pixels = self._cut(self._bench.frame(asked.exposure_s, asked.from_s, self._e_per_count))
        return Frame(pixels, asked.number, asked.from_s, asked.from_s + asked.exposure_s, self._level)

    def expose_batch(self, gray: Gray, wait_s: float) -> FrameBatch:
        """Show, wait, expose, and show the next as the exposure ends, for each pattern (batch, rows, columns).

        Raises DeviceError when not open or when frames are outstanding. Drills in `fail_next` are left for `grab`.
        """
        self._require_idle()
        clock, frame_s, exposure_s = self._bench.clock, self._bench.profile.frame_s, self._exposure_s
        delay_s = max(wait_s, frame_s - exposure_s, 0.0)
        period_s = delay_s + exposure_s
        clock.sleep_s(self.ready_s - clock.now_s() - delay_s)
        started_s = clock.now_s()
        pixels = self._bench.expose(
            np.asarray(gray),
            exposure_s=exposure_s,
            start_s=started_s,
            period_s=period_s,
            delay_s=delay_s,
            e_per_count=self._e_per_count,
        )
        first, self._number = self._number, self._number + len(pixels)
        clock.sleep_s(len(pixels) * period_s + (frame_s if len(pixels) else 0.0))
        self.ready_s = clock.now_s()
        return FrameBatch(self._cut(pixels), first, started_s, period_s, self._level)

    @property
    def _e_per_count(self) -> float:
        return float(self._bench.profile.e_per_count * 10.0 ** (-self._gain_db / 20.0))

    @property
    def _level(self) -> int:
        return self._bench.detector.saturated_level(self._e_per_count)

    def _cut(self, pixels: Pixels) -> Pixels:
        roi = self._roi
        return pixels[..., roi.top : roi.top + roi.height, roi.left : roi.left + roi.width]

    def _require_open(self) -> None:
        if not self._open:
            raise DeviceError(f"{self._name} is not open; open it first")

    def _require_idle(self) -> None:
        self._require_open()
        if self._pending:
            raise DeviceError(f"{self._name}: {len(self._pending)} frames are outstanding; grab them first")
