"""Panel, camera and shutter as one instrument: patterns in, frames out, each exposed after its pattern had settled."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from drivers.optics.camera import Camera, ExposesBatches, Frame, Pixels, Roi
from drivers.optics.lut import PhaseLut
from drivers.optics.rig_options import RigOptions
from drivers.optics.shutter import Shutter
from drivers.optics.slm import Gray, SpatialLightModulator
from pib_lab.device import DeviceContext
from pib_lab.errors import ConfigurationError, DeviceError, LimitError, LinkError, PibError
from pib_lab.quantities import Mask
from pib_lab.unit import CancelToken

BLOCK = 128
"""Patterns between looks at the cancel token, where many are exposed in one call."""

Patterns = Callable[[int, int], Gray]
"""Gray levels (stop - start, rows, columns) of the patterns start..stop."""
Take = Callable[[int, Pixels, Mask], None]
"""Is given the first index, frames (n, rows, columns), and where pixels may be clipped."""


@dataclass
class FrameCounts:
    """What became of frames since the rig was opened: used, thrown away and taken again, lost by the camera."""

    used: int = 0
    repeated: int = 0
    dropped: int = 0


class Rig:
    """The link that the units of a rig share. Frames are taken with the light on; `make_dark` takes it away."""

    def __init__(
        self,
        slm: SpatialLightModulator,
        camera: Camera,
        shutter: Shutter,
        options: RigOptions,
        lut: PhaseLut,
        context: DeviceContext,
    ) -> None:
        self.slm, self.camera, self.shutter, self.lut = slm, camera, shutter, lut
        self.counts = FrameCounts()
        self.exposure_s = options.exposure_s
        self.saturated_level = 0
        """Counts from which the camera calls a pixel clipped, as the last frame told."""
        self._options, self._context, self._clock = options, context, context.clock
        self._lit = False

    @property
    def settle_s(self) -> float:
        """From handing a pattern over until it counts as settled."""
        return self._options.settle_s if self._options.settle_s is not None else self.slm.settle_s

    @property
    def period_s(self) -> float:
        """Least time from one pattern to the next: settling, exposure, hold; or the camera's frame time."""
        return max(self.settle_s + self.exposure_s + self._options.hold_s, self.camera.frame_s)

    # Opening, closing, making dark

    def open(self) -> None:
        """Shutter closed and read back, dump pattern, camera set up and read back. Nothing stays open on an error.

        Raises DeviceError, LinkError, LimitError.
        """
        o = self._options
        try:
            self.make_dark()
            self.slm.open()
            self.camera.open()
            self.set_exposure_s(o.exposure_s)
            self.camera.set_gain_db(o.gain_db)
            self.camera.set_roi(None if o.roi is None else Roi(*o.roi))
            self.counts = FrameCounts()
        except BaseException:
            self.close()
            raise

    def set_exposure_s(self, exposure_s: float) -> float:
        """Choose the exposure of the frames that follow; returns it as read back. No frame may be outstanding.

        Raises LimitError, before anything is sent, beyond `exposure_max_s`; DeviceError when it reads back beyond it.
        """
        most_s = self._options.exposure_max_s * (1.0 + 1e-9)
        if exposure_s > most_s:
            raise LimitError(
                f"{self.camera.name}: an exposure of {exposure_s:g} s is beyond exposure_max_s, {most_s:g} s"
            )
        self.exposure_s = self.camera.set_exposure_s(exposure_s)
        if self.exposure_s > most_s:
            raise DeviceError(
                f"{self.camera.name}: an exposure of {exposure_s:g} s reads back as {self.exposure_s:g} s, "
                f"beyond exposure_max_s of {self._options.exposure_max_s:g} s"
            )
        return self.exposure_s

    def close(self) -> None:
        """Make dark as far as the links allow, then let go of everything. Never raises."""
        with suppress(PibError):
            self.make_dark()
        for let_go in (self.camera.close, self.slm.close, self.shutter.release):
            with suppress(PibError):
                let_go()

    def make_dark(self) -> bool:
        """Close the shutter; True only when it was read back closed. Raises LinkError when it is silent."""
        self._lit = False
        return self.shutter.close_and_read_back()

    def light_on(self) -> None:
        """Open the shutter, guarded. Raises DeviceError when it does not open, or when nobody guards it."""
        if not self._lit:
            self._context.require_guard()
            self.shutter.open()
            self._lit = True

    # Frames

    def expose(self, patterns: Patterns, count: int, take: Take, cancel: CancelToken) -> int:
        """Show `count` patterns and hand their frames to `take`, not always in order; returns the frames it took.

        Raises Cancelled, LimitError; DeviceError or LinkError for a frame that failed `attempts` times.
        """
        self.light_on()
        if isinstance(self.camera, ExposesBatches):
            taken = self._in_batches(self.camera, patterns, count, take, cancel)
        else:
            taken = self._one_by_one(patterns, count, take, cancel)
        self.counts.used += count
        self.counts.dropped = self.camera.dropped
        return taken

    def _in_batches(
        self, camera: ExposesBatches, patterns: Patterns, count: int, take: Take, cancel: CancelToken
    ) -> int:
        for start in range(0, count, BLOCK):
            cancel.raise_if_cancelled()
            stop = min(count, start + BLOCK)
            batch = camera.expose_batch(patterns(start, stop), self.settle_s)
            self.saturated_level = batch.saturated_level
            take(start, batch.pixels, batch.saturated())
        return count

    def _one_by_one(self, patterns: Patterns, count: int, take: Take, cancel: CancelToken) -> int:
        """While the camera integrates the next pattern is computed; while it reads out, the next one settles."""
        todo, tries, taken = deque(range(count)), Counter[int](), 0
        shown: tuple[int, float] | None = None
        while todo or shown:
            if shown is None:
                shown = self._show(todo.popleft(), patterns)
            cancel.raise_if_cancelled()
            (index, shown_s), shown = shown, None
            self._wait_until(shown_s + self.settle_s)
            triggered_s = self.camera.trigger()
            taken += 1
            following = patterns(todo[0], todo[0] + 1)[0] if todo else None
            self._wait_until(triggered_s + self.exposure_s + self._options.hold_s)
            changed_s = self._clock.now_s()
            if following is not None:
                shown = (todo.popleft(), self.slm.show(following))
                changed_s = shown[1]
            try:
                frame = self.camera.grab(self._options.timeout_s + self.exposure_s)
                self._require_settled(frame, shown_s + self.settle_s, changed_s)
            except (DeviceError, LinkError) as problem:
                tries[index] += 1
                self.counts.repeated += 1
                if tries[index] >= self._options.attempts:
                    raise type(problem)(f"{problem} (frame failed {tries[index]} times)") from problem
                todo.append(index)
                continue
            self.saturated_level = frame.saturated_level
            take(index, frame.pixels[None], frame.saturated()[None])
        return taken

    def _show(self, index: int, patterns: Patterns) -> tuple[int, float]:
        return index, self.slm.show(patterns(index, index + 1)[0])

    def _wait_until(self, time_s: float) -> None:
        left_s = time_s - self._clock.now_s()
        if left_s > 0.0:
            self._clock.sleep_s(left_s)

    def _require_settled(self, frame: Frame, settled_s: float, changed_s: float) -> None:
        """By the camera's own account of when it exposed."""
        slack_s = 1e-9 * max(1.0, abs(settled_s))
        if frame.exposed_from_s < settled_s - slack_s:
            raise DeviceError(
                f"{self.camera.name}: frame {frame.number} was exposed {settled_s - frame.exposed_from_s:.3g} s before "
                "its pattern had settled; it was thrown away"
            )
        if frame.exposed_to_s > changed_s + slack_s:
            raise DeviceError(
                f"{self.camera.name}: frame {frame.number} may have seen {frame.exposed_to_s - changed_s:.3g} s "
                "of the next pattern; it was thrown away; raise hold_s"
            )


def mean_dark(path: str, shape: tuple[int, int]) -> tuple[np.ndarray[tuple[int, ...], np.dtype[np.float32]], Mask]:
    """Dark counts and bad pixels, both of `shape`, from a `camera-dark` calibration's file.

    Raises ConfigurationError for a file that cannot be read or is of another region of interest.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            dark, bad = np.asarray(stored["dark"], np.float32), np.asarray(stored["bad"], np.bool_)
    except (OSError, KeyError, ValueError) as problem:
        raise ConfigurationError(f"dark: {path} cannot be read ({problem}); run camera-dark again") from None
    if dark.shape != shape or bad.shape != shape:
        raise ConfigurationError(f"dark: {path} holds {dark.shape} pixels, the frame {shape}; run camera-dark again")
    return dark, bad
