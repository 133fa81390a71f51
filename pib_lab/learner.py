"""One unit and all that belongs to its learning. A learner needs no other learner: it can live on another machine."""

from __future__ import annotations

import numpy as np
import torch

from pib_lab.capabilities import CountsWear, Ranges, ShiftsSamples, counted
from pib_lab.conditioning import Conditioner
from pib_lab.errors import ConfigurationError
from pib_lab.lessons import Change, LearnBatch, LearnerConfig, LearnRecord, Trace, check_labels, check_response
from pib_lab.lines import DriveLines
from pib_lab.objectives import Context, Objective, evaluate
from pib_lab.parameters import Parameters
from pib_lab.quantities import Array
from pib_lab.ranging import find_range, follow_range
from pib_lab.records import NAN
from pib_lab.rules import Found, Own, make_rule, pull_back
from pib_lab.unit import CancelToken, Measurement, PhysicalUnit


class LocalLearner:
    """Trains one physical unit on its own local loss.

    `forward` measures; `learn` turns what was measured, and nothing else, into programming. Signals between learners
    are 0 to 1: 1 is the full drive of the next unit.
    """

    def __init__(self, unit: PhysicalUnit, objective: Objective, config: LearnerConfig, seed: int):
        self.unit = unit
        self._counts = unit if isinstance(unit, CountsWear) else None
        self._ranges = unit if isinstance(unit, Ranges) else None
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
        self.lines = DriveLines(unit.spec.drive)
        own = Own(unit, objective, self.conditioner, self.parameters, self.rng, config, self._measure)
        self.rule = make_rule(own)

    @property
    def name(self) -> str:
        """The unit's name."""
        return self.unit.spec.name

    def start(self) -> None:
        """Program initial parameters. The unit must be open."""
        self.parameters.start(self.rng)

    def wear(self) -> tuple[int, int]:
        """(pulses, verify passes) so far; zeros for a unit that does not count."""
        return counted(self._counts)

    def full_scale(self) -> float:
        """Of the unit's front end; NaN where it is fixed."""
        return NAN if self._ranges is None else self._ranges.full_scale()

    # The forward pass

    def forward(self, signal: Array, learn: bool) -> Array:
        """Drive the unit with signals (batch, n_in) in 0..1; return its conditioned response (batch, n_out).

        With `learn` the running conditioning follows and the measurement is kept for `learn`.
        Raises ResponseError for a response that is not finite or too often saturated.
        """
        if learn:
            self.trace = None
        drive = self.lines.drive(signal)
        values, measurement = self._measure(drive)
        conditioned = self.conditioner.forward(values, learn)
        if learn:
            saturated, version = measurement.clipped, self.parameters.version
            self.trace = Trace(drive, values, conditioned, saturated, measurement.passes, version)
            if self._ranges is not None:
                follow_range(self._ranges, measurement)
        return conditioned

    def calibrate(self, signal: Array) -> tuple[Array, int]:
        """Find the front end's range and the conditioning from one batch alone; returns (conditioned, passes)."""
        drive = self.lines.drive(signal)
        measurement, passes = find_range(self.unit, drive, self.cancel)
        values = measurement.values.reshape(len(drive), -1)
        self._refuse_bad(drive, values, 0.0)
        self.conditioner.forget()
        return self.conditioner.forward(values, learn=True), passes

    def _measure(self, drive: Array, shift: Array | None = None) -> tuple[Array, Measurement]:
        """Values (batch, n_out) of drives in the unit's own units. Raises ResponseError as `forward` does."""
        if shift is None:
            measurement = self.unit.measure(drive, cancel=self.cancel)
        else:
            assert isinstance(self.unit, ShiftsSamples)
            measurement = self.unit.measure_shifted(drive, shift, cancel=self.cancel)
        values = measurement.values.reshape(len(drive), -1)
        self._refuse_bad(drive, values, measurement.clipped)
        return values, measurement

    def _refuse_bad(self, drive: Array, values: Array, saturated: float) -> None:
        self.rejected = Trace(drive, values, values, saturated, len(drive), self.parameters.version)
        check_response(values, saturated, self.config.max_saturated, self.name)
        self.rejected = None

    # Learning

    def learn(self, batch: LearnBatch) -> LearnRecord:
        """Improve this unit's own loss on what the last `forward` measured.

        Raises ConfigurationError when nothing has been measured, or for labels that do not fit or are all one class.
        """
        trace, worn = self._take_trace(), self.wear()
        return self.carry_out(self.work_out(batch, trace), worn)

    def work_out(self, batch: LearnBatch, trace: Trace) -> Change:
        """The change that `trace` asks for: arithmetic only, unless the rule measures (`rule.settings` above 0).

        Raises ConfigurationError for labels that do not fit or are all one class.
        """
        check_labels(batch, len(trace.signal), self.name)
        context = Context(torch.from_numpy(batch.labels), batch.classes, torch.from_numpy(batch.x_gram))
        if not self.config.train:
            return self._no_change(batch, trace, evaluate(self.objective, trace.signal, context)[0])
        return self._change(batch, trace, self.rule.find(trace, context))

    def apply(self, batch: LearnBatch, loss: float, d_signal: Array) -> LearnRecord:
        """Take dL/d(conditioned response) of the last measurement to the physical parameters, and program them."""
        trace = self._take_trace()
        if not self.config.train:
            return self.carry_out(self._no_change(batch, trace, loss))
        gradient = pull_back(self.unit, self.conditioner, trace, d_signal)
        return self.carry_out(self._change(batch, trace, Found(loss, gradient)))

    def carry_out(self, change: Change, worn: tuple[int, int] | None = None) -> LearnRecord:
        """Program what is worth a pulse. `worn`: wear before the update rule itself has programmed anything."""
        before = worn or self.wear()
        written = self.parameters.write(change.due)
        pulses, verify = self.wear()
        spent = (pulses - before[0], written, verify - before[1], change.passes)
        return LearnRecord(change.batch_id, self.parameters.version, change.loss, *spent, change.measured_version)

    def _take_trace(self) -> Trace:
        if self.trace is None:
            raise ConfigurationError(f"unit {self.name}: learn() needs a forward(..., learn=True) first")
        trace, self.trace = self.trace, None
        return trace

    def _change(self, batch: LearnBatch, trace: Trace, found: Found) -> Change:
        due = self.parameters.follow(found.gradient, batch.learning_rate)
        return Change(batch.batch_id, trace.version, found.loss, due, found.passes)

    def _no_change(self, batch: LearnBatch, trace: Trace, loss: float) -> Change:
        return Change(batch.batch_id, trace.version, loss, np.zeros(self.unit.spec.parameters.shape, np.bool_))
