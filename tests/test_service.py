"""The service: a live run's endpoint, over real loopback sockets."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis.extra.numpy as arrays_of
import numpy as np
import pytest
import zmq
from event_samples import finished, map_taken, started, step, whole_run
from hypothesis import given, settings
from hypothesis import strategies as st

from pib_lab import wire_format
from pib_lab.client import Client
from pib_lab.endpoint import FILE_NAME, Endpoint, birth_of, read_endpoint
from pib_lab.errors import LinkError, RunFileError
from pib_lab.events import CheckpointTaken, Evaluated, Event, MapTaken, Message, RunFinished, StateChanged, StepDone
from pib_lab.records import Passes, RunState
from pib_lab.service import Service


class Commands:
    """Keeps the operator's commands."""

    def __init__(self) -> None:
        self.verbs: list[str] = []

    def post(self, verb: str) -> None:
        self.verbs.append(verb)


@pytest.fixture
def commands() -> Commands:
    return Commands()


@pytest.fixture
def service(tmp_path: Path, commands: Commands) -> Iterator[Service]:
    with Service(tmp_path, commands) as live:
        yield live


def same(left: Any, right: Any) -> bool:
    """Equality that holds for NaN and arrays."""
    return repr(left) == repr(right) and wire_format.pack(left) == wire_format.pack(right)


numbers = st.floats(width=64)
counts = st.integers(0, 2**40)
texts = st.text(max_size=20)
maps = arrays_of.arrays(np.float32, arrays_of.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
codes = arrays_of.arrays(np.int8, (2, 3))
some_events = st.one_of(
    st.builds(StateChanged, st.sampled_from(RunState), counts, texts),
    st.builds(Evaluated, counts, texts, numbers, numbers, counts),
    st.builds(MapTaken, counts, texts, maps, codes, arrays_of.arrays(np.int32, (2,))),
    st.builds(Message, texts, texts, counts),
    st.builds(RunFinished, texts, counts, st.dictionaries(texts, numbers), st.builds(Passes, counts), counts, numbers),
    st.builds(CheckpointTaken, counts, st.dictionaries(texts, st.one_of(maps, texts, counts, numbers))),
)


@settings(max_examples=80, deadline=None)
@given(some_events)
def test_events_survive_the_wire(event: Event) -> None:
    """Decoding what was encoded gives the same event: types, dtypes, shapes, NaN and all."""
    assert same(wire_format.decode(wire_format.encode(event)), event)


def test_every_kind_of_event_survives_the_wire() -> None:
    """Every kind of event comes back with its own type, enumerations and tuples included."""
    for event in whole_run():
        back = wire_format.decode(wire_format.encode(event))
        assert type(back) is type(event)
        assert same(back, event)
    state = wire_format.decode(wire_format.encode(StateChanged(RunState.PAUSED, 3)))
    assert isinstance(state, StateChanged)
    assert state.state is RunState.PAUSED


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=60))
def test_bytes_that_are_no_event_are_refused(data: bytes) -> None:
    """Whatever comes in, the decoder gives an event or a LinkError, nothing else."""
    with pytest.raises(LinkError):
        wire_format.decode(data)


def test_objects_are_refused() -> None:
    """An array of Python objects is not sent: that would take pickles."""
    with pytest.raises(TypeError, match="does not belong"):
        wire_format.encode(CheckpointTaken(0, {"a": np.array([object()])}))


def test_endpoint_file_is_private_and_goes_with_the_service(tmp_path: Path, commands: Commands) -> None:
    """The endpoint file has mode 0600 and names port, pid and token; closing the service, even twice, removes it."""
    service = Service(tmp_path, commands)
    path = tmp_path / FILE_NAME
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    content = json.loads(path.read_text())
    assert content["pid"] == os.getpid()
    assert len(content["token"]) == 64
    service.close()
    service.close()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(LinkError, match="ended"):
        service.show(step(0))


def test_folder_that_cannot_be_written_is_a_clear_error(tmp_path: Path, commands: Commands) -> None:
    """A service in a folder that does not exist raises RunFileError and leaves no socket behind."""
    with pytest.raises(RunFileError, match="cannot write"):
        Service(tmp_path / "missing", commands)


def test_status_tells_where_the_run_stands(tmp_path: Path, service: Service) -> None:
    """The status is the latest of each kind of event, in plain values."""
    for event in [
        started(),
        StateChanged(RunState.RUNNING, 0),
        step(1),
        step(2),
        Evaluated(2, "validation", 0.9, 0.3, 9),
    ]:
        service.show(event)
    with Client(tmp_path) as client:
        status = client.status()
    assert status["state"] == "running"
    assert (status["step"], status["total_steps"]) == (2, 20)
    assert status["remaining_s"] == pytest.approx(9.0)
    assert status["accuracy"] == {"validation": 0.9}
    assert status["pid"] == os.getpid()


def test_commands_reach_the_run(tmp_path: Path, service: Service, commands: Commands) -> None:
    """Each command is handed over once, in order."""
    with Client(tmp_path) as client:
        for verb in ("pause", "resume", "abort", "safe"):
            client.send(verb)
    assert commands.verbs == ["pause", "resume", "abort", "safe"]


def test_unknown_verb_is_refused_with_the_known_ones(tmp_path: Path, service: Service, commands: Commands) -> None:
    """A verb that does not exist is refused, and the message names those that do."""
    with Client(tmp_path) as client, pytest.raises(LinkError, match=r"unknown verb 'explode' \(known: status, attach"):
        client.send("explode")
    assert commands.verbs == []


def test_wrong_token_is_refused(tmp_path: Path, service: Service, commands: Commands) -> None:
    """Without the token from the file nothing is commanded and nothing is told."""
    endpoint = read_endpoint(tmp_path)
    Endpoint(endpoint.port, "0" * 64, endpoint.pid, endpoint.birth).write(tmp_path)
    with Client(tmp_path) as client, pytest.raises(LinkError, match="wrong token"):
        client.send("safe")
    endpoint.write(tmp_path)
    assert commands.verbs == []


@pytest.mark.parametrize("garbage", [b"", b"\xff" * 7, b"\x93\x01\x02\x03", b"\x81\xa5token\xc0", b"x" * 100_000])
def test_garbage_does_not_stop_the_service(tmp_path: Path, service: Service, garbage: bytes) -> None:
    """Requests that are no msgpack, no mapping, without token or far too long leave the service answering others."""
    with zmq.Context() as context, context.socket(zmq.DEALER) as peer:
        peer.linger = 0
        peer.connect(read_endpoint(tmp_path).address)
        peer.send(garbage)
        if len(garbage) < 4096:
            assert peer.poll(5000)
            assert wire_format.unpack(peer.recv())["error"] == "refused: wrong token"
    with Client(tmp_path) as client:
        assert client.status()["state"] == "starting"


def test_attached_client_sees_what_was_and_what_comes(tmp_path: Path, service: Service) -> None:
    """A client that attaches late gets the latest of each kind first, then every event up to the end."""
    for event in [started(), StateChanged(RunState.RUNNING, 0), step(0), step(1), map_taken(1)]:
        service.show(event)
    with Client(tmp_path) as client:
        client.attach()
        for event in [step(2), step(3), finished()]:
            service.show(event)
        seen = list(client.events())
    assert [type(event).__name__ for event in seen[:2]] == ["RunStarted", "StateChanged"]
    assert [event.step for event in seen if isinstance(event, StepDone)] == [1, 2, 3]
    assert any(isinstance(event, MapTaken) for event in seen)
    assert same(seen[-1], finished())


def test_events_published_just_before_the_end_arrive(tmp_path: Path, commands: Commands) -> None:
    """Closing the service first sends what attached clients have not got yet, and then says that the run has ended."""
    service = Service(tmp_path, commands)
    with Client(tmp_path) as client:
        client.attach()
        for index in range(200):
            service.show(step(index))
        service.close()
        events = client.events()
        assert [next(events) for _ in range(200)][-1].step == 199  # type: ignore[union-attr]
        with pytest.raises(LinkError, match="the run has ended"):
            next(events)


def test_slow_client_loses_maps_first_and_is_then_detached(tmp_path: Path, commands: Commands) -> None:
    """A client that reads nothing costs the run nothing: it is detached with a notice, and others are not affected."""
    with Service(tmp_path, commands, outbox_limit=20) as service, zmq.Context() as context:
        endpoint = read_endpoint(tmp_path)
        slow = context.socket(zmq.DEALER)
        slow.linger = 0
        slow.rcvhwm = 1
        slow.setsockopt(zmq.RCVBUF, 4096)
        slow.connect(endpoint.address)
        slow.send(wire_format.pack({"id": 1, "token": endpoint.token, "verb": "attach"}))
        assert slow.poll(30_000), "it was never attached"
        with Client(tmp_path, timeout_s=30.0) as client:  # 80 MB are on their way first
            long = Message("info", "x" * 200_000)
            for _ in range(400):
                service.show(long)
                service.show(map_taken(0))
            assert client.status()["state"] == "starting"
            client.attach()
            service.show(finished())
            assert [type(event) for event in client.events()][-1] is RunFinished
        kinds = []
        while slow.poll(5000):
            frame = wire_format.unpack(slow.recv())
            kinds.append(type(frame["event"]) if frame["kind"] == "event" else frame["kind"])
            if kinds[-1] == "detached":
                break
        assert kinds[-1] == "detached"
        assert kinds.count(Message) < 400
        slow.close()


def test_detached_client_gets_no_more_events(tmp_path: Path, service: Service) -> None:
    """After "detach" events no longer come, and the connection still takes commands."""
    with Client(tmp_path) as client:
        client.attach()
        client.send("detach")
        service.show(step(1))
        assert list(client.events(timeout_s=0.05)) == []
        assert client.status()["step"] == 1


def test_run_that_is_not_live_is_a_clear_error(tmp_path: Path) -> None:
    """A folder without endpoint, and a folder that does not exist, are each told apart from a dead process."""
    with pytest.raises(LinkError, match="the run is not live"):
        Client(tmp_path)
    with pytest.raises(LinkError, match="no such folder"):
        Client(tmp_path / "nothing")
    (tmp_path / FILE_NAME).write_text("{}")
    with pytest.raises(LinkError, match="not an endpoint file"):
        Client(tmp_path)


def test_dead_process_is_told_and_never_mistaken_for_a_later_one(tmp_path: Path) -> None:
    """A process that has died is told from a living one, and from another that was given its number."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    endpoint = Endpoint(1, "t", child.pid, birth_of(child.pid) or "")
    assert endpoint.alive
    endpoint.end_process()
    child.communicate()
    assert not endpoint.alive
    endpoint.end_process()  # ending a dead one is nothing
    assert not Endpoint(1, "t", os.getpid(), "another birth").alive
    endpoint.write(tmp_path)
    with pytest.raises(LinkError, match="has died; `pib-lab safe`"):
        Client(tmp_path)


def test_silent_run_is_told_in_time(tmp_path: Path) -> None:
    """A process that lives but does not answer gives an error that says so and what to do."""
    with zmq.Context() as context, context.socket(zmq.ROUTER) as silent:
        silent.linger = 0
        port = silent.bind_to_random_port("tcp://127.0.0.1")
        Endpoint(port, "t", os.getpid(), birth_of(os.getpid()) or "").write(tmp_path)
        with Client(tmp_path, timeout_s=0.05) as client, pytest.raises(LinkError, match="did not answer within"):
            client.status()


def test_many_threads_may_show(tmp_path: Path, service: Service) -> None:
    """Events shown from several threads all arrive."""
    with Client(tmp_path) as client:
        client.attach()
        threads = [
            threading.Thread(target=lambda: [service.show(Message("info", "m")) for _ in range(50)]) for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        service.show(finished())
        assert sum(isinstance(event, Message) for event in client.events()) == 200
