"""A 16 x 16 array behind emulated source-measure units and a switch matrix learns a small task, over real sockets."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from unittest import mock

import pib_lab
from benchmarks.runs import mean_se, percent
from data.datasets import load
from drivers.emulators.bench_file import BenchFile, read_bench_file
from drivers.emulators.emulate import start_bench
from drivers.emulators.latency import LIKE_REAL, NONE
from pib_lab.clocks import RealClock, VirtualClock
from pib_lab.events import RunFinished
from pib_lab.training import Trainer

PROTOCOL = "memristor-smu-matrix"
FILE = Path(__file__).resolve().parents[1] / "docs" / "examples" / "smu-matrix-bench.toml"
_SOURCES = {"drive": "drive-minus", "minus": "drive-minus", "plus": "plus", "bias": "bias"}


@contextmanager
def emulated(seed: int, like_real: bool = False) -> Iterator[tuple[list[str], Callable[[], float]]]:
    """The bench of the protocol in a process of its own: overrides that name its addresses, and its clock.

    like_real: with the instruments' latencies, in virtual time; else without latencies, in real time.
    """
    os.environ["OMP_NUM_THREADS"] = "1"  # for the child: its matrices are small
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    server = context.Process(target=_serve, args=(seed, like_real, there), daemon=True)
    server.start()
    try:
        addresses = here.recv()
        overrides = [f"hardware.chip.sources.{bus}.address={addresses[name]}" for bus, name in _SOURCES.items()]
        overrides += [
            f"hardware.chip.matrix.address={addresses['matrix']}",
            "hardware.chip.matrix.settle_s=0.0",
            f"hardware.chip.serial=emulated-{seed}",
        ]

        def now_s() -> float:
            here.send(None)
            return float(here.recv())

        yield overrides, now_s
    finally:
        here.close()
        server.join(10.0)


def _serve(seed: int, like_real: bool, pipe: Connection) -> None:
    """Serve on any free ports, and tell the time, until the other end of the pipe closes."""
    file = _anywhere(read_bench_file(FILE), seed)
    clock = VirtualClock() if like_real else RealClock()
    with start_bench(file, control_port=None, clock=clock, latency=LIKE_REAL if like_real else NONE) as running:
        pipe.send(running.addresses)
        with contextlib.suppress(EOFError):
            while True:
                pipe.recv()
                pipe.send(clock.now_s())


def _anywhere(file: BenchFile, seed: int) -> BenchFile:
    instruments = tuple(instrument.model_copy(update={"port": 0}) for instrument in file.instruments)
    chip = file.chip.model_copy(update={"seed": seed})
    return file.model_copy(update={"instruments": instruments, "chip": chip, "control_port": 0})


def busy(seed: int) -> tuple[float, float]:
    """(seconds of the instruments in virtual time, processor seconds of this computer) of an epoch of training.

    The driver waits for every answer, so the two follow each other and never overlap. Preparation is not counted.
    """
    spent = [0.0, 0.0]
    run = Trainer.run
    with emulated(seed, like_real=True) as (overrides, now_s), tempfile.TemporaryDirectory() as out:

        def timed(trainer: Trainer) -> RunFinished:
            instruments_s, computer_s = now_s(), time.thread_time()
            finished = run(trainer)
            spent[:] = [now_s() - instruments_s, time.thread_time() - computer_s]
            return finished

        lab = pib_lab.open(PROTOCOL, seed=seed, overrides=[*overrides, "schedule.epochs=1"])
        with mock.patch.object(Trainer, "run", timed):
            done = lab.train(Path(out))
    if done.error is not None:
        raise done.error
    return spent[0], spent[1]


def smu_matrix(seeds: Sequence[int], processes: int) -> str:
    """Accuracy on the test split against chance, wall time, and what the instruments did."""
    accuracies, walls, pulses, passes = [], [], [], []
    for seed in seeds:
        with emulated(seed) as (overrides, _), tempfile.TemporaryDirectory() as out:
            lab = pib_lab.open(PROTOCOL, seed=seed, overrides=overrides)
            done = lab.train(Path(out))
        if done.error is not None:
            raise done.error
        accuracies.append(done.metrics["test_accuracy"])
        walls.append(done.wall_s)
        pulses.append(done.pulses)
        passes.append(done.passes.total - done.passes.verify)
        print(
            f"seed {seed}: {percent(accuracies[-1:])}, {done.wall_s:.0f} s, all confirmed off: {done.safe}", flush=True
        )
    instruments_s, computer_s = busy(seeds[0])
    data = load(lab.experiment.dataset, 1)
    bits = lab.experiment.hardware["chip"].options["drive_bits"]
    readings = [bits * unit.outputs for unit in lab.experiment.units]
    return (
        f"| test accuracy, {len(seeds)} seeds | chance | wall time of a run | pulses | samples through a unit |\n"
        "|---|---|---|---|---|\n"
        f"| {percent(accuracies)} | {100 / data.classes:.0f} % | {mean_se(walls)[0]:.0f} s, longest {max(walls):.0f} s "
        f"| {mean_se(pulses)[0]:,.0f} | {mean_se(passes)[0]:,.0f} |\n\n"
        f"{len(data.train)} training and {len(data.test)} test samples of {data.features} pixels. A sample takes up to "
        f"{' and '.join(map(str, readings))} readings of a pair of columns in the {len(readings)} units. Emulators in "
        "a process of their own, on TCP, latencies and settling off.\n\n"
        f"Hardware busy over wall time, one epoch with the latencies of `drivers/emulators/latency.py` in virtual time "
        f"(settling of the matrix left out): {instruments_s:,.0f} s of the instruments and {computer_s:.1f} s of this "
        f"computer, one after the other: **{instruments_s / (instruments_s + computer_s):.1%}**.\n"
    )
