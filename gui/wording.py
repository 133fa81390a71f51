"""Numbers and states as an operator reads them at arm's length."""

from __future__ import annotations

from gui.model import RunModel

STATES = {
    "idle": ("○", "no run", "plain"),
    "starting": ("◐", "preparing", "look"),
    "running": ("●", "running", "good"),
    "paused": ("‖", "paused", "look"),
    "aborting": ("◐", "aborting", "look"),
    "finished": ("✔", "finished", "good"),
    "aborted": ("■", "aborted", "look"),
    "failed": ("✖", "failed", "bad"),
    "killed": ("✖", "killed", "bad"),
}
"""Of `RunModel.state`: a sign that differs in shape, a word, a level of `gui.theme.level_colour`."""


def duration(seconds: float) -> str:
    """Seconds for people: 4 s, 1:05 min, 2:03 h, 3.1 days."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}:{rest:02d} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d} h" if hours < 48 else f"{hours / 24:.1f} days"


def progress(model: RunModel) -> str:
    """How far the run has come, and how long it will take."""
    done, total = model.progress
    if not total:
        return "preparing: loading data, opening devices" if model.state == "starting" else ""
    left = None if model.ended or model.procedure is not None else model.status.remaining_s
    words = f"step {done:,} of {total:,}"
    return words if left is None or model.state == "paused" else f"{words}  ·  {duration(left)} left"


def badge(model: RunModel) -> tuple[str, str]:
    """What the devices are, and its kind: "mock", "real" or "none"."""
    if model.by_hand is not None:
        return ("MOCK BY HAND", "mock") if model.by_hand else ("REAL BY HAND", "real")
    if model.mock is None:
        return ("NO RUN", "none") if model.state == "idle" else ("…", "none")
    words = "MOCK" if model.mock else "REAL HARDWARE"
    if model.replay:
        return f"REPLAY of {words}", "none"
    return words, "mock" if model.mock else "real"
