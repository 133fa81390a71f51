"""Faults on real links between the drivers and the emulators: wrong values, waits beyond the stated bounds."""

from __future__ import annotations

import multiprocessing
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from benchmarks.failed_runs import failed_runs, table
from benchmarks.link_lives import DROPPED, FAMILIES, LIVES, TIMEOUT_S, Tally, family_faults
from benchmarks.link_lives import KINDS as LINE_KINDS
from drivers.board.crossbar_board import CrossbarBoard
from drivers.board.link import BoardLink
from drivers.board.ports import open_port
from drivers.board.protocol import Window
from drivers.chip.limits import ElectricalLimits
from drivers.emulators import board
from drivers.emulators.board_drill import NO_NOISE, drill
from drivers.emulators.board_faults import KINDS
from drivers.emulators.fault_modes import WireFault
from pib_lab.errors import DeviceError, LinkError

_BOARD_CHANCE = 0.04  # of each kind of fault, for each frame either way


def board_faults(faults: int, seed: int = 1) -> Tally:
    """Faults on the frames of boards behind sockets, in real time."""
    total = Tally()
    with ThreadPoolExecutor(LIVES) as pool:
        for tally in pool.map(lambda life: _board_life(-(-faults // LIVES), seed + life), range(LIVES)):
            total.add(tally)
    return total


def _board_life(faults: int, seed: int) -> Tally:
    rng, tally = np.random.default_rng(seed), Tally()
    drives = rng.integers(0, 256, (40, 3, 8))
    with board.start(override=NO_NOISE | {"rows": 8, "columns": 8}, seed=seed) as server:
        ways = server.to_board, server.to_host
        host = _BoardHost(server.address)
        host.board.write(0, np.ones((8, 8), np.bool_), rng.integers(0, 40_000_000, 64), None, 12)
        known = [host.board.measure([0], 4, codes).codes for codes in drives]
        for way in ways:
            way.chances = dict.fromkeys(KINDS, _BOARD_CHANCE)
        while (injected := sum(way.injected for way in ways)) < faults:
            which, began_s = int(rng.integers(len(drives))), time.monotonic()
            try:
                answer = host.board.measure([0], 4, drives[which]).codes
            except DeviceError:
                tally.refused += 1
            else:
                tally.answered += 1
                if not np.array_equal(answer, known[which]):
                    tally.wrong.append(f"codes of vectors {which}")
            tally.took("MEASURE", time.monotonic() - began_s, host.link.bound_s())
            if not all(server.outputs().values()):  # the dead-man timer, after a silence: begin anew
                host.close()
                host = _BoardHost(server.address)
        host.close()
        tally.kinds["frames"] = injected
    return tally


class _BoardHost:
    """A session with array 0 ready to be measured; connected anew until the link lets it through."""

    def __init__(self, address: str) -> None:
        while True:
            self.link = self._connect(address)
            try:
                self.board = CrossbarBoard(self.link, ElectricalLimits(0.2, 2e-3), 2.5)
                self.board.use(Window(0, 8, 4))
                self.board.set_range(0, 1e-4)
                self.board.switch_on()
                return
            except DeviceError:
                self.link.close()

    def close(self) -> None:
        """Outputs off, as far as the link allows."""
        self.link.close()

    def _connect(self, address: str) -> BoardLink:
        while True:
            try:
                return BoardLink("board", lambda: open_port(address), timeout_s=TIMEOUT_S)
            except LinkError:
                continue


def link_faults(seeds: Sequence[int], processes: int, n: int = 10_000, runs: int = 52) -> str:
    """`n` faults on frames and `n` on lines, then `runs` runs that fail; the section of docs/benchmarks.md."""
    seed, each = seeds[0], n // len(FAMILIES)
    drilled = drill(n, seed=seed)
    virtual = Tally(Counter(frames=drilled.injected), drilled.requests - drilled.refused, drilled.refused)
    virtual.wrong, virtual.late = ["wrong"] * (drilled.wrong + drilled.twice), ["late"] * drilled.late
    virtual.longest = drilled.longest_s, drilled.bound_s
    rows = [_row("board, in virtual time", virtual, len(KINDS)), _row("board over TCP", board_faults(each, seed), 6)]
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        jobs = [(number, each, seed) for number in range(len(FAMILIES))]
        for family, found in zip(FAMILIES, pool.starmap(_by_number, jobs, chunksize=1), strict=True):
            print(f"  {family.name}: {dict(found.kinds)} {found.wrong[:5]} {found.late[:5]}", flush=True)
            rows.append(_row(family.name, found, len(found.kinds)))
    done = failed_runs(runs, processes, seed)
    for failure in done:
        if failure.left_on or failure.untold or not failure.error:
            print(f"  {failure}", flush=True)
    return "\n".join(
        [
            "### Links under faults",
            "",
            f"`python -m benchmarks link-faults --n {n}`; seed {seed}. Real drivers on emulators behind sockets and",
            f"pseudo-terminals, a time-out of {TIMEOUT_S:g} s. Frames: {', '.join(KINDS)}, either way. Lines:",
            f"{', '.join(LINE_KINDS)}, {WireFault.WRONG_IDENTITY} and",
            f"{DROPPED}; 0.5 to 3 time-outs late, up to three in a row, answers of resynchronisation too. Every level",
            "that is set is a new number, so that any other answer shows.",
            "",
            "| link | faults | kinds | answers | ended in an error | wrong values | waits beyond the bound | longest "
            "| its bound |",
            "|---|---|---|---|---|---|---|---|---|",
            *rows,
            "",
            "What no check can find on a line link, and is not among these: digits changed within a line, and an",
            "answer given twice of which the second comes only after the next query.",
            "",
            "### Runs that fail because a link does",
            "",
            f"{len(done)} runs of a task of two classes on emulators over TCP, outputs on, a link broken at a random",
            "instant. Off is what the emulators know; confirmed is the last word of the run and of its guardian.",
            "",
            *table(done),
            "",
        ]
    )


def _by_number(number: int, faults: int, seed: int) -> Tally:
    return family_faults(FAMILIES[number], faults, seed)


def _row(name: str, tally: Tally, kinds: int) -> str:
    longest_s, bound_s = tally.longest
    counts = (tally.faults, kinds, tally.answered, tally.refused, len(tally.wrong), len(tally.late))
    return f"| {name} | {' | '.join(f'{count:,}' for count in counts)} | {longest_s:.2f} s | {bound_s:.2f} s |"
