"""The emulated 2602B and 707B: what is sourced flows through the circuit, off is not open, belief is not truth."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.emulators.circuit import Drive, Mode, Resistor
from drivers.emulators.crosspoints import Crosspoint
from drivers.emulators.latency import LIKE_REAL, NONE
from drivers.emulators.matrix_707b import Keithley707B
from drivers.emulators.smu_2602b import Keithley2602B
from pib_lab.clocks import VirtualClock


class _Terminals(Resistor):
    """A resistor that shows what is driven."""

    @property
    def driven(self) -> Drive:
        return self._drive


class _Smu:
    def __init__(self, ohm: float = 1e4, latency: object = NONE) -> None:
        self.clock = VirtualClock()
        self.a, self.b = _Terminals(ohm), _Terminals(ohm)
        self.emulated = Keithley2602B(self.a, self.b, self.clock, 1, LIKE_REAL if latency is LIKE_REAL else NONE)

    def tell(self, *messages: str) -> None:
        for message in messages:
            assert self.emulated.execute(message) == []
            assert self.emulated.errors.listed() == []

    def ask(self, message: str) -> list[float]:
        (answer,) = self.emulated.execute(message)
        return [float(field) for field in answer.replace(",", "\t").split("\t")]

    def error(self, message: str) -> str:
        self.emulated.execute(message)
        return "|".join(self.emulated.errors.listed())


def test_a_sourced_voltage_makes_the_current_of_ohms_law() -> None:
    """What the channel measures is what flows, within its noise."""
    smu = _Smu(ohm=1e4)
    smu.tell("smua.source.func = smua.OUTPUT_DCVOLTS smua.source.levelv = 0.2 smua.source.output = smua.OUTPUT_ON")
    current, voltage = smu.ask("print(smua.measure.iv())")
    assert current == pytest.approx(20e-6, rel=1e-4)
    assert voltage == pytest.approx(0.2, rel=1e-4)
    assert smu.ask("print(smua.measure.r())")[0] == pytest.approx(1e4, rel=1e-3)
    assert smu.ask("print(smua.measure.p())")[0] == pytest.approx(4e-6, rel=1e-3)


def test_the_two_channels_are_apart() -> None:
    """Settings and terminals of smua are not those of smub."""
    smu = _Smu()
    smu.tell("smub.source.levelv = 0.5 smub.source.output = 1")
    assert smu.emulated.outputs() == {"smua": False, "smub": True}
    assert smu.ask("print(smua.measure.v())")[0] == pytest.approx(0.0, abs=1e-5)
    assert smu.ask("print(smub.measure.v())")[0] == pytest.approx(0.5, rel=1e-4)


def test_the_limit_clamps_and_tells() -> None:
    """At the limit the source is in compliance and the current stays there."""
    smu = _Smu(ohm=100.0)
    smu.tell("smua.source.limiti = 1e-3 smua.source.levelv = 1 smua.source.output = 1")
    assert smu.emulated.execute("print(smua.source.compliance)") == ["true"]
    assert smu.ask("print(smua.measure.i())")[0] == pytest.approx(1e-3, rel=1e-3)


def test_a_stuck_clamp_stays_where_it_is() -> None:
    """The fault holds the limit at its value whatever is set, until it is healed."""
    smu = _Smu(ohm=1e4)
    smu.tell("smua.source.levelv = 0.2 smua.source.output = 1")
    smu.emulated.set_state("smua.stuck_compliance", 1e-6)
    smu.tell("smua.source.limiti = 1e-3")
    assert smu.ask("print(smua.measure.i())")[0] == pytest.approx(1e-6, rel=1e-2)
    smu.emulated.set_state("stuck_compliance", 0)
    assert smu.ask("print(smua.measure.i())")[0] == pytest.approx(20e-6, rel=1e-3)


def test_an_offset_adds_to_readings_and_not_to_the_truth() -> None:
    """The meter lies, the circuit does not."""
    smu = _Smu()
    smu.emulated.set_state("offset_a", 1e-3)
    assert smu.ask("print(smua.measure.i())")[0] == pytest.approx(1e-3, rel=1e-3)
    assert smu.emulated.state()["smua"]["true_current_a"] == 0.0


@pytest.mark.parametrize(
    ("setting", "drive"),
    [
        ("smua.source.offmode = smua.OUTPUT_NORMAL", Drive(Mode.VOLTAGE, 0.0, 1e-3)),
        ("smua.source.offmode = smua.OUTPUT_ZERO", Drive(Mode.VOLTAGE, 0.0, 1.0)),
        ("smua.source.offmode = smua.OUTPUT_HIGH_Z", Drive(Mode.OPEN)),
        ("smua.source.offfunc = smua.OUTPUT_DCAMPS", Drive(Mode.CURRENT, 0.0, 40.0)),
    ],
)
def test_output_off_is_what_the_off_mode_says(setting: str, drive: Drive) -> None:
    """NORMAL holds 0 V within 1 mA; only HIGH_Z opens the relay."""
    smu = _Smu()
    smu.tell("smua.source.levelv = 1 smua.source.output = 1", setting, "smua.source.output = 0")
    assert smu.a.driven == drive


def test_opening_the_relay_takes_its_time() -> None:
    """The high-impedance state is reached after the relay's time, NORMAL at once."""
    smu = _Smu(latency=LIKE_REAL)
    smu.tell("smua.source.output = 1")
    before_s = smu.clock.now_s()
    smu.tell("smua.source.output = 0")
    normal_s, before_s = smu.clock.now_s() - before_s, smu.clock.now_s()
    smu.tell("smua.source.offmode = smua.OUTPUT_HIGH_Z")
    assert smu.clock.now_s() - before_s > normal_s + 0.01


def test_a_fixed_range_overflows() -> None:
    """A reading beyond 102 % of a fixed measure range is 9.91e37, never a number that could be believed."""
    smu = _Smu(ohm=1e3)
    smu.tell("smua.measure.rangei = 1e-6 smua.source.levelv = 1 smua.source.output = 1")
    assert smu.ask("print(smua.measure.autorangei)") == [0.0]
    assert smu.ask("print(smua.measure.i())") == [9.91e37]
    smu.tell("smua.measure.autorangei = smua.AUTORANGE_ON")
    assert smu.ask("print(smua.measure.i())")[0] == pytest.approx(1e-3, rel=1e-3)


def test_integration_sets_noise_and_time() -> None:
    """Longer integration is quieter by the root of the time, and takes that time."""
    smu = _Smu(latency=LIKE_REAL)
    smu.tell("smua.measure.rangei = 1e-3 smua.measure.count = 200 smua.measure.autozero = 0")
    spread, taken_s = [], []
    for nplc in (0.01, 1.0):
        smu.tell(f"smua.measure.nplc = {nplc}")
        before_s = smu.clock.now_s()
        smu.tell("smua.measure.i(smua.nvbuffer1)")
        taken_s.append(smu.clock.now_s() - before_s)
        values = smu.ask("printbuffer(1, 200, smua.nvbuffer1)")
        spread.append(math.sqrt(sum(value * value for value in values) / 200))
    assert spread[0] / spread[1] == pytest.approx(10.0, rel=0.3)
    assert taken_s[1] > 200 * 20e-3 > taken_s[0]


def test_buffers_hold_readings_source_values_and_times() -> None:
    """A buffer is emptied by each measurement unless it appends; printbuffer interleaves its columns."""
    smu = _Smu()
    smu.tell("smua.source.levelv = 0.1 smua.source.output = 1 smua.nvbuffer1.clear() smua.nvbuffer1.appendmode = 1")
    smu.tell("smua.measure.i(smua.nvbuffer1) smua.source.levelv = 0.2 smua.measure.i(smua.nvbuffer1)")
    assert smu.ask("print(smua.nvbuffer1.n)") == [2.0]
    numbers = smu.ask("printbuffer(1, 2, smua.nvbuffer1.readings, smua.nvbuffer1.sourcevalues)")
    assert numbers == pytest.approx([10e-6, 0.1, 20e-6, 0.2], rel=1e-3)
    assert smu.ask("print(smua.nvbuffer1[2])")[0] == pytest.approx(20e-6, rel=1e-3)
    smu.tell("smua.nvbuffer1.appendmode = 0 smua.measure.i(smua.nvbuffer1)")
    assert smu.ask("print(smua.nvbuffer1.n)") == [1.0]


def test_a_made_buffer_serves_as_the_built_in_ones() -> None:
    """`makebuffer` gives a buffer of its size; one more reading is refused."""
    smu = _Smu()
    smu.tell("mine = smua.makebuffer(2) mine.appendmode = 1 smua.measure.v(mine) smua.measure.v(mine)")
    assert smu.ask("print(mine.n, mine.capacity)") == [2.0, 2.0]
    assert "buffer full" in smu.error("smua.measure.v(mine)")


def test_the_factory_sweeps_leave_readings_in_the_buffer_and_the_output_off() -> None:
    """Linear and list sweeps, of voltage and of current."""
    smu = _Smu(ohm=1e4)
    smu.tell("SweepVLinMeasureI(smua, 0, 0.4, 0.01, 5)")
    assert smu.ask("printbuffer(1, 5, smua.nvbuffer1)") == pytest.approx([0, 1e-5, 2e-5, 3e-5, 4e-5], abs=1e-8)
    smu.tell("SweepIListMeasureV(smub, {1e-6, 2e-6}, 0.01, 2)")
    assert smu.ask("printbuffer(1, 2, smub.nvbuffer1)") == pytest.approx([1e-2, 2e-2], rel=1e-2)
    assert smu.emulated.outputs() == {"smua": False, "smub": False}


@pytest.mark.parametrize(
    ("message", "error"),
    [
        ("smua.source.levelv = 41", "1101, Parameter too big"),
        ("smua.source.limiti = 0", "1102, Parameter too small"),
        ("smua.source.rangev = 1 smua.source.levelv = 2", "1101, Parameter too big"),
        ("smua.measure.nplc = 30", "1101, Parameter too big"),
        ("smua.source.func = 2", "-224, Illegal parameter value"),
        ("smua.source.output = 'on'", "-220, Parameter error"),
        ("smua.sauce.levelv = 1", "-286"),
        ("smua.source.levelw = 1", "-286"),
        ("smua.measure.i(3)", "-220"),
        ("printbuffer(1, 2)", "-220"),
        ("smuc.source.levelv = 1", "-286"),
    ],
)
def test_what_the_instrument_cannot_do_is_refused_with_its_number(message: str, error: str) -> None:
    """Values out of range and unknown names go into the error queue; nothing is set."""
    smu = _Smu()
    assert error in smu.error(message)
    assert smu.a.driven == Drive(Mode.VOLTAGE, 0.0, 1e-3)


@pytest.mark.parametrize("message", ["smua.reset()", "reset()", "*RST"])
def test_reset_switches_off_and_forgets(message: str) -> None:
    """All ways of resetting lead to the power-on state with the output off."""
    smu = _Smu()
    smu.tell("smua.source.levelv = 1 smua.source.output = 1", message)
    assert smu.emulated.outputs()["smua"] is False
    assert smu.ask("print(smua.source.levelv)") == [0.0]


class _Matrix:
    def __init__(self, latency: object = NONE) -> None:
        self.clock = VirtualClock()
        self.seen: list[list[str]] = []
        self.emulated = Keithley707B(self._wired, self.clock, 1, LIKE_REAL if latency is LIKE_REAL else NONE)

    def _wired(self, closed: frozenset[Crosspoint]) -> None:
        self.seen.append([str(point) for point in sorted(closed)])

    def ask(self, message: str) -> str:
        (answer,) = self.emulated.execute(message)
        return answer

    def closed(self) -> str:
        return self.ask('print(channel.getclose("allslots"))')


def test_lists_and_ranges_of_crosspoints_close_and_open() -> None:
    """Lists, ranges and whole slots, as the instrument names them; the answer is sorted, nil when all is open."""
    matrix = _Matrix()
    matrix.emulated.execute('channel.close("2B03, 1A01:1A03")')
    assert matrix.closed() == "1A01;1A02;1A03;2B03"
    assert matrix.ask('print(channel.getclose("slot2"))') == "2B03"
    assert matrix.ask('print(channel.getstate("1A01,1A04"))') == "1,0"
    matrix.emulated.execute('channel.open("1A01:1A02")')
    assert matrix.closed() == "1A03;2B03"
    matrix.emulated.execute('channel.open("allslots")')
    assert matrix.closed() == "nil"
    assert matrix.emulated.outputs() == {"crosspoints": False}


def test_break_before_make_is_the_rule_unless_another_is_set() -> None:
    """With the default rule nothing old is closed with anything new; make-before-break overlaps."""
    matrix = _Matrix()
    matrix.emulated.execute('channel.exclusiveclose("1A01") channel.exclusiveclose("1B01")')
    assert matrix.seen == [[], ["1A01"], [], ["1B01"]]
    matrix.emulated.execute('channel.connectrule = channel.MAKE_BEFORE_BREAK channel.exclusiveclose("1C01")')
    assert matrix.seen[4:] == [["1B01", "1C01"], ["1C01"]]


def test_exclusive_close_of_slots_leaves_other_slots_alone() -> None:
    """exclusiveslotclose opens only within the slots that it names; exclusiveclose of nothing opens all."""
    matrix = _Matrix()
    matrix.emulated.execute('channel.close("1A01,2A01") channel.exclusiveslotclose("2A03")')
    assert matrix.closed() == "1A01;2A03"
    matrix.emulated.execute('channel.exclusiveclose("")')
    assert matrix.closed() == "nil"


def test_a_forbidden_crosspoint_does_not_close() -> None:
    """The whole command is refused, with nothing opened or closed."""
    matrix = _Matrix()
    matrix.emulated.execute('channel.close("1A01") channel.setforbidden("1H12")')
    matrix.emulated.execute('channel.exclusiveclose("1B01,1H12")')
    assert matrix.closed() == "1A01"
    assert matrix.emulated.errors.listed() == ["1115, Parameter error forbidden channel 1H12"]
    assert matrix.ask('print(channel.getforbidden("allslots"))') == "1H12"
    matrix.emulated.execute('channel.clearforbidden("allslots") channel.close("1H12")')
    assert matrix.closed() == "1A01;1H12"


@pytest.mark.parametrize("name", ["1Z01", "1A13", "7A01", "1A00", "", "1A05:1A01", "allslots", "1A1"])
def test_a_name_of_no_crosspoint_is_refused(name: str) -> None:
    """Rows A to H, columns 01 to 12, slots 1 to 6; whole slots cannot be closed."""
    matrix = _Matrix()
    matrix.emulated.execute(f'channel.close("{name}")')
    assert matrix.closed() == "nil"
    assert matrix.emulated.errors.listed()[0].startswith("1115")


def test_a_welded_relay_stays_closed_while_the_instrument_believes_it_open() -> None:
    """Belief and truth part: getclose says nil, the circuit is closed."""
    matrix = _Matrix()
    matrix.emulated.set_state("welded", "1A01")
    matrix.emulated.execute('channel.open("allslots")')
    assert matrix.closed() == "nil"
    assert matrix.seen[-1] == ["1A01"]
    assert matrix.emulated.outputs() == {"crosspoints": True}
    matrix.emulated.set_state("welded", "")
    assert matrix.seen[-1] == []


def test_closures_take_their_time_and_are_counted() -> None:
    """Each of breaking and making takes the relays' time, with the delay that is set for the channel."""
    matrix = _Matrix(LIKE_REAL)
    matrix.emulated.execute('channel.setdelay("1A01", 0.5)')
    before_s = matrix.clock.now_s()
    matrix.emulated.execute('channel.close("1A01")')
    assert matrix.clock.now_s() - before_s == pytest.approx(0.5 + LIKE_REAL.closure_s + LIKE_REAL.command_s)
    assert matrix.ask('print(channel.getcount("1A01,1A02"))') == "1,0"


_NAMES = [
    "smua",
    "smub",
    "source",
    "measure",
    "levelv",
    "leveli",
    "limiti",
    "limitv",
    "rangev",
    "rangei",
    "output",
    "func",
    "offmode",
    "offlimiti",
    "nplc",
    "count",
    "delay",
    "interval",
    "autorangei",
    "i",
    "v",
    "r",
    "p",
    "iv",
    "nvbuffer1",
    "nvbuffer2",
    "n",
    "readings",
    "clear",
    "appendmode",
    "makebuffer",
    "reset",
    "compliance",
    "channel",
    "close",
    "open",
    "exclusiveclose",
    "getclose",
    "getstate",
    "setforbidden",
    "setdelay",
    "connectrule",
    "slot",
    "idn",
    "printbuffer",
    "print",
    "printnumber",
    "SweepVLinMeasureI",
    "SweepIListMeasureV",
    "format",
    "errorqueue",
    "next",
    "wait",
]
_TOKENS = st.one_of(
    st.sampled_from(_NAMES),
    st.sampled_from(["=", ".", "(", ")", ",", "{", "}", "[", "]", "-", " ", " ", ".", "."]),
    st.sampled_from(['"1A01"', '"allslots"', '"1A01:1H12"', '""', "0", "1", "2", "-1", "1e-3", "1e99", "3", "nil"]),
)
_CALLS = st.tuples(
    st.sampled_from(["smua", "smub.measure", "smua.source", "smua.nvbuffer1", "channel", "format"]),
    st.sampled_from(_NAMES),
    st.sampled_from(["()", "=1", "=1e99", "=-1", '("1A01")', '=""', "(nil)", "=0"]),
)


@settings(max_examples=120, deadline=None)
@given(st.lists(st.lists(_TOKENS, max_size=14).map("".join) | _CALLS.map(lambda c: f"{c[0]}.{c[1]}{c[2]}"), max_size=6))
def test_no_messages_break_the_instruments(messages: list[str]) -> None:
    """Whatever of their own vocabulary is sent, both answer afterwards, tell a state, and switch off."""
    for emulated in (_Smu().emulated, _Matrix().emulated):
        for message in messages:
            emulated.execute(message)
        emulated.execute("localnode.prompts = 0")
        assert emulated.execute("*OPC?") == ["1"]
        assert emulated.state()
        emulated.switch_off()
        assert not any(emulated.outputs().values())
