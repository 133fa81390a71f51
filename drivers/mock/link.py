"""The mock chip's end of its link: which outputs are on. Commands can be lost and outputs can hang, as real ones do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pib_lab.errors import LinkError

OUTPUTS = ("read voltage", "word lines")


class ChipLink:
    """Switches the outputs of units, and tells which are on. For tests: `dead` answers nothing, `hanging` stays on."""

    def __init__(self, chip: str) -> None:
        self.dead = False
        self.hanging: set[str] = set()
        self._chip = chip
        self._closed = False
        self._on: dict[str, set[str]] = {}

    def close(self) -> None:
        """No more commands. Idempotent."""
        self._closed = True

    def switch(self, unit: str, on: bool) -> None:
        """Command all outputs of `unit` on or off. Raises LinkError when the link is dead or closed."""
        self._require_alive()
        now = self._on.setdefault(unit, set())
        if on:
            now.update(OUTPUTS)
        else:
            now &= self.hanging

    def read_back(self, unit: str) -> tuple[str, ...]:
        """Outputs of `unit` that are on. Raises LinkError when the link is dead or closed."""
        self._require_alive()
        return tuple(output for output in OUTPUTS if output in self._on.get(unit, set()))

    @contextmanager
    def energised(self, unit: str) -> Iterator[None]:
        """Outputs of `unit` on within a `with` block, and commanded off at its end whatever happened in it."""
        self.switch(unit, on=True)
        try:
            yield
        finally:
            self.switch(unit, on=False)

    def _require_alive(self) -> None:
        if self._closed:
            raise LinkError(f"chip {self._chip}: its link is closed; open the lab again")
        if self.dead:
            raise LinkError(
                f"chip {self._chip}: the link is dead; check the cable and the supply, then open the lab again"
            )
