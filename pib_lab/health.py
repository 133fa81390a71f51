"""Units that drift while they learn: looked at between steps; zeroed anew, or the run paused, once they have moved."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pib_lab.capabilities import ReportsHealth
from pib_lab.events import Event, Message
from pib_lab.experiment import Health
from pib_lab.learner import LocalLearner
from pib_lab.quantities import Array
from pib_lab.records import Passes


class HealthWatch:
    """Asks every unit that can tell how much of it is still as it was when its reference was taken.

    pause: asks the run to pause at the end of a step; going on after it zeroes anew.
    """

    def __init__(
        self,
        learners: Sequence[LocalLearner],
        plan: Health,
        publish: Callable[[Event], None],
        pause: Callable[[], None],
    ):
        self._learners, self._plan, self._publish, self._pause = learners, plan, publish, pause
        self._watched = [learner for learner in learners if isinstance(learner.unit, ReportsHealth)]
        self._paused = False

    def due(self, step: int) -> bool:
        """Whether units are looked at before `step`: the first step takes the references."""
        every = self._plan.every
        return bool(self._watched and every and ((step - 1) % every == 0 or self._paused))

    def before(self, step: int, signal: Array) -> Passes:
        """Look, when it is due before `step`, and say what was seen; returns what it cost.

        signal: a batch of the network's input.
        """
        if not self.due(step):
            return Passes()
        if self._paused:
            self._paused = False
            return self._zero_anew(signal)
        spent, told, moved = Passes(), [], []
        for learner in self._watched:
            alike, passes = self._ask(learner)
            spent += Passes(calibration=passes)
            told.append(f"unit {learner.name}: correlation {alike:.2f} with its reference")
            if alike < self._plan.min_correlation:
                moved.append(told[-1])
        if not moved:
            self._publish(Message("info", "; ".join(told), step))
            return spent
        text = f"{'; '.join(moved)}, below health.min_correlation = {self._plan.min_correlation:g}"
        if self._plan.action == "pause":
            self._publish(Message("warning", f"{text}: paused after this step; look at the rig, then resume", step))
            self._paused = True
            self._pause()
            return spent
        self._publish(Message("warning", f"{text}: zeroed anew", step))
        return spent + self._zero_anew(signal)

    def _zero_anew(self, signal: Array) -> Passes:
        """Range and conditioning of every unit in the order of the signal, then new references."""
        spent = Passes()
        for learner in self._learners:
            signal, passes = learner.calibrate(signal)
            spent += Passes(calibration=passes)
        for learner in self._watched:
            spent += Passes(calibration=self._ask(learner, renew=True)[1])
        return spent

    def _ask(self, learner: LocalLearner, renew: bool = False) -> tuple[float, int]:
        assert isinstance(learner.unit, ReportsHealth)
        return learner.unit.health(cancel=learner.cancel, renew=renew)
