"""Optimisers and the digital accumulator: from gradients to what is worth a pulse."""

from __future__ import annotations

import hypothesis.extra.numpy as arrays_of
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pib_lab.quantities import Array
from pib_lab.updates import Accumulator, Adam, Momentum, Optimiser


def gradients(n: int = 8, scale: float = 1.0, seed: int = 0) -> list[Array]:
    rng = np.random.default_rng(seed)
    return [(scale * rng.standard_normal((3, 4))).astype(np.float32) for _ in range(n)]


def test_adam_is_the_published_one() -> None:
    """Every step equals that of torch.optim.Adam with a vanishing eps."""
    parameter = torch.zeros(3, 4, requires_grad=True)
    theirs = torch.optim.Adam([parameter], lr=0.01, betas=(0.9, 0.99), eps=1e-12)
    ours, position = Adam((3, 4), 0.9, 0.99), np.zeros((3, 4), np.float32)
    for gradient in gradients():
        parameter.grad = torch.from_numpy(gradient.copy())
        theirs.step()
        position += ours.step(gradient, 0.01)
        np.testing.assert_allclose(position, parameter.detach().numpy(), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("scale", [1e-15, 1e-6, 1e6, 1e15])
@pytest.mark.parametrize("kind", ["adam", "momentum"])
def test_the_unit_of_the_gradient_does_not_matter(scale: float, kind: str) -> None:
    """Gradients per siemens or per microsiemens give the same steps."""

    def make() -> Optimiser:
        return Adam((3, 4), 0.9, 0.99) if kind == "adam" else Momentum((3, 4), 0.9)

    plain, scaled = make(), make()
    for small, large in zip(gradients(), gradients(scale=scale), strict=True):
        np.testing.assert_allclose(scaled.step(large, 0.1), plain.step(small, 0.1), rtol=2e-3, atol=1e-6)


@pytest.mark.parametrize("optimiser", [Adam((3, 4), 0.9, 0.99), Momentum((3, 4), 0.9)], ids=["adam", "momentum"])
def test_nothing_moves_without_a_gradient(optimiser: Optimiser) -> None:
    """Zero gradients give zero steps, and the first real one after them counts in full."""
    zero = np.zeros((3, 4), np.float32)
    assert not optimiser.step(zero, 0.1).any()
    step = optimiser.step(gradients(scale=1e-12)[0], 0.1)
    assert np.isfinite(step).all()
    assert 0.01 < float(np.abs(step).max()) < 1.0


def test_momentum_steps_by_the_rate() -> None:
    """The rms step is the learning rate, and it points against the running gradient."""
    optimiser, running = Momentum((3, 4), 0.5), np.zeros((3, 4))
    for gradient in gradients():
        running = 0.5 * running + 0.5 * gradient
        step = optimiser.step(gradient, 0.02)
        assert float(np.sqrt(np.mean(step**2))) == pytest.approx(0.02, rel=1e-4)
        np.testing.assert_allclose(step, -0.02 * running / np.sqrt(np.mean(running**2)), rtol=1e-3, atol=1e-6)


def test_a_gradient_is_left_as_it_was() -> None:
    """Optimisers do not write to what they are given."""
    for optimiser in (Adam((3, 4), 0.9, 0.99), Momentum((3, 4), 0.9)):
        gradient = gradients()[0]
        optimiser.step(gradient, 0.1)
        np.testing.assert_array_equal(gradient, gradients()[0])


@pytest.mark.parametrize("taken", [0, 3])
@pytest.mark.parametrize("kind", ["adam", "momentum"])
def test_a_snapshot_brings_everything_back(taken: int, kind: str) -> None:
    """A restored optimiser steps bit-identically, also when the snapshot is from before the first step."""

    def make() -> Optimiser:
        return Adam((3, 4), 0.9, 0.99) if kind == "adam" else Momentum((3, 4), 0.9)

    first, second = make(), make()
    for gradient in gradients()[:taken]:
        first.step(gradient, 0.1)
    second.restore(first.snapshot())
    for gradient in gradients()[taken:]:
        np.testing.assert_array_equal(first.step(gradient, 0.1), second.step(gradient, 0.1))


@given(
    st.lists(arrays_of.arrays(np.float32, 6, elements=st.floats(-0.03125, 0.03125, width=32)), min_size=1, max_size=40),
    st.floats(0.01, 0.2),
)
@settings(max_examples=60, deadline=None)
def test_no_update_is_lost(changes: list[Array], deadband: float) -> None:
    """What a device that is programmed when due holds is always within the deadband of the sum of all updates."""
    start = np.full(6, 0.5, np.float32)
    accumulator, wanted = Accumulator(start, deadband), start.copy()
    for change in changes:
        accumulator.add(change)
        wanted = np.clip(wanted + change, 0.0, 1.0)
        due = accumulator.due(np.ones(6, np.bool_))
        accumulator.held = np.where(due, accumulator.target, accumulator.held)
        np.testing.assert_allclose(accumulator.target, wanted, atol=1e-6)
        assert float(np.abs(accumulator.held - wanted).max()) < deadband + 1e-6


def test_updates_smaller_than_a_pulse_are_programmed_in_the_end() -> None:
    """Ten updates of a tenth of a step: nothing is due at first, all is due at the tenth."""
    accumulator = Accumulator(np.full(4, 0.25, np.float32), 0.0625)
    everywhere = np.ones(4, np.bool_)
    due = []
    for _ in range(10):
        accumulator.add(np.full(4, 0.0063, np.float32))
        due.append(bool(accumulator.due(everywhere).all()))
    assert due == [False] * 9 + [True]


def test_targets_stay_within_the_limits() -> None:
    """An update beyond the range stops at its end, and the way back starts there."""
    accumulator = Accumulator(np.array([0.9], np.float32), 0.01)
    accumulator.add(np.array([5.0], np.float32))
    accumulator.add(np.array([-0.25], np.float32))
    assert float(accumulator.target[0]) == pytest.approx(0.75)


def test_unusable_parameters_are_never_due() -> None:
    """A known-bad cell gets no pulse however far its target is."""
    accumulator = Accumulator(np.zeros(3, np.float32), 0.01)
    accumulator.add(np.full(3, 0.5, np.float32))
    assert accumulator.due(np.array([True, False, True])).tolist() == [True, False, True]
