"""A 16 x 16 array behind emulated source-measure units and a switch matrix learns a small task, in virtual time.

The real drivers speak to the emulators without wires and in one thread, so that a run is the same to the last bit: on
sockets, and in real time, traps switch and cells relax by when a message happens to arrive.
"""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import pib_lab
from benchmarks.runs import mean_se, percent
from benchmarks.virtual import in_place_of
from data.datasets import load
from drivers.chip.smu_matrix_chip import MemristorSmuMatrix
from drivers.emulators.bench_file import BenchFile, read_bench_file
from drivers.emulators.direct import DirectTransport
from drivers.emulators.emulate import start_bench
from drivers.emulators.server import TcpServer
from drivers.latencies import LIKE_REAL
from drivers.wire.dialects import Dialect
from pib_lab.device import DeviceContext
from pib_lab.events import RunFinished
from pib_lab.training import Trainer

PROTOCOL = "memristor-smu-matrix"
DRIVER = "memristor-smu-matrix"
FILE = Path(__file__).resolve().parents[1] / "docs" / "examples" / "smu-matrix-bench.toml"


class EmulatedSmuMatrix(MemristorSmuMatrix):
    """The device with the bench of the protocol right behind it, all instruments on the lab's clock, all latencies on.

    The chip is that of the run's seed.
    """

    is_mock = True  # nothing to guard, and a virtual clock

    def __init__(self, options: dict[str, Any], context: DeviceContext) -> None:
        file = read_bench_file(FILE)
        self._bench = start_bench(_anywhere(file, context.seed), clock=context.clock, latency=LIKE_REAL)
        names = {f"TCPIP::127.0.0.1::{instrument.port}::SOCKET": instrument.name for instrument in file.instruments}

        def connect(address: str, dialect: Dialect) -> DirectTransport:
            server = self._bench.servers[names[address]]
            assert isinstance(server, TcpServer)  # no board is on this bench
            return DirectTransport(server.instrument, address)

        super().__init__(options, context, connect)

    def truth(self) -> dict[str, Any]:
        """What the bench's cells really hold; see `Bench.state`."""
        assert self._bench.bench is not None
        return self._bench.bench.state()

    def close(self) -> None:
        """End the bench, after all units are closed."""
        super().close()
        self._bench.close()


def _anywhere(file: BenchFile, seed: int) -> BenchFile:
    instruments = tuple(instrument.model_copy(update={"port": 0}) for instrument in file.instruments)
    chip = file.chip.model_copy(update={"seed": seed})
    return file.model_copy(update={"instruments": instruments, "chip": chip, "control_port": 0})


@dataclass
class Made:
    """One run. instruments_s: virtual, from the first step on; own_s: processor time of this computer in them but for
    the emulators; whole_s: processor time of all of it, emulators and preparation included."""

    accuracy: float = 0.0
    pulses: int = 0
    samples: int = 0
    instruments_s: float = 0.0
    own_s: float = 0.0
    whole_s: float = 0.0

    @property
    def busy(self) -> float:
        """Fraction of the time in which the instruments are at work; the driver waits for every answer."""
        return self.instruments_s / (self.instruments_s + self.own_s)


def one_run(seed: int, overrides: Sequence[str] = ()) -> Made:
    """A whole training at this seed; the same numbers each time. Raises what ended a run that failed."""
    made, began_s = Made(), time.process_time()
    emulating = [0.0]
    send, run = DirectTransport._send, Trainer.run

    def timed_send(transport: DirectTransport, message: str) -> list[str]:
        before_s = time.thread_time()
        try:
            return send(transport, message)
        finally:
            emulating[0] += time.thread_time() - before_s

    def timed_run(trainer: Trainer) -> RunFinished:
        own_s, instruments_s = time.thread_time() - emulating[0], _clock(trainer).now_s()
        finished = run(trainer)
        made.own_s = time.thread_time() - emulating[0] - own_s
        made.instruments_s = _clock(trainer).now_s() - instruments_s
        return finished

    with (
        in_place_of(DRIVER, "benchmarks.smu_matrix:EmulatedSmuMatrix"),
        mock.patch.object(DirectTransport, "_send", timed_send),
        mock.patch.object(Trainer, "run", timed_run),
        tempfile.TemporaryDirectory() as out,
    ):
        done = pib_lab.open(PROTOCOL, seed=seed, overrides=list(overrides)).train(Path(out))
    if done.error is not None:
        raise done.error
    made.accuracy, made.pulses = done.metrics["test_accuracy"], done.pulses
    made.samples = done.passes.total - done.passes.verify
    made.whole_s = time.process_time() - began_s
    return made


def _clock(trainer: Trainer) -> Any:
    """That of the instruments, which all units share."""
    return trainer.learners[0].unit._clock  # type: ignore[attr-defined]


def smu_matrix(seeds: Sequence[int], processes: int) -> str:
    """Accuracy on the test split against chance, what the instruments did, and how busy they were."""
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        return section(seeds, list(pool.map(one_run, seeds)))


def section(seeds: Sequence[int], runs: Sequence[Made]) -> str:
    """The part of the page that these runs make."""
    experiment = pib_lab.open(PROTOCOL, mock=True).experiment
    data, bits = load(experiment.dataset, 1), experiment.hardware["chip"].options["drive_bits"]
    readings = [bits * unit.outputs for unit in experiment.units]
    busy = mean_se([100 * run.busy for run in runs])
    rows = "".join(
        f"| {seed} | {run.accuracy:.2%} | {run.instruments_s:,.0f} s | {run.own_s:.1f} s | {run.busy:.1%} "
        f"| {run.pulses:,} | {run.samples:,} |\n"
        for seed, run in zip(seeds, runs, strict=True)
    )
    return (
        "### A 16 x 16 array behind source-measure units and a matrix\n\n"
        f"`python -m benchmarks smu-matrix --seeds {len(runs)}`; three digits at 4 x 4 pixels, `{PROTOCOL}`. Real "
        "drivers on the emulators, without wires and in one thread, in virtual time: the same to the last bit "
        "each time.\n\n"
        "| seed | test accuracy | instruments | this computer | hardware busy | pulses | samples through a unit |\n"
        "|---|---|---|---|---|---|---|\n"
        f"{rows}\n"
        f"Test accuracy {percent([run.accuracy for run in runs])}, chance {100 / data.classes:.0f} %; hardware busy "
        f"**{busy[0]:.1f} ± {busy[1]:.1f} %**. {len(data.train)} training and {len(data.test)} test samples of "
        f"{data.features} pixels; a sample takes up to {' and '.join(map(str, readings))} readings of a pair of "
        f"columns in the {len(readings)} units. Times are from the first step to the last event: of the instruments in "
        "virtual time, by `drivers/latencies.py`, relays and their settling included; of this computer in processor "
        "time, the emulators left out. The driver waits for every answer, so the two follow each other.\n\n"
        f"All of it, emulators included: {sum(run.whole_s for run in runs):,.0f} s of one core.\n"
    )
