"""One panel a file; PANELS names them all, and where each stands before an operator moves it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from gui.panel import Panel
from gui.panels.editor import EditorPanel
from gui.panels.entropy import EntropyPanel
from gui.panels.health import HealthPanel
from gui.panels.instruments import InstrumentsPanel
from gui.panels.learning import LearningPanel
from gui.panels.log import LogPanel
from gui.panels.maps import MapsPanel
from gui.panels.queue import QueuePanel
from gui.panels.runs import RunsPanel


class Place(Enum):
    """Part of the window. Panels of one place are tabs, the first one in front."""

    TOP = "top"
    LEFT = "left"
    RIGHT = "right"
    BOTTOM = "bottom"


@dataclass(frozen=True, slots=True)
class Placed:
    """A kind of panel and its place."""

    panel: type[Panel]
    place: Place


PANELS: tuple[Placed, ...] = (
    Placed(HealthPanel, Place.TOP),
    Placed(EntropyPanel, Place.LEFT),
    Placed(EditorPanel, Place.LEFT),
    Placed(LearningPanel, Place.RIGHT),
    Placed(QueuePanel, Place.RIGHT),
    Placed(RunsPanel, Place.RIGHT),
    Placed(MapsPanel, Place.BOTTOM),
    Placed(InstrumentsPanel, Place.BOTTOM),
    Placed(LogPanel, Place.BOTTOM),
)
