"""One learner on one small crossbar: it lowers its own loss from what was measured, and nothing else."""

from __future__ import annotations

import inspect
from dataclasses import replace

import numpy as np
import pytest
from learning_bench import Linear, Wrapped, batch_of, crossbar, learner, task, teach

from drivers.template import EchoDevice
from pib_lab.capabilities import CountsWear, PullsBack, Ranges
from pib_lab.checkpoints import restore_learner, snapshot_learner
from pib_lab.clocks import VirtualClock
from pib_lab.device import DeviceContext, UnitRequest
from pib_lab.errors import ConfigurationError, ResponseError
from pib_lab.learner import LocalLearner
from pib_lab.lessons import LearnBatch, LearnerConfig
from pib_lab.objectives import ConditionalEntropy, CrossEntropy, Objective, RenyiBottleneck
from pib_lab.quantities import Array
from pib_lab.repair import find_faults
from pib_lab.unit import Measurement, PhysicalUnit


def echo(inputs: int = 16, outputs: int = 8) -> PhysicalUnit:
    unit = EchoDevice({}, DeviceContext("bench", 1, VirtualClock())).unit(UnitRequest("echo", inputs, outputs))
    unit.open()
    return unit


@pytest.mark.parametrize(
    ("objective", "rectify"),
    [(ConditionalEntropy(), True), (RenyiBottleneck(), True), (CrossEntropy(), False)],
    ids=["conditional-entropy", "renyi", "cross-entropy"],
)
@pytest.mark.parametrize("optimiser", ["adam", "momentum"])
def test_learning_lowers_the_local_loss(objective: Objective, rectify: bool, optimiser: str) -> None:
    """Thirty steps on a crossbar lower each loss by more than a tenth of a bit."""
    losses = teach(learner(crossbar(16, 4), objective, rectify=rectify, optimiser=optimiser), 30)
    assert np.mean(losses[-3:]) < losses[0] - 0.1


def test_learning_works_through_all_the_physics() -> None:
    """The same on chip B: spread, noise, wires, stuck cells, 8-bit converters."""
    losses = teach(learner(crossbar(16, 8, "chip-b")), 30)
    assert np.mean(losses[-5:]) < np.mean(losses[:2]) - 0.1


def test_a_unit_without_pullback_learns_by_perturbation() -> None:
    """SPSA lowers the loss of a black box, for two more passes a sample."""
    made = learner(Wrapped(crossbar(16, 8)), perturbation=0.05)
    assert not isinstance(made.unit, PullsBack)
    assert made.rule.name == "spsa"
    losses = teach(made, 60)
    assert np.mean(losses[-10:]) < np.mean(losses[:3]) - 0.05


def test_the_template_driver_learns_by_either_rule() -> None:
    """A unit with one parameter a weight learns by its pull-back and by perturbation."""
    for rule, steps in (("auto", 20), ("spsa", 60)):
        losses = teach(learner(echo(), rule=rule), steps)
        assert np.mean(losses[-5:]) < losses[0] - 0.05, rule


def test_perturbation_reports_all_it_spent() -> None:
    """Passes are two a sample; pulses and verify passes include the two shifts."""
    unit = crossbar(16, 8)
    made, split = learner(unit, rule="spsa"), task()
    before = made.wear()
    made.forward(split.x, learn=True)
    record = made.learn(batch_of(split))
    after = made.wear()
    assert record.passes == 2 * len(split.x)
    assert (record.pulses, record.verify_passes) == (after[0] - before[0], after[1] - before[1])
    assert record.pulses > 2 * unit.spec.parameters.size * 0.9


def test_one_pass_a_sample_and_update() -> None:
    """A step by pull-back measures every sample once, and learning itself measures nothing."""
    unit = Linear(crossbar())
    made, split = learner(unit), task()
    unit.measured = 0
    for step in range(3):
        made.forward(split.x, learn=True)
        assert made.trace is not None
        assert made.trace.passes == len(split.x)
        assert made.learn(batch_of(split, step)).passes == 0
    assert unit.measured == 3


def test_nothing_but_targets_and_the_input_gram_reaches_a_learner() -> None:
    """The batch holds no signal of another unit: its fields are all there is to learn from besides the measurement."""
    assert set(inspect.signature(LearnBatch).parameters) == {"batch_id", "labels", "classes", "x_gram", "learning_rate"}


def test_learning_needs_a_measurement() -> None:
    """learn() without forward, twice after one forward, or after an evaluation only, is refused."""
    made, split = learner(crossbar()), task()
    with pytest.raises(ConfigurationError, match="forward"):
        made.learn(batch_of(split))
    made.forward(split.x, learn=False)
    with pytest.raises(ConfigurationError, match="forward"):
        made.learn(batch_of(split))
    made.forward(split.x, learn=True)
    made.learn(batch_of(split))
    with pytest.raises(ConfigurationError, match="forward"):
        made.learn(batch_of(split))


def test_labels_must_fit_the_measurement() -> None:
    """Labels of another batch are refused."""
    made, split = learner(crossbar()), task()
    made.forward(split.x, learn=True)
    with pytest.raises(ConfigurationError, match="10 labels for 96"):
        made.learn(replace(batch_of(split), labels=split.y[:10]))


def test_known_bad_cells_get_no_more_pulses() -> None:
    """After a scan, training pulses healthy cells only."""
    unit = crossbar()
    made = learner(unit)
    unit.inject_faults("mixed", 0.3, "none", 7)
    find_faults(made, reads=1)
    bad = ~made.parameters.usable
    before = unit.pulses()
    teach(made, 10)
    spent = unit.pulses() - before
    assert bad.any()
    assert not spent[bad].any()
    assert spent[~bad].any()


def test_training_does_not_move_what_a_bad_cell_was_meant_to_be() -> None:
    """The target of a bad cell stays, so that a later scan compensates for the right difference."""
    made = learner(crossbar(), centring=0.1)
    teach(made, 5)
    made.unit.inject_faults("mixed", 0.3, "none", 7)
    find_faults(made, reads=1)
    target, bad = made.parameters.accumulator.target.copy(), ~made.parameters.usable
    teach(made, 5)
    np.testing.assert_array_equal(made.parameters.accumulator.target[bad], target[bad])
    assert (made.parameters.accumulator.target != target)[~bad].any()


def test_small_updates_add_up() -> None:
    """At a rate far below one programming step nothing is written at first, yet the target moves."""
    made, split = learner(crossbar(levels=16)), task()
    start = made.parameters.accumulator.target.copy()
    written = []
    for step in range(30):
        made.forward(split.x, learn=True)
        written.append(made.learn(batch_of(split, step, rate=0.004)).cells_written)
    assert written[0] == 0
    assert not np.array_equal(made.parameters.accumulator.target, start)
    assert sum(written) > 0


def test_a_frozen_unit_measures_but_is_never_programmed() -> None:
    """train = false: the loss is reported, no pulse is spent, whatever the rule."""
    for unit, rule in ((crossbar(), "auto"), (crossbar(), "spsa"), (Wrapped(crossbar()), "auto")):
        made, split = learner(unit, rule=rule, train=False), task()
        inner = unit.unit if isinstance(unit, Wrapped) else unit
        before = inner.pulses().sum()
        made.forward(split.x, learn=True)
        record = made.learn(batch_of(split))
        assert record.loss > 0.0
        assert inner.pulses().sum() == before


def test_the_front_ends_range_follows_the_response() -> None:
    """From the widest range, calibration comes down until the peak uses at least a quarter of the full scale."""
    unit = crossbar()
    made = learner(unit)
    for start in (2e-3, 5e-4, 1e-6):
        unit.set_full_scale(start)
        made.calibrate(task().x)
        peak = float(np.abs(unit.measure(made.unit.spec.drive.high * task().x, cancel=made.cancel).values).max())
        assert peak <= unit.full_scale()
        assert peak > 0.15 * unit.full_scale()


def test_rule_pullback_needs_a_unit_that_offers_it() -> None:
    """Asking for it of a black box names the way out."""
    with pytest.raises(ConfigurationError, match="choose rule spsa"):
        LocalLearner(Wrapped(crossbar()), ConditionalEntropy(), LearnerConfig(rectify=True, rule="pullback"), 1)


def test_a_snapshot_brings_everything_back() -> None:
    """On chip B, with its noise, a restored learner takes bit-identical steps."""
    split = task()

    def three_steps(made: LocalLearner) -> list[float]:
        return [*teach(made, 3), float(made.parameters.accumulator.held.astype(np.float64).sum())]

    first = learner(crossbar(16, 8, "chip-b"), rule="spsa")
    teach(first, 2)
    state = snapshot_learner(first)
    second = learner(crossbar(16, 8, "chip-b"), rule="spsa", seed=99)
    restore_learner(second, state)
    second.unit._clock.time_s = first.unit._clock.time_s  # type: ignore[attr-defined]
    assert three_steps(first) == three_steps(second)
    np.testing.assert_array_equal(first.forward(split.x, False), second.forward(split.x, False))


def test_real_hardware_is_read_again_before_it_is_trusted() -> None:
    """A unit without snapshots has lived on: its parameters are measured, at a stated cost in passes."""
    inner = crossbar(16, 8)

    class Instrument(Wrapped):
        def read_parameters(self, *, cancel: object) -> object:
            return inner.read_parameters(cancel=made.cancel)

    made = learner(Instrument(inner))
    state = snapshot_learner(made)
    assert not any(key.startswith("unit/") for key in state)
    inner.program(np.full(inner.spec.parameters.shape, 1e-5, np.float32))
    passes = restore_learner(made, state)
    assert passes == 2 * 16
    np.testing.assert_allclose(made.parameters.believed(), 1e-5, rtol=0.02)


def test_the_front_end_of_real_hardware_is_set_as_it_was() -> None:
    """A unit with ranges but no snapshots gets the full scale of the checkpoint back."""

    class Instrument(Wrapped):
        def full_scale(self) -> float:
            return self.unit.full_scale()

        def set_full_scale(self, value: float) -> float:
            return self.unit.set_full_scale(value)

    inner = crossbar(16, 8)
    made = learner(Instrument(inner))
    before, state = inner.full_scale(), snapshot_learner(made)
    inner.set_full_scale(50 * before)
    restore_learner(made, state)
    assert inner.full_scale() == before


def test_only_pairs_are_centred() -> None:
    """centring pulls the common mode of pairs to mid-window, and leaves parameters that are no pairs alone."""
    split = task()

    def targets(unit: PhysicalUnit, centring: float) -> Array:
        made = learner(unit, centring=centring)
        made.parameters.accumulator.target[...] = 0.25
        made.forward(split.x, learn=True)
        made.learn(batch_of(split, rate=1e-9))
        return made.parameters.accumulator.target

    np.testing.assert_allclose(targets(crossbar(), 0.5), 0.375, atol=1e-4)
    np.testing.assert_allclose(targets(Linear(crossbar()), 0.5), 0.25, atol=1e-4)


def spoilt(response: float) -> Linear:
    """A unit that answers `response` in one reading of its second measurement."""
    unit = Linear(crossbar())

    def spoil(number: int, made: Measurement) -> Measurement:
        if number == 2:
            made.values[3, 2] = response
        return made

    unit.spoil = spoil
    return unit


@pytest.mark.parametrize("response", [np.nan, np.inf, -np.inf])
def test_responses_that_are_no_numbers_are_refused(response: float) -> None:
    """The message counts them; the measurement is kept for the run file; the statistics have not moved."""
    made, split = learner(spoilt(response)), task()
    before = made.conditioner.snapshot()
    with pytest.raises(ResponseError, match="1 of 768 measured responses are not finite"):
        made.forward(split.x, learn=True)
    assert made.rejected is not None
    assert made.rejected.values.shape == (96, 8)
    after = made.conditioner.snapshot()
    assert all(np.array_equal(before[key], after[key]) for key in before)
    with pytest.raises(ConfigurationError, match="forward"):
        made.learn(batch_of(split))


def test_saturated_responses_are_refused() -> None:
    """More clipped readings than the limit allows stop the learner, with the way out."""
    unit = crossbar()
    made = learner(unit, max_saturated=0.1)
    unit.set_full_scale(1e-6)
    with pytest.raises(ResponseError, match="saturated"):
        made.forward(task().x, learn=True)
    assert made.rejected is not None


def test_wear_is_zero_for_a_unit_that_does_not_count() -> None:
    """No pulses are invented."""
    unit = echo()
    assert not isinstance(unit, CountsWear)
    assert learner(unit).wear() == (0, 0)


def test_a_fixed_front_end_has_no_full_scale() -> None:
    """A learner tells the range of a unit that has one, and NaN for a unit that has none."""
    ranging, fixed = learner(crossbar(16, 8)), learner(Linear(crossbar(16, 8)))
    assert isinstance(ranging.unit, Ranges)
    assert ranging.full_scale() == ranging.unit.full_scale()
    assert np.isnan(fixed.full_scale())


def test_clipped_is_the_fraction_of_saturated_readings() -> None:
    """One of eight readings is an eighth, and a measurement of nothing has none."""
    saturated = np.zeros((2, 4), np.bool_)
    saturated[1, 2] = True
    assert Measurement(np.zeros((2, 4), np.float32), saturated, 2, 0.0, 0.0).clipped == 0.125
    assert Measurement(np.zeros((0, 4), np.float32), saturated[:0], 0, 0.0, 0.0).clipped == 0.0
