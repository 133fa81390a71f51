"""The run's end of the guardian: a process of its own that switches every output off when this one dies or hangs.

It is started before the first output goes on and told how each device is made safe. From then on a thread sends
heartbeats, for as long as this process lives; the guardian's answers show that it lives too.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from drivers.safe.commands import SafeAction
from pib_lab.errors import DeviceError

HEARTBEAT_S = 1.0
"""After so long without a heartbeat a run that does not compute either counts as hung."""

BUSY_S = 10.0
"""After so long without a heartbeat a run counts as hung even though it computes."""

RECORD = "guardian.jsonl"
"""What the guardian did, beside the run file; absent when it never had to act."""

_START_S = 30.0
_BEATS = 5  # in HEARTBEAT_S
_END_S = 30.0  # four stages of devices that do not answer, with room


class Guardian:
    """One guardian process. `start` it, `register` every device, and `close` it when all outputs are off.

    It belongs to a session of its own, so that Ctrl-C and signals to the run's group do not reach it. heartbeat_s,
    busy_s: see HEARTBEAT_S and BUSY_S.
    """

    def __init__(self, folder: Path, *, heartbeat_s: float = HEARTBEAT_S, busy_s: float = BUSY_S) -> None:
        self._record = folder.resolve() / RECORD
        self._heartbeat_s, self._busy_s = heartbeat_s, busy_s
        self._process: subprocess.Popen[bytes] | None = None
        self._changed = threading.Condition()
        self._writing = threading.Lock()
        self.beats = 0
        """Heartbeats sent so far."""
        self._answers: dict[str | None, dict[str, Any]] = {}  # the latest of each kind
        self._heard_s = 0.0
        self._closing = threading.Event()
        self._threads: list[threading.Thread] = []

    @property
    def pid(self) -> int:
        """Number of the guardian's process. Raises DeviceError before `start`."""
        return self._running().pid

    def start(self, inherited: Sequence[int] = ()) -> Self:
        """Start the process and wait until it answers. Raises DeviceError when it does not.

        inherited: descriptors that it keeps open for as long as it lives, such as locks on addresses.
        """
        if sys.platform == "win32":
            raise DeviceError("the guardian needs Linux or macOS: no output of a real device goes on without it")
        numbers = [str(os.getpid()), str(self._heartbeat_s), str(self._busy_s)]
        path = os.pathsep.join(os.path.abspath(place) for place in sys.path)
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "drivers.safe.guardian_process", *numbers],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                start_new_session=True,
                pass_fds=tuple(inherited),
                env=os.environ | {"PYTHONPATH": path},
            )
        except OSError as error:
            raise DeviceError(f"the guardian cannot be started ({error}): no output goes on without it") from error
        for work in (self._listen, self._beat):
            thread = threading.Thread(target=work, name=f"guardian{work.__name__}", daemon=True)
            thread.start()
            self._threads.append(thread)
        self._ask({"do": "record", "path": str(self._record)}, _START_S)
        return self

    def register(self, action: SafeAction) -> None:
        """Tell how a device is made safe; on return the guardian knows. Raises DeviceError when it could not do it."""
        problem = self._ask({"do": "register", "action": action.to_json()}, _START_S).get("error")
        if problem is not None:
            raise DeviceError(f"the guardian could not switch {action.device} at {action.address} off: {problem}")

    def forget(self, action: SafeAction) -> None:
        """A device that the run could not connect is not commanded. Raises DeviceError when it does not answer."""
        self._ask({"do": "forget", "action": action.to_json()}, _START_S)

    def require_alive(self) -> None:
        """Raise DeviceError unless the guardian lives and has answered lately. Cheap: to be asked at every switching.

        When answers are late because this process had no time for heartbeats, one is awaited.
        """
        self._running()
        if time.monotonic() - self._heard_s > self._heartbeat_s:
            self._ask({"do": "beat"}, self._heartbeat_s)

    def act(self, why: str) -> bool:
        """Let it make every device safe now, over links of its own, and end. True when all was read back off.

        The run's own links must be closed. Raises DeviceError when it does not answer.
        """
        try:
            return bool(self._ask({"do": "act", "why": why}, _END_S)["safe"])
        finally:
            self.close()

    def close(self) -> None:
        """All outputs are off: let it end silently. Idempotent."""
        self._closing.set()
        if self._process is None or self._process.stdin is None or self._process.stdin.closed:
            return
        with contextlib.suppress(OSError):
            self._send({"do": "done"})
        try:
            self._process.wait(2.0)
        except subprocess.TimeoutExpired:  # it is in the middle of something: it ends by itself, or is of no use
            self._process.kill()
            self._process.wait()
        for thread in self._threads:
            thread.join()
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _running(self) -> subprocess.Popen[bytes]:
        process = self._process
        if process is None or self._closing.is_set():
            raise DeviceError("no guardian is running: no output goes on without it; open the lab again")
        if process.poll() is not None:
            raise DeviceError(
                f"the guardian has died (exit code {process.returncode}): no output goes on without it; "
                "find out who ended it, then start the run again"
            )
        return process

    def _send(self, message: dict[str, Any]) -> None:
        process = self._process
        assert process is not None
        assert process.stdin is not None
        with self._writing:
            os.write(process.stdin.fileno(), json.dumps(message).encode() + b"\n")

    def _ask(self, message: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        """Send a message and wait for the answer to one of its kind."""
        self._running()
        with self._changed:
            self._answers.clear()
        with contextlib.suppress(OSError):  # it has died: no answer comes, and _running says so
            self._send(message)
        with self._changed:
            self._changed.wait_for(lambda: message["do"] in self._answers or self._ended(), timeout_s)
            answer = self._answers.get(message["do"])
        if answer is None:
            self._running()
            raise DeviceError(f"the guardian has not answered within {timeout_s:g} s: no output goes on without it")
        return answer

    def _ended(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def _listen(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._changed:
                self._heard_s = time.monotonic()
                answer = json.loads(line)
                self._answers[answer["did"]] = answer
                self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()

    def _beat(self) -> None:
        while not self._closing.wait(self._heartbeat_s / _BEATS):
            try:
                self._send({"do": "beat"})
                self.beats += 1
            except OSError:  # it has died; whoever switches the next output on is told
                return
