"""Bias schemes: which cells see which voltage while one is pulsed, at the end and on the way there."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.chip.bias_schemes import (
    Bus,
    Scheme,
    count_disturbs,
    disturbed,
    fractions,
    least_safe_threshold_v,
    select,
    stages,
    stress,
)
from pib_lab.errors import ConfigurationError

SHARE = {Scheme.TRANSISTOR: 0.0, Scheme.HALF: 1 / 2, Scheme.THIRD: 1 / 3}


@st.composite
def _cells(draw: st.DrawFn) -> tuple[Scheme, tuple[int, int], int, int]:
    shape = draw(st.integers(1, 16)), draw(st.integers(1, 16))
    row, column = draw(st.integers(0, shape[0] - 1)), draw(st.integers(0, shape[1] - 1))
    return draw(st.sampled_from(Scheme)), shape, row, column


@given(_cells(), st.sampled_from([1.0, -1.0]))
def test_only_the_selected_cell_sees_the_whole_voltage(
    cell: tuple[Scheme, tuple[int, int], int, int], volts: float
) -> None:
    """The selected cell sees V, of either sign, and no other more than the scheme's share of it."""
    scheme, shape, row, column = cell
    across = stress(select(scheme, shape, row, column), fractions(scheme), volts)
    assert across[row, column] == pytest.approx(volts)
    across[row, column] = 0.0
    assert np.abs(across).max(initial=0.0) <= SHARE[scheme] * abs(volts) + 1e-12


@given(_cells())
def test_no_other_cell_sees_more_on_the_way_up_or_down(cell: tuple[Scheme, tuple[int, int], int, int]) -> None:
    """After every stage, and so in reverse, the share is kept, by the selected cell too until the pulse itself."""
    scheme, shape, row, column = cell
    selection, at = select(scheme, shape, row, column), {}
    for number, (bus, fraction) in enumerate(stages(scheme), 1):
        at[bus] = fraction
        across = np.abs(stress(selection, at, 1.0))
        pulse = number == len(stages(scheme))
        assert across[row, column] == pytest.approx(1.0) if pulse else across[row, column] <= SHARE[scheme] + 1e-12
        across[row, column] = 0.0
        assert across.max(initial=0.0) <= SHARE[scheme] + 1e-12


@given(_cells())
def test_no_line_floats(cell: tuple[Scheme, tuple[int, int], int, int]) -> None:
    """Every row, column and gate is on a bus that stands somewhere."""
    scheme, shape, row, column = cell
    selection = select(scheme, shape, row, column)
    assert (len(selection.rows), len(selection.columns)) == shape
    assert len(selection.gates) == (shape[0] if scheme is Scheme.TRANSISTOR else 0)
    assert {*selection.rows, *selection.columns, *selection.gates} <= set(fractions(scheme))


@pytest.mark.parametrize(("scheme", "others"), [(Scheme.TRANSISTOR, 0), (Scheme.HALF, 3 + 4), (Scheme.THIRD, 19)])
def test_disturbed_cells_are_those_with_a_share_of_the_voltage(scheme: Scheme, others: int) -> None:
    """In a 4 x 5 array: none behind transistors, row and column at V/2, all others at V/3; never the cell itself."""
    seen = disturbed(scheme, (4, 5), 1, 2)
    assert np.count_nonzero(seen) == others
    assert not seen[1, 2]


def test_disturbs_add_up() -> None:
    """Each pulse counts once for each disturbed cell."""
    counts = np.zeros((3, 3), np.int32)
    count_disturbs(counts, Scheme.HALF, 0, 0, 5)
    count_disturbs(counts, Scheme.HALF, 0, 2, 2)
    np.testing.assert_array_equal(counts, [[2, 7, 5], [5, 0, 2], [5, 0, 2]])


def test_the_gate_is_up_before_the_drain() -> None:
    """The gate is the first stage, so in reverse it comes down last."""
    assert stages(Scheme.TRANSISTOR)[0][0] is Bus.GATE
    assert stages(Scheme.TRANSISTOR)[-1][0] is Bus.DRIVE


def test_the_threshold_that_a_scheme_needs() -> None:
    """Cells must not switch at their share of the voltage."""
    assert least_safe_threshold_v(Scheme.HALF, -0.9) == pytest.approx(0.45)
    assert least_safe_threshold_v(Scheme.THIRD, 0.9) == pytest.approx(0.3)


def test_a_cell_outside_the_array_is_refused() -> None:
    """The message names the cell and the array."""
    with pytest.raises(ConfigurationError, match=r"\(3, 0\).*3 x 3"):
        select(Scheme.HALF, (3, 3), 3, 0)
