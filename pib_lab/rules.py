"""Update rules: how one unit's own loss becomes a gradient in its own parameters. Chosen by what the unit offers.

A rule sees one unit and nothing of another: what was driven and measured, the local loss, and, where it measures again,
the same recorded drive. Rules that measure hold the unit for themselves in the meantime and say what they spent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from pib_lab.capabilities import CoherentPhases, Digital, PullsBack, ShiftsSamples
from pib_lab.conditioning import Conditioner
from pib_lab.errors import ConfigurationError
from pib_lab.lessons import LearnerConfig, RuleName, Trace
from pib_lab.modes import Modes, Sweep
from pib_lab.objectives import Context, Objective, evaluate
from pib_lab.parameters import Parameters
from pib_lab.perturbation import perturb
from pib_lab.quantities import Array, Counts
from pib_lab.ridge import ridge
from pib_lab.unit import Measurement, PhysicalUnit


@dataclass(frozen=True)
class Found:
    """loss: the unit's own; gradient: dL/d(parameters) but for a constant factor; passes: beyond the forward pass."""

    loss: float
    gradient: Array
    passes: int = 0


class Measure(Protocol):
    """From drive (batch, n_in) to values (batch, n_out); refuses bad responses."""

    def __call__(self, drive: Array, shift: Array | None = None) -> tuple[Array, Measurement]:
        """`shift`: of the parameters, for each sample by itself, where the unit offers it."""


@dataclass(frozen=True)
class Own:
    """All that a rule may work with, of one unit."""

    unit: PhysicalUnit
    objective: Objective
    conditioner: Conditioner
    parameters: Parameters
    rng: np.random.Generator
    config: LearnerConfig
    measure: Measure


class Rule(Protocol):
    """`settings`: of the parameters, measured in a step besides the one learned from; with 0 it is arithmetic only."""

    name: RuleName
    settings: int

    def find(self, trace: Trace, context: Context) -> Found:
        """The gradient of the unit's own loss at what was measured. Raises what the unit raises."""

    def snapshot(self) -> dict[str, np.ndarray | int]:
        """What a bit-identical resume needs besides the learner's own state."""

    def restore(self, state: dict[str, np.ndarray | int]) -> None:
        """Go back to a snapshot."""


def pull_back(unit: PhysicalUnit, conditioner: Conditioner, trace: Trace, d_signal: Array) -> Array:
    """dL/d(parameters) from dL/d(signal), exactly. Raises ConfigurationError for a unit that does not offer it."""
    if not isinstance(unit, PullsBack):
        raise ConfigurationError(
            f"unit {unit.spec.name}: a gradient in the response cannot be pulled back by this unit; choose rule spsa"
        )
    return unit.pullback(trace.drive, conditioner.backward(trace.values, d_signal))


class _Stateless:
    def snapshot(self) -> dict[str, np.ndarray | int]:
        return {}

    def restore(self, state: dict[str, np.ndarray | int]) -> None:
        pass


class PullBack(_Stateless):
    """The exact gradient, from what was measured in the forward pass alone.

    With `config.ridge`, that of loss + config.ridge R of `pib_lab.ridge`; the loss that is told is the objective's.
    """

    name: RuleName = "pullback"
    settings = 0

    def __init__(self, own: Own):
        self._own = own

    def find(self, trace: Trace, context: Context) -> Found:
        """Arithmetic only: the unit may measure meanwhile."""
        own = self._own
        loss, d_signal = evaluate(own.objective, trace.signal, context)
        gradient = pull_back(own.unit, own.conditioner, trace, d_signal)
        if own.config.ridge:
            penalty = ridge(own.parameters.believed(), trace.drive, trace.values)[1]
            gradient = gradient + np.float32(own.config.ridge) * penalty
        return Found(loss, gradient)


class Spsa(_Stateless):
    """Simultaneous perturbation on the unit's own loss; conditioning is frozen meanwhile. Two passes a sample and pair.

    Raises ConfigurationError for periodic parameters that would be moved by a quarter of their period or more.
    """

    name: RuleName = "spsa"

    def __init__(self, own: Own):
        self._own = own
        self.settings = settings_of(own.config, own.unit)
        if own.parameters.accumulator.periodic and own.config.perturbation >= 0.25:
            raise ConfigurationError(
                f"unit {own.unit.spec.name}: rule.perturbation = {own.config.perturbation:g} of the period of its "
                "parameters: the sides would be told apart the wrong way round; choose less than 0.25"
            )

    def find(self, trace: Trace, context: Context) -> Found:
        """The loss is the mean of both sides, and the gradient is in normalised parameters."""
        own, passes = self._own, 0
        parameters, accumulator = own.parameters, own.parameters.accumulator

        def measure_loss() -> float:
            nonlocal passes
            values, measurement = own.measure(trace.drive)
            passes += measurement.passes
            return evaluate(own.objective, own.conditioner.forward(values, learn=False), context)[0]

        config = own.config
        found = perturb(
            accumulator.held,
            config.perturbation,
            own.rng,
            parameters.program,
            measure_loss,
            pairs=config.pairs,
            block=config.block,
            periodic=accumulator.periodic,
        )
        accumulator.held = found.held
        return Found(found.loss, found.gradient, passes)


class Shift:
    """Parameter shift: slopes of the responses along patterns, measured; chained with dL/d(response) of the own loss.

    gradient = (size of the basis / modes) sum_m m (dL/dt_m) / |m|^2 with dL/dt_m = sum over samples of dL/dz dz/dt_m:
    over a whole sweep the gradient itself (of blocks: its mean over each). Two passes a sample and mode; with
    `config.samples`, of so many random samples of the batch only, which stand for all.
    Scattered, each sample is shifted along patterns of its own, from a random one on: dL/dt_m of one pattern is then of
    few samples, but all samples together see all patterns, and the expectation is the same gradient.
    Raises ConfigurationError where the phases cannot be shifted, or are not set finely enough for the shifts.
    """

    name: RuleName = "shift"

    def __init__(self, own: Own):
        spec = own.unit.spec.parameters
        assert isinstance(own.unit, CoherentPhases)
        self._own, self._period = own, own.unit.phase_period()
        self._modes = Modes(spec.shape, own.config.basis, own.config.block)
        self._sweep = Sweep(self._modes.size)
        self.settings = settings_of(own.config, own.unit)
        self._offered = isinstance(own.unit, ShiftsSamples)
        self._scatter = self._offered if own.config.scatter is None else own.config.scatter
        if self._scatter and not self._offered:
            raise ConfigurationError(
                f"unit {own.unit.spec.name}: rule.scatter needs a unit that shifts each sample by itself; "
                "leave scatter out"
            )
        steps = self._period * self._modes.shift / spec.resolution if spec.resolution else 0.0
        if not (spec.periodic or self._offered) or abs(steps - round(steps)) > 1e-3:
            raise ConfigurationError(
                f"unit {own.unit.spec.name}: rule shift needs periodic phases that can be shifted by "
                f"{self._modes.shift:g} of their period exactly; choose rule spsa"
            )

    def find(self, trace: Trace, context: Context) -> Found:
        """A unit that has to be programmed is left at the last shift, which its parameters know; programming what is
        due brings it back."""
        own, modes = self._own, self._modes
        loss, d_signal = evaluate(own.objective, trace.signal, context)
        d_value = own.conditioner.backward(trace.values, d_signal)
        drive, wanted = trace.drive, samples_of(own.config, own.unit, len(d_value))
        if wanted < len(d_value):
            chosen = own.rng.choice(len(d_value), wanted, replace=False)
            drive, d_value = drive[chosen], d_value[chosen] * np.float32(len(d_value) / wanted)
        centre, passes = own.parameters.accumulator.held, 0
        gradient, numbers = np.zeros(centre.shape, np.float64), self._numbers(len(drive))
        for row in numbers:
            patterns = modes.patterns(row)
            difference, spent = self._measure(drive, centre, patterns)
            passes += spent
            slopes = np.sum(d_value * difference, axis=1, dtype=np.float64).reshape(len(row), -1).sum(axis=1)
            flat = patterns.reshape(len(row), -1)
            gradient += (slopes / np.square(flat).sum(axis=1) @ flat).reshape(centre.shape)
        gradient *= modes.slope * modes.size / len(numbers)
        return Found(loss, gradient.astype(np.float32), passes)

    def _numbers(self, batch: int) -> Counts:
        """The patterns of this step: (modes, 1) for all samples together, or (modes, batch) of each its own."""
        count = self.settings // 2
        if not self._scatter:
            return np.array(self._sweep.take(count, self._own.rng), np.int32)[:, None]
        first = self._own.rng.integers(self._modes.size, size=batch, dtype=np.int32)
        return (first + np.arange(count, dtype=np.int32)[:, None]) % np.int32(self._modes.size)

    def _measure(self, drive: Array, centre: Array, patterns: Array) -> tuple[Array, int]:
        """Values (batch, n_out) shifted up less those shifted down, and the passes that it took."""
        own, step = self._own, self._modes.shift * self._period
        if self._offered:
            shift = np.float32(step) * np.broadcast_to(patterns, (len(drive), *centre.shape))
            # a sample's two sides follow each other at once, so what drifts meanwhile is the same in both
            sides = np.stack((shift, -shift), axis=1).reshape(-1, *centre.shape)
            values, measurement = own.measure(drive.repeat(2, axis=0), sides)
            return values[0::2] - values[1::2], measurement.passes
        passes, both = 0, []
        for way in (step, -step):
            shifted = centre + np.float32(way / own.unit.spec.parameters.span) * patterns[0]
            own.parameters.accumulator.held = own.parameters.program(shifted - np.floor(shifted))
            values, measurement = own.measure(drive)
            both.append(values)
            passes += measurement.passes
        return both[0] - both[1], passes

    def snapshot(self) -> dict[str, np.ndarray | int]:
        """Where the sweep stands."""
        return self._sweep.snapshot()

    def restore(self, state: dict[str, np.ndarray | int]) -> None:
        """Go back to a snapshot."""
        self._sweep.restore(state)


def rule_name(config: LearnerConfig, unit: PhysicalUnit) -> RuleName:
    """The rule that `config` asks for; "auto": the pull-back where it is offered, else the shift, else perturbation.

    Raises ConfigurationError for one that the unit does not offer.
    """
    offered: dict[RuleName, bool] = {
        "pullback": isinstance(unit, PullsBack),
        "shift": isinstance(unit, CoherentPhases),
        "spsa": True,
    }
    if config.rule == "auto":
        return next(name for name, offers in offered.items() if offers)
    if not offered[config.rule]:
        raise ConfigurationError(
            f"unit {unit.spec.name}: rule {config.rule} needs a unit that offers it; choose rule spsa"
        )
    return config.rule


def settings_of(config: LearnerConfig, unit: PhysicalUnit) -> int:
    """Settings of the parameters that the rule measures in a step besides the one learned from: 0 for the pull-back."""
    name = rule_name(config, unit)
    if name == "shift":
        return 2 * min(config.modes, Modes(unit.spec.parameters.shape, config.basis, config.block).size)
    return 2 * config.pairs if name == "spsa" else 0


def writes_of(config: LearnerConfig, unit: PhysicalUnit) -> int:
    """Programmings of the unit that the rule needs in a step to measure at its settings."""
    shifts_itself = isinstance(unit, ShiftsSamples) and rule_name(config, unit) == "shift"
    return 0 if shifts_itself else settings_of(config, unit)


def samples_of(config: LearnerConfig, unit: PhysicalUnit, batch: int) -> int:
    """Samples of a batch that the rule measures at each of its settings."""
    return min(config.samples or batch, batch) if rule_name(config, unit) == "shift" else batch


def make_rule(own: Own) -> Rule:
    """The rule of one unit. Raises ConfigurationError for one that it does not offer, or that does not fit it."""
    kinds: dict[RuleName, Callable[[Own], Rule]] = {"pullback": PullBack, "shift": Shift, "spsa": Spsa}
    name = rule_name(own.config, own.unit)
    if own.config.ridge and not (name == "pullback" and isinstance(own.unit, Digital)):
        raise ConfigurationError(
            f"unit {own.unit.spec.name}: rule.ridge is for digital weights that learn by rule pullback; "
            "set it under [units.rule] of such units alone"
        )
    return kinds[name](own)
