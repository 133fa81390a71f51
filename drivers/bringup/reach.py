"""What procedures are carried out on: a chip through its probe, or an optical rig; and how a device is asked for it."""

from __future__ import annotations

from typing import Literal, Protocol

from drivers.chip.probe import OffersProbe
from drivers.optics.calibration.access import OffersRig
from pib_lab.device import Device
from pib_lab.errors import ConfigurationError
from pib_lab.procedure import ArraySize
from pib_lab.quantities import Counts
from pib_lab.unit import SafeReport

Subject = Literal["chip", "rig"]


class Reach(Protocol):
    """What a chip's probe and a rig's access have in common: enough to open it, leave it safe and keep its record."""

    @property
    def serial(self) -> str:
        """The serial number, under which the passport is kept; known once it is open."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns: of cells, or of the panel's pixels."""

    def open(self) -> None:
        """Connect; outputs stay off until they are needed."""

    def pulses(self) -> Counts:
        """Pulses that each cell (rows, columns) has had; none on a rig."""

    def make_safe(self) -> SafeReport:
        """All outputs off and read back. Never raises; says what was NOT confirmed."""

    def close(self) -> None:
        """Let go of the device. Idempotent."""


def reach(device: Device, subject: Subject, array: ArraySize | None, where: str) -> Reach:
    """What a procedure about a `subject` needs of a device. No I/O.

    Raises ConfigurationError, which begins with the path `where`, for a device or an [array] that does not go with it.
    """
    if subject == "rig":
        if not isinstance(device, OffersRig):
            raise ConfigurationError(f"{where}.driver: is no optical rig, and this procedure calibrates one")
        if array is not None:
            raise ConfigurationError("array: an optical rig has none; leave the table out")
        return device.bench_access()
    if not isinstance(device, OffersProbe):
        raise ConfigurationError(f"{where}.driver: cannot bring a chip up: it offers no probe")
    if array is None:
        raise ConfigurationError("array: is missing; say how many rows and columns of the chip")
    return device.probe(array.rows, array.columns)
