"""Faults on real links between the drivers and the emulators: wrong values, waits beyond the stated bounds."""

from __future__ import annotations

import contextlib
import multiprocessing
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import numpy as np

from benchmarks.failed_runs import failed_runs, table
from drivers.board.crossbar_board import CrossbarBoard
from drivers.board.link import BoardLink
from drivers.board.ports import open_port
from drivers.board.protocol import Window
from drivers.chip.limits import ElectricalLimits
from drivers.emulators import board
from drivers.emulators.board_drill import NO_NOISE, drill
from drivers.emulators.board_faults import KINDS
from drivers.emulators.circuit import Resistor
from drivers.emulators.fault_modes import WireFault
from drivers.emulators.instrument import EmulatedInstrument
from drivers.emulators.latency import NONE
from drivers.emulators.server import PtyServer, TcpServer
from drivers.emulators.smu_2400 import Keithley2400 as Emulated2400
from drivers.emulators.smu_2450 import Keithley2450 as Emulated2450
from drivers.emulators.smu_2602b import Keithley2602B as Emulated2602B
from drivers.smu.interface import SourceMeasureUnit
from drivers.smu.keithley_2400 import Keithley2400
from drivers.smu.keithley_2450 import Keithley2450
from drivers.smu.keithley_2600b import Keithley2600B
from drivers.wire.dialects import SCPI, TSP, Dialect
from drivers.wire.line_transport import MARGIN_S, LineTransport, Timing
from drivers.wire.links import make_transport
from drivers.wire.message import MessageInstrument
from drivers.wire.transport import Transport
from pib_lab.clocks import VirtualClock
from pib_lab.errors import DeviceError, LinkError

OHM = 10e3
LIVES = 4
"""Links that are struck at the same time in one process; each has an emulator of its own."""

_TIMEOUT_S = 0.1
_LEVELS = 100_000
_STRUCK = 0.8  # of the exchanges
_DROPPED = "dropped between messages"
_BOARD_CHANCE = 0.04  # of each kind of fault, for each frame either way
_KINDS = tuple(kind for kind in WireFault if kind is not WireFault.WRONG_IDENTITY)


@dataclass
class Tally:
    """What came of the faults of one family. wrong: what was wrong; late: calls beyond their bound; a text each.

    longest: seconds of the longest call, and the bound that was stated for it.
    """

    kinds: Counter[str] = field(default_factory=Counter)
    answered: int = 0
    refused: int = 0
    wrong: list[str] = field(default_factory=list)
    late: list[str] = field(default_factory=list)
    longest: tuple[float, float] = (0.0, 0.0)

    @property
    def faults(self) -> int:
        """Faults that struck."""
        return sum(self.kinds.values())

    def took(self, what: str, elapsed_s: float, bound_s: float) -> None:
        """Note one call."""
        if elapsed_s > bound_s:
            self.late.append(f"{what}: {elapsed_s:.3f} s, bound {bound_s:.3f} s")
        self.longest = max(self.longest, (elapsed_s, bound_s))

    def add(self, other: Tally) -> None:
        """Count another one in."""
        self.kinds += other.kinds
        self.answered += other.answered
        self.refused += other.refused
        self.wrong += other.wrong
        self.late += other.late
        self.longest = max(self.longest, other.longest)


class Timed:
    """A link whose every call is timed against the bound that the link states for it."""

    def __init__(self, link: LineTransport, tally: Tally) -> None:
        self._link, self._tally = link, tally

    @property
    def address(self) -> str:
        """What the protocol names it by."""
        return self._link.address

    def open(self) -> None:
        """Connect."""
        with self._timed("open", self._link.timing.recover_s + MARGIN_S):
            self._link.open()

    def close(self) -> None:
        """Disconnect."""
        self._link.close()

    def exclusive(self) -> AbstractContextManager[None]:
        """Hold the link."""
        return self._link.exclusive()

    def write(self, message: str) -> None:
        """Send one message."""
        with self._timed(message, self._link.bound_s(idempotent=False)):
            self._link.write(message)

    def query(self, message: str, *, timeout_s: float | None = None, idempotent: bool = True) -> str:
        """Ask."""
        with self._timed(message, self._link.bound_s(timeout_s, idempotent=idempotent)):
            return self._link.query(message, timeout_s=timeout_s, idempotent=idempotent)

    def clear(self) -> None:
        """Nothing half sent, nothing unread."""
        with self._timed("clear", self._link.timing.recover_s + MARGIN_S):
            self._link.clear()

    def reconnect(self) -> None:
        """Close and open again."""
        with self._timed("reconnect", self._link.timing.recover_s + MARGIN_S):
            self._link.reconnect()

    @contextlib.contextmanager
    def _timed(self, what: str, bound_s: float) -> Iterator[None]:
        began_s = time.monotonic()
        try:
            yield
        finally:
            self._tally.took(what, time.monotonic() - began_s, bound_s)


@dataclass(frozen=True)
class Family:
    """One kind of link. echo: sets the level and asks for it in one message; level: asks for it."""

    name: str
    emulator: Callable[[], EmulatedInstrument]
    driver: Callable[[Transport, ElectricalLimits], SourceMeasureUnit]
    dialect: Dialect
    model: str
    echo: str
    level: str
    serial: bool = False


FAMILIES = (
    Family(
        "SCPI, 2400 over TCP",
        lambda: Emulated2400(Resistor(OHM), VirtualClock(), 1, NONE),
        lambda link, limits: Keithley2400(link, limits, VirtualClock()),
        SCPI,
        "MODEL 2400",
        ":SOUR:VOLT:LEV {:.6E};LEV?",
        ":SOUR:VOLT:LEV?",
    ),
    Family(
        "SCPI, 2450 over TCP",
        lambda: Emulated2450(Resistor(OHM), VirtualClock(), 1, NONE),
        lambda link, limits: Keithley2450(link, limits, VirtualClock()),
        SCPI,
        "MODEL 2450",
        ":SOUR:VOLT:LEV {:.6E};LEV?",
        ":SOUR:VOLT:LEV?",
    ),
    Family(
        "SCPI, 2400 on a serial line",
        lambda: Emulated2400(Resistor(OHM), VirtualClock(), 1, NONE),
        lambda link, limits: Keithley2400(link, limits, VirtualClock()),
        SCPI,
        "MODEL 2400",
        ":SOUR:VOLT:LEV {:.6E};LEV?",
        ":SOUR:VOLT:LEV?",
        serial=True,
    ),
    Family(
        "TSP, 2602B over TCP",
        lambda: Emulated2602B(Resistor(OHM), Resistor(OHM), VirtualClock(), 1, NONE),
        lambda link, limits: Keithley2600B(link, limits, VirtualClock(), "a"),
        TSP,
        r"MODEL 26\d\dB",
        "smua.source.levelv = {:.6e} print(smua.source.levelv)",
        "print(smua.source.levelv)",
    ),
)


class Life:
    """One link through many faults. Every level that is asked for is a number that was never used before, so that an
    answer to any other query shows."""

    def __init__(self, family: Family, seed: int) -> None:
        self.tally = Tally()
        self._family, self._rng = family, random.Random(seed)
        emulator = family.emulator()
        self._server: TcpServer | PtyServer = PtyServer(emulator) if family.serial else TcpServer(emulator)
        timing = Timing(timeout_s=_TIMEOUT_S, recover_s=0.5, retries=1)
        link = make_transport(self._server.address, marker=family.dialect.marker, timing=timing)
        self._link = Timed(link, self.tally)
        self._speaker = MessageInstrument(self._link, family.dialect, name=family.name, model=family.model)
        self._smu = family.driver(self._link, ElectricalLimits(0.21, 1e-3))
        self._level = self._rng.randrange(_LEVELS)

    def run(self, faults: int) -> Tally:
        """Live until so many faults have struck."""
        try:
            while not self._ready():
                self._link.close()
            while self.tally.faults < faults:
                self._exchange()
        finally:
            self._link.close()
            self._server.close()
        return self.tally

    def _ready(self) -> bool:
        """Output on, before any fault; False when this computer was too busy for the time-out."""
        try:
            self._link.open()
            self._smu.prepare()
            self._smu.source_voltage(1e-4, level_range_v=0.2)
            self._smu.switch(True)
        except LinkError:
            return False
        return True

    def _exchange(self) -> None:
        act = self._rng.choices([self._echo, self._set, self._ask, self._read, self._name], [60, 15, 15, 5, 5])[0]
        kind, before = self._strike(act == self._name), self._server.faults.hits
        try:
            act()
        except DeviceError as problem:
            self.tally.refused += 1
            if isinstance(problem, LinkError):
                with contextlib.suppress(LinkError):
                    self._link.reconnect()
        else:
            self.tally.answered += 1
        self._server.faults.clear()
        self.tally.kinds[kind] += self._server.faults.hits - before

    def _strike(self, names: bool) -> str:
        """Choose what goes wrong next."""
        rng, faults = self._rng, self._server.faults
        if rng.random() > _STRUCK:
            return "none"
        if names and rng.random() < 0.5:
            faults.arm(WireFault.WRONG_IDENTITY, 2)
            return WireFault.WRONG_IDENTITY
        if isinstance(self._server, TcpServer) and rng.random() < 0.1:
            self._server.drop_links()
            self.tally.kinds[_DROPPED] += 1
        kind = rng.choice(_KINDS)
        faults.arm(kind, rng.choice((1, 1, 2, 3)), late_s=_TIMEOUT_S * rng.uniform(0.5, 3.0))
        return kind

    def _next_v(self) -> float:
        """0.1 to 0.2 V in six digits; every one comes before any comes again."""
        self._level = (self._level + 7919) % _LEVELS
        return (_LEVELS + self._level) * 1e-6

    def _echo(self) -> None:
        level_v = self._next_v()
        idempotent = self._rng.random() < 0.5
        answer = self._speaker.ask_number(self._family.echo.format(level_v), idempotent=idempotent)
        self._judge("set and asked", answer, level_v, 1e-6)

    def _set(self) -> None:
        level_v = self._next_v()
        self._smu.set_level(level_v)
        self._judge("truly set", self._true_v(), level_v, 1e-6)

    def _ask(self) -> None:
        answer = self._smu.level()
        self._judge("level", answer, self._true_v(), 1e-6)

    def _read(self) -> None:
        level_v = self._next_v()
        self._smu.set_level(level_v)
        reading = self._smu.read()
        self._judge("current", reading.current_a, level_v / OHM, 5e-3)
        self._judge("voltage", reading.voltage_v, level_v, 5e-3)

    def _name(self) -> None:
        model = self._speaker.identify().model
        if model != self._server.instrument.execute("*IDN?")[0].split(",")[1].strip():
            self.tally.wrong.append(f"identity: {model}")

    def _true_v(self) -> float:
        """The level, past all wires."""
        return float(self._server.instrument.execute(self._family.level)[0])

    def _judge(self, what: str, value: float, expected: float, tolerance: float) -> None:
        if not abs(value - expected) <= tolerance * abs(expected):
            self.tally.wrong.append(f"{what}: {value!r}, should be {expected!r}")


def family_faults(family: Family, faults: int, seed: int = 1, lives: int = LIVES) -> Tally:
    """So many faults on links of one family."""
    total = Tally()
    with ThreadPoolExecutor(lives) as pool:
        for tally in pool.map(lambda life: Life(family, seed + life).run(-(-faults // lives)), range(lives)):
            total.add(tally)
    del total.kinds["none"]
    return total


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
                return BoardLink("board", lambda: open_port(address), timeout_s=_TIMEOUT_S)
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
            f"pseudo-terminals, a time-out of {_TIMEOUT_S:g} s. Frames: {', '.join(KINDS)}, either way. Lines:",
            f"{', '.join(_KINDS)}, {WireFault.WRONG_IDENTITY} and",
            f"{_DROPPED}; 0.5 to 3 time-outs late, up to three in a row, answers of resynchronisation too. Every level",
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
