"""Calibrations of an optical rig: each law that the simulated bench obeys is recovered within a stated error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from calibration_bench import calibrate, check_of, mock_rig
from optics_bench import RealRig

from data.passport import Passport
from drivers.bringup.catalogue import read_settings
from drivers.optics.calibration.job import RigJob
from drivers.optics.lut import TURN, PhaseLut
from drivers.optics.optical_rig import MockOpticalRig, read_lut
from pib_lab.bring_up import BringUp, load
from pib_lab.clocks import VirtualClock
from pib_lab.device import DeviceContext, UnitRequest
from pib_lab.errors import Cancelled, ConfigurationError, DeviceError, LimitError
from pib_lab.findings import Findings, Progress, Verdict
from pib_lab.unit import CancelToken

RIG = ("slm-lut", "camera-dark", "camera-linearity", "settle-time", "align-roi", "transmission-matrix", "drift-monitor")


def _keep(findings: Findings, folder: Path) -> None:
    """As a run's folder has them."""
    with (folder / "arrays.npz").open("wb") as file:
        np.savez(file, **dict(findings.arrays))  # type: ignore[arg-type]  # its stub takes no mapping


def _verdict(findings: Findings, name: str) -> Verdict:
    return check_of(findings, name).verdict


# slm-lut


def _phase_error_rad(device: MockOpticalRig, lut: PhaseLut) -> float:
    """The largest error on the circle of phases that are asked for by `lut`, a common offset apart."""
    wanted = np.linspace(0.0, TURN, 500, endpoint=False)
    off = np.exp(1j * (device.bench.panel.lut_rad[lut.to_gray(wanted)] - wanted))
    return float(np.abs(np.angle(off / off.mean())).max())


@pytest.mark.parametrize("seed", [1, 2])
def test_the_table_of_a_curved_panel_is_found(seed: int, tmp_path: Path) -> None:
    """With crosstalk, flicker and noise on, phases are within 0.12 rad, where the straight table is 0.45 rad off."""
    device = mock_rig(seed=seed)
    found = calibrate("slm-lut", device)
    assert found.verdict is Verdict.PASS
    _keep(found, tmp_path)
    lut = read_lut(str(tmp_path / "arrays.npz"), 256)
    assert _phase_error_rad(device, device.rig.lut) > 0.45
    assert _phase_error_rad(device, lut) < 0.12


def test_extrapolating_to_no_edges_takes_crosstalk_out() -> None:
    """With noise and flicker off, one edge alone leaves twice the error of the extrapolated curve."""
    device = mock_rig(flicker_rad=0.0, shot_noise=False, read_noise_e=0.0, power_noise=0.0)
    arrays = calibrate("slm-lut", device).arrays
    true = device.bench.panel.lut_rad[arrays["levels"]]
    one, none = (np.std(arrays[name] - true) for name in ("one_edge_rad", "measured_rad"))
    assert none < 0.04
    assert one > 2.0 * none


@pytest.mark.parametrize(
    ("override", "check"), [({"phase_range_rad": 5.0}, "phase range"), ({"photons_hz": 1.0}, "interference")]
)
def test_a_panel_that_cannot_be_calibrated_fails(override: dict[str, Any], check: str) -> None:
    """Less than a turn of phase, or light that does not follow the panel, fails its own check."""
    assert _verdict(calibrate("slm-lut", mock_rig(**override)), check) is Verdict.FAIL


# camera


def test_hot_and_blind_pixels_are_found(tmp_path: Path) -> None:
    """Exactly those of the bench, and the file serves as the rig's option `dark`."""
    device = mock_rig(seed=3, camera_hot=0.003, camera_dead=0.003)
    found = calibrate("camera-dark", device)
    assert found.verdict is Verdict.PASS
    detector = device.bench.detector
    np.testing.assert_array_equal(found.arrays["bad"], detector.hot | detector.dead)
    np.testing.assert_allclose(np.median(found.arrays["dark"]), 20.0, atol=0.1)
    _keep(found, tmp_path)
    unit = mock_rig(rig={"dark": str(tmp_path / "arrays.npz")}).unit(UnitRequest("layer", 16, 20))
    unit.open()
    assert "less the dark frame" in unit.how()


def test_a_shutter_that_stays_open_gives_no_dark_frame() -> None:
    """The procedure ends with an error, and keeps no frame with light in it."""
    device = mock_rig()
    access = device.bench_access()
    access.open()
    device.rig.light_on()
    device.shutter.stuck = True
    kind, settings = read_settings("camera-dark", {})
    with pytest.raises(DeviceError, match="did not read back closed"):
        kind.run(RigJob(access, lambda progress: None, CancelToken()), settings)


@pytest.mark.parametrize("e_per_count", [2.5, 4.0])
def test_gain_and_read_noise_come_from_photon_transfer(e_per_count: float) -> None:
    """Electrons a count within 3 %, read noise within 5 %, full well within 4 %; the camera is linear within 1 %."""
    device = mock_rig(e_per_count=e_per_count)
    found = calibrate("camera-linearity", device)
    assert found.verdict is Verdict.PASS
    gain, clipped = check_of(found, "gain").numbers, check_of(found, "clipping is told").numbers
    assert gain["e_per_count"] == pytest.approx(e_per_count, rel=0.03)
    assert gain["read_noise_e"] == pytest.approx(2.5, rel=0.05)
    assert clipped["full_well_e"] == pytest.approx(10000.0, rel=0.04)
    assert check_of(found, "linear").numbers["worst"] < 0.01


def test_clipping_is_not_tested_without_enough_light() -> None:
    """Exposures that clip nothing leave the question open, and the rig's own exposure is back afterwards."""
    device = mock_rig()
    found = calibrate("camera-linearity", device, longest="500 us")
    assert _verdict(found, "clipping is told") is Verdict.NOT_TESTED
    assert device.rig.exposure_s == pytest.approx(1e-3, rel=0.01)


def test_an_exposure_beyond_the_rigs_limit_is_refused() -> None:
    """exposure_max_s holds in calibrations as well, and the exposure before is back."""
    device = mock_rig(rig={"exposure_max_s": 2e-3})
    with pytest.raises(LimitError, match="exposure_max_s"):
        calibrate("camera-linearity", device)


# settle-time


@pytest.mark.parametrize(("latency_s", "response_s"), [(0.0167, 0.0056), (0.005, 0.003), (0.03, 0.008)])
def test_latency_and_settling_are_seen_by_light(latency_s: float, response_s: float) -> None:
    """Latency within 2.5 ms, response within 15 %, and the proposal within 10 % of what the panel's physics needs."""
    device = mock_rig(latency_s=latency_s, response_s=response_s)
    found = calibrate("settle-time", device)
    assert found.verdict is Verdict.PASS
    latency, response, proposed = found.arrays["settled_s"]
    assert latency == pytest.approx(latency_s, abs=2.5e-3)
    assert response == pytest.approx(response_s, rel=0.15)
    assert proposed == pytest.approx(device.slm.settle_s, rel=0.1)


def test_a_settle_time_that_is_too_short_fails() -> None:
    """A rig that would take frames too early is told what to set."""
    found = calibrate("settle-time", mock_rig(rig={"settle_s": 0.02}))
    check = check_of(found, "settle_s in force")
    assert check.verdict is Verdict.FAIL
    assert "set settle_s = 0.04" in check.detail


# align-roi


@pytest.mark.parametrize("width_px", [2.0, 4.0])
def test_the_width_of_a_speckle_is_found(width_px: float) -> None:
    """Within 5 %; regions of two pixels are then too narrow for four."""
    found = calibrate("align-roi", mock_rig(speckle_px=width_px, drift_s=0.0))
    assert check_of(found, "speckles in a region").numbers["speckle_px"] == pytest.approx(width_px, rel=0.05)
    assert (_verdict(found, "speckles in a region") is Verdict.PASS) == (width_px < 3.0)


def test_the_exposure_for_a_fifth_of_full_scale_is_proposed() -> None:
    """At half the exposure the check fails and proposes twice of it, within 10 %."""
    found = calibrate("align-roi", mock_rig(rig={"exposure_s": 0.0005}))
    check = check_of(found, "exposure")
    assert check.verdict is Verdict.FAIL
    assert check.numbers["proposed_s"] == pytest.approx(1e-3, rel=0.1)


def test_the_box_holds_the_light_of_the_whole_sensor() -> None:
    """Shortly behind the panel light is as wide as it; a region of interest beside it is widened for the look."""
    device = mock_rig("ideal", medium="free-space", distance_m=2e-4, rig={"roi": [0, 0, 8, 8]})
    top, left, height, width = calibrate("align-roi", device, regions=16).arrays["roi"]
    assert abs(top + height / 2 - 32) <= 2
    assert abs(left + width / 2 - 32) <= 2
    assert 14 <= height <= 22
    assert 14 <= width <= 22
    device.rig.open()
    assert device.camera.shape == (8, 8)


# transmission-matrix


def test_a_linear_medium_is_predicted_and_a_nonlinear_one_is_not() -> None:
    """Fidelity above 0.99 with everything off, above 0.6 on the whole bench, and failed with a Kerr medium."""
    assert check_of(calibrate("transmission-matrix", mock_rig("ideal")), "fidelity").numbers["mean"] > 0.99
    assert check_of(calibrate("transmission-matrix", mock_rig()), "fidelity").numbers["mean"] > 0.6
    kerr = calibrate("transmission-matrix", mock_rig("ideal", nonlinearity="kerr"))
    assert _verdict(kerr, "fidelity") is Verdict.FAIL


# drift-monitor


@pytest.mark.parametrize("drift_s", [600.0, 3600.0])
def test_the_correlation_time_of_the_field_is_found(drift_s: float) -> None:
    """Within 20 % from intensities; the faster one fails for its correlation after ten minutes."""
    found = calibrate("drift-monitor", mock_rig(drift_s=drift_s))
    assert check_of(found, "drift").numbers["field_time_s"] == pytest.approx(drift_s, rel=0.2)
    assert (_verdict(found, "drift") is Verdict.PASS) == (drift_s > 1000.0)


def test_a_medium_that_stands_still_gets_a_lower_bound() -> None:
    """No time is claimed where the correlation does not fall."""
    numbers = check_of(calibrate("drift-monitor", mock_rig(drift_s=0.0)), "drift").numbers
    assert "field_time_s" not in numbers
    assert numbers["field_time_at_least_s"] > 10 * 1800.0


def test_warming_up_ends_when_the_light_is_stable() -> None:
    """A warm laser is told after one window; one that starts 5 % low once it changes by less than 1 % a window."""
    still: dict[str, Any] = {"drift_s": 0.0, "power_noise": 0.0, "flicker_rad": 0.0}
    settings: dict[str, Any] = {"until_stable": "300 s", "every": "60 s", "duration": "2400 s", "pixels": 1024}
    warm = check_of(calibrate("drift-monitor", mock_rig(**still), **settings), "stable")
    cold = check_of(calibrate("drift-monitor", mock_rig(warmup_fraction=-0.05, **still), **settings), "stable")
    assert warm.numbers["stable_after_s"] == pytest.approx(300.0, abs=1.0)
    assert (
        614.0 < cold.numbers["stable_after_s"] < 730.0
    )  # 5 % exp(-t / 900 s) falls by 1 % in the window that ends at 614 s
    moving = calibrate("drift-monitor", mock_rig(drift_s=300.0), **settings)
    assert _verdict(moving, "stable") is Verdict.FAIL


def test_a_watch_that_is_stopped_keeps_what_it_saw() -> None:
    """The frames until then are judged, and the rest is not tested."""
    token, device = CancelToken(), mock_rig()
    access = device.bench_access()
    access.open()

    def publish(progress: Progress) -> None:
        if progress.done == 20:
            token.cancel()

    kind, settings = read_settings("drift-monitor", {})
    found = kind.run(RigJob(access, publish, token), settings)
    assert len(found.arrays["time_s"]) == 20
    assert _verdict(found, "completed") is Verdict.NOT_TESTED


# As protocols


@pytest.mark.parametrize("name", RIG)
def test_a_calibration_runs_from_its_protocol(name: str, tmp_path: Path) -> None:
    """The shipped protocol passes on the mock rig, leaves it dark, draws its plot, and enters the rig's passport."""
    made = BringUp(load(name, [], None), passport_dir=tmp_path / "passports")
    made.check()
    outcome = made.run(tmp_path, lambda progress: None, CancelToken())
    assert outcome.error is None
    assert outcome.record.verdict is Verdict.PASS
    assert (outcome.record.subject, outcome.record.serial) == ("rig", "mock-rig-1")
    assert made.report is not None
    assert made.report.confirmed == ("light",)
    assert len(outcome.record.plots) == 1
    assert (outcome.folder / outcome.record.plots[0]).stat().st_size > 10_000
    assert "rig mock-rig-1" in (outcome.folder / "summary.html").read_text(encoding="utf-8")
    (entry,) = Passport("mock-rig-1", tmp_path / "passports", mock=True).entries()
    assert (entry.procedure, entry.verdict) == (name, Verdict.PASS)


def test_a_stop_within_frames_is_an_abort(tmp_path: Path) -> None:
    """What is stopped leaves a record of a part, and the rig dark."""
    token = CancelToken()
    outcome = BringUp(load("slm-lut", [], None), passport_dir=tmp_path / "passports").run(
        tmp_path, lambda progress: token.cancel(), token
    )
    assert isinstance(outcome.error, Cancelled)
    assert outcome.record.status == "aborted"
    assert outcome.record.not_confirmed == ()


@pytest.mark.parametrize(
    ("protocol", "change", "message"),
    [
        ("slm-lut", "hardware.rig={driver='mock-memristor-chip'}", "no optical rig"),
        ("contact-check", "hardware.chip={driver='mock-optical-rig'}", "offers no probe"),
        ("slm-lut", "array={rows=2, columns=2}", "array: an optical rig has none"),
    ],
)
def test_a_procedure_on_the_wrong_kind_of_device_is_refused(protocol: str, change: str, message: str) -> None:
    """A chip is no rig and a rig no chip, said before anything is opened."""
    with pytest.raises(ConfigurationError, match=message):
        BringUp(load(protocol, [change], None)).check()


def test_a_chip_needs_its_array() -> None:
    """Only rigs go without one."""
    text = load("contact-check", [], None).replace("[array]\nrows = 16\ncolumns = 16\n", "")
    with pytest.raises(ConfigurationError, match="array: is missing"):
        BringUp(text).check()


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("slm-lut", {"points": 17, "repeats": 2}),
        ("camera-dark", {}),
        ("settle-time", {"repeats": 2}),
        ("align-roi", {}),
    ],
)
def test_a_rig_that_takes_frame_by_frame_is_calibrated_alike(name: str, settings: dict[str, Any]) -> None:
    """The device of real parts, on the same bench, passes through triggers and grabs alone."""
    real = RealRig(DeviceContext("rig", 2, VirtualClock()))
    access = real.device.bench_access()
    access.open()
    kind, read = read_settings(name, settings)
    found = kind.run(RigJob(access, lambda progress: None, CancelToken()), read)
    assert access.make_safe().safe
    assert found.verdict is Verdict.PASS, [check for check in found.checks if check.verdict is not Verdict.PASS]


def test_a_failed_frame_after_a_step_is_taken_again() -> None:
    """The step is repeated from its start; frames that fail more often than `attempts` end the procedure."""
    device = mock_rig()
    access = device.bench_access()
    access.open()
    before, after = np.zeros((16, 16), np.uint16), np.full((16, 16), 128, np.uint16)
    device.camera.fail_next.extend(["incomplete", "incomplete"])
    waited, pixels = access.after_step(before, after, 0.06, 0.2)
    assert waited == pytest.approx(0.0605, abs=1e-3)
    assert pixels.shape == (64, 64)
    device.camera.fail_next.extend(["incomplete"] * 3)
    with pytest.raises(DeviceError, match="incomplete"):
        access.after_step(before, after, 0.06, 0.2)
