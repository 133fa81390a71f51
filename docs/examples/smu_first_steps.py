"""Before a real source-measure unit for the first time: who it is, an open circuit, then a resistor of 100 kohm.

    python docs/examples/smu_first_steps.py keithley-2450 TCPIP::192.0.2.1::5025::SOCKET
    python docs/examples/smu_first_steps.py keithley-2600b TCPIP::192.0.2.2::5025::SOCKET

Nothing but a resistor may be connected. At most 0.2 V and 10 uA are asked for.
"""

from __future__ import annotations

import sys

from drivers.chip.limits import ElectricalLimits
from drivers.smu.interface import OffState, Reading, SourceMeasureUnit
from drivers.smu.keithley_2400 import Keithley2400
from drivers.smu.keithley_2450 import Keithley2450
from drivers.smu.keithley_2600b import Keithley2600B
from drivers.wire.dialects import SCPI, TSP
from drivers.wire.links import make_transport
from pib_lab.clocks import RealClock
from pib_lab.device import Clock

LIMITS = ElectricalLimits(voltage_v=0.21, current_a=1e-5)
MODELS = ("keithley-2400", "keithley-2450", "keithley-2600b")


def look(model: str, address: str, clock: Clock, levels_v: tuple[float, ...] = (0.0, 0.1, 0.2)) -> list[Reading]:
    """Identify, force each level, read, and leave the output off in high impedance, read back."""
    link = make_transport(address, marker=(TSP if model == "keithley-2600b" else SCPI).marker)
    smu: SourceMeasureUnit
    if model == "keithley-2600b":
        smu = Keithley2600B(link, LIMITS, clock, "a")
    else:
        smu = (Keithley2400 if model == "keithley-2400" else Keithley2450)(link, LIMITS, clock)
    link.open()
    try:
        smu.prepare()  # *IDN?, reset, output off and read back
        print(smu.set_off_state(OffState.HIGH_IMPEDANCE).text)
        held = smu.source_voltage(1e-5, level_range_v=0.2, measure_range_a=1e-5)
        print(f"compliance reads back as {held.level:g} A, effectively {held.effective:g} A")
        smu.switch(True)
        try:
            readings = []
            for level_v in levels_v:
                smu.ramp_to(level_v, 0.05)
                readings.append(smu.read())
        finally:
            smu.switch(False)
    finally:
        link.close()
    for reading in readings:
        print(f"{reading.voltage_v:8.4f} V {reading.current_a: .3e} A {'' if reading.sound else 'clamped or overflow'}")
    return readings


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in MODELS:
        sys.exit(f"usage: {sys.argv[0]} {{{'|'.join(MODELS)}}} ADDRESS")
    for circuit in ("nothing connected", "100 kohm connected"):
        input(f"With {circuit}, press Enter: ")
        look(sys.argv[1], sys.argv[2], RealClock())
