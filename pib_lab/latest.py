"""Which events a newer one makes worthless: pictures of a state, of which only the latest needs to be shown."""

from __future__ import annotations

from pib_lab.events import MapTaken
from pib_lab.frames import FrameTaken


def latest_key(event: object) -> tuple[str, str] | None:
    """What an event is the latest picture of: where events wait, one with the same key takes its place. None: every one
    counts."""
    match event:
        case MapTaken():
            return "map", event.unit
        case FrameTaken():
            return "frame", event.unit
    return None
