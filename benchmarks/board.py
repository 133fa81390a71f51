"""The crossbar board: against the mock chip, on digits, and under faults of its link."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks import tuning
from benchmarks.accuracy import QUIET
from benchmarks.runs import Job, Result, mean_se, percent, run_all
from drivers.chip.board_chip import MemristorBoard
from drivers.chip.mock_chip import MockMemristorChip
from drivers.emulators.board import serve, start
from drivers.emulators.board_drill import NO_NOISE, drill
from pib_lab.clocks import RealClock, VirtualClock
from pib_lab.device import DeviceContext, UnitRequest
from pib_lab.quantities import Array
from pib_lab.unit import CancelToken, PhysicalUnit

SHAPES = ((64, 64), (64, 10), (150, 70))


@dataclass(frozen=True)
class Agreement:
    """Readings of the board against the mock's: worst difference in codes of one tile's ADC, and how many differ."""

    shape: tuple[int, int]
    worst_lsb: float
    different: int
    readings: int


def agreement(shape: tuple[int, int], vectors: int = 1000, seed: int = 1) -> Agreement:
    """The same conductances written, the same drives sent, noise off."""
    rng = np.random.default_rng(seed)
    request = UnitRequest("layer", *shape)
    drive = rng.uniform(0.0, 0.2, (vectors, shape[0])).astype(np.float32)
    cells = rng.uniform(0.0, 40e-6, (*shape, 2)).astype(np.float32)
    options = {"profile": "chip-b", "override": NO_NOISE}
    with start(profile="chip-b", override=NO_NOISE, seed=seed) as server:
        board = MemristorBoard(options | {"address": server.address}, DeviceContext("chip", seed, RealClock()))
        mock = MockMemristorChip(options, DeviceContext("chip", seed, VirtualClock()))
        on_board, on_mock = board.unit(request), mock.unit(request)
        values = [_respond(unit, cells, drive) for unit in (on_board, on_mock)]
        on_board.close()
    lsb = on_mock.full_scale() / (2 ** (board.profile.adc_bits - 1) - 1)
    difference = np.abs(values[0] - values[1]) / lsb
    return Agreement(shape, float(difference.max()), int(np.count_nonzero(difference > 0.5)), difference.size)


def _respond(unit: PhysicalUnit, cells: Array, drive: Array) -> Array:
    unit.open()
    unit.program(cells)
    return unit.measure(drive, cancel=CancelToken()).values


def digits(seeds: Sequence[int], processes: int, fixed: Sequence[str] = ()) -> tuple[list[Result], list[Result]]:
    """`memristor-digits` with the mock, and with the board in its place: same settings, same seeds."""
    settings = (*QUIET, *tuning.chosen("digits", "pib"), *fixed)
    with contextlib.ExitStack() as stack:
        jobs = [Job("pib", "memristor-digits", seed, settings) for seed in seeds]
        for seed in seeds:
            server = stack.enter_context(serve(profile="chip-b", seed=seed, fast=True))
            there = (f'hardware.chip.address="{server.address}"', 'hardware.chip.driver="memristor-board"')
            jobs.append(Job("pib", "memristor-digits", seed, (*settings, *there)))
        results = []
        for job, result in zip(jobs, run_all(jobs, processes), strict=True):
            results.append(result)
            print(f"  seed {job.seed}: {result.metrics} {result.error} {result.wall_s:.0f} s", flush=True)
    return results[: len(seeds)], results[len(seeds) :]


def board(seeds: Sequence[int], processes: int) -> str:
    """Both comparisons with the mock; the section of docs/benchmarks.md."""
    lines = [
        "### The crossbar board against the mock chip",
        "",
        "`python -m benchmarks board`; the real driver on the emulated board, chip B; "
        f"seeds {', '.join(map(str, seeds))}.",
        "",
        "| same cells, same drives, noise off | readings | that differ | worst, LSB of one tile |",
        "|---|---|---|---|",
    ]
    for shape in SHAPES:
        found = agreement(shape)
        lines.append(f"| {shape[0]} x {shape[1]} | {found.readings:,} | {found.different:,} | {found.worst_lsb:.2f} |")
    on_mock, on_board = digits(seeds, processes)
    accuracy = [[result.metrics["test_accuracy"] for result in results] for results in (on_mock, on_board)]
    (mock, mock_se), (there, there_se) = mean_se(accuracy[0]), mean_se(accuracy[1])
    error = float(np.hypot(mock_se, there_se))
    times = [np.median([result.wall_s for result in results]) for results in (on_mock, on_board)]
    lines += [
        "",
        "| `memristor-digits` | test accuracy | median run |",
        "|---|---|---|",
        f"| mock | {percent(accuracy[0])} | {times[0]:.0f} s |",
        f"| board | {percent(accuracy[1])} | {times[1]:.0f} s |",
        "",
        f"Difference of the means: {100 * (there - mock):+.2f} points, standard error {100 * error:.2f}.",
        "",
    ]
    return "\n".join(lines)


def board_faults(seeds: Sequence[int], processes: int, faults: int = 10_000) -> str:
    """Faults on the link; the section of docs/benchmarks.md."""
    found = drill(faults, seed=seeds[0])
    counts = (found.injected, found.requests, found.refused, found.wrong, found.twice, found.late)
    return "\n".join(
        [
            "### The crossbar board's link under faults",
            "",
            f"`python -m benchmarks board-faults`; seed {seeds[0]}; frames lost, damaged, cut, doubled, late, or after "
            "garbage, either way, in virtual time.",
            "",
            "| faults | requests | ended in an error | wrong values | pulses given twice | beyond their bound |",
            "|---|---|---|---|---|---|",
            f"| {' | '.join(f'{count:,}' for count in counts)} |",
            "",
            f"Longest wait {found.longest_s:.2f} s; bound {found.bound_s:.2f} s.",
            "",
        ]
    )
