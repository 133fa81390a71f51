"""Devices for manual control: emulated instruments and boards over TCP, protocols that name them, and its process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import tomlkit
from smu_bench import EASY, Station

ROOT = Path(__file__).parents[1]


def protocol(folder: Path, driver: str, options: dict[str, Any], **limits: str) -> Path:
    """A training protocol with one device, `chip`."""
    unit = {"name": "only", "inputs": 4, "outputs": 2, "objective": "cross-entropy"}
    tree: dict[str, Any] = {
        "name": "by-hand",
        "dataset": {"name": "digits"},
        "hardware": {"chip": {"driver": driver, **options}},
        "units": [unit],
        "schedule": {"epochs": 1, "batch": 8},
    }
    path = folder / "by-hand.toml"
    path.write_text(tomlkit.dumps(tree | ({"limits": limits} if limits else {})), encoding="utf-8")
    return path


def served_station(**more: Any) -> Station:
    """Instruments around a chip of 4 rows and 4 columns, each on a socket."""
    station = Station(lines=(4, 4), override=EASY, **more)
    station.serve()
    return station


class Process:
    """`pib-lab manual ... --json`; `told` are its answers, in order."""

    def __init__(self, *arguments: object) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pib_lab.cli", "manual", *map(str, arguments), "--json"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            text=True,
        )
        self.errors: list[str] = []
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self.process.stderr is not None
        self.errors.extend(self.process.stderr)

    def answer(self) -> dict[str, Any]:
        """The next answer; AssertionError when none comes any more."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "".join(self.errors)
        return dict(json.loads(line))

    def ask(self, **message: Any) -> dict[str, Any]:
        """Send a message, return its answer."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(message) + "\n")
        self.process.stdin.flush()
        return self.answer()

    def end_input(self) -> None:
        """As when the desktop dies."""
        assert self.process.stdin is not None
        self.process.stdin.close()

    def wait(self) -> int:
        """Its exit code."""
        return self.process.wait(30)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None and not pipe.closed:
                pipe.close()


def until(condition: Callable[[], bool], seconds: float = 15.0) -> bool:
    """Wait until it holds; whether it does."""
    pause = threading.Event()
    for _ in range(int(seconds / 0.01)):
        if condition():
            return True
        pause.wait(0.01)
    return condition()
