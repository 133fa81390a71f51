"""The daily check compares with what the passport holds, and fails for drift of each part."""

from __future__ import annotations

from typing import Any

import pytest
from bringup_bench import bring_up, check_of, failed, mock_probe

from drivers.bringup.daily_check import CELLS, GOLDEN
from pib_lab.findings import Verdict

SILENT = {"relaxation_siemens": 0.0, "read_noise": 0.005}


def test_first_check_keeps_references_and_the_second_passes() -> None:
    """Nothing to compare with is not tested and offered to the passport; with it, the same chip passes."""
    first = bring_up("daily-check", mock_probe(override=SILENT))
    assert check_of(first, "golden vector").verdict is Verdict.NOT_TESTED
    assert set(first.reference) == {CELLS, GOLDEN}
    second = bring_up("daily-check", mock_probe(override=SILENT), dict(first.reference))
    assert [check.verdict for check in second.checks] == [Verdict.PASS] * 6


@pytest.mark.parametrize(
    ("defect", "checks"),
    [
        ({"offset_a": 5e-6}, {"zero", "gain", "reference cells", "golden vector"}),
        ({"gain": 1.08}, {"gain", "golden vector"}),
        ({"temperature_k": 330.0}, {"temperature"}),
        ({"open_columns": [1]}, {"reference cells", "golden vector"}),
        ({"open_rows": [3]}, {"reference cells", "golden vector"}),
    ],
)
def test_each_drift_is_found(defect: dict[str, Any], checks: set[str]) -> None:
    """An offset, a wrong gain, a hot chip and a lost line each fail the checks that can see them."""
    kept = dict(bring_up("daily-check", mock_probe(override=SILENT), cells=36).reference)
    found = bring_up("daily-check", mock_probe(override=SILENT, **defect), kept, cells=36)
    assert set(failed(found)) == checks


def test_references_of_another_number_are_not_compared() -> None:
    """Kept values of another number of cells fail, with what to do."""
    kept = dict(bring_up("daily-check", mock_probe(override=SILENT)).reference)
    found = bring_up("daily-check", mock_probe(override=SILENT), kept, cells=4)
    assert "set renew = true" in check_of(found, "reference cells").detail


def test_a_chip_without_sensor_is_not_tested_for_temperature() -> None:
    """No temperature sensor: not tested, and no failure."""
    findings = bring_up("daily-check", mock_probe(temperature_k=None))
    assert check_of(findings, "temperature").verdict is Verdict.NOT_TESTED
    assert findings.verdict is Verdict.INCOMPLETE


def test_renew_puts_the_present_state_in_the_place_of_the_kept() -> None:
    """With `renew` nothing is compared, and what is read now is offered to the passport."""
    first = bring_up("daily-check", mock_probe(override=SILENT))
    again = bring_up("daily-check", mock_probe(override=SILENT, seed=5), dict(first.reference), renew=True)
    assert check_of(again, "golden vector").verdict is Verdict.NOT_TESTED
    assert (again.reference[GOLDEN] != first.reference[GOLDEN]).any()
