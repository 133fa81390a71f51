"""Speed: the closed form of the mutual information, the orchestrator's overhead, the mock's measurement, start-up."""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

import pib_lab
from drivers.chip.mock_chip import MockMemristorChip
from pib_lab.clocks import VirtualClock
from pib_lab.device import DeviceContext, UnitRequest
from pib_lab.entropy import (
    gaussian_gram,
    gaussian_mutual_information2,
    label_gram,
    mutual_information,
    rms_distance,
    standardise,
)
from pib_lab.unit import CancelToken


def best_s(work: Callable[[], object], repeats: int) -> float:
    """Median time of `repeats` calls after one to warm up."""
    work()
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return float(np.median(times))


def entropy(seeds: Sequence[int], processes: int) -> str:
    """I(Z; Y) with its gradient at d = 256: order 2 in closed form against order 1.01 by eigenvalues."""
    lines = [
        "### Mutual information with its gradient, d = 256, float32",
        "",
        f"`python -m benchmarks entropy`; {torch.get_num_threads()} threads; median of repeats (one call "
        "if over 5 s). Peer: the same information of order 1.01 by eigenvalues (torch.linalg.eigvalsh and autograd).",
        "",
        "| n | order 2, closed form | by eigenvalues | factor | memory added, closed form | by eigenvalues |",
        "|---|---|---|---|---|---|",
    ]
    for n in (64, 128, 256, 512, 1024, 2048, 4096):
        rows = []
        for form in ("closed", "eigen"):
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.speed", form, str(n)], capture_output=True, text=True, check=True
            )
            rows.append([float(word) for word in done.stdout.split()])
        (fast, fast_mb), (slow, slow_mb) = rows
        lines.append(
            f"| {n} | {1e3 * fast:.2f} ms | {1e3 * slow:.1f} ms | {slow / fast:.0f} "
            f"| {fast_mb:.0f} MB | {slow_mb:.0f} MB |"
        )
        print(lines[-1], flush=True)
    return "\n".join([*lines, ""])


def _one_entropy(form: str, n: int) -> None:
    """Print the time and the memory that one form takes; in a process of its own, so that the peak is its own."""
    torch.manual_seed(0)
    z = torch.randn(n, 256, requires_grad=True)
    grams = label_gram(torch.randint(0, 10, (n,)))

    def information() -> torch.Tensor:
        unit = standardise(z)
        width = 0.5 * rms_distance(unit)
        if form == "closed":
            return gaussian_mutual_information2(unit, grams, width)
        return mutual_information(gaussian_gram(unit, width), grams, 1.01)

    def work() -> None:
        torch.autograd.grad(information(), z)

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin = time.perf_counter()
    work()
    first_s = time.perf_counter() - begin
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # a call of several seconds is its own warm-up, and a second one would tell nothing new
    typical_s = first_s if first_s > 5.0 else best_s(work, max(3, min(50, 40_000 // n)))
    print(typical_s, (peak - before) / 1024)


def measurement(seeds: Sequence[int], processes: int) -> str:
    """The mock's measurement of 512 x 784 x 128 with all physics on, against a plain matrix product of that size."""
    chip = MockMemristorChip({"profile": "chip-b"}, DeviceContext("chip", 1, VirtualClock()))
    unit = chip.unit(UnitRequest("unit", 784, 128))
    unit.open()
    rng = np.random.default_rng(1)
    unit.program(unit.initial_parameters(rng, 0.15))
    drive = (0.2 * rng.random((512, 784))).astype(np.float32)
    weights = rng.random((784, 128)).astype(np.float32)
    cancel = CancelToken()
    ratios, mocks, plains = [], [], []
    for _ in range(15):  # in turn, so that a machine that changes its speed changes both
        plain = best_s(lambda: drive @ weights, 9)
        mock = best_s(lambda: unit.measure(drive, cancel=cancel), 5)
        ratios.append(mock / plain)
        mocks.append(mock)
        plains.append(plain)
    return "\n".join(
        [
            "### The mock's measurement, 512 x 784 x 128, chip B with everything on",
            "",
            "`python -m benchmarks measurement`; medians, the two in turn.",
            "",
            "| plain float32 product | mock measurement | factor |",
            "|---|---|---|",
            f"| {1e3 * np.median(plains):.2f} ms | {1e3 * np.median(mocks):.1f} ms | {np.median(ratios):.1f} |",
            "",
        ]
    )


def overhead(seeds: Sequence[int], processes: int) -> str:
    """What a step costs beyond measuring, programming, objective and update arithmetic; recording included."""
    from benchmarks.overhead import overhead_table

    return overhead_table()


def startup(seeds: Sequence[int], processes: int) -> str:
    """`pib-lab --help`: time, and that it imports neither torch nor h5py."""
    command = [str(Path(sys.executable).with_name("pib-lab")), "--help"]

    def call() -> None:
        subprocess.run(command, capture_output=True, check=True)

    times = best_s(call, 11)
    probe = "import sys; sys.argv=['pib-lab','--help']\n"
    probe += "try:\n import pib_lab.cli as c; c.main()\nexcept SystemExit: pass\n"
    probe += "print('LOADED', [m for m in ('torch','h5py','numpy') if m in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True).stdout
    return "\n".join(
        [
            "### Start-up",
            "",
            "`python -m benchmarks startup`; median of 11.",
            "",
            "| `pib-lab --help` | torch, h5py, numpy imported |",
            "|---|---|",
            f"| {times:.2f} s | {loaded.rsplit('LOADED', 1)[1].strip()} |",
            "",
        ]
    )


def demo(seeds: Sequence[int], processes: int) -> str:
    """How long the demo protocol's training takes, from the first step to the run's end, in a process to itself."""
    with tempfile.TemporaryDirectory() as out:
        begin = time.perf_counter()
        done = pib_lab.open("memristor-digits").train(Path(out))
        wall_s = time.perf_counter() - begin
    return "\n".join(
        [
            "### The demo protocol, alone on the machine",
            "",
            "`python -m benchmarks demo`",
            "",
            "| training, recording included | test accuracy (seed 1) |",
            "|---|---|",
            f"| {wall_s:.1f} s | {100 * done.metrics['test_accuracy']:.2f} % |",
            "",
        ]
    )


if __name__ == "__main__":
    _one_entropy(sys.argv[1], int(sys.argv[2]))
