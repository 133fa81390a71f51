"""Message-based instruments over real sockets: identity, error queues and numbers, never guessed."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from link_bench import Act, LineServer, echo

from drivers.wire.dialects import SCPI, TSP, Dialect
from drivers.wire.line_transport import LineTransport, Timing
from drivers.wire.links import make_transport
from drivers.wire.message import MAX_ERRORS, Identity, MessageInstrument, number
from pib_lab.errors import DeviceError, LinkError

IDENTITY = "KEITHLEY INSTRUMENTS INC.,MODEL 2400,1234567,C30"
TIMING = Timing(timeout_s=0.15, recover_s=1.0, retries=1)


class Meter:
    """An instrument of either language with an error queue and canned answers."""

    def __init__(self) -> None:
        self.errors: deque[tuple[int, str]] = deque()
        self.answers = {"*IDN?": IDENTITY}
        self.lose_errors = 0

    def __call__(self, message: str) -> list[Act]:
        if message == ":SYST:ERR?":
            code, text = self._pop("No error")
            return self._sent(f'{code:+d},"{text}"' if code else f'0,"{text}"')
        if message == "print(errorqueue.next())":
            code, text = self._pop("Queue Is Empty")
            return self._sent(f"{code:.5e}\t{text}\t0.00000e+00\t1.00000e+00")
        if message in self.answers:
            return [self.answers[message].encode() + b"\n"]
        if message == "BAD":
            self.errors.extend([(-113, "Undefined header"), (-222, "Parameter data out of range")])
        return echo(message)

    def _pop(self, empty: str) -> tuple[int, str]:
        return self.errors.popleft() if self.errors else (0, empty)

    def _sent(self, answer: str) -> list[Act]:
        if self.lose_errors:
            self.lose_errors -= 1
            return []
        return [answer.encode() + b"\n"]


@pytest.fixture
def meter() -> Meter:
    """What the instrument knows."""
    return Meter()


@pytest.fixture
def link(meter: Meter) -> Iterator[LineTransport]:
    """An open link to it."""
    server = LineServer(meter)
    transport = make_transport(server.address, timing=TIMING)
    transport.open()
    yield transport
    transport.close()
    server.close()


@pytest.fixture(params=[SCPI, TSP], ids=["SCPI", "TSP"])
def instrument(request: pytest.FixtureRequest, link: LineTransport) -> MessageInstrument:
    """The instrument in each language."""
    dialect: Dialect = request.param
    return MessageInstrument(link, dialect, name="smu", model=r"MODEL 24\d\d")


def test_it_says_who_it_is(instrument: MessageInstrument) -> None:
    """The four fields of its identity."""
    assert instrument.identify() == Identity("KEITHLEY INSTRUMENTS INC.", "MODEL 2400", "1234567", "C30")
    assert "1234567" in str(instrument.identity)


@pytest.mark.parametrize("answer", ["ACME,MODEL 2450X,1,2", "ACME,MODEL 24000,1,2", "MODEL 2400", "1.0"])
def test_another_model_is_refused_by_name(instrument: MessageInstrument, meter: Meter, answer: str) -> None:
    """The error names what was wanted, where, and what is there."""
    meter.answers["*IDN?"] = answer
    with pytest.raises(DeviceError, match=r"smu: you named a MODEL 24.*TCPIP::127.*" + answer.split(",")[0]):
        instrument.identify()


def test_another_instrument_of_the_same_model_is_refused_later(instrument: MessageInstrument, meter: Meter) -> None:
    """Cables that were swapped during a run are noticed."""
    instrument.identify()
    meter.answers["*IDN?"] = IDENTITY.replace("1234567", "7654321")
    with pytest.raises(DeviceError, match="7654321"):
        instrument.identify()


def test_a_command_that_was_refused_raises_the_instruments_own_messages(instrument: MessageInstrument) -> None:
    """All entries of the queue are in the error, and none is left for the next command."""
    with pytest.raises(DeviceError, match=r"after 'BAD'.*-113 Undefined header; -222 Parameter data out of range"):
        instrument.command("BAD")
    instrument.command("GOOD")


def test_a_flooded_error_queue_ends(instrument: MessageInstrument, meter: Meter) -> None:
    """A queue that fills itself is an error after a stated number of entries."""
    meter.errors.extend([(-350, "Queue overflow")] * 10 * MAX_ERRORS)
    with pytest.raises(DeviceError, match="not empty after"):
        instrument.command("GOOD")


def test_an_error_that_is_lost_on_its_way_is_not_asked_for_again(instrument: MessageInstrument, meter: Meter) -> None:
    """Asking twice would skip an entry and call the command good."""
    meter.lose_errors = 1
    with pytest.raises(LinkError, match="not repeated"):
        instrument.command("BAD")


@pytest.mark.parametrize("answer", ["0", "OK", "-113", '-113,"Undefined', "1e0 no tab"])
def test_what_is_no_entry_of_an_error_queue_is_not_taken_for_an_empty_one(
    instrument: MessageInstrument, meter: Meter, answer: str
) -> None:
    """An answer of another form is a fault of the link."""
    meter._sent = lambda _: [answer.encode() + b"\n"]  # type: ignore[method-assign]
    with pytest.raises(LinkError, match="no entry of an error queue"):
        instrument.command("GOOD")


@pytest.mark.parametrize(
    ("dialect", "query", "command"),
    [
        (SCPI, ":MEAS:CURR?", ':DISP:TEXT "ready?"'),
        (SCPI, "*OPC?", ":OUTP ON"),
        (TSP, "print(smua.measure.i())", 'display.settext("print(1)")'),
        (TSP, "printbuffer(1, 2, smua.nvbuffer1)", "smua.source.output = 1"),
        (TSP, "*IDN?", "*RST"),
    ],
)
def test_queries_and_commands_are_not_mixed_up(link: LineTransport, dialect: Dialect, query: str, command: str) -> None:
    """A query sent as a command would leave its answer for the next query; a command has no answer to wait for."""
    instrument = MessageInstrument(link, dialect, name="smu", model=".*")
    assert (dialect.asks(query), dialect.asks(command)) == (True, False)
    with pytest.raises(DeviceError, match="nothing was sent"):
        instrument.command(query)
    with pytest.raises(DeviceError, match="nothing was sent"):
        instrument.ask(command)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("+1.234560E-06", 1.23456e-6),
        ("-1.", -1.0),
        (" 5", 5.0),
        ("9.9E37", math.inf),
        ("+9.900000E+37", math.inf),
        ("-9.900000E+37", -math.inf),
        ("9.8999998E37", math.inf),
        ("1e38", math.inf),
        ("9.8E37", 9.8e37),
    ],
)
def test_numbers_are_read_as_instruments_print_them(text: str, value: float) -> None:
    """Overflow becomes infinity of its sign."""
    assert number(text) == value


@pytest.mark.parametrize("text", ["9.91E37", "+9.910000E+37", "9.9100002E37", "nan", "-nan"])
def test_not_a_number_becomes_nan(text: str) -> None:
    """The code for "not a number" is never a value."""
    assert math.isnan(number(text))


@pytest.mark.parametrize("text", ["", "1.2.3", "1V", "1 2", "0x10", "1_000", "--1", "1e", "E5", "٣", "9" * 4000])
def test_what_is_not_wholly_a_number_is_refused(text: str) -> None:
    """No partial match, and no endless digits."""
    with pytest.raises(ValueError, match="is not a number"):
        number(text)


@settings(max_examples=60)
@given(st.floats(-9e37, 9e37), st.sampled_from([".6E", ".5e", "+.8E", "r"]))
@example(0.0, ".6E")
def test_what_is_printed_is_read_back(value: float, form: str) -> None:
    """Reading the printed form gives the number that it prints."""
    text = repr(value) if form == "r" else format(value, form)
    assert number(text) == float(text)


@settings(max_examples=60)
@given(st.text(max_size=30) | st.from_regex(r"[-+0-9.eE ]{1,12}", fullmatch=True))
def test_any_text_is_a_number_or_a_value_error(text: str) -> None:
    """And it is never read as another number than Python's."""
    try:
        value = number(text)
    except ValueError:
        return
    assert math.isnan(value) or math.isinf(value) or value == float(text)


def test_lists_of_numbers_are_counted(instrument: MessageInstrument, meter: Meter) -> None:
    """Commas and tabs separate; a missing or a broken number fails the whole answer."""
    query = "print(READ?)"
    meter.answers[query] = "+1.0E+00,-2.0E+00, 9.91E37"
    assert instrument.ask_numbers(query)[:2] == [1.0, -2.0]
    with pytest.raises(LinkError, match="3 numbers instead of 2"):
        instrument.ask_numbers(query, 2)
    meter.answers[query] = "1.0\t2.0"
    assert instrument.ask_numbers(query, 2) == [1.0, 2.0]
    for broken in ("1.0,,2.0", "1.0,2.0x", "VOLT"):
        meter.answers[query] = broken
        with pytest.raises(LinkError, match="is not a number"):
            instrument.ask_number(query)


@pytest.mark.parametrize("dialect", [SCPI, TSP], ids=["SCPI", "TSP"])
def test_markers_do_not_repeat(dialect: Dialect) -> None:
    """A thousand resynchronisations in a row can be told apart."""
    answers = [dialect.marker()[1] for _ in range(1000)]
    assert len(set(answers)) == 1000


@settings(max_examples=60)
@given(st.text(max_size=60) | st.from_regex(r"[-+0-9]{0,9},?\"?[ -~]{0,20}\"?", fullmatch=True))
def test_any_answer_of_an_error_queue_is_an_entry_or_a_link_error(answer: str) -> None:
    """Reading an error queue never fails in another way."""
    for dialect in (SCPI, TSP):
        try:
            assert isinstance(dialect.next_error(lambda _: answer), str)
        except LinkError:
            continue
