"""What a unit offers beyond the interface must hold true: each capability is tested on every unit that has it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

import contract
import numpy as np
import pytest
from contract import Bench, Case

from pib_lab.capabilities import (
    Cancels,
    Compensates,
    Costs,
    CountsDisturbs,
    CountsWear,
    Digital,
    Initialises,
    InjectsFaults,
    LimitsCurrent,
    PullsBack,
    Ranges,
    ReadsParameters,
    ReportsFaults,
    RevealsParameters,
    ShiftsSamples,
    Snapshots,
    wear,
)
from pib_lab.errors import Cancelled, ConfigurationError, LimitError
from pib_lab.fault_kinds import FaultKind
from pib_lab.unit import CancelToken

Capability = TypeVar("Capability")


@pytest.fixture(params=contract.cases(), ids=str)
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    """An open unit with random parameters."""
    case: Case = request.param
    bench = Bench(case)
    bench.unit.open()
    bench.unit.program(bench.parameters())
    yield bench
    bench.finish()


def _able(bench: Bench, capability: type[Capability]) -> Capability:
    if not isinstance(bench.unit, capability):
        pytest.skip(f"does not offer {capability.__name__}")
    return bench.unit


def _exact(bench: Bench) -> None:
    if not bench.case.exact:
        pytest.skip("a statement about the mean response, proved where there is no noise")


def test_pullback_is_the_gradient_of_the_response(bench: Bench) -> None:
    """dL/dp agrees with the finite difference of the measured L = sum(c * response), parameter by parameter."""
    unit = _able(bench, PullsBack)
    drive = bench.drive(32)
    weights = bench.rng.standard_normal((32, *bench.unit.spec.response.shape)).astype(np.float32)
    gradient = unit.pullback(drive, weights)
    parameters = bench.unit.spec.parameters
    assert gradient.shape == parameters.shape
    _exact(bench)
    centre = bench.parameters()
    for index in bench.rng.choice(parameters.size, 8, replace=False):
        ends = []
        for sign in (1.0, -1.0):
            moved = centre.copy()
            moved.reshape(-1)[index] += np.float32(sign * 0.1 * parameters.span)
            applied = float(bench.unit.program(moved).reshape(-1)[index])
            ends.append((applied, float(np.sum(weights * bench.measure(drive).values, dtype=np.float64))))
        (high, loss_high), (low, loss_low) = ends
        slope = (loss_high - loss_low) / (high - low)
        assert slope == pytest.approx(gradient.reshape(-1)[index], abs=0.01 * float(np.abs(gradient).max()))


def test_initial_parameters_fit_and_follow_the_seed(bench: Bench) -> None:
    """Equal generators give equal parameters, inside the limits, spread by `scale`."""
    unit = _able(bench, Initialises)
    first, again = (unit.initial_parameters(np.random.default_rng(3), 0.15) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    bench.unit.spec.parameters.check_batch(first[np.newaxis], "initial parameters")
    assert first.dtype == np.float32
    wider = unit.initial_parameters(np.random.default_rng(3), 0.3)
    assert wider.std() > first.std() > 0


def test_parameters_read_back_are_those_programmed(bench: Bench) -> None:
    """A reading costs passes, unless the unit is computed, and follows what was programmed."""
    unit = _able(bench, ReadsParameters)
    held = bench.unit.program(bench.parameters())
    values, passes = unit.read_parameters(cancel=CancelToken())
    assert values.shape == held.shape
    assert passes == 0 if isinstance(bench.unit, Digital) else passes > 0
    if bench.case.exact:
        np.testing.assert_allclose(values, held, atol=0.01 * bench.unit.spec.parameters.span)
    elif isinstance(bench.unit, RevealsParameters):  # open-loop writes may miss the belief by far, but not the reading
        assert np.corrcoef(values.ravel(), bench.unit.true_parameters().ravel())[0, 1] > 0.9
    else:
        assert np.corrcoef(values.ravel(), held.ravel())[0, 1] > 0.5


def test_the_revealed_transfer_is_what_is_measured(bench: Bench) -> None:
    """Without noise, response = drive @ transfer, and the true parameters are those held."""
    unit = _able(bench, RevealsParameters)
    transfer, true = unit.true_transfer(), unit.true_parameters()
    assert transfer.shape == (bench.case.inputs, bench.case.outputs)
    assert true.shape == bench.unit.spec.parameters.shape
    _exact(bench)
    drive = bench.drive()
    values = bench.measure(drive).values.reshape(len(drive), -1)
    np.testing.assert_allclose(values, drive @ transfer, atol=0.01 * float(np.abs(values).max()))
    np.testing.assert_allclose(true, bench.belief(), atol=0.01 * bench.unit.spec.parameters.span)


def test_injected_faults_strike_as_many_as_they_say_and_no_longer_move(bench: Bench) -> None:
    """The count returned is the count of newly faulty cells; those cells keep their value when programmed."""
    unit = _able(bench, InjectsFaults)
    reports, reveals = _able(bench, ReportsFaults), _able(bench, RevealsParameters)
    before = reports.true_faults().copy()
    struck = unit.inject_faults("mixed", 0.2, "none", 11)
    after = reports.true_faults()
    new = (after != FaultKind.HEALTHY) & (before == FaultKind.HEALTHY)
    assert struck == np.count_nonzero(new) > 0
    np.testing.assert_array_equal(after[before != FaultKind.HEALTHY], before[before != FaultKind.HEALTHY])
    stuck = reveals.true_parameters()[new]
    bench.unit.program(bench.parameters())
    spread = 1e-6 if bench.case.exact else 0.05  # a stuck cell may still relax
    np.testing.assert_allclose(reveals.true_parameters()[new], stuck, atol=spread * bench.unit.spec.parameters.span)


@pytest.mark.parametrize("cluster", ["row", "column"])
def test_clustered_faults_lie_in_lines(bench: Bench, cluster: str) -> None:
    """Faults by row or by column touch fewer lines than as many faults strewn about."""
    unit, reports = _able(bench, InjectsFaults), _able(bench, ReportsFaults)
    before = reports.true_faults() != FaultKind.HEALTHY
    unit.inject_faults("low", 0.1, cluster, 5)
    new = (reports.true_faults() != FaultKind.HEALTHY) & ~before
    lines = new.any(axis=tuple(range(1, new.ndim))) if cluster == "row" else new.any(axis=0).reshape(-1)
    assert 0 < np.count_nonzero(lines) < 0.5 * lines.size


def test_wear_counts_what_is_written_and_nothing_else(bench: Bench) -> None:
    """Pulses grow where parameters are written, and only there; misses and verify passes are counted as well."""
    unit = _able(bench, CountsWear)
    before = unit.pulses().copy()
    verified = unit.verify_passes()
    where = bench.rng.random(before.shape) < 0.5
    bench.unit.program(contract.within(bench.unit.spec.parameters, bench.rng, 1)[0], where)
    grown = unit.pulses() - before
    assert grown.shape == bench.unit.spec.parameters.shape
    assert (grown[~where] == 0).all()
    assert np.count_nonzero(grown[where]) > 0.5 * np.count_nonzero(where)
    assert unit.verify_passes() >= verified
    assert unit.write_misses().shape == before.shape
    bench.measure(bench.drive())
    np.testing.assert_array_equal(unit.pulses() - before, grown)


def test_a_range_is_read_back_and_never_below_the_wish(bench: Bench) -> None:
    """The full scale in force is returned, holds the wish where the hardware can, and stays."""
    unit = _able(bench, Ranges)
    start = unit.full_scale()
    for wish in (start, 0.3 * start, 0.7 * start, 1.5 * start):
        chosen = unit.set_full_scale(wish)
        assert chosen == unit.full_scale()
        assert unit.set_full_scale(chosen) == chosen
    largest = unit.set_full_scale(1e30)
    assert unit.set_full_scale(0.4 * largest) >= 0.4 * largest * (1 - 1e-6)


def test_a_snapshot_brings_back_the_very_same_noise(bench: Bench) -> None:
    """After restore, on this unit or on a fresh one, programming and measuring repeat bit by bit."""
    unit = _able(bench, Snapshots)
    bench.measure(bench.drive())
    state, now_s = {name: _copy(value) for name, value in unit.snapshot().items()}, bench.clock.time_s
    drive, parameters = bench.drive(), bench.parameters()
    first = _write_and_measure(bench, parameters, drive)
    fresh = Bench(bench.case)
    fresh.unit.open()
    for again in (bench, fresh):
        _able(again, Snapshots).restore(state)
        again.clock.time_s = now_s
        for one, other in zip(first, _write_and_measure(again, parameters, drive), strict=True):
            np.testing.assert_array_equal(one, other)
    fresh.finish()


def test_a_snapshot_holds_only_arrays_and_scalars(bench: Bench) -> None:
    """Nothing in a snapshot needs a pickle."""
    for name, value in _able(bench, Snapshots).snapshot().items():
        assert isinstance(value, np.ndarray | str | float | int), name
        assert not isinstance(value, np.ndarray) or value.dtype != np.object_, name


def test_compensation_moves_only_healthy_parameters(bench: Bench) -> None:
    """Faulty parameters stay as held; with no fault, nothing changes by more than the limits ask for."""
    unit = _able(bench, Compensates)
    wanted, held = bench.parameters(), bench.belief()
    faulty = bench.rng.random(wanted.shape) < 0.2
    targets = unit.compensate(wanted, held, faulty)
    assert targets.shape == wanted.shape
    np.testing.assert_allclose(targets[faulty], held[faulty], rtol=1e-6)
    bench.unit.spec.parameters.check_limits(targets[~faulty], "targets")


def _copy(value: Any) -> Any:
    return value.copy() if isinstance(value, np.ndarray) else value


def _write_and_measure(bench: Bench, parameters: Any, drive: Any) -> tuple[Any, Any, Any]:
    held = bench.unit.program(parameters)
    made = bench.measure(drive)
    return held, made.values, made.saturated


def test_costs_hold(bench: Bench) -> None:
    """No write of everything takes more pulses or verify passes than is told; a reading takes just the told passes."""
    costs = _able(bench, Costs).costs()
    assert min(costs.sample_s, costs.pulse_s, costs.verify_s) >= 0.0
    wear = _able(bench, CountsWear)
    pulses, verify = wear.pulses(), wear.verify_passes()
    bench.unit.program(bench.parameters())
    assert (wear.pulses() - pulses).max() <= costs.pulses_per_write_max
    assert wear.verify_passes() - verify <= costs.verify_passes_max
    if isinstance(bench.unit, ReadsParameters):
        assert bench.unit.read_parameters(cancel=CancelToken())[1] == costs.read_passes


def test_a_current_limit_is_a_magnitude(bench: Bench) -> None:
    """Above zero, and told without a link."""
    assert _able(bench, LimitsCurrent).current_limit_a() > 0.0


def test_a_write_ends_when_its_token_is_set(bench: Bench) -> None:
    """With the token set beforehand nothing is written, and a new token lets writes go on."""
    unit = _able(bench, Cancels)
    before = wear(bench.unit)[0]
    token = CancelToken()
    unit.cancel_with(token)
    token.cancel()
    with pytest.raises(Cancelled):
        bench.unit.program(bench.parameters())
    assert wear(bench.unit)[0] == before
    unit.cancel_with(CancelToken())
    assert bench.unit.program(bench.parameters()).shape == bench.unit.spec.parameters.shape


def test_disturbs_are_counted_for_each_parameter(bench: Bench) -> None:
    """After a write, counts have the parameters' shape and none is negative."""
    counts = _able(bench, CountsDisturbs).half_select_disturbs()
    assert counts.shape == bench.unit.spec.parameters.shape
    assert counts.min() >= 0
    assert counts.max() > 0


def _shifts(bench: Bench, batch: int) -> Any:
    """Shifts (batch, *parameters) that keep random parameters of the middle half within their limits."""
    parameters = bench.unit.spec.parameters
    return (bench.rng.uniform(-0.2, 0.2, (batch, *parameters.shape)) * parameters.span).astype(np.float32)


def test_shifted_samples_are_those_of_shifted_parameters(bench: Bench) -> None:
    """Each sample answers as if the unit had been programmed to its shifted parameters; these stay as they were."""
    unit, drive, shift = _able(bench, ShiftsSamples), bench.drive(5), _shifts(bench, 5)
    held = bench.belief()
    made = unit.measure_shifted(drive, shift, cancel=CancelToken())
    np.testing.assert_array_equal(bench.belief(), held)
    assert made.values.shape == made.saturated.shape == (5, *bench.unit.spec.response.shape)
    assert made.passes >= 5
    _exact(bench)
    for index in range(5):
        bench.unit.program(held + shift[index])
        one = bench.measure(drive[index : index + 1])
        np.testing.assert_allclose(made.values[index], one.values[0], rtol=1e-5, atol=1.0)


def test_shifts_that_do_not_fit_are_refused(bench: Bench) -> None:
    """One pattern for a batch of two is an input mistake, and so is a shift that is not a number."""
    unit, drive, shift = _able(bench, ShiftsSamples), bench.drive(2), _shifts(bench, 2)
    with pytest.raises(ConfigurationError):
        unit.measure_shifted(drive, shift[:1], cancel=CancelToken())
    shift.reshape(-1)[-1] = np.nan
    with pytest.raises(LimitError):
        unit.measure_shifted(drive, shift, cancel=CancelToken())


def test_a_shifted_measurement_can_be_cancelled(bench: Bench) -> None:
    """A token that is set ends it, as it ends a plain one."""
    unit, token = _able(bench, ShiftsSamples), CancelToken()
    token.cancel()
    with pytest.raises(Cancelled):
        unit.measure_shifted(bench.drive(2), _shifts(bench, 2), cancel=token)
