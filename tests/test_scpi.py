"""The SCPI grammar: mnemonics, paths, parameters, error numbers, status; and that no input does harm."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from drivers.emulators.scpi import CommandTree
from drivers.emulators.scpi_numbers import parse_number
from drivers.emulators.scpi_status import ScpiError, Status
from drivers.emulators.scpi_syntax import MESSAGE_LIMIT, Parameter
from tests.scpi_bench import bench_2400, bench_2450


class Toy:
    """A level, a switch and a shape."""

    def __init__(self) -> None:
        self.status = Status()
        self.level, self.on, self.shape = 0.0, False, "SQU"
        tree = self.tree = CommandTree()
        tree.number(
            ":SOURce:VOLTage[:LEVel][:IMMediate]",
            lambda: self.level,
            lambda v: setattr(self, "level", v),
            -10,
            10,
            1,
            "V",
        )
        tree.number(":SOURce:VOLTage:RANGe[:UPPer]", lambda: 3.0, lambda v: None, 0, 10, 3, "V")
        tree.number(":CALCulate3:LIMit2", lambda: 2.0, lambda v: None, 0, 10, 3)
        tree.boolean(":OUTPut[:STATe]", lambda: self.on, lambda on: setattr(self, "on", on))
        tree.choice(":SHAPe", "SQUare SINusoid", lambda: self.shape, lambda word: setattr(self, "shape", word))
        tree.add(":NAME", lambda p: setattr(self, "shape", p[0].string()), None, (1, 1))
        tree.add("*IDN", get=lambda p: "toy")

    def run(self, message: str) -> str | None:
        answers = self.tree.execute(message, self.status)
        return answers[0] if answers else None

    def error(self) -> int:
        return self.status.next_error()[0]


@pytest.fixture
def toy() -> Toy:
    return Toy()


@pytest.mark.parametrize(
    "header",
    [
        ":SOURce:VOLTage:LEVel:IMMediate",
        "SOUR:VOLT",
        "sour:volt:lev",
        ":sOuR1:voltage1:imm",
        "  :SOUR:VOLT:LEV  ",
    ],
)
def test_a_header_may_be_long_short_mixed_with_or_without_colon_optional_nodes_and_suffix_1(
    toy: Toy, header: str
) -> None:
    """All spellings of a header mean the same command."""
    assert toy.run(f"{header} 2;:SOUR:VOLT?") == "2"
    assert toy.error() == 0


@pytest.mark.parametrize("header", [":SOURC:VOLT?", ":SO:VOLT?", ":SOUR:VOLT:LEV:AMPL?", ":VOLT?", ":SOUR?", "*IDNX?"])
def test_an_unknown_header_is_error_113(toy: Toy, header: str) -> None:
    """Neither half-shortened mnemonics nor unknown nodes are taken for a command."""
    assert toy.run(header) is None
    assert toy.error() == -113


def test_a_following_header_goes_on_at_the_level_of_the_one_before(toy: Toy) -> None:
    """`;` without a colon stays in the branch, as it was typed."""
    assert toy.run(":SOUR:VOLT:LEV 4;LEV?;RANG?") == "4;3"


def test_a_colon_after_the_semicolon_goes_back_to_the_root(toy: Toy) -> None:
    """`;:` starts anew."""
    assert toy.run(":SOUR:VOLT:LEV 4;:OUTP?") == "0"


def test_without_the_colon_a_header_of_the_root_is_not_found_in_a_branch(toy: Toy) -> None:
    """A relative header is looked for in the branch alone."""
    assert toy.run(":SOUR:VOLT:LEV 4;OUTP?") is None
    assert toy.error() == -113


def test_a_common_command_leaves_the_path_as_it_was(toy: Toy) -> None:
    """*IDN? between two headers of one branch does not end the branch."""
    assert toy.run(":SOUR:VOLT:LEV 4;*IDN?;LEV?") == "toy;4"


def test_a_command_error_ends_the_message_and_an_execution_error_does_not(toy: Toy) -> None:
    """What follows an unknown header is ignored; what follows a value out of range is carried out."""
    assert toy.run(":FOO;:OUTP?") is None
    assert toy.run(":SOUR:VOLT:LEV 99;:OUTP?") == "0"
    assert [toy.error(), toy.error()] == [-113, -222]


@pytest.mark.parametrize(
    ("text", "unit", "value"),
    [
        ("10MA", "A", 0.01),
        ("10 mA", "A", 0.01),
        ("1.5 V", "V", 1.5),
        ("100 MV", "V", 0.1),
        ("2MAV", "V", 2e6),
        ("1E-3", "A", 1e-3),
        ("1 e -3", "A", 1e-3),
        (".5", "", 0.5),
        ("+5.", "", 5.0),
        ("3UA", "A", 3e-6),
        ("2MOHM", "OHM", 2e6),
        ("#HFF", "", 255.0),
        ("#B101", "", 5.0),
        ("#Q17", "", 15.0),
    ],
)
def test_numbers_with_suffixes_and_bases(text: str, unit: str, value: float) -> None:
    """A number is read in its unit, M being milli but for ohms and hertz."""
    assert parse_number(text, unit) == pytest.approx(value)


@pytest.mark.parametrize(
    ("text", "unit", "code"),
    [
        ("1.2.3", "V", -121),
        ("1X", "V", -131),
        ("1QV", "V", -131),
        ("1V", "", -138),
        ("1E999", "V", -123),
        ("1E99999999", "V", -123),
        ("#HXY", "", -121),
        ("#H", "", -121),
    ],
)
def test_a_bad_number_has_its_own_error(text: str, unit: str, code: int) -> None:
    """Numeric errors are -120 to -138."""
    with pytest.raises(ScpiError) as caught:
        parse_number(text, unit)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (":SOUR:VOLT", -109),
        (":SOUR:VOLT 1,2", -108),
        (":SOUR:VOLT? 1", -128),
        (":SOUR:VOLT? MAX,MIN", -108),
        (":SOUR:VOLT 11", -222),
        (":SOUR:VOLT SOON", -224),
        (":SOUR:VOLT '1'", -158),
        (":SOUR:VOLT (@1,2)", -178),
        (":SOUR:VOLT #15hello", -168),
        (":SOUR:VOLT 1A", -131),
        (":SOUR2:VOLT 1", -114),
        (":OUTP MAYBE", -224),
        (":SHAP TRI", -224),
        (":SHAP 1", -128),
        (":NAME bare", -104),
        (":NAME 'open", -151),
        (":NAME 'a'b'", -151),
        (":SOUR:VOLT 1,,2", -102),
        (":SOUR:VOLT\x07 1", -101),
        (":SOUR:VOLTµ 1", -101),
        (":VERYLONGMNEMONIC 1", -112),
        ("?", -102),
        ("1 2 3", -102),
        (":SOUR:VOLT=1", -111),
        (":NAME?", -113),
        ("*IDN", -113),
        ("X" * (MESSAGE_LIMIT + 1), -363),
    ],
)
def test_bad_input_gives_the_number_of_the_standard(toy: Toy, message: str, code: int) -> None:
    """Each kind of mistake has its number, and no answer."""
    assert toy.run(message) is None
    assert toy.error() == code
    assert toy.error() == 0


def test_min_max_and_def_are_numbers_in_commands_and_queries(toy: Toy) -> None:
    """A query may ask for a bound instead of the value."""
    assert toy.run(":SOUR:VOLT MAX;:SOUR:VOLT?;:SOUR:VOLT? MINimum;:SOUR:VOLT? DEF") == "10;-10;1"


@pytest.mark.parametrize(("text", "on"), [("ON", True), ("off", False), ("1", True), ("0", False), ("0.2", False)])
def test_booleans(text: str, on: bool) -> None:
    """ON, OFF, or a number that is rounded."""
    assert Parameter(text).boolean() is on


def test_strings_stand_in_quotes_of_either_kind_with_doubled_quotes_inside(toy: Toy) -> None:
    """Separators inside a string separate nothing."""
    toy.run(":NAME \"a;b,'c'\"")
    assert toy.shape == "a;b,'c'"
    toy.run(":NAME 'it''s'")
    assert toy.shape == "it's"


def test_a_digit_that_belongs_to_the_mnemonic_is_asked_for(toy: Toy) -> None:
    """CALC3 is not CALC, and another number is out of range."""
    assert toy.run(":CALC3:LIM2?") == "2"
    toy.run(":CALC2:LIM2?")
    assert toy.error() == -114


def test_the_error_queue_is_bounded_and_says_that_it_has_overflown() -> None:
    """The tenth error of a 2400 is replaced by -350."""
    bench = bench_2400()
    for _ in range(30):
        bench.smu.execute(":FOO")
    assert bench.ask(":SYST:ERR:COUN?") == "10"
    assert [bench.error() for _ in range(11)] == [-113] * 9 + [-350, 0]


def test_errors_set_their_bit_of_the_event_register_which_reading_clears() -> None:
    """Command errors are bit 5, execution errors bit 4, completion bit 0; bit 7 says that it was switched on."""
    bench = bench_2400()
    assert bench.ask("*ESR?") == "128"
    bench.smu.execute(":FOO")
    bench.smu.execute(":SOUR:VOLT 1000;*OPC")
    assert bench.ask("*ESR?") == "49"
    assert bench.ask("*ESR?") == "0"


def test_the_status_byte_sums_up_errors_events_and_the_request_for_service() -> None:
    """Bit 2: errors; bit 5: an enabled event; bit 6: service is asked for."""
    bench = bench_2400()
    bench.say("*CLS;*ESE 32;*SRE 32")
    assert bench.ask("*STB?") == "0"
    bench.smu.execute(":FOO")
    assert bench.ask("*STB?") == str(4 + 32 + 64)
    bench.say("*CLS")
    assert bench.ask("*STB?;*ESE?;*SRE?") == "0;32;32"


def test_settings_can_be_saved_and_recalled_with_the_output_off() -> None:
    """*RCL brings back what *SAV stored, never an output that is on."""
    bench = bench_2400()
    bench.say(":SOUR:VOLT 0.5;:OUTP ON;*SAV 1;*RST;*RCL 1")
    assert bench.ask(":SOUR:VOLT?;:OUTP?") == "5.000000E-01;0"


def test_a_colon_before_a_common_command_is_forgiven() -> None:
    """`:*CLS`, which drivers send to these instruments, is *CLS."""
    bench = bench_2400()
    bench.say("*RST;:stat:pres;:*CLS;")


COMMANDS = [
    ":SOUR:VOLT 1",
    ":SOUR:FUNC CURR",
    ":SENS:CURR:PROT 1E-3",
    ":SENS:FUNC 'VOLT','CURR'",
    ":READ?",
    ":MEAS:RES?",
    ":INIT",
    "*TRG",
    "*RST",
    ":ARM:SOUR TIM;COUN 3;TIM 99999",
    ":TRIG:COUN 20",
    ":SOUR:LIST:VOLT 1,2,3",
    ":SOUR:VOLT:MODE LIST",
    ":SOUR:VOLT:MODE SWE;STAR 0;STOP 1;STEP 0.1",
    ":OUTP ON",
    ":OUTP:SMOD HIMP",
    ":TRAC:FEED:CONT NEXT",
    ":TRAC:DATA?",
    ":CALC3:DATA?",
    ":SOUR:SWE:VOLT:LIN 0,1,11,0.1",
    ":SOUR:SWE:CURR:LIN:STEP 0,1E-3,1E-4",
    ":SOUR:SWE:VOLT:LOG 0.1,1,5",
    ":TRIG:LOAD 'SimpleLoop', 5, 1",
    ":TRAC:DATA? 1, 2, 'defbuffer1', SOUR, READ",
    ":TRAC:MAKE 'mine', 50",
    ':READ? "defbuffer1", SOUR, READ, TST',
    ":SENS:CURR:RANG UP",
    ":SYST:ERR?",
    "*STB?",
    "*LANG TSP",
]
PIECES = st.one_of(st.sampled_from(COMMANDS), st.text(max_size=20), st.sampled_from([*";:,?*'\"(@)# \t", "1E5", "-3"]))


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """Valid commands with characters taken out, put in or doubled."""
    text = ";".join(draw(st.lists(st.sampled_from(COMMANDS), min_size=1, max_size=4)))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(text)))
        put = draw(
            st.sampled_from(["", ";", ":", "?", "'", '"', ",", " ", "9", "E", "-", "#", "(", "µ", "\x00", "MIN"])
        )
        text = text[:at] + put + text[at + draw(st.integers(0, 2)) :]
    return text


FUZZED = (bench_2400(), bench_2450())


@given(st.one_of(mutated(), st.lists(PIECES, max_size=6).map("".join), st.text(max_size=100)))
@example(":ARM:SOUR TIM;COUN 2500;TIM 99999;:OUTP ON;:READ?")
@settings(max_examples=400, deadline=None)
def test_no_message_raises_or_hangs_or_overfills_the_error_queue(message: str) -> None:
    """Whatever is sent to either instrument, there is at most one answer, in one line, and a bounded error queue."""
    for bench in FUZZED:
        bench.smu.execute("*RST;*CLS")
        for _ in range(2):
            answers = bench.smu.execute(message)
            assert len(answers) <= 1
            assert all("\n" not in answer for answer in answers)
        assert len(bench.smu.state()["errors"]) <= 1000
        bench.smu.switch_off()
        assert bench.smu.outputs() == {"output": False}
