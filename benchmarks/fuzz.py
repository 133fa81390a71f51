"""Random and damaged inputs for every parser, ours and the emulators': none may crash, and none may hang."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import signal
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from benchmarks.fuzz_emulators import Feed
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
    rng, found = random.Random(f"{seed} {target.name}"), Fuzzed(target.name)
    began_s = time.monotonic()
    feed: Feed | None = None
    with contextlib.ExitStack() as stack, _watched(found):
        for number in range(n):
            if feed is None or number % _RENEW == 0:
                stack.close()
                feed = stack.enter_context(target.make())
            if not _try(feed, made(rng, target), found):
                feed = None  # what has crashed or hung is in no known state
            found.inputs += 1
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


def made(rng: random.Random, target: Target) -> bytes:
    """One input: random bytes, words of the language in a row, or a valid input damaged in up to eight places."""
    kind = rng.random()
    if kind < 0.1:
        return rng.randbytes(rng.choice((0, 1, 2, 7, 30, 300)))
    if kind < 0.3:
        return rng.choice((b"", b" ")).join(rng.choice(target.words) for _ in range(rng.randint(1, 25)))
    data = rng.choice(target.samples)
    for _ in range(rng.choice((0, 1, 1, 2, 4, 8))):
        data = _damaged(rng, data, target)
    return data


def _damaged(rng: random.Random, data: bytes, target: Target) -> bytes:
    start, end = sorted((rng.randint(0, len(data)), rng.randint(0, len(data))))
    end = min(end, start + rng.choice((1, 1, 4, 20, 1000)))
    piece = data[start:end]
    other = rng.choice(target.samples)
    middle = rng.choice(
        (
            b"",
            piece * 2,
            piece * rng.choice((3, 50, 300)),
            rng.randbytes(rng.randint(1, 4)),
            bytes([rng.randrange(32, 127)]),
            rng.choice(target.words),
            rng.choice(target.words) * rng.choice((2, 100)),
            other[: rng.randint(0, len(other))],
            piece[::-1],
            str(rng.choice((0, -1, 1e308, 2**31, 2**63, 10**30, "nan", "inf", 1e-320))).encode(),
        )
    )
    return data[:start] + middle + data[end:]


def _by_number(number: int, n: int, seed: int) -> Fuzzed:
    return fuzz_target(TARGETS[number], max(1, round(n * TARGETS[number].share)), seed)


def fuzz(seeds: Sequence[int], processes: int, n: int = 4000) -> str:
    """About `n` inputs for each parser; the section of docs/benchmarks.md."""
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
            "### Parsers fed with random and damaged input",
            "",
            f"`python -m benchmarks fuzz --n {n}`; seed {seeds[0]}: random bytes, words of the language in a row, and",
            "valid inputs with pieces cut, doubled, turned, spliced or replaced. A crash is any exception but the one",
            f"that the parser promises; a hang is more than {LIMIT_S:g} s of processor time for one input.",
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
