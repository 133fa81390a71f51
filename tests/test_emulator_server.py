"""Emulators on their wires: framing, fault modes while running, the control port."""

from __future__ import annotations

import json
import os
import termios
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from emulator_bench import LineClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drivers.emulators.circuit import Resistor
from drivers.emulators.control import Control
from drivers.emulators.fault_modes import OTHER_IDENTITY
from drivers.emulators.instrument import MESSAGE_LIMIT
from drivers.emulators.latency import NONE
from drivers.emulators.server import PtyServer, TcpServer
from drivers.emulators.smu_2602b import Keithley2602B
from pib_lab.clocks import RealClock, VirtualClock
from pib_lab.errors import ConfigurationError


def _smu() -> Keithley2602B:
    return Keithley2602B(Resistor(1e4), Resistor(1e4), VirtualClock(), 1, NONE)


@pytest.fixture
def server() -> Iterator[TcpServer]:
    """A 2602B on a socket."""
    server = TcpServer(_smu())
    yield server
    server.close()


@pytest.fixture
def client(server: TcpServer) -> Iterator[LineClient]:
    """A client of it."""
    with closing(LineClient(server.port)) as client:
        yield client


def test_lines_may_come_in_any_pieces(client: LineClient) -> None:
    """A message is carried out when its terminator has come, with or without a carriage return."""
    client.socket.sendall(b"print(")
    client.socket.sendall(b"1)\r\nprint(2)\npri")
    client.socket.sendall(b"nt(3)\n")
    assert [client.line() for _ in range(3)] == [b"1.00000e+00", b"2.00000e+00", b"3.00000e+00"]


def test_clients_come_one_after_another_and_find_the_same_instrument(server: TcpServer) -> None:
    """The instrument's state outlives a connection."""
    for expected in ("nil", "1.00000e+00"):
        with closing(LineClient(server.port)) as client:
            assert client.ask("print(kept)") == expected
            client.tell("kept = 1")
            client.ask("*OPC?")


def test_abort_ends_what_another_client_waits_for() -> None:
    """A long delay is over for the client that comes to switch off, as after a run that has died in it."""
    server = TcpServer(Keithley2602B(Resistor(1e4), Resistor(1e4), RealClock(), 1, NONE))
    with closing(LineClient(server.port)) as first, closing(LineClient(server.port)) as second:
        first.tell("smua.source.output = 1 print('on') delay(60) print('never')")
        while not server.instrument.outputs()["smua"]:
            pass
        second.tell("abort")
        second.tell("smua.source.output = 0")
        assert second.ask("print(smua.source.output)") == "0.00000e+00"
        assert first.line() == b"on"
    server.close()


def test_an_endless_line_is_dropped_and_the_next_one_heard(client: LineClient) -> None:
    """A message longer than the input buffer is lost whole, and the error queue says so."""
    client.socket.sendall(b"x" * (3 * MESSAGE_LIMIT) + b"\n")
    assert client.ask("print(2)") == "2.00000e+00"
    assert client.ask("print(errorqueue.next())").startswith("-3.63000e+02\tInput buffer overrun")


def test_a_pseudo_terminal_serves_as_a_socket_does() -> None:
    """The path printed is a serial port that answers."""
    server = PtyServer(_smu())
    port = os.open(server.path, os.O_RDWR | os.O_NOCTTY)
    try:
        assert not termios.tcgetattr(port)[3] & termios.ECHO
        os.write(port, b"*IDN?\n")
        assert b"2602B" in os.read(port, 200)
    finally:
        os.close(port)
        server.close()


def _strike(server: TcpServer, name: str, **request: Any) -> None:
    answer = Control({"smu": server}).handle(json.dumps({"fault": name, **request}))
    assert answer == {"ok": True}


def test_no_answer_strikes_as_often_as_asked_for(server: TcpServer, client: LineClient) -> None:
    """One answer is missing; the next one comes."""
    _strike(server, "no-answer", **{"for": 1})
    client.tell("print(1)")
    assert client.ask("print(2)") == "2.00000e+00"


def test_a_late_answer_comes_before_the_next_one(server: TcpServer, client: LineClient) -> None:
    """A client that has given up waiting finds the old answer where it expects the new one."""
    _strike(server, "late-answer", late_s=0.2, **{"for": 1})
    client.tell("print(1)")
    assert client.silent(0.05)
    assert client.ask("print(2)") == "1.00000e+00"
    assert client.line() == b"2.00000e+00"


def test_half_a_line_has_no_end(server: TcpServer, client: LineClient) -> None:
    """The first half comes without terminator, and the next answer is glued to it."""
    _strike(server, "half-line", **{"for": 1})
    client.tell("print(1)")
    assert client.ask("print(2)") == "1.000" + "2.00000e+00"


def test_garbage_is_no_text(server: TcpServer, client: LineClient) -> None:
    """The bytes of a garbled answer cannot be taken for a number."""
    _strike(server, "garbage", **{"for": 1})
    client.tell("print(1)")
    assert all(byte >= 0x80 for byte in client.line())


def test_a_dropped_link_ends_the_connection_and_a_new_one_works(server: TcpServer, client: LineClient) -> None:
    """Instead of the answer comes the end; the instrument is still there."""
    _strike(server, "dropped-link", **{"for": 1})
    client.tell("print(1)")
    with pytest.raises(EOFError):
        client.line()
    with closing(LineClient(server.port)) as again:
        assert again.ask("print(1)") == "1.00000e+00"


def test_a_wrong_identity_strikes_the_identity_alone(server: TcpServer, client: LineClient) -> None:
    """Another instrument seems to be at the address, until healed."""
    _strike(server, "wrong-identity")
    assert client.ask("print(1)") == "1.00000e+00"
    assert client.ask("*IDN?") == OTHER_IDENTITY
    _strike(server, "none")
    assert "2602B" in client.ask("*IDN?")


def test_faults_of_the_instrument_itself(server: TcpServer, client: LineClient) -> None:
    """Offset, stuck clamp and a flooded error queue are set and healed through the control port."""
    _strike(server, "offset", value=1e-3)
    assert float(client.ask("print(smua.measure.i())")) == pytest.approx(1e-3, rel=1e-3)
    _strike(server, "stuck-compliance", value=2e-6)
    client.tell("smua.source.levelv = 1 smua.source.output = 1")
    assert client.ask("print(smua.source.compliance)") == "true"
    _strike(server, "none")
    assert client.ask("print(smua.source.compliance)") == "false"
    _strike(server, "error-flood", value=7)
    assert client.ask("print(errorqueue.count)") == "7.00000e+00"


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ("", "one JSON object"),
        ("[1]", "a JSON object"),
        ("[" * 100_000, "one JSON object"),
        ("{}", '"get", "set", "fault", "switch_off"'),
        ('{"get": "weather"}', '"state" or "outputs"'),
        ('{"set": {"smu": 1}}', '"set" is'),
        ('{"set": {"other": {"a": 1}}}', "instrument 'other' does not exist (known: smu)"),
        ('{"set": {"smu": {"colour": 1}}}', "no state 'colour'"),
        ('{"set": {"smu": {"offset_a": "x"}}}', "cannot be set"),
        ('{"set": {"smu": {"offset_a": NaN}}}', "a finite number belongs here"),
        ('{"set": {"smu": {"offset_a": "-inf"}}}', "a finite number belongs here"),
        ('{"fault": "late-anser"}', "did you mean 'late-answer'"),
        ('{"fault": "no-answer", "for": 0}', "not a number of answers"),
        ('{"fault": "late-answer", "late_s": 1e9}', "between 0 and 60"),
        ('{"fault": "welded-relay"}', "smu-2602b has no state 'welded'"),
        ('{"fault": "cells"}', "no chip"),
    ],
)
def test_the_control_port_says_what_is_wrong_with_a_request(server: TcpServer, request_: str, message: str) -> None:
    """Bad requests are refused with a reason, and change nothing."""
    answer = Control({"smu": server}).handle(request_)
    assert answer["ok"] is False
    assert message in answer["error"]


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["get", "set", "fault", "for", "late_s", "value", "smu", "chip", "offset_a", "identity"]),
            inner,
        )
    ),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.text(max_size=40), _JSON.map(json.dumps)))
def test_no_request_breaks_the_control_port(server: TcpServer, request_: str) -> None:
    """Whatever is asked, an answer of JSON comes, and the next request is heard."""
    control = Control({"smu": server})
    assert isinstance(json.dumps(control.handle(request_)), str)
    assert control.handle('{"get": "outputs"}')["ok"] is True


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.binary(max_size=40), max_size=6))
def test_no_bytes_break_the_server(server: TcpServer, pieces: list[bytes]) -> None:
    """Whatever bytes come, the next client is answered."""
    with closing(LineClient(server.port)) as client:
        for piece in pieces:
            client.socket.sendall(piece)
    with closing(LineClient(server.port)) as client:
        client.tell("localnode.prompts = 0 localnode.showerrors = 0")
        client.tell("print('still here')")
        assert client.line() == b"still here" or client.line() == b"still here"


def test_a_port_that_is_taken_is_refused(server: TcpServer) -> None:
    """Two emulators cannot have one port."""
    with pytest.raises(ConfigurationError, match="choose another port"):
        TcpServer(_smu(), port=server.port)
