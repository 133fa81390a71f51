"""What `pib-lab check` foresees of an array behind instruments is what their emulators take."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from smu_bench import EASY, Station

from drivers.chip.smu_matrix_chip import SmuMatrixUnit
from drivers.latencies import LIKE_REAL
from pib_lab.device import UnitRequest
from pib_lab.quantities import Array
from pib_lab.unit import CancelToken

SETTLE_S = 0.01


def _unit(scheme: str = "v/2", swapped: bool = False, **more: Any) -> tuple[SmuMatrixUnit, Station]:
    """An open unit of 2 inputs and 2 pairs on a station with all latencies; the matrix settles as the shipped one."""
    station = Station(lines=(2, 4), override=EASY, scheme=scheme, swapped=swapped, latency=LIKE_REAL, more=more)
    station.more = {**more, "matrix": {"address": "matrix", "settle_s": SETTLE_S}}
    unit = station.device().unit(UnitRequest("unit", 2, 2))
    unit.open()
    unit.program(np.full((2, 2, 2), 15e-6, np.float32))  # outputs are on from now on
    return unit, station


def _batch(unit: SmuMatrixUnit, bits: int) -> Array:
    """Four samples that drive rows in every plane."""
    codes = np.random.default_rng(1).integers(1, 2**bits, (4, 2))
    codes[:, 0] = 2**bits - 1
    return np.asarray(codes * unit.spec.drive.high / (2**bits - 1), np.float32)


@pytest.mark.parametrize(
    ("scheme", "swapped", "more"),
    [
        ("v/2", False, {"drive_bits": 2, "nplc": 0.1}),
        ("v/2", False, {"drive_bits": 2, "nplc": 1.0}),
        ("v/3", False, {"drive_bits": 3, "nplc": 0.01}),
        ("1t1r", False, {"drive_bits": 2, "nplc": 0.1}),
        ("v/2", True, {"drive_bits": 2, "nplc": 0.1}),
    ],
)
def test_costs_are_those_of_the_instruments(scheme: str, swapped: bool, more: dict[str, Any]) -> None:
    """A batch, a reading of all cells, and a write with its pulses take what was foreseen, within 30 %."""
    unit, station = _unit(scheme, swapped, **more)
    costs = unit.costs()
    began_s = station.clock.now_s()
    unit.measure(_batch(unit, more["drive_bits"]), cancel=CancelToken())
    assert station.clock.now_s() - began_s == pytest.approx(4 * costs.sample_s, rel=0.3)
    began_s = station.clock.now_s()
    _, passes = unit.read_parameters(cancel=CancelToken())
    assert station.clock.now_s() - began_s == pytest.approx(passes * costs.verify_s, rel=0.3)
    began_s, pulses, verified = station.clock.now_s(), unit.pulses().sum(), unit.verify_passes()
    unit.program(np.full((2, 2, 2), 25e-6, np.float32))
    foreseen_s = (unit.pulses().sum() - pulses) * costs.pulse_s + (unit.verify_passes() - verified) * costs.verify_s
    assert station.clock.now_s() - began_s == pytest.approx(foreseen_s, rel=0.3)


@pytest.mark.parametrize("slower", [{"command_s": 0.02}, {"closure_s": 0.05}, {"cycle_s": 0.2}])
def test_links_relays_and_conversions_are_in_the_costs(slower: dict[str, float]) -> None:
    """A sample, a verify pass and a pulse all take longer when links or relays do; readings when conversions do."""
    from drivers.chip.smu_matrix_costs import unit_costs

    unit, _ = _unit(drive_bits=2)
    usual, more = (
        unit_costs(unit._options, (2, 2), 0.2, 6, latency) for latency in (LIKE_REAL, replace(LIKE_REAL, **slower))
    )
    assert more.sample_s > 1.5 * usual.sample_s
    assert more.verify_s > 1.5 * usual.verify_s
    assert more.pulse_s > 1.5 * usual.pulse_s or "cycle_s" in slower
