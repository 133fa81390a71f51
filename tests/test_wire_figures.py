"""The figures of the wire can fail: what they count is found when it is there. And first steps with an instrument."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from test_examples import _load

from benchmarks.failed_runs import Failure
from benchmarks.fuzz import fuzz_target
from benchmarks.fuzz_emulators import Feed, always
from benchmarks.fuzz_inputs import each_input
from benchmarks.fuzz_targets import TARGETS, Target
from benchmarks.link_lives import FAMILIES, Life
from drivers.emulators.circuit import Resistor
from drivers.emulators.latency import NONE
from drivers.emulators.server import TcpServer
from drivers.emulators.smu_2400 import Keithley2400
from drivers.emulators.smu_2450 import Keithley2450
from drivers.emulators.smu_2602b import Keithley2602B
from drivers.wire.line_transport import LineTransport, _State
from drivers.wire.socket_wire import SocketWire
from pib_lab.clocks import VirtualClock

SERIAL_2400, TSP_2602B = FAMILIES[2:]


def test_link_faults_find_nothing_where_nothing_is_wrong() -> None:
    """The links as they are: no wrong value, no wait beyond the bound."""
    tally = Life(TSP_2602B, seed=1).run(25)
    assert tally.faults >= 25
    assert (tally.wrong, tally.late) == ([], [])
    assert tally.answered > 5


def test_link_faults_find_a_link_that_does_not_resynchronise(monkeypatch: pytest.MonkeyPatch) -> None:
    """A late answer that is taken for the next one is a wrong value."""
    life, recover = Life(SERIAL_2400, seed=1), LineTransport._recover

    def lazy(link: LineTransport) -> None:
        if life.tally.faults:
            link._state = _State.READY  # it believes that nothing is under way
        else:
            recover(link)

    monkeypatch.setattr(LineTransport, "_recover", lazy)
    monkeypatch.setattr(LineTransport, "reconnect", lazy)
    assert life.run(40).wrong


def test_link_faults_find_a_wait_beyond_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wire that waits for longer than it was told is late."""
    receive, waits_s = SocketWire.receive, [2.0]

    def slow(wire: SocketWire, timeout_s: float) -> bytes:
        data = receive(wire, timeout_s)
        if not data and waits_s:
            time.sleep(waits_s.pop())
        return data

    monkeypatch.setattr(SocketWire, "receive", slow)
    assert Life(TSP_2602B, seed=2).run(6).late


CLEAN = Failure(
    hardware="board",
    fault="x",
    outputs=frozenset("ab"),
    unreachable=frozenset("b"),
    on=frozenset("b"),
    confirmed=frozenset("a"),
    doubtful=frozenset("b"),
    told=True,
    error="gone",
    off_s=0.5,
    ended_s=1.0,
)


@pytest.mark.parametrize(
    ("changed", "left_on", "untold"),
    [
        ({}, "", ""),
        ({"on": frozenset("ab")}, "a", "a"),  # confirmed off, and on
        ({"confirmed": frozenset()}, "a", ""),  # reachable, and not confirmed
        ({"doubtful": frozenset()}, "", "b"),  # unreachable, and nobody says so
        ({"confirmed": frozenset("ab"), "doubtful": frozenset(), "on": frozenset()}, "", "b"),
        ({"told": False}, "", "b"),
    ],
)
def test_failed_runs_are_judged_by_the_truth(changed: dict[str, Any], left_on: str, untold: str) -> None:
    """An output left on, one confirmed without reason, and one kept quiet about each count."""
    failure = replace(CLEAN, **changed)
    assert (failure.left_on, failure.untold) == (frozenset(left_on), frozenset(untold))


def _target(feed: Feed) -> Target:
    return Target("planted", (b"12,34",), (b",", b"5"), always(feed))


def test_fuzzing_finds_a_crash_and_a_hang() -> None:
    """An exception that the parser does not promise, and an input that takes its second, are counted."""

    def crashing(data: bytes) -> None:
        data.decode("ascii")

    def hanging(data: bytes) -> None:
        while b"44" in data:
            pass

    assert fuzz_target(_target(crashing), 100).crashes
    assert fuzz_target(Target("planted", (b"12,34",), (b"44",), always(hanging)), 2).hangs


def test_a_parser_that_crashed_is_made_anew() -> None:
    """What is in no known state is not fed on."""
    fed_on: list[bytes] = []

    @contextlib.contextmanager
    def make() -> Iterator[Feed]:
        crashed = False

        def feed(data: bytes) -> None:
            nonlocal crashed
            if crashed:
                fed_on.append(data)
            crashed = not data.isascii()
            data.decode("ascii")

        yield feed

    found = fuzz_target(Target("planted", (b"1",), (b"\xff",), make), 60)
    assert 0 < len(found.crashes) < found.inputs
    assert fed_on == []


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_no_parser_crashes_or_hangs(target: Target) -> None:
    """Every parser that takes bytes from outside survives what hypothesis makes; the benchmark does many more."""
    found = fuzz_target(target, 30, seed=7)
    assert (found.inputs, found.crashes, found.hangs) == (30, [], [])


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_inputs_are_valid_broken_and_none_at_all(target: Target) -> None:
    """A parser sees its valid inputs whole as well as damaged, and the same seed makes the same inputs."""
    first, again = list[bytes](), list[bytes]()
    for inputs in (first, again):
        each_input(target, 150, 1, inputs.append)
    assert set(first) & set(target.samples)
    assert len(set(first)) > 50
    assert first == again


@pytest.mark.parametrize(
    ("model", "emulator"),
    [
        ("keithley-2400", lambda port: Keithley2400(port, VirtualClock(), 1, NONE)),
        ("keithley-2450", lambda port: Keithley2450(port, VirtualClock(), 1, NONE)),
        ("keithley-2600b", lambda port: Keithley2602B(port, Resistor(1e12), VirtualClock(), 1, NONE)),
    ],
)
def test_the_first_steps_before_an_instrument(model: str, emulator: Any) -> None:
    """The example finds 100 kohm where there are 100 kohm, and leaves the output off."""
    server = TcpServer(emulator(Resistor(100e3)))
    try:
        readings = _load("smu_first_steps").look(model, server.address, VirtualClock())
        assert readings[-1].current_a == pytest.approx(2e-6, rel=2e-2)
        assert readings[-1].sound
        assert not any(server.instrument.outputs().values())
    finally:
        server.close()


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("overrides", b"units.0='x'"),
        ("device profile", b'title = "\xff"'),
        ("wear ledger, its facts", b'{"serial": "chip", "sessions": {"a": {"host": 1}}, "runs": 1, "killed": 0}'),
        ("wear ledger, its facts", b"[" * 100_000),
        ("guardian, JSON lines", b'{"do": "btrue}'),
        ("guardian, JSON lines", b'{"do": "record", "path": "\\u0000"}'),
        ("quantities", b"2222222**22^222222V 0/1V"),
    ],
)
def test_what_fuzzing_has_found_stays_mended(name: str, data: bytes) -> None:
    """Inputs that once got past a parser end in the error that it promises."""
    (target,) = (target for target in TARGETS if target.name == name)
    with target.make() as feed:
        feed(data)
