"""Local losses: each is made from Gram matrices of what was measured at one unit (the read-out's is a cross-entropy).

"PIB as implemented here": only the paper's abstract was at hand, so the losses below are this project's own choice
within the bottleneck  minimise beta I(X; Z) - I(Z; Y)  that the abstract names. An objective is any frozen dataclass
with `loss(z, context)`; third parties register theirs under the entry-point group `pib_lab.objectives`.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.metadata
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from pib_lab.entropy import (
    gaussian_gram,
    gaussian_mutual_information2,
    label_gram,
    leave_one_out_entropy,
    mutual_information,
    rms_distance,
    standardise,
)
from pib_lab.errors import ConfigurationError, nearest
from pib_lab.experiment import check_options
from pib_lab.quantities import Array

GROUP = "pib_lab.objectives"


@dataclass(frozen=True)
class Context:
    """What a local loss may look at besides the unit's response: targets, and the network's input as a Gram matrix."""

    labels: Tensor  # (n,) int64
    classes: int
    x_gram: Tensor  # (n, n), unit diagonal

    @functools.cached_property
    def y_gram(self) -> Tensor:
        """Gram matrix of the target: 1 for samples of the same class."""
        return label_gram(self.labels, self.x_gram.dtype)


@runtime_checkable
class Objective(Protocol):
    """A local loss."""

    def loss(self, z: Tensor, context: Context) -> Tensor:
        """Scalar loss of conditioned responses z (n, d), differentiable in z by torch's autograd."""


@dataclass(frozen=True)
class ConditionalEntropy:
    """H(Y | Z) + beta I(X; Z), in bits, with H(Y | Z) from the leave-one-out kernel classifier.

    K = standardised Gram matrix (cosines of responses centred over the batch); p_ij = softmax_j(K_ij / temperature)
    without j = i; H = mean_i -log2 sum_{j: y_j = y_i} p_ij. As I(Z; Y) = H(Y) - H(Y | Z) and H(Y) does not depend on
    the unit, this is the bottleneck with another estimator of I(Z; Y). Samples alone in their class are left out.
    Source of the estimator: Goldberger et al., "Neighbourhood components analysis" (2004).
    """

    temperature: float = 0.1
    beta: float = 0.0
    bandwidth: float = 0.5  # of I(X; Z)'s kernel, as a fraction of the rms distance

    def loss(self, z: Tensor, context: Context) -> Tensor:
        """Scalar, bits."""
        unit = standardise(z)
        entropy = leave_one_out_entropy(unit, context.y_gram, self.temperature)
        if self.beta:
            width = _width(unit, self.bandwidth)
            entropy = entropy + self.beta * gaussian_mutual_information2(unit, context.x_gram, width)
        return entropy


@dataclass(frozen=True)
class RidgeEntropy:
    """H(Y | Z) + beta I(X; Z), in bits, with H(Y | Z) from the leave-one-out kernel ridge classifier.

    K = linear Gram matrix of responses centred over the batch, in units of its mean diagonal; with one-hot targets T
    less their mean and H = (K + ridge 1)^-1, the prediction for sample i from all others is
    f_i = T_i - (H T)_i / H_ii, and H(Y | Z) = mean_i -log2 softmax(f_i / temperature)_{y_i}. It asks what a linear
    read-out could decode, where `ConditionalEntropy` asks whether neighbours agree; any decoder's cross-entropy bounds
    H(Y | Z) from above, so the bottleneck's I(Z; Y) is bounded from below. Nothing is trained for it, and no other unit
    is asked.

    With Z (n, d) and S = L^-1 Z^T, L L^T = Z^T Z + ridge 1, the same numbers cost O(n d^2 + d^3) instead of O(n^3):
    K H = S^T S =: P and f_i = ((P T)_i - P_ii T_i) / (1 - P_ii).
    Sources: leave-one-out residuals, Allen, Technometrics 16 (1974); the bound, Xu et al., "A theory of usable
    information", ICLR (2020).
    """

    temperature: float = 0.12
    ridge: float = 1.0
    beta: float = 0.0
    bandwidth: float = 0.5  # of I(X; Z)'s kernel, as a fraction of the rms distance

    def loss(self, z: Tensor, context: Context) -> Tensor:
        """Scalar, bits."""
        centred = z - z.mean(dim=0, keepdim=True)
        size = (centred * centred).sum(dim=1).mean().clamp_min(1e-24).sqrt()
        centred = centred / size
        target = torch.nn.functional.one_hot(context.labels, context.classes).to(z.dtype)
        target = target - target.mean(dim=0)
        covariance = centred.T @ centred
        covariance.diagonal().add_(self.ridge)
        s = torch.linalg.solve_triangular(torch.linalg.cholesky(covariance), centred.T, upper=False)
        leverage = (s * s).sum(dim=0)[:, None]
        predicted = (s.T @ (s @ target) - leverage * target) / (1.0 - leverage).clamp_min(1e-4)
        entropy = torch.nn.functional.cross_entropy(predicted / self.temperature, context.labels) / math.log(2.0)
        if self.beta:
            unit = standardise(z)
            width = _width(unit, self.bandwidth)
            entropy = entropy + self.beta * gaussian_mutual_information2(unit, context.x_gram, width)
        return entropy


@dataclass(frozen=True)
class RenyiBottleneck:
    """beta I_a(X; Z) - I_a(Z; Y), in bits, from Gaussian Gram matrices of the standardised response.

    K_ij = exp(-|z_i - z_j|^2 / 2 s^2), s = `bandwidth` x rms distance. Order 2 in closed form, others by eigenvalues.
    """

    beta: float = 0.0
    bandwidth: float = 0.5
    order: float = 2.0

    def loss(self, z: Tensor, context: Context) -> Tensor:
        """Scalar, bits."""
        unit = standardise(z)
        width = _width(unit, self.bandwidth)
        if self.order == 2.0:
            loss = -gaussian_mutual_information2(unit, context.y_gram, width)
            return loss + self.beta * gaussian_mutual_information2(unit, context.x_gram, width) if self.beta else loss
        gram = gaussian_gram(unit, width)
        loss = -mutual_information(gram, context.y_gram, self.order)
        return loss + self.beta * mutual_information(gram, context.x_gram, self.order) if self.beta else loss


def _width(unit: Tensor, fraction: float) -> float:
    """Kernel width as a fraction of the rms distance; not 0 even for a dead unit, whose responses are all alike."""
    return max(fraction * rms_distance(unit.detach()), 1e-9)


@dataclass(frozen=True)
class NormalisedHsic:
    """beta nHSIC(X, Z) - nHSIC(Z, Y): centred kernel alignment of linear-kernel responses, each between 0 and 1.

    nHSIC(A, B) = tr(A H B H) / (||H A H||_F ||H B H||_F), H = I - 11^T/n.
    Source: Ma, Lewis, Kleijn, "The HSIC bottleneck", AAAI (2020).
    """

    beta: float = 0.0

    def loss(self, z: Tensor, context: Context) -> Tensor:
        """Scalar, no unit."""
        centred = z - z.mean(dim=0, keepdim=True)
        gram = centred @ centred.T
        loss = -_alignment(gram, context.y_gram)
        return loss + self.beta * _alignment(gram, context.x_gram) if self.beta else loss


def _alignment(centred: Tensor, other: Tensor) -> Tensor:
    other = other - other.mean(dim=0, keepdim=True)
    other = other - other.mean(dim=1, keepdim=True)
    alignment: Tensor = (centred * other).sum() / (centred.norm() * other.norm()).clamp_min(1e-12)
    return alignment


@dataclass(frozen=True)
class CrossEntropy:
    """The read-out's own local loss, in bits: cross-entropy of softmax(gain z). Local, but not a Gram matrix."""

    gain: float = 4.0

    def loss(self, z: Tensor, context: Context) -> Tensor:
        """Scalar, bits."""
        nats = torch.nn.functional.cross_entropy(self.gain * z, context.labels)
        return nats / torch.log(torch.tensor(2.0))


def evaluate(objective: Objective, z: Array, context: Context) -> tuple[float, Array]:
    """(loss, dL/dz) of conditioned responses z (n, d)."""
    tensor = torch.from_numpy(z).requires_grad_(True)
    loss = objective.loss(tensor, context)
    if not loss.requires_grad:  # a batch in which nothing can be learned: no sample has a partner
        return float(loss.detach()), torch.zeros_like(tensor).numpy()
    (gradient,) = torch.autograd.grad(loss, tensor)
    return float(loss.detach()), gradient.numpy()


def registered() -> Mapping[str, importlib.metadata.EntryPoint]:
    """All objectives known on this machine, by name."""
    return {entry.name: entry for entry in importlib.metadata.entry_points(group=GROUP)}


def make_objective(name: str, options: dict[str, Any]) -> Objective:
    """The objective registered as `name`, with its options.

    Raises ConfigurationError for an unknown name, an unknown option or a value of the wrong type.
    """
    known = registered()
    if name not in known:
        raise ConfigurationError(
            f"objective {name!r} is unknown{nearest(name, known)} (known: {', '.join(sorted(known))})"
        )
    factory: Callable[..., Any] = known[name].load()
    if dataclasses.is_dataclass(factory):
        defaults = {field.name: field.default for field in dataclasses.fields(factory)}
        check_options(options, defaults, f"objective {name}")
        for key, value in options.items():
            if isinstance(defaults[key], float):
                _check_number(value, key, f"objective {name}.{key}")
    try:
        objective = factory(**options)
    except TypeError as error:  # a factory that is no dataclass, or one with an option that has no default
        raise ConfigurationError(f"objective {name}: {error}") from error
    if not isinstance(objective, Objective):
        raise ConfigurationError(f"objective {name}: {factory!r} has no method loss(z, context)")
    return objective


def _check_number(value: Any, key: str, where: str) -> None:
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise ConfigurationError(f"{where}: {value!r} is not a finite number")
    if value < 0 or (value == 0 and key != "beta"):
        raise ConfigurationError(f"{where}: {value} must be above 0")
