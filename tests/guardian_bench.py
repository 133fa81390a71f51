"""A small source with a true output state on a real socket, and a guarded run of it as a process of its own."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Self

ROOT = Path(__file__).parents[1]


class Source:
    """Speaks enough SCPI to be switched on and off; takes one client at a time, as instruments do.

    silent: answers nothing; stuck: the output stays on; identity: what *IDN? is answered by.
    """

    def __init__(self) -> None:
        self.level_v = 0.0
        self.on = False
        self.off_at_s = 0.0
        self.silent = False
        self.stuck = False
        self.identity = "KEITHLEY INSTRUMENTS INC.,MODEL 2400,1,C30"
        self.heard: list[str] = []
        self.clients = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        return f"TCPIP0::127.0.0.1::{self.port}::SOCKET"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def wait_off(self, timeout_s: float) -> bool:
        """Watch the true output until it is off."""
        deadline_s = time.monotonic() + timeout_s
        while self.on and time.monotonic() < deadline_s:
            threading.Event().wait(0.002)
        return not self.on

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.clients += 1
            try:
                with client, client.makefile("rb") as lines:
                    for line in lines:
                        answer = self._execute(line.decode().strip())
                        if answer is not None and not self.silent:
                            client.sendall(answer.encode() + b"\n")
            except OSError:
                continue

    def _execute(self, message: str) -> str | None:
        self.heard.append(message)
        match message.split():
            case ["*IDN?"]:
                return self.identity
            case [":OUTP", state]:
                self.on = state == "ON" or (self.on and self.stuck)
                self.off_at_s = time.monotonic()
            case [":OUTP?"]:
                return f"{self.on:d}"
            case [":SOUR:VOLT:LEV", level]:
                self.level_v = float(level)
            case [":SOUR:VOLT:LEV?"]:
                return f"{self.level_v:.6e}"
            case [":SOUR:CURR:LEV?"]:
                return "0.000000e+00"
        return None


RUN = """
import os, socket, sys, time
from pathlib import Path
from drivers.safe.guardian import Guardian
from drivers.safe.recipes import keithley_2400
folder, port, heartbeat_s, then = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), sys.argv[4]
guardian = Guardian(folder, heartbeat_s=heartbeat_s, busy_s=float(sys.argv[5])).start()
guardian.register(keithley_2400("smu", f"TCPIP0::127.0.0.1::{port}::SOCKET"))
guardian.require_alive()
link = socket.create_connection(("127.0.0.1", port))
link.sendall(b":SOUR:VOLT:LEV 0.5\\n:OUTP ON\\n:OUTP?\\n")
assert link.recv(16) == b"1\\n"
if then == "fork" and os.fork() == 0:  # inherits the pipe to the guardian
    link.close()
    time.sleep(30)
print(guardian.pid, flush=True)
if then == "compute":  # holds the interpreter for longer than a heartbeat
    import re
    began_s = time.monotonic()
    while time.monotonic() - began_s < 3 * heartbeat_s:
        re.fullmatch("(a+)+b", "a" * 24)
    print("computed", flush=True)
sys.stdin.readline()
link.sendall(b":OUTP OFF\\n:OUTP?\\n")
assert link.recv(16) == b"0\\n"
link.close()
guardian.close()
"""


class GuardedRun:
    """A process that switches a source on and then stands still; `guardian_pid` is its guardian's number."""

    def __init__(
        self, folder: Path, source: Source, heartbeat_s: float = 0.3, then: str = "wait", busy_s: float = 10.0
    ) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", RUN, str(folder), str(source.port), str(heartbeat_s), then, str(busy_s)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.guardian_pid = int(self.line())

    def line(self) -> str:
        """The next line that it prints."""
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def end_in_order(self) -> tuple[int, str]:
        """Let it switch off and end; its exit code and stderr."""
        _, errors = self.process.communicate("\n", timeout=20)
        return self.process.returncode, errors

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()
