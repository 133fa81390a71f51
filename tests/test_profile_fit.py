"""A profile fitted to pulses of a chip made by a known profile has that profile's numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bringup_bench import bring_up, mock_probe
from cli_tools import call
from test_passport import record

from data.procedure_record import write_record
from data.profile_fit import ProfileFit, fit_record, fit_response
from drivers.chip.profiles import load_profile, profile_sources
from pib_lab.errors import ConfigurationError
from pib_lab.findings import Findings

FINE = {"step_siemens": 5e-6, "soft_bound": 0.6, "asymmetry": -0.15, "relaxation_siemens": 0.5e-6}


def measured(override: dict[str, Any], pulses: int, sample: int = 32, seed: int = 4) -> Findings:
    """The pulse response of a chip of that profile."""
    probe = mock_probe((8, 8), override | {"adc_bits": 12}, seed=seed)
    return bring_up("pulse-response", probe, sample=sample, cycles=3, pulses=pulses)


def fitted(findings: Findings) -> ProfileFit:
    """The fit to it."""
    return fit_record(record(procedure="pulse-response", arrays=dict(findings.arrays)))


@pytest.fixture(scope="module")
def fine() -> Findings:
    """Of a profile with small steps."""
    return measured(FINE, 24)


@pytest.mark.parametrize("override", [FINE, {}], ids=["small steps", "chip-b"])
def test_known_numbers_are_recovered_within_their_errors(override: dict[str, Any], fine: Findings) -> None:
    """Step, soft bound, asymmetry, spreads, displacement and window come back within 3.5 standard errors, and those
    that are best told within 15 %."""
    findings = fine if override else measured({}, 14)
    fit, truth = fitted(findings), load_profile("chip-b", override)
    for key in (
        "step_siemens",
        "soft_bound",
        "asymmetry",
        "step_device_to_device",
        "step_cycle_to_cycle",
        "relaxation_siemens",
        "g_max_siemens",
    ):
        item, true = fit.numbers[key], float(getattr(truth, key))
        assert abs(item.value - true) < 3.5 * item.error + 0.02 * abs(true), f"{key}: {item} for {true}"
    for key in ("soft_bound", "step_siemens", "g_max_siemens"):
        assert fit.numbers[key].value == pytest.approx(getattr(truth, key), rel=0.15), key
    assert fit.numbers["g_min_siemens"].value < 0.5e-6
    assert fit.residual_siemens < 0.05 * truth.span_siemens


def test_another_device_gives_other_numbers(fine: Findings) -> None:
    """The fit follows the device: without soft bound and spreads it says so."""
    override = {"step_siemens": 4e-6, "soft_bound": 0.0, "asymmetry": 0.3}
    quiet = {"step_device_to_device": 0.0, "step_cycle_to_cycle": 0.0, "relaxation_siemens": 0.0, "read_noise": 0.0}
    numbers = fitted(measured(override | quiet, 20, sample=6)).numbers
    assert numbers["step_siemens"].value == pytest.approx(4e-6, rel=0.01)
    assert numbers["soft_bound"].value < 0.02
    assert numbers["asymmetry"].value == pytest.approx(0.3, abs=0.01)
    for key in ("step_device_to_device", "step_cycle_to_cycle"):
        assert numbers[key].value < 0.02
    assert numbers["relaxation_siemens"].value < 0.05e-6


def test_trains_that_do_not_come_to_rest_leave_the_window_alone() -> None:
    """Too few pulses to reach the bounds: window and displacement are not told, and a note says so."""
    fit = fitted(measured({"step_siemens": 4e-6}, 8, sample=8))
    assert "g_max_siemens" not in fit.numbers
    assert "relaxation_siemens" not in fit.numbers
    assert "step_cycle_to_cycle" not in fit.numbers
    assert "do not come to rest" in fit.notes[0]


def test_cells_that_do_not_respond_are_left_out(fine: Findings) -> None:
    """Stuck cells in the sample change nothing and are counted."""
    response = fine.arrays["response_siemens"]
    stuck = np.full_like(response[:2], 20e-6)
    with_stuck = fit_response(np.concatenate([response, stuck]), (0.0, 40e-6))
    assert with_stuck.left_out == 2
    alone = fitted(fine).numbers["step_siemens"].value
    assert with_stuck.numbers["step_siemens"].value == pytest.approx(alone, rel=1e-6)


def test_too_little_data_is_refused(fine: Findings) -> None:
    """Short trains, few cells and other procedures are refused with what to do."""
    response = fine.arrays["response_siemens"]
    with pytest.raises(ConfigurationError, match="at least 8 pulses"):
        fit_response(response[:, :, :, :6], (0.0, 40e-6))
    with pytest.raises(ConfigurationError, match="at least 4"):
        fit_response(response[:3], (0.0, 40e-6))
    with pytest.raises(ConfigurationError, match="pulse-response"):
        fit_record(record())


def test_command_line_writes_a_profile_that_the_mock_takes(tmp_path: Path, fine: Findings) -> None:
    """`profile fit` writes a profile in which every number carries its source, and shows and plots residuals."""
    run = tmp_path / "run"
    run.mkdir()
    made = record(procedure="pulse-response", arrays=dict(fine.arrays))
    write_record(run, made)
    done = call("profile", "fit", run)
    assert done.exit_code == 0, done.output
    assert "residual" in done.stdout
    assert (run / "fitted.png").stat().st_size > 10_000
    path = str(run / "fitted.toml")
    assert load_profile(path).step_siemens == pytest.approx(5e-6, rel=0.12)
    sources = profile_sources(path)
    assert sources["step_siemens"].startswith("fitted from run, chip A/1")
    assert sources["rows"].startswith("kept from chip-b: ")
    assert load_profile(path).rows == load_profile("chip-b").rows
