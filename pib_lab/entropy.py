"""Matrix-based Renyi entropies of Gram matrices, in bits. Pure functions on torch tensors of any float type.

For n samples with Gram matrix K (K_ii > 0) and A = K / tr K, the entropy of order a is
S_a(A) = log2(tr A^a) / (1 - a), between 0 (all samples alike) and log2 n (all apart).

Sources: Giraldo, Rao, Principe, "Measures of entropy from data using infinitely divisible kernels", IEEE Trans. Inf.
Theory 61 (2015); joint entropy and mutual information: Yu et al., IEEE Trans. PAMI 42 (2019).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from pib_lab.errors import ConfigurationError

_TINY = 1e-12


def standardise(z: Tensor) -> Tensor:
    """Responses (n, d) centred over the batch, then each sample scaled to unit norm.

    Makes Gram matrices insensitive to a common offset and to gain, so that one bandwidth fits every unit.
    """
    centred = z - z.mean(dim=0, keepdim=True)
    result: Tensor = centred / centred.norm(dim=1, keepdim=True).clamp_min(_TINY)
    return result


def squared_distances(z: Tensor) -> Tensor:
    """Squared Euclidean distances (n, n); negative values that round-off makes are clamped to 0."""
    squares = (z * z).sum(dim=1)
    distances = torch.addmm(squares[:, None] + squares[None, :], z, z.T, alpha=-2.0).clamp_min_(0.0)
    return distances.fill_diagonal_(0.0)


def rms_distance(z: Tensor) -> float:
    """Root mean square distance between two different samples of (n, d), without forming the distances.

    sum_ij |z_i - z_j|^2 = 2 n sum_i |z_i|^2 - 2 |sum_i z_i|^2.
    """
    n = z.shape[0]
    z = z.detach()
    total = 2.0 * n * float((z * z).sum()) - 2.0 * float((z.sum(dim=0) ** 2).sum())
    return math.sqrt(max(total, 0.0) / max(n * (n - 1), 1))


def gaussian_gram(z: Tensor, bandwidth: float) -> Tensor:
    """K_ij = exp(-|z_i - z_j|^2 / (2 bandwidth^2)), (n, n). The bandwidth is a standard deviation, in units of z."""
    if not bandwidth > 0:
        raise ConfigurationError(f"bandwidth {bandwidth} must be above 0 (are all samples identical?)")
    return torch.exp(squared_distances(z) / (-2.0 * bandwidth * bandwidth))


def label_gram(labels: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """K_ij = 1 where samples i and j have the same label, else 0, (n, n)."""
    return (labels[:, None] == labels[None, :]).to(dtype)


def normalise(gram: Tensor) -> Tensor:
    """A = K / tr K."""
    trace = gram.diagonal().sum()
    if not float(trace.detach()) > 0:
        raise ConfigurationError("a Gram matrix must have a positive trace")
    return gram / trace


def renyi_entropy(a: Tensor, order: float = 2.0) -> Tensor:
    """S_order of a Gram matrix (n, n), normalised here; in bits; differentiable.

    Order 2 needs no eigenvalues: -log2 ||A||_F^2. Others use the eigenvalues, with the small negative ones that
    round-off makes clamped and the spectrum renormalised; order 1 is Shannon's entropy of the spectrum. (Degenerate
    eigenvalues do not matter: the sum is symmetric, and eigvalsh's gradient needs no eigenvalue gaps.)
    """
    if order <= 0:
        raise ConfigurationError(f"entropy order {order} must be above 0")
    a = normalise(a)
    entropy: Tensor
    if order == 2.0:
        entropy = -torch.log2((a * a).sum())
        return entropy
    spectrum = torch.linalg.eigvalsh(a).clamp_min(0.0)
    spectrum = spectrum / spectrum.sum()
    positive = spectrum[spectrum > _TINY]
    if abs(order - 1.0) < 1e-9:
        entropy = -(positive * torch.log2(positive)).sum()
    else:
        entropy = torch.log2((positive**order).sum()) / (1.0 - order)
    return entropy


def joint_entropy(a: Tensor, b: Tensor, order: float = 2.0) -> Tensor:
    """S(A, B) = S(A o B / tr(A o B)), o the elementwise product."""
    return renyi_entropy(a * b, order)


def mutual_information(a: Tensor, b: Tensor, order: float = 2.0) -> Tensor:
    """I(A; B) = S(A) + S(B) - S(A, B), in bits."""
    return renyi_entropy(a, order) + renyi_entropy(b, order) - joint_entropy(a, b, order)


class _GaussianMutualInformation2(torch.autograd.Function):
    """I_2(K(z); B) with its gradient in closed form: one exponential and two matrix products, no stored graph.

    With K_ij = exp(-D_ij / 2s^2) and B_ii = 1: S_2(K) = -log2(sum K^2 / n^2), and likewise for K o B, so
    dI/dD_ij = (K_ij^2 / sum K^2 - (K_ij B_ij)^2 / sum (K B)^2) / (s^2 ln 2) =: W_ij, and with W symmetric
    dI/dz_i = 4 (sum_j W_ij z_i - sum_j W_ij z_j).
    """

    @staticmethod
    def forward(ctx: Any, z: Tensor, other: Tensor, bandwidth: float) -> Tensor:
        n = z.shape[0]
        squared = torch.exp(squared_distances(z).div_(-bandwidth * bandwidth))  # K o K
        other_squared = other * other
        joint = squared * other_squared
        sum_z, sum_joint = squared.sum(), joint.sum()
        information = torch.log2(sum_joint * (n * n) / (sum_z * other_squared.sum()))
        weight = squared.div_(sum_z).sub_(joint.div_(sum_joint)).mul_(1.0 / (bandwidth * bandwidth * math.log(2.0)))
        ctx.save_for_backward(z, weight)
        return information

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None]:
        z, weight = ctx.saved_tensors
        gradient = weight.sum(dim=1, keepdim=True) * z - weight @ z
        return 4.0 * grad_outputs[0] * gradient, None, None


def gaussian_mutual_information2(z: Tensor, other: Tensor, bandwidth: float) -> Tensor:
    """Order-2 I(Z; B) in bits between a Gaussian kernel on z (n, d) and a Gram matrix B (n, n) with unit diagonal.

    The gradient reaches z only. Same value as `mutual_information(gaussian_gram(z, bandwidth), other)`, several times
    faster.
    """
    if not bandwidth > 0:
        raise ConfigurationError(f"bandwidth {bandwidth} must be above 0 (are all samples identical?)")
    result: Tensor = _GaussianMutualInformation2.apply(z, other, bandwidth)  # type: ignore[no-untyped-call]
    return result


class _LeaveOneOutEntropy(torch.autograd.Function):
    """H = mean_i -log2 sum_j q_ij, with its gradient in closed form.

    E_ij = exp(K_ij / T) off the diagonal, P = E / row sums, Q = E o same / row sums of that:
    dH/dK = (P - Q) / (m T ln 2) in the rows of the m samples that have a partner, and K = u u^T gives
    dH/du = (dH/dK + dH/dK^T) u.
    """

    @staticmethod
    def forward(ctx: Any, unit: Tensor, same: Tensor, temperature: float) -> Tensor:
        scores = (unit @ unit.T).div_(temperature)
        scores.fill_diagonal_(-torch.inf)
        weights = scores.sub_(scores.amax(dim=1, keepdim=True)).exp_()
        partners = weights * same
        total, mass = weights.sum(dim=1, keepdim=True), partners.sum(dim=1, keepdim=True)
        accompanied = same.sum(dim=1, keepdim=True) > 1
        tiny = torch.finfo(unit.dtype).tiny
        mass = mass.clamp_min(tiny)
        bits = torch.log2(total / mass)[accompanied]
        scale = accompanied / (max(len(bits), 1) * temperature * math.log(2.0))
        # divided first: scale / mass would overflow where all partners' weights have underflowed
        slope = weights.div_(total).sub_(partners.div_(mass)).mul_(scale)
        ctx.save_for_backward(unit, slope)
        return bits.mean() if len(bits) else torch.zeros((), dtype=unit.dtype)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None]:
        unit, slope = ctx.saved_tensors
        return grad_outputs[0] * (slope @ unit + slope.T @ unit), None, None


def leave_one_out_entropy(unit: Tensor, same: Tensor, temperature: float) -> Tensor:
    """H(Y | Z) in bits of the leave-one-out kernel classifier, from standardised responses `unit` (n, d).

    p_ij = softmax over j != i of (u_i . u_j) / temperature; H = mean_i -log2 of the mass on j with same_ij = 1. Samples
    without a partner of their kind are left out; 0 when no sample has one. `same` (n, n) holds 0 and 1.
    Source: Goldberger et al., "Neighbourhood components analysis", NIPS (2004).
    """
    result: Tensor = _LeaveOneOutEntropy.apply(unit, same, temperature)  # type: ignore[no-untyped-call]
    return result


def input_gram(x: Tensor, factor: float = 0.5) -> Tensor:
    """Gram matrix of the network's input, as every unit's I(X; Z) sees it: standardised, Gaussian, bandwidth a `factor`
    of the rms distance."""
    x = standardise(x)
    return gaussian_gram(x, max(factor * rms_distance(x), _TINY))


def information_plane(z: Tensor, x_gram: Tensor, y_gram: Tensor, factor: float = 0.5) -> tuple[float, float, float]:
    """(I_2(X; Z), I_2(Z; Y), S_2(Z)) in bits of conditioned responses z (n, d): what the live curves show."""
    z = standardise(z)
    gram = gaussian_gram(z, max(factor * rms_distance(z), _TINY))
    n = z.shape[0]

    def entropy(*grams: Tensor) -> float:
        product = grams[0]
        for other in grams[1:]:
            product = product * other
        return -math.log2(float((product * product).sum()) / (n * n))

    s_z, s_x, s_y = entropy(gram), entropy(x_gram), entropy(y_gram)
    return s_x + s_z - entropy(gram, x_gram), s_y + s_z - entropy(gram, y_gram), s_z
