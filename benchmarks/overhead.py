"""The orchestrator's own time: a step's wall time less measuring, programming, objective and update arithmetic."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

import pib_lab
from drivers.chip.mock_chip import MockCrossbar
from pib_lab import evaluation as evaluation_module
from pib_lab import learner as learner_module
from pib_lab import teaching as teaching_module
from pib_lab import training as training_module
from pib_lab.conditioning import Conditioner
from pib_lab.updates import Accumulator, Adam


class Meter:
    """Adds up the time spent in what is not the orchestrator's; calls within a metered call count once."""

    def __init__(self) -> None:
        self.spent_s = 0.0
        self._inside = False

    def metered(self, work: Callable[..., Any]) -> Callable[..., Any]:
        """`work`, with its time added up."""

        def timed(*args: Any, **kwargs: Any) -> Any:
            if self._inside:
                return work(*args, **kwargs)
            self._inside, begin = True, time.perf_counter()
            try:
                return work(*args, **kwargs)
            finally:
                self._inside = False
                self.spent_s += time.perf_counter() - begin

        return timed

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Meter the arithmetic and the unit for as long as this lasts."""
        parts: list[tuple[Any, str]] = [(MockCrossbar, name) for name in ("measure", "program", "pullback")]
        parts += [(learner_module, "evaluate"), (Adam, "step"), (Accumulator, "add"), (Accumulator, "due")]
        parts += [(Conditioner, "forward"), (Conditioner, "backward")]
        parts += [(teaching_module, "input_gram"), (evaluation_module, "information_plane")]
        with ExitStack() as stack:
            for where, name in parts:
                stack.enter_context(mock.patch.object(where, name, self.metered(getattr(where, name))))
            yield


class _Steps:
    """A view that does nothing, as a slow terminal would not be: its thread is not the orchestrator's."""

    def show(self, event: object) -> None:
        """Ignore."""


def overhead_table() -> str:
    """Median over steps of the orchestrator's own time per unit and step, on two protocols."""
    lines = [
        "### The orchestrator's own time",
        "",
        "`python -m benchmarks overhead`; wall time of a step, recording and flush included, less measuring, "
        "programming, conditioning, objective, entropies and update arithmetic; entropies logged every 5 steps; "
        "60 steps.",
        "",
        "| protocol | step | of it the orchestrator | per unit and step |",
        "|---|---|---|---|",
    ]
    for protocol, units in (("memristor-digits", 3), ("memristor-digits-deep", 10)):
        steps, own = _steps(protocol)
        lines.append(
            f"| {protocol}, {units} units | {1e3 * np.median(steps):.1f} ms | {1e3 * np.median(own):.2f} ms "
            f"| {1e3 * np.median(own) / units:.2f} ms (mean {1e3 * np.mean(own) / units:.2f}) |"
        )
    return "\n".join([*lines, ""])


def _steps(protocol: str) -> tuple[list[float], list[float]]:
    meter, walls, own = Meter(), [], []
    original = training_module.Trainer._one_step

    def timed_step(self: Any) -> None:
        spent, begin = meter.spent_s, time.perf_counter()
        original(self)
        walls.append(time.perf_counter() - begin)
        own.append(walls[-1] - (meter.spent_s - spent))

    overrides = ["schedule.epochs=7", "schedule.evaluate_every=1000000", "schedule.checkpoint_every=1000000"]
    overrides += ["schedule.maps_every=0", "scan.at_start=false"]
    with (
        tempfile.TemporaryDirectory() as out,
        meter.watching(),
        mock.patch.object(training_module.Trainer, "_one_step", timed_step),
    ):
        pib_lab.open(protocol, overrides=overrides).train(Path(out), views=[_Steps()])
    return walls[3:], own[3:]
