"""What a bit-identical resume needs, by path: of the run's accounts, and of every learner and its unit.

Values are arrays, numbers or texts. A batch that has been measured and not yet learned from is part of it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from pib_lab.accounts import Accounts
from pib_lab.capabilities import Ranges, ReadsParameters, Snapshots
from pib_lab.errors import ConfigurationError
from pib_lab.learner import LocalLearner
from pib_lab.lessons import Trace
from pib_lab.records import Passes


def snapshot_run(
    accounts: Accounts, learners: Sequence[LocalLearner], ahead: bool = False, ahead_samples: int = 0
) -> dict[str, Any]:
    """The state of a whole run.

    ahead: a batch has been measured and not yet learned from; ahead_samples: the size of such batches, 0 where there
    are none. Every checkpoint of a run has the same parts, so room is kept for such a batch where there may be one.
    """
    state = accounts.snapshot()
    for learner in learners:
        state |= {f"{learner.name}/{key}": value for key, value in snapshot_learner(learner).items()}
        if ahead_samples:
            trace = learner.trace if ahead and learner.trace is not None else _no_trace(learner, ahead_samples)
            state |= {f"{learner.name}/trace/{key}": getattr(trace, key) for key in Trace.__dataclass_fields__}
    if ahead_samples:
        state["ahead"] = int(ahead)
    return state


def restore_run(accounts: Accounts, learners: Sequence[LocalLearner], state: dict[str, Any]) -> bool:
    """Go back to a snapshot of a run; returns whether a batch had been measured and not yet learned from.

    Raises ConfigurationError when the snapshot is of another network.
    """
    ahead = bool(state.get("ahead", 0))
    try:
        accounts.restore(state)
        for learner in learners:
            accounts.passes += Passes(calibration=restore_learner(learner, _part(state, f"{learner.name}/")))
            learner.trace = _trace(_part(state, f"{learner.name}/trace/")) if ahead else None
    except KeyError as missing:
        raise ConfigurationError(f"the checkpoint does not fit this protocol: {missing} is not in it") from None
    return ahead


def snapshot_learner(learner: LocalLearner) -> dict[str, Any]:
    """Digital state, and the unit's where it is a mock."""
    parameters, unit = learner.parameters, learner.unit
    state: dict[str, Any] = {
        "held": parameters.accumulator.held.copy(),
        "target": parameters.accumulator.target.copy(),
        "faults": parameters.faults.copy(),
        "version": parameters.version,
        "lines": learner.lines.carried.copy(),
        "rng": json.dumps(learner.rng.bit_generator.state, sort_keys=True),
    }
    state |= {f"optimiser/{key}": value for key, value in parameters.optimiser.snapshot().items()}
    state |= {f"rule/{key}": value for key, value in learner.rule.snapshot().items()}
    state |= {f"conditioner/{key}": value for key, value in learner.conditioner.snapshot().items()}
    if isinstance(unit, Snapshots):
        state |= {f"unit/{key}": value for key, value in unit.snapshot().items()}
    elif isinstance(unit, Ranges):
        state["full_scale"] = unit.full_scale()
    return state


def restore_learner(learner: LocalLearner, state: dict[str, Any]) -> int:
    """Go back to a snapshot (after `start`); returns the passes it took.

    A unit without snapshots, that is real hardware, has lived on since: its front end is set as it was, and its
    parameters are read again before they are trusted. Raises ConfigurationError for the checkpoint of a unit of
    another shape, KeyError for one that lacks something.
    """
    parameters, unit = learner.parameters, learner.unit
    held, shape = np.array(state["held"], np.float32), unit.spec.parameters.shape
    if held.shape != shape:
        raise ConfigurationError(
            f"unit {learner.name}: the checkpoint holds parameters of shape {held.shape}, the unit has {shape}; "
            "resume with the protocol of that run"
        )
    parameters.accumulator.held = held
    parameters.accumulator.target = np.array(state["target"], np.float32)
    parameters.faults = np.array(state["faults"], np.int8)
    parameters.version = int(state["version"])
    learner.lines.carried = np.array(state["lines"], np.int32)
    learner.rng.bit_generator.state = json.loads(str(state["rng"]))
    parameters.optimiser.restore(_part(state, "optimiser/"))
    learner.rule.restore(_part(state, "rule/"))
    learner.conditioner.restore(_part(state, "conditioner/"))
    if isinstance(unit, Snapshots):
        unit.restore(_part(state, "unit/"))
        return 0
    if isinstance(unit, Ranges):
        unit.set_full_scale(float(state["full_scale"]))
    if isinstance(unit, ReadsParameters):
        readings, passes = unit.read_parameters(cancel=learner.cancel)
        parameters.accumulator.held = parameters.normalised(readings)
        return passes
    return 0


def _trace(state: dict[str, Any]) -> Trace:
    drive, values, signal = (np.array(state[key], np.float32) for key in ("drive", "values", "signal"))
    return Trace(drive, values, signal, float(state["saturated"]), int(state["passes"]), int(state["version"]))


def _no_trace(learner: LocalLearner, samples: int) -> Trace:
    spec = learner.unit.spec
    drive = np.zeros((samples, spec.drive.size), np.float32)
    response = np.zeros((samples, spec.response.size), np.float32)
    return Trace(drive, response, response, saturated=0.0, passes=0, version=0)


def _part(state: dict[str, Any], prefix: str) -> dict[str, Any]:
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
