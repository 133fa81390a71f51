"""Update rules are chosen by what a unit offers, for each unit by its own tables; periodic parameters go round."""

from __future__ import annotations

import numpy as np
import pytest
import tomlkit
from coherent_bench import BlackLight, Light, ScatteredLight, light_learner
from hypothesis import given, settings
from hypothesis import strategies as st
from learning_bench import Wrapped, batch_of, crossbar, learner, task, teach

from pib_lab.blocks import blocks_of
from pib_lab.errors import ConfigurationError
from pib_lab.experiment import parse_experiment
from pib_lab.lessons import LearnerConfig, learner_config
from pib_lab.overrides import apply_overrides
from pib_lab.perturbation import perturb
from pib_lab.quantities import Array
from pib_lab.rules import rule_name, samples_of, settings_of, writes_of
from pib_lab.unit import PhysicalUnit
from pib_lab.updates import Accumulator

PROTOCOL = """
name = "two"
[dataset]
name = "digits"
[hardware.chip]
driver = "mock-memristor-chip"
[[units]]
name = "hidden"
inputs = 64
outputs = 32
objective = "ridge-entropy"
[units.rule]
name = "spsa"
learning_rate = 0.05
pairs = 3
[units.conditioning]
headroom = 2.0
[[units]]
name = "read-out"
inputs = 32
outputs = 10
objective = "cross-entropy"
[rule]
learning_rate = 0.02
deadband = 0.5
[schedule]
epochs = 1
batch = 32
"""


def config(**changes: object) -> LearnerConfig:
    return LearnerConfig(rectify=True, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("unit", "name"),
    [(crossbar(), "pullback"), (Light(), "shift"), (Wrapped(crossbar()), "spsa"), (BlackLight(), "spsa")],
    ids=["crossbar", "coherent", "black box", "black light"],
)
def test_auto_takes_the_best_that_a_unit_offers(unit: PhysicalUnit, name: str) -> None:
    """The exact pull-back before the parameter shift, and that before perturbation."""
    assert rule_name(config(), unit) == name


def test_a_rule_that_is_not_offered_is_refused() -> None:
    """A crossbar has no coherent phases, light no pull-back; the way out is named."""
    for unit, rule in ((crossbar(), "shift"), (Light(), "pullback")):
        with pytest.raises(ConfigurationError, match=f"rule {rule} needs a unit that offers it; choose rule spsa"):
            learner(unit, rule=rule)


@pytest.mark.parametrize("kind", [Light, ScatteredLight])
@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"rule": "spsa", "pairs": 3}, (6, 96)),
        ({"rule": "shift", "modes": 5, "samples": 10}, (10, 10)),
        ({"rule": "shift", "modes": 1000, "samples": 1000}, (32, 96)),
        ({"rule": "shift", "basis": "block", "block": 2}, (8, 96)),
        ({"rule": "shift", "basis": "hadamard", "modes": 1000}, (30, 96)),
    ],
)
def test_what_a_rule_costs_is_known_beforehand(
    kind: type[Light], changes: dict[str, object], expected: tuple[int, int]
) -> None:
    """Settings and samples foretold are the passes that a step then takes."""
    unit = kind()
    assert (settings_of(config(**changes), unit), samples_of(config(**changes), unit, 96)) == expected
    made, split = light_learner(unit, **changes), task()
    made.forward(split.x, learn=True)
    before = len(unit.asked)
    assert made.learn(batch_of(split)).passes == expected[0] * expected[1]
    assert len(unit.asked) - before <= 1 + writes_of(config(**changes), unit)


def test_samples_shifted_by_themselves_need_no_write() -> None:
    """By shifts such a unit is only programmed with the update; by perturbation both sides are programmed."""
    assert writes_of(config(rule="shift", modes=3), ScatteredLight()) == 0
    assert writes_of(config(rule="spsa"), ScatteredLight()) == 2
    assert writes_of(config(rule="shift", modes=3), Light()) == 6


def test_perturbation_learns_periodic_parameters() -> None:
    """Several pairs, in blocks: the loss of light that says nothing of itself falls, with sides beyond both ends."""
    unit = BlackLight((8, 2))
    made = light_learner(unit, perturbation=0.05, pairs=4, block=2)
    made.parameters.accumulator.held[...] = 0.01
    losses = teach(made, 60)
    assert np.mean(losses[-10:]) < np.mean(losses[:3]) - 0.1
    assert np.min(unit.asked) >= 0.0
    assert np.max(unit.asked) > 0.9 * unit.spec.parameters.high


def test_periodic_sides_go_round() -> None:
    """At 0, one side of a perturbation is just below 1, and the gradient is of the short way between them."""
    asked: list[Array] = []

    def program(wanted: Array) -> Array:
        asked.append(wanted)
        return wanted

    def loss() -> float:
        return float(np.sin(2 * np.pi * asked[-1]).sum())

    centre = np.zeros(1, np.float32)
    found = perturb(centre, 0.05, np.random.default_rng(0), program, loss, periodic=True)
    assert sorted(float(side[0]) for side in asked) == pytest.approx([0.05, 0.95])
    assert float(found.gradient[0]) == pytest.approx(2 * np.sin(0.1 * np.pi) / 0.1, rel=1e-4)


def test_too_large_a_perturbation_of_a_period_is_refused() -> None:
    """Sides half a period apart have no short way between them."""
    with pytest.raises(ConfigurationError, match=r"less than 0\.25"):
        light_learner(BlackLight(), perturbation=0.25)


def test_more_pairs_scatter_less() -> None:
    """The mean of 8 pairs has about an eighth of the variance of one, and costs 16 measurements."""
    slope = np.linspace(-1.0, 1.0, 12).astype(np.float32)

    def variance(pairs: int) -> tuple[float, int]:
        held, rng, measured = [np.zeros(12, np.float32)], np.random.default_rng(3), 0

        def program(wanted: Array) -> Array:
            held.append(wanted)
            return wanted

        def loss() -> float:
            nonlocal measured
            measured += 1
            return float(slope @ held[-1])

        centre = np.full(12, 0.5, np.float32)
        found = [perturb(centre, 0.05, rng, program, loss, pairs=pairs).gradient for _ in range(200)]
        return float(np.mean(np.var(found, axis=0))), measured // 200

    (one, two), (eight, sixteen) = variance(1), variance(8)
    assert (two, sixteen) == (2, 16)
    assert 0.08 < eight / one < 0.18


@given(st.lists(st.integers(1, 4), min_size=1, max_size=3), st.integers(1, 3))
@settings(max_examples=30, deadline=None)
def test_blocks_are_neighbours(shape: list[int], size: int) -> None:
    """Two parameters share a block when both of their first places fall into one square and all others agree."""
    index = blocks_of(tuple(shape), size)
    assert sorted(set(index.ravel().tolist())) == list(range(int(index.max()) + 1))
    for a in np.ndindex(*shape):
        for b in np.ndindex(*shape):
            same = all(x // size == y // size for x, y in zip(a[:2], b[:2], strict=True)) and a[2:] == b[2:]
            assert (index[a] == index[b]) == same


def test_periodic_targets_go_round_and_distances_are_short() -> None:
    """From 0.95 up by 0.1 is 0.05; from there to a unit that holds 0.98 it is 0.07, not 0.93."""
    accumulator = Accumulator(np.array([0.95], np.float32), 0.08, periodic=True)
    accumulator.add(np.array([0.1], np.float32))
    assert float(accumulator.target[0]) == pytest.approx(0.05, abs=1e-6)
    accumulator.held = np.array([0.98], np.float32)
    assert not accumulator.due(np.array([True]))[0]
    accumulator.held = np.array([0.96], np.float32)
    assert accumulator.due(np.array([True]))[0]


def test_a_unit_may_learn_by_a_rule_of_its_own() -> None:
    """Keys of [units.rule] and [units.conditioning] hold for that unit; all others are the protocol's."""
    experiment = parse_experiment(PROTOCOL)
    hidden, read_out = (learner_config(experiment, unit) for unit in experiment.units)
    assert (hidden.rule, hidden.pairs, hidden.deadband, hidden.headroom) == ("spsa", 3, 0.5, 2.0)
    assert hidden.learning_rate_scale == pytest.approx(0.05 / 0.02)
    assert (read_out.rule, read_out.pairs, read_out.deadband, read_out.headroom) == ("auto", 1, 0.5, 3.0)
    assert read_out.learning_rate_scale == 1.0
    assert (hidden.rectify, read_out.rectify) == (True, False)


def test_a_units_own_rule_survives_being_written_out() -> None:
    """A protocol from a model falls back on the same keys as the text that the model came from."""
    experiment = parse_experiment(PROTOCOL)
    again = parse_experiment(tomlkit.dumps(experiment.model_dump(mode="json", exclude_none=True)))
    for unit, same in zip(experiment.units, again.units, strict=True):
        assert learner_config(experiment, unit) == learner_config(again, same)


def test_a_units_own_rule_can_be_overridden() -> None:
    """--set units.read-out.rule.name=spsa makes the table where there is none."""
    experiment = parse_experiment(apply_overrides(PROTOCOL, ["units.read-out.rule.name=spsa"]))
    assert learner_config(experiment, experiment.units[1]).rule == "spsa"


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("units.0.rule.pair=3", r"units\.0\.rule\.pair: unknown key; did you mean 'pairs'"),
        ("units.0.conditioning.headrom=3", r"units\.0\.conditioning\.headrom: unknown key; did you mean 'headroom'"),
        ("units.0.rule.basis=pixels", r"units\.0\.rule\.basis: 'pixels' is none of pixel, block, hadamard"),
        ("units.0.rule.modes=0", r"units\.0\.rule\.modes: "),
    ],
)
def test_mistakes_in_a_units_own_tables_are_named(key: str, message: str) -> None:
    """With the key's path and the nearest right name, as in the protocol's own tables."""
    with pytest.raises(ConfigurationError, match=message):
        parse_experiment(apply_overrides(PROTOCOL, [key]))
