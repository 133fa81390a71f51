"""One unit and all that belongs to its learning. A learner needs no other learner: it can live on another machine."""

from __future__ import annotations

import numpy as np
import torch

from pib_lab.capabilities import PullsBack, wear
from pib_lab.conditioning import Conditioner
from pib_lab.errors import ConfigurationError
from pib_lab.lessons import Change, LearnBatch, LearnerConfig, LearnRecord, Trace, check_labels, check_response
from pib_lab.lines import DriveLines
from pib_lab.objectives import Context, Objective, evaluate
from pib_lab.parameters import Parameters
from pib_lab.perturbation import perturb
from pib_lab.quantities import Array
from pib_lab.ranging import find_range, follow_range
from pib_lab.unit import CancelToken, PhysicalUnit


class LocalLearner:
    """Trains one physical unit on its own local loss.

    `forward` measures; `learn` turns what was measured, and nothing else, into programming. Signals between learners
    are 0 to 1: 1 is the full drive of the next unit.
    """

    def __init__(self, unit: PhysicalUnit, objective: Objective, config: LearnerConfig, seed: int):
        self.unit = unit
        self.objective = objective
        self.config = config
        self.cancel = CancelToken()
        self.trace: Trace | None = None
        self.rejected: Trace | None = None
        """A measurement that could not be learned from, for the run file."""
        self.rng = np.random.Generator(np.random.PCG64(seed))
        self.parameters = Parameters(unit, config)
        self.conditioner = Conditioner(
            unit.spec.response.size,
            range=config.range,
            rectify=config.rectify,
            headroom=config.headroom,
            momentum=config.conditioning_momentum,
        )
        self.rule = self._choose_rule()
        self.lines = DriveLines(unit.spec.drive)

    @property
    def name(self) -> str:
        """The unit's name."""
        return self.unit.spec.name

    def _choose_rule(self) -> str:
        """Exact pull-back where the unit offers it; otherwise simultaneous perturbation on the unit's own loss."""
        offers = isinstance(self.unit, PullsBack)
        if self.config.rule == "pullback" and not offers:
            raise ConfigurationError(f"unit {self.name}: rule pullback needs a unit that offers it; choose rule spsa")
        return "pullback" if offers and self.config.rule in ("auto", "pullback") else "spsa"

    def start(self) -> None:
        """Program initial parameters. The unit must be open."""
        self.parameters.start(self.rng)

    def wear(self) -> tuple[int, int]:
        """(pulses, verify passes) so far; zeros for a unit that does not count."""
        return wear(self.unit)

    # The forward pass

    def forward(self, signal: Array, learn: bool) -> Array:
        """Drive the unit with signals (batch, n_in) in 0..1; return its conditioned response (batch, n_out).

        With `learn` the running conditioning follows and the measurement is kept for `learn`.
        Raises ResponseError for a response that is not finite or too often saturated.
        """
        if learn:
            self.trace = None
        drive = self.lines.drive(signal)
        measurement = self.unit.measure(drive, cancel=self.cancel)
        saturated = float(measurement.saturated.mean())
        values = measurement.values.reshape(len(drive), -1)
        self._refuse_bad(drive, values, saturated)
        conditioned = self.conditioner.forward(values, learn)
        if learn:
            version = self.parameters.version
            self.trace = Trace(drive, values, conditioned, saturated, measurement.passes, version)
            follow_range(self.unit, measurement)
        return conditioned

    def calibrate(self, signal: Array) -> tuple[Array, int]:
        """Find the front end's range and the conditioning from one batch alone; returns (conditioned, passes)."""
        drive = self.lines.drive(signal)
        measurement, passes = find_range(self.unit, drive, self.cancel)
        values = measurement.values.reshape(len(drive), -1)
        self._refuse_bad(drive, values, 0.0)
        self.conditioner.forget()
        return self.conditioner.forward(values, learn=True), passes

    def _refuse_bad(self, drive: Array, values: Array, saturated: float) -> None:
        self.rejected = Trace(drive, values, values, saturated, len(drive), self.parameters.version)
        check_response(values, saturated, self.config.max_saturated, self.name)
        self.rejected = None

    # Learning

    def learn(self, batch: LearnBatch) -> LearnRecord:
        """Improve this unit's own loss on what the last `forward` measured.

        Raises ConfigurationError when nothing has been measured, or for labels that do not fit or are all one class.
        """
        trace = self._take_trace()
        if self.rule == "pullback" or not self.config.train:
            return self.carry_out(self.work_out(batch, trace))
        return self._learn_by_perturbation(batch, trace)

    def work_out(self, batch: LearnBatch, trace: Trace) -> Change:
        """The change that `trace` asks for, by the pull-back: arithmetic only, so that the unit may measure meanwhile.

        Raises ConfigurationError for labels that do not fit or are all one class.
        """
        loss, d_signal = evaluate(self.objective, trace.signal, self._context(batch, trace))
        return self._change(batch, trace, loss, d_signal)

    def apply(self, batch: LearnBatch, loss: float, d_signal: Array) -> LearnRecord:
        """Take dL/d(conditioned response) of the last measurement to the physical parameters, and program them."""
        return self.carry_out(self._change(batch, self._take_trace(), loss, d_signal))

    def carry_out(self, change: Change, worn: tuple[int, int] | None = None, passes: int = 0) -> LearnRecord:
        """Program what is worth a pulse. `worn` and `passes`: wear before, and passes of, the update rule itself."""
        before = worn or self.wear()
        written = self.parameters.write(change.due)
        pulses, verify = self.wear()
        spent = (pulses - before[0], written, verify - before[1], passes)
        return LearnRecord(change.batch_id, self.parameters.version, change.loss, *spent, change.measured_version)

    def _take_trace(self) -> Trace:
        if self.trace is None:
            raise ConfigurationError(f"unit {self.name}: learn() needs a forward(..., learn=True) first")
        trace, self.trace = self.trace, None
        return trace

    def _context(self, batch: LearnBatch, trace: Trace) -> Context:
        check_labels(batch, len(trace.signal), self.name)
        return Context(torch.from_numpy(batch.labels), batch.classes, torch.from_numpy(batch.x_gram))

    def _change(self, batch: LearnBatch, trace: Trace, loss: float, d_signal: Array) -> Change:
        due = np.zeros(self.unit.spec.parameters.shape, np.bool_)
        if self.config.train:
            if not isinstance(self.unit, PullsBack):
                raise ConfigurationError(
                    f"unit {self.name}: a gradient in the response cannot be pulled back by this unit; choose rule spsa"
                )
            d_value = self.conditioner.backward(trace.values, d_signal)
            due = self.parameters.follow(self.unit.pullback(trace.drive, d_value), batch.learning_rate)
        return Change(batch.batch_id, trace.version, loss, due)

    def _learn_by_perturbation(self, batch: LearnBatch, trace: Trace) -> LearnRecord:
        """One step of SPSA on the unit's own loss; two passes a sample.

        Both shifted measurements use the same recorded drive, with conditioning frozen.
        """
        worn, passes, context, parameters = self.wear(), 0, self._context(batch, trace), self.parameters

        def program(wanted: Array) -> Array:
            return parameters.normalised(self.unit.program(parameters.physical(wanted), parameters.usable))

        def measure_loss() -> float:
            nonlocal passes
            measurement = self.unit.measure(trace.drive, cancel=self.cancel)
            passes += measurement.passes
            values = measurement.values.reshape(len(trace.drive), -1)
            self._refuse_bad(trace.drive, values, float(measurement.saturated.mean()))
            return evaluate(self.objective, self.conditioner.forward(values, learn=False), context)[0]

        found = perturb(parameters.accumulator.held, self.config.perturbation, self.rng, program, measure_loss)
        parameters.accumulator.held = found.held
        due = parameters.follow(found.gradient, batch.learning_rate)
        return self.carry_out(Change(batch.batch_id, trace.version, found.loss, due), worn, passes)
