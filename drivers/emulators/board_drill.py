"""The board's link put to the test: requests with known answers while frames are lost, damaged, doubled and delayed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from drivers.board.crossbar_board import CrossbarBoard
from drivers.board.link import BoardLink
from drivers.board.protocol import Window
from drivers.board.vectors import Integers
from drivers.chip.limits import ElectricalLimits
from drivers.chip.profiles import load_profile
from drivers.emulators.board_faults import KINDS, FrameFaults, Wire
from drivers.emulators.board_firmware import Firmware
from pib_lab.clocks import VirtualClock
from pib_lab.errors import DeviceError, LinkError

Made = TypeVar("Made")

NO_NOISE = {
    "read_noise": 0.0,
    "telegraph_fraction": 0.0,
    "relaxation_siemens": 0.0,
    "relaxation_log_siemens": 0.0,
    "disturb_per_read": 0.0,
    "step_device_to_device": 0.0,
    "step_cycle_to_cycle": 0.0,
    "faulty_cells": 0.0,
}
"""Of chip B, leaves wires and converters and nothing drawn by chance: the same writes make the same conductances."""

_CHANCE = 0.04
"""Of each kind of fault, for each frame either way."""
_SESSION = 100
"""Requests in one session."""
_RANGES_A = (1e-4, 2e-4, 5e-4, 1e-3)


@dataclass
class Drill:
    """What came of it. refused: requests that ended in an error, as they must when every attempt fails.

    wrong: values that were not the answer to the question asked; twice: pulses given more often than asked for; late:
    requests that took longer than `bound_s`.
    """

    injected: int = 0
    requests: int = 0
    refused: int = 0
    wrong: int = 0
    twice: int = 0
    late: int = 0
    longest_s: float = 0.0
    bound_s: float = 0.0


def drill(faults: int, seed: int = 1) -> Drill:
    """Measure, set ranges and pulse in random order until so many faults have struck. All in virtual time."""
    rng, link = np.random.default_rng(seed), _Link(seed)
    found = Drill(bound_s=link.bound_s)
    board, drives = link.session(), rng.integers(0, 256, (20, 3, 8))
    board.write(0, np.ones((8, 8), np.bool_), rng.integers(0, 40_000_000, 64), None, 12)
    known = [board.measure([0], 4, codes).codes for codes in drives]
    certain = doubtful = 0
    link.disturb(_CHANCE)
    while link.injected < faults:
        found.requests += 1
        if found.requests % _SESSION == 0:
            board.close()
            board = link.session()
        what, pulses, began_s = int(rng.integers(30)), link.pulses(), link.clock.now_s()
        try:
            found.wrong += not _right(board, what, drives, known)
            certain += what >= 20
        except DeviceError:
            found.refused += 1
            doubtful += what >= 20
        elapsed_s = link.clock.now_s() - began_s
        found.longest_s = max(found.longest_s, elapsed_s)
        found.late += elapsed_s > found.bound_s
        found.twice += link.pulses() - pulses > (what >= 20)
        if not link.firmware.outputs:  # the dead-man timer, after a silence: begin anew
            board.close()
            board = link.session()
    found.twice += not certain <= link.pulses() <= certain + doubtful
    found.injected = link.injected
    return found


def _right(board: CrossbarBoard, what: int, drives: Integers, known: list[Integers]) -> bool:
    """Ask for vectors (0 to 15), a range (16 to 19) or a pulse (from 20); True where the answer is the known one."""
    if what < 16:
        return np.array_equal(board.measure([0], 4, drives[what]).codes, known[what])
    if what < 20:
        wanted_a = _RANGES_A[what - 16]
        return math.isclose(board.set_range(2, wanted_a), wanted_a)
    return board.pulse(1, what % 8, what % 8, 1.0, 1e-6, 1, 1e-5) == 1


class _Link:
    """A board, and hosts' connections to it through the same faults."""

    def __init__(self, seed: int) -> None:
        self.clock = VirtualClock()
        self.firmware = Firmware(load_profile("chip-b", NO_NOISE | {"rows": 8, "columns": 8}), seed, self.clock)
        self._ways = FrameFaults(seed), FrameFaults(seed + 1)
        self.bound_s = self._open().bound_s(busy_s=1e-3)  # more than any request of the drill takes

    @property
    def injected(self) -> int:
        """Faults so far."""
        return sum(way.injected for way in self._ways)

    def pulses(self) -> int:
        """The truth: raw pulses given so far."""
        array = self.firmware.chip.arrays.get(1)
        return array.pulses() if array else 0

    def disturb(self, chance: float) -> None:
        """Let each kind of fault strike a frame with this chance."""
        for way in self._ways:
            way.chances = dict.fromkeys(KINDS, chance)

    def session(self) -> CrossbarBoard:
        """A new session with its windows set and outputs on."""
        return _insist(self._ready)

    def _ready(self) -> CrossbarBoard:
        link = self._open()
        try:
            board = CrossbarBoard(link, ElectricalLimits(0.2, 2e-3), 2.5)
            for array in range(3):
                board.use(Window(array, 8, 4))
            board.set_range(0, _RANGES_A[0])
            board.switch_on()
        except LinkError:
            link.close()
            raise
        return board

    def _open(self) -> BoardLink:
        return BoardLink(
            "drill", lambda: Wire(self.firmware, self.clock, *self._ways), timeout_s=0.1, now_s=self.clock.now_s
        )


def _insist(make: Callable[[], Made]) -> Made:
    """Try until the link lets it through."""
    while True:
        try:
            return make()
        except LinkError:
            continue
