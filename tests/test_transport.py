"""Line links on real sockets and pseudo-terminals that misbehave: no old answer, no broken line, no endless wait."""

from __future__ import annotations

import json
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from link_bench import FAULTS, Act, Faulty, LineServer, PtyServer, Responder, echo

from drivers.wire.dialects import SCPI
from drivers.wire.line_transport import LineTransport, Timing
from drivers.wire.links import make_transport
from drivers.wire.traffic import TrafficLog
from drivers.wire.transport import Transport
from pib_lab.clocks import VirtualClock
from pib_lab.errors import ConfigurationError, DeviceError, LinkError

TIMING = Timing(timeout_s=0.05, recover_s=0.5, retries=1, turn_s=1.0)
SLOW = replace(TIMING, timeout_s=0.1)  # pyvisa-py, on a thread of its own on a busy computer
KINDS = ("socket", "socket through pyvisa", "serial")

Plug = Callable[[Responder], tuple[LineTransport, LineServer | PtyServer]]


@pytest.fixture(params=KINDS)
def plug(request: pytest.FixtureRequest) -> Iterator[Plug]:
    """Starts an instrument and opens a link to it, of each kind in turn."""
    started: list[LineTransport | LineServer | PtyServer] = []

    def start(responder: Responder) -> tuple[LineTransport, LineServer | PtyServer]:
        server = PtyServer(responder) if request.param == "serial" else LineServer(responder)
        link = make_transport(
            server.address,
            marker=SCPI.marker if request.param == "serial" else None,
            timing=SLOW if "pyvisa" in request.param else TIMING,
            backend="@py" if "pyvisa" in request.param else None,
        )
        started.extend((server, link))
        if isinstance(responder, Faulty):
            responder.late_s = 1.2 * link.timing.timeout_s
        link.open()
        return link, server

    yield start
    for one in reversed(started):
        one.close()


@pytest.fixture
def serve() -> Iterator[Callable[[Responder], tuple[LineTransport, LineServer]]]:
    """Starts a TCP instrument with a link to it that is not open yet."""
    started: list[LineTransport | LineServer] = []

    def start(responder: Responder) -> tuple[LineTransport, LineServer]:
        server = LineServer(responder)
        link = make_transport(server.address, timing=TIMING)
        started.extend((server, link))
        return link, server

    yield start
    for one in reversed(started):
        one.close()


def _until(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 5.0
    while not condition():
        assert time.monotonic() < deadline_s, "did not happen in time"
        time.sleep(0)


def test_a_query_is_answered_and_a_write_is_heard(plug: Plug) -> None:
    """What goes out comes in, on every kind of link, with and without a carriage return."""
    link, server = plug(lambda message: [b"7\r\n"] if message == "CR?" else echo(message))
    assert (link.query("ECHO 12?"), link.query("CR?")) == ("12", "7")
    link.write("OUTP OFF")
    assert link.query("ECHO 13?") == "13"
    assert server.heard[-2:] == ["OUTP OFF", "ECHO 13?"]


@pytest.mark.parametrize("fault", FAULTS)
def test_no_fault_spoils_the_next_answer(plug: Plug, fault: str) -> None:
    """After any fault the query fails within its bound, and the next ones get their own answers."""
    link, _ = plug(Faulty(fault))
    began_s = time.monotonic()
    with suppress(LinkError):  # an answer before the drop is whole, and may be taken
        assert link.query("ECHO 1?", idempotent=False) == "1"
        assert fault in ("answer, then drop", "drop", "half, then drop")
    assert time.monotonic() - began_s <= link.bound_s(idempotent=False)
    assert [link.query(f"ECHO {n}?") for n in (2, 3, 4)] == ["2", "3", "4"]


@pytest.mark.parametrize("fault", ["no answer", "half", "garbage", "drop", "two answers"])
def test_a_query_is_repeated_only_when_that_is_harmless(plug: Plug, fault: str) -> None:
    """An idempotent query survives one fault; another one fails and is sent once."""
    link, server = plug(Faulty(fault, "none", fault))
    assert link.query("ECHO 123456?") == "123456"
    with pytest.raises(LinkError, match="not repeated"):
        link.query("ECHO 777?", idempotent=False)
    assert server.heard.count("ECHO 777?") == 1


def test_retries_are_bounded(plug: Plug) -> None:
    """An instrument that never answers is asked as often as stated, and the error says what to check."""
    link, server = plug(Faulty(*["no answer"] * 9))
    with pytest.raises(LinkError, match=r"tried 2 times.*check that the instrument is on"):
        link.query("ECHO 1?")
    assert server.heard.count("ECHO 1?") == 2


@pytest.mark.parametrize("stray", [b"99\n", b"9"])
def test_what_nobody_asked_for_is_no_answer(plug: Plug, stray: bytes) -> None:
    """A line or half a line that lies unread before a query is dropped, and never joins an answer."""
    link, server = plug(echo)
    link.write("SAY SOMETHING")
    server.say(stray)
    time.sleep(0.01)  # on its way through the loopback, or the terminal
    assert link.query("ECHO 5?", idempotent=False) == "5"
    assert link.recoveries == 2


def test_an_answer_may_come_in_pieces(plug: Plug) -> None:
    """A line that dribbles in within the time is one answer."""
    link, _ = plug(Faulty("slow", "slow"))
    assert (link.query("ECHO 4711?"), link.query("ECHO 4712?")) == ("4711", "4712")


@pytest.mark.parametrize("message", ["", "TWO\nLINES", "half\r", "µ", "BELL\x07"])
def test_a_message_that_is_not_one_ascii_line_is_refused(plug: Plug, message: str) -> None:
    """Nothing of it is sent, and the link goes on."""
    link, server = plug(echo)
    heard = len(server.heard)
    with pytest.raises(DeviceError, match="nothing was sent"):
        link.write(message)
    assert link.query("ECHO 1?") == "1"
    assert server.heard[heard:] == ["ECHO 1?"]


def test_a_closed_link_says_so(plug: Plug) -> None:
    """Closing is idempotent, and a closed link refuses to work until it is opened again."""
    link, _ = plug(echo)
    link.close()
    link.close()
    with pytest.raises(LinkError, match="not open"):
        link.query("ECHO 1?")
    link.open()
    assert link.query("ECHO 1?") == "1"


def test_a_lost_link_stays_lost_until_it_is_reconnected(
    serve: Callable[[Responder], tuple[LineTransport, LineServer]],
) -> None:
    """When the instrument is gone calls fail at once, also when it is back, until `reconnect`."""
    link, server = serve(echo)
    link.open()
    server.close()
    with pytest.raises(LinkError, match=r"cannot be brought to a known state within 0\.5 s"):
        link.query("ECHO 1?")
    began_s = time.monotonic()
    with pytest.raises(LinkError, match="was lost"):
        link.query("ECHO 1?")
    with pytest.raises(LinkError, match="was lost"):
        link.write("OUTP OFF")
    assert time.monotonic() - began_s < 0.3
    listener = socket.create_server(("127.0.0.1", server.port))
    with listener:
        link.reconnect()
        connection, _ = listener.accept()
        with connection:
            link.write("*CLS")
            assert connection.recv(100) == b"*CLS\n"


def test_opening_what_is_not_there_says_what_to_check() -> None:
    """A refused connection is an error within the bound, never an open link."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    timing = Timing(timeout_s=0.05, recover_s=0.1)
    for link in (
        make_transport(f"TCPIP::127.0.0.1::{port}::SOCKET", timing=timing),
        make_transport("serial:/dev/no-such-port", timing=timing, marker=SCPI.marker),
        make_transport("TCPIP::127.0.0.1::hislip0,9::INSTR", timing=timing),
    ):
        began_s = time.monotonic()
        with pytest.raises(LinkError, match="check the address"):
            link.open()
        assert time.monotonic() - began_s < 2.0  # most of it the first import of pyvisa


def test_sending_to_an_instrument_that_does_not_read_is_bounded() -> None:
    """A write that cannot be delivered fails within its bound."""
    with socket.create_server(("127.0.0.1", 0)) as listener:  # takes connections, reads nothing
        link = make_transport(f"TCPIP::127.0.0.1::{listener.getsockname()[1]}::SOCKET", timing=TIMING)
        link.open()
        began_s = time.monotonic()
        with pytest.raises(LinkError, match="could not send"):
            link.write("X" * (1 << 23))
        assert time.monotonic() - began_s <= link.bound_s(idempotent=False)
        link.close()


def test_a_marker_drops_answers_that_survive_a_reset() -> None:
    """On a serial line an answer later than any silence is still not taken for the next one."""
    server = PtyServer(Faulty("late", late_s=0.3))
    link = make_transport(server.address, marker=SCPI.marker, timing=Timing(timeout_s=0.1, recover_s=2.0))
    link.open()
    with pytest.raises(LinkError):
        link.query("ECHO 1?", idempotent=False)
    assert link.query("ECHO 2?", idempotent=False) == "2"
    link.close()
    server.close()


def test_opening_a_serial_line_drops_what_an_earlier_process_left() -> None:
    """An answer that lies in the port since before it was opened answers nothing."""
    server = PtyServer()
    server.say(b"41\n")
    link = make_transport(server.address, marker=SCPI.marker, timing=TIMING)
    link.open()
    assert link.query("ECHO 42?") == "42"
    link.close()
    server.close()


def test_a_serial_port_has_one_owner_unless_it_is_opened_shared() -> None:
    """A second user is refused; the guardian, who opens it shared, is not."""
    server = PtyServer()
    first, second = (make_transport(server.address, marker=SCPI.marker, timing=TIMING) for _ in range(2))
    first.open()
    with pytest.raises(LinkError, match="exclusively lock"):
        second.open()
    shared = make_transport(server.address, marker=SCPI.marker, timing=TIMING, exclusive=False)
    shared.open()
    assert shared.query("ECHO 1?") == "1"
    for link in (first, shared):
        link.close()
    server.close()


def test_threads_take_turns_with_whole_exchanges(plug: Plug) -> None:
    """Nobody's message comes between two messages of an exclusive exchange."""
    link, server = plug(echo)

    def exchange(who: int) -> list[str]:
        with link.exclusive():
            return [link.query(f"ECHO {who}{i}?", timeout_s=1.0) for i in range(3)]

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(exchange, range(1, 9)))
    assert answers == [[f"{who}{i}" for i in range(3)] for who in range(1, 9)]
    heard = [message[5:-1] for message in server.heard if message.startswith("ECHO")]
    assert all(len({message[0] for message in heard[i : i + 3]}) == 1 for i in range(0, len(heard), 3))


def test_a_turn_that_does_not_come_is_an_error() -> None:
    """A thread that waits for a link which another one holds gives up after `turn_s`."""
    server = LineServer()
    link = make_transport(server.address, timing=Timing(turn_s=0.05))
    link.open()
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with link.exclusive():
            held.set()
            done.wait(5.0)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(5.0)
    with pytest.raises(LinkError, match="has held it"):
        link.query("ECHO 1?")
    done.set()
    holder.join()
    link.close()
    server.close()


def test_an_interrupted_wait_leaves_no_answer_behind(
    serve: Callable[[Responder], tuple[LineTransport, LineServer]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C while an answer is under way: the next query gets its own answer."""
    link, _ = serve(Faulty("late", late_s=0.01))
    link.open()
    receive = link._wire.receive

    def interrupted(timeout_s: float) -> bytes:
        monkeypatch.setattr(link._wire, "receive", receive)
        raise KeyboardInterrupt

    monkeypatch.setattr(link._wire, "receive", interrupted)
    with pytest.raises(KeyboardInterrupt):
        link.query("ECHO 1?")
    assert link.query("ECHO 2?", idempotent=False) == "2"


def _faulty_life(seed: int, faults: int, serial: bool) -> tuple[int, int, list[str]]:
    """Faults at random on one link: how many were done, how many queries were answered, and what went wrong."""
    rng = random.Random(seed)
    share = 0.4 if serial else 0.8
    plan = [rng.choice(FAULTS) if rng.random() < share else "none" for _ in range(faults * 5)]
    responder = Faulty(*plan, late_s=0.03, also_marker=serial)
    server = PtyServer(responder) if serial else LineServer(responder)
    timing = Timing(timeout_s=0.02, recover_s=0.3, retries=1)
    link = make_transport(server.address, timing=timing, marker=SCPI.marker if serial else None)
    answered, wrong = 0, []
    injected = 0
    with suppress(LinkError):
        link.open()
    while injected < faults:
        number, idempotent = rng.randrange(10**9), rng.random() < 0.5
        began_s = time.monotonic()
        try:
            answer = link.query(f"ECHO {number}?", idempotent=idempotent)
        except LinkError as error:
            if "was lost" in str(error) or "not open" in str(error):
                with suppress(LinkError):
                    link.reconnect() if "was lost" in str(error) else link.open()
        else:
            answered += 1
            if answer != str(number):
                wrong.append(f"{number} was answered by {answer}")
        took_s = time.monotonic() - began_s
        if took_s > link.bound_s(idempotent=idempotent) + timing.recover_s:
            wrong.append(f"{took_s:.3f} s")
        injected = sum(fault != "none" for fault in list(responder.done))
    link.close()
    server.close()
    return injected, answered, wrong


@pytest.mark.parametrize(("serial", "total"), [(False, 2000), (True, 500)])
def test_random_faults_give_no_wrong_value_and_no_wait_beyond_the_bound(serial: bool, total: int) -> None:
    """2,000 faults on sockets and 500 on serial lines, in random order, also in the answers to markers."""
    links = 20
    with ThreadPoolExecutor(links) as pool:
        lives = list(pool.map(lambda seed: _faulty_life(seed, total // links, serial), range(links)))
    assert sum(injected for injected, _, _ in lives) >= total
    assert [problem for _, _, wrong in lives for problem in wrong] == []
    assert sum(answered for _, answered, _ in lives) >= total / 10


def test_traffic_is_logged_with_times_and_directions(tmp_path: Path) -> None:
    """Each message is a JSON line with the clock's time, the address and the direction; hex where it is no text."""
    server, clock = LineServer(Faulty("garbage")), VirtualClock(5.0)
    log = TrafficLog(tmp_path / "traffic.jsonl", clock)
    link = make_transport(server.address, timing=TIMING, log=log)
    link.open()
    link.query("ECHO 1?")
    link.close()
    log.close()
    server.close()
    lines = [json.loads(line) for line in log.path.read_text().splitlines()]
    assert "began" in lines[0]
    assert {(line["t_s"], line["address"]) for line in lines[1:]} == {(5.0, server.address)}
    told = [(line["way"], line.get("text") or line["hex"]) for line in lines[1:]]
    assert told[1] == ("sent", "ECHO 1?\n")
    assert told[2] == ("got", "ff fe 80 31 0a")
    assert told[3][0] == "note"
    assert told[-2:] == [("sent", "ECHO 1?\n"), ("got", "1\n")]


def test_the_traffic_log_is_bounded(tmp_path: Path) -> None:
    """Whatever goes over the links, two files of the stated size are kept, and the newest line is in the newer one."""
    log = TrafficLog(tmp_path / "traffic.jsonl", VirtualClock(), max_bytes=2000)
    for number in range(200):
        log.record("COM1", "sent", f"message {number}")
    log.close()
    files = sorted(tmp_path.iterdir())
    assert [path.name for path in files] == ["traffic.jsonl", "traffic.jsonl.1"]
    assert all(path.stat().st_size <= 2200 for path in files)
    assert "message 199" in files[0].read_text()


def test_a_traffic_log_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    """It ends, and says why."""
    log = TrafficLog(tmp_path / "no-such-folder" / "traffic.jsonl", VirtualClock())
    log.record("COM1", "sent", "x")
    log.record("COM1", "sent", "y")
    assert "no-such-folder" in log.failure


@pytest.mark.parametrize(
    "address",
    [
        "TCPIP::192.0.2.1::5025::SOCKET",
        "tcpip0::lab-smu.example::5025::socket",
        "TCPIP::192.0.2.1::INSTR",
        "TCPIP0::192.0.2.1::inst0::INSTR",
        "GPIB0::24::INSTR",
        "USB0::0x05E6::0x2450::04012345::INSTR",
        "ASRL/dev/ttyUSB0::INSTR",
        "serial:/dev/ttyUSB0?baud=57600",
        "/dev/ttyACM0",
        "COM3",
    ],
)
def test_addresses_of_every_kind_have_a_transport(address: str) -> None:
    """Nothing is opened before it is asked for."""
    link: Transport = make_transport(address, marker=SCPI.marker)
    assert link.address == address


@pytest.mark.parametrize(
    "address", ["", "smu", "TCPIP::192.0.2.1::socket-port::SOCKET", "serial:", "serial:/dev/ttyS0?baud=fast", "HTTP::1"]
)
def test_an_address_of_no_known_form_says_how_to_write_it(address: str) -> None:
    """A mistyped address is bad input, found without any I/O."""
    with pytest.raises(ConfigurationError, match=r"serial:/dev/ttyUSB0\?baud=9600"):
        make_transport(address, marker=SCPI.marker)


def test_a_serial_line_without_a_marker_is_refused() -> None:
    """There a late answer could not be told from the next one."""
    with pytest.raises(ConfigurationError, match="marker"):
        make_transport("/dev/ttyUSB0")


@given(st.text(max_size=40) | st.from_regex(r"(serial:|ASRL|TCPIP|GPIB|USB|COM)[ -~]{0,30}", fullmatch=True))
@settings(max_examples=100)
def test_any_text_is_an_address_or_a_configuration_error(text: str) -> None:
    """Reading an address never fails in another way."""
    with suppress(ConfigurationError):
        assert make_transport(text, marker=SCPI.marker).address == text


@given(st.lists(st.binary(max_size=20) | st.sampled_from([0.001, None]), max_size=5))
@settings(max_examples=40, deadline=None)
def test_whatever_an_instrument_sends_is_a_line_or_an_error(acts: list[Act]) -> None:
    """Arbitrary bytes give either a whole printable line or a LinkError, never anything else."""
    server = LineServer(lambda message: acts)
    link = make_transport(server.address, timing=Timing(timeout_s=0.01, recover_s=0.5, retries=0))
    link.open()
    with suppress(LinkError):
        answer = link.query("ANY?")
        assert answer
        assert answer.isascii()
        assert "\n" not in answer
    link.close()
    server.close()
