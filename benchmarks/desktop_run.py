"""A run that is not there: its folder, its file of 100,000 steps, its endpoint, and a thousand events a second.

`python -m benchmarks.desktop_run FOLDER RATE` records and serves until its input is closed.
"""

from __future__ import annotations

import functools
import itertools
import math
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from data.layout import RUN_FILE
from data.writer import RunFileWriter, build
from pib_lab.events import Event, MapTaken, Message, RunStarted, StateChanged, StepDone
from pib_lab.frames import CameraFrame, FrameTaken
from pib_lab.records import Passes, RunState, UnitInfo, UnitStep
from pib_lab.service import Service

UNITS, SIDE = 8, 128
STEPS_BEFORE = 100_000
MAPS_A_SECOND = 2
"""Of each unit."""

FRAMES_A_SECOND = 2
FRAME_SIDE = 1000

_MESSAGES_A_SECOND = 20
_BEAT_S = 0.01
_LAST_STEP = 10_000_000


def main(folder: Path, rate: int) -> None:
    """Record the steps before, then serve `rate` events a second until stdin is closed; says "ready" in between."""
    started = _started(folder.name)
    folder.mkdir(parents=True)
    build(folder / RUN_FILE, started, {})
    writer = RunFileWriter(folder / RUN_FILE, started, live=True)
    beginning: list[Event] = [started, StateChanged(RunState.RUNNING, 0)]
    for event in beginning:
        writer.record(event)
    for step in range(1, STEPS_BEFORE + 1):
        writer.record(_step(step, started.units))
    writer.flush()
    ended = threading.Event()

    def wait_for_end() -> None:
        sys.stdin.read()
        ended.set()

    threading.Thread(target=wait_for_end, daemon=True).start()
    with Service(folder, _Deaf()) as service:
        for event in beginning:
            service.show(event)
        print("ready", flush=True)
        events, began_s, sent = _events(started, rate), time.monotonic(), 0
        while not ended.wait(_BEAT_S):
            due = int((time.monotonic() - began_s) * rate)
            for event in itertools.islice(events, due - sent):
                service.show(event)
            sent = due
        print(sent, flush=True)


class _Deaf:
    """Takes commands, and obeys none."""

    def post(self, verb: str) -> None:
        """Pass over it."""


def _events(started: RunStarted, rate: int) -> Iterator[Event]:
    """Steps without end, with maps, messages and frames among them."""
    units = itertools.cycle(started.units)
    step, maps_every = STEPS_BEFORE, rate // (MAPS_A_SECOND * UNITS)
    messages_every, frames_every = rate // _MESSAGES_A_SECOND, rate // FRAMES_A_SECOND
    for number in itertools.count(1):
        if number % maps_every == 0:
            yield _map(step, next(units))
        elif number % frames_every == 3:
            yield _frame(step, started.units[0])
        elif number % messages_every == 7:
            yield Message("warning" if number % 4 else "info", f"correlation 0.{number % 900 + 100} seen", step)
        else:
            step += 1
            yield _step(step, started.units)


def _started(run_id: str) -> RunStarted:
    units = tuple(
        UnitInfo(
            name=f"unit-{number}",
            device="chip",
            driver="mock-optical-rig" if number == 1 else "mock-memristor-chip",
            objective="conditional-entropy",
            inputs=SIDE,
            outputs=SIDE,
            drive_unit="V",
            drive_limits=(0.0, 0.2),
            response_unit="A",
            parameter_unit="rad" if number == 1 else "S",
            parameter_limits=(0.0, 6.283) if number == 1 else (0.0, 40e-6),
            parameter_shape=(SIDE, SIDE) if number == 1 else (SIDE, SIDE, 2),
            settle_s=1e-6,
        )
        for number in range(1, UNITS + 1)
    )
    return RunStarted(
        run_id=run_id,
        protocol_name="load",
        protocol_text='name = "load"\n',
        seed=1,
        versions={},
        git_commit="",
        units=units,
        first_step=0,
        total_steps=_LAST_STEP,
        steps_per_epoch=1000,
        batch=128,
        mock=True,
        dataset="none",
        split_sizes=(1000, 100, 100),
        started_unix_s=time.time(),
    )


def _step(step: int, units: tuple[UnitInfo, ...]) -> StepDone:
    """Curves that go on rising and falling, so that what is drawn of them changes with every step."""
    turn = 0.5 + 0.5 * math.sin(step / 7000)
    return StepDone(
        step=step,
        epoch=step // 1000 + 1,
        batch_accuracy=0.5 + 0.4 * turn + 0.05 * math.sin(step * 1.3),
        learning_rate=0.01,
        units=tuple(
            UnitStep(
                name=unit.name,
                loss=0.2 + 0.2 * number + turn + 0.1 * math.sin(step * 1.7 + number),
                i_xz=6.5 - 0.5 * number - turn + 0.1 * math.sin(step * 1.9 + number),
                i_zy=0.5 + 0.25 * number + turn + 0.1 * math.sin(step * 2.3 + number),
                h_z=6.6 - 0.5 * number,
                pulses=1000,
                cells_written=500,
                saturated=0.01 * turn,
                full_scale=1e-4,
            )
            for number, unit in enumerate(units)
        ),
        passes=Passes(training=128 * step),
        pulses=8000 * step,
        ceiling_bits=7.0,
        elapsed_s=0.001 * step,
    )


def _map(step: int, unit: UnitInfo) -> MapTaken:
    rng = np.random.default_rng(step)
    cells = rng.random(unit.parameter_shape, np.float32) * np.float32(unit.parameter_limits[1])
    faults = np.where(rng.random(unit.parameter_shape, np.float32) < 0.03, 2, 0).astype(np.int8)
    return MapTaken(step, unit.name, cells, faults, rng.integers(20, 60, unit.parameter_shape, np.int32))


@functools.cache
def _pictures() -> list[npt.NDArray[np.uint16]]:
    """A few, to be sent in turn: to make one takes longer than to send it."""
    rng = np.random.default_rng(0)
    return [rng.integers(0, 4096, (FRAME_SIDE, FRAME_SIDE), np.uint16) for _ in range(8)]


def _frame(step: int, unit: UnitInfo) -> FrameTaken:
    places = np.array([(row, column, 80, 80) for row in range(10, 1000, 125) for column in range(10, 1000, 125)])
    pixels = _pictures()[step % len(_pictures())]
    bad = np.array([(5, 5), (700, 300)], np.int32)
    return FrameTaken(step, unit.name, CameraFrame(pixels, 4095, places.astype(np.int32), bad))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
