"""Matrix-based entropies: closed forms, bounds, gradients and what round-off does to them."""

from __future__ import annotations

import math

import hypothesis.extra.numpy as arrays_of
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pib_lab.entropy import (
    gaussian_gram,
    gaussian_mutual_information2,
    information_plane,
    input_gram,
    joint_entropy,
    label_gram,
    leave_one_out_entropy,
    mutual_information,
    normalise,
    renyi_entropy,
    rms_distance,
    squared_distances,
    standardise,
)
from pib_lab.errors import ConfigurationError

ORDERS = (0.5, 1.0, 1.01, 2.0, 3.0)
LABELS = st.lists(st.integers(0, 4), min_size=2, max_size=24)


def samples(n: int = 12, d: int = 4, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((n, d))).to(dtype)


def kind_gram(labels: list[int]) -> Tensor:
    return label_gram(torch.tensor(labels), torch.float64)


responses = arrays_of.arrays(
    np.float64, st.tuples(st.integers(2, 12), st.integers(1, 5)), elements=st.floats(-100.0, 100.0, width=32)
).map(torch.from_numpy)


@pytest.mark.parametrize("order", ORDERS)
def test_samples_all_alike_have_no_entropy(order: float) -> None:
    """S = 0 for a Gram matrix of ones."""
    assert float(renyi_entropy(torch.ones(9, 9, dtype=torch.float64), order)) == pytest.approx(0.0, abs=1e-5)


@pytest.mark.parametrize("order", ORDERS)
def test_samples_all_apart_have_the_entropy_of_their_number(order: float) -> None:
    """S = log2 n for the identity."""
    assert float(renyi_entropy(torch.eye(9, dtype=torch.float64), order)) == pytest.approx(math.log2(9))


@pytest.mark.parametrize("order", [0.5, 1.0, 2.0, 3.0])
def test_groups_have_the_entropy_of_their_sizes(order: float) -> None:
    """For a label Gram matrix S is Renyi's entropy of the class frequencies."""
    p = np.array([4, 3, 1]) / 8
    expected = -(p * np.log2(p)).sum() if order == 1.0 else np.log2((p**order).sum()) / (1.0 - order)
    assert float(renyi_entropy(kind_gram([0] * 4 + [1] * 3 + [2]), order)) == pytest.approx(expected)


def test_order_one_is_the_limit_of_its_neighbours() -> None:
    """S at orders 1 - e and 1 + e encloses Shannon's entropy of the spectrum, and tends to it."""
    gram = gaussian_gram(samples(), 1.5)
    spectrum = np.linalg.eigvalsh(normalise(gram).numpy()).clip(1e-15)
    shannon = float(-(spectrum * np.log2(spectrum)).sum())
    below, at, above = (float(renyi_entropy(gram, order)) for order in (1 - 1e-5, 1.0, 1 + 1e-5))
    assert at == pytest.approx(shannon, abs=1e-9)
    assert above < at < below
    assert below - above < 1e-4


def test_order_two_needs_no_eigenvalues() -> None:
    """-log2 of the squared Frobenius norm equals log2 of the summed squared eigenvalues, negated."""
    gram = gaussian_gram(samples(), 1.0)
    spectrum = np.linalg.eigvalsh(normalise(gram).numpy())
    assert float(renyi_entropy(gram, 2.0)) == pytest.approx(-math.log2((spectrum**2).sum()))


@pytest.mark.parametrize("order", [1.01, 2.0])
def test_order_of_samples_does_not_matter(order: float) -> None:
    """Entropy and mutual information are the same for permuted samples."""
    z, labels, shuffle = samples(), torch.arange(12) % 3, torch.randperm(12, generator=torch.manual_seed(0))
    straight = mutual_information(gaussian_gram(z, 1.0), label_gram(labels, z.dtype), order)
    permuted = mutual_information(gaussian_gram(z[shuffle], 1.0), label_gram(labels[shuffle], z.dtype), order)
    assert float(straight) == pytest.approx(float(permuted), abs=1e-10)


@pytest.mark.parametrize("order", [1.0, 1.01, 2.0, 3.0])
def test_gradients_agree_with_finite_differences(order: float) -> None:
    """d I(Z; Y) / dz of the reference functions, the eigenvalue path included."""
    z = samples(7, 3).requires_grad_(True)
    y = kind_gram([0, 1, 2, 0, 1, 2, 0])
    assert torch.autograd.gradcheck(lambda z: mutual_information(gaussian_gram(z, 1.2), y, order), z, atol=1e-6)


def test_closed_form_information_is_the_reference() -> None:
    """Value and gradient of the closed form are those of autograd through the reference."""
    y = kind_gram([0, 1, 2] * 4)
    z, reference_z = samples().requires_grad_(True), samples().requires_grad_(True)
    value, reference = gaussian_mutual_information2(z, y, 0.9), mutual_information(gaussian_gram(reference_z, 0.9), y)
    (3.0 * value).backward()
    (3.0 * reference).backward()
    assert float(value.detach()) == pytest.approx(float(reference.detach()), abs=1e-12)
    torch.testing.assert_close(z.grad, reference_z.grad)


def test_closed_form_gradients_agree_with_finite_differences() -> None:
    """Of the mutual information and of the leave-one-out entropy, in float64."""
    z = samples(8, 3).requires_grad_(True)
    y = kind_gram([0, 1, 0, 1, 2, 2, 2, 3])
    assert torch.autograd.gradcheck(lambda z: gaussian_mutual_information2(z, y, 1.1), z)
    assert torch.autograd.gradcheck(lambda z: leave_one_out_entropy(standardise(z), y, 0.3), z)


@given(responses, st.floats(0.05, 20.0), st.sampled_from(ORDERS))
@settings(max_examples=60, deadline=None)
def test_entropy_stays_between_nothing_and_all(z: Tensor, bandwidth: float, order: float) -> None:
    """0 <= S <= log2 n for whatever was measured."""
    entropy = float(renyi_entropy(gaussian_gram(z, bandwidth), order))
    assert -1e-4 <= entropy <= math.log2(len(z)) + 1e-6


@given(LABELS, st.data(), st.sampled_from([0.5, 1.0, 2.0, 3.0]))
@settings(max_examples=60, deadline=None)
def test_two_partitions_together_are_no_less_than_each(first: list[int], data: st.DataObject, order: float) -> None:
    """S(A, B) >= max(S(A), S(B)) for label Gram matrices."""
    second = data.draw(st.lists(st.integers(0, 4), min_size=len(first), max_size=len(first)))
    a, b = kind_gram(first), kind_gram(second)
    assert (
        float(joint_entropy(a, b, order)) >= max(float(renyi_entropy(a, order)), float(renyi_entropy(b, order))) - 1e-9
    )


@given(LABELS, st.data())
@settings(max_examples=60, deadline=None)
def test_shannon_information_of_two_partitions_is_not_negative(first: list[int], data: st.DataObject) -> None:
    """I >= 0 at order 1, where it is Shannon's mutual information of the labels."""
    second = data.draw(st.lists(st.integers(0, 4), min_size=len(first), max_size=len(first)))
    assert float(mutual_information(kind_gram(first), kind_gram(second), 1.0)) >= -1e-9


@given(LABELS, responses)
@settings(max_examples=60, deadline=None)
def test_order_two_information_is_at_most_the_entropy(labels: list[int], z: Tensor) -> None:
    """I(Z; Y) <= min(S(Z), S(Y)) for a Gaussian and a label Gram matrix, as the joint entropy is no less than each."""
    y, gram = kind_gram((labels * 12)[: len(z)]), gaussian_gram(z, 1.0)
    limit = min(float(renyi_entropy(gram)), float(renyi_entropy(y)))
    assert float(mutual_information(gram, y)) <= limit + 1e-9


def test_order_two_information_can_be_slightly_negative() -> None:
    """Collision entropy is not subadditive: two partitions of four samples have I_2 = log2(0.375 / 0.390625) < 0."""
    value = float(mutual_information(kind_gram([0, 0, 0, 1]), kind_gram([0, 0, 1, 0])))
    assert value == pytest.approx(math.log2(0.375 / 0.390625))


@given(responses, st.floats(1e-3, 1e3), st.floats(-10.0, 10.0))
@settings(max_examples=60, deadline=None)
def test_gain_and_offset_do_not_change_standardised_responses(z: Tensor, gain: float, offset: float) -> None:
    """standardise(g z + c) = standardise(z) wherever the spread of a sample is beyond round-off."""
    far = (z - z.mean(dim=0)).norm(dim=1) > 1e-3 * (1.0 + z.abs().max())
    moved = standardise(gain * z + offset)
    torch.testing.assert_close(moved[far], standardise(z)[far], atol=1e-6, rtol=1e-6)


def test_single_precision_is_enough() -> None:
    """Float32 gives the same bits as float64 to four digits, gradient included."""
    y = torch.arange(128) % 10
    results = []
    for dtype in (torch.float64, torch.float32):
        z = samples(128, 16, dtype=dtype).requires_grad_(True)
        unit = standardise(z)
        value = gaussian_mutual_information2(unit, label_gram(y, dtype), 0.5 * rms_distance(unit))
        (gradient,) = torch.autograd.grad(value, z)
        results.append((float(value.detach()), gradient.double()))
    assert results[1][0] == pytest.approx(results[0][0], abs=1e-4)
    torch.testing.assert_close(results[1][1], results[0][1], atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_duplicates_are_at_no_distance(dtype: torch.dtype) -> None:
    """Round-off makes no negative distance and no similarity above 1."""
    z = (1e3 + samples(5, 3, dtype=dtype)).repeat(4, 1)
    assert float(squared_distances(z).min()) >= 0.0
    assert float(gaussian_gram(z, 1e-2).max()) <= 1.0
    assert float(renyi_entropy(gaussian_gram(samples(5, 3, dtype=dtype).repeat(4, 1), 1e-2))) == pytest.approx(
        math.log2(5), abs=1e-3
    )


@pytest.mark.parametrize("order", [1.01, 2.0])
@pytest.mark.parametrize(("bandwidth", "expected"), [(1e-6, math.log2(16)), (1e6, 0.0)])
def test_extreme_bandwidths_give_the_two_limits(order: float, bandwidth: float, expected: float) -> None:
    """All apart when tiny, all alike when huge, in single precision and with finite gradients."""
    z = samples(16, 4, dtype=torch.float32).requires_grad_(True)
    entropy = renyi_entropy(gaussian_gram(z, bandwidth), order)
    entropy.backward()
    assert float(entropy.detach()) == pytest.approx(expected, abs=2e-3)
    assert z.grad is not None
    assert bool(torch.isfinite(z.grad).all())


def test_root_mean_square_distance_is_that_of_the_pairs() -> None:
    """The shortcut equals the mean over all pairs of different samples."""
    z = samples(10, 3)
    expected = math.sqrt(float(squared_distances(z).sum()) / 90)
    assert rms_distance(z) == pytest.approx(expected)


def test_information_plane_is_the_reference() -> None:
    """The live curves' shortcut equals the reference functions on the same Gram matrices."""
    z, x = samples(20, 4, dtype=torch.float32), samples(20, 6, seed=1, dtype=torch.float32)
    x_gram, y_gram = input_gram(x), label_gram(torch.arange(20) % 4)
    unit = standardise(z)
    gram = gaussian_gram(unit, 0.5 * rms_distance(unit))
    expected = [mutual_information(x_gram, gram), mutual_information(gram, y_gram), renyi_entropy(gram)]
    assert information_plane(z, x_gram, y_gram) == pytest.approx([float(value) for value in expected], abs=1e-5)


def test_a_dead_unit_carries_no_information() -> None:
    """Responses that are all the same give zeros, not an error."""
    plane = information_plane(torch.zeros(8, 3), torch.eye(8), torch.ones(8, 8))
    assert plane == pytest.approx((0.0, 0.0, 0.0))


@pytest.mark.parametrize("temperature", [0.1, 0.01, 1e-3])
def test_partners_out_of_reach_still_give_finite_gradients(temperature: float) -> None:
    """Where all partners' weights underflow, the leave-one-out entropy is capped and its gradient finite."""
    z = samples(16, 3, dtype=torch.float32).requires_grad_(True)
    entropy = leave_one_out_entropy(standardise(z), label_gram(torch.arange(16) % 8), temperature)
    entropy.backward()
    assert math.isfinite(float(entropy.detach()))
    assert z.grad is not None
    assert bool(torch.isfinite(z.grad).all())


def test_impossible_requests_are_refused() -> None:
    """A bandwidth or an order of 0, and a Gram matrix without trace, are configuration errors."""
    with pytest.raises(ConfigurationError, match="bandwidth"):
        gaussian_gram(samples(), 0.0)
    with pytest.raises(ConfigurationError, match="bandwidth"):
        gaussian_mutual_information2(samples(), torch.ones(12, 12, dtype=torch.float64), float("nan"))
    with pytest.raises(ConfigurationError, match="order"):
        renyi_entropy(torch.eye(3), 0.0)
    with pytest.raises(ConfigurationError, match="trace"):
        renyi_entropy(torch.zeros(3, 3))
