"""Manual control as a process of its own: `pib-lab manual`, told what to do line by line. It ends when we do."""

from __future__ import annotations

import contextlib
import json
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gui import processes
from pib_lab.errors import RunFileError

Answer = dict[str, Any]

GONE = "gone"
"""What the last answer "did": the process has ended, with its "code" and, where it failed, its "error"."""


class ManualProcess:
    """One device in a person's hands. heard: is called with each answer, on a thread of its own.

    The pipe to its stdin is all that holds it: when the desktop lets go of that, or dies, it makes the device safe and
    ends. Raises RunFileError when the system refuses to start it.
    """

    def __init__(
        self, protocol: str, device: str, out: Path, heard: Callable[[Answer], None], *, traffic: bool = False
    ) -> None:
        self.protocol, self.device = protocol, device
        self.folder: Path | None = None
        self._heard = heard
        arguments = ["manual", protocol, device, "--out", str(out), "--json", *(["--traffic"] if traffic else [])]
        try:
            self._process = subprocess.Popen(
                [*processes.PROGRAM, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                text=True,
            )
        except OSError as error:
            raise RunFileError(f"manual control could not be started: {error.strerror}") from error
        threading.Thread(target=self._listen, name="manual", daemon=True).start()

    def tell(self, message: Answer) -> None:
        """Send one message; its answer comes to `heard`. To a process that has ended, nothing."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError, ValueError):  # it has ended, or was let go: then "gone" comes
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()

    def let_go(self) -> None:
        """No more messages: it makes the device safe and ends. Idempotent; does not wait."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()

    def find_folder(self) -> Path | None:
        """Its folder, once the device is open."""
        return self.folder

    def poll(self) -> int | None:
        """The exit code; None while it goes on."""
        return self._process.poll()

    def end(self) -> None:
        """End it at once and wait until it has gone. Its guardian then switches real outputs off."""
        self._process.kill()
        self._process.wait()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        told = ""
        with contextlib.suppress(ValueError):  # closed under our hands
            for line in self._process.stdout:
                if not line.startswith("{"):
                    told = line.strip() or told
                    continue
                answer = dict(json.loads(line))
                if answer.get("did") == "open":
                    self.folder = Path(answer["folder"])
                self._heard(answer)
        code = self._process.wait()
        self._heard({"did": GONE, "code": code, "error": told.removeprefix("error: ") if code else ""})
