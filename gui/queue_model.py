"""The queue of runs: what is to be run, in which order, and when it must not go on. Pure: no Qt, no processes."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from gui.dry_run import Estimate
from pib_lab.errors import ConfigurationError

FINISHED, BAD_INPUT, DEVICE, REFUSED, INTERRUPTED = 0, 2, 3, 4, 130
"""Exit codes of `pib-lab run`."""


class ItemState(StrEnum):
    """Where one entry of the queue stands."""

    WAITING = "waiting"
    RUNNING = "running"
    FINISHED = "finished"
    ABORTED = "aborted"
    FAILED = "failed"
    NOT_SAFE = "NOT confirmed off"


@dataclass(frozen=True, slots=True)
class Item:
    """One run that is wanted. overrides: `key.path=value`, as for `--set`; problem: why it cannot be run, or failed."""

    number: int
    protocol: str
    overrides: tuple[str, ...] = ()
    mock: bool = False
    state: ItemState = ItemState.WAITING
    estimate: Estimate | None = None
    problem: str = ""

    @property
    def arguments(self) -> list[str]:
        """The protocol and its options, as `pib-lab run` and `pib-lab check` take them."""
        settings = [part for override in self.overrides for part in ("--set", override)]
        return [self.protocol, *settings, *(["--mock"] if self.mock else [])]


class QueueModel:
    """Entries in the order in which they are run.

    `held` says why nothing is started; "" when the queue may go on. It is held after a run that did not confirm its
    outputs off, whatever `go_on_after_failure` says, and after one that an operator ended.
    """

    def __init__(self) -> None:
        self.items: list[Item] = []
        self.go_on_after_failure = False
        self.held = ""
        self.unsafe = False
        self._numbers = itertools.count(1)

    def add(self, protocol: str, overrides: Sequence[str] = (), mock: bool = False) -> Item:
        """Append a run of `protocol`. Raises ConfigurationError when no protocol is named."""
        if not protocol.strip():
            raise ConfigurationError("choose a protocol first")
        item = Item(next(self._numbers), protocol.strip(), tuple(overrides), mock)
        self.items.append(item)
        return item

    def sweep(self, protocol: str, key: str, values: str, mock: bool = False) -> list[Item]:
        """Append a run for each of `values` (see `sweep_values`) of the parameter at the path `key`.

        Raises ConfigurationError for a key or values that cannot be read; then nothing is appended.
        """
        path = key.strip()
        if not path or "=" in path or not all(path.split(".")):
            raise ConfigurationError(f"{key!r} is no path of a parameter: write it as rule.learning_rate")
        return [self.add(protocol, (f"{path}={value}",), mock) for value in sweep_values(values)]

    def duplicate(self, number: int) -> Item:
        """Append a waiting copy of an entry right behind it."""
        place = self._place(number)
        like = self.items[place]
        copy = Item(next(self._numbers), like.protocol, like.overrides, like.mock, estimate=like.estimate)
        self.items.insert(place + 1, copy)
        return copy

    def remove(self, number: int) -> None:
        """Take an entry away. Raises ConfigurationError for the one that is running: abort it first."""
        place = self._place(number)
        if self.items[place].state is ItemState.RUNNING:
            raise ConfigurationError("this run is going on: abort it before you remove it")
        del self.items[place]

    def move(self, number: int, by: int) -> None:
        """Move an entry by so many places, as far as the ends of the queue."""
        place = self._place(number)
        item = self.items.pop(place)
        self.items.insert(max(0, min(len(self.items), place + by)), item)

    def following(self) -> Item | None:
        """The entry that comes next; None when there is none, one is running, or the queue is held."""
        if self.held or any(item.state is ItemState.RUNNING for item in self.items):
            return None
        waiting = (item for item in self.items if item.state is ItemState.WAITING and not item.problem)
        return next(waiting, None)

    def take_next(self) -> Item | None:
        """Mark the entry that comes next as running, and return it; None when nothing may be started."""
        item = self.following()
        return None if item is None else self._put(replace(item, state=ItemState.RUNNING))

    def ended(self, number: int, code: int, problem: str = "", safe: bool | None = None) -> Item:
        """The run of an entry has ended with exit code `code`, negative for a signal.

        safe: whether all outputs were confirmed off, None where that is not known: then a run that was killed, crashed
        or lost a device counts as not confirmed.
        """
        item = self.items[self._place(number)]
        told = safe is True or (safe is None and code in (FINISHED, BAD_INPUT, REFUSED, INTERRUPTED))
        if code == DEVICE or not told:
            self.unsafe = True
            self.held = f"{item.protocol}: outputs were NOT confirmed off. Look at the devices before anything is run"
            return self._put(replace(item, state=ItemState.NOT_SAFE, problem=problem))
        if code == FINISHED:
            return self._put(replace(item, state=ItemState.FINISHED, problem=""))
        if code == INTERRUPTED:
            self.hold(f"{item.protocol} was ended by the operator")
            return self._put(replace(item, state=ItemState.ABORTED, problem=problem))
        if not self.go_on_after_failure:
            self.hold(f"{item.protocol} has failed")
        return self._put(replace(item, state=ItemState.FAILED, problem=problem))

    def put_back(self, number: int) -> None:
        """An entry that was taken could not be started: it waits again, in its place."""
        self._put(replace(self.items[self._place(number)], state=ItemState.WAITING))

    def stopped(self, safe: bool | None) -> None:
        """STOP was pressed. safe: None as long as it is not known whether all outputs were confirmed off."""
        if safe is False:
            self.unsafe = True
            self.held = "STOP did not confirm all outputs off. Look at the devices before anything is run"
        else:
            self.hold("STOP was pressed")

    def hold(self, why: str) -> None:
        """Start nothing more until `release`. A reason that concerns safety is not overwritten."""
        if not self.unsafe:
            self.held = why

    def release(self) -> None:
        """An operator has looked, and lets the queue go on."""
        self.held, self.unsafe = "", False

    def estimated(self, number: int, estimate: Estimate) -> None:
        """The dry run of an entry is there; an entry that has been removed since is of no interest."""
        for item in self.items:
            if item.number == number:
                self._put(replace(item, estimate=estimate))

    def refused(self, number: int, problem: str) -> None:
        """The dry run of an entry has found mistakes: it is passed over."""
        for item in self.items:
            if item.number == number and item.state is ItemState.WAITING:
                self._put(replace(item, problem=problem))

    def remaining(self) -> tuple[float, int, int]:
        """Time (s), passes and pulses of all entries that wait and whose dry run is known."""
        known = [i.estimate for i in self.items if i.state is ItemState.WAITING and i.estimate and not i.problem]
        return sum(e.time_s for e in known), sum(e.passes for e in known), sum(e.pulses for e in known)

    def _put(self, item: Item) -> Item:
        self.items[self._place(item.number)] = item
        return item

    def _place(self, number: int) -> int:
        for place, item in enumerate(self.items):
            if item.number == number:
                return place
        raise ConfigurationError(f"entry {number} is not in the queue any more")


def sweep_values(text: str) -> list[str]:
    """Values of a sweep: "0.01, 0.02, 0.05", or "FROM to TO in COUNT", with "log" behind it for equal ratios.

    Raises ConfigurationError for a text that is neither.
    """
    words = text.split()
    if len(words) in (5, 6) and (words[1], words[3]) == ("to", "in"):
        return _between(words[0], words[2], words[4], words[5:], text)
    values = [value for value in _apart(text) if value]
    if not values:
        raise ConfigurationError('no values: write them as "0.01, 0.02, 0.05" or "0.01 to 0.1 in 4 log"')
    return values


def _apart(text: str) -> list[str]:
    """Split at commas that stand outside quotes and brackets."""
    parts, depth, quote = [""], 0, ""
    for sign in text:
        if quote:
            quote = "" if sign == quote else quote
        elif sign in "\"'":
            quote = sign
        elif sign in "[{":
            depth += 1
        elif sign in "]}":
            depth -= 1
        elif sign == "," and not depth:
            parts.append("")
            continue
        parts[-1] += sign
    return [part.strip() for part in parts]


def _between(first: str, last: str, count: str, how: list[str], text: str) -> list[str]:
    try:
        low, high, number = float(first), float(last), int(count)
    except ValueError:
        raise ConfigurationError(f"{text!r}: write numbers, as in 0.01 to 0.1 in 4 log") from None
    if number < 2 or number > 1000 or how not in ([], ["log"]):
        raise ConfigurationError(f"{text!r}: write 2 to 1000 values and, if wanted, log behind them")
    if how and (low <= 0 or high <= 0):
        raise ConfigurationError(f"{text!r}: equal ratios need both ends above zero")
    share = [place / (number - 1) for place in range(number)]
    found = [low * (high / low) ** part if how else low + (high - low) * part for part in share]
    whole = (
        first.lstrip("+-").isdigit() and last.lstrip("+-").isdigit() and all(abs(v - round(v)) < 1e-9 for v in found)
    )
    return [str(round(value)) if whole else f"{value:.6g}" for value in found]
