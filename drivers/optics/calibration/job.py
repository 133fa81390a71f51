"""What every calibration of a rig is given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from drivers.bringup.job import Steps
from drivers.optics.calibration.access import RigAccess
from pib_lab.findings import Measured, Publish
from pib_lab.unit import CancelToken


@dataclass(frozen=True)
class RigJob(Steps):
    """One run of a calibration. stored: what the rig's passport holds to compare with, by name."""

    rig: RigAccess
    publish: Publish
    cancel: CancelToken
    stored: Mapping[str, Measured] = field(default_factory=dict)
