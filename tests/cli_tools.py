"""A tiny protocol, and a stand-in for the laboratory, for tests of the command line."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from event_samples import finished, started, step
from typer.testing import CliRunner

from data.recorder import Recorder
from drivers.safe.commands import SafeAction
from pib_lab.bus import View
from pib_lab.cli import app
from pib_lab.control import Commands
from pib_lab.errors import PibError
from pib_lab.lab import Run
from pib_lab.records import Passes
from pib_lab.unit import SafeReport

PROTOCOL = """
name = "tiny"
[dataset]
name = "digits"
limit = 256
[hardware.chip]
driver = "mock-memristor-chip"
profile = "ideal"
[[units]]
name = "hidden"
inputs = 64
outputs = 8
objective = "conditional-entropy"
[[units]]
name = "read-out"
inputs = 8
outputs = 10
objective = "cross-entropy"
[schedule]
epochs = 2
batch = 64
entropies_every = 2
"""

runner = CliRunner()


def call(*arguments: object) -> Any:
    """Run `pib-lab` in this process."""
    return runner.invoke(app, [str(argument) for argument in arguments])


def last_line(result: Any) -> dict[str, Any]:
    """The JSON object that ends stdout."""
    return dict(json.loads(result.stdout.splitlines()[-1]))


@dataclass
class FakeLab:
    """Stands in for the laboratory: `act` is what its training does."""

    act: Callable[[Commands], PibError | str]
    safe: bool = True
    commands: Commands | None = None
    made_safe: int = 0
    calls: dict[str, Any] = field(default_factory=dict)
    mock: bool = False

    def train(
        self,
        out: Path,
        *,
        views: Sequence[View],
        commands: Commands,
        resume: Path | None,
        on_folder: Callable[[Path], Sequence[View]],
        traffic: bool,
    ) -> Run:
        self.commands = commands
        folder = resume or out / "fake-run"
        if not folder.exists():
            Recorder.make_free(folder)
        on_folder(folder)
        ended = self.act(commands)
        status, error = (ended, None) if isinstance(ended, str) else ("failed", ended)
        for event in (started(), step(1), finished(status)):
            views[0].show(event)
        return Run(folder, status, {"test_accuracy": 0.9, "loss": float("nan")}, Passes(5), 7, 1.5, self.safe, error)

    def safe_actions(self) -> list[SafeAction]:
        return []

    def make_safe(self) -> list[SafeReport]:
        self.made_safe += 1
        return [SafeReport("hidden", ("read voltage",), () if self.safe else ("word lines",))]
