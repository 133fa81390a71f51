"""What is done about a learner's faulty parameters: they are found, and healthy ones make up for them."""

from __future__ import annotations

import numpy as np

from pib_lab.capabilities import Compensates, HoldsWeights
from pib_lab.faults import ScanResult, scan
from pib_lab.learner import LocalLearner
from pib_lab.mending import assign_lines, fit_weights
from pib_lab.quantities import Array


def find_faults(learner: LocalLearner, reads: int) -> ScanResult:
    """Find faulty parameters from measurements and remember them; they are no longer pulsed.

    Raises TypeError for a unit that cannot read its parameters.
    """
    parameters = learner.parameters
    usable = parameters.usable
    result = scan(learner.unit, parameters.believed(), usable, reads, learner.cancel)
    parameters.faults = np.where(usable, result.faults, parameters.faults)
    held = np.where(parameters.usable, result.held, result.readings)
    parameters.accumulator.held = parameters.normalised(held.astype(np.float32))
    return result


def compensate(learner: LocalLearner) -> tuple[int, int, int]:
    """Let healthy partners take over the share of faulty parameters; returns (written, pulses, verify passes)."""
    unit, parameters = learner.unit, learner.parameters
    if not isinstance(unit, Compensates):
        return 0, 0, 0
    worn = learner.wear()
    accumulator, usable = parameters.accumulator, parameters.usable
    wanted = parameters.physical(accumulator.target)
    accumulator.target = parameters.normalised(unit.compensate(wanted, parameters.believed(), ~usable))
    written = parameters.write(accumulator.due(usable))
    pulses, verify = learner.wear()
    return written, pulses - worn[0], verify - worn[1]


def mend(learner: LocalLearner, signal: Array) -> tuple[int, int]:
    """Make the most of the healthy cells for `signal` (batch, n_in); returns (cells written, signals moved).

    Signals move to lines that can hold their weights, then all reachable weights are fitted to what the unit did
    before. A unit that does not hold weights lets healthy partners take over.
    """
    unit, parameters = learner.unit, learner.parameters
    if not isinstance(unit, HoldsWeights):
        return compensate(learner)[0], 0
    accumulator, usable, held = parameters.accumulator, parameters.usable, parameters.believed()
    low, high = unit.reach(held, ~usable)
    wanted, drive = unit.weights(parameters.physical(accumulator.target)), learner.lines.drive(signal)
    order = assign_lines(wanted, low, high, drive.var(axis=0))
    learner.lines.carried = learner.lines.carried[order]
    parameters.optimiser.reorder(order)
    weights = fit_weights(wanted[order], low, high, drive[:, order])
    accumulator.target = parameters.normalised(unit.realise(weights, held, ~usable))
    moved = int(np.count_nonzero(order != np.arange(len(order))))
    return parameters.write(accumulator.due(usable)), moved
