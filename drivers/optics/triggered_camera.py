"""What drivers of real cameras share: which frame answers which trigger, and what was lost. No vendor's library."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from dataclasses import dataclass

from drivers.optics.camera import Frame, Pixels
from pib_lab.device import Clock
from pib_lab.errors import DeviceError, LinkError

_WRAP = 65535
"""GigE Vision 1 counts frames in 16 bits and leaves 0 out."""

_UNNUMBERED = 2**64 - 1

PATIENCE_S = 2.0
"""Longest wait for a frame beyond its exposure where no time-out was given."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A buffer that came: the stream's own number of it, its counts, or why they must not be used.

    block: None for a refused one whose number the library kept to itself.
    """

    block: int | None
    pixels: Pixels | None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class _Trigger:
    """An exposure that was asked for; `lost`: its stream was stopped before it came."""

    number: int
    from_s: float
    to_s: float
    lost: bool = False


class TriggeredCamera(ABC):
    """Numbers triggers and matches them with the numbers of buffers. A driver adds a stream and its settings.

    A stream is started by the first trigger after a setting was changed. Its first frame alone tells where the camera
    counts from; until it has come no second trigger is sent. failed: buffers that came incomplete and were refused.
    """

    def __init__(self, name: str, clock: Clock, *, in_software: bool) -> None:
        self.name, self._clock, self._in_software = name, clock, in_software
        self.exposure_s, self.saturated_level = 0.0, 0
        self.dropped = self.failed = 0
        self._is_open = self._streams = False
        self._pending: deque[_Trigger] = deque()
        self._arrived: deque[tuple[int, Arrival]] = deque()
        self._number = self._awaited = 0
        self._last_block: int | None = None

    # What a driver adds

    @abstractmethod
    def _start_stream(self) -> None:
        """Take buffers from now on."""

    @abstractmethod
    def _stop_stream(self) -> None:
        """Take no more; those outstanding are forgotten."""

    @abstractmethod
    def _fire(self) -> None:
        """Send one trigger once the camera is ready for it. Raises LinkError when it does not become ready."""

    @abstractmethod
    def _fetch(self, timeout_s: float) -> Arrival | None:
        """The next buffer, None on a time-out."""

    # What `Camera` asks for

    def trigger(self) -> float:
        """Start one exposure; see `Camera.trigger`. Without a software trigger this waits until the frame has come, or
        has not come: then `grab` says so."""
        if not self._in_software:
            return self._trigger_and_wait()
        self._require_open()
        if self._streams and self._last_block is None and self._awaited < self._number:
            self._await_first()
        self._begin_stream()
        from_s = self._clock.now_s()
        self._fire()
        self._pending.append(_Trigger(self._number, from_s, self._clock.now_s() + self.exposure_s))
        self._number += 1
        return from_s

    def _trigger_and_wait(self) -> float:
        """One stream for each frame, since pulses that nobody asked for may come between two."""
        self._require_idle()
        from_s = self._clock.now_s()
        self._begin_stream()
        self._number += 1
        found = self._next(self.exposure_s + PATIENCE_S)
        asked = _Trigger(self._number - 1, from_s, self._clock.now_s(), lost=found is None)
        if found is None:
            self._give_up()
        self._end_stream()
        self._pending.append(asked)
        if found is not None:
            self._arrived.append(found)
        return from_s

    def _await_first(self) -> None:
        """The stream's first frame; where it has no number the next trigger starts another stream."""
        found = self._next(self.exposure_s + PATIENCE_S)
        if found is None:
            self._give_up()
            return
        if self._last_block is None:
            self._end_stream()
        self._arrived.append(found)

    def _begin_stream(self) -> None:
        if not self._streams:
            self._start_stream()
            self._streams, self._last_block = True, None
            self._awaited = self._number

    def grab(self, timeout_s: float) -> Frame:
        """The frame of the oldest trigger not yet answered; see `Camera.grab`."""
        self._require_open()
        until_s = self._clock.now_s() + timeout_s
        if not self._pending:
            raise LinkError(f"{self.name}: no frame can come, since no trigger is outstanding: trigger first")
        asked = self._pending.popleft()
        if asked.lost:
            raise DeviceError(f"{self.name}: frame {asked.number} was lost; trigger again")
        number, arrival = self._arrival(asked, until_s, timeout_s)
        if number > asked.number:
            self._arrived.appendleft((number, arrival))
            raise DeviceError(f"{self.name}: frame {asked.number} was lost; trigger again")
        if arrival.pixels is None:
            raise DeviceError(f"{self.name}: frame {asked.number} was refused: {arrival.problem}; trigger again")
        return Frame(arrival.pixels, asked.number, asked.from_s, asked.to_s, self.saturated_level)

    def _arrival(self, asked: _Trigger, until_s: float, timeout_s: float) -> tuple[int, Arrival]:
        """What came for that trigger or a later one; what came too late for an earlier one is thrown away."""
        while True:
            found = self._arrived.popleft() if self._arrived else self._next(until_s - self._clock.now_s())
            if found is None:
                self._give_up()
                raise LinkError(f"{self.name}: no frame within {timeout_s:g} s; look at its cable and its trigger")
            if found[0] >= asked.number:
                return found

    def _next(self, timeout_s: float) -> tuple[int, Arrival] | None:
        """The next buffer with the number of the trigger that it answers; gaps and failures are counted."""
        arrival = self._fetch(max(0.0, timeout_s))
        if arrival is None:
            return None
        self.failed += arrival.pixels is None
        number = self._number_of(arrival.block)
        if number >= self._number:
            self._give_up()
            raise DeviceError(f"{self.name}: a frame came that nobody triggered; look for a second trigger source")
        if number >= self._awaited:
            self.dropped += number - self._awaited
            self._awaited = number + 1
            if arrival.block is not None:
                self._last_block = arrival.block
            elif self._last_block is not None:
                self._last_block += 1
        return number, arrival

    def _number_of(self, block: int | None) -> int:
        """By the stream's numbers: GigE Vision's go round. One without a number is taken for the next."""
        if block == _UNNUMBERED:
            raise DeviceError(f"{self.name}: frames carry no numbers, so that a lost one could not be told from others")
        if self._last_block is None or block is None:
            return self._awaited
        step = block - self._last_block
        return self._awaited - 1 + (step if step >= 0 else step + _WRAP)

    # For drivers

    def _opened(self) -> None:
        self._is_open = True
        self._streams, self._number, self._awaited = False, 0, 0
        self.dropped = self.failed = 0

    def _closed(self) -> None:
        self._is_open = self._streams = False
        self._pending.clear()
        self._arrived.clear()

    def _give_up(self) -> None:
        """Stop the stream, so that nothing late can be taken for another trigger's; all outstanding are lost."""
        self.dropped += max(0, self._number - self._awaited)
        self._awaited = self._number
        self._pending = deque(_Trigger(t.number, t.from_s, t.to_s, lost=True) for t in self._pending)
        self._end_stream()

    def _end_stream(self) -> None:
        self._arrived.clear()
        if self._streams:
            self._streams = False
            self._stop_stream()

    def _require_open(self) -> None:
        if not self._is_open:
            raise DeviceError(f"{self.name} is not open; open it first")

    def _require_idle(self) -> None:
        """Before a setting is changed: the stream is stopped, the next trigger starts it anew."""
        self._require_open()
        if self._pending:
            raise DeviceError(f"{self.name}: {len(self._pending)} frames are outstanding; grab them first")
        self._end_stream()
