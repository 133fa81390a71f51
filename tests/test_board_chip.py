"""The memristor chip behind the crossbar board: the real driver as a unit, on the emulator over a real link."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from board_bench import Rig
from hypothesis import given
from hypothesis import strategies as st

from drivers.board.protocol import Kind
from drivers.board.tiles import Tiling
from drivers.chip.board_chip import MemristorBoard
from drivers.chip.mock_chip import MockMemristorChip
from drivers.emulators.board import start
from drivers.emulators.board_drill import NO_NOISE
from pib_lab.clocks import VirtualClock
from pib_lab.device import DeviceContext, UnitRequest
from pib_lab.errors import Cancelled, ConfigurationError, DeviceError, LinkError
from pib_lab.unit import CancelToken


def test_nothing_at_the_address_is_a_link_error() -> None:
    """Opening says where nothing answered."""
    rig = Rig()
    rig.server.close()
    with pytest.raises(LinkError, match="connection"):
        rig.unit.open()


@pytest.mark.parametrize("pty", [False, True], ids=["socket", "pseudo-terminal"])
def test_a_unit_works_over_a_real_link(pty: bool) -> None:
    """What is programmed multiplies, over TCP as over a serial port."""
    with Rig(8, 3, pty=pty) as rig:
        cells, drive = rig.uniform(), rig.drive(9)
        rig.unit.program(cells)
        rig.unit.set_full_scale(1.0)
        np.testing.assert_allclose(rig.measure(drive), drive @ (cells[..., 0] - cells[..., 1]), atol=2e-8)


def test_tiles_add_up_to_the_whole() -> None:
    """A unit cut over six arrays responds as its cells do, without noise."""
    with Rig(40, 7, arrays=6) as rig:
        cells, drive = rig.uniform(), rig.drive(9)
        np.testing.assert_allclose(rig.unit.program(cells), cells, atol=1e-9)
        rig.unit.set_full_scale(1.0)
        np.testing.assert_allclose(rig.measure(drive), drive @ (cells[..., 0] - cells[..., 1]), atol=1e-7)


def test_the_board_and_the_mock_agree() -> None:
    """Same conductances, same drives, noise off, wires and 8-bit converters on: within 1 LSB."""
    override = NO_NOISE | {"rows": 16, "columns": 8}
    with Rig(12, 4, "chip-b", override) as rig:
        chip = MockMemristorChip({"profile": "chip-b", "override": override}, DeviceContext("chip", 1, VirtualClock()))
        mock = chip.unit(UnitRequest("unit", 12, 4))
        mock.open()
        for unit in (rig.unit, mock):
            unit.program(rig.uniform())
            unit.set_full_scale(2e-5)
        here, there = rig.measure(rig.drive(200)), mock.measure(rig.drive(200), cancel=CancelToken()).values
        assert np.abs(here - there).max() <= 2e-5 / 127 * 1.001


def test_beliefs_and_pulses_are_the_boards() -> None:
    """What is counted is what the cells got, and what is believed is where they are, to within noise."""
    with Rig(12, 4, "chip-b") as rig:
        believed = rig.unit.program(rig.uniform())
        assert rig.unit.verify_passes() > 0
        with rig.server.board() as firmware:
            true, pulses = firmware.chip.array(0).conductances(), firmware.chip.array(0).pulses()
        assert int(rig.unit.pulses().sum()) == pulses > 0
        assert np.corrcoef(believed.ravel(), true.ravel())[0, 1] > 0.9


def test_cells_outlive_a_host() -> None:
    """Another unit on the same arrays finds what was written, and reads it before it trusts a belief."""
    with Rig(12, 3) as rig:
        written = rig.unit.program(rig.uniform())
        rig.unit.close()
        other = rig.device.unit(UnitRequest("unit", 12, 3))
        other.open()
        held = other.program(np.full(rig.shape, 20e-6, np.float32), np.zeros(rig.shape, np.bool_))
        np.testing.assert_allclose(held, written, atol=1e-8)
        other.close()


def test_a_write_without_an_answer_counts_its_worst_wear() -> None:
    """The link dies under a write: pulses are not lost from the count, and cells are read before they are trusted."""
    with Rig(4, 3) as rig:
        rig.unit.program(rig.uniform())
        before = rig.unit.pulses()
        rig.server.set_state("dead", True)
        with pytest.raises(LinkError):
            rig.unit.program(rig.uniform(seed=9))
        assert ((rig.unit.pulses() - before) == rig.unit.costs().pulses_per_write_max).all()
        rig.server.set_state("dead", False)
        assert rig.unit.make_safe().safe
        passes = rig.unit.verify_passes()
        rig.unit.program(rig.uniform(), np.zeros(rig.shape, np.bool_))
        assert rig.unit.verify_passes() == passes + 8


def test_outputs_behind_a_dead_link_are_not_confirmed_off() -> None:
    """make_safe on a link that died never raises, and claims nothing."""
    with Rig() as rig:
        rig.measure(rig.drive(1))
        rig.server.set_state("dead", True)
        report = rig.unit.make_safe()
        assert report.confirmed == ()
        assert report.not_confirmed == ("row drivers", "word lines")
        assert "no answer" in report.detail


def test_an_output_that_hangs_is_reported_as_still_on() -> None:
    """An output that was commanded off and reads back on is not confirmed; the other one is."""
    with Rig() as rig:
        rig.measure(rig.drive(1))
        rig.server.set_state("hanging", ["word lines"])
        report = rig.unit.make_safe()
        assert report.confirmed == ("row drivers",)
        assert report.not_confirmed == ("word lines",)
        rig.server.switch_off()


def test_outputs_are_off_until_they_are_needed_and_after_the_last_unit_has_closed() -> None:
    """Opening switches nothing on; closing switches off even without make_safe."""
    with Rig() as rig:
        assert not any(rig.server.outputs().values())
        rig.measure(rig.drive(1))
        assert all(rig.server.outputs().values())
        rig.unit.close()
        assert not any(rig.server.outputs().values())


class _NoGuard:
    def require_alive(self) -> None:
        raise DeviceError("the guardian has died")


def test_no_output_goes_on_without_a_guardian() -> None:
    """The guard is asked before anything is switched on."""
    with Rig(guard=_NoGuard()) as rig:
        with pytest.raises(DeviceError, match="guardian"):
            rig.measure(rig.drive(1))
        assert not any(rig.server.outputs().values())


def test_the_current_limit_of_a_unit_is_held_on_the_board() -> None:
    """A tighter limit of the protocol clamps the lines, and the reading says so."""
    with Rig(12, 2, unit_options={"current_limit_a": 20e-6}) as rig:
        rig.unit.set_full_scale(1.0)
        rig.unit.program(np.full(rig.shape, 40e-6, np.float32))
        full = rig.unit.measure(np.full((1, 12), 0.2, np.float32), cancel=CancelToken())
        assert full.saturated.all()
        assert rig.unit.current_limit_a() == 20e-6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"address": 5}, "address"),
        ({"address": "nonsense"}, "write serial:"),
        ({"profile": "wan-2022"}, "rows"),
        ({"serial": "other"}, "emulated-1"),
        ({"deadman_s": 2.0}, "deadman_s"),
        ({"deadman_s": 0.001}, "too short for a heartbeat"),
        ({"gate": 1.0}, "gate_v"),
        ({"override": 3}, "table"),
    ],
)
def test_wrong_options_say_what_to_write(options: dict[str, object], message: str) -> None:
    """A wrong address, chip or key is a mistake in the protocol, named by its key."""

    def build(address: str) -> None:
        context = DeviceContext("chip", 1, VirtualClock())
        device = MemristorBoard({"address": address, "profile": "chip-b"} | options, context)
        device.unit(UnitRequest("unit", 4, 3)).open()

    with start() as server, pytest.raises(ConfigurationError, match=message):
        build(server.address)


def test_a_board_with_too_few_arrays_is_refused() -> None:
    """The unit says what it wants and what the board has."""
    rig = Rig(40, 7, arrays=5)
    with pytest.raises(ConfigurationError, match="5 arrays"):
        rig.unit.open()
    rig.server.close()


def test_a_protocol_for_the_board_runs_on_the_mock() -> None:
    """The mock that takes the board's place accepts the options of its link."""
    options = {"address": "serial:/dev/ttyACM0", "deadman_s": 0.5, "timeout_s": 0.5, "gate_v": 2.5}
    context = DeviceContext("chip", 1, VirtualClock())
    assert MemristorBoard(options, context).mock_driver == "mock-memristor-chip"
    assert MockMemristorChip(options, context).unit(UnitRequest("unit", 4, 3)).spec.drive.shape == (4,)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 16), st.integers(1, 16))
def test_requests_cover_a_unit_once(n_in: int, n_out: int, rows: int, pairs: int) -> None:
    """Tiles that go into one request share their rows and have as many pairs; each cell is in exactly one."""
    tiling, seen = Tiling(n_in, n_out, rows, pairs), np.zeros((n_in, n_out), np.int32)
    for at, each, tiles in tiling.alike(3):
        for tile in tiles:
            assert (tile.rows, tile.window.pairs) == (at, each)
            seen[tile.rows, tile.pairs] += 1
    assert (seen == 1).all()


SLOW = {"columns": 6, "verify_s": 10e-3}
"""Verify reads so slow that one request holds a row or two of a write."""


def _cancel_during(rig: Rig, wanted: int, token: CancelToken) -> None:
    """Set the token while the board carries out the write request of that number."""
    with rig.unit._session.link("unit") as board:
        request, writes = board._link.request, itertools.count(1)

    def asked(kind: Kind, *rest: Any) -> bytes:
        if kind is Kind.WRITE and next(writes) == wanted:
            token.cancel()
        return request(kind, *rest)

    board._link.request = asked  # type: ignore[method-assign, assignment]


def test_a_write_stops_between_requests() -> None:
    """Interrupted during the second request, no third one is sent; pulses are counted, and outputs go off."""
    with Rig(12, 3, "chip-b", SLOW) as rig:
        token = CancelToken()
        rig.unit.cancel_with(token)
        _cancel_during(rig, 2, token)
        with pytest.raises(Cancelled):
            rig.unit.program(rig.uniform())
        with rig.server.board() as firmware:
            array = firmware.chip.array(0)
            true, pulses = array.conductances().reshape(rig.shape), array.pulses()
        begun = rig.unit.pulses().any(axis=(1, 2))
        assert 1 < begun.sum() < 12
        assert int(rig.unit.pulses().sum()) == pulses
        assert rig.unit.make_safe().safe
        assert not any(rig.server.outputs().values())
        rig.unit.cancel_with(CancelToken())
        held = rig.unit.program(rig.uniform(), np.zeros(rig.shape, np.bool_))
        assert np.corrcoef(held.ravel(), true.ravel())[0, 1] > 0.9  # rows that were not written are read, not guessed


def test_a_cancelled_part_of_a_known_array_keeps_the_rest_known() -> None:
    """What was written before stays believed without another read; what was written since is as the board told."""
    with Rig(12, 3, "ideal", SLOW) as rig:
        before = rig.unit.program(rig.uniform())
        passes = rig.unit.verify_passes()
        token = CancelToken()
        token.cancel()
        rig.unit.cancel_with(token)
        with pytest.raises(Cancelled):
            rig.unit.program(rig.uniform(seed=9))
        rig.unit.cancel_with(CancelToken())
        held = rig.unit.program(before, np.zeros(rig.shape, np.bool_))
        np.testing.assert_array_equal(held, before)
        assert rig.unit.verify_passes() == passes
