"""The crossbar board: sessions, limits, dead-man timer and repeated requests of its firmware, and the host's link."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from board_bench import SESSION, Rig, Talk, VirtualBoard

from drivers.board.frames import Frame, encode
from drivers.board.link import BoardLink
from drivers.board.protocol import (
    VERSION,
    BoardLimits,
    Hello,
    Kind,
    Outputs,
    Pulse,
    Range,
    State,
    Status,
    Window,
    encode_u8,
    encode_u16,
)
from drivers.board.vectors import Measure, ReadCells, Write
from drivers.chip.limits import ElectricalLimits
from drivers.emulators.board_drill import drill
from pib_lab.errors import DeviceError, LimitError, LinkError
from pib_lab.unit import CancelToken

ONE_PULSE = Pulse(0, 1, 2, 1000, 1000, 1, 10).encode()


# Sessions and repeated requests


def test_a_repeated_request_is_answered_again_and_not_carried_out_twice() -> None:
    """The same sequence number gives the very same answer, and the cell has got one pulse."""
    talk = Talk()
    talk.energise()
    first = talk.ask(Kind.PULSE, ONE_PULSE)
    assert talk.ask(Kind.PULSE, ONE_PULSE, sequence=talk.sequence) == first
    assert talk.firmware.chip.array(0).pulses() == 1


def test_a_request_that_comes_too_late_is_not_carried_out() -> None:
    """A number older than the answers that are kept is refused."""
    talk = Talk()
    talk.energise()
    talk.sequence += 1  # this one is on its way for long
    for _ in range(6):
        talk.ask(Kind.STATUS)
    assert talk.ask(Kind.PULSE, ONE_PULSE, sequence=talk.sequence - 6).status == Status.STALE
    assert talk.firmware.chip.array(0).pulses() == 0


def test_sequence_numbers_may_pass_their_end() -> None:
    """After 65535 comes 0."""
    talk = Talk(sequence=65533)
    assert [talk.ask(Kind.STATUS, sequence=number).status for number in (65535, 0, 1)] == [0, 0, 0]


def test_a_second_host_takes_over_with_outputs_off() -> None:
    """A new session switches outputs off first; the old one is refused from then on, and cannot come back."""
    talk = Talk()
    talk.energise()
    Talk(talk.firmware, session=SESSION + 1)
    assert talk.firmware.outputs == Outputs.NONE
    assert talk.ask(Kind.STATUS).status == Status.NO_SESSION
    assert talk.ask(Kind.HELLO, Hello(VERSION, 500).encode(), sequence=1).status == Status.STALE


def test_another_version_is_refused() -> None:
    """A host that speaks another version gets no session."""
    talk = Talk(session=1)
    talk.session = 2
    assert talk.ask(Kind.HELLO, Hello(VERSION + 1, 500).encode()).status == Status.WRONG_VERSION
    assert talk.ask(Kind.STATUS).status == Status.NO_SESSION


# Limits


@pytest.mark.parametrize("kind", [Kind.MEASURE, Kind.READ_CELLS, Kind.WRITE, Kind.PULSE])
def test_nothing_is_driven_while_outputs_are_off(kind: Kind) -> None:
    """Requests that need outputs are refused without them."""
    assert Talk().ask(kind, b"").status == Status.OUTPUTS_OFF


def test_the_gate_comes_before_the_drain() -> None:
    """Row drivers need word lines on, word lines need a bias, and the bias stays while row drivers are on."""
    talk = Talk()
    assert talk.ask(Kind.OUTPUTS, encode_u8(Outputs.WORD_LINES)).status == Status.GATE_FIRST
    talk.ask(Kind.GATE, encode_u16(2500))
    assert talk.ask(Kind.OUTPUTS, encode_u8(Outputs.ALL)).status == Status.GATE_FIRST
    talk.energise()
    assert talk.ask(Kind.GATE, encode_u16(0)).status == Status.GATE_FIRST
    assert talk.firmware.outputs == Outputs.ALL


def test_a_new_session_finds_no_gate_bias() -> None:
    """The bias that one host has set does not let the next one's word lines on."""
    talk = Talk()
    talk.energise()
    other = Talk(talk.firmware, session=SESSION + 1)
    assert talk.firmware.gate_mv == 0
    assert other.ask(Kind.OUTPUTS, encode_u8(Outputs.WORD_LINES)).status == Status.GATE_FIRST


def test_a_gate_limit_below_the_bias_in_force_is_refused() -> None:
    """No limit says less than what is driven; once the bias is lower it is taken."""
    talk = Talk()
    talk.energise(gate_mv=2500)
    hard = BoardLimits.decode(talk.ask(Kind.LIMITS).payload)
    lower = replace(hard, gate_mv=2000).encode()
    assert talk.ask(Kind.LIMITS, lower).status == Status.BEYOND_LIMIT
    talk.ask(Kind.GATE, encode_u16(1900))
    assert talk.ask(Kind.LIMITS, lower).status == Status.OK


def test_single_cells_are_not_read_beyond_the_drive_limit() -> None:
    """Neither when they are asked for nor between the pulses of a verified write."""
    talk = Talk()
    talk.energise()
    hard = BoardLimits.decode(talk.ask(Kind.LIMITS).payload)
    talk.ask(Kind.LIMITS, replace(hard, drive_uv=hard.drive_uv // 2).encode())
    write = Write(0, 0, np.ones((1, 4), np.bool_), np.full(4, 10_000_000), None, 3)
    read = ReadCells(0, 0, 1, talk.firmware.chip.ranges_na[0])
    assert talk.ask(Kind.WRITE, write.encode()).status == Status.BEYOND_LIMIT
    assert talk.ask(Kind.READ_CELLS, read.encode()).status == Status.BEYOND_LIMIT


def test_limits_can_only_be_lowered() -> None:
    """A lower limit is taken and holds; a higher one is refused and changes nothing."""
    talk = Talk()
    hard = BoardLimits.decode(talk.ask(Kind.LIMITS).payload)
    lower = BoardLimits(hard.drive_uv // 2, *[getattr(hard, name) for name in BoardLimits.__slots__[1:]])
    assert BoardLimits.decode(talk.ask(Kind.LIMITS, lower.encode()).payload) == lower
    assert talk.ask(Kind.LIMITS, hard.encode()).status == Status.BEYOND_LIMIT
    talk.energise()
    talk.ask(Kind.WINDOW, Window(0, 1, 1).encode())
    codes = np.array([[65535]])
    assert talk.ask(Kind.MEASURE, Measure((0,), codes).encode()).status == Status.BEYOND_LIMIT
    assert talk.ask(Kind.MEASURE, Measure((0,), codes // 3).encode()).status == Status.OK


@pytest.mark.parametrize(
    "pulse",
    [
        Pulse(0, 1, 2, 10_001, 1000, 1, 10),
        Pulse(0, 1, 2, -10_001, 1000, 1, 10),
        Pulse(0, 1, 2, 1000, 10_001, 1, 100),
        Pulse(0, 1, 2, 1000, 1000, 1, 1),
    ],
    ids=["amplitude", "negative amplitude", "width", "rate"],
)
def test_a_pulse_beyond_a_limit_is_refused_by_the_board(pulse: Pulse) -> None:
    """Amplitude, width and rate are held on the board, whatever the host checks."""
    talk = Talk()
    talk.energise()
    assert talk.ask(Kind.PULSE, pulse.encode()).status == Status.BEYOND_LIMIT
    assert talk.firmware.chip.array(0).pulses() == 0


def test_a_pulse_beyond_a_limit_is_refused_by_the_host() -> None:
    """The host refuses before anything is sent, and without outputs too."""
    bench = VirtualBoard()
    with pytest.raises(LimitError, match="gate"):
        bench.board.pulse(0, 0, 0, 1.0, 1e-6, 1, 1e-5)
    bench.board.switch_on()
    executed = bench.firmware.executed
    for level_v, width_s, period_s in [(10.5, 1e-6, 1e-5), (1.0, 2e-5, 1e-4), (1.0, 1e-6, 1e-6)]:
        with pytest.raises(LimitError):
            bench.board.pulse(0, 0, 0, level_v, width_s, 1, period_s)
    assert bench.firmware.executed == executed


def test_raw_pulses_move_a_cell_up_and_down() -> None:
    """SET raises the conductance, RESET lowers it, and both count."""
    bench = VirtualBoard()
    bench.board.use(Window(0, 4, 2))
    bench.board.switch_on()
    levels = []
    for level_v in (1.0, -0.5):
        assert bench.board.pulse(0, 1, 2, level_v, 1e-6, 1, 1e-5) == 1
        levels.append(float(bench.firmware.chip.array(0).conductances()[1, 1, 0]))
    assert levels[0] > levels[1] > 0.0
    assert bench.firmware.chip.array(0).pulses() == 2


def test_a_request_that_takes_too_long_is_refused() -> None:
    """The dead-man timer could not hold otherwise."""
    talk = Talk()
    talk.energise()
    assert talk.ask(Kind.PULSE, Pulse(0, 1, 2, 1000, 1000, 101, 10_000).encode()).status == Status.TOO_LONG


# The dead-man timer


def test_outputs_go_off_when_the_host_falls_silent() -> None:
    """After the time agreed in the handshake, and not before; the state says why."""
    bench = VirtualBoard()
    bench.board.switch_on()
    bench.firmware._watch.sleep_s(0.49)
    bench.firmware.tick()
    assert bench.firmware.outputs == Outputs.ALL
    bench.firmware._watch.sleep_s(0.02)
    bench.firmware.tick()
    assert bench.firmware.outputs == Outputs.NONE
    assert bench.board.state().deadman


def test_broken_frames_are_no_sign_of_life() -> None:
    """Noise on a dead link does not keep outputs on."""
    bench = VirtualBoard()
    bench.board.switch_on()
    bench.to_board.chances["corrupt"] = 1.0
    with pytest.raises(LinkError):
        bench.board.state()
    bench.firmware._watch.sleep_s(0.6)
    bench.firmware.tick()
    assert bench.firmware.outputs == Outputs.NONE


def test_after_the_dead_man_nothing_is_measured_until_outputs_are_switched_again() -> None:
    """The host is told, and must make the board safe before it goes on."""
    with Rig() as rig:
        rig.measure(rig.drive(2))
        rig.watch.sleep_s(1.0)
        with pytest.raises(DeviceError, match="dead-man"):
            rig.measure(rig.drive(2))
        assert rig.unit.make_safe().safe
        assert np.isfinite(rig.measure(rig.drive(2))).all()


def test_the_heartbeat_keeps_outputs_on_while_the_host_computes() -> None:
    """Requests go on arriving from a host that asks for nothing, for longer than the dead-man time."""
    with Rig(watch=None) as rig:
        rig.unit.measure(rig.drive(1), cancel=CancelToken())
        with rig.server.board() as firmware:
            executed = firmware.executed
        deadline_s = time.monotonic() + 5.0
        while time.monotonic() < deadline_s and rig.server.state()["requests"] < executed + 5:
            threading.Event().wait(0.01)
        assert rig.server.state()["requests"] >= executed + 5  # 5 beats are 1.25 times the dead-man time
        assert all(rig.server.outputs().values())


# The link


def test_a_dead_link_is_reported_within_the_bound() -> None:
    """Four attempts and no more."""
    bench = VirtualBoard()
    bench.to_board.dead = True
    began_s = bench.clock.now_s()
    with pytest.raises(LinkError, match="no answer"):
        bench.board.state()
    assert bench.clock.now_s() - began_s <= bench.link.bound_s()


@pytest.mark.parametrize("kind", ["drop", "corrupt", "truncate", "duplicate", "late", "garbage"])
@pytest.mark.parametrize("way", ["to_board", "to_host"])
def test_one_fault_does_not_reach_the_caller(kind: str, way: str) -> None:
    """Whatever happens to one frame, the request is answered, and carried out once."""
    bench = VirtualBoard()
    bench.board.use(Window(0, 4, 2))
    bench.board.switch_on()
    getattr(bench, way).inject(kind)
    assert bench.board.pulse(0, 1, 2, 1.0, 1e-6, 1, 1e-5) == 1
    assert bench.board.state().outputs == Outputs.ALL
    assert bench.firmware.chip.array(0).pulses() == 1


def test_faults_never_make_a_wrong_value() -> None:
    """Hundreds of faults: no wrong answer, no pulse twice, no wait beyond the bound."""
    found = drill(300)
    assert found.injected >= 300
    assert (found.wrong, found.twice, found.late) == (0, 0, 0)


def test_an_answer_to_another_question_is_dropped() -> None:
    """Sound frames of another number, session or kind are not taken for the answer."""
    bench = VirtualBoard()
    wire = bench.wire()
    link = BoardLink("test", lambda: wire, now_s=bench.clock.now_s)
    state = State(Outputs.ALL, True, 1, 1, 1, 1).encode()
    for frame in (
        Frame(Kind.STATUS | 0x80, link._session, link._sequence, state),
        Frame(Kind.STATUS | 0x80, link._session ^ 1, link._sequence + 1, state),
        Frame(Kind.GATE | 0x80, link._session, link._sequence + 1, state),
    ):
        wire._inbox += encode(frame)
    assert State.decode(link.request(Kind.STATUS)).outputs == Outputs.NONE


def test_another_window_shows_the_same_cells() -> None:
    """The rows next to the sense inputs and the first pairs are in both windows."""
    bench = VirtualBoard()
    bench.board.use(Window(0, 8, 3))
    bench.board.switch_on()
    targets = np.arange(48) * 500_000
    bench.board.write(0, np.ones((8, 6), np.bool_), targets, None, 3)
    bench.board.use(Window(0, 3, 2))
    part = bench.firmware.chip.array(0).conductances()
    np.testing.assert_allclose(part * 1e12, targets.reshape(8, 3, 2)[5:, :2], atol=500)
    bench.board.use(Window(0, 8, 3))
    np.testing.assert_allclose(bench.firmware.chip.array(0).conductances() * 1e12, targets.reshape(8, 3, 2), atol=500)


def test_a_gate_bias_beyond_the_boards_limit_is_refused() -> None:
    """Checked before anything is sent."""
    bench = VirtualBoard()
    bench.board._gate_v = 6.0
    with pytest.raises(LimitError, match="gate"):
        bench.board.switch_on()
    assert bench.firmware.gate_mv == 0


def test_limits_of_the_chip_are_held_by_the_board() -> None:
    """The tighter of the profile's and the board's are in force on both sides."""
    bench = VirtualBoard()
    bench.board.tighten(ElectricalLimits(0.1, 1e-3))
    held = BoardLimits.decode(bench.link.request(Kind.LIMITS))
    assert (held.drive_uv, held.column_na) == (100_000, 1_000_000)
    bench.board.use(Window(0, 1, 1))
    bench.board.switch_on()
    with pytest.raises(LimitError):
        bench.board.measure([0], 1, np.array([[65535]], np.uint16))


def test_an_abort_switches_everything_off() -> None:
    """Whatever was on, and the answer says what is on now."""
    talk = Talk()
    talk.energise()
    assert talk.ask(Kind.ABORT).payload == b"\0"
    assert talk.firmware.outputs == Outputs.NONE


def test_a_range_can_be_asked_for() -> None:
    """GET_RANGE tells what SET_RANGE has chosen: the nearest that is not below the wish."""
    talk = Talk()
    chosen = talk.ask(Kind.SET_RANGE, Range(3, 11_000).encode()).payload
    assert Range.decode(chosen) == Range(3, 20_000)
    assert talk.ask(Kind.GET_RANGE, encode_u16(3)).payload == chosen
