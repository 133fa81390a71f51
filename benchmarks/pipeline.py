"""How much of a run the crossbar board is busy, with and without one batch of delay, in virtual time.

The real driver speaks to the emulated board, which takes what the profile and the table of latencies say. What this
computer does takes what it was measured to take, in processor time of the thread, so that other programs do not count;
what the emulator computes is left out. Arithmetic that may overlap with measuring is carried out at once, and its time
runs beside the hardware's.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, ClassVar
from unittest import mock

import pib_lab
from benchmarks.virtual import in_place_of
from drivers.board.crossbar_board import CrossbarBoard
from drivers.board.frames import Frame
from drivers.board.protocol import Kind
from drivers.chip import board_chip
from drivers.chip.board_chip import MemristorBoard
from drivers.emulators.board_faults import FrameFaults, Wire
from drivers.emulators.board_firmware import Firmware
from drivers.latencies import LIKE_REAL, NONE
from pib_lab import pipeline as pipeline_module
from pib_lab.clocks import VirtualClock
from pib_lab.device import Clock, DeviceContext
from pib_lab.training import Trainer

PROTOCOL = "memristor-board-digits"
DRIVER = "memristor-board"


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


class TimedFirmware(Firmware):
    """A board that knows how much of its time its link has taken.

    Heartbeats take none: they come by the real time, and would move the clock at another instant in each run.
    """

    link_s = 0.0

    def receive(self, frame: Frame) -> Frame | None:
        if frame.kind == Kind.HEARTBEAT:
            self._latency, usual = NONE, self._latency
            try:
                return super().receive(frame)
            finally:
                self._latency = usual
        answer = super().receive(frame)
        if answer is not None:
            data = len(frame.payload) + len(answer.payload)
            self.link_s += LIKE_REAL.board_frame_s + LIKE_REAL.board_byte_s * data
        return answer


class TimedWire(Wire):
    """Hands the driver's bytes to the board: this computer's time ends there, and goes on when the answer is there.

    A heartbeat of the link's own thread is nothing that the run waits for.
    """

    def __init__(self, firmware: TimedFirmware, clock: Clock, timeline: Timeline) -> None:
        super().__init__(firmware, clock, FrameFaults(1), FrameFaults(2))
        self._board, self._now_s, self._timeline = firmware, clock.now_s, timeline
        self._thread = threading.get_ident()

    def send(self, data: bytes) -> None:
        if threading.get_ident() != self._thread:
            super().send(data)
            return
        self._timeline.host()
        before_s, link_s = self._now_s(), self._board.link_s
        super().send(data)
        on_link_s = self._board.link_s - link_s
        self._timeline.hardware(self._now_s() - before_s - on_link_s, on_link_s)


class EmulatedBoard(MemristorBoard):
    """The device with an emulated board right behind it, on the lab's clock, timed by `timeline`."""

    is_mock = True  # nothing to guard, and a virtual clock
    timeline: ClassVar[Timeline]

    def __init__(self, options: dict[str, Any], context: DeviceContext) -> None:
        super().__init__(options, context)
        # The dead-man timer of a board sees the real time, in which this computer is never silent for long.
        self._clock, still = context.clock, VirtualClock()
        self._firmware = TimedFirmware(self.profile, context.seed, self._clock, watch=still, latency=LIKE_REAL)

    def _connect(self) -> CrossbarBoard:
        def port(*_: object) -> TimedWire:
            return TimedWire(self._firmware, self._clock, self.timeline)

        with mock.patch.object(board_chip, "open_port", port):
            return super()._connect()


@contextmanager
def timed(timeline: Timeline) -> Iterator[None]:
    """Runs on the board are timed as long as this lasts, from their first step to their last event."""
    run = Trainer.run

    def timed_run(trainer: Trainer) -> Any:
        timeline.__init__()  # type: ignore[misc]  # preparation is not counted
        finished = run(trainer)
        timeline.host()
        return finished

    EmulatedBoard.timeline = timeline
    with ExitStack() as stack:
        stack.enter_context(in_place_of(DRIVER, "benchmarks.pipeline:EmulatedBoard"))
        stack.enter_context(mock.patch.object(Trainer, "run", timed_run))
        stack.enter_context(mock.patch.object(pipeline_module, "ThreadPoolExecutor", return_value=Beside(timeline)))
        yield


def one_run(delay: int, seed: int, more: Sequence[str] = ()) -> tuple[Timeline, float]:
    """The timeline of a training on the board, and its accuracy on the test split; `more`: overrides."""
    timeline = Timeline()
    overrides = [f"schedule.delay={delay}", *more]
    with tempfile.TemporaryDirectory() as folder, timed(timeline):
        made = pib_lab.open(PROTOCOL, seed=seed, overrides=overrides).train(Path(folder))
    if made.error is not None:
        raise made.error
    return timeline, made.metrics["test_accuracy"]


def pipeline(seeds: Sequence[int], processes: int) -> str:
    """The section of the page."""
    lines = [
        "### Hardware busy over wall time, digits on the crossbar board",
        "",
        f"`python -m benchmarks pipeline`; seed {seeds[0]}, `{PROTOCOL}` as shipped but for the delay; evaluations, "
        "checkpoints and recording included, preparation not. The real driver on the emulated board, without a wire. "
        "Hardware, in virtual time: settling, conversions, pulses and verify reads of the profile, and every frame and "
        "byte that the driver sends and gets, by `drivers/latencies.py`. This computer: measured, as processor time of "
        "one thread. All that the run does is charged, the driver and the run file included; what the emulated board "
        "computes is not, nor heartbeats, which have a thread of their own.",
        "",
        "| `schedule.delay` | wall | hardware busy | the chip | its link | this computer alone | "
        "waiting for arithmetic | test accuracy |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for delay in (0, 1):
        made, accuracy = one_run(delay, seeds[0])
        waited = made.waited_s / made.now_s
        lines.append(
            f"| {delay} | {made.now_s:.1f} s | {made.busy:.1%} | {made.chip_s / made.now_s:.1%} | "
            f"{made.link_s / made.now_s:.1%} | {1.0 - made.busy - waited:.1%} | {waited:.1%} | {accuracy:.1%} |"
        )
    return "\n".join(lines) + "\n"
