"""A panel that is driven as a monitor: patterns are painted into a window over the whole of it.

The window is in a process of its own, drivers/optics/screen_process.py. Switch screen saver and power saving of that
monitor off, and keep other windows away from it: neither can be seen from here. That a pattern acts on light is proved
by light alone.
"""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from importlib.util import find_spec
from typing import IO, Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from drivers.optics.screen_messages import receive, receive_exactly, send
from drivers.optics.slm import Gray, check_gray, dump_pattern
from pib_lab.device import DeviceContext
from pib_lab.errors import ConfigurationError, DeviceError, LimitError, LinkError

START_S = 20.0
"""Longest wait for the window to stand."""

ANSWER_S = 5.0
"""Longest wait for a pattern to be painted."""

_LEVELS = 256
_Level = Annotated[int, Field(ge=0, lt=_LEVELS)]
_Size = Annotated[int, Field(ge=1, le=8192)]
_Seconds = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]


class ScreenOptions(BaseModel):
    """monitor: its name or its number; shape: rows and columns of the panel, which must be the monitor's resolution.

    settle_s: from handing a pattern over until every phase has settled, as measured by light. paint_s: what of it was
    painting; one that takes longer is waited out. dump: gray levels half a wave apart. platform: the Qt platform,
    default the system's.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    monitor: str | int
    shape: tuple[_Size, _Size]
    settle_s: _Seconds
    paint_s: _Seconds = 0.05
    dump: tuple[_Level, _Level] = (0, 128)
    platform: str | None = None


def make_screen_slm(options: Mapping[str, Any], context: DeviceContext, where: str) -> ScreenSlm:
    """Connects to nothing. Raises ConfigurationError with the key that is missing, unknown or wrong."""
    try:
        return ScreenSlm(ScreenOptions.model_validate(dict(options)), context)
    except ValidationError as error:
        lines = [f"{where}.{'.'.join(map(str, detail['loc']))}: {detail['msg']}" for detail in error.errors()]
        raise ConfigurationError("\n".join(lines)) from None


class ScreenSlm:
    """A `SpatialLightModulator` of 8 bits. `late` counts paintings that took longer than `paint_s`."""

    levels = _LEVELS

    def __init__(self, options: ScreenOptions, context: DeviceContext) -> None:
        self._options, self._clock = options, context.clock
        self.name = f"{context.name}.slm on monitor {options.monitor}"
        self.shape = options.shape
        self.late = 0
        self.shown_s = 0.0
        self._process: subprocess.Popen[bytes] | None = None
        self._link: socket.socket | None = None
        self._said: IO[bytes] | None = None

    @property
    def settle_s(self) -> float:
        """From handing a pattern over until it has settled, as the protocol says."""
        return self._options.settle_s

    @property
    def pid(self) -> int | None:
        """Number of the window's process; None when not open."""
        return self._process.pid if self._process else None

    def open(self) -> None:
        """Put up the window and show the dump pattern. Raises DeviceError when the monitor or Qt cannot be had."""
        if self._link is not None:
            return
        if find_spec("PySide6") is None:
            raise DeviceError(f"{self.name}: a window needs Qt; run: pip install pib-lab[gui]")
        try:
            self._start()
            self.park()
        except BaseException:
            self.close()
            raise

    def show(self, gray: Gray) -> float:
        """Paint a pattern; returns the time before it was handed over, once the window's buffer is the platform's.

        Raises LimitError, DeviceError when not open, LinkError when the window's process has died or hangs.
        """
        self._require_open()
        gray = np.asarray(gray)
        if gray.ndim != 2:
            raise LimitError(f"{self.name}: show one pattern (rows, columns) at a time, not {gray.shape}")
        check_gray(gray, self.shape, _LEVELS, self.name)
        self.shown_s = self._clock.now_s()
        self._ask(b"F", np.ascontiguousarray(gray, np.uint8).tobytes(), b"P")
        if self._clock.now_s() - self.shown_s > self._options.paint_s:
            self.late += 1
            self._clock.sleep_s(self._options.settle_s)
        return self.shown_s

    def park(self) -> float:
        """Show the dump pattern."""
        return self.show(dump_pattern(self.shape, *self._options.dump))

    def shown(self) -> npt.NDArray[np.uint8]:
        """Gray levels (rows, columns) that the window holds. Raises DeviceError where they are not gray any more."""
        self._require_open()
        body = self._ask(b"G", b"", b"G")
        rows, columns = self.shape
        if len(body) != 3 * rows * columns:
            raise DeviceError(f"{self.name}: the window holds another number of pixels than the panel; open it anew")
        colours = np.frombuffer(body, np.uint8).reshape(rows, columns, 3)
        if (colours != colours[..., :1]).any():
            raise DeviceError(f"{self.name}: something colours the window; switch off night light and colour profiles")
        return np.array(colours[..., 0])

    def close(self) -> None:
        """Take the window down. Idempotent."""
        if self._link is not None:
            self._link.close()
            self._link = None
        if self._process is not None:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(2.0)
            self._process.kill()
            self._process.wait()
            self._process = None
        if self._said is not None:
            self._said.close()
            self._said = None

    def _start(self) -> None:
        rows, columns = self.shape
        token = secrets.token_hex(16).encode()
        paths = os.pathsep.join(os.path.abspath(place) for place in sys.path)
        environment = os.environ | {"PYTHONPATH": paths}
        if self._options.platform is not None:
            environment["QT_QPA_PLATFORM"] = self._options.platform
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 (closed by `close`)
        with socket.create_server(("127.0.0.1", 0)) as listening:
            words = [listening.getsockname()[1], self._options.monitor, rows, columns]
            self._process = subprocess.Popen(
                [sys.executable, "-m", "drivers.optics.screen_process", *map(str, words)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=self._said,
                env=environment,
            )
            assert self._process.stdin is not None
            with suppress(OSError), self._process.stdin as stdin:
                stdin.write(token + b"\n")
            self._link = self._accept(listening, token)
        self._hear(b"R", START_S)

    def _accept(self, listening: socket.socket, token: bytes) -> socket.socket:
        """The window's connection; whoever else calls is turned away."""
        until_s = time.monotonic() + START_S
        listening.settimeout(0.1)
        while time.monotonic() < until_s:
            try:
                link, _ = listening.accept()
            except TimeoutError:
                if self._process is not None and self._process.poll() is not None:
                    raise self._died() from None
                continue
            link.settimeout(1.0)
            with suppress(OSError):
                if secrets.compare_digest(receive_exactly(link, len(token)), token):
                    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    return link
            link.close()
        raise self._hangs(START_S)

    def _ask(self, letter: bytes, body: bytes, expected: bytes) -> bytes:
        link = self._require_open()
        try:
            link.settimeout(ANSWER_S)
            send(link, letter, body)
        except TimeoutError:
            raise self._hangs(ANSWER_S) from None
        except OSError:
            raise self._died() from None
        return self._hear(expected, ANSWER_S)

    def _hear(self, expected: bytes, within_s: float) -> bytes:
        link = self._require_open()
        try:
            link.settimeout(within_s)
            letter, body = receive(link)
        except TimeoutError:
            raise self._hangs(within_s) from None
        except OSError:
            raise self._died() from None
        if letter != expected:
            raise DeviceError(f"{self.name}: {body.decode(errors='replace')}")
        return body

    def _hangs(self, within_s: float) -> LinkError:
        """Let go: a late answer would be taken for that of another question."""
        if self._process is not None:
            self._process.kill()
        self.close()
        return LinkError(f"{self.name}: the window did not answer within {within_s:g} s and was closed; open it anew")

    def _died(self) -> LinkError:
        code, words = None, ""
        if self._process is not None and self._said is not None:
            with suppress(subprocess.TimeoutExpired):
                code = self._process.wait(1.0)
            self._said.seek(0)
            words = self._said.read().decode(errors="replace").strip()[-500:]
        self.close()
        told = f" and said: {words}" if words else ""
        return LinkError(f"{self.name}: the window's process has died (exit code {code}){told}; open it anew")

    def _require_open(self) -> socket.socket:
        if self._link is None:
            raise DeviceError(f"{self.name} is not open; open it before showing a pattern")
        return self._link
