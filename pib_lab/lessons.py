"""What goes into a learner and what comes out of it: plain records that can cross a process's border, and what is
refused of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from pib_lab.errors import ConfigurationError, ResponseError
from pib_lab.experiment import Experiment, Unit
from pib_lab.quantities import Array, Labels, Mask

RuleName = Literal["pullback", "shift", "spsa"]


@dataclass(frozen=True)
class LearnBatch:
    """What reaches a learner besides its own drive: targets and the Gram matrix of the network's input. No errors."""

    batch_id: int
    labels: Labels
    classes: int
    x_gram: Array
    learning_rate: float


@dataclass(frozen=True)
class Trace:
    """What was measured in a learner's last forward pass, kept until it has learned from it.

    drive (batch, n_in) and values (batch, n_out) in the unit's own units; signal: the conditioned values; version: of
    the parameters that were measured.
    """

    drive: Array
    values: Array
    signal: Array
    saturated: float
    passes: int
    version: int


@dataclass(frozen=True)
class Change:
    """What a batch asks of one unit: `due` (shape of the parameters) is where its targets are to be programmed.

    passes: spent on finding it, beyond the forward pass.
    """

    batch_id: int
    measured_version: int
    loss: float
    due: Mask
    passes: int = 0


@dataclass(frozen=True)
class LearnRecord:
    """What one learning step did. `passes` were spent by the update rule beyond the forward pass.

    parameter_version: after the step; measured_version: of the parameters that the batch was measured with.
    """

    batch_id: int
    parameter_version: int
    loss: float
    pulses: int
    cells_written: int
    verify_passes: int
    passes: int
    measured_version: int


@dataclass(frozen=True)
class LearnerConfig:
    """How one unit learns; numbers as in the protocol's [conditioning] and [rule]."""

    rectify: bool
    range: Literal["column", "unit"] = "column"
    headroom: float = 3.0
    conditioning_momentum: float = 0.05
    rule: Literal["auto", "pullback", "shift", "spsa"] = "auto"
    optimiser: Literal["adam", "momentum"] = "adam"
    momentum: float = 0.9
    second_momentum: float = 0.99
    deadband: float = 1.0
    centring: float = 0.0
    ridge: float = 0.0
    init_scale: float = 0.15
    learning_rate_scale: float = 1.0
    perturbation: float = 0.05
    pairs: int = 1
    block: int = 1
    basis: Literal["pixel", "block", "hadamard"] = "pixel"
    modes: int = 16
    samples: int = 0
    scatter: bool | None = None
    train: bool = True
    max_saturated: float = 0.25


def learner_config(experiment: Experiment, wanted: Unit) -> LearnerConfig:
    """How `wanted` learns: its own [units.rule] and [units.conditioning] before those of the whole protocol."""
    rule, conditioning = experiment.rule_of(wanted), experiment.conditioning_of(wanted)
    hidden = wanted.name != experiment.units[-1].name
    # the schedule's rate is the protocol's, so a unit's own is told as its ratio
    rate_scale = wanted.learning_rate_scale * (rule.learning_rate / experiment.rule.learning_rate)
    return LearnerConfig(
        rectify=wanted.rectify if wanted.rectify is not None else hidden,
        range=conditioning.range,
        headroom=conditioning.headroom,
        conditioning_momentum=conditioning.momentum,
        rule=rule.name,
        optimiser=rule.optimiser,
        momentum=rule.momentum,
        second_momentum=rule.second_momentum,
        deadband=rule.deadband,
        centring=rule.centring,
        ridge=rule.ridge,
        perturbation=rule.perturbation,
        pairs=rule.pairs,
        block=rule.block,
        basis=rule.basis,
        modes=rule.modes,
        samples=rule.samples,
        scatter=rule.scatter,
        init_scale=wanted.init_scale,
        learning_rate_scale=rate_scale,
        train=wanted.train,
        max_saturated=experiment.limits.saturated,
    )


def check_labels(batch: LearnBatch, samples: int, name: str) -> None:
    """Raise ConfigurationError unless the labels fit `samples` measured ones and hold at least two classes."""
    labels = batch.labels
    if len(labels) != samples:
        raise ConfigurationError(f"unit {name}: {len(labels)} labels for {samples} measured samples")
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < batch.classes:
        raise ConfigurationError(
            f"unit {name}: labels from {labels.min()} to {labels.max()} for {batch.classes} classes; "
            "classes are counted from 0"
        )
    if len(labels) < 2 or (labels == labels[0]).all():
        raise ConfigurationError(
            f"unit {name}: a batch of {len(labels)} samples of a single class teaches nothing; "
            "use a larger batch or shuffle the data"
        )


def check_response(values: Array, saturated: float, max_saturated: float, name: str) -> None:
    """Raise ResponseError for a response that is not finite, or of which too large a fraction is `saturated`."""
    if not np.isfinite(values).all():
        bad = int((~np.isfinite(values)).sum())
        raise ResponseError(
            f"unit {name}: {bad} of {values.size} measured responses are not finite numbers; "
            "check the link and the instrument's range, then resume the run"
        )
    if saturated > max_saturated:
        raise ResponseError(
            f"unit {name}: {saturated:.1%} of the readings are saturated (limit {max_saturated:.1%}, "
            "limits.saturated); lower the drive or choose a wider range"
        )
