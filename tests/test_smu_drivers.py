"""Drivers of source-measure units: what they send, what they make of answers, and what they refuse to send."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from smu_bench import DirectTransport, ScriptedInstrument, smu_2400, smu_2450, smu_2602b

from drivers.chip.limits import ElectricalLimits
from drivers.emulators.server import TcpServer
from drivers.smu.interface import Compliance, OffState, ProtectsVoltage, Pulses, Sweeps
from drivers.smu.keithley_2400 import Keithley2400
from drivers.smu.keithley_2450 import Keithley2450
from drivers.smu.keithley_2600b import Keithley2600B
from drivers.wire.links import make_transport
from pib_lab.clocks import VirtualClock
from pib_lab.errors import ConfigurationError, DeviceError, LimitError, LinkError

LIMITS = ElectricalLimits(voltage_v=2.0, current_a=10e-3)
Made = tuple[Any, DirectTransport, Any]


def _on_2400(ohm: float = 10e3) -> Made:
    instrument, port, clock = smu_2400(ohm)
    transport = DirectTransport(instrument)
    return Keithley2400(transport, LIMITS, clock), transport, port


def _on_2450(ohm: float = 10e3) -> Made:
    instrument, port, clock = smu_2450(ohm)
    transport = DirectTransport(instrument)
    return Keithley2450(transport, LIMITS, clock), transport, port


def _on_2602b(ohm: float = 10e3) -> Made:
    instrument, port, clock = smu_2602b(ohm)
    transport = DirectTransport(instrument)
    return Keithley2600B(transport, LIMITS, clock, "a"), transport, port


@pytest.fixture(params=[_on_2400, _on_2450, _on_2602b], ids=["2400", "2450", "2602B"])
def made(request: pytest.FixtureRequest) -> Made:
    """A prepared unit on its emulator across 10 kOhm, with its transport and the resistor."""
    make: Callable[[], Made] = request.param
    smu, transport, port = make()
    smu.prepare()
    return smu, transport, port


def _sourcing(smu: Any, compliance_a: float = 1e-3) -> Any:
    smu.source_voltage(compliance_a, level_range_v=2.0, measure_range_a=1e-3)
    smu.switch(True)
    return smu


def test_a_forced_voltage_is_measured_with_its_current(made: Made) -> None:
    """0.5 V across 10 kOhm reads as 50 uA, sound."""
    smu = _sourcing(made[0])
    smu.set_level(0.5)
    found = smu.read()
    assert found.sound
    assert found.voltage_v == pytest.approx(0.5, rel=1e-3)
    assert found.current_a == pytest.approx(50e-6, rel=2e-3)


def test_a_forced_current_is_measured_with_its_voltage(made: Made) -> None:
    """10 uA through 10 kOhm read as 0.1 V."""
    smu = made[0]
    smu.source_current(1.0, level_range_a=1e-3, measure_range_v=2.0)
    smu.switch(True)
    smu.set_level(10e-6)
    assert smu.read().voltage_v == pytest.approx(0.1, rel=2e-3)


def test_a_clamped_reading_says_so(made: Made) -> None:
    """At a compliance of 20 uA the voltage falls, and reading and compliance carry the flag."""
    smu = _sourcing(made[0], 20e-6)
    smu.set_level(0.5)
    found = smu.read()
    assert found.in_compliance
    assert not found.sound
    assert found.voltage_v == pytest.approx(0.2, rel=1e-2)
    assert smu.compliance().tripped
    assert all(reading.in_compliance for reading in smu.read_buffered(3))


def test_compliance_is_read_back(made: Made) -> None:
    """Level and measuring range come from the instrument; the lesser of level and 105 % of the range clamps."""
    held = made[0].source_voltage(1e-3, level_range_v=2.0, measure_range_a=1e-3)
    assert held.level == pytest.approx(1e-3)
    assert held.measure_range == pytest.approx(1e-3)
    assert not held.tripped
    assert Compliance(1e-3, 100e-6, False).effective == pytest.approx(105e-6)


def test_the_2400_clamps_at_its_measuring_range_as_well() -> None:
    """Range compliance: with a compliance of 1 mA on the 10 uA range, 10.5 uA clamp, and the reading is flagged."""
    smu, _, _ = _on_2400(1e3)
    smu.prepare()
    held = smu.source_voltage(10e-6 * 105, level_range_v=2.0, measure_range_a=10e-6)
    assert held.effective == pytest.approx(10.5e-6, rel=1e-3)
    smu.switch(True)
    smu.set_level(0.5)
    found = smu.read()
    assert abs(found.current_a) < 11e-6 or found.overflow
    assert not found.sound


def test_a_reading_beyond_the_range_is_an_overflow() -> None:
    """The 2602B answers 9.91e37 for 50 uA on its 10 uA range: data with a flag, never a number to calculate with."""
    smu, _, _ = _on_2602b()
    smu.prepare()
    smu.source_voltage(1e-3, level_range_v=2.0, measure_range_a=10e-6)
    smu.switch(True)
    smu.set_level(0.5)
    found = smu.read()
    assert found.overflow
    assert not found.sound


def test_output_needs_function_and_compliance_first(made: Made) -> None:
    """On before source_voltage() is refused; so is reading before on; nothing is on then."""
    smu, transport, _ = made
    with pytest.raises(DeviceError, match="source_voltage"):
        smu.switch(True)
    smu.source_voltage(1e-3, level_range_v=2.0)
    with pytest.raises(DeviceError, match="output is off"):
        smu.read()
    assert not any(transport.instrument.outputs().values())


def test_what_may_only_change_while_off_is_refused_while_on(made: Made) -> None:
    """Function, off state and sensing want the output off."""
    smu = _sourcing(made[0])
    for change in (
        lambda: smu.source_current(1.0, level_range_a=1e-3),
        lambda: smu.set_off_state(OffState.NORMAL),
        lambda: smu.set_remote_sense(True),
    ):
        with pytest.raises(DeviceError, match="output off before"):
            change()


@pytest.mark.parametrize(
    "ask",
    [
        lambda smu: smu.set_level(2.5),
        lambda smu: smu.ramp_to(-2.5, 0.5),
        lambda smu: smu.set_compliance(20e-3),
        lambda smu: smu.sweep([0.1, 2.5], 1e-3),
        lambda smu: smu.set_level(float("nan")),
        lambda smu: smu.set_compliance(0.0),
        lambda smu: smu.read_buffered(0),
        lambda smu: smu.ramp_to(1.0, 0.0),
    ],
)
def test_nothing_beyond_the_limits_is_sent(made: Made, ask: Callable[[Any], Any]) -> None:
    """A level, compliance, sweep or ramp beyond the limits is refused, and the source stays as it was."""
    smu, transport, _ = made
    _sourcing(smu).set_level(0.5)
    before = len(transport.sent)
    with pytest.raises(LimitError):
        ask(smu)
    assert not [message for message in transport.sent[before:] if "?" not in message and "print" not in message]
    assert smu.level() == pytest.approx(0.5)


def test_ranges_beyond_the_limits_are_refused(made: Made) -> None:
    """A 200 V range is not chosen on a chip of 2 V."""
    with pytest.raises(LimitError, match="range"):
        made[0].source_voltage(1e-3, level_range_v=20.0)


def test_a_ramp_goes_in_steps(made: Made) -> None:
    """0 to 1 V in steps of 0.3 V: four equal ones, and it waits after each."""
    smu, transport, _ = made
    _sourcing(smu)
    transport.sent.clear()
    smu.ramp_to(1.0, 0.3, dwell_s=0.1)
    words = [
        message.split()[-1]
        for message in transport.sent
        if "LEV " in message or "VOLT " in message or "levelv =" in message
    ]
    assert [float(word) for word in words] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert smu.level() == pytest.approx(1.0)


def test_output_state_is_read_back(made: Made) -> None:
    """An output that a front panel has switched off is told as off."""
    smu, transport, _ = made
    _sourcing(smu)
    assert smu.is_on()
    transport.instrument.switch_off()
    assert not smu.is_on()


@pytest.mark.parametrize("state", OffState)
def test_off_states_say_what_off_means(made: Made, state: OffState) -> None:
    """Only high impedance opens the relay; the others hold 0 V and say within which current."""
    meaning = made[0].set_off_state(state)
    assert meaning.disconnected is (state is OffState.HIGH_IMPEDANCE)
    assert ("relay is open" in meaning.text) is meaning.disconnected


def test_sensing_and_integration_read_back(made: Made) -> None:
    """Four wires, two wires, and half a cycle."""
    smu = made[0]
    smu.set_remote_sense(True)
    smu.set_remote_sense(False)
    assert smu.set_integration(0.5) == pytest.approx(0.5)


def test_buffered_reads_come_together(made: Made) -> None:
    """Five readings in one fetch, and single ones afterwards as before."""
    smu = _sourcing(made[0])
    smu.set_level(0.5)
    assert [reading.current_a for reading in smu.read_buffered(5)] == pytest.approx([50e-6] * 5, rel=5e-3)
    assert smu.read().sound


def test_sweeps_step_through_their_levels(made: Made) -> None:
    """Each level is measured, the last one stays, and the output is on."""
    smu = _sourcing(made[0])
    assert isinstance(smu, Sweeps)
    found = smu.sweep([0.1, 0.2, 0.4], 1e-3)
    assert [reading.voltage_v for reading in found] == pytest.approx([0.1, 0.2, 0.4], abs=1e-3)
    assert [reading.current_a for reading in found] == pytest.approx([10e-6, 20e-6, 40e-6], rel=1e-2)
    assert smu.level() == pytest.approx(0.4)
    assert smu.is_on()
    assert smu.read().sound


def test_the_2602b_times_pulses() -> None:
    """1 V for 2 ms on the instrument's clock, then the base; the flag says whether it clamped."""
    instrument, _, clock = smu_2602b()
    smu = Keithley2600B(DirectTransport(instrument), LIMITS, clock, "a")
    smu.prepare()
    _sourcing(smu)
    assert isinstance(smu, Pulses)
    started_s = clock.now_s()
    assert smu.pulse(1.0, 2e-3, 0.1) is False
    assert clock.now_s() - started_s == pytest.approx(2e-3, rel=0.1)
    assert smu.level() == pytest.approx(0.1)
    smu.set_compliance(20e-6)
    smu.set_level(0.0)
    assert smu.pulse(1.0, 1e-3) is True


def test_a_pulse_is_limited_in_charge() -> None:
    """Compliance times width beyond the limit is refused before anything is sent."""
    instrument, _, clock = smu_2602b()
    transport = DirectTransport(instrument)
    smu = Keithley2600B(transport, ElectricalLimits(2.0, 10e-3, charge_c=1e-6), clock, "a")
    smu.prepare()
    _sourcing(smu)
    sent = len(transport.sent)
    with pytest.raises(LimitError, match="charge"):
        smu.pulse(1.0, 2e-3)
    assert len(transport.sent) == sent


def test_over_voltage_protection_is_the_step_that_reaches_the_limit() -> None:
    """The lowest step not below the limit, read back; no step, no protection."""
    for make, steps in ((_on_2400, {0.9: 20.0, 20.0: 20.0, 50.0: 60.0}), (_on_2450, {0.9: 2.0, 5.0: 5.0, 7.0: 10.0})):
        smu = make()[0]
        smu.prepare()
        assert isinstance(smu, ProtectsVoltage)
        assert {limit_v: smu.set_over_voltage(limit_v) for limit_v in steps} == steps
        with pytest.raises(LimitError, match="protection"):
            smu.set_over_voltage(200.0)
    assert not isinstance(_on_2602b()[0], ProtectsVoltage)


def test_another_model_is_refused() -> None:
    """A 2450 at the address of a 2400 is named in the message."""
    instrument, _, clock = smu_2450()
    with pytest.raises(DeviceError, match="2450"):
        Keithley2400(DirectTransport(instrument), LIMITS, clock).prepare()


def test_a_2450_that_speaks_tsp_is_told_apart() -> None:
    """*LANG? decides, before anything else is said in the wrong language."""
    scripted = ScriptedInstrument(("*IDN?", "KEITHLEY INSTRUMENTS,MODEL 2450,1,1.7"), ("*LANG?", "TSP"))
    with pytest.raises(DeviceError, match="Command Set"):
        Keithley2450(DirectTransport(scripted), LIMITS, VirtualClock()).prepare()  # type: ignore[arg-type]


def test_a_channel_that_does_not_exist_is_refused() -> None:
    """There are a and b."""
    instrument, _, clock = smu_2602b()
    with pytest.raises(ConfigurationError, match="choose a or b"):
        Keithley2600B(DirectTransport(instrument), LIMITS, clock, "c")


def test_exact_traffic_of_a_2400_reading() -> None:
    """The status word decides: bit 16 is range compliance; the current of 9.9e37 is an overflow."""
    scripted = ScriptedInstrument(
        (":READ?", "+5.0E-01,+1.05E-05,+6.5536E+04"), (":READ?", "+5.0E-01,+9.9E+37,+1.0E+00")
    )
    smu = Keithley2400(DirectTransport(scripted), LIMITS, VirtualClock())  # type: ignore[arg-type]
    smu._function, smu.on = _sourcing(_prepared_2400())._function, True
    first, second = smu.read(), smu.read()
    assert (first.in_compliance, first.overflow) == (True, False)
    assert second.overflow
    assert second.current_a == float("inf")


def _prepared_2400() -> Any:
    smu = _on_2400()[0]
    smu.prepare()
    return smu


def test_an_instruments_complaint_is_an_error(made: Made) -> None:
    """What the instrument refuses comes back in its own words, from the queue drained after the write."""
    smu, transport, _ = made
    with pytest.raises(DeviceError, match="says"):
        smu._link.command(":NO:SUCH:COMMAND" if "2602" not in transport.instrument.model else "no.such.command()")
    assert smu._link.take_errors() == []


def test_a_compliance_that_does_not_read_back_stops_everything(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    """A unit whose compliance is not what was asked cannot be switched on."""
    smu = made[0]
    monkeypatch.setattr(smu, "_ask_compliance", lambda function: Compliance(5e-3, 1.0, False))
    with pytest.raises(DeviceError, match="reads back"):
        smu.source_voltage(1e-3, level_range_v=2.0)
    with pytest.raises(DeviceError, match="source_voltage"):
        smu.switch(True)


@pytest.fixture
def served() -> Iterator[tuple[Keithley2400, TcpServer]]:
    """A 2400 on a real socket."""
    instrument, _, clock = smu_2400()
    server = TcpServer(instrument)
    transport = make_transport(server.address)
    transport.open()
    yield Keithley2400(transport, LIMITS, clock), server
    transport.close()
    server.close()


def test_a_2400_over_a_socket(served: tuple[Keithley2400, TcpServer]) -> None:
    """The same over TCP, and a pulled cable is a LinkError, not a value."""
    smu, server = served
    smu.prepare()
    _sourcing(smu).set_level(0.5)
    assert smu.read().current_a == pytest.approx(50e-6, rel=2e-3)
    server.close()
    with pytest.raises(LinkError):
        smu.read()
