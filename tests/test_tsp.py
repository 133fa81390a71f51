"""The TSP interpreter: the language that drivers send, and that nothing sent can break it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.emulators.tsp_instrument import QUEUE_LENGTH, TspInstrument
from pib_lab.clocks import VirtualClock


def _instrument() -> TspInstrument:
    return TspInstrument(("TEST", "1", "0"), VirtualClock(), 0.0)


def _ask(message: str) -> list[str]:
    return _instrument().execute(message)


def _error(message: str) -> str:
    instrument = _instrument()
    instrument.execute(message)
    return "|".join(instrument.errors.listed())


@pytest.mark.parametrize(
    ("message", "answer"),
    [
        ("print(1e-3)", "1.00000e-03"),
        ("print(1, 'a', true, nil)", "1.00000e+00\ta\ttrue\tnil"),
        ("printnumber(1, 2)", "1.00000e+00, 2.00000e+00"),
        ("format.asciiprecision = 10 print(1/3)", "3.333333333e-01"),
        ("print(2^3^2)", "5.12000e+02"),
        ("print(-2^2)", "-4.00000e+00"),
        ("print(1 + 2 * 3 - 4 / 2 % 3)", "5.00000e+00"),
        ("print((1 + 2) * 3)", "9.00000e+00"),
        ("print(1 .. 'a' .. 2.5)", "1a2.5"),
        ("print(#'abc', #{1, 2})", "3.00000e+00\t2.00000e+00"),
        ("print(1 < 2 and 'yes' or 'no')", "yes"),
        ("print(not nil, 1 == 1, 1 ~= 1, 'a' < 'b', 1 == '1')", "true\ttrue\tfalse\ttrue\tfalse"),
        ("print(0x10, .5, 5., 1E2)", "1.60000e+01\t5.00000e-01\t5.00000e+00\t1.00000e+02"),
        ("x = 1 y = 2; x, y = y, x print(x, y)", "2.00000e+00\t1.00000e+00"),
        ("local a, b = 1 print(a, b)", "1.00000e+00\tnil"),
        ("t = {1, 2, x = 3, [9] = 4} print(t[2], t.x, t[9])", "2.00000e+00\t3.00000e+00\t4.00000e+00"),
        ("if 1 > 2 then print('a') elseif 2 > 1 then print('b') else print('c') end", "b"),
        ("s = 0 for i = 1, 10, 2 do s = s + i end print(s)", "2.50000e+01"),
        ("s = 0 for i = 3, 1, -1 do s = s * 10 + i end print(s)", "3.21000e+02"),
        ("i = 0 while i < 5 do i = i + 1 if i == 3 then break end end print(i)", "3.00000e+00"),
        ("i = 0 repeat i = i + 1 until i == 4 print(i)", "4.00000e+00"),
        ("do local x = 1 end print(x)", "nil"),
        ("--[[ a comment ]] print('x') -- another", "x"),
        ("print(tonumber('1e3'), tonumber('x'), type({}), tostring(1))", "1.00000e+03\tnil\ttable\t1.00000e+00"),
        ("print(math.abs(-1), math.max(1, 3, 2), math.sqrt(4))", "1.00000e+00\t3.00000e+00\t2.00000e+00"),
        ("print(1 / 0, 0 / 0)", "9.90000e+37\t9.91000e+37"),
        ("*IDN?", "Keithley Instruments Inc., Model TEST, 1, 0"),
        ("*OPC?", "1"),
        ("print('a\\tb')", "a\tb"),
    ],
)  # fmt: skip
def test_a_message_answers_as_the_language_says(message: str, answer: str) -> None:
    """Expressions, statements and common commands give what TSP gives."""
    assert _ask(message) == [answer]


@pytest.mark.parametrize(
    ("message", "error"),
    [
        ("print(", "-285, TSP Syntax error at line 1: unexpected symbol near `<eof>'"),
        ("x = = 1", "-285, TSP Syntax error at line 1: unexpected symbol near `='"),
        ("MEAS:VOLT?", "-285, TSP Syntax error"),
        ("*FOO?", "-285"),
        ("'unended", "-285"),
        ("break", "-285"),
        ("function f() end", "`function' is not emulated"),
        ("foo.bar = 1", "-286, TSP Runtime error at line 1: attempt to index global `foo' (a nil value)"),
        ("foo()", "-286, TSP Runtime error at line 1: attempt to call global `foo' (a nil value)"),
        ("print(beeper.colour)", "-286, TSP Runtime error at line 1: attempt to read unknown attribute `colour'"),
        ("errorqueue.count = 1", "-286, TSP Runtime error at line 1: attempt to set read-only attribute `count'"),
        ("print(1 + {})", "-286"),
        ("print({} < {})", "-286"),
        ("format.asciiprecision = 99", "1101, Parameter too big"),
        ("beeper.enable = 7", "-224, Illegal parameter value"),
        ("beeper.enable = 'on'", "-220, Parameter error"),
        ("while true do end", "-286, TSP Runtime error at line 1: stopped after"),
        ("s = 'x' while true do s = s .. s end", "-286, TSP Runtime error at line 1: not enough memory"),
        ("print" + "(" * 500, "-285, TSP Syntax error at line 1: chunk has too many syntax levels"),
        ("x = 1" + " + 1" * 5000, "stack overflow"),
    ],
)
def test_a_mistake_goes_into_the_error_queue(message: str, error: str) -> None:
    """Syntax errors are -285, runtime errors -286, refused values have the instrument's numbers; nothing raises."""
    assert error in _error(message)


def test_nothing_of_a_message_with_a_syntax_error_is_executed() -> None:
    """The whole message is read before any of it is carried out."""
    assert _ask("print(1) print(") == []


def test_a_runtime_error_ends_its_message_and_a_refused_value_does_not() -> None:
    """Only -286 ends what is going on."""
    assert _ask("print(1) foo.x = 1 print(2)") == ["1.00000e+00"]
    assert _ask("print(1) beeper.enable = 7 print(2)") == ["1.00000e+00", "2.00000e+00"]


def test_the_error_queue_gives_code_message_severity_and_node_and_then_is_empty() -> None:
    """`errorqueue.next()` takes the oldest error out."""
    instrument = _instrument()
    instrument.execute("foo()")
    assert instrument.execute("print(errorqueue.count)") == ["1.00000e+00"]
    first = instrument.execute("print(errorqueue.next())")[0].split("\t")
    assert (first[0], first[2:]) == ("-2.86000e+02", ["2.00000e+01", "1.00000e+00"])
    assert instrument.execute("print(errorqueue.next())")[0].startswith("0.00000e+00\tQueue Is Empty")


def test_a_full_error_queue_says_so_last() -> None:
    """One error more than fits becomes -350."""
    instrument = _instrument()
    instrument.set_state("error_flood", 2 * QUEUE_LENGTH)
    assert len(instrument.errors) == QUEUE_LENGTH
    assert instrument.errors.listed()[-1] == "-350, Queue overflow"


def test_globals_live_on_and_locals_end_with_their_message() -> None:
    """A variable without `local` is there in the next message."""
    instrument = _instrument()
    instrument.execute("a = 1 local b = 2")
    assert instrument.execute("print(a, b)") == ["1.00000e+00\tnil"]


def test_prompts_and_shown_errors_are_sent_when_asked_for() -> None:
    """localnode.prompts ends each message with TSP>, localnode.showerrors sends errors at once."""
    instrument = _instrument()
    assert instrument.execute("localnode.prompts = 1") == ["TSP>"]
    assert instrument.execute("foo()") == ["TSP?"]
    instrument.execute("localnode.showerrors = 1")
    assert instrument.execute("x = = 1")[-2].startswith("-285")


def test_a_delay_passes_on_the_clock() -> None:
    """`delay` is the instrument's own time."""
    clock = VirtualClock()
    TspInstrument(("TEST", "1", "0"), clock, 0.0).execute("delay(2.5)")
    assert clock.now_s() == pytest.approx(2.5)


_VOCABULARY = (
    "print ( ) { } [ ] = == ~= .. . , ; + - * / ^ % # and or not nil true if then else elseif end while do for repeat "
    "until local break x y 1 2.5 0 'a' errorqueue next count format asciiprecision delay 1e308 \"b\" -- [[ ]] \\ \n"
)
_WORDS = st.sampled_from(_VOCABULARY.split(" "))


@settings(max_examples=400, deadline=None)
@given(st.one_of(st.text(max_size=60), st.lists(_WORDS, max_size=25).map(" ".join)))
def test_no_message_raises_or_hangs(message: str) -> None:
    """Whatever is sent, the instrument answers afterwards, and its error queue stays bounded."""
    instrument = _instrument()
    instrument.execute(message)
    instrument.execute("localnode.prompts = 0 localnode.showerrors = 0")
    assert instrument.execute("*IDN?") == [instrument.identity]
    assert len(instrument.errors) <= QUEUE_LENGTH
