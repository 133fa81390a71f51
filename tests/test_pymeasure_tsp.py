"""PyMeasure's Keithley2600, unmodified, over a real socket: its whole public surface, and no error in the queue."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

from drivers.emulators.circuit import Resistor
from drivers.emulators.latency import NONE
from drivers.emulators.server import TcpServer
from drivers.emulators.smu_2602b import Keithley2602B
from pib_lab.clocks import VirtualClock

keithley2600 = pytest.importorskip("pymeasure.instruments.keithley.keithley2600", reason="pymeasure is a test extra")

OHM = 1e4
SETTINGS: dict[str, tuple[Any, ...]] = {
    "source_output": ("ON", "OFF"),
    "source_mode": ("current", "voltage"),
    "measure_nplc": (25,),  # PyMeasure 0.16 maps its ends to 0 and 1: 25 is sent as 1, 0.001 as 0, which is refused
    "source_current": (1e-5, -1e-5),
    "compliance_current": (1e-3, 0.1),
    "source_current_range": (1e-5, 1.0),
    "current_range": (1e-4, 1.0),
    "source_voltage": (0.5, -0.5),
    "compliance_voltage": (6.0, 20.0),
    "source_voltage_range": (1.0, 40.0),
    "voltage_range": (6.0, 40.0),
    "wires_mode": ("4", "2"),
}
READINGS = ("current", "voltage", "resistance")


@pytest.fixture
def smu(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Any, Keithley2602B]]:
    """PyMeasure's instrument and the emulator that it drives; PyMeasure's own pauses are left out."""
    monkeypatch.setattr(time, "sleep", lambda duration_s: None)
    emulated = Keithley2602B(Resistor(OHM), Resistor(OHM), VirtualClock(), 1, NONE)
    server = TcpServer(emulated)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # it does not know whether the instrument speaks SCPI
        instrument = keithley2600.Keithley2600(
            server.address, visa_library="@py", read_termination="\n", write_termination="\n", timeout=5000
        )
    yield instrument, emulated
    instrument.adapter.close()
    server.close()


def _errors(instrument: Any) -> float:
    """How many errors the instrument counts, once all that was sent is carried out."""
    return float(instrument.ask("print(errorqueue.count)"))


def test_the_surface_tested_is_all_there_is() -> None:
    """Every property of PyMeasure's channel is set or read below: a new one fails here."""
    properties = {name for name, value in vars(keithley2600.Channel).items() if isinstance(value, property)}
    assert properties == {*SETTINGS, *READINGS}


@pytest.mark.parametrize("channel", ["ChA", "ChB"])
def test_every_property_reads_back_what_was_set(smu: tuple[Any, Keithley2602B], channel: str) -> None:
    """All controls are set to two values and read back, all readings are taken, without an error in the queue."""
    instrument, _ = smu
    used = getattr(instrument, channel)
    for name, values in SETTINGS.items():
        for value in values:
            setattr(used, name, value)
            read = getattr(used, name)
            assert read == (value if isinstance(value, str) else pytest.approx(value)), name
            assert _errors(instrument) == 0, name
    for name in READINGS:
        assert isinstance(getattr(used, name), float)
    assert _errors(instrument) == 0


@pytest.mark.parametrize("channel", ["ChA", "ChB"])
def test_a_measurement_as_its_users_write_it(smu: tuple[Any, Keithley2602B], channel: str) -> None:
    """Apply, measure, ramp, shut down: the numbers are those of the circuit, and the output ends off."""
    instrument, emulated = smu
    used = getattr(instrument, channel)
    used.apply_voltage(compliance_current=0.01)
    used.source_output = "ON"
    used.ramp_to_voltage(0.5, steps=5, pause=0.0)
    used.measure_current(nplc=0.1)
    assert used.current == pytest.approx(0.5 / OHM, rel=1e-3)
    assert used.resistance == pytest.approx(OHM, rel=1e-3)
    used.apply_current(compliance_voltage=6.0)
    used.auto_range_source()
    used.ramp_to_current(1e-5, steps=5, pause=0.0)
    used.measure_voltage(nplc=0.1, auto_range=False, voltage=6.0)
    assert used.voltage == pytest.approx(0.1, rel=1e-2)
    used.shutdown()
    assert _errors(instrument) == 0
    assert emulated.outputs() == {"smua": False, "smub": False}


def test_what_the_instrument_as_a_whole_offers(smu: tuple[Any, Keithley2602B]) -> None:
    """Identity, status, completion, reset, clear and the error queue. (*OPT? is left out: no 2600B knows it.)"""
    instrument, _ = smu
    assert "2602B" in instrument.id
    assert instrument.complete == "1"
    assert instrument.status == "0"
    instrument.ChA.source_voltage = 1.0
    instrument.reset()
    assert instrument.ChA.source_voltage == 0.0
    assert instrument.check_errors() == []
    assert _errors(instrument) == 0
    instrument.write("nonsense()")
    assert instrument.next_error[0] == -286
    with pytest.warns(FutureWarning):
        assert instrument.error[0] == 0
    instrument.write("nonsense()")
    instrument.clear()
    assert instrument.check_errors() == []
