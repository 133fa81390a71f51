"""What a run file holds so far, in the columns in which it lies there: 100,000 steps are loaded in one go."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy.typing as npt

from data.layout import Kind
from data.reader import Reader
from gui.model import CURVES, History, UnitCurves
from pib_lab.events import Event, StepDone
from pib_lab.latest import latest_key
from pib_lab.wire_format import encode

_IN_COLUMNS = frozenset({Kind.STEP_DONE, Kind.MAP_TAKEN, Kind.FRAME_TAKEN, Kind.CHECKPOINT_TAKEN, Kind.BATCH_REJECTED})


def read_history(folder: Path) -> tuple[History, str]:
    """The run in `folder` so far, and its status as `Reader.status` words it. Raises RunFileError."""
    with Reader(folder) as reader:
        others = [event for _, event in reader.timed_events(leave_out=_IN_COLUMNS)]
        units = {unit.name: reader.unit_steps(unit.name) for unit in reader.started.units}
        maps = [taken for name in units if (taken := reader.maps(name).last) is not None]
        frames = [seen for name in units if (seen := reader.last_frame(name)) is not None]
        steps = reader.steps()
        # Here, on the source's thread: to fill fresh memory with long curves would hold the window up.
        curves = {name: _curves_of(steps["step"], columns) for name, columns in units.items()}
        history = History(reader.started, steps, units, others, [*maps, *frames], curves)
        return history, reader.status().status


def _curves_of(steps: npt.NDArray[Any], columns: Mapping[str, npt.NDArray[Any]]) -> UnitCurves:
    made = UnitCurves()
    for key in CURVES:
        getattr(made, key).extend(steps, columns[key])
    return made


class Seen:
    """Which live events the file has told of already: they were recorded before they were sent."""

    def __init__(self, history: History | None) -> None:
        self._left = Counter(encode(event) for event in history.others) if history is not None else Counter[bytes]()

    def knows(self, event: Event) -> bool:
        """True once for each time that the file holds `event`. Steps and maps are never known: the model sees to
        them."""
        if isinstance(event, StepDone) or latest_key(event) is not None or not self._left:
            return False
        key = encode(event)
        if self._left[key] <= 0:
            return False
        self._left[key] -= 1
        return True
