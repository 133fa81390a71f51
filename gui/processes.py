"""Runs started from the desktop: each a process of its own that goes on when the desktop is closed or dies."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pib_lab.endpoint import FILE_NAME, read_endpoint
from pib_lab.errors import LinkError, RunFileError

PROGRAM = (sys.executable, "-m", "pib_lab.cli")
"""`pib-lab`, of the very installation that the desktop belongs to."""


@dataclass(frozen=True, slots=True)
class Order:
    """What to run. protocol: a shipped name or a TOML file; overrides: `KEY.PATH=VALUE`; resume: a run's folder, in
    the place of all else; traffic: keep what goes over the links of real devices."""

    protocol: str = ""
    overrides: tuple[str, ...] = ()
    seed: int | None = None
    mock: bool = False
    resume: Path | None = None
    traffic: bool = False

    def arguments(self, out: Path) -> list[str]:
        """Of `pib-lab`."""
        if self.resume is not None:
            return ["run", "--resume", str(self.resume), "--json"]
        made = ["run", self.protocol, "--out", str(out), "--json"]
        made += [part for override in self.overrides for part in ("--set", override)]
        made += ["--seed", str(self.seed)] if self.seed is not None else []
        made += ["--traffic"] if self.traffic else []
        return [*made, "--mock"] if self.mock else made


@dataclass
class RunProcess:
    """A run's process, from its start to its exit code. `folder` is None until the run has made one."""

    order: Order
    out: Path
    process: subprocess.Popen[bytes]
    output: Path
    folder: Path | None = None
    code: int | None = None
    result: dict[str, Any] = field(default_factory=dict)
    _polling: threading.Lock = field(default_factory=threading.Lock)  # the window and the run's source both ask

    @property
    def pid(self) -> int:
        """Of the process."""
        return self.process.pid

    @property
    def error(self) -> str:
        """Why the run failed; "" when it did not, or when it was only interrupted."""
        if self.code in (None, 0, 130):
            return ""
        killed = "its process was ended before it could say why" if (self.code or 0) < 0 else ""
        return str(self.result.get("error") or killed or f"the run ended with code {self.code}")

    def find_folder(self) -> Path | None:
        """The run's folder, once its endpoint can be reached."""
        if self.folder is None:
            folders = [self.order.resume] if self.order.resume else [path.parent for path in _endpoints(self.out)]
            for folder in folders:
                with contextlib.suppress(LinkError):
                    if read_endpoint(folder).pid == self.pid:
                        self.folder = folder
        return self.folder

    def poll(self) -> int | None:
        """The exit code; None while it goes on."""
        with self._polling:
            if self.code is None and (code := self.process.poll()) is not None:
                self.result = _last_json(self.output)
                if self.folder is None and self.result.get("run"):
                    self.folder = Path(self.result["run"])
                self.output.unlink(missing_ok=True)
                self.code = code
            return self.code

    def end(self) -> None:
        """End it at once and wait until it has gone. Its guardian then switches real outputs off."""
        self.process.kill()
        self.process.wait()


def start(order: Order, out: Path) -> RunProcess:
    """Start a run. Raises RunFileError when the system refuses.

    It is a session of its own, and writes to a file: neither Ctrl-C in the desktop's terminal nor the desktop's death
    reaches it.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix="pib-lab-run-", suffix=".log")
        with open(handle, "wb") as output:
            process = subprocess.Popen(
                [*PROGRAM, *order.arguments(out)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
    except OSError as error:
        raise RunFileError(f"the run could not be started in {out}: {error.strerror}") from error
    return RunProcess(order, out, process, Path(name))


def call(arguments: Sequence[str], timeout_s: float) -> tuple[int, dict[str, Any], str]:
    """Run `pib-lab` to its end: exit code, the JSON object in its last line of stdout ({} without one), its stderr.

    Raises LinkError when it takes longer.
    """
    try:
        done = subprocess.run(
            [*PROGRAM, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout_s,
            text=True,
            env=os.environ | {"NO_COLOR": "1"},
        )
    except subprocess.TimeoutExpired as error:
        raise LinkError(f"`pib-lab {arguments[0]}` did not end within {timeout_s:g} s") from error
    return done.returncode, _json_in(done.stdout), done.stderr.strip()


def _endpoints(out: Path) -> list[Path]:
    return list(out.glob(f"*/{FILE_NAME}"))


def _last_json(path: Path) -> dict[str, Any]:
    try:
        return _json_in(path.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return {}


def _json_in(text: str) -> dict[str, Any]:
    for line in reversed(text.splitlines()):
        if line.startswith("{"):
            try:
                return dict(json.loads(line))
            except ValueError:
                return {}
    return {}
