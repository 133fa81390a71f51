"""Faults of the emulated board's link, frame by frame, and a wire without a link that has them in virtual time."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from drivers.board.frames import Frame, FrameDecoder, encode
from drivers.emulators.board_firmware import Firmware
from pib_lab.device import Clock
from pib_lab.errors import LinkError

KINDS = ("drop", "corrupt", "truncate", "duplicate", "late", "garbage")


class FrameFaults:
    """Does to frames what links do to them: with the `chances` given, or as often as `inject` asks.

    corrupt: one to four bytes changed; truncate: the end is missing; late: comes after one of the next three frames,
    when it is no longer awaited; garbage: random bytes before the frame. `dead`: nothing passes.
    """

    def __init__(self, seed: int, chances: Mapping[str, float] | None = None) -> None:
        self._rng = np.random.default_rng(seed)
        self.chances = dict(chances or {})
        self.dead = False
        self.injected = 0
        self._wanted: list[str] = []
        self._late: list[tuple[int, bytes]] = []

    def inject(self, kind: str, count: int = 1) -> None:
        """Do this to the next `count` frames. Raises KeyError for an unknown kind."""
        if kind not in KINDS:
            raise KeyError(f"link fault {kind!r} (known: {', '.join(KINDS)})")
        self._wanted += [kind] * count

    def pass_on(self, data: bytes) -> bytes:
        """The bytes that go through now, in the place of one frame's."""
        if self.dead:
            return b""
        done = self._done(self._choose(), data)
        waiting, self._late = self._late, []
        for left, old in waiting:
            if left:
                self._late.append((left - 1, old))
            else:
                done += old
        return done

    def _choose(self) -> str:
        if self._wanted:
            return self._wanted.pop(0)
        draw = float(self._rng.random())
        for kind, chance in self.chances.items():
            draw -= chance
            if draw < 0.0:
                return kind
        return ""

    def _done(self, kind: str, data: bytes) -> bytes:
        rng = self._rng
        self.injected += bool(kind)
        if kind == "drop":
            return b""
        if kind == "corrupt":
            changed = bytearray(data)
            for place in rng.integers(len(data), size=rng.integers(1, 5)):
                changed[place] ^= int(rng.integers(1, 256))
            return bytes(changed)
        if kind == "truncate":
            return data[: int(rng.integers(len(data)))]
        if kind == "duplicate":
            return data + data
        if kind == "late":
            self._late.append((int(rng.integers(1, 4)), data))
            return b""
        if kind == "garbage":
            return rng.bytes(int(rng.integers(1, 64))) + data
        return data


class BoardEnd:
    """The board's end of any link: bytes of the host in, bytes for the host out, with faults on either way."""

    def __init__(self, firmware: Firmware, to_board: FrameFaults, to_host: FrameFaults) -> None:
        self._firmware, self._to_board, self._to_host = firmware, to_board, to_host
        self._clean, self._decoder = FrameDecoder(), FrameDecoder()

    def take(self, data: bytes) -> bytes:
        """What the board sends back."""
        back = b""
        for frame in self._clean.feed(data):
            for arrived in self._decoder.feed(self._to_board.pass_on(encode(frame))):
                answer = self._firmware.receive(arrived)
                if answer is not None:
                    back += self.send(answer)
        self._firmware.broken_frames += self._clean.broken + self._decoder.broken
        self._clean.broken = self._decoder.broken = 0
        return back

    def send(self, answer: Frame) -> bytes:
        """What goes out in the place of an answer."""
        return self._to_host.pass_on(encode(answer))


class Wire:
    """A port of the host with the board's end right behind it. Waiting moves the clock and takes no time."""

    def __init__(self, firmware: Firmware, clock: Clock, to_board: FrameFaults, to_host: FrameFaults) -> None:
        self._firmware, self._clock = firmware, clock
        self._end = BoardEnd(firmware, to_board, to_host)
        self._inbox = b""
        self._closed = False

    def send(self, data: bytes) -> None:
        """Hand bytes to the board; it answers at once."""
        if self._closed:
            raise LinkError("the wire is closed")
        self._inbox += self._end.take(data)

    def receive(self, timeout_s: float) -> bytes:
        """What has come; else wait for all of `timeout_s`."""
        if not self._inbox:
            self._clock.sleep_s(timeout_s)
            self._firmware.tick()
        data, self._inbox = self._inbox, b""
        return data

    def close(self) -> None:
        """No more bytes."""
        self._closed = True
