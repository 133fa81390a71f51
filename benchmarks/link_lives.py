"""Lives of links: a real driver and an emulator behind a socket or a pseudo-terminal, struck by faults."""

from __future__ import annotations

import contextlib
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from drivers.chip.limits import ElectricalLimits
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
TIMEOUT_S = 0.1
DROPPED = "dropped between messages"
KINDS = tuple(kind for kind in WireFault if kind is not WireFault.WRONG_IDENTITY)

_LEVELS = 100_000
_STRUCK = 0.8  # of the exchanges


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


def _scpi(
    name: str,
    emulator: Callable[[], EmulatedInstrument],
    driver: Callable[[Transport, ElectricalLimits], SourceMeasureUnit],
    model: str,
    serial: bool = False,
) -> Family:
    return Family(name, emulator, driver, SCPI, model, ":SOUR:VOLT:LEV {:.6E};LEV?", ":SOUR:VOLT:LEV?", serial)


def _emulated_2400() -> Emulated2400:
    return Emulated2400(Resistor(OHM), VirtualClock(), 1, NONE)


def _driven_2400(link: Transport, limits: ElectricalLimits) -> Keithley2400:
    return Keithley2400(link, limits, VirtualClock())


FAMILIES = (
    _scpi("SCPI, 2400 over TCP", _emulated_2400, _driven_2400, "MODEL 2400"),
    _scpi(
        "SCPI, 2450 over TCP",
        lambda: Emulated2450(Resistor(OHM), VirtualClock(), 1, NONE),
        lambda link, limits: Keithley2450(link, limits, VirtualClock()),
        "MODEL 2450",
    ),
    _scpi("SCPI, 2400 on a serial line", _emulated_2400, _driven_2400, "MODEL 2400", serial=True),
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
        timing = Timing(timeout_s=TIMEOUT_S, recover_s=0.5, retries=1)
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
            self.tally.kinds[DROPPED] += 1
        kind = rng.choice(KINDS)
        faults.arm(kind, rng.choice((1, 1, 2, 3)), late_s=TIMEOUT_S * rng.uniform(0.5, 3.0))
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
