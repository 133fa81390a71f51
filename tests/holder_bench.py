"""A process that holds a source under a guardian, its output on, as a run does while it prepares."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Self

from guardian_bench import ROOT, Source

HOLDER = """
import socket, sys
from pathlib import Path
from types import SimpleNamespace
from drivers.safe.guardian import Guardian
from drivers.safe.kept import forget, keep
from drivers.safe.recipes import keithley_2400
from drivers.wire.ownership import Claims

folder, port, kind = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
action = keithley_2400("chip", f"TCPIP0::127.0.0.1::{port}::SOCKET")
claims = Claims(None if kind == "command" else folder)
claims.claim([action.address])
if kind == "command":  # another `pib-lab safe`
    print(0, flush=True)
    sys.stdin.readline()
    sys.exit()
keep(folder, [action], [])
guardian = Guardian(folder).start(claims.descriptors)
guardian.register(action)
link = socket.create_connection(("127.0.0.1", port))
link.sendall(b":SOUR:VOLT:LEV 0.5\\n:OUTP ON\\n:OUTP?\\n")
assert link.recv(16) == b"1\\n"
if kind == "silent":
    print(guardian.pid, flush=True)
    sys.stdin.readline()
import time
from event_samples import started
from pib_lab.events import MadeSafe
from pib_lab.service import Service
asked = []
with Service(folder, SimpleNamespace(post=asked.append)) as service:
    service.show(started())
    print(guardian.pid, flush=True)
    while not asked:
        time.sleep(0.01)
    link.sendall(b":OUTP OFF\\n:OUTP?\\n")
    assert link.recv(16) == b"0\\n"
    link.close()
    for unit in started().units:
        service.show(MadeSafe(unit.name, ("source",), (), ""))
    guardian.close()
    forget(folder)
    claims.release()
"""


class Holder:
    """kind: "silent" cannot be asked; "obedient" makes safe and ends when asked; "command" has a claim and no run."""

    def __init__(self, folder: Path, source: Source, kind: str = "silent") -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(folder), str(source.port), kind],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.guardian_pid = int(self.process.stdout.readline())

    def kill_both(self) -> None:
        """End guardian and process at once, so that the output stays on."""
        os.kill(self.guardian_pid, signal.SIGKILL)
        self.process.kill()
        self.process.wait(10)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()
