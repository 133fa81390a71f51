"""Runs that fail because a link does, with outputs on: what is off in truth, and what the run and its guardian say."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import pib_lab
from benchmarks.kills import station, write_protocol
from data.reader import Reader
from drivers.emulators import board
from drivers.emulators.fault_modes import WireFault
from drivers.emulators.latency import NONE
from drivers.safe.guardian import RECORD
from pib_lab.control import Commands
from pib_lab.errors import PibError
from pib_lab.events import MadeSafe

_LATEST_S = 1.0  # after the first output went on
_START_S = 120.0
_POLL_S = 2e-3
_BRIEF_S = 5.0  # longer than a line link tries to come back, shorter than the run and its guardian try to switch off
_BRIEF_BOARD_S = 2.5  # the same of the board's
_SURVIVED_S = 60.0  # a run that has not failed by then is stopped, and counts as one that did not fail

# Of an output: what a run's report calls it, by what its emulator calls it.
_REPORTED = {
    "drive output": "drive",
    "bias output": "bias",
    "sense smua": "plus",
    "sense smub": "minus",
    "matrix crosspoints": "matrix",
    "row drivers": "row drivers",
    "word lines": "word lines",
}
# And what the guardian's record calls it: device and output.
_GUARDED = {
    ("chip.drive", "output"): "drive",
    ("chip.bias", "output"): "bias",
    ("chip.smua+smub", "smua"): "plus",
    ("chip.smua+smub", "smub"): "minus",
    ("chip.matrix", "crosspoints"): "matrix",
    ("chip", "row drivers"): "row drivers",
    ("chip", "word lines"): "word lines",
}

Break = Callable[[np.random.Generator], Collection[str]]
"""Break a link; the outputs, as reports call them, that nobody can confirm off from then on."""


@dataclass(frozen=True)
class Scene:
    """A running emulated set-up: [hardware] of a protocol, the truth about outputs, and ways to break it."""

    hardware: str
    outputs: Callable[[], dict[str, bool]]
    breaks: dict[str, Break]


@dataclass(frozen=True)
class Failure:
    """One run that should fail. unreachable: outputs behind what was broken for good; on: in truth, at the end;
    confirmed, doubtful: as last reported; told: the run itself said that not all is confirmed; error: what ended it;
    off_s: from the fault until the last reachable output was off in truth; ended_s: until the run had ended."""

    hardware: str
    fault: str
    outputs: frozenset[str]
    unreachable: frozenset[str]
    on: frozenset[str]
    confirmed: frozenset[str]
    doubtful: frozenset[str]
    told: bool
    error: str
    off_s: float
    ended_s: float

    @property
    def reachable(self) -> frozenset[str]:
        """Outputs that can be commanded."""
        return self.outputs - self.unreachable

    @property
    def left_on(self) -> frozenset[str]:
        """Reachable outputs that are on, or were not confirmed off."""
        return self.reachable & (self.on | (self.outputs - self.confirmed))

    @property
    def untold(self) -> frozenset[str]:
        """Unreachable outputs that were not reported as not confirmed, and any that was confirmed off and is on."""
        silent = self.unreachable if not self.told else self.unreachable - self.doubtful
        return silent | (self.confirmed & self.on)


@contextmanager
def board_scene() -> Iterator[Scene]:
    """The crossbar board on a socket; its dead-man timer runs."""
    both = frozenset({"row drivers", "word lines"})
    with board.start() as server:

        def dead(rng: np.random.Generator) -> Collection[str]:
            server.set_state("dead", True)
            return both

        def briefly(rng: np.random.Generator) -> Collection[str]:
            server.set_state("dead", True)
            threading.Timer(_BRIEF_BOARD_S, server.set_state, ("dead", False)).start()
            return ()

        def gone(rng: np.random.Generator) -> Collection[str]:
            server.close()
            return both

        def hanging(rng: np.random.Generator) -> Collection[str]:
            server.set_state("hanging", ["row drivers"])
            briefly(rng)
            return {"row drivers"}

        text = f'[hardware.chip]\ndriver = "memristor-board"\naddress = "{server.address}"\n'
        breaks: dict[str, Break] = {
            "link silent for good": dead,
            f"link silent for {_BRIEF_BOARD_S:g} s": briefly,
            "server gone": gone,
            "row drivers hang, and the link is silent for a while": hanging,
        }
        yield Scene(text, server.outputs, breaks)


@contextmanager
def matrix_scene() -> Iterator[Scene]:
    """A 2400, a 2450 and a 2602B around a matrix, on sockets."""
    with station(NONE) as (text, bench):
        servers = bench.servers
        instruments = {name: server.instrument for name, server in servers.items()}

        def outputs() -> dict[str, bool]:
            return {
                f"{name} {output}": on for name, each in instruments.items() for output, on in each.outputs().items()
            }

        def behind(name: str) -> frozenset[str]:
            return frozenset(_REPORTED[f"{name} {output}"] for output in instruments[name].outputs())

        def struck(fault: WireFault, brief: bool = False) -> Break:
            def strike(rng: np.random.Generator) -> Collection[str]:
                name = str(rng.choice(list(servers)))
                servers[name].faults.arm(fault, late_s=4.0)
                if brief:
                    threading.Timer(_BRIEF_S, servers[name].faults.clear).start()
                return () if brief else behind(name)

            return strike

        def gone(rng: np.random.Generator) -> Collection[str]:
            name = str(rng.choice(list(servers)))
            servers[name].close()
            return behind(name)

        def all_gone(rng: np.random.Generator) -> Collection[str]:
            for server in servers.values():
                server.close()
            return [output for name in servers for output in behind(name)]

        breaks: dict[str, Break] = {
            "no answers for good": struck(WireFault.NO_ANSWER),
            "garbage for good": struck(WireFault.GARBAGE),
            "link dropped at every answer": struck(WireFault.DROPPED_LINK),
            "one server gone": gone,
            "all servers gone": all_gone,
            f"no answers for {_BRIEF_S:g} s": struck(WireFault.NO_ANSWER, brief=True),
            f"link dropped for {_BRIEF_S:g} s": struck(WireFault.DROPPED_LINK, brief=True),
            f"half lines for {_BRIEF_S:g} s": struck(WireFault.HALF_LINE, brief=True),
            f"answers 4 s late for {_BRIEF_S:g} s": struck(WireFault.LATE_ANSWER, brief=True),
        }
        yield Scene(text, outputs, breaks)


SCENES: dict[str, Callable[[], AbstractContextManager[Scene]]] = {"board": board_scene, "SMUs and matrix": matrix_scene}


def fail_once(hardware: str, which: int, seed: int) -> Failure:
    """Run, break the scene's fault number `which` (modulo their number) at a random instant, and see what is left."""
    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as folder, SCENES[hardware]() as scene:
        names = list(scene.breaks)
        fault = names[which % len(names)]
        protocol = write_protocol(Path(folder), scene.hardware)
        breaker = _Breaker(scene, fault, rng)
        breaker.start()
        told, error, settled = _train(protocol, Path(folder), breaker.commands)
        ended_s = time.monotonic()
        breaker.ended.set()
        breaker.join()
        confirmed, doubtful = _reports(Path(folder) / "runs")
        if settled:
            confirmed, doubtful = confirmed | doubtful, frozenset()
        truth = scene.outputs()
    outputs = frozenset(_REPORTED[output] for output in truth)
    on = frozenset(_REPORTED[output] for output, is_on in truth.items() if is_on)
    return Failure(
        hardware,
        fault,
        outputs,
        frozenset(breaker.unreachable),
        on,
        confirmed,
        doubtful,
        told,
        error,
        breaker.last_on_s - breaker.struck_s,
        ended_s - breaker.struck_s,
    )


class _Breaker(threading.Thread):
    """Waits until an output has truly gone on, and a random time more; then breaks a link and watches what stays on.

    A run that survives the fault is stopped.
    """

    def __init__(self, scene: Scene, fault: str, rng: np.random.Generator) -> None:
        super().__init__(name="breaker", daemon=True)
        self._scene, self._fault, self._rng = scene, fault, rng
        self.ended, self.commands = threading.Event(), Commands()
        self.unreachable: set[str] = set()
        self.struck_s = self.last_on_s = time.monotonic()

    def run(self) -> None:
        """The thread's work."""
        deadline_s = time.monotonic() + _START_S
        while not any(self._scene.outputs().values()):
            if self.ended.wait(_POLL_S) or time.monotonic() > deadline_s:
                return
        self.ended.wait(float(self._rng.uniform(0.0, _LATEST_S)))
        self.struck_s = self.last_on_s = time.monotonic()
        self.unreachable |= set(self._scene.breaks[self._fault](self._rng))
        while not self.ended.wait(_POLL_S):
            now_s, outputs = time.monotonic(), self._scene.outputs()
            if any(on and _REPORTED[output] not in self.unreachable for output, on in outputs.items()):
                self.last_on_s = now_s
            if now_s - self.struck_s > _SURVIVED_S and self.last_on_s == now_s:
                self.commands.post("abort")


def _train(protocol: Path, folder: Path, commands: Commands) -> tuple[bool, str, bool]:
    """Whether the run said that not everything was confirmed off, the error that ended it, and whether all was in the
    end, by a second attempt or by the guardian, as the run has said as well."""
    lab = pib_lab.open(protocol, data_dir=folder, wear_dir=folder / "wear")
    try:
        run = lab.train(folder / "runs", commands=commands)
    except PibError as problem:
        return "NOT confirmed" in str(problem), str(problem), False
    return not run.safe, str(run.error or ""), bool(run.confirmed_by)


def _reports(runs: Path) -> tuple[frozenset[str], frozenset[str]]:
    """What was confirmed off and what was not: of each output the last word, the guardian's after the run's."""
    said: dict[str, bool] = {}
    for folder in runs.iterdir():
        with contextlib.suppress(PibError), Reader(folder) as reader:  # it failed before there was a file
            for event in reader.events():
                if isinstance(event, MadeSafe):
                    said |= dict.fromkeys(event.confirmed, True) | dict.fromkeys(event.not_confirmed, False)
        record = folder / RECORD
        for line in record.read_text().splitlines() if record.is_file() else ():
            note = json.loads(line)
            if note["what"] == "outcome":
                for key, value in (("confirmed", True), ("not_confirmed", False)):
                    said |= {_GUARDED[note["device"], output]: value for output in note[key]}
    return (
        frozenset(output for output, off in said.items() if off),
        frozenset(output for output, off in said.items() if not off),
    )


def failed_runs(n: int, processes: int, seed: int = 1) -> list[Failure]:
    """`n` runs, over all kinds of hardware and faults in turn, `processes` at a time."""
    os.environ["OMP_NUM_THREADS"] = "1"  # for the children
    jobs = [(list(SCENES)[number % len(SCENES)], number // len(SCENES), seed + number) for number in range(n)]
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        return pool.starmap(fail_once, jobs, chunksize=1)


def table(found: Sequence[Failure]) -> list[str]:
    """One row a kind of fault."""
    lines = [
        "| hardware | fault | runs | failed | reachable outputs | confirmed off, and off | unreachable outputs "
        "| reported as NOT confirmed | longest until the reachable were off | until the end |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    kinds = Counter((each.hardware, each.fault) for each in found)
    for (hardware, fault), count in sorted(kinds.items()):
        these = [each for each in found if (each.hardware, each.fault) == (hardware, fault)]
        reachable, unreachable = (
            sum(len(part) for part in parts)
            for parts in zip(*((each.reachable, each.unreachable) for each in these), strict=True)
        )
        left, untold = sum(len(each.left_on) for each in these), sum(len(each.untold) for each in these)
        lines.append(
            f"| {hardware} | {fault} | {count} | {sum(bool(each.error) for each in these)} | {reachable} "
            f"| {reachable - left} | {unreachable} | {unreachable - untold} "
            f"| {max(each.off_s for each in these):.1f} s | {max(each.ended_s for each in these):.1f} s |"
        )
    return lines
