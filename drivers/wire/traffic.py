"""An optional record of what went over the links: JSON lines, bounded in size, to find out what an instrument did."""

from __future__ import annotations

import json
import re
import threading
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, TextIO

from pib_lab.device import Clock

MIB = 1 << 20

TRAFFIC = "traffic.jsonl"
"""Beside the run file, when the run was asked to keep it."""

_TEXT = re.compile(rb"[\t\r\n\x20-\x7e]*")


class Way(StrEnum):
    """Which way a message went, or that the link itself has something to say."""

    SENT = "sent"
    GOT = "got"
    NOTE = "note"


class TrafficLog:
    """One line a message: `{"t_s": 12.3, "address": ..., "way": "sent" | "got" | "note", "text": ...}`.

    Bytes that are not all printable ASCII come as "hex" in the place of "text". t_s: seconds on `clock`; each file
    begins with the time of day at which its clock read `t_s`. Beyond `max_bytes` the file is renamed to `PATH.1`, over
    an older one: at most twice `max_bytes` are kept. Several links may share a log.

    A log is a help, never a reason to stop: when it cannot be written it ends, and `failure` says why.
    """

    def __init__(self, path: Path, clock: Clock, max_bytes: int = 10 * MIB) -> None:
        self.path = path
        self.failure = ""
        self._clock = clock
        self._max_bytes = max_bytes
        self._size = 0
        self._file: TextIO | None = None
        self._lock = threading.Lock()

    def record(self, address: str, way: str, data: bytes | str) -> None:
        """Add one line; nothing of `data` is lost or changed. Never raises."""
        if isinstance(data, str):
            content = {"text": data}
        elif _TEXT.fullmatch(data):
            content = {"text": data.decode("ascii")}
        else:
            content = {"hex": data.hex(" ")}
        with self._lock:
            if self.failure:
                return
            try:
                self._add({"t_s": round(self._clock.now_s(), 6), "address": address, "way": str(way), **content})
            except OSError as error:
                self.failure = f"{self.path}: {error}"
                self._shut()

    def close(self) -> None:
        """Close the file; a later `record` opens it again. Idempotent."""
        with self._lock:
            self._shut()

    def _add(self, line: dict[str, Any]) -> None:
        if self._file is None:
            self._open()
        if self._size >= self._max_bytes:
            self._shut()
            self.path.replace(self.path.with_name(self.path.name + ".1"))
            self._open()
        self._put(line)

    def _open(self) -> None:
        self._file = self.path.open("a", encoding="ascii")
        self._size = self.path.stat().st_size
        self._put({"t_s": round(self._clock.now_s(), 6), "began": datetime.now(UTC).isoformat(timespec="milliseconds")})

    def _put(self, line: dict[str, Any]) -> None:
        assert self._file is not None
        text = json.dumps(line) + "\n"
        self._file.write(text)
        self._file.flush()  # what went on just before a crash is what is wanted most
        self._size += len(text)

    def _shut(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
