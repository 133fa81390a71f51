"""Line resistance against an exact nodal solution."""

from __future__ import annotations

import nodal
import numpy as np
import pytest

from drivers.chip.profiles import load_profile
from drivers.mock.wires import cell_attenuation
from pib_lab.quantities import Array

ROWS, COLUMNS = 128, 64


def _conductances(profile: str, pattern: str) -> Array:
    p = load_profile(profile)
    if pattern == "all high":
        return np.full((ROWS, COLUMNS), p.g_max_siemens, np.float32)
    rng = np.random.default_rng(3)
    return rng.uniform(p.g_min_siemens, p.g_max_siemens, (ROWS, COLUMNS)).astype(np.float32)


def _drives() -> Array:
    rng = np.random.default_rng(4)
    dense = rng.uniform(0.0, 0.2, (4, ROWS))
    sparse = 0.2 * (rng.random((4, ROWS)) < 0.2)
    single = 0.2 * np.eye(ROWS)[[0, ROWS // 2, ROWS - 1]]
    return np.concatenate([dense, sparse, single, np.full((1, ROWS), 0.2)]).astype(np.float32)


@pytest.mark.parametrize("pattern", ["random", "all high"])
@pytest.mark.parametrize("profile", ["chip-b", "wan-2022", "gong-2018-reram-es", "li-2018"])
def test_currents_are_within_one_percent_of_full_scale(profile: str, pattern: str) -> None:
    """At 128 x 64 and 1 ohm a segment, for dense, sparse, single-row and full drives, on every shipped window."""
    conductance, drive = _conductances(profile, pattern), _drives()
    transfer = conductance * cell_attenuation(conductance[:, np.newaxis], 1.0)[:, 0]
    exact = nodal.column_currents(conductance.astype(np.float64), drive.astype(np.float64), 1.0)
    full_scale_a = ROWS * load_profile(profile).g_max_siemens * 0.2
    assert np.abs(drive @ transfer - exact).max() < 0.01 * full_scale_a


def test_a_uniform_drive_is_solved_exactly() -> None:
    """For equal voltages on all rows the transfer is the nodal solution itself, but for the tolerance of the sweeps."""
    conductance = _conductances("chip-b", "random")
    drive = np.full((1, ROWS), 0.2, np.float32)
    transfer = conductance * cell_attenuation(conductance[:, np.newaxis], 1.0)[:, 0]
    exact = nodal.column_currents(conductance.astype(np.float64), drive.astype(np.float64), 1.0)
    np.testing.assert_allclose(drive @ transfer, exact, rtol=1e-3)


def test_ideal_wires_take_nothing() -> None:
    """Without resistance every cell sees the whole drive."""
    np.testing.assert_array_equal(cell_attenuation(_conductances("chip-b", "random")[:, np.newaxis], 0.0), 1.0)


def test_arrays_do_not_see_each_other() -> None:
    """Arrays solved together give what each gives alone."""
    first, second = _conductances("chip-b", "random"), _conductances("chip-b", "all high")
    together = cell_attenuation(np.stack([first, second], axis=1), 1.0)
    np.testing.assert_allclose(together[:, 0], cell_attenuation(first[:, np.newaxis], 1.0)[:, 0], atol=1e-3)
    np.testing.assert_allclose(together[:, 1], cell_attenuation(second[:, np.newaxis], 1.0)[:, 0], atol=1e-3)


def test_the_far_corner_loses_most() -> None:
    """Cells far from the driver and from the sense input see the least of the drive."""
    seen = cell_attenuation(_conductances("chip-b", "all high")[:, np.newaxis], 1.0)[:, 0]
    assert seen[0, -1] < seen[-1, -1] < 1.0
    assert seen[0, -1] < seen[0, 0] < 1.0
