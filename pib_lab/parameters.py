"""The parameters of one unit: what it is believed to hold, what it should hold, and which no longer respond."""

from __future__ import annotations

import numpy as np

from pib_lab.capabilities import Compensates, Digital, Initialises
from pib_lab.fault_kinds import FaultKind
from pib_lab.lessons import LearnerConfig
from pib_lab.quantities import Array, Codes, Mask
from pib_lab.unit import PhysicalUnit
from pib_lab.updates import Accumulator, make_optimiser


class Parameters:
    """Follows gradients with digital targets, and programs the unit where a change is worth a pulse.

    Targets are normalised: 0 is the low limit of the physical parameter, 1 the high one. `faults` are FaultKind codes,
    shape of the parameters; `version` counts the programmings since the start.
    """

    def __init__(self, unit: PhysicalUnit, config: LearnerConfig):
        self._unit, self._config = unit, config
        spec = unit.spec.parameters
        self._low, self._span = np.float32(spec.low), np.float32(spec.span)
        self.faults: Codes = np.full(spec.shape, FaultKind.HEALTHY, np.int8)
        self.cells = 0 if isinstance(unit, Digital) else self.faults.size
        """How many of the parameters are physical: all, or none of a digital unit."""
        self.version = 0
        middle = np.full(spec.shape, 0.5, np.float32)
        self.accumulator = Accumulator(middle, config.deadband * (spec.resolution / spec.span), spec.periodic)
        self.optimiser = make_optimiser(config.optimiser, spec.shape, config.momentum, config.second_momentum)

    @property
    def usable(self) -> Mask:
        """Parameters not known to be faulty: only these are pulsed."""
        return np.asarray(self.faults == FaultKind.HEALTHY)

    def physical(self, normalised: Array) -> Array:
        """From 0..1 to the unit's own units."""
        return normalised * self._span + self._low

    def normalised(self, physical: Array) -> Array:
        """From the unit's own units to 0..1."""
        return ((physical - self._low) / self._span).astype(np.float32)

    def believed(self) -> Array:
        """What the unit is believed to hold, in its own units."""
        return self.physical(self.accumulator.held)

    def start(self, rng: np.random.Generator) -> None:
        """Program initial parameters, by the unit's own lights where it has them. The unit must be open."""
        if isinstance(self._unit, Initialises):
            initial = self._unit.initial_parameters(rng, self._config.init_scale)
        else:
            spread = rng.normal(0.5, self._config.init_scale, self.faults.shape)
            spread = np.mod(spread, 1.0) if self.accumulator.periodic else np.clip(spread, 0.0, 1.0)
            initial = self.physical(spread.astype(np.float32))
        self.accumulator.target = self.normalised(initial)
        self.accumulator.held = self.normalised(self._unit.program(initial))

    def program(self, wanted: Array) -> Array:
        """Program usable parameters to normalised values, for a rule to measure; returns what the unit then holds."""
        return self.normalised(self._unit.program(self.physical(wanted), self.usable))

    def follow(self, gradient: Array, learning_rate: float) -> Mask:
        """One optimiser step on the digital targets; returns where programming is now due. Arithmetic only."""
        usable = self.usable
        gradient = np.where(usable, gradient, np.float32(0.0))
        change = self.optimiser.step(gradient, learning_rate * self._config.learning_rate_scale)
        if self._config.centring and isinstance(self._unit, Compensates):
            # pairs are the last axis of length 2; their mean carries no signal and drifts to a rail if left alone
            mean = self.accumulator.target.mean(axis=-1, keepdims=True)
            change -= np.float32(self._config.centring) * (mean - np.float32(0.5))
        # a faulty cell's target keeps the share that its partner is to take over
        self.accumulator.add(np.where(usable, change, np.float32(0.0)))
        return self.accumulator.due(usable)

    def write(self, where: Mask) -> int:
        """Program the targets `where`; returns how many physical parameters it wrote. Raises what the unit raises."""
        written = int(np.count_nonzero(where))
        if written:
            held = self._unit.program(self.physical(self.accumulator.target), where)
            self.accumulator.held = self.normalised(held)
            self.version += 1
        return written if self.cells else 0
