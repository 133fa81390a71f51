"""What the rig does with one source or one link, whatever its wiring is: a pulse, off, an attempt that is noted."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from drivers.chip.smu_matrix_options import SourceOptions
from drivers.safe import recipes
from drivers.safe.commands import SafeAction
from drivers.safe.execution import BLINDLY, command_blindly
from drivers.smu.interface import Pulses, SourceMeasureUnit, Sweeps
from drivers.wire.transport import Transport
from pib_lab.errors import DeviceError, LinkError, PibError

RAMP_STEP_V = 0.25
_ONE_CHANNEL = {"keithley-2400": recipes.keithley_2400, "keithley-2450": recipes.keithley_2450}


def safe_action(device: str, source: SourceOptions) -> SafeAction:
    """How one source is made safe, and no other channel of its instrument."""
    if source.model == "keithley-2600b":
        return recipes.keithley_2600(device, source.address, [f"smu{source.channel}"])
    return _ONE_CHANNEL[source.model](device, source.address)


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


def blindly(action: SafeAction, transport: Transport, may_hear: set[str], problems: dict[str, str]) -> None:
    """For what does not answer: commanded off over a link of its own, if its address is among those that may hear.

    One that takes no connection is not, and is taken out: it is waited for once. `problems` are by output, as the
    action's device is named.
    """
    if action.address not in may_hear:
        return
    transport.close()  # instruments take one connection at a time
    if command_blindly(action):
        problems[action.device] += f"; {BLINDLY}"
    else:
        may_hear.remove(action.address)


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
