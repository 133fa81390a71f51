"""The contract that every unit of every registered driver keeps. No exemptions: see tests/contract.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import contract
import numpy as np
import pytest
from contract import Bench, Case

from pib_lab.capabilities import CountsWear, Digital, Resets, Snapshots
from pib_lab.errors import Cancelled, ConfigurationError, DeviceError, LimitError
from pib_lab.quantities import Array
from pib_lab.unit import CancelToken, PhysicalUnit

CASES = contract.cases()
Wrong = Callable[[Array], Array]


@pytest.fixture(params=CASES, ids=str)
def closed(request: pytest.FixtureRequest) -> Iterator[Bench]:
    """A unit as the device gives it: not open yet."""
    case: Case = request.param
    bench = Bench(case)
    yield bench
    bench.finish()


@pytest.fixture
def bench(closed: Bench) -> Bench:
    """An open unit with random parameters."""
    closed.unit.open()
    closed.unit.program(closed.parameters())
    return closed


def _with(value: float) -> Wrong:
    def put(values: Array) -> Array:
        changed = values.copy()
        changed.reshape(-1)[-1] = value
        return changed

    return put


def test_every_registered_driver_is_under_contract() -> None:
    """Each entry point has at least one case."""
    assert {case.driver for case in CASES} >= set(contract.drivers())


def test_a_mock_says_that_it_is_one(closed: Bench) -> None:
    """A driver registered as a mock is marked as one: an unmarked one would be badged as real hardware."""
    if closed.case.driver.startswith("mock-"):
        assert getattr(closed.device, "is_mock", False) is True


def test_the_unit_satisfies_the_interface(closed: Bench) -> None:
    """All methods of PhysicalUnit are there."""
    assert isinstance(closed.unit, PhysicalUnit)


def test_the_spec_needs_no_link(closed: Bench) -> None:
    """Before open, the spec states the requested shapes, SI units and ordered limits."""
    spec = closed.unit.spec
    assert spec.name == "under-test"
    assert spec.drive.shape == (closed.case.inputs,)
    assert spec.response.size == closed.case.outputs
    assert spec.drive.unit
    assert spec.response.unit
    assert spec.parameters.unit
    assert np.isfinite([spec.drive.low, spec.drive.high, spec.parameters.low, spec.parameters.high]).all()
    assert spec.drive.low < spec.drive.high
    assert spec.parameters.low < spec.parameters.high


@pytest.mark.parametrize("after_close", [False, True], ids=["before open", "after close"])
def test_use_while_not_open_is_a_device_error(closed: Bench, after_close: bool) -> None:
    """Measuring and programming need an open unit, and the message says which call is missing."""
    if after_close:
        closed.unit.open()
        closed.unit.close()
    with pytest.raises(DeviceError, match=r"open\(\)"):
        closed.measure(closed.drive())
    with pytest.raises(DeviceError, match=r"open\(\)"):
        closed.unit.program(closed.parameters())


def test_a_closed_unit_can_be_opened_again(bench: Bench) -> None:
    """Closing is not the end of a unit."""
    bench.unit.close()
    bench.unit.open()
    assert np.isfinite(bench.measure(bench.drive()).values).all()


@pytest.mark.parametrize("batch", [1, 3, 16])
def test_a_measurement_has_the_stated_shapes(bench: Bench, batch: int) -> None:
    """Float32 values (batch, *response), saturation of this shape, a pass a sample or more unless it is computed."""
    spec = bench.unit.spec
    made = bench.measure(bench.drive(batch))
    assert made.values.shape == made.saturated.shape == (batch, *spec.response.shape)
    assert made.values.dtype == np.float32
    assert made.saturated.dtype == np.bool_
    assert made.passes == 0 if isinstance(bench.unit, Digital) else made.passes >= batch
    assert made.ended_s >= made.started_s


def test_a_measurement_leaves_the_drive_alone(bench: Bench) -> None:
    """The caller's array is not written to."""
    drive = bench.drive()
    kept = drive.copy()
    bench.measure(drive)
    np.testing.assert_array_equal(drive, kept)


def test_programming_returns_what_is_held(bench: Bench) -> None:
    """The belief has the parameters' shape, is finite float32, and is not the unit's own array."""
    held = bench.unit.program(bench.parameters())
    assert held.shape == bench.unit.spec.parameters.shape
    assert held.dtype == np.float32
    assert np.isfinite(held).all()
    held[...] = -1
    assert (bench.belief() != -1).any()


def test_programming_through_a_mask_leaves_the_others(bench: Bench) -> None:
    """Parameters outside `where` keep their belief, exactly."""
    before = bench.belief()
    where = bench.rng.random(before.shape) < 0.5
    after = bench.unit.program(bench.parameters(), where)
    np.testing.assert_array_equal(after[~where], before[~where])
    assert (after[where] != before[where]).any()


def test_exact_units_hold_what_was_asked(bench: Bench) -> None:
    """Without noise, the belief is the request to within the resolution."""
    wanted = bench.parameters()
    held = bench.unit.program(wanted)
    if bench.case.exact:
        parameters = bench.unit.spec.parameters
        np.testing.assert_allclose(held, wanted, atol=parameters.resolution + 1e-5 * parameters.span)
    else:
        assert np.corrcoef(held.ravel(), wanted.ravel())[0, 1] > 0.5


BEYOND = ["too high", "too low", "not a number", "infinite"]


def _value(quantity: contract.Quantity, kind: str) -> float:
    span = quantity.span
    return {
        "too high": quantity.high + 0.01 * span,
        "too low": quantity.low - 0.01 * span,
        "not a number": np.nan,
        "infinite": np.inf,
    }[kind]


@pytest.mark.parametrize("kind", BEYOND)
def test_a_drive_beyond_the_limits_is_refused_before_anything_is_sent(bench: Bench, kind: str) -> None:
    """One bad element in the last sample refuses the whole batch, and the unit is as it was."""
    unchanged = _watch(bench)
    with pytest.raises(LimitError):
        bench.measure(_with(_value(bench.unit.spec.drive, kind))(bench.drive()))
    unchanged()


@pytest.mark.parametrize("kind", BEYOND)
def test_parameters_beyond_the_limits_are_refused_before_anything_is_sent(bench: Bench, kind: str) -> None:
    """One bad parameter refuses the whole write, and the unit is as it was."""
    unchanged = _watch(bench)
    with pytest.raises(LimitError):
        bench.unit.program(_with(_value(bench.unit.spec.parameters, kind))(bench.parameters()))
    unchanged()


def test_wrong_shapes_are_refused(bench: Bench) -> None:
    """A drive of another width, a single sample without a batch, and parameters of another shape are input mistakes."""
    unchanged = _watch(bench)
    for drive in (bench.drive()[:, :-1], bench.drive()[0]):
        with pytest.raises(ConfigurationError):
            bench.measure(drive)
    with pytest.raises(ConfigurationError):
        bench.unit.program(bench.parameters()[:-1])
    unchanged()


def _watch(bench: Bench) -> Callable[[], None]:
    """Remember all that can be known of the unit; the returned function asserts that it is still so."""
    unit, held, now_s = bench.unit, bench.belief(), bench.clock.now_s()
    state = unit.snapshot() if isinstance(unit, Snapshots) else {}
    pulses = unit.pulses().copy() if isinstance(unit, CountsWear) else None

    def unchanged() -> None:
        if isinstance(unit, Snapshots):
            for name, value in unit.snapshot().items():
                np.testing.assert_array_equal(value, state[name], err_msg=name)
        if isinstance(unit, CountsWear):
            np.testing.assert_array_equal(unit.pulses(), pulses)
        assert bench.clock.now_s() == now_s
        np.testing.assert_array_equal(bench.belief(), held)

    return unchanged


def test_permuted_samples_give_permuted_responses(bench: Bench) -> None:
    """Unless the unit declares memory, a sample's response does not depend on its place in the batch."""
    unit, drive = bench.unit, bench.drive(64)
    order = bench.rng.permutation(len(drive))
    if unit.spec.memory:
        assert isinstance(unit, Resets), "a unit with memory must be resettable"
        return
    first, second = bench.measure(drive).values, bench.measure(drive).values
    permuted = bench.measure(drive[order]).values
    scale = float(np.abs(first).max())
    noise = float(np.sqrt(np.mean((first - second) ** 2)))
    error = float(np.sqrt(np.mean((permuted - first[order]) ** 2)))
    unrelated = float(np.sqrt(np.mean((permuted - first) ** 2)))
    if bench.case.exact:
        assert noise <= 1e-5 * scale
    assert error <= 2 * noise + 1e-5 * scale
    assert error < unrelated / 2, "noise hides the response: the comparison would prove nothing"


def test_a_cancelled_measurement_stops_and_the_unit_lives_on(bench: Bench) -> None:
    """A token that is set raises Cancelled; outputs can be made safe, and the unit measures again afterwards."""
    token = CancelToken()
    token.cancel()
    with pytest.raises(Cancelled):
        bench.unit.measure(bench.drive(), cancel=token)
    assert bench.unit.make_safe().safe
    assert np.isfinite(bench.measure(bench.drive()).values).all()


def test_make_safe_never_raises_and_says_what_it_confirmed(closed: Bench) -> None:
    """Before open, twice while open, and after close there is a report with the unit's name."""
    unit = closed.unit
    assert unit.make_safe().unit == "under-test"
    unit.open()
    unit.program(closed.parameters())
    closed.measure(closed.drive())
    reports = [unit.make_safe(), unit.make_safe()]
    assert all(report.safe and report.confirmed for report in reports)
    unit.close()
    assert unit.make_safe().unit == "under-test"


def test_make_safe_keeps_the_parameters(bench: Bench) -> None:
    """Safe means outputs off, not a device wiped."""
    before = bench.belief()
    bench.unit.make_safe()
    np.testing.assert_array_equal(bench.belief(), before)


def test_close_is_idempotent(closed: Bench) -> None:
    """Closing twice, or without having opened, does nothing; so for the device."""
    closed.unit.close()
    closed.unit.open()
    for _ in range(2):
        closed.unit.close()
        closed.device.close()


def test_units_of_one_device_do_not_share_parameters(closed: Bench) -> None:
    """Programming a second unit of a device leaves the first as it was."""
    if closed.case.hardware:
        pytest.skip("a second unit of real hardware is named by its own protocol")
    closed.unit.open()
    held = closed.unit.program(closed.parameters())
    other = closed.device.unit(contract.UnitRequest("other", closed.case.inputs, closed.case.outputs))
    other.open()
    other.program(closed.parameters())
    np.testing.assert_array_equal(closed.belief(), held)
    other.make_safe()
    other.close()
