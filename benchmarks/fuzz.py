"""Inputs that hypothesis makes for every parser, ours and the emulators': none may crash, and none may hang."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import hypothesis

from benchmarks.fuzz_emulators import Feed
from benchmarks.fuzz_inputs import each_input
from benchmarks.fuzz_targets import TARGETS, Target

LIMIT_S = 1.0
"""Of processor time for one input; beyond it counts as a hang."""
_WALL_S = 20.0
"""An input that only waits for so long is a hang too, however busy the computer is."""
_RENEW = 250
"""Inputs after which a parser that keeps a state is made anew."""
_SHOWN = 3


class Hang(BaseException):
    """Raised into an input that takes too long; not caught by what catches errors."""


@dataclass
class Fuzzed:
    """What came of one parser's inputs. crashes: the input and the end of its traceback."""

    name: str
    inputs: int = 0
    crashes: list[str] = field(default_factory=list)
    hangs: list[str] = field(default_factory=list)
    slowest_s: float = 0.0
    seconds: float = 0.0


def fuzz_target(target: Target, n: int, seed: int = 1) -> Fuzzed:
    """`n` inputs. To be called in a process's main thread: a hang is ended by a signal."""
    found, began_s = Fuzzed(target.name), time.monotonic()
    feed: Feed | None = None
    with contextlib.ExitStack() as stack, _watched(found):

        def one(data: bytes) -> None:
            nonlocal feed
            if feed is None or found.inputs % _RENEW == 0:
                stack.close()
                feed = stack.enter_context(target.make())
            if not _try(feed, data, found):
                feed = None  # what has crashed or hung is in no known state
            found.inputs += 1

        each_input(target, n, seed, one)
    found.seconds = time.monotonic() - began_s
    return found


def _try(feed: Feed, data: bytes, found: Fuzzed) -> bool:
    started_s = time.process_time()
    try:
        _alarm(LIMIT_S, _WALL_S)
        feed(data)
    except Hang:
        found.hangs.append(repr(data[:300]))
        return False
    except Exception:
        found.crashes.append(f"{data[:300]!r}: {''.join(traceback.format_exc().splitlines(True)[-5:])}")
        return False
    finally:
        _alarm(0.0, 0.0)
        found.slowest_s = max(found.slowest_s, time.process_time() - started_s)
    return True


def _alarm(processor_s: float, wall_s: float) -> None:
    signal.setitimer(signal.ITIMER_PROF, processor_s)
    signal.setitimer(signal.ITIMER_REAL, wall_s)


@contextlib.contextmanager
def _watched(found: Fuzzed) -> Iterator[None]:
    """Signals become Hang; what ends a thread of a server is a crash like any other."""

    def hang(number: int, frame: FrameType | None) -> None:
        raise Hang

    def crash(problem: threading.ExceptHookArgs) -> None:
        found.crashes.append(f"in a thread: {problem.exc_value!r}")

    before = [signal.signal(number, hang) for number in (signal.SIGPROF, signal.SIGALRM)]
    hook, threading.excepthook = threading.excepthook, crash
    try:
        yield
    finally:
        threading.excepthook = hook
        for number, handler in zip((signal.SIGPROF, signal.SIGALRM), before, strict=True):
            signal.signal(number, handler)


def _by_number(number: int, n: int, seed: int) -> Fuzzed:
    return fuzz_target(TARGETS[number], n, seed)


def fuzz(seeds: Sequence[int], processes: int, n: int = 4000) -> str:
    """`n` inputs for each parser; the section of docs/benchmarks.md."""
    os.environ["OMP_NUM_THREADS"] = "1"  # for the children
    began_s = time.monotonic()
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        jobs = [(number, n, seeds[0]) for number in range(len(TARGETS))]
        found = pool.starmap(_by_number, jobs, chunksize=1)
    for each in found:
        for problem in [*each.crashes[:_SHOWN], *each.hangs[:_SHOWN]]:
            print(f"  {each.name}: {problem}", flush=True)
    totals = [sum(each.inputs for each in found), sum(len(f.crashes) for f in found), sum(len(f.hangs) for f in found)]
    return "\n".join(
        [
            "### Every parser under hypothesis",
            "",
            f"`python -m benchmarks fuzz --n {n}`; seed {seeds[0]}. hypothesis {hypothesis.__version__} makes random",
            "bytes and texts, words of the language in a row, and valid inputs with pieces cut, doubled, turned,",
            "spliced or replaced. A crash is any exception but the one that the parser promises; a hang is more than",
            f"{LIMIT_S:g} s of processor time for one input, or {_WALL_S:g} s of waiting.",
            "",
            "| parser | inputs | crashes | hangs | slowest input | seconds |",
            "|---|---|---|---|---|---|",
            *(_row(each) for each in found),
            f"| all | {totals[0]:,} | {totals[1]} | {totals[2]} | {max(f.slowest_s for f in found):.3f} s "
            f"| {time.monotonic() - began_s:.0f} |",
            "",
        ]
    )


def _row(found: Fuzzed) -> str:
    counts: tuple[Any, ...] = (f"{found.inputs:,}", len(found.crashes), len(found.hangs))
    return f"| {found.name} | {' | '.join(map(str, counts))} | {found.slowest_s:.3f} s | {found.seconds:.0f} |"
