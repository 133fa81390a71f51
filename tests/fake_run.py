"""Stands in for `pib-lab` in tests of the desktop: a run in a process of its own that begins at once.

`run PROTOCOL --out FOLDER --json` records and serves a run that goes on until it is told to end. The protocol says what
it is like: "fails" never begins, "hangs" does not obey "safe", "doubtful" cannot read one output back off, "short" ends
by itself after 20 steps. `safe RUN --json` reports one device off, or for "stubborn" in the run's name NOT.
"""

from __future__ import annotations

import json
import queue
import sys
from dataclasses import replace
from pathlib import Path

import event_samples
import synthetic_run

from data.recorder import Recorder
from pib_lab.bus import Bus
from pib_lab.events import CheckpointTaken, MadeSafe, RunFinished, StateChanged
from pib_lab.records import Passes, RunState
from pib_lab.service import Service

PACE_S = 0.005
TOTAL = 100_000


class Commands:
    """Verbs that have come and are still to be obeyed."""

    def __init__(self) -> None:
        self.verbs: queue.Queue[str] = queue.Queue()

    def post(self, verb: str) -> None:
        self.verbs.put(verb)

    def next(self, timeout_s: float | None) -> str:
        """The next verb, or "" when none has come in time."""
        try:
            return self.verbs.get(timeout=timeout_s)
        except queue.Empty:
            return ""


def run(protocol: str, out: Path) -> int:
    """Record and serve until told to end."""
    if protocol == "fails":
        print(json.dumps({"run": None, "error": "hardware.chip: no such port"}))
        return 2
    folder = out / f"{protocol}-run"
    total = 20 if protocol == "short" else TOTAL
    started = replace(event_samples.started(total, run_id=folder.name), protocol_name=protocol)
    commands = Commands()
    with Recorder.create(folder, started, CheckpointTaken(0, {})) as recorder, Service(folder, commands) as service:
        bus = Bus(recorder, [service])
        bus.publish(started)
        bus.publish(StateChanged(RunState.RUNNING, 0))
        step, status = 0, "finished"
        while step < total:
            verb = commands.next(PACE_S)
            if verb == "pause":
                bus.publish(StateChanged(RunState.PAUSED, step))
                while verb not in {"resume", "abort", "safe"}:
                    verb = commands.next(None)
                bus.publish(StateChanged(RunState.RUNNING, step))
            if verb == "abort" or (verb == "safe" and protocol != "hangs"):
                status = "aborted"
                break
            step += 1
            bus.publish(synthetic_run.step_done(step, started.units, 100))
        bus.publish(StateChanged(RunState(status), step))
        for unit in started.units:
            doubt = ("word lines",) if protocol == "doubtful" and unit.name == "read-out" else ()
            bus.publish(MadeSafe(unit.name, ("read voltage",), doubt, "no answer" if doubt else ""))
        bus.publish(RunFinished(status, step, {}, Passes(), 0, 1.0, "", protocol != "doubtful"))
        bus.close()
    print(json.dumps({"run": str(folder), "status": status}))
    return 0 if status == "finished" else 130


def safe(where: str) -> int:
    """Command the devices off."""
    doubt = ["output"] if "stubborn" in where else []
    report = {"unit": "smu", "confirmed": ["gate"], "not_confirmed": doubt, "detail": "no answer" if doubt else ""}
    print(json.dumps({"safe": not doubt, "reports": [report]}))
    return 3 if doubt else 0


if __name__ == "__main__":
    verb, what = sys.argv[1:3]
    sys.exit(safe(what) if verb == "safe" else run(what, Path(sys.argv[sys.argv.index("--out") + 1])))
