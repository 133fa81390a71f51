"""How a device is made safe, as pure data: another process can be told it beforehand and carry it out on its own.

Only the standard library is imported here, so that the guardian starts at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol, runtime_checkable

Kind = Literal["scpi", "tsp", "board"]


@dataclass(frozen=True, slots=True)
class Ramp:
    """One source level that is brought to zero in steps before its output goes off.

    query: is answered with the present level; command: sets one, with "{level:.6e}" where the number goes.
    """

    query: str
    command: str


@dataclass(frozen=True, slots=True)
class ReadBack:
    """One output that counts as off only when `query` is answered by one of `expected` (texts, or equal numbers)."""

    output: str
    query: str
    expected: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SafeAction:
    """All that it takes to make one device safe.

    device: its name in the protocol; address: a VISA resource, "serial:PORT?baud=N", a port's path or
    "socket://host:port"; identity: pattern of its answer to *IDN?, so that no other instrument is commanded ("": not
    asked). clear: sent first, ends what the device is in the middle of. Then ramps, commands, and what is read back.
    stage: stages follow one another. Sources are 0, those of gates 1 where drains must go off first; a switch matrix
    comes last, and opens after all of them have gone off.
    A "board" speaks frames and needs none of these messages: its outputs are named by `outputs`.
    """

    device: str
    address: str
    kind: Kind
    identity: str = ""
    clear: tuple[str, ...] = ()
    ramps: tuple[Ramp, ...] = ()
    commands: tuple[str, ...] = ()
    read_back: tuple[ReadBack, ...] = ()
    outputs: tuple[str, ...] = ()
    stage: int = 0
    terminator: str = "\n"

    @property
    def names(self) -> tuple[str, ...]:
        """Every output that has to be confirmed off."""
        return tuple(check.output for check in self.read_back) + self.outputs

    def to_json(self) -> dict[str, Any]:
        """Plain values for a JSON text."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> SafeAction:
        """What `to_json` gave. Raises TypeError or KeyError for anything else."""
        lists: dict[str, Any] = {
            "clear": tuple(values["clear"]),
            "ramps": tuple(Ramp(**ramp) for ramp in values["ramps"]),
            "commands": tuple(values["commands"]),
            "read_back": tuple(
                ReadBack(check["output"], check["query"], tuple(check["expected"])) for check in values["read_back"]
            ),
            "outputs": tuple(values["outputs"]),
        }
        return cls(**{**values, **lists})


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was achieved on one device: outputs read back off, and those that could not be confirmed, and why."""

    device: str
    address: str
    confirmed: tuple[str, ...]
    not_confirmed: tuple[str, ...]
    detail: str
    attempts: int
    elapsed_s: float

    @property
    def safe(self) -> bool:
        """True when every output was read back off."""
        return not self.not_confirmed


@runtime_checkable
class Guarded(Protocol):
    """A device that can say beforehand how it is made safe. Asked before it is opened: no I/O."""

    def safe_actions(self) -> list[SafeAction]:
        """How to make it safe, one action for each of its links."""


def all_safe(outcomes: Iterable[Outcome]) -> bool:
    """True when every output of every device was read back off."""
    return all(outcome.safe for outcome in outcomes)
