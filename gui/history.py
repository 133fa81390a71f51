"""What a run file holds so far, in the columns in which it lies there: 100,000 steps are loaded in one go."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from data.layout import Kind
from data.reader import Reader
from gui.model import History
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
        return History(reader.started, reader.steps(), units, others, [*maps, *frames]), reader.status().status


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
