"""What `pib-lab check PROTOCOL --json` says, read without importing what computes it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from gui.processes import call
from pib_lab.errors import ConfigurationError

CHECK_TIMEOUT_S = 180.0
"""A data set may have to be fetched first."""


@dataclass(frozen=True, slots=True)
class UnitLine:
    """One unit of a dry run: what drives it, its shape, and the limit of its drive as a text with units."""

    name: str
    driver: str
    shape: str
    parameters: int
    drive_limit: str


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a protocol would cost: time in seconds, passes, and at most so many pulses.

    time_s: of measuring and of programming, as the devices would need them; a mock takes as long as its computer does.
    mock: nothing real is driven; None for a bring-up procedure, of which nothing is known beforehand (known is False).
    """

    time_s: float
    passes: int
    pulses: int
    mock: bool | None
    units: tuple[UnitLine, ...] = ()
    limits: tuple[tuple[str, str], ...] = ()
    warnings: tuple[str, ...] = ()
    known: bool = True


class Background(Protocol):
    """Does work beside the window, as `gui.bridge.Bridge.background` does."""

    def __call__(
        self, work: Callable[[], Any], done: Callable[[Any], None], failed: Callable[[Exception], None] | None = None
    ) -> None:
        """Do `work`, then call `done` with what it returned, or `failed` with what it raised."""


class Checker:
    """Dry runs in processes of their own, one after the other: each of them loads all that a run needs."""

    def __init__(self, background: Background) -> None:
        self._background = background
        self._waiting: deque[tuple[list[str], Callable[[Estimate], None], Callable[[str], None]]] = deque()
        self._busy = False

    def check(self, arguments: Sequence[str], done: Callable[[Estimate], None], failed: Callable[[str], None]) -> None:
        """Have `pib-lab check ARGUMENTS --json` run; then call one of the two."""
        self._waiting.append((list(arguments), done, failed))
        self._next()

    def _next(self) -> None:
        if self._busy or not self._waiting:
            return
        arguments, done, failed = self._waiting.popleft()
        self._busy = True

        def succeed(estimate: Estimate) -> None:
            self._busy = False
            done(estimate)
            self._next()

        def fail(error: Exception) -> None:
            self._busy = False
            failed(str(error))
            self._next()

        self._background(lambda: dry_run(arguments), succeed, fail)


def dry_run(arguments: Sequence[str]) -> Estimate:
    """The dry run of a protocol, in a process of its own; waits for it.

    Raises ConfigurationError with what the command said when it refused the protocol, LinkError when it took too long.
    """
    return estimate_of(*call(["check", *arguments, "--json"], CHECK_TIMEOUT_S))


def estimate_of(code: int, tree: dict[str, Any], said: str) -> Estimate:
    """From the exit code, the JSON object and the standard error of the command. Raises ConfigurationError."""
    if code:
        raise ConfigurationError(said.removeprefix("error: ") or f"`pib-lab check` ended with code {code}")
    if not tree:
        return Estimate(0.0, 0, 0, None, known=False)
    try:
        return _from(tree)
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(f"`pib-lab check` is of another version: its dry run lacks {error}") from None


def _from(tree: dict[str, Any]) -> Estimate:
    units = tuple(
        UnitLine(
            str(unit["name"]),
            str(unit["driver"]),
            " x ".join(str(side) for side in unit["shape"]),
            int(unit["parameters"]),
            str(unit["drive_limit"]),
        )
        for unit in tree["units"]
    )
    return Estimate(
        float(tree["measuring_s"]) + float(tree["programming_s"]),
        sum(int(count) for count in tree["passes"].values()),
        int(tree["pulses_max"]),
        bool(tree["mock"]),
        units,
        tuple((str(key), str(value)) for key, value in tree["limits"].items()),
        tuple(str(text) for text in tree["warnings"]),
    )


def short_count(count: int) -> str:
    """A large count in three digits: "950", "12.3 k", "4.02 M"."""
    power = min(4, (len(str(count)) - 1) // 3)
    return f"{count / 1000**power:.3g} {' kMGT'[power]}".strip()
