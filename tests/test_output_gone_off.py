"""An output that goes off behind the driver's back: nothing that is measured or pulsed then passes for data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from smu_bench import DirectTransport, smu_2400, smu_2450, smu_2602b

from drivers.chip.limits import ElectricalLimits
from drivers.smu.keithley_2400 import Keithley2400
from drivers.smu.keithley_2450 import Keithley2450
from drivers.smu.keithley_2600b import Keithley2600B
from pib_lab.errors import DeviceError

LIMITS = ElectricalLimits(voltage_v=2.0, current_a=10e-3)


def _sourcing(smu: Any) -> Any:
    smu.prepare()
    smu.source_voltage(1e-3, level_range_v=2.0, measure_range_a=1e-3)
    smu.switch(True)
    smu.set_level(0.5)
    return smu


@pytest.fixture
def gone() -> tuple[Any, DirectTransport]:
    """Channel A of a 2602B at 0.5 V, and its transport; then somebody presses OUTPUT."""
    instrument, _, clock = smu_2602b()
    transport = DirectTransport(instrument)
    smu = _sourcing(Keithley2600B(transport, LIMITS, clock, "a"))
    instrument.switch_off()
    transport.sent.clear()
    return smu, transport


@pytest.mark.parametrize(
    "use",
    [
        lambda smu: smu.read(),
        lambda smu: smu.read_buffered(3),
        lambda smu: smu.sweep([0.1, 0.2], 1e-3),
        lambda smu: smu.pulse(1.0, 1e-3),
    ],
    ids=["read", "buffered", "sweep", "pulse"],
)
def test_a_2602b_whose_output_has_gone_off_says_so(
    gone: tuple[Any, DirectTransport], use: Callable[[Any], Any]
) -> None:
    """It measures all the same, so its driver tells, and knows from then on that the output is off."""
    smu, _ = gone
    with pytest.raises(DeviceError, match="gone off by itself"):
        use(smu)
    assert not smu.on
    with pytest.raises(DeviceError, match="its output is off"):
        smu.read()


def test_value_and_output_are_asked_for_in_one_message(gone: tuple[Any, DirectTransport]) -> None:
    """Nothing lies between them in which it could go off unseen, and a reading costs no message more."""
    smu, transport = gone
    with pytest.raises(DeviceError):
        smu.read()
    (message,) = transport.sent
    assert "measure.iv()" in message
    assert "source.output" in message


def test_an_output_that_goes_off_in_the_middle_of_a_long_sweep_ends_it() -> None:
    """The next message of levels tells; no reading of the sweep is given out."""
    instrument, _, clock = smu_2602b()
    transport = DirectTransport(instrument)
    smu = _sourcing(Keithley2600B(transport, LIMITS, clock, "a"))
    plain = transport.query

    def query(message: str, **how: Any) -> str:
        answer = plain(message, **how)
        if "delay" in message:
            instrument.switch_off()
        return answer

    transport.query = query  # type: ignore[method-assign]
    with pytest.raises(DeviceError, match="gone off by itself"):
        smu.sweep([0.1] * 40, 1e-3)


@pytest.mark.parametrize("model", ["2400", "2450"])
def test_the_others_refuse_to_measure(model: str) -> None:
    """They complain by themselves, and the complaint is an error."""
    instrument, _, clock = smu_2400() if model == "2400" else smu_2450()
    build = Keithley2400 if model == "2400" else Keithley2450
    smu = _sourcing(build(DirectTransport(instrument), LIMITS, clock))
    instrument.switch_off()
    with pytest.raises(DeviceError, match=r"803|needs the output on"):
        smu.read_buffered(3)


def test_no_sweep_switches_a_2450_on_again_that_has_gone_off() -> None:
    """Its sweep would do so by itself: it is asked beforehand."""
    instrument, _, clock = smu_2450()
    transport = DirectTransport(instrument)
    smu = _sourcing(Keithley2450(transport, LIMITS, clock))
    instrument.switch_off()
    with pytest.raises(DeviceError, match="gone off by itself"):
        smu.sweep([0.1, 0.2], 1e-3)
    assert not any(":INIT" in message for message in transport.sent)
    assert not any(instrument.outputs().values())
