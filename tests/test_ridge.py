"""The ridge of digital weights: what it measures, that its gradient is right, and that learning lowers it."""

from __future__ import annotations

import numpy as np
import pytest
from learning_bench import batch_of, crossbar, task

from drivers.digital import DigitalUnit, DigitalWeights
from pib_lab.clocks import VirtualClock
from pib_lab.device import DeviceContext, UnitRequest
from pib_lab.errors import ConfigurationError
from pib_lab.learner import LocalLearner
from pib_lab.lessons import LearnerConfig
from pib_lab.objectives import RidgeEntropy
from pib_lab.quantities import Array
from pib_lab.ridge import ridge


def weights(inputs: int = 16, outputs: int = 8) -> DigitalUnit:
    device = DigitalWeights({}, DeviceContext("memory", 1, VirtualClock()))
    made = device.unit(UnitRequest("weights", inputs, outputs))
    made.open()
    return made


def drives(n: int = 4000, lines: int = 5, common: float = 0.0, seed: int = 0) -> Array:
    """Independent drives of variance 1 - common, and what they have in common of variance `common`."""
    rng = np.random.default_rng(seed)
    own, shared = rng.standard_normal((n, lines)), rng.standard_normal((n, 1))
    return np.asarray(np.sqrt(1.0 - common) * own + np.sqrt(common) * shared, np.float32)


def test_independent_drives_of_equal_variance_have_a_ridge_of_one() -> None:
    """Whatever the weights: the response varies just as it would if each drive varied by itself."""
    drive, w = drives(), np.random.default_rng(1).standard_normal((5, 3)).astype(np.float32)
    assert ridge(w, drive, drive @ w)[0] == pytest.approx(1.0, rel=0.1)


def test_a_response_made_of_what_all_drives_share_is_robust() -> None:
    """n equal weights on n drives that are one: R = 1 / n; their difference, which is faint: far above 1."""
    drive = drives(common=0.99)
    sums, differences = np.ones((5, 1), np.float32), np.array([[1], [-1], [0], [0], [0]], np.float32)
    assert ridge(sums, drive, drive @ sums)[0] == pytest.approx(0.2, rel=0.02)
    assert ridge(differences, drive, drive @ differences)[0] > 50.0


def test_the_gain_of_a_response_does_not_matter() -> None:
    """Conditioning divides it out, so R must not ask for smaller weights: the gradient is across them."""
    drive, w = drives(common=0.5), np.random.default_rng(1).standard_normal((5, 3)).astype(np.float32)
    once, gradient = ridge(w, drive, drive @ w)
    assert ridge(3 * w, drive, drive @ (3 * w))[0] == pytest.approx(once, rel=1e-5)
    np.testing.assert_allclose((gradient * w).sum(axis=0), 0.0, atol=1e-5)


def test_the_gradient_is_that_of_the_ridge() -> None:
    """Against central differences of the number itself."""
    drive, w = drives(200, common=0.5), np.random.default_rng(1).standard_normal((5, 3)).astype(np.float32)
    gradient = ridge(w, drive, drive @ w)[1]
    for line, output in [(0, 0), (2, 1), (4, 2)]:
        sides = []
        for step in (1e-2, -1e-2):
            moved = w.copy()
            moved[line, output] += step
            sides.append(ridge(moved, drive, drive @ moved)[0])
        assert gradient[line, output] == pytest.approx((sides[0] - sides[1]) / 2e-2, rel=2e-3, abs=1e-4)


def test_a_dead_response_has_a_finite_gradient() -> None:
    """Weights of 0 respond with nothing, which has no variance to compare with."""
    drive, w = drives(50), np.zeros((5, 3), np.float32)
    value, gradient = ridge(w, drive, drive @ w)
    assert value == 0.0
    assert not gradient.any()


def taught(strength: float) -> float:
    """R of weights that have learned for a while."""
    made = LocalLearner(weights(), RidgeEntropy(), LearnerConfig(rectify=True, ridge=strength), seed=5)
    made.start()
    split = task()
    for step in range(1, 60):
        made.forward(split.x, learn=True)
        made.learn(batch_of(split, step, 0.01))
    made.forward(split.x, learn=True)
    assert made.trace is not None
    return ridge(made.parameters.believed(), made.trace.drive, made.trace.values)[0]


def test_learning_with_a_ridge_relies_on_strong_directions() -> None:
    """The same task, the same start: R ends lower with the penalty than without."""
    assert taught(1.0) < 0.8 * taught(0.0)


@pytest.mark.parametrize("rule", ["auto", "spsa"])
def test_a_ridge_of_what_is_not_in_memory_is_refused(rule: str) -> None:
    """A crossbar's cells are no weights, and a rule that perturbs knows no covariance."""
    config = LearnerConfig(rectify=True, ridge=0.1, rule=rule)  # type: ignore[arg-type]
    unit = crossbar() if rule == "auto" else weights()
    with pytest.raises(ConfigurationError, match=r"rule\.ridge is for digital weights"):
        LocalLearner(unit, RidgeEntropy(), config, seed=5)
