"""What happens before the first step: units are programmed, ranged, calibrated and, if asked for, scanned."""

from __future__ import annotations

from collections.abc import Sequence

from pib_lab.accounts import Accounts
from pib_lab.learner import LocalLearner
from pib_lab.quantities import Array
from pib_lab.records import Passes
from pib_lab.upkeep import Upkeep


def prepare(learners: Sequence[LocalLearner], signal: Array, accounts: Accounts, upkeep: Upkeep) -> None:
    """Program every unit, then range and calibrate each in the order of the signal, from one batch of the input alone.

    Raises LimitError when programming or a first scan would overdraw the wear budget, and what the units raise.
    """
    budget = accounts.budget
    budget.spare(budget.foresee_writes(learners), "the first programming")
    for learner in learners:
        learner.start()
        budget.note_writes(learner.parameters.cells)
        accounts.passes += Passes(verify=learner.wear()[1])
    for learner in learners:
        signal, passes = learner.calibrate(signal)
        accounts.passes += Passes(calibration=passes)
    accounts.passes += upkeep.scan_at_start()
