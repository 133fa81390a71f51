"""How much of a run the hardware is busy, with and without one batch of delay, in virtual time.

Hardware takes what the profile and the table of latencies say; what this computer does takes what it was measured to
take, in processor time of the thread, so that other programs do not count. Arithmetic that may overlap with measuring
is carried out at once, and its time runs beside the hardware's.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

import pib_lab
from drivers.board.frames import MAX_PAYLOAD
from drivers.chip.mock_chip import MockCrossbar
from drivers.emulators.latency import LIKE_REAL
from pib_lab import checkpoints as checkpoints_module
from pib_lab import pipeline as pipeline_module
from pib_lab.training import Trainer

_SCHEDULE = {"epochs": 20, "evaluate_every": 50, "checkpoint_every": 100}


class Timeline:
    """Virtual time of one run: `now_s` moves with the hardware, and with this computer's own work in between."""

    def __init__(self) -> None:
        self.now_s = self.chip_s = self.link_s = self.waited_s = 0.0
        self._since_s = time.thread_time()

    def host(self) -> None:
        """Add what this computer has done since it was last looked at."""
        now_s = time.thread_time()
        self.now_s += now_s - self._since_s
        self._since_s = now_s

    def restart(self) -> None:
        """What was done since the last look is not counted here."""
        self._since_s = time.thread_time()

    def hardware(self, chip_s: float, link_s: float) -> None:
        """The hardware has been at work for so long."""
        self.chip_s, self.link_s = self.chip_s + chip_s, self.link_s + link_s
        self.now_s += chip_s + link_s
        self.restart()

    def until(self, done_s: float) -> None:
        """Wait for arithmetic that is done at `done_s`."""
        self.host()
        self.waited_s += max(0.0, done_s - self.now_s)
        self.now_s = max(self.now_s, done_s)

    @property
    def busy(self) -> float:
        """Fraction of the time in which the hardware was at work."""
        return (self.chip_s + self.link_s) / self.now_s


class _Done(Future[Any]):
    """Arithmetic that is over, in virtual time, at `done_s`."""

    def __init__(self, timeline: Timeline, done_s: float) -> None:
        super().__init__()
        self._timeline, self._done_s = timeline, done_s

    def result(self, timeout: float | None = None) -> Any:
        self._timeline.until(self._done_s)
        return super().result(timeout)


class Beside(Executor):
    """Carries work out at once, and lets its time run beside what follows."""

    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline

    def submit(self, work: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        self._timeline.host()
        begin_s = time.thread_time()
        made = work(*args, **kwargs)
        done: Future[Any] = _Done(self._timeline, self._timeline.now_s + time.thread_time() - begin_s)
        done.set_result(made)
        self._timeline.restart()
        return done


def link_s(frames: int, payload_bytes: float) -> float:
    """Time of so many requests to the board and their answers, with so many bytes of arrays in all."""
    return frames * LIKE_REAL.board_frame_s + payload_bytes * LIKE_REAL.board_byte_s


def measure_link_s(vectors: int, rows: int, pairs: int) -> float:
    """A batch: 16-bit DAC codes to the board; 16-bit ADC codes and a bit for each that clipped back."""
    down, up = 2 * rows, pairs * (2 + 1 / 8)
    return link_s(math.ceil(vectors * max(down, up) / MAX_PAYLOAD), vectors * (down + up))


def write_link_s(of_all: int, cells: int) -> float:
    """A write: a bit for every cell and 32-bit targets to the board; believed values, pulses and misses back."""
    down, up = of_all / 8 + 4 * cells, cells * (4 + 2 + 1 / 8)
    return link_s(math.ceil(max(down, up) / MAX_PAYLOAD), down + up)


@contextmanager
def timed(timeline: Timeline) -> Iterator[None]:
    """Runs are timed as long as this lasts, from their first step to their last event."""
    measure, program, run = MockCrossbar.measure, MockCrossbar.program, Trainer.run

    def on_hardware(unit: MockCrossbar, work: Callable[[], Any], on_link_s: float) -> Any:
        timeline.host()
        before_s = unit._clock.now_s()
        made = work()
        timeline.hardware(unit._clock.now_s() - before_s, on_link_s)
        return made

    def timed_measure(unit: MockCrossbar, drive: Any, *, cancel: Any) -> Any:
        on_link_s = measure_link_s(len(drive), *unit.spec.parameters.shape[:2])
        return on_hardware(unit, lambda: measure(unit, drive, cancel=cancel), on_link_s)

    def timed_program(unit: MockCrossbar, parameters: Any, where: Any = None) -> Any:
        cells = parameters.size if where is None else int(np.count_nonzero(where))
        on_link_s = write_link_s(unit.spec.parameters.size, cells)
        return on_hardware(unit, lambda: program(unit, parameters, where), on_link_s)

    def timed_run(trainer: Trainer) -> Any:
        timeline.__init__()  # type: ignore[misc]  # preparation is not counted
        finished = run(trainer)
        timeline.host()
        return finished

    with ExitStack() as stack:
        for where, name, new in (
            (MockCrossbar, "measure", timed_measure),
            (MockCrossbar, "program", timed_program),
            (Trainer, "run", timed_run),
            (pipeline_module, "ThreadPoolExecutor", lambda *_: Beside(timeline)),
            (checkpoints_module, "Snapshots", ()),  # a board cannot be put back: the mock's own state is not kept
        ):
            stack.enter_context(mock.patch.object(where, name, new))
        yield


def one_run(delay: int, seed: int) -> tuple[Timeline, float]:
    """The timeline of a short `memristor-digits`, and its accuracy on the test split."""
    timeline = Timeline()
    overrides = [f"schedule.{key}={value}" for key, value in (_SCHEDULE | {"delay": delay}).items()]
    with tempfile.TemporaryDirectory() as folder, timed(timeline):
        made = pib_lab.open("memristor-digits", seed=seed, overrides=overrides).train(Path(folder))
    return timeline, made.metrics["test_accuracy"]


def pipeline(seeds: Sequence[int], processes: int) -> str:
    """The section of the page."""
    lines = [
        "### Hardware busy over wall time, digits on the crossbar board",
        "",
        f"`python -m benchmarks pipeline`; seed {seeds[0]}, `memristor-digits` with "
        f"{', '.join(f'{key} = {value}' for key, value in _SCHEDULE.items())}; evaluations, checkpoints and recording "
        "included, preparation not. The mock chip is timed as the board would be. Hardware: settling, conversions, "
        "pulses and verify reads of the profile, and the frames and bytes of the board's link by "
        "`drivers/emulators/latency.py`, in virtual time. This computer's work: measured, as processor time of one "
        "thread.",
        "",
        "| `schedule.delay` | wall | hardware busy | the chip | its link | waiting for arithmetic | test accuracy |",
        "|---|---|---|---|---|---|---|",
    ]
    for delay in (0, 1):
        made, accuracy = one_run(delay, seeds[0])
        lines.append(
            f"| {delay} | {made.now_s:.1f} s | {made.busy:.1%} | {made.chip_s / made.now_s:.1%} | "
            f"{made.link_s / made.now_s:.1%} | {made.waited_s / made.now_s:.1%} | {accuracy:.1%} |"
        )
    return "\n".join(lines) + "\n"
