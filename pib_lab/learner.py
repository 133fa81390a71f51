"""One unit and all that belongs to its learning. A learner needs no other learner: it can live on another machine."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import torch

from pib_lab.capabilities import (
    Compensates,
    HoldsWeights,
    Initialises,
    PullsBack,
    Ranges,
    ReadsParameters,
    Snapshots,
    wear,
)
from pib_lab.conditioning import Conditioner
from pib_lab.errors import ConfigurationError
from pib_lab.faults import ScanResult, scan
from pib_lab.lessons import LearnBatch, LearnerConfig, LearnRecord, Trace, check_labels, check_response
from pib_lab.mending import assign_lines, fit_weights
from pib_lab.objectives import Context, Objective, evaluate
from pib_lab.perturbation import perturb
from pib_lab.quantities import Array, Codes, Counts, Mask
from pib_lab.ranging import find_range, follow_range
from pib_lab.unit import CancelToken, FaultKind, PhysicalUnit
from pib_lab.updates import Accumulator, make_optimiser

__all__ = ["LearnBatch", "LearnRecord", "LearnerConfig", "LocalLearner", "Trace"]


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
        self.parameter_version = 0
        self._rng = np.random.Generator(np.random.PCG64(seed))
        spec = unit.spec
        self._low, self._span = np.float32(spec.parameters.low), np.float32(spec.parameters.span)
        self.conditioner = Conditioner(
            spec.response.size,
            range=config.range,
            rectify=config.rectify,
            headroom=config.headroom,
            momentum=config.conditioning_momentum,
        )
        self.faults: Codes = np.full(spec.parameters.shape, FaultKind.HEALTHY, np.int8)
        shape = spec.parameters.shape
        resolution = spec.parameters.resolution / spec.parameters.span
        self.accumulator = Accumulator(np.full(shape, 0.5, np.float32), config.deadband * resolution)
        self._optimiser = make_optimiser(config.optimiser, shape, config.momentum, config.second_momentum)
        self.rule = self._choose_rule()
        self.lines: Counts = np.arange(spec.drive.size, dtype=np.int32)
        """The signal that each drive line carries."""

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
        spec = self.unit.spec
        if isinstance(self.unit, Initialises):
            initial = self.unit.initial_parameters(self._rng, self.config.init_scale)
        else:
            spread = self._rng.normal(0.5, self.config.init_scale, spec.parameters.shape)
            initial = self._physical(np.clip(spread, 0.0, 1.0).astype(np.float32))
        self.accumulator.target = self._normalised(initial)
        self.accumulator.held = self._normalised(self.unit.program(initial))

    # The forward pass

    def forward(self, signal: Array, learn: bool) -> Array:
        """Drive the unit with signals (batch, n_in) in 0..1; return its conditioned response (batch, n_out).

        With `learn` the running conditioning follows and the measurement is kept for `learn`.
        Raises ResponseError for a response that is not finite or too often saturated.
        """
        if learn:
            self.trace = None
        drive = self._drive(signal)
        measurement = self.unit.measure(drive, cancel=self.cancel)
        saturated = float(measurement.saturated.mean())
        values = measurement.values.reshape(len(drive), -1)
        self._refuse_bad(drive, values, saturated)
        conditioned = self.conditioner.forward(values, learn)
        if learn:
            self.trace = Trace(drive, values, conditioned, saturated, measurement.passes)
            follow_range(self.unit, measurement)
        return conditioned

    def _refuse_bad(self, drive: Array, values: Array, saturated: float) -> None:
        self.rejected = Trace(drive, values, values, saturated, len(drive))
        check_response(values, saturated, self.config.max_saturated, self.name)
        self.rejected = None

    def _drive(self, signal: Array) -> Array:
        spec = self.unit.spec.drive
        if self._moved:
            signal = signal[:, self.lines]
        return np.asarray(signal * np.float32(spec.span) + np.float32(spec.low))

    def calibrate(self, signal: Array) -> tuple[Array, int]:
        """Find the front end's range and the conditioning from one batch alone; returns (conditioned, passes)."""
        drive = self._drive(signal)
        measurement, passes = find_range(self.unit, drive, self.cancel)
        values = measurement.values.reshape(len(drive), -1)
        self._refuse_bad(drive, values, 0.0)
        self.conditioner.forget()
        return self.conditioner.forward(values, learn=True), passes

    # Learning

    def learn(self, batch: LearnBatch) -> LearnRecord:
        """Improve this unit's own loss on what the last `forward` measured.

        Raises ConfigurationError when nothing has been measured, or for labels that do not fit or are all one class.
        """
        trace = self._measured(batch)
        context = Context(torch.from_numpy(batch.labels), batch.classes, torch.from_numpy(batch.x_gram))
        if self.rule == "pullback" or not self.config.train:
            loss, d_signal = evaluate(self.objective, trace.signal, context)
            return self.apply(batch, loss, d_signal)
        return self._learn_by_perturbation(batch, trace, context)

    def apply(self, batch: LearnBatch, loss: float, d_signal: Array) -> LearnRecord:
        """Take dL/d(conditioned response) of the last measurement to the physical parameters, and program them."""
        trace = self._measured(batch)
        if not self.config.train:
            self.trace = None
            return LearnRecord(batch.batch_id, self.parameter_version, loss, 0, 0, 0, 0)
        if not isinstance(self.unit, PullsBack):
            raise ConfigurationError(f"unit {self.name}: a gradient in the response cannot be pulled back by this unit")
        self.trace = None
        d_value = self.conditioner.backward(trace.values, d_signal)
        return self._update(batch, loss, self.unit.pullback(trace.drive, d_value), self.wear(), passes=0)

    def _learn_by_perturbation(self, batch: LearnBatch, trace: Trace, context: Context) -> LearnRecord:
        """One step of SPSA on the unit's own loss; two passes a sample.

        Both shifted measurements use the same recorded drive, with conditioning frozen.
        """
        self.trace = None
        worn, passes = self.wear(), 0

        def program(wanted: Array) -> Array:
            return self._normalised(self.unit.program(self._physical(wanted), self.usable))

        def measure_loss() -> float:
            nonlocal passes
            measurement = self.unit.measure(trace.drive, cancel=self.cancel)
            passes += measurement.passes
            values = measurement.values.reshape(len(trace.drive), -1)
            self._refuse_bad(trace.drive, values, float(measurement.saturated.mean()))
            return evaluate(self.objective, self.conditioner.forward(values, learn=False), context)[0]

        found = perturb(self.accumulator.held, self.config.perturbation, self._rng, program, measure_loss)
        self.accumulator.held = found.held
        return self._update(batch, found.loss, found.gradient, worn, passes)

    def _measured(self, batch: LearnBatch) -> Trace:
        if self.trace is None:
            raise ConfigurationError(f"unit {self.name}: learn() needs a forward(..., learn=True) first")
        check_labels(batch, len(self.trace.signal), self.name)
        return self.trace

    def _update(
        self, batch: LearnBatch, loss: float, gradient: Array, worn: tuple[int, int], passes: int
    ) -> LearnRecord:
        """One optimiser step on the digital targets, then program what is worth a pulse; `worn`: wear before it."""
        usable = self.usable
        gradient = np.where(usable, gradient, np.float32(0.0))
        change = self._optimiser.step(gradient, batch.learning_rate * self.config.learning_rate_scale)
        if self.config.centring and isinstance(self.unit, Compensates):
            # pairs are the last axis of length 2; their mean carries no signal and drifts to a rail if left alone
            mean = self.accumulator.target.mean(axis=-1, keepdims=True)
            change -= np.float32(self.config.centring) * (mean - np.float32(0.5))
        # a faulty cell's target keeps the share that its partner is to take over
        self.accumulator.add(np.where(usable, change, np.float32(0.0)))
        written = self._write(self.accumulator.due(usable))
        pulses, verify = self.wear()
        return LearnRecord(
            batch.batch_id, self.parameter_version, loss, pulses - worn[0], written, verify - worn[1], passes
        )

    def _write(self, where: Mask) -> int:
        """Program the targets `where`; returns the number of cells written."""
        written = int(np.count_nonzero(where))
        if written:
            held = self.unit.program(self._physical(self.accumulator.target), where)
            self.accumulator.held = self._normalised(held)
            self.parameter_version += 1
        return written

    # Faults

    @property
    def usable(self) -> Mask:
        """Parameters not known to be faulty: only these are pulsed."""
        return np.asarray(self.faults == FaultKind.HEALTHY)

    def scan(self, reads: int) -> ScanResult:
        """Find faulty parameters from measurements and remember them; they are no longer pulsed."""
        result = scan(self.unit, self._physical(self.accumulator.held), self.usable, reads, self.cancel)
        self.faults = np.where(self.usable, result.faults, self.faults)
        held = np.where(self.usable, result.held, result.readings)
        self.accumulator.held = self._normalised(held.astype(np.float32))
        return result

    def compensate(self) -> tuple[int, int, int]:
        """Let healthy partners take over the share of faulty parameters; returns (written, pulses, verify passes)."""
        if not isinstance(self.unit, Compensates):
            return 0, 0, 0
        worn = self.wear()
        wanted, held = self._physical(self.accumulator.target), self._physical(self.accumulator.held)
        self.accumulator.target = self._normalised(self.unit.compensate(wanted, held, ~self.usable))
        written = self._write(self.accumulator.due(self.usable))
        pulses, verify = self.wear()
        return written, pulses - worn[0], verify - worn[1]

    def mend(self, signal: Array) -> tuple[int, int]:
        """Make the most of the healthy cells for `signal` (batch, n_in); returns (cells written, signals moved).

        Signals move to lines that can hold their weights, then all reachable weights are fitted to what the unit did
        before. A unit that does not hold weights lets healthy partners take over.
        """
        unit = self.unit
        if not isinstance(unit, HoldsWeights):
            return self.compensate()[0], 0
        target, held = self._physical(self.accumulator.target), self._physical(self.accumulator.held)
        faulty = ~self.usable
        low, high = unit.reach(held, faulty)
        wanted, drive = unit.weights(target), self._drive(signal)
        order = assign_lines(wanted, low, high, drive.var(axis=0))
        self.lines = self.lines[order]
        self._optimiser.reorder(order)
        weights = fit_weights(wanted[order], low, high, drive[:, order])
        self.accumulator.target = self._normalised(unit.realise(weights, held, faulty))
        moved = int(np.count_nonzero(order != np.arange(len(order))))
        return self._write(self.accumulator.due(self.usable)), moved

    @property
    def _moved(self) -> bool:
        """Whether any line carries another signal than it did at first."""
        return bool((np.diff(self.lines) != 1).any())

    def signal_gradient(self, d_drive: Array) -> Array:
        """dL/d(signal) from dL/d(drive), both (batch, n_in): for peers that carry errors back through a unit."""
        d_signal = np.empty_like(d_drive)
        d_signal[:, self.lines] = d_drive * np.float32(self.unit.spec.drive.span)
        return d_signal

    def wear(self) -> tuple[int, int]:
        """(pulses, verify passes) so far; zeros for a unit that does not count."""
        return wear(self.unit)

    # Between physical and normalised parameters

    def _physical(self, normalised: Array) -> Array:
        return normalised * self._span + self._low

    def _normalised(self, physical: Array) -> Array:
        return ((physical - self._low) / self._span).astype(np.float32)

    def held_parameters(self) -> Array:
        """What the unit is believed to hold, in its own units."""
        return self._physical(self.accumulator.held)

    # Checkpoints

    def snapshot(self) -> dict[str, Any]:
        """Digital state, and the unit's where it is a mock; keys are paths, values arrays, numbers or texts."""
        state: dict[str, Any] = {
            "held": self.accumulator.held.copy(),
            "target": self.accumulator.target.copy(),
            "faults": self.faults.copy(),
            "version": self.parameter_version,
            "lines": self.lines.copy(),
            "rng": json.dumps(self._rng.bit_generator.state, sort_keys=True),
        }
        state |= {f"optimiser/{key}": value for key, value in self._optimiser.snapshot().items()}
        state |= {f"conditioner/{key}": value for key, value in self.conditioner.snapshot().items()}
        if isinstance(self.unit, Snapshots):
            state |= {f"unit/{key}": value for key, value in self.unit.snapshot().items()}
        elif isinstance(self.unit, Ranges):
            state["full_scale"] = self.unit.full_scale()
        return state

    def restore(self, state: dict[str, Any]) -> int:
        """Go back to a snapshot (after `start`); returns the passes it took.

        A unit without snapshots, that is real hardware, has lived on since: its front end is set as it was, and its
        parameters are read again before they are trusted. Raises ConfigurationError for the checkpoint of a unit of
        another shape, KeyError for one that lacks something.
        """

        def part(name: str) -> dict[str, Any]:
            return {key.removeprefix(name): value for key, value in state.items() if key.startswith(name)}

        held, shape = np.array(state["held"], np.float32), self.unit.spec.parameters.shape
        if held.shape != shape:
            raise ConfigurationError(
                f"unit {self.name}: the checkpoint holds parameters of shape {held.shape}, the unit has {shape}; "
                "resume with the protocol of that run"
            )
        self.accumulator.held = held
        self.accumulator.target = np.array(state["target"], np.float32)
        self.faults = np.array(state["faults"], np.int8)
        self.parameter_version = int(state["version"])
        self.lines = np.array(state["lines"], np.int32)
        self._rng.bit_generator.state = json.loads(str(state["rng"]))
        self._optimiser.restore(part("optimiser/"))
        self.conditioner.restore(part("conditioner/"))
        if isinstance(self.unit, Snapshots):
            self.unit.restore(part("unit/"))
            return 0
        if isinstance(self.unit, Ranges):
            self.unit.set_full_scale(float(state["full_scale"]))
        if isinstance(self.unit, ReadsParameters):
            readings, passes = self.unit.read_parameters(cancel=self.cancel)
            self.accumulator.held = self._normalised(readings)
            return passes
        return 0
