"""Which devices can be taken into a person's hands, and how."""

from __future__ import annotations

from drivers.chip.board_chip import MemristorBoard
from drivers.chip.line_manual import board_manual, mock_manual
from drivers.chip.mock_chip import MockMemristorChip
from drivers.chip.smu_matrix_chip import MemristorSmuMatrix
from drivers.chip.smu_matrix_manual import SmuMatrixManual
from drivers.controls import Manual, OffersManual
from drivers.optics.calibration.access import OffersRig
from drivers.optics.manual import RigManual
from pib_lab.device import Device
from pib_lab.errors import ConfigurationError


def manual_of(device: Device, name: str, drive_v: float, current_a: float) -> Manual:
    """Manual control of `device`, which the protocol calls `name`. No I/O.

    drive_v, current_a: the protocol's limits, within which the device's own still hold. Raises ConfigurationError for a
    device that offers none.
    """
    match device:
        case OffersManual():
            return device.manual()
        case MemristorSmuMatrix():
            return SmuMatrixManual(device, drive_v, current_a)
        case MemristorBoard():
            return board_manual(device, name, drive_v, current_a)
        case MockMemristorChip():
            return mock_manual(device, name, drive_v, current_a)
        case OffersRig():
            return RigManual(device.bench_access(), name)
    raise ConfigurationError(f"hardware.{name}: its driver offers no manual control")
