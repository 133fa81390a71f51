"""Runs killed -9 at random instants while their outputs are on: how long until the emulators' outputs are truly off."""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from drivers.emulators import board
from drivers.emulators.bench_file import BenchFile
from drivers.emulators.emulate import Running, start_bench
from drivers.emulators.latency import LIKE_REAL, Latency
from drivers.safe.guardian import RECORD
from pib_lab.clocks import RealClock

ROOT = Path(__file__).resolve().parents[1]
GOAL_S = 2.0
ROWS, COLUMNS = 8, 4

_LATEST_S = 2.0  # after the first output went on
_GIVE_UP_S = 15.0
_START_S = 120.0
_POLL_S = 0.001

Outputs = Callable[[], dict[str, bool]]


@dataclass(frozen=True)
class Kill:
    """One run: when it was killed, and what came of it. off_s is None when something was still on at the end."""

    after_s: float
    off_s: float | None
    confirmed: bool | None


@contextmanager
def board_scene() -> Iterator[tuple[str, Outputs]]:
    """The crossbar board: [hardware] of a protocol, and the truth about its outputs."""
    with board.start(watch=RealClock()) as server:
        yield f'[hardware.chip]\ndriver = "memristor-board"\naddress = "{server.address}"\n', server.outputs


@contextmanager
def matrix_scene() -> Iterator[tuple[str, Outputs]]:
    """The instruments around a matrix, with latencies like the real ones': [hardware], and the truth about outputs."""
    with station(LIKE_REAL) as (text, bench):
        instruments = {name: server.instrument for name, server in bench.servers.items()}

        def outputs() -> dict[str, bool]:
            return {
                f"{name} {output}": on for name, each in instruments.items() for output, on in each.outputs().items()
            }

        yield text, outputs


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
    "board": (board_scene, False),
    "board, guardian killed at the same instant": (board_scene, True),
    "SMUs and matrix": (matrix_scene, False),
}


def kills(seeds: Sequence[int], processes: int, n: int = 100) -> str:
    """The section of the figures; each scene is killed `n` times, one run at a time so that times are not shared."""
    lines = [
        "### Runs that are killed",
        "",
        f"`python -m benchmarks kills --n {n}`: {n} runs of each kind, killed with SIGKILL at a random instant within",
        f"{_LATEST_S:g} s after their first output went on. Times are from the kill until the emulators' own outputs,",
        "not their answers, were off; with a matrix, until its relays were open as well.",
        "",
        "| hardware | kills | outputs off | read back by the guardian | median | worst |",
        "|---|---|---|---|---|---|",
    ]
    for scene, (make, both) in SCENES.items():
        rng = np.random.default_rng(1)
        with tempfile.TemporaryDirectory() as folder, make() as (hardware, outputs):
            protocol = write_protocol(Path(folder), hardware)
            done = [_kill_one(protocol, outputs, float(rng.uniform(0.0, _LATEST_S)), both) for _ in range(n)]
        lines.append(_row(scene, done))
    return "\n".join([*lines, "", f"The goal is that no run takes longer than {GOAL_S:g} s.", ""])


def _row(scene: str, done: Sequence[Kill]) -> str:
    times = [kill.off_s for kill in done if kill.off_s is not None]
    told = [kill.confirmed for kill in done if kill.confirmed is not None]
    confirmed = f"{sum(told)} of {len(told)}" if told else "-"
    median = f"{statistics.median(times):.3f} s" if times else "-"
    worst = f"{max(times):.3f} s" if len(times) == len(done) else "**still on**"
    return f"| {scene} | {len(done)} | {len(times)} | {confirmed} | {median} | {worst} |"


def write_protocol(folder: Path, hardware: str) -> Path:
    """A task of two classes on an array as small as the matrix's, with more steps than anyone waits for."""
    rng = np.random.default_rng(0)
    labels = np.arange(256) % 2
    samples = rng.random((256, ROWS)) * 0.5 + 0.5 * (np.arange(ROWS) % 2 == labels[:, None])
    np.savez(folder / "stripes.npz", x=samples, y=labels)
    path = folder / "killed.toml"
    path.write_text(
        f'name = "killed"\n[dataset]\nname = "stripes"\n{hardware}'
        f'[[units]]\nname = "layer"\ninputs = {ROWS}\noutputs = {COLUMNS // 2}\nobjective = "cross-entropy"\n'
        "[schedule]\nepochs = 1000000\nbatch = 8\nevaluate_every = 1000000\n"
    )
    return path


def _kill_one(protocol: Path, outputs: Outputs, after_s: float, both: bool) -> Kill:
    """Start a run, kill it `after_s` after its first output went on, and watch."""
    out = protocol.parent / f"runs-{time.monotonic_ns()}"
    command = [sys.executable, "-m", "pib_lab.cli", "run", str(protocol), "--out", str(out), "--no-report"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PIB_LAB_WEAR": str(protocol.parent / "wear")}
    log = protocol.parent / "log.txt"
    with log.open("w") as said:
        run = subprocess.Popen(
            [*command, "--data-dir", str(protocol.parent)],
            cwd=ROOT,
            env=environment,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
    try:
        deadline_s = time.monotonic() + _START_S
        while not any(outputs().values()):
            if run.poll() is not None or time.monotonic() > deadline_s:
                raise RuntimeError(f"the run switched nothing on:\n{log.read_text()}")
            time.sleep(_POLL_S)
        time.sleep(after_s)
        if run.poll() is not None:
            raise RuntimeError(f"the run ended before it was killed:\n{log.read_text()}")
        guardian = _child(run.pid)
        if both:
            os.kill(guardian, signal.SIGKILL)
        run.kill()
    finally:
        run.kill()
    killed_s = time.monotonic()
    run.wait()
    while any(outputs().values()):
        if time.monotonic() - killed_s > _GIVE_UP_S:
            return Kill(after_s, None, None if both else False)
        time.sleep(_POLL_S)
    off_s = time.monotonic() - killed_s
    return Kill(after_s, off_s, None if both else _confirmed(next(out.iterdir()) / RECORD))


def _child(pid: int) -> int:
    """The guardian: the run's only child."""
    (child,) = map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    return child


def _confirmed(record: Path) -> bool:
    """Wait for the guardian to end its record; whether it read everything back off."""
    deadline_s = time.monotonic() + _GIVE_UP_S
    while time.monotonic() < deadline_s:
        last = json.loads(record.read_text().splitlines()[-1]) if record.is_file() else {}
        if last.get("what") == "ended":
            return bool(last["safe"])
        time.sleep(0.01)
    return False
