"""Which of a run's camera frames its file keeps: a megapixel at every look would soon outgrow all that was learned."""

from __future__ import annotations

from collections import Counter

from pib_lab.frames import FrameTaken

BUDGET_BYTES = 16 * 2**20
"""Of one unit's pixels that are kept before frames are left out."""

_FEWEST = 4


class FrameChoice:
    """All frames of a unit until BUDGET_BYTES are kept, then every 2nd for as many, every 4th, and so on.

    So the file grows with the logarithm of the run's length. kept: how many of each unit the file holds already.
    """

    def __init__(self, kept: dict[str, int] | None = None) -> None:
        self._kept = Counter(kept or {})
        self._since: Counter[str] = Counter()
        self._left_out: dict[str, FrameTaken] = {}

    def wants(self, event: FrameTaken) -> bool:
        """Whether the file is to keep this frame; counts it."""
        unit = event.unit
        self._since[unit] += 1
        whole = max(_FEWEST, BUDGET_BYTES // max(1, event.frame.pixels.nbytes))
        if self._since[unit] < 2 ** (self._kept[unit] // whole):
            self._left_out[unit] = event
            return False
        self._left_out.pop(unit, None)
        self._since[unit] = 0
        self._kept[unit] += 1
        return True

    def newest_left_out(self) -> list[FrameTaken]:
        """Of each unit whose newest frame was left out, that frame: the last ones of a run are kept too."""
        left, self._left_out = list(self._left_out.values()), {}
        return left
