"""Commands from a second terminal to a run that goes on in another process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import zmq
from cli_tools import PROTOCOL, FakeLab, call
from event_samples import finished, started, step

from pib_lab import lab
from pib_lab.client import Client
from pib_lab.endpoint import Endpoint, birth_of
from pib_lab.events import MadeSafe, RunFinished, StepDone
from pib_lab.service import Service


def test_commands_need_a_live_run(tmp_path: Path) -> None:
    """Commands to a run that is not live end with 3 and say so."""
    for verb in ("status", "pause", "resume", "abort", "attach"):
        result = call(verb, tmp_path)
        assert result.exit_code == 3
        assert "not live" in result.stderr


def test_second_terminal_watches_and_commands_a_live_run(tmp_path: Path) -> None:
    """A run in its own process can be watched, paused, resumed; SIGINT ends it in order, with 130 and a whole file."""
    (tmp_path / "tiny.toml").write_text(PROTOCOL)
    command = [sys.executable, "-m", "pib_lab.cli", "run", "tiny.toml", "--json", "--no-report"]
    process = subprocess.Popen(
        [*command, "--set", "schedule.epochs=100000"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        assert any(line.startswith("step 1/") for line in process.stderr)
        (folder,) = (tmp_path / "runs").iterdir()
        with Client(folder, timeout_s=30) as client:
            client.attach()
            assert any(isinstance(event, StepDone) for event in client.events(timeout_s=60))
            assert call("pause", folder).exit_code == 0
            assert any(getattr(event, "state", None) == "paused" for event in client.events(timeout_s=60))
            status = json.loads(call("status", folder, "--json").stdout)
            assert (status["state"], status["mock"], status["pid"]) == ("paused", True, process.pid)
            assert "paused, step" in call("status", folder).stdout
            assert call("resume", folder).exit_code == 0
            process.send_signal(signal.SIGINT)
            assert isinstance(list(client.events(timeout_s=60))[-1], RunFinished)
        stdout, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert json.loads(stdout.splitlines()[-1])["status"] == "aborted"
    assert "aborted" in call("list", "runs", "--out", tmp_path / "runs").stdout


class Obedient:
    """Commands of a run that switches off as soon as it is asked."""

    service: Service

    def __init__(self, not_confirmed: tuple[str, ...] = ()) -> None:
        self.not_confirmed = not_confirmed

    def post(self, verb: str) -> None:
        for unit in started().units:
            self.service.show(MadeSafe(unit.name, ("read voltage",), self.not_confirmed, ""))


def test_safe_asks_the_live_run(tmp_path: Path) -> None:
    """`safe` is done when the live run has confirmed every unit off."""
    commands = Obedient()
    with Service(tmp_path, commands) as commands.service:
        commands.service.show(started())
        result = call("safe", tmp_path)
    assert result.exit_code == 0, result.output
    assert "hidden-1: off" in result.stdout
    assert "read-out: off" in result.stdout


@pytest.mark.parametrize("confirmed", [True, False])
def test_safe_ends_a_run_that_hangs_and_commands_its_devices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, confirmed: bool
) -> None:
    """A run that does not answer is ended and its devices are commanded; code 3 when they are not confirmed off."""
    fake = FakeLab(lambda commands: "finished", safe=confirmed)
    monkeypatch.setattr(lab, "reopen", lambda folder: fake)
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    with zmq.Context() as context, context.socket(zmq.ROUTER) as silent:
        silent.linger = 0
        port = silent.bind_to_random_port("tcp://127.0.0.1")
        Endpoint(port, "t", process.pid, birth_of(process.pid) or "").write(tmp_path)
        result = call("safe", tmp_path, "--timeout", 0.2)
    assert process.wait(10) != 0
    process.communicate()
    assert fake.made_safe == 1
    assert result.exit_code == (0 if confirmed else 3)
    (row,) = (line for line in result.stdout.splitlines() if line.startswith("hidden"))
    assert "read voltage" in row
    assert ("word lines" in row) != confirmed
    assert ("NOT confirmed off" in result.stderr) != confirmed


def test_attach_shows_a_run_to_its_end(tmp_path: Path) -> None:
    """`attach` shows what is known and, when the run has finished, its summary."""
    with Service(tmp_path, Obedient()) as service:
        for event in (started(), step(20), finished()):
            service.show(event)
        result = call("attach", tmp_path)
    assert result.exit_code == 0, result.output
    assert "step 20/20" in result.stdout
    assert "480 pulses" in result.stdout
