"""The guardian's own process: `python -m drivers.safe.guardian_process RUN_PID HEARTBEAT_S BUSY_S`.

It is told everything in JSON lines on stdin, and answers each line by one on stdout:

    {"do": "register", "action": {...}}   a device and how it is made safe ("error" in the answer: it cannot)
    {"do": "forget", "action": {...}}     it could not be connected, so nothing was switched on there: leave it alone
    {"do": "record", "path": "..."}       where to write what it did
    {"do": "beat"}                        the run lives
    {"do": "act", "why": "..."}           make everything safe now, write it down and end
    {"do": "done"}                        the run has ended in order: end silently (no answer)

It acts of its own accord when stdin ends, when the run's process ends, or when no line has come for HEARTBEAT_S and
the process is not computing either (or none for BUSY_S, whatever it does). In the last case it ends the run's process
first, so that the links are free and nothing is switched on again.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from drivers.safe.commands import Outcome, SafeAction, all_safe
from drivers.safe.execution import carry_out_all, prepare
from pib_lab.errors import PibError

_ENDED = "the run's process has ended"
_TICK_S = 0.1
_FREED_S = 1.0
"""How long the run's process is given to vanish once it has been ended."""


def main(run_pid: int, heartbeat_s: float, busy_s: float) -> int:
    """Watch until the end; the exit code is 0 when nothing had to be done or all was confirmed off, else 3."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)  # the run answers these; whoever ends the run also ends this in time
    watch = _Watch(run_pid, heartbeat_s, busy_s)
    guardian = _Guardian()
    why = watch.wait(guardian)
    if why is None:
        return 0
    return 0 if guardian.act(why) else 3


class _Guardian:
    """What it has been told, and how it acts."""

    def __init__(self) -> None:
        self._actions: dict[str, SafeAction] = {}
        self._record: Path | None = None

    def hear(self, line: bytes) -> str | None:
        """Obey one line: "done" ends silently; "act" has been carried out and ends too.

        A line that cannot be understood is answered so; it never ends the guardian.
        """
        try:
            return self._obey(json.loads(line))
        except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as problem:
            _answer({"did": None, "error": f"{type(problem).__name__}: {problem}"})
            return None

    def _obey(self, message: dict[str, Any]) -> str | None:
        match message["do"]:
            case "register":
                self._register(message)
                return None
            case "forget":
                self._actions.pop(_key(SafeAction.from_json(message["action"])), None)
            case "record":
                self._record = Path(message["path"])
            case "act":
                self.act(str(message["why"]))
                return "done"
            case "done":
                return "done"
        _answer({"did": message["do"]})
        return None

    def _register(self, message: dict[str, Any]) -> None:
        try:
            action = SafeAction.from_json(message["action"])
            prepare(action)
        except PibError as problem:
            _answer({"did": "register", "error": str(problem)})
            return
        except Exception as problem:  # the run is told, and does not switch on
            _answer({"did": "register", "error": f"{type(problem).__name__}: {problem}"})
            return
        self._actions[_key(action)] = action
        _answer({"did": "register"})

    def act(self, why: str) -> bool:
        """Make all devices safe and write down what was done; True when every output was read back off."""
        self._note({"what": "acting", "why": why, "devices": [action.device for action in self._actions.values()]})
        outcomes = carry_out_all(self._actions.values(), self._note_outcome)
        safe = all_safe(outcomes)
        self._note({"what": "ended", "safe": safe})
        _answer({"did": "act", "safe": safe})
        left = "; ".join(f"{found.device}: {', '.join(found.not_confirmed)}" for found in outcomes if not found.safe)
        result = "all outputs were read back off" if safe else f"NOT confirmed off: {left}"
        with contextlib.suppress(OSError):
            os.write(2, f"guardian: {why}; {result}\n".encode())
        return safe

    def _note_outcome(self, outcome: Outcome) -> None:
        self._note({"what": "outcome", **asdict(outcome)})

    def _note(self, record: dict[str, Any]) -> None:
        """Add a line to the record; a full disk must not keep outputs on."""
        line = json.dumps({"unix_s": round(time.time(), 3), **record}) + "\n"
        with contextlib.suppress(OSError, ValueError):  # nor a name that no file can have
            if self._record is not None:
                with self._record.open("a", encoding="utf-8") as file:
                    file.write(line)


class _Watch:
    """Sees the end of the run: of its pipe, of its process, or of its heartbeat."""

    def __init__(self, run_pid: int, heartbeat_s: float, busy_s: float) -> None:
        self._pid, self._heartbeat_s, self._busy_s = run_pid, heartbeat_s, busy_s
        self._process: int | None = None
        if hasattr(os, "pidfd_open"):  # a fork of the run would keep the pipe open: Linux tells of the process itself
            with contextlib.suppress(OSError):
                self._process = os.pidfd_open(run_pid)

    def wait(self, guardian: _Guardian) -> str | None:
        """Hand lines on until the run ends; why to act, or None when there is nothing to do."""
        if os.getppid() != self._pid:  # it died before it could be watched
            return _ENDED
        unread = b""
        watched = [0] if self._process is None else [0, self._process]
        heard_s = judged_s = asked_s = time.monotonic()
        computed_s = self._computed_s()
        while True:
            ready = select.select(watched, [], [], _TICK_S)[0]
            now_s = time.monotonic()
            if now_s - asked_s > _TICK_S + self._heartbeat_s / 2:  # the whole machine slept: count anew
                heard_s = judged_s = now_s
            asked_s = now_s
            if 0 in ready:
                data = os.read(0, 65536)
                *lines, unread = (unread + data).split(b"\n")
                if any(guardian.hear(line) == "done" for line in lines):
                    return None
                if not data:
                    return _ENDED
                heard_s = judged_s = now_s
                computed_s = self._computed_s()
            elif ready:
                return _ENDED
            elif now_s - heard_s > self._busy_s:
                self._end_run()
                return f"the run has sent no heartbeat for {self._busy_s:g} s"
            elif now_s - judged_s > self._heartbeat_s:
                latest_s = self._computed_s()
                if latest_s <= computed_s:
                    self._end_run()
                    return f"the run has sent no heartbeat for {self._heartbeat_s:g} s and computes nothing"
                judged_s, computed_s = now_s, latest_s

    def _computed_s(self) -> float:
        """Processor time that the run has used; 0 where the system does not tell, so that only heartbeats count.

        A run that computes without a break, so that its heartbeat cannot be sent, is healthy.
        """
        try:
            fields = Path(f"/proc/{self._pid}/stat").read_bytes().rpartition(b")")[2].split()
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        except (OSError, ValueError, IndexError):
            return 0.0

    def _end_run(self) -> None:
        """End a run that hangs, at once, and wait until it has let go of its links."""
        with contextlib.suppress(OSError):
            if self._process is not None:  # cannot hit another process that was given the same number
                signal.pidfd_send_signal(self._process, signal.SIGKILL)
                select.select([self._process], [], [], _FREED_S)
            elif os.getppid() == self._pid:
                os.kill(self._pid, signal.SIGKILL)


def _key(action: SafeAction) -> str:
    return f"{action.device} {action.address}"


def _answer(message: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):  # the run has gone
        os.write(1, json.dumps(message).encode() + b"\n")


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])))
