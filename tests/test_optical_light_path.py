"""The whole path of light with real software: window, Basler's library, frames; the light between is simulated."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("PySide6.QtGui", reason="needs the extra gui", exc_type=ImportError)
pytest.importorskip("pypylon", reason="needs the extra optics")

from learning_bench import batch_of, task

from drivers.emulators.optics_rig import COMPARABLE, EmulatedOpticalRig
from drivers.optics.optical_rig import MockOpticalRig
from drivers.optics.unit import OpticalUnit
from pib_lab.clocks import RealClock, VirtualClock
from pib_lab.device import DeviceContext, UnitRequest
from pib_lab.errors import ConfigurationError, DeviceError
from pib_lab.learner import LocalLearner
from pib_lab.lessons import LearnerConfig
from pib_lab.objectives import CrossEntropy
from pib_lab.quantities import Array
from pib_lab.unit import CancelToken

NO = CancelToken()
OPTIONS: dict[str, Any] = {"profile": "bench-a", "override": COMPARABLE}
"""All of bench-a but noise and time: crosstalk, table, zero order, dead and hot pixels."""
REQUEST = UnitRequest("layer", 64, 25)


def _drive(batch: int, seed: int = 1) -> Array:
    return np.random.default_rng(seed).uniform(0.0, 2.0, (batch, 64)).astype(np.float32)


def _mask(unit: OpticalUnit, seed: int = 2) -> Array:
    parameters = unit.spec.parameters
    return np.random.default_rng(seed).uniform(0.0, parameters.high, parameters.shape).astype(np.float32)


@pytest.fixture(scope="module")
def rig() -> Iterator[EmulatedOpticalRig]:
    """Window and camera, in real time."""
    rig = EmulatedOpticalRig(OPTIONS, DeviceContext("rig", 3, RealClock()))
    yield rig
    rig.close()


@pytest.fixture
def unit(rig: EmulatedOpticalRig) -> Iterator[OpticalUnit]:
    """An open layer of it."""
    unit = rig.unit(REQUEST)
    unit.open()
    yield unit
    unit.close()


@pytest.fixture(scope="module")
def mock() -> OpticalUnit:
    """The same layer on the mock rig of the same seed."""
    unit = MockOpticalRig(OPTIONS, DeviceContext("rig", 3, VirtualClock())).unit(REQUEST)
    unit.open()
    return unit


def test_responses_are_the_mock_rigs_to_one_count(unit: OpticalUnit, mock: OpticalUnit) -> None:
    """Through window and library nothing but rounding is added, for every drive and region."""
    for each in (unit, mock):
        each.program(_mask(each))
    found, expected = (each.measure(_drive(12), cancel=NO) for each in (unit, mock))
    assert np.abs(found.values - expected.values).max() <= 1.0
    assert np.ptp(expected.values) > 500.0
    np.testing.assert_array_equal(found.saturated, expected.saturated)


def test_incomplete_buffers_are_taken_again_and_never_used(
    rig: EmulatedOpticalRig, unit: OpticalUnit, mock: OpticalUnit
) -> None:
    """Every second exposure comes incomplete; the responses are as without, and the passes tell what it cost."""
    for each in (unit, mock):
        each.program(_mask(each, 5))
    first = rig.light.frames
    rig.camera.fail_at = frozenset(range(first + 1, first + 12, 2))
    forced, refused = rig.camera.forced, rig.camera.failed
    found, expected = (each.measure(_drive(8, seed=4), cancel=NO) for each in (unit, mock))
    assert np.abs(found.values - expected.values).max() <= 1.0
    assert rig.camera.failed - refused == rig.camera.forced - forced == 6
    assert found.passes >= 8 + 6
    assert rig.light.frames - first == found.passes


def test_a_camera_that_fails_again_and_again_ends_the_measurement(rig: EmulatedOpticalRig, unit: OpticalUnit) -> None:
    """After `attempts` tries of one frame, in the library's words."""
    first = rig.light.frames
    rig.camera.fail_at = frozenset(range(first, first + 10))
    with pytest.raises(DeviceError, match=r"incompletely grabbed.*failed 10 times"):
        unit.measure(_drive(1), cancel=NO)
    assert unit.measure(_drive(1), cancel=NO).values.shape == (1, 25)


def test_a_window_that_dies_ends_the_measurement(rig: EmulatedOpticalRig) -> None:
    """And the light counts as dark, since the beam was stated to be enclosed; it can be opened again."""
    unit = rig.unit(REQUEST)
    unit.open()
    assert rig.slm.pid is not None
    os.kill(rig.slm.pid, signal.SIGKILL)
    with pytest.raises(DeviceError, match="window's process has died"):
        unit.measure(_drive(1), cancel=NO)
    unit.close()
    unit.open()
    assert unit.measure(_drive(1), cancel=NO).values.shape == (1, 25)
    unit.close()


def test_a_learner_learns_through_it_as_on_the_mock_rig(unit: OpticalUnit, mock: OpticalUnit) -> None:
    """One step: the mask moves, and loss and mask are the mock's to what rounding of single counts can do."""
    losses, masks = [], []
    for each in (unit, mock):
        made = LocalLearner(each, CrossEntropy(), LearnerConfig(rectify=False, rule="spsa"), seed=5)
        made.start()
        split = task(8, features=64)
        made.calibrate(split.x)
        before = made.parameters.believed()
        made.forward(split.x, learn=True)
        losses.append(made.learn(batch_of(split, rate=0.1)).loss)
        masks.append(made.parameters.believed())
        assert not np.array_equal(before, masks[-1])
    assert losses[0] == pytest.approx(losses[1], rel=1e-2)
    assert np.corrcoef(masks[0].ravel(), masks[1].ravel())[0, 1] > 0.99


def test_light_that_does_not_fit_is_refused() -> None:
    """A bench whose camera has other bits than the emulation's format."""
    override = COMPARABLE | {"camera_bits": 9}
    with pytest.raises(ConfigurationError, match="pixel_format"):
        EmulatedOpticalRig({"profile": "ideal", "override": override}, DeviceContext("rig", 1, RealClock()))
