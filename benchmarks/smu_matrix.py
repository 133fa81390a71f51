"""A 16 x 16 array behind emulated source-measure units and a switch matrix learns a small task, over real sockets."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

import pib_lab
from benchmarks.runs import mean_se, percent
from data.datasets import load
from drivers.emulators.bench_file import BenchFile, read_bench_file
from drivers.emulators.emulate import start_bench
from drivers.emulators.latency import NONE

PROTOCOL = "memristor-smu-matrix"
FILE = Path(__file__).resolve().parents[1] / "docs" / "examples" / "smu-matrix-bench.toml"
_SOURCES = {"drive": "drive-minus", "minus": "drive-minus", "plus": "plus", "bias": "bias"}


@contextmanager
def emulated(seed: int) -> Iterator[list[str]]:
    """The bench of the protocol in a process of its own, latencies off: overrides that name its addresses."""
    os.environ["OMP_NUM_THREADS"] = "1"  # for the child: its matrices are small
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    server = context.Process(target=_serve, args=(seed, there), daemon=True)
    server.start()
    try:
        addresses = here.recv()
        overrides = [f"hardware.chip.sources.{bus}.address={addresses[name]}" for bus, name in _SOURCES.items()]
        yield [
            *overrides,
            f"hardware.chip.matrix.address={addresses['matrix']}",
            "hardware.chip.matrix.settle_s=0.0",
            f"hardware.chip.serial=emulated-{seed}",
        ]
    finally:
        here.close()
        server.join(10.0)


def _serve(seed: int, pipe: Connection) -> None:
    """Serve on any free ports until the other end of the pipe closes."""
    file = _anywhere(read_bench_file(FILE), seed)
    with start_bench(file, control_port=None, latency=NONE) as running:
        pipe.send(running.addresses)
        pipe.poll(None)


def _anywhere(file: BenchFile, seed: int) -> BenchFile:
    instruments = tuple(instrument.model_copy(update={"port": 0}) for instrument in file.instruments)
    chip = file.chip.model_copy(update={"seed": seed})
    return file.model_copy(update={"instruments": instruments, "chip": chip, "control_port": 0})


def smu_matrix(seeds: Sequence[int], processes: int) -> str:
    """Accuracy on the test split against chance, wall time, and what the instruments did."""
    accuracies, walls, pulses, passes = [], [], [], []
    for seed in seeds:
        with emulated(seed) as overrides, tempfile.TemporaryDirectory() as out:
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
        "a process of their own, on TCP, latencies and settling off.\n"
    )
