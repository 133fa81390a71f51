"""What the rig does with one source or one link, whatever its wiring is: a pulse, off, an attempt that is noted."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from drivers.smu.interface import Pulses, SourceMeasureUnit, Sweeps
from drivers.wire.transport import Transport
from pib_lab.errors import DeviceError, LinkError, PibError

RAMP_STEP_V = 0.25


def pulse_by(smu: SourceMeasureUnit, peak_v: float, width_s: float, base_v: float) -> bool:
    """Timed by the instrument where it can, else as the first of two levels of a sweep."""
    if isinstance(smu, Pulses):
        return smu.pulse(peak_v, width_s, base_v)
    if isinstance(smu, Sweeps):
        return not smu.sweep([peak_v, base_v], width_s)[0].sound
    raise DeviceError(f"{smu.name}: it can neither pulse nor sweep; drive the chip with another model")


def bring_off(smu: SourceMeasureUnit) -> None:
    """Ramp to zero as far as that goes, then off, read back. Raises LinkError, DeviceError."""
    with suppress(PibError):  # off is what matters, and is read back
        smu.ramp_to(0.0, RAMP_STEP_V)
    smu.switch(False)


def settle(
    output: str, act: Callable[[], None], transport: Transport, confirmed: list[str], problems: dict[str, str]
) -> None:
    """Do it, over a new connection if the link had failed; note whether it was read back."""
    try:
        try:
            act()
        except LinkError:
            transport.reconnect()
            act()
    except PibError as problem:
        problems[output] = str(problem)
    else:
        confirmed.append(output)
