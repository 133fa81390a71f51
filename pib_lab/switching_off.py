"""Making units safe: those of different devices at the same time, for a dead link is waited for, not worked at."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

from pib_lab.capabilities import NamesDevice
from pib_lab.unit import PhysicalUnit, SafeReport

T = TypeVar("T")


def switch_off(unit: PhysicalUnit) -> SafeReport:
    """The unit's own `make_safe`; where that raises all the same, a report that nothing was confirmed, and why."""
    try:
        return unit.make_safe()
    except Exception as problem:  # a driver's broken promise must not keep the other units' outputs on
        return SafeReport(unit.spec.name, (), ("all outputs",), f"{type(problem).__name__}: {problem}")


def device_by_device(units: Sequence[PhysicalUnit], act: Callable[[PhysicalUnit], T]) -> list[T]:
    """`act` on every unit, last unit first: one device after the other's units in turn, all devices at the same time.

    It takes as long as the slowest device. Units say which device they are on (`NamesDevice`); mocks, and others that
    do not, are dealt with on the calling thread. Results come last unit first, whoever was done first.
    What `act` raises is raised once all units have had their turn.
    """
    done: dict[int, T] = {}
    failed: dict[int, Exception] = {}

    def work(group: Sequence[int]) -> None:
        for number in group:
            try:
                done[number] = act(units[number])
            except Exception as problem:
                failed[number] = problem

    numbers = list(reversed(range(len(units))))
    groups: dict[str | None, list[int]] = {None: []}
    for number in numbers:
        unit = units[number]
        groups.setdefault(unit.device_name() if isinstance(unit, NamesDevice) else None, []).append(number)
    at_once([functools.partial(work, group) for group in groups.values() if group])
    for number in numbers:
        if number in failed:
            raise failed[number]
    return [done[number] for number in numbers]


def at_once(works: Sequence[Callable[[], None]]) -> None:
    """Do all at the same time, the first one on the calling thread. None of them may raise."""
    # Daemons, so that a second Ctrl-C, which ends the waiting, is not kept by a device that does not answer.
    threads = [threading.Thread(target=work, daemon=True) for work in works[1:]]
    for thread in threads:
        thread.start()
    for work in works[:1]:
        work()
    for thread in threads:
        thread.join()
