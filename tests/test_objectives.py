"""Local losses: what they are, that they can be descended, and how they are named."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pib_lab.entropy import input_gram, standardise
from pib_lab.errors import ConfigurationError
from pib_lab.objectives import (
    ConditionalEntropy,
    Context,
    CrossEntropy,
    NormalisedHsic,
    Objective,
    RenyiBottleneck,
    RidgeEntropy,
    evaluate,
    make_objective,
    registered,
)
from pib_lab.quantities import Array

OBJECTIVES: list[Objective] = [
    ConditionalEntropy(),
    ConditionalEntropy(beta=0.3),
    RenyiBottleneck(),
    RenyiBottleneck(beta=0.3),
    RenyiBottleneck(order=1.01),
    NormalisedHsic(),
    NormalisedHsic(beta=0.3),
    CrossEntropy(),
]
SHIPPED = ["conditional-entropy", "renyi", "nhsic", "cross-entropy"]


def context(labels: list[int], seed: int = 1) -> Context:
    x = torch.from_numpy(np.random.default_rng(seed).standard_normal((len(labels), 5)).astype(np.float32))
    return Context(torch.tensor(labels), max(labels) + 1, input_gram(x))


def responses(n: int = 24, d: int = 6, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32)


@pytest.mark.parametrize("objective", OBJECTIVES, ids=repr)
def test_gradient_descent_lowers_the_loss(objective: Objective) -> None:
    """Small steps against the gradient lower every objective on a toy, clearly."""
    z, given = responses(), context([0, 1, 2] * 8)
    before, gradient = evaluate(objective, z, given)
    for _ in range(40):
        z -= np.float32(0.1 / max(float(np.sqrt(np.mean(gradient**2))), 1e-9)) * gradient
        after, gradient = evaluate(objective, z, given)
    assert after < before - 0.1


@pytest.mark.parametrize("objective", OBJECTIVES, ids=repr)
def test_gradients_agree_with_finite_differences(objective: Objective) -> None:
    """Along a random direction, to what single precision allows; kernel widths count as constants."""
    z, given = responses(), context([0, 1, 2] * 8)
    if not isinstance(objective, CrossEntropy | NormalisedHsic):
        z = standardise(torch.from_numpy(z)).numpy()  # stays where the rms distance hardly moves
    _, gradient = evaluate(objective, z, given)
    direction = np.random.default_rng(3).standard_normal(z.shape).astype(np.float32)
    step = np.float32(1e-2)
    up, _ = evaluate(objective, z + step * direction, given)
    down, _ = evaluate(objective, z - step * direction, given)
    slope = float((gradient * direction).sum())
    assert (up - down) / (2 * float(step)) == pytest.approx(slope, rel=0.1, abs=0.02)


def test_conditional_entropy_is_the_leave_one_out_posterior() -> None:
    """H(Y | Z) equals a plain double loop over samples and partners; samples alone in their class are left out."""
    labels, z, temperature = [0, 0, 1, 1, 1, 2], responses(6, 3), 0.3
    u = standardise(torch.from_numpy(z)).double().numpy()
    bits = []
    for i, own in enumerate(labels):
        if labels.count(own) < 2:
            continue
        weights = [0.0 if j == i else math.exp(float(u[i] @ u[j]) / temperature) for j in range(len(labels))]
        mass = sum(weight for j, weight in enumerate(weights) if labels[j] == own)
        bits.append(-math.log2(mass / sum(weights)))
    loss, _ = evaluate(ConditionalEntropy(temperature=temperature), z, context(labels))
    assert loss == pytest.approx(float(np.mean(bits)), abs=1e-5)


def test_nothing_is_learned_where_no_sample_has_a_partner() -> None:
    """A batch of all different classes has conditional entropy 0 and gradient 0."""
    loss, gradient = evaluate(ConditionalEntropy(), responses(5, 3), context([0, 1, 2, 3, 4]))
    assert loss == 0.0
    assert not gradient.any()


@pytest.mark.parametrize(
    ("plain", "with_beta"),
    [
        (ConditionalEntropy(), ConditionalEntropy(beta=2.0)),
        (RenyiBottleneck(), RenyiBottleneck(beta=2.0)),
        (RenyiBottleneck(order=1.5), RenyiBottleneck(order=1.5, beta=2.0)),
        (NormalisedHsic(), NormalisedHsic(beta=2.0)),
    ],
    ids=repr,
)
def test_beta_prices_what_is_kept_of_the_input(plain: Objective, with_beta: Objective) -> None:
    """The beta term adds beta I(X; Z): positive, and less for an input that is unrelated to Z than for Z itself."""
    z, labels = responses(32, 4), [0, 1] * 16
    x_gram = input_gram(torch.from_numpy(z))
    related = Context(torch.tensor(labels), 2, x_gram)
    unrelated = context(labels, seed=9)
    price = [evaluate(with_beta, z, given)[0] - evaluate(plain, z, given)[0] for given in (related, unrelated)]
    assert price[0] > price[1] > 0.0


@pytest.mark.parametrize("objective", OBJECTIVES, ids=repr)
def test_a_dead_unit_gets_a_finite_loss_and_gradient(objective: Objective) -> None:
    """All responses 0: nothing is divided by nothing."""
    loss, gradient = evaluate(objective, np.zeros((8, 3), np.float32), context([0, 1, 2, 1] * 2))
    assert math.isfinite(loss)
    assert np.isfinite(gradient).all()


def test_cross_entropy_is_in_bits() -> None:
    """Responses that favour no class cost log2 of the number of classes."""
    loss, _ = evaluate(CrossEntropy(), np.zeros((4, 8), np.float32), context([0, 1, 2, 7]))
    assert loss == pytest.approx(3.0)


def test_shipped_objectives_are_registered_by_name() -> None:
    """All four load with their defaults and satisfy the interface."""
    assert set(SHIPPED) <= set(registered())
    for name in SHIPPED:
        assert isinstance(make_objective(name, {}), Objective)


def test_options_reach_the_objective() -> None:
    """Options become fields."""
    assert make_objective("renyi", {"order": 3.0, "beta": 0}) == RenyiBottleneck(order=3.0, beta=0)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("reny", {}, "did you mean 'renyi'"),
        ("renyi", {"bandwith": 1.0}, "did you mean 'bandwidth'"),
        ("renyi", {"bandwidth": "wide"}, "'wide' is not a finite number"),
        ("renyi", {"bandwidth": True}, "True is not a finite number"),
        ("renyi", {"beta": float("nan")}, "nan is not a finite number"),
        ("conditional-entropy", {"temperature": 0}, "must be above 0"),
        ("nhsic", {"beta": -1.0}, "must be above 0"),
    ],
)
def test_mistakes_are_named_with_the_nearest_right_word(name: str, options: dict[str, Any], message: str) -> None:
    """Unknown names and options, and values that are no positive numbers, are refused."""
    with pytest.raises(ConfigurationError, match=message):
        make_objective(name, options)


@pytest.fixture
def third_party(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package with an objective, in a site folder with the metadata that pip would have written."""
    (tmp_path / "acme_losses.py").write_text(
        "from dataclasses import dataclass\n\n\n"
        "@dataclass(frozen=True)\nclass Spread:\n"
        '    """Minus the variance."""\n\n'
        '    gain: float = 1.0\n    kernel: str = "plain"\n\n'
        "    def loss(self, z, context):\n        return -self.gain * z.var()\n\n\n"
        "def lossless(depth):\n    return depth\n",
        encoding="utf-8",
    )
    info = tmp_path / "acme_losses-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-losses\nVersion: 1.0\n", encoding="utf-8")
    lines = "[pib_lab.objectives]\nspread = acme_losses:Spread\nlossless = acme_losses:lossless\n"
    (info / "entry_points.txt").write_text(lines, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "acme_losses", raising=False)


@pytest.mark.usefixtures("third_party")
def test_a_third_partys_objective_is_found_by_its_entry_point() -> None:
    """It takes options of its own kinds and is evaluated like ours."""
    objective = make_objective("spread", {"gain": 2.0, "kernel": "laplace"})
    z = responses()
    loss, gradient = evaluate(objective, z, context([0, 1, 2] * 8))
    assert loss == pytest.approx(-2.0 * float(z.var(ddof=1)), rel=1e-4)
    assert gradient.shape == z.shape


@pytest.mark.usefixtures("third_party")
@pytest.mark.parametrize(("options", "message"), [({}, "depth"), ({"depth": 3}, "no method loss")])
def test_a_third_partys_mistake_is_a_clear_error(options: dict[str, Any], message: str) -> None:
    """A factory that lacks an option, or that makes something else, is a configuration error."""
    with pytest.raises(ConfigurationError, match=message):
        make_objective("lossless", options)


def test_ridge_entropy_equals_a_naive_leave_one_out_loop() -> None:
    """The closed form gives what refitting the kernel ridge classifier without each sample gives."""
    generator = torch.Generator().manual_seed(5)
    z = torch.randn(24, 7, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 3, (24,), generator=generator)
    objective = RidgeEntropy(temperature=0.3, ridge=0.7)
    centred = z - z.mean(dim=0)
    gram = centred @ centred.T
    gram = gram / gram.diagonal().mean()
    target = torch.nn.functional.one_hot(labels, 3).double()
    target = target - target.mean(dim=0)
    bits = []
    for left_out in range(24):
        others = [index for index in range(24) if index != left_out]
        kernel = gram[others][:, others] + 0.7 * torch.eye(23, dtype=torch.float64)
        predicted = gram[left_out, others] @ torch.linalg.solve(kernel, target[others])
        bits.append(-torch.log_softmax(predicted / 0.3, dim=0)[labels[left_out]] / math.log(2.0))
    context = Context(labels, 3, torch.eye(24, dtype=torch.float64))
    torch.testing.assert_close(objective.loss(z, context), torch.stack(bits).mean())


def test_ridge_entropy_has_the_gradient_of_finite_differences() -> None:
    """Autograd through the closed form agrees with finite differences."""
    generator = torch.Generator().manual_seed(6)
    labels = torch.randint(0, 3, (12,), generator=generator)
    context = Context(labels, 3, torch.eye(12, dtype=torch.float64))
    z = torch.randn(12, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda response: RidgeEntropy().loss(response, context), (z,))


def test_ridge_entropy_of_a_dead_unit_is_that_of_the_labels() -> None:
    """Responses that are all alike predict nothing: the entropy is finite, and no gradient is NaN."""
    labels = torch.tensor([0, 1] * 8)
    z = torch.zeros(16, 4, requires_grad=True)
    loss = RidgeEntropy().loss(z, Context(labels, 2, torch.eye(16)))
    (gradient,) = torch.autograd.grad(loss, z)
    assert float(loss.detach()) == pytest.approx(1.0, abs=0.01)
    assert torch.isfinite(gradient).all()
