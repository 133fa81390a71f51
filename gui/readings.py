"""How well a run is: a few readings with a level each, from what its events tell. No Qt."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from gui.model import RunModel
from pib_lab.errors import ConfigurationError
from pib_lab.experiment import Limits, parse_experiment
from pib_lab.procedure import is_procedure

_CORRELATION = re.compile(r"correlation (-?\d+\.\d+) with its reference")
_NO_CORRELATION = "with a reference pattern; units that drift tell it every health.every steps of the protocol"


class Level(StrEnum):
    """How a reading is to be taken."""

    PLAIN = "plain"
    GOOD = "good"
    CARE = "look"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Reading:
    """One light of the strip. why: the longer words, with what to do where the level is not good."""

    name: str
    value: str
    level: Level
    why: str


def limits_of(model: RunModel) -> Limits:
    """The limits of the run's protocol; those that hold by default where it says none."""
    started = model.status.started
    if started is None or is_procedure(started.protocol_text):
        return Limits()
    try:
        return parse_experiment(started.protocol_text).limits
    except ConfigurationError:  # of another version: the limits that hold by default are shown
        return Limits()


def readings(model: RunModel, limits: Limits) -> list[Reading]:
    """Link, outputs, clipped readings, correlation, faulty cells, wear."""
    return [
        _link(model),
        _outputs(model),
        _clipped(model, limits.saturated),
        _drift(model),
        _faulty(model),
        _wear(model, limits),
    ]


def _link(model: RunModel) -> Reading:
    if model.killed:
        advice = "the run's process has died: press STOP, or `pib-lab safe RUN`, then look at the devices"
        return Reading("Link", "lost", Level.BAD, advice)
    if model.replay:
        return Reading("Link", "replay", Level.PLAIN, "events are read from a file: no device is there")
    if model.live and not model.ended:
        return Reading("Link", "live", Level.GOOD, "the run's process answers")
    return Reading("Link", "no run", Level.PLAIN, "no run is live")


def _outputs(model: RunModel) -> Reading:
    doubtful = [unit for unit, safe in model.safe.items() if safe.not_confirmed]
    if doubtful:
        words = f"NOT confirmed off: {', '.join(doubtful)}. Look at the devices, then press STOP again"
        return Reading("Outputs", "NOT confirmed off", Level.BAD, words)
    if model.safe and set(model.safe) >= set(model.units):
        return Reading("Outputs", "off", Level.GOOD, "all outputs were read back off")
    if model.killed:
        return Reading("Outputs", "not known", Level.BAD, "the run ended without saying so: press STOP")
    if model.live and not model.ended:
        return Reading("Outputs", "in use", Level.PLAIN, "the run owns its devices' outputs")
    return Reading("Outputs", "–", Level.PLAIN, "nothing is known of any output")


def _clipped(model: RunModel, limit: float) -> Reading:
    worst, unit = max(((curves.saturated.last, name) for name, curves in model.curves.items()), default=(np.nan, ""))
    if not np.isfinite(worst):
        return Reading("Clipped", "–", Level.PLAIN, "share of readings at the end of their range; none yet")
    words = f"{unit}: {worst:.1%} of readings at the end of their range; the run stops above {limit:.0%}"
    level = Level.BAD if worst > limit else Level.CARE if worst > limit / 2 else Level.GOOD
    return Reading("Clipped", f"{worst:.1%}", level, words)


def _drift(model: RunModel) -> Reading:
    """The least correlation in the newest line of the log about reference patterns; a warning when one is too small."""
    for line in itertools.islice(reversed(model.log), 500):
        found = _CORRELATION.findall(line.text)
        if found:
            level = Level.CARE if line.level == "warning" else Level.GOOD
            value = f"{min(found, key=float)} at step {line.step}"
            return Reading("Correlation", value, level, f"step {line.step}: {line.text}")
    return Reading("Correlation", "none told", Level.PLAIN, _NO_CORRELATION)


def _faulty(model: RunModel) -> Reading:
    worst, unit = max(
        ((float(np.count_nonzero(codes)) / max(codes.size, 1), name) for name, codes in model.faults.items()),
        default=(np.nan, ""),
    )
    if not np.isfinite(worst):
        return Reading("Faulty cells", "–", Level.PLAIN, "no scan and no map yet")
    scanned = {event.unit: event.step for event in model.scans}
    blind = [event.unit for event in model.struck if scanned.get(event.unit, -1) < event.step]
    words = f"{unit}: {worst:.1%} of its cells are known to be faulty"
    if blind:
        return Reading("Faulty cells", f"{worst:.1%}", Level.CARE, f"{words}; {blind[-1]} was struck and not scanned")
    return Reading("Faulty cells", f"{worst:.1%}", Level.GOOD, words)


def _wear(model: RunModel, limits: Limits) -> Reading:
    most = max((int(taken.pulses.max(initial=0)) for taken in model.maps.values()), default=0)
    words = f"{model.pulses:,} pulses in all; the most worn cell of the newest maps has taken {most:,}"
    share = 0.0
    if limits.pulses:
        share = model.pulses / limits.pulses
        words += f"; the run stops at {limits.pulses:,}"
    if limits.lifetime_pulses:
        share = max(share, most / limits.lifetime_pulses)
        words += f"; no cell may take more than {limits.lifetime_pulses:,} in its life"
    if not share:
        return Reading("Wear", f"{model.pulses:,} pulses", Level.PLAIN, words)
    level = Level.BAD if share >= 1.0 else Level.CARE if share >= 0.8 else Level.GOOD
    return Reading("Wear", f"{share:.0%} of budget", level, words)
