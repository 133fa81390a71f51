"""The emulated crossbar board on a real link: a TCP port of this computer, or a pseudo-terminal.

server = start(profile="chip-b", seed=1)          # server.address goes into the protocol
server = serve(port=None, pty=True, profile="chip-b", seed=1)      # as `pib-lab emulate crossbar-board --pty`
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from drivers.board.frames import ANSWER, Frame, encode
from drivers.board.protocol import Identity, Kind
from drivers.chip.profiles import load_profile
from drivers.emulators.board_array import SharedCells
from drivers.emulators.board_faults import BoardEnd, FrameFaults
from drivers.emulators.board_firmware import Firmware
from drivers.emulators.board_lines import Line, Listener, Terminal
from drivers.emulators.board_truth import BoardTruth
from drivers.emulators.fault_modes import FaultModes, WireFault
from drivers.emulators.latency import LIKE_REAL, NONE, Latency
from drivers.mock.forming import SOUND, CellDefects
from pib_lab.clocks import RealClock, VirtualClock
from pib_lab.device import Clock

LOCAL = "127.0.0.1"
TICK_S = 0.02
"""So often the dead-man timer looks at the time."""


def serve(
    port: int | None = None,
    pty: bool = False,
    profile: str = "chip-b",
    seed: int = 1,
    override: Mapping[str, Any] | None = None,
    *,
    fast: bool = False,
    host: str = LOCAL,
    defects: CellDefects = SOUND,
) -> BoardServer:
    """A board in real time, with the latencies of a real one; `port` None or 0: any that is free.

    fast: cells age by the time that a real board would have taken, but nothing waits for it.
    """
    clock: Clock = VirtualClock() if fast else RealClock()
    latency = NONE if fast else LIKE_REAL
    return start(
        port=port or 0,
        pty=pty,
        profile=profile,
        seed=seed,
        override=override,
        clock=clock,
        latency=latency,
        host=host,
        defects=defects,
    )


def start(
    *,
    port: int = 0,
    pty: bool = False,
    profile: str = "chip-b",
    seed: int = 1,
    override: Mapping[str, Any] | None = None,
    clock: Clock | None = None,
    watch: Clock | None = None,
    latency: Latency = NONE,
    arrays: int = 32,
    chip_serial: str = "emulated-1",
    host: str = LOCAL,
    defects: CellDefects = SOUND,
    shared: SharedCells | None = None,
) -> BoardServer:
    """A running board. clock: on which it waits and its cells age (virtual when left out); watch: of the dead-man timer
    and of late answers (real when left out); shared: cells of another emulator, which are its array 0.

    Raises ConfigurationError for an unknown profile or key, a defect of a cell that is not there, a port that is taken.
    """
    watch = watch or RealClock()
    firmware = Firmware(
        load_profile(profile, override or {}),
        seed,
        clock or VirtualClock(),
        watch=watch,
        latency=latency,
        arrays=arrays,
        chip_serial=chip_serial,
        defects=defects,
        shared=shared,
    )
    return BoardServer(firmware, Terminal() if pty else Listener(host, port), seed, watch)


class BoardServer(BoardTruth):
    """Serves one board to any number of hosts in turn or at once, in a thread of its own.

    Shows and sets the truth; `faults` are those of answers, asked for on the control port.
    """

    def __init__(self, firmware: Firmware, line: Line, seed: int, watch: Clock) -> None:
        super().__init__(firmware, seed)
        self.faults = FaultModes()
        self._line, self._watch = line, watch
        self._late: list[tuple[float, int, bytes]] = []
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name="emulated board", daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        """What a protocol names it by."""
        return self._line.address

    @property
    def instrument(self) -> BoardTruth:
        """What the control port shows and sets."""
        return self

    def close(self) -> None:
        """Stop serving. Idempotent."""
        if not self._closing.is_set():
            self._closing.set()
            self._thread.join()
            self._line.close()

    def __enter__(self) -> BoardServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _work(self) -> None:
        ends: dict[int, _StruckEnd] = {}
        while not self._closing.is_set():
            arrived = self._line.receive(TICK_S)
            with self._lock:
                self._firmware.tick()
                back = {}
                for link, data in arrived.items():
                    end = ends.setdefault(link, _StruckEnd(self._firmware, self.to_board, self.to_host, self.faults))
                    back[link] = end.take(data)
            now_s = self._watch.now_s()
            self._late += [(now_s + wait_s, link, data) for link in back for wait_s, data in ends[link].take_late()]
            back |= self._due(back, now_s)
            for link, data in back.items():
                if data:
                    self._line.send(link, data)
                if link in ends and ends[link].dropped:
                    self._line.drop(link)
                    del ends[link]

    def _due(self, back: dict[int, bytes], now_s: float) -> dict[int, bytes]:
        """What is late and goes out now, before what goes out at once."""
        due: dict[int, bytes] = {}
        for when_s, link, data in self._late:
            if when_s <= now_s:
                due[link] = due.get(link, b"") + data
        self._late = [late for late in self._late if late[0] > now_s]
        return {link: data + back.get(link, b"") for link, data in due.items()}


class _StruckEnd(BoardEnd):
    """The board's end of one host's link, with the faults of answers that are armed."""

    def __init__(self, firmware: Firmware, to_board: FrameFaults, to_host: FrameFaults, faults: FaultModes) -> None:
        super().__init__(firmware, to_board, to_host)
        self._faults, self._rng = faults, np.random.default_rng(0)
        self._late: list[tuple[float, bytes]] = []
        self.dropped = False

    def take_late(self) -> list[tuple[float, bytes]]:
        """Seconds from now, and what is to be sent then."""
        late, self._late = self._late, []
        return late

    def send(self, answer: Frame) -> bytes:
        """What goes out at once in the place of an answer."""
        tells_identity = answer.kind == Kind.HELLO | ANSWER and not answer.status
        struck = self._faults.next(tells_identity)
        if struck is None:
            return super().send(answer)
        if struck.fault is WireFault.WRONG_IDENTITY:
            return super().send(replace(answer, payload=_other_board(answer.payload)))
        if struck.fault is WireFault.DROPPED_LINK:
            self.dropped = True
            return b""
        parts = struck.parts(encode(answer), b"\0", self._rng)
        self._late += [part for part in parts if part[0]]
        return b"".join(data for wait_s, data in parts if not wait_s)


def _other_board(identity: bytes) -> bytes:
    told = Identity.decode(identity)
    return replace(told, board_serial="another board", chip_serial="another chip").encode()
