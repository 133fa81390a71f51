"""Runs killed -9 at random instants of all that they do: how long until the emulators' outputs are truly off."""

from __future__ import annotations

import statistics
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.killed_run import Kill, Outputs, kill_once, lasting_s
from drivers.emulators import board
from drivers.emulators.bench_file import BenchFile
from drivers.emulators.emulate import Running, start_bench
from drivers.emulators.latency import LIKE_REAL, Latency
from pib_lab.clocks import RealClock

GOAL_S = 2.0
ROWS, COLUMNS = 8, 4

_ENDLESS = "epochs = 1000000\nbatch = 32\nevaluate_every = 1000000\n"
_EVERY = 2
_BOARD_SCHEDULE = f"epochs = 2\nbatch = 64\nevaluate_every = {_EVERY}\n"
_FEW = ("--set", "procedure.sample=3", "--set", "procedure.cycles=2")
COARSE = "override = { tolerance_siemens = 6e-6, max_pulses = 2 }\n"
_MATRIX_SCHEDULE = f"epochs = 1\nbatch = 8\nevaluate_every = {_EVERY}\n"


@dataclass(frozen=True)
class Scene:
    """A kind of run. start: emulators, and with a folder for its files what follows `pib-lab run`, and the truth about
    the outputs; both: the guardian is killed too; share: of the kills of the first kind."""

    start: Callable[[Path], AbstractContextManager[tuple[list[str], Outputs]]]
    both: bool = False
    share: float = 1.0


@contextmanager
def board_training(folder: Path) -> Iterator[tuple[list[str], Outputs]]:
    """Ten classes behind the crossbar board, with latencies like a real one's."""
    with board.start(clock=RealClock(), watch=RealClock(), latency=LIKE_REAL) as server:
        hardware = f'[hardware.chip]\ndriver = "memristor-board"\naddress = "{server.address}"\n'
        path = write_protocol(folder, hardware, (64, 20), 1600, 0.3, _BOARD_SCHEDULE)
        yield [str(path), "--data-dir", str(folder)], server.outputs


@contextmanager
def board_procedure(folder: Path) -> Iterator[tuple[list[str], Outputs]]:
    """The shipped procedure pulse-response on the board: trains of pulses up and down a sample of cells."""
    with board.start(clock=RealClock(), watch=RealClock(), latency=LIKE_REAL) as server:
        chip = {"driver": "memristor-board", "address": server.address, "serial": "emulated-1"}
        changes = [part for key, value in chip.items() for part in ("--set", f"hardware.chip.{key}={value}")]
        yield ["pulse-response", *changes, *_FEW], server.outputs


@contextmanager
def matrix_training(folder: Path) -> Iterator[tuple[list[str], Outputs]]:
    """Two classes on 4 x 4 cells behind instruments and a matrix, with latencies like the real ones'."""
    with station(LIKE_REAL) as (hardware, bench):
        few = hardware.replace(f"rows = {ROWS}\n", "rows = 4\ndrive_bits = 1\nnplc = 0.01\n", 1)
        few = few.replace("[hardware.chip.matrix]", COARSE + "[hardware.chip.matrix]", 1)
        instruments = {name: server.instrument for name, server in bench.servers.items()}

        def outputs() -> dict[str, bool]:
            return {
                f"{name} {output}": on for name, each in instruments.items() for output, on in each.outputs().items()
            }

        path = write_protocol(folder, few, (4, COLUMNS), 48, 0.25, _MATRIX_SCHEDULE)
        yield [str(path), "--data-dir", str(folder)], outputs


@contextmanager
def station(latency: Latency) -> Iterator[tuple[str, Running]]:
    """A 2400, a 2450 and both channels of a 2602B around a matrix on sockets, and [hardware] of a protocol."""
    columns = {f"1:{line + 1:02d}": f"row {line + 1}" for line in range(ROWS)}
    columns |= {f"2:{line + 5:02d}": f"column {line + 1}" for line in range(COLUMNS)}
    models = {"drive": ("smu-2400", ["A"]), "bias": ("smu-2450", ["B"]), "sense": ("smu-2602b", ["C", "D"])}
    instruments = [{"name": name, "model": model, "buses": buses} for name, (model, buses) in models.items()]
    file = BenchFile.model_validate(
        {
            "chip": {"rows": ROWS, "columns": COLUMNS, "bleed_ohm": 10e6, "override": {"faulty_cells": 0.0}},
            "instruments": [*instruments, {"name": "matrix", "model": "matrix-707b"}],
            "wiring": {"grounded": ["H"], "columns": columns},
        }
    )
    with start_bench(file, latency=latency) as bench:
        at = bench.addresses
        sources = {
            "drive": f'model = "keithley-2400", address = "{at["drive"]}", bus = "A"',
            "bias": f'model = "keithley-2450", address = "{at["bias"]}", bus = "B"',
            "plus": f'model = "keithley-2600b", address = "{at["sense"]}", channel = "a", bus = "C"',
            "minus": f'model = "keithley-2600b", address = "{at["sense"]}", channel = "b", bus = "D"',
        }
        text = f'[hardware.chip]\ndriver = "memristor-smu-matrix"\nrows = {ROWS}\ncolumns = {COLUMNS}\n'
        text += f'[hardware.chip.matrix]\naddress = "{at["matrix"]}"\n[hardware.chip.sources]\n'
        text += "".join(f"{name} = {{ {values} }}\n" for name, values in sources.items())
        yield text, bench


SCENES = {
    "training, board": Scene(board_training),
    "training, board, guardian killed at the same instant": Scene(board_training, both=True, share=0.25),
    "pulse-response, board": Scene(board_procedure, share=0.25),
    "training, SMUs and matrix": Scene(matrix_training, share=0.25),
}


def kills(seeds: Sequence[int], processes: int, n: int = 100) -> str:
    """The section of the figures: `n` kills of the first scene, fewer of the others; one run at a time, so that times
    are not shared."""
    lines = [
        "### Runs that are killed",
        "",
        f"`python -m benchmarks kills --n {n}`: short runs, killed with SIGKILL at instants drawn evenly over the time",
        "that outputs are on in an unharmed one. Times are from the kill until the emulators' own outputs, not their",
        "answers, were off; with a matrix, until its relays were open as well. What a run was doing is told by its own",
        "events; an instant at which nothing was on is drawn again. All latencies are like the real instruments'.",
        "",
        "| run | outputs on for | kills | while it was | outputs off | read back by the guardian | median | worst |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, scene in SCENES.items():
        lines += [row(name, *kill_scene(scene, max(1, round(n * scene.share)), seeds[0]))]
        print(lines[-1], flush=True)
    return "\n".join([*lines, "", f"The goal is that no run takes longer than {GOAL_S:g} s.", ""])


def kill_scene(scene: Scene, n: int, seed: int) -> tuple[float, list[Kill]]:
    """`n` kills while something was on, and how long an unharmed run has something on, in seconds."""
    rng, done = np.random.default_rng(seed), list[Kill]()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name, scene.start(Path(name)) as (command, outputs):
        lasts_s = lasting_s(command, Path(name), outputs, _EVERY)
        while len(done) < n:
            killed = kill_once(command, Path(name), outputs, _EVERY, float(rng.uniform(0.0, lasts_s)), scene.both)
            done += [killed] if killed else []
    return lasts_s, done


def row(name: str, lasts_s: float, done: Sequence[Kill]) -> str:
    """A row of the table."""
    times = [kill.off_s for kill in done if kill.off_s is not None]
    told = [kill.confirmed for kill in done if kill.confirmed is not None]
    phases = ", ".join(f"{phase} {count}" for phase, count in Counter(kill.phase for kill in done).most_common())
    confirmed = f"{sum(told)} of {len(told)}" if told else "-"
    median = f"{statistics.median(times):.3f} s" if times else "-"
    worst = f"{max(times):.3f} s" if len(times) == len(done) else "**still on**"
    return f"| {name} | {lasts_s:.1f} s | {len(done)} | {phases} | {len(times)} | {confirmed} | {median} | {worst} |"


def write_protocol(
    folder: Path,
    hardware: str,
    shape: tuple[int, int] = (ROWS, COLUMNS),
    samples: int = 256,
    validation: float = 0.0,
    schedule: str = _ENDLESS,
) -> Path:
    """A task with a class for every pair of columns of an array of `shape`; as it is, with more steps than anyone waits
    for. Half of `samples` and more are to learn from."""
    rng, (rows, columns) = np.random.default_rng(0), shape
    labels = np.arange(samples) % (columns // 2)
    own = np.arange(rows) % (columns // 2) == labels[:, None]
    np.savez(folder / "stripes.npz", x=rng.random((samples, rows)) * 0.5 + 0.5 * own, y=labels)
    path = folder / "killed.toml"
    path.write_text(
        f'name = "killed"\n[dataset]\nname = "stripes"\nvalidation = {validation}\n{hardware}'
        f'[[units]]\nname = "layer"\ninputs = {rows}\noutputs = {columns // 2}\nobjective = "cross-entropy"\n'
        f"[schedule]\n{schedule}"
    )
    return path
