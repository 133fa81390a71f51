"""Quantities: texts with units become SI numbers, and batches are checked before anything is sent."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pib_lab.errors import ConfigurationError, LimitError
from pib_lab.quantities import Quantity, parse_quantity

DRIVE = Quantity("V", (3,), 0.0, 0.2)
PREFIXES = {"": 1.0, "m": 1e-3, "u": 1e-6, "µ": 1e-6, "n": 1e-9, "k": 1e3}


@settings(deadline=None, derandomize=True)  # the first call imports pint
@given(
    st.floats(-1e6, 1e6, allow_subnormal=False),
    st.sampled_from(sorted(PREFIXES)),
    st.sampled_from(["V", "A", "s", "S", "Hz"]),
    st.sampled_from(["", " ", "  "]),
)
def test_prefixed_quantities_round_trip(value: float, prefix: str, unit: str, gap: str) -> None:
    """A number written with any prefix comes back in SI units."""
    parsed = parse_quantity(f"{value!r}{gap}{prefix}{unit}", unit)
    assert math.isclose(parsed, value * PREFIXES[prefix], rel_tol=1e-12, abs_tol=1e-300)


@settings(deadline=None, derandomize=True)  # the first call imports pint
@given(st.text(max_size=12))
def test_any_text_is_a_quantity_or_a_clear_error(text: str) -> None:
    """No text whatever makes the parser fail in another way than ConfigurationError, and it never gives a nan."""
    try:
        value = parse_quantity(text, "V")
    except ConfigurationError:
        return
    assert math.isfinite(value)


@pytest.mark.parametrize("text", ["1 A", "3 apples", "200", "", "mV +", "inf V", "nan V", 0.2, True])
def test_no_unit_or_a_wrong_one_is_refused(text: str | float) -> None:
    """What is not a finite quantity of the right dimension is refused, with the text in the message."""
    with pytest.raises(ConfigurationError, match=r"unit|quantity"):
        parse_quantity(text, "V")


@pytest.mark.parametrize("text", ["9**9**9**9 V", "1 V**9**9**9**9", "2222222**22^222222V 0/1V", f"1{'0' * 200} V"])
def test_a_quantity_is_read_and_never_computed(text: str) -> None:
    """A text that asks for arithmetic without end is refused at once."""
    with pytest.raises(ConfigurationError, match="write a number and a unit"):
        parse_quantity(text, "V")


@pytest.mark.parametrize("text", ["200 mV", "0.2V", "2e-1 J/C", "0.2 kg*m**2/s**3/A", "0.2 kg m^2 s^-3 A^-1"])
def test_units_may_be_products_and_powers(text: str) -> None:
    """A unit in other units of the same dimension is understood."""
    assert parse_quantity(text, "V") == pytest.approx(0.2)


def test_a_batch_within_limits_passes_and_an_empty_one_too() -> None:
    """Values on the limits, and up to round-off beyond, are allowed."""
    DRIVE.check_batch(np.array([[0.0, 0.1, 0.2 + 1e-8]], np.float32), "drive")
    DRIVE.check_batch(np.zeros((0, 3), np.float32), "drive")


@pytest.mark.parametrize("value", [0.21, -0.01, math.nan, math.inf])
def test_values_beyond_the_limits_are_refused(value: float) -> None:
    """One bad value in a batch refuses the whole batch and says that nothing was sent."""
    batch = np.full((4, 3), 0.1, np.float32)
    batch[2, 1] = value
    with pytest.raises(LimitError, match="nothing was sent"):
        DRIVE.check_batch(batch, "drive")


@pytest.mark.parametrize("shape", [(3,), (2, 4), (2, 3, 1)])
def test_wrong_shapes_are_refused(shape: tuple[int, ...]) -> None:
    """A batch of another shape names both shapes."""
    with pytest.raises(ConfigurationError, match="does not fit"):
        DRIVE.check_batch(np.zeros(shape, np.float32), "drive")


def test_size_and_span() -> None:
    """Size is the number of elements, span the width of the allowed interval."""
    quantity = Quantity("S", (2, 3, 2), 1e-6, 5e-6)
    assert quantity.size == 12
    assert quantity.span == pytest.approx(4e-6)
