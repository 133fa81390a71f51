"""Making units safe: dead links of different devices are waited for at the same time, and nothing is left out."""

from __future__ import annotations

import functools
import socket
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
from board_bench import Rig
from smu_bench import EASY, Station

from drivers.board.protocol import Kind
from drivers.chip.smu_matrix_chip import MemristorSmuMatrix, SmuMatrixUnit
from drivers.chip.smu_matrix_rig import SmuMatrixRig, connect_by_address
from drivers.emulators.fault_modes import WireFault
from drivers.wire.line_transport import MARGIN_S, LineTransport, Timing
from drivers.wire.links import make_transport
from pib_lab.capabilities import NamesDevice
from pib_lab.clocks import VirtualClock
from pib_lab.device import DeviceContext, UnitRequest
from pib_lab.errors import PibError
from pib_lab.events import MadeSafe
from pib_lab.switching_off import device_by_device, switch_off
from pib_lab.unit import CancelToken, SafeReport
from pib_lab.upkeep import make_all_safe

QUICK = Timing(timeout_s=0.3, recover_s=0.5, retries=1)


class Silent:
    """A unit behind an instrument that takes connections and never answers."""

    def __init__(self, number: int, device: str, link: LineTransport) -> None:
        self.spec: Any = SimpleNamespace(name=f"unit-{number}")
        self._device, self._link = device, link

    def device_name(self) -> str:
        return self._device

    def make_safe(self) -> SafeReport:
        try:
            self._link.query(":OUTP?")
        except PibError as problem:
            return SafeReport(self.spec.name, (), ("output",), str(problem))
        raise AssertionError("something has answered")


@pytest.fixture
def silent() -> Iterator[list[Any]]:
    """Six units on six devices, each on a real socket that never answers."""
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(6)]
    addresses = [f"TCPIP::127.0.0.1::{listener.getsockname()[1]}::SOCKET" for listener in listeners]
    transports = [make_transport(address, timing=QUICK) for address in addresses]
    for transport in transports:
        transport.open()
    yield [Silent(number, f"device-{number}", transport) for number, transport in enumerate(transports)]
    for transport in transports:
        transport.close()
    for listener in listeners:
        listener.close()


def test_silent_links_of_different_devices_are_waited_for_together(silent: list[Any]) -> None:
    """Six take no longer than the bound of one, where one after the other they would take six times as long."""
    told: list[Any] = []
    began_s = time.monotonic()
    assert not make_all_safe([SimpleNamespace(unit=unit) for unit in silent], told.append)  # type: ignore[misc]
    elapsed_s = time.monotonic() - began_s
    assert elapsed_s <= silent[0]._link.bound_s()
    assert elapsed_s < 6 * 2 * QUICK.timeout_s
    assert [(event.unit, event.not_confirmed) for event in told] == [
        (f"unit-{number}", ("output",)) for number in reversed(range(6))
    ]
    assert all(isinstance(event, MadeSafe) and "no answer" in event.detail for event in told)


class Turn:
    """A unit that notes when and where it is made safe; `waits_for` another one's turn, or fails."""

    def __init__(self, name: str, device: str, log: list[Any], waits_for: threading.Event | None = None) -> None:
        self.spec: Any = SimpleNamespace(name=name)
        self._device, self._log, self._waits_for = device, log, waits_for
        self.had_its_turn = threading.Event()

    def device_name(self) -> str:
        return self._device

    def make_safe(self) -> SafeReport:
        if self._waits_for is not None:
            assert self._waits_for.wait(5.0)
        self._log.append(self.spec.name)
        self.had_its_turn.set()
        return SafeReport(self.spec.name, ("output",))


class Mocked(Turn):
    """One that does not say which device it is on."""

    device_name = None  # type: ignore[assignment]

    def make_safe(self) -> SafeReport:
        self._log.append(threading.current_thread())
        raise OSError("the vendor's library has crashed")


def test_units_of_one_device_have_their_turns_in_order() -> None:
    """Last unit first, whatever the other devices do meanwhile; reports come in that order however late they are."""
    log: list[str] = []
    fast = [Turn(f"fast-{number}", "fast", log) for number in range(3)]
    slow = Turn("slow", "slow", log, waits_for=fast[0].had_its_turn)
    units: list[Any] = [fast[0], fast[1], fast[2], slow]
    reports = device_by_device(units, switch_off)
    assert log == ["fast-2", "fast-1", "fast-0", "slow"]
    assert [report.unit for report in reports] == ["slow", "fast-2", "fast-1", "fast-0"]


def test_units_that_name_no_device_stay_on_the_calling_thread() -> None:
    """A mock shares its clock and its noise with others; and one that raises hides no other report."""
    log: list[Any] = []
    units: list[Any] = [Turn("real", "smu", log), Mocked("mock", "", log)]
    mocked, real = device_by_device(units, switch_off)
    assert threading.current_thread() in log
    assert (mocked.not_confirmed, real.confirmed) == (("all outputs",), ("output",))
    assert "OSError: the vendor's library has crashed" in mocked.detail


class Served:
    """A unit of the chip behind instruments on sockets, with outputs on and short time-outs."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.station = Station(lines=(4, 4), override=EASY)
        self.station.serve()
        self.clock = VirtualClock()
        monkeypatch.setattr(
            "drivers.chip.smu_matrix_rig.make_transport", functools.partial(make_transport, timing=QUICK)
        )
        self.device = MemristorSmuMatrix(
            self.station.options(), DeviceContext("chip", 1, self.clock), connect_by_address
        )
        self.unit: SmuMatrixUnit = self.device.unit(UnitRequest("unit", 4, 1))
        self.unit.open()
        self.unit.read_parameters(cancel=CancelToken())
        assert self.station.truly_on()


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    made = Served(monkeypatch)
    yield made
    made.unit.close()
    made.station.close()


def test_all_silent_links_of_a_chip_are_waited_for_once(served: Served) -> None:
    """Four dead instruments hold `make_safe` up for one answer and one new connection, and every output is in doubt."""
    for server in served.station.servers.values():
        server.faults.arm(WireFault.NO_ANSWER)
    began_s = time.monotonic()
    report = served.unit.make_safe()
    assert time.monotonic() - began_s < QUICK.timeout_s + 2 * QUICK.recover_s + 2 * MARGIN_S
    assert report.confirmed == ()
    assert set(report.not_confirmed) == {"drive", "plus", "minus", "bias", "matrix"}


def test_one_silent_link_keeps_no_other_output_on(served: Served) -> None:
    """The 2400 is silent: what it drives is in doubt, and everything else is truly off and confirmed; but it hears."""
    served.station.servers["2400"].faults.arm(WireFault.NO_ANSWER)
    report = served.unit.make_safe()
    assert report.not_confirmed == ("bias",)
    assert set(report.confirmed) == {"drive", "plus", "minus", "matrix"}
    assert "commanded off blindly" in report.detail
    deadline_s = time.monotonic() + 2.0
    while served.station.truly_on() and time.monotonic() < deadline_s:
        threading.Event().wait(0.005)
    assert served.station.truly_on() == []


def test_links_that_take_no_connection_are_not_said_to_have_heard(served: Served) -> None:
    """With the 2400 gone its output is in doubt, and nothing is claimed; all others go off and are confirmed."""
    served.station.servers["2400"].close()
    report = served.unit.make_safe()
    assert report.not_confirmed == ("bias",)
    assert "blindly" not in report.detail
    assert served.station.truly_on() == ["2400.output"]


def test_real_units_name_their_device(served: Served) -> None:
    """Those of a board and those behind instruments, as the protocol does under [hardware]."""
    rig = Rig()
    for unit in (served.unit, rig.unit):
        assert isinstance(unit, NamesDevice)
        assert unit.device_name() == "chip"
    rig.server.close()


def test_a_link_that_has_come_back_is_used(served: Served) -> None:
    """Silent for one answer only: over a new connection everything goes off."""
    served.station.servers["2602b"].faults.arm(WireFault.NO_ANSWER, 1)
    assert served.unit.make_safe().safe
    assert served.station.truly_on() == []


def _leave(units: list[Any]) -> list[SafeReport]:
    reports = device_by_device(units, switch_off)
    device_by_device(units, lambda unit: unit.close())
    return reports


def test_units_of_a_dead_chip_are_waited_for_once(served: Served) -> None:
    """Two units behind dead instruments: made safe and closed with one attempt, and all is in doubt."""
    second = served.device.unit(UnitRequest("second", 4, 1))
    second.open()
    for server in served.station.servers.values():
        server.faults.arm(WireFault.NO_ANSWER)
    with mock.patch.object(SmuMatrixRig, "make_safe", autospec=True, side_effect=SmuMatrixRig.make_safe) as tried:
        reports = _leave([served.unit, second])
    tried.assert_called_once()
    assert [report.unit for report in reports] == ["second", "unit"]
    assert all(set(report.not_confirmed) == {"drive", "plus", "minus", "bias", "matrix"} for report in reports)


def test_units_of_a_dead_board_are_waited_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two units on a board that does not answer: one command in all its attempts, and all outputs are in doubt."""
    with Rig(arrays=2) as rig:
        second = rig.device.unit(UnitRequest("second", 4, 3))
        second.open()
        rig.measure(rig.drive(1))
        with rig.unit._session.link("unit") as board:
            ask = mock.Mock(side_effect=board._link.request)
            monkeypatch.setattr(board._link, "request", ask)
        rig.server.set_state("dead", True)
        reports = _leave([rig.unit, second])
        assert [call.args[0] for call in ask.call_args_list] == [Kind.OUTPUTS]
        assert [report.not_confirmed for report in reports] == [("row drivers", "word lines")] * 2
        rig.server.set_state("dead", False)


def test_a_board_that_answers_again_is_switched_off_when_it_is_closed() -> None:
    """Dead while it was made safe, then used again: closing it does not rely on what was found before."""
    with Rig() as rig:
        rig.measure(rig.drive(1))
        rig.server.set_state("dead", True)
        assert not rig.unit.make_safe().safe
        rig.server.set_state("dead", False)
        rig.measure(rig.drive(1))
        rig.unit.close()
        assert not any(rig.server.outputs().values())
