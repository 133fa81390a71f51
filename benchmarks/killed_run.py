"""One run in a process of its own, killed -9 at a given time after its first output went on; and what it was doing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drivers.safe.guardian import RECORD
from pib_lab.client import Client
from pib_lab.endpoint import FILE_NAME
from pib_lab.errors import LinkError
from pib_lab.procedure_status import ProcedureStatus
from pib_lab.status import RunStatus

ROOT = Path(__file__).resolve().parents[1]

_GIVE_UP_S = 15.0
_START_S = 120.0
_LONGEST_S = 300.0
_POLL_S = 0.001

Outputs = Callable[[], dict[str, bool]]


@dataclass(frozen=True)
class Kill:
    """One run: when it was killed, doing what, and what came of it. off_s: from the kill until all was off, None when
    something was still on at the end; confirmed: that the guardian read all back off, None when it was killed too."""

    after_s: float
    phase: str
    off_s: float | None
    confirmed: bool | None


class Watched:
    """A run that goes on in another process; its events say what it is doing.

    outputs: the truth about the emulators'; evaluate_every: the protocol's, in steps. Raises LinkError when no run
    answers in `folder`.
    """

    def __init__(self, run: subprocess.Popen[bytes], folder: Path, outputs: Outputs, evaluate_every: int) -> None:
        self.run, self.folder, self.outputs = run, folder, outputs
        self._every = evaluate_every
        self._client = Client(folder, timeout_s=_START_S)
        self._procedure = "procedure" in self._client.status()
        self._status: Any = ProcedureStatus() if self._procedure else RunStatus()
        self._client.attach()

    def on(self) -> bool:
        """Whether any output is on."""
        return any(self.outputs().values())

    def follow(self, duration_s: float) -> None:
        """Read events for so long, or until there are no more."""
        until_s = time.monotonic() + duration_s
        events = self._client.procedure_events if self._procedure else self._client.events
        try:
            for event in events(timeout_s=duration_s):
                self._status.show(event)
        except LinkError:  # it has ended
            time.sleep(max(0.0, until_s - time.monotonic()))

    def phase(self) -> str:
        """What it is doing, by the events so far."""
        return procedure_phase(self._status) if self._procedure else training_phase(self._status, self._every)

    def close(self) -> None:
        """Let go of it."""
        self._client.close()


def procedure_phase(status: ProcedureStatus) -> str:
    """Of a bring-up procedure."""
    if status.safe is not None:
        return "switching off"
    return "preparation" if status.progress is None else "procedure"


def training_phase(status: RunStatus, evaluate_every: int) -> str:
    """Of a training: an evaluation is under way from the step after which it is due until its result has come."""
    if status.safe:
        return "switching off"
    if status.started is None or status.state is None:
        return "preparation"
    done, validated = status.steps_done, status.evaluations.get("validation")
    if done == status.started.total_steps:
        return "evaluation"
    due = done > 0 and done % evaluate_every == 0 and (validated is None or validated.step < done)
    return "evaluation" if due else "training"


def lasting_s(command: Sequence[str], folder: Path, outputs: Outputs, evaluate_every: int) -> float:
    """How long an unharmed run has outputs on: from the first one until the last."""
    with _watched(command, folder, outputs, evaluate_every) as run:
        began_s = on_s = time.monotonic()
        while run.run.poll() is None:
            now_s = time.monotonic()
            if now_s - began_s > _LONGEST_S:
                raise RuntimeError(f"a run has not ended within {_LONGEST_S:g} s: shorten it")
            on_s = now_s if run.on() else on_s
            time.sleep(_POLL_S)
    return on_s - began_s


def kill_once(
    command: Sequence[str], folder: Path, outputs: Outputs, evaluate_every: int, after_s: float, both: bool
) -> Kill | None:
    """Kill a run `after_s` after its first output went on, with `both` its guardian too; then watch the outputs.

    None when nothing was on at that instant: between two measurements, or because the run was over.
    """
    with _watched(command, folder, outputs, evaluate_every) as run:
        run.follow(after_s)
        phase = run.phase()
        if run.run.poll() is not None or not run.on():
            return None
        if both:
            os.kill(_child(run.run.pid), signal.SIGKILL)
        run.run.kill()
        killed_s = last_s = time.monotonic()
        run.run.wait()
        confirmed: bool | None = None
        while run.on():
            if time.monotonic() - killed_s > _GIVE_UP_S:
                return Kill(after_s, phase, None, None if both else False)
            time.sleep(_POLL_S)
            last_s = time.monotonic()
        if not both:
            confirmed = _confirmed(run.folder / RECORD)
        return Kill(after_s, phase, None if run.on() else last_s - killed_s, confirmed)


@contextmanager
def _watched(command: Sequence[str], folder: Path, outputs: Outputs, evaluate_every: int) -> Iterator[Watched]:
    """The run from when its first output is on. Whatever happens, it has ended afterwards."""
    out, log = folder / f"runs-{time.monotonic_ns()}", folder / "log.txt"
    kept = {"PIB_LAB_WEAR": str(folder / "wear"), "XDG_DATA_HOME": str(folder)}  # wear and passports
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | kept
    whole = [sys.executable, "-m", "pib_lab.cli", "run", *command, "--out", str(out), "--no-report"]
    with log.open("wb") as said:
        process = subprocess.Popen(whole, cwd=ROOT, env=environment, stdout=said, stderr=said, start_new_session=True)
    deadline_s, watched = time.monotonic() + _START_S, None
    try:
        while watched is None or not watched.on():
            if process.poll() is not None or time.monotonic() > deadline_s:
                raise RuntimeError(f"the run switched nothing on:\n{log.read_text()}")
            if watched is None and (found := list(out.glob(f"*/{FILE_NAME}"))):
                watched = Watched(process, found[0].parent, outputs, evaluate_every)
            time.sleep(_POLL_S)
        yield watched
    finally:
        process.kill()
        process.wait()
        if watched is not None:
            watched.close()


def _child(pid: int) -> int:
    """The guardian: the run's only child."""
    (child,) = map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    return child


def _confirmed(record: Path) -> bool:
    """Wait for the guardian to end its record; whether it read everything back off."""
    deadline_s = time.monotonic() + _GIVE_UP_S
    while time.monotonic() < deadline_s:
        last = json.loads(record.read_text().splitlines()[-1]) if record.is_file() else {}
        if last.get("what") == "ended":
            return bool(last["safe"])
        time.sleep(0.01)
    return False
