"""The guardian: whatever ends a run, its outputs go off, and what it did is written down."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from guardian_bench import ROOT, GuardedRun, Source

from drivers.safe.commands import SafeAction
from drivers.safe.guardian import RECORD, Guardian
from drivers.safe.recipes import keithley_707, keithley_2400, keithley_2450, keithley_2600
from pib_lab.errors import DeviceError


def record(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / RECORD).read_text().splitlines()]


def await_end(pid: int) -> None:
    try:
        psutil.Process(pid).wait(15)
    except psutil.NoSuchProcess:
        return


def ask_for(guardian: Guardian, duration_s: float) -> None:
    deadline_s = time.monotonic() + duration_s
    while time.monotonic() < deadline_s:
        guardian.require_alive()


def test_a_killed_run_leaves_no_output_on(tmp_path: Path) -> None:
    """After kill -9 the source is ramped down, switched off and read back, and the record says so."""
    with Source() as source, GuardedRun(tmp_path, source) as run:
        assert source.on
        run.process.kill()
        assert source.wait_off(2.0)
        await_end(run.guardian_pid)
        levels = [float(line.split()[1]) for line in source.heard if line.startswith(":SOUR:VOLT:LEV ")]
    assert levels == pytest.approx([0.5, 0.4, 0.3, 0.2, 0.1, 0.0])
    acting, outcome, ended = record(tmp_path)
    assert acting["why"] == "the run's process has ended"
    assert (outcome["device"], outcome["confirmed"], outcome["not_confirmed"]) == ("smu", ["output"], [])
    assert ended["safe"]


def test_a_run_that_ends_in_order_is_left_alone(tmp_path: Path) -> None:
    """The guardian ends silently: nothing sent, nothing written, nothing said."""
    with Source() as source, GuardedRun(tmp_path, source) as run:
        assert run.end_in_order() == (0, "")
        await_end(run.guardian_pid)
        assert source.clients == 1
    assert not (tmp_path / RECORD).exists()


def test_a_fork_that_outlives_the_run_does_not_hide_its_death(tmp_path: Path) -> None:
    """A child that holds the pipe open keeps no output on."""
    with Source() as source, GuardedRun(tmp_path, source, heartbeat_s=30.0, then="fork") as run:
        (child,) = (p for p in psutil.Process(run.process.pid).children() if p.pid != run.guardian_pid)
        run.process.kill()
        assert source.wait_off(2.0)
        assert child.is_running()
        child.kill()


def test_a_run_that_stands_still_is_ended(tmp_path: Path) -> None:
    """A stopped process sends no heartbeat and computes nothing: it is killed, then outputs go off."""
    with Source() as source, GuardedRun(tmp_path, source, heartbeat_s=0.2) as run:
        run.process.send_signal(signal.SIGSTOP)
        assert source.wait_off(5.0)
        assert run.process.wait(5) == -signal.SIGKILL
        await_end(run.guardian_pid)
    assert "no heartbeat for 0.2 s and computes nothing" in record(tmp_path)[0]["why"]


def test_a_long_computation_is_no_death(tmp_path: Path) -> None:
    """A run that computes for longer than a heartbeat without letting its threads run is not touched."""
    with Source() as source, GuardedRun(tmp_path, source, heartbeat_s=0.3, then="compute") as run:
        assert run.line() == "computed\n"
        assert source.on
        assert run.end_in_order() == (0, "")
    assert not (tmp_path / RECORD).exists()


def test_a_computation_that_never_ends_is_one(tmp_path: Path) -> None:
    """A run that computes, but has sent no heartbeat for far too long, is ended all the same."""
    with Source() as source, GuardedRun(tmp_path, source, heartbeat_s=0.2, then="compute", busy_s=0.4) as run:
        assert source.wait_off(5.0)
        assert run.process.wait(5) == -signal.SIGKILL
        await_end(run.guardian_pid)
    assert record(tmp_path)[0]["why"] == "the run has sent no heartbeat for 0.4 s"


def test_a_guardian_that_stood_still_itself_blames_nobody(tmp_path: Path) -> None:
    """When it has been stopped for longer than a heartbeat, the run is healthy when it goes on."""
    with Source() as source, GuardedRun(tmp_path, source, heartbeat_s=0.2) as run:
        guardian = psutil.Process(run.guardian_pid)
        guardian.suspend()
        assert not source.wait_off(0.6)
        guardian.resume()
        assert not source.wait_off(0.6)
        assert run.end_in_order() == (0, "")


def test_the_guardian_starts_without_heavy_libraries() -> None:
    """It imports no numpy, torch, h5py or pydantic, not even to switch a board off."""
    program = (
        "import sys, drivers.safe.guardian_process, drivers.safe.board\n"
        "sys.exit(' '.join({'numpy', 'torch', 'h5py', 'pydantic', 'pyvisa'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_runs_signals_do_not_reach_the_guardian(tmp_path: Path) -> None:
    """It is in a session of its own and does not end at SIGINT, SIGTERM or SIGHUP."""
    with Guardian(tmp_path) as guardian:
        assert os.getsid(guardian.pid) != os.getsid(0)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(guardian.pid, number)
        guardian.register(keithley_2400("smu", "TCPIP0::127.0.0.1::9::SOCKET"))
        guardian.require_alive()


def test_no_output_goes_on_without_a_guardian(tmp_path: Path) -> None:
    """Before it is started, after it was killed and after it was closed, `require_alive` raises."""
    guardian = Guardian(tmp_path)
    with pytest.raises(DeviceError, match="no guardian is running"):
        guardian.require_alive()
    guardian.start()
    guardian.require_alive()
    os.kill(guardian.pid, signal.SIGKILL)
    await_end(guardian.pid)
    with pytest.raises(DeviceError, match="guardian has died"):
        guardian.require_alive()
    guardian.close()
    with pytest.raises(DeviceError, match="no guardian is running"):
        guardian.require_alive()


def test_a_guardian_that_stands_still_counts_as_dead(tmp_path: Path) -> None:
    """A stopped guardian gives no answer, so no output goes on."""
    with Guardian(tmp_path, heartbeat_s=0.1) as guardian:
        process = psutil.Process(guardian.pid)
        process.suspend()
        try:
            with pytest.raises(DeviceError, match=r"not answered within 0\.1 s"):
                ask_for(guardian, 5.0)
        finally:
            process.resume()


def test_an_answer_among_many_heartbeats_is_heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A guardian that comes late to many heartbeats answers them at once, and what else it was asked is not lost."""
    monkeypatch.setattr("drivers.safe.guardian._BEATS", 1000)
    with Guardian(tmp_path, heartbeat_s=5.0) as guardian:
        process = psutil.Process(guardian.pid)
        process.suspend()
        action = keithley_2400("smu", "TCPIP::192.0.2.1::5025::SOCKET")
        registering = threading.Thread(target=guardian.register, args=(action,))
        registering.start()
        sent = guardian.beats
        while guardian.beats < sent + 100:
            time.sleep(0.005)
        process.resume()
        registering.join(20.0)
        assert not registering.is_alive()


def test_a_device_that_cannot_be_reached_is_not_confirmed(tmp_path: Path) -> None:
    """A dead link cannot be commanded: the record says NOT confirmed, and the reachable source still goes off."""
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        dead = f"TCPIP0::127.0.0.1::{nobody.getsockname()[1]}::SOCKET"
    with Source() as source, Guardian(tmp_path) as guardian:
        source.on = True
        guardian.register(keithley_2450("gone", dead))
        guardian.register(keithley_2400("smu", source.address))
        assert not guardian.act("asked for")
        assert not source.on
    outcomes = {line["device"]: line for line in record(tmp_path) if line["what"] == "outcome"}
    assert outcomes["smu"]["confirmed"] == ["output"]
    assert outcomes["gone"]["not_confirmed"] == ["output"]
    assert "no connection" in outcomes["gone"]["detail"]
    assert not record(tmp_path)[-1]["safe"]


def test_a_device_without_a_usable_address_is_refused_beforehand(tmp_path: Path) -> None:
    """What the guardian could never reach is not let on in the first place."""
    with Guardian(tmp_path) as guardian, pytest.raises(DeviceError, match="could not switch smu at nowhere off"):
        guardian.register(keithley_2400("smu", "nowhere"))


@pytest.mark.parametrize(
    "action",
    [
        keithley_2400("a", "GPIB0::24::INSTR"),
        keithley_2450("b", "TCPIP0::h::5025::SOCKET"),
        keithley_2600("c", "USB0::1::2::3::INSTR", ["smua"]),
        keithley_707("d", "serial:/dev/ttyUSB0"),
    ],
)
def test_actions_are_pure_data(action: SafeAction) -> None:
    """An action that has been through JSON is the same action."""
    assert SafeAction.from_json(json.loads(json.dumps(action.to_json()))) == action


def test_the_page_on_safety_names_tests_that_exist() -> None:
    """Every test that docs/safety.md calls as a witness is there."""
    page = (ROOT / "docs" / "safety.md").read_text(encoding="utf-8")
    named = re.findall(r"`(tests/\w+\.py)::(\w+)`", page)
    assert len(named) > 30
    missing = [name for file, name in named if f"def {name}(" not in (ROOT / file).read_text(encoding="utf-8")]
    assert missing == []
