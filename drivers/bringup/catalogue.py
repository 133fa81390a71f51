"""The procedures by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from drivers.bringup import (
    contact_check,
    daily_check,
    form_cells,
    iv_sweep,
    map_conductance,
    pulse_response,
    scan_faults,
)
from drivers.bringup.extremes import Extreme
from drivers.bringup.job import Job
from drivers.bringup.reach import Subject
from drivers.optics.calibration import (
    align_roi,
    camera_dark,
    camera_linearity,
    drift_monitor,
    settle_time,
    slm_lut,
    transmission_matrix,
)
from drivers.optics.calibration.job import RigJob
from pib_lab.errors import ConfigurationError, nearest
from pib_lab.findings import Findings
from pib_lab.procedure import Settings, validated


@dataclass(frozen=True, slots=True)
class Kind:
    """A procedure: its settings, what carries it out, and the most pulses that one cell gets between two tellings of
    its progress, for the wear that a killed procedure is charged with. job: what it is given, on a chip or on a rig.
    extremes: the strongest that it will do to the chip behind a probe."""

    settings: type[Settings]
    run: Callable[[Any, Any], Findings]
    most_pulses: Callable[[Any], int] = lambda settings: 0
    job: Callable[..., Job | RigJob] = Job
    extremes: Callable[[Any, Any], Sequence[Extreme]] = lambda settings, probe: ()

    @property
    def subject(self) -> Subject:
        """What the procedure is about."""
        return "chip" if self.job is Job else "rig"


KINDS = {
    "contact-check": Kind(contact_check.ContactCheck, contact_check.run, extremes=contact_check.extremes),
    "form-cells": Kind(
        form_cells.FormCells,
        form_cells.run,
        lambda s: s.max_pulses + s.reset_attempts,
        extremes=form_cells.extremes,
    ),
    "iv-sweep": Kind(
        iv_sweep.IvSweep, iv_sweep.run, lambda s: s.cycles * (4 * s.points + 2), extremes=iv_sweep.extremes
    ),
    "pulse-response": Kind(
        pulse_response.PulseResponse,
        pulse_response.run,
        lambda s: s.pulses * (2 * s.cycles + 1),
        extremes=pulse_response.extremes,
    ),
    "map-conductance": Kind(map_conductance.MapConductance, map_conductance.run, extremes=map_conductance.extremes),
    "scan-faults": Kind(
        scan_faults.ScanFaults,
        scan_faults.run,
        lambda s: scan_faults.MOST_PULSES,
        extremes=scan_faults.extremes,
    ),
    "daily-check": Kind(daily_check.DailyCheck, daily_check.run, extremes=daily_check.extremes),
    "slm-lut": Kind(slm_lut.SlmLut, slm_lut.run, job=RigJob),
    "camera-dark": Kind(camera_dark.CameraDark, camera_dark.run, job=RigJob),
    "camera-linearity": Kind(camera_linearity.CameraLinearity, camera_linearity.run, job=RigJob),
    "settle-time": Kind(settle_time.SettleTime, settle_time.run, job=RigJob),
    "align-roi": Kind(align_roi.AlignRoi, align_roi.run, job=RigJob),
    "transmission-matrix": Kind(transmission_matrix.TransmissionMatrix, transmission_matrix.run, job=RigJob),
    "drift-monitor": Kind(drift_monitor.DriftMonitor, drift_monitor.run, job=RigJob),
}


def find(name: str) -> Kind:
    """The procedure `name`. Raises ConfigurationError for one that does not exist."""
    if name not in KINDS:
        raise ConfigurationError(
            f"procedure.name: {name!r} is unknown{nearest(name, KINDS)} (known: {', '.join(KINDS)})"
        )
    return KINDS[name]


def read_settings(name: str, options: dict[str, Any]) -> tuple[Kind, Settings]:
    """The procedure and its validated settings. Raises ConfigurationError for a mistake in either."""
    kind = find(name)
    return kind, validated(kind.settings, options, "procedure")
