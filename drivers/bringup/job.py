"""What every procedure is given, and the few steps that all of them share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from drivers.chip.probe import ChipProbe
from pib_lab.findings import Check, Measured, Progress, Publish, Verdict, judged
from pib_lab.unit import CancelToken

Item = TypeVar("Item")
Cell = tuple[int, int]

_GOLDEN = 0.6180339887498949


class Steps:
    """What a procedure does item by item, on a chip or on an optical rig."""

    publish: Publish
    cancel: CancelToken

    def each(self, items: Sequence[Item], what: str) -> Iterator[Item]:
        """The items one by one, told to whoever watches; ends early once the operator has asked to stop."""
        for done, item in enumerate(items):
            if self.cancel.cancelled:
                return
            self.publish(Progress(done, len(items), f"{what} {item}"))
            yield item
        self.publish(Progress(len(items), len(items), what))


@dataclass(frozen=True)
class Job(Steps):
    """One run of a procedure on a chip. stored: what the chip's passport holds to compare with, by name."""

    probe: ChipProbe
    publish: Publish
    cancel: CancelToken
    stored: Mapping[str, Measured] = field(default_factory=dict)


def completed(done: int, total: int, why: str = "") -> Check:
    """Whether all items were worked through; `why` not, when it was the chip. A stop by the operator is no failure."""
    numbers = {"done": done, "total": total}
    if done < total and not why:
        return Check("completed", Verdict.NOT_TESTED, numbers, detail="stopped by the operator; run it for the rest")
    return judged("completed", done == total, why, numbers)


def sample_cells(shape: tuple[int, int], count: int) -> list[Cell]:
    """`count` different cells spread evenly over the array, always the same ones; all of them when there are fewer."""
    size = shape[0] * shape[1]
    if count >= size:
        return [divmod(index, shape[1]) for index in range(size)]
    chosen: dict[int, None] = {}
    step = 0
    while len(chosen) < count:
        chosen[int(size * ((step * _GOLDEN + 0.5) % 1.0))] = None
        step += 1
    return [divmod(index, shape[1]) for index in sorted(chosen)]
