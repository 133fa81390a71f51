"""Safe actions against the emulators: what is on goes off, in order, over links that misbehave; else it says so."""

from __future__ import annotations

import functools
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from guardian_bench import Source
from smu_bench import EASY, Station

from drivers.board.protocol import Outputs
from drivers.chip.board_chip import MemristorBoard
from drivers.emulators import board
from drivers.emulators.emulate import Running, start_one
from drivers.emulators.fault_modes import WireFault
from drivers.emulators.latency import NONE
from drivers.safe import links as safe_links
from drivers.safe.commands import SafeAction
from drivers.safe.execution import carry_out, carry_out_all
from drivers.safe.recipes import crossbar_board, keithley_707, keithley_2400, keithley_2450, keithley_2600
from drivers.wire.serial_transport import parse_serial
from pib_lab.clocks import VirtualClock
from pib_lab.device import DeviceContext, UnitRequest
from pib_lab.unit import CancelToken

ON = {
    "smu-2400": [":SOUR:FUNC VOLT", ":SOUR:VOLT:LEV 0.15", ":OUTP ON"],
    "smu-2450": [":SOUR:FUNC VOLT", ":SOUR:VOLT:LEV 0.15", ":OUTP ON"],
    "smu-2602b": ["smua.source.levelv = 0.15", "smua.source.output = 1", "smub.source.output = 1"],
    "matrix-707b": ['channel.close("1A01,1B02")'],
}
RECIPES = {
    "smu-2400": keithley_2400,
    "smu-2450": keithley_2450,
    "smu-2602b": keithley_2600,
    "matrix-707b": keithley_707,
}


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """These links are fast: a lost answer need not be waited for as long as on a real one."""
    monkeypatch.setattr(safe_links, "LINK_TIMEOUT_S", 0.15)


def running(model: str, *, pty: bool = False) -> Running:
    """An emulated instrument with everything on."""
    made = start_one(model, clock=VirtualClock(), latency=NONE, pty=pty)
    instrument = made.servers[model].instrument
    for message in ON[model]:
        instrument.execute(message)
    assert any(instrument.outputs().values())
    return made


def action_for(model: str, emulated: Running) -> SafeAction:
    return RECIPES[model](model, emulated.addresses[model])


def soon_off(outputs: Callable[[], dict[str, bool]]) -> bool:
    """What was sent and not waited for is carried out in a moment."""
    deadline_s = time.monotonic() + 2.0
    while any(outputs().values()) and time.monotonic() < deadline_s:
        threading.Event().wait(0.005)
    return not any(outputs().values())


@pytest.mark.parametrize("pty", [False, True], ids=["tcp", "serial"])
@pytest.mark.parametrize("model", list(ON))
def test_every_instrument_goes_off(model: str, pty: bool) -> None:
    """Its recipe turns every true output off, at a level of zero, and what is read back says so."""
    with running(model, pty=pty) as emulated:
        outcome = carry_out(action_for(model, emulated))
        instrument = emulated.servers[model].instrument
        assert not any(instrument.outputs().values())
    assert (outcome.not_confirmed, outcome.attempts, outcome.detail) == ((), 1, "")
    assert outcome.confirmed


@pytest.mark.parametrize("pty", [False, True], ids=["tcp", "serial"])
@pytest.mark.parametrize("fault", list(WireFault))
@pytest.mark.parametrize("model", list(ON))
def test_a_link_that_fails_twice_is_tried_again(model: str, fault: WireFault, pty: bool) -> None:
    """Whatever becomes of the first answers, in the end the output is off and was read back."""
    with running(model, pty=pty) as emulated:
        emulated.servers[model].faults.arm(fault, 2, late_s=0.2)
        outcome = carry_out(action_for(model, emulated), bound_s=5.0)
        assert not any(emulated.servers[model].instrument.outputs().values())
    assert outcome.not_confirmed == ()


@pytest.mark.parametrize("form", ["serial:{}", "{}", "serial:{}?baud=19200", "{}?baud=19200"])
def test_a_serial_port_is_opened_at_its_drivers_rate(form: str) -> None:
    """Whichever way an address is written, the run and the guardian open the same port at the same rate."""
    with running("smu-2400", pty=True) as emulated:
        address = form.format(emulated.addresses["smu-2400"].removeprefix("serial:"))
        link = safe_links.open_link(address)
        assert (link._port.name, link._port.baudrate) == parse_serial(address)
        link.close()


def test_another_instrument_is_not_commanded() -> None:
    """An instrument that says it is another one keeps its outputs, and is reported as NOT confirmed."""
    with running("smu-2400") as emulated:
        outcome = carry_out(keithley_2450("smu", emulated.addresses["smu-2400"]), bound_s=0.1)
        assert emulated.servers["smu-2400"].instrument.outputs() == {"output": True}
    assert outcome.not_confirmed == ("output",)
    assert "answers there instead; nothing was commanded" in outcome.detail


@pytest.mark.parametrize(
    ("recipe", "model"),
    [
        *((keithley_2400, f"MODEL {model}") for model in ("2400", "2401", "2410", "2420", "2425", "2430", "2440-C")),
        (keithley_2450, "MODEL 2450"),
        *((lambda *at: keithley_2600(*at), f"Model {model}") for model in ("2602B", "2612B", "2636B")),
        (keithley_707, "Model 707B"),
    ],
)
def test_every_model_that_a_driver_takes_is_commanded(recipe: Callable[[str, str], SafeAction], model: str) -> None:
    """The guardian knows each model by its identity, and no serial number passes for one."""
    identity = recipe("smu", "nowhere").identity
    assert re.search(identity, f"KEITHLEY INSTRUMENTS INC.,{model},1234567,C30")
    assert not re.search(identity, f"ACME,MODEL 1,{model.split()[1]},1")


def test_silence_is_bounded() -> None:
    """An instrument that never answers costs no more than the bound and one more attempt, and is NOT confirmed."""
    with running("smu-2400") as emulated:
        emulated.servers["smu-2400"].faults.arm(WireFault.NO_ANSWER)
        began_s = time.monotonic()
        outcome = carry_out(keithley_2400("smu", emulated.addresses["smu-2400"]), bound_s=0.6)
        assert time.monotonic() - began_s < 3.0
    assert outcome.not_confirmed == ("output",)
    assert "no whole answer" in outcome.detail


@pytest.mark.parametrize("pty", [False, True], ids=["tcp", "serial"])
@pytest.mark.parametrize("fault", [WireFault.NO_ANSWER, WireFault.GARBAGE])
@pytest.mark.parametrize("model", list(ON))
def test_what_hears_but_is_not_heard_goes_off(model: str, fault: WireFault, pty: bool) -> None:
    """Every answer is lost: the device is commanded all the same, at zero and off, and is NOT confirmed."""
    with running(model, pty=pty) as emulated:
        emulated.servers[model].faults.arm(fault)
        action = action_for(model, emulated)
        outcome = carry_out(action, bound_s=0.1)
        assert soon_off(emulated.servers[model].instrument.outputs)
    assert (outcome.confirmed, outcome.not_confirmed) == ((), action.names)
    assert "commanded off blindly" in outcome.detail


def test_a_stranger_that_falls_silent_is_not_commanded() -> None:
    """What has once said that it is another instrument keeps its outputs, whatever becomes of its answers."""
    with Source() as source:
        source.identity = "ACME,LASER,1,1"
        plain = source._execute

        def once(message: str) -> str | None:
            answer = plain(message)
            source.silent = source.heard.count("*IDN?") > 1
            return answer

        source._execute = once  # type: ignore[method-assign]
        source.on = True
        outcome = carry_out(keithley_2400("smu", source.address), bound_s=0.3)
        assert source.on
    assert outcome.attempts > 1
    assert outcome.not_confirmed == ("output",)
    assert "blindly" not in outcome.detail


def test_what_cannot_be_connected_is_not_said_to_have_heard() -> None:
    """Nothing was sent, and nothing is claimed."""
    with Source() as source:
        address = source.address
    outcome = carry_out(keithley_2400("smu", address), bound_s=0.1)
    assert "no connection" in outcome.detail
    assert "blindly" not in outcome.detail


def test_a_matrix_opens_after_the_sources_have_gone_off() -> None:
    """No relay opens under current: by the time it opens, the source's output is off."""
    with running("smu-2400") as source, running("matrix-707b") as matrix:
        told: list[tuple[str, bool]] = []
        actions = [action_for("matrix-707b", matrix), action_for("smu-2400", source)]
        carry_out_all(
            actions,
            lambda done: told.append((done.device, any(matrix.servers["matrix-707b"].instrument.outputs().values()))),
        )
    assert told == [("smu-2400", True), ("matrix-707b", False)]


class Watched(Station):
    """A chip of 4 x 4 lines in use, on sockets; `gone` are the true outputs in the order in which they went off."""

    def __init__(self, scheme: str) -> None:
        super().__init__(lines=(4, 4), scheme=scheme, override=EASY)
        self.gone: list[str] = []
        self._lock = threading.Lock()
        unit = self.device().unit(UnitRequest("unit", 4, 2))
        unit.open()
        unit.measure(np.full((1, 4), 0.2, np.float32), cancel=CancelToken())
        self._on = set(self.truly_on())
        self.before = set(self._on)
        for instrument in self.instruments.values():
            instrument.execute = functools.partial(self._execute, instrument.execute)  # type: ignore[method-assign]
        self.serve()

    def _execute(self, plain: Callable[[str], list[str]], message: str) -> list[str]:
        answers = plain(message)
        with self._lock:
            on = set(self.truly_on())
            self.gone += sorted(self._on - on)
            self._on = on
        return answers


@pytest.mark.parametrize(
    ("scheme", "order"),
    [
        ("1t1r", [{"2602b.smua"}, {"2450.output", "2602b.smub"}, {"2400.output"}, {"matrix.crosspoints"}]),
        ("v/2", [{"2602b.smua"}, {"2450.output", "2602b.smub", "2400.output"}, {"matrix.crosspoints"}]),
    ],
)
def test_a_chip_loses_its_drive_first_and_its_gates_last(scheme: str, order: list[set[str]]) -> None:
    """True outputs go off so: the drive, what holds and senses other lines, the gates (on the 2400), the relays."""
    chip = Watched(scheme)
    assert chip.before == set().union(*order)
    outcomes = carry_out_all(chip.device_by_address().safe_actions())
    chip.close()
    assert all(outcome.safe for outcome in outcomes)
    left = list(chip.gone)
    for together in order:
        assert {left.pop(0) for _ in together} == together
    assert left == []


def test_a_welded_relay_is_beyond_what_can_be_read_back() -> None:
    """The matrix believes that it is open: software confirms the belief, as docs/safety.md says."""
    with running("matrix-707b") as matrix:
        instrument = matrix.servers["matrix-707b"].instrument
        instrument.set_state("welded", "1A01")
        assert carry_out(action_for("matrix-707b", matrix)).safe
        assert any(instrument.outputs().values())


@pytest.fixture(params=[False, True], ids=["tcp", "serial"])
def server(request: pytest.FixtureRequest) -> Iterator[board.BoardServer]:
    with board.start(pty=request.param) as made:
        with made.board() as firmware:
            firmware.outputs = Outputs.ALL
        yield made


def test_a_board_goes_off(server: board.BoardServer) -> None:
    """Row drivers and word lines are off and read back."""
    outcome = carry_out(crossbar_board("chip", server.address))
    assert not any(server.outputs().values())
    assert outcome.confirmed == ("row drivers", "word lines")
    assert outcome.attempts == 1


def test_a_board_on_a_bad_link_goes_off(server: board.BoardServer) -> None:
    """With a quarter of all frames corrupted either way, outputs are off and confirmed in the end."""
    server.set_state("corrupt", 0.25)
    outcome = carry_out(crossbar_board("chip", server.address), bound_s=10.0)
    assert not any(server.outputs().values())
    assert outcome.safe


def test_a_board_that_hears_but_is_not_heard_goes_off(server: board.BoardServer) -> None:
    """None of its answers arrives: its outputs go off, and are NOT confirmed."""
    server.faults.arm(WireFault.NO_ANSWER)
    outcome = carry_out(crossbar_board("chip", server.address), bound_s=0.1)
    assert soon_off(server.outputs)
    assert outcome.not_confirmed == ("row drivers", "word lines")
    assert "commanded off blindly" in outcome.detail


def test_an_output_of_a_board_that_hangs_is_not_confirmed(server: board.BoardServer) -> None:
    """What the board reads back on is named."""
    server.set_state("hanging", ["row drivers"])
    outcome = carry_out(crossbar_board("chip", server.address), bound_s=1.5)
    assert (outcome.confirmed, outcome.not_confirmed) == (("word lines",), ("row drivers",))
    assert outcome.detail == "the board says that row drivers are on"


def test_the_boards_driver_says_how_it_is_made_safe(server: board.BoardServer, tmp_path: Path) -> None:
    """What the driver would have the guardian do switches its own board off."""
    device = MemristorBoard({"address": server.address}, DeviceContext("chip", 1, VirtualClock()))
    assert [carry_out(action).safe for action in device.safe_actions()] == [True]
    assert not any(server.outputs().values())
