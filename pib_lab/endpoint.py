"""Where a live run can be reached: `endpoint.json` in the run's folder, readable by its owner only."""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from pib_lab.errors import LinkError, RunFileError

FILE_NAME = "endpoint.json"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Address of a run's service. `birth` tells a process from a later one that was given the same number."""

    port: int
    token: str
    pid: int
    birth: str

    @property
    def address(self) -> str:
        """For zmq's connect."""
        return f"tcp://127.0.0.1:{self.port}"

    def write(self, folder: Path) -> None:
        """Write the file whole, with mode 0600 from its first byte. Raises RunFileError when it cannot be written."""
        temporary = folder / f"{FILE_NAME}.{self.pid}"
        try:
            temporary.unlink(missing_ok=True)
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(asdict(self), file)
            temporary.replace(folder / FILE_NAME)
        except OSError as error:
            raise RunFileError(f"cannot write {folder / FILE_NAME}: {error.strerror}") from error

    def remove(self, folder: Path) -> None:
        """Delete the file, unless another process has taken the folder over. Idempotent."""
        try:
            if read_endpoint(folder).token == self.token:
                (folder / FILE_NAME).unlink(missing_ok=True)
        except (LinkError, OSError):
            return

    @property
    def alive(self) -> bool:
        """True while the process that wrote the file exists."""
        birth = birth_of(self.pid)
        return birth is not None and (not self.birth or not birth or birth == self.birth)

    def end_process(self) -> None:
        """End a process that hangs, at once. Raises LinkError when it cannot be told from an unrelated process."""
        if not self.alive:
            return
        if not self.birth:
            raise LinkError(f"process {self.pid} does not answer; end it yourself (kill -9 {self.pid}) and try again")
        try:
            os.kill(self.pid, signal.SIGKILL if sys.platform != "win32" else signal.SIGTERM)
        except ProcessLookupError:
            return  # it has ended by itself
        except PermissionError as error:
            raise LinkError(f"process {self.pid} belongs to someone else and does not answer: ask them") from error


def read_endpoint(folder: Path) -> Endpoint:
    """The endpoint of the live run in `folder`. Raises LinkError when there is none."""
    path = folder / FILE_NAME
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return Endpoint(int(content["port"]), str(content["token"]), int(content["pid"]), str(content["birth"]))
    except FileNotFoundError:
        known = "the run is not live" if folder.is_dir() else "there is no such folder"
        raise LinkError(f"{folder}: {known} (no {FILE_NAME}); `pib-lab list runs` shows the runs") from None
    except OSError as error:
        raise LinkError(f"{path}: {error.strerror}; only the user who started the run may command it") from error
    except (ValueError, KeyError, TypeError) as error:
        raise LinkError(f"{path}: not an endpoint file of this version ({error})") from error


def birth_of(pid: int) -> str | None:
    """When process `pid` was started, as the system tells it; "" when it exists but that is unknown, None when it does
    not exist."""
    if sys.platform == "win32":
        return _birth_on_windows(pid)
    try:
        # Field 22 of /proc/PID/stat; the second, the name in brackets, may hold spaces. A zombie, state Z, is dead.
        line = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        state, *rest = line.rpartition(")")[2].split()
        return None if state in {"Z", "X"} else rest[18]
    except FileNotFoundError:
        return _birth_elsewhere(pid)


def _birth_elsewhere(pid: int) -> str | None:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        return ""
    return ""


def _birth_on_windows(pid: int) -> str | None:  # os.kill(pid, 0) would send Ctrl-C there
    import ctypes

    kernel = getattr(ctypes, "windll").kernel32  # noqa: B009 - exists on Windows only
    query_limited_information, still_active = 0x1000, 259
    handle = kernel.OpenProcess(query_limited_information, False, pid)
    if not handle:
        return None
    try:
        code = ctypes.c_ulong()
        times = [ctypes.c_ulonglong() for _ in range(4)]
        kernel.GetExitCodeProcess(handle, ctypes.byref(code))
        kernel.GetProcessTimes(handle, *(ctypes.byref(time) for time in times))
        return str(times[0].value) if code.value == still_active else None
    finally:
        kernel.CloseHandle(handle)
