"""The array behind source-measure units and a matrix: honest sums, guarded writes, and a safe end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from smu_bench import EASY, Station

import pib_lab
from data.datasets import load
from drivers.chip.bias_schemes import Bus
from drivers.chip.limits import ElectricalLimits
from drivers.chip.mock_chip import LINK_OPTIONS
from drivers.chip.profiles import load_profile
from drivers.chip.smu_matrix_chip import MemristorSmuMatrix, SmuMatrixUnit
from drivers.chip.smu_matrix_options import ChipOptions, WriteOptions
from drivers.chip.smu_matrix_writing import PulseLadder
from drivers.emulators.bench_file import read_bench_file
from pib_lab.clocks import VirtualClock
from pib_lab.device import DeviceContext, UnitRequest
from pib_lab.errors import Cancelled, ConfigurationError, DeviceError, LimitError
from pib_lab.experiment import Dataset
from pib_lab.unit import CancelToken

EXAMPLE = Path(__file__).parents[1] / "docs" / "examples" / "smu-matrix-bench.toml"
QUIET = {**EASY, "read_noise": 0.0, "telegraph_fraction": 0.0}


class Rig:
    """A station of 4 x 4 lines with one open unit of 4 inputs and 2 pairs."""

    def __init__(self, **station: Any) -> None:
        self.station = Station(**{"lines": (4, 4), "override": QUIET, **station})
        self.device = self.station.device()
        self.unit: SmuMatrixUnit = self.device.unit(UnitRequest("unit", 4, 2))
        self.unit.open()

    def cells(self) -> np.ndarray[Any, Any]:
        """True conductances (4, 2, 2)."""
        return np.array(self.station.bench.state()["conductances"]).reshape(4, 2, 2)

    def fill(self, seed: int = 1) -> np.ndarray[Any, Any]:
        """Put true conductances there without writing; returns them."""
        cells = np.random.default_rng(seed).uniform(5e-6, 35e-6, (4, 4))
        self.station.bench.set_conductances(cells)
        return cells.reshape(4, 2, 2)


def _drive(codes: Any, bits: int) -> np.ndarray[Any, Any]:
    return np.asarray(np.asarray(codes) * 0.2 / (2**bits - 1), np.float32)


@pytest.mark.parametrize("scheme", ["v/2", "v/3", "1t1r"])
def test_a_response_is_the_sum_that_the_array_makes(scheme: str) -> None:
    """Bit planes add up to drive @ (g+ - g-), to within a per cent, behind every kind of selection."""
    rig = Rig(scheme=scheme)
    cells = rig.fill()
    drive = _drive([[7, 3, 0, 1], [0, 5, 6, 2]], 3)
    made = rig.unit.measure(drive, cancel=CancelToken())
    expected = drive @ (cells[..., 0] - cells[..., 1])
    np.testing.assert_allclose(made.values, expected, atol=0.01 * np.abs(expected).max() + 2e-8)
    assert not made.saturated.any()
    assert made.passes == 2


def test_planes_are_measured_and_never_computed() -> None:
    """A drive of code 5 of 7 takes a reading of each pair in planes 1 and 4; plane 2 drives no row and takes none."""
    rig = Rig()
    rig.fill()
    rig.unit.measure(_drive([[0, 0, 0, 0]], 3), cancel=CancelToken())
    sensing = rig.station.transports["2450"].sent
    before = len([message for message in sensing if message.startswith(":READ?")])
    assert before == 0
    rig.unit.measure(_drive([[5, 0, 5, 0]], 3), cancel=CancelToken())
    assert len([message for message in sensing if message.startswith(":READ?")]) == 2 * 2
    assert rig.unit.readings_per_sample == 3 * 2 * 2


def test_cell_reads_are_labelled_as_a_digital_sum() -> None:
    """The other mode reads each pair of cells once a call, agrees with the analog one, and says what it is."""
    analog, digital = Rig(), Rig(more={"measure": "cell-reads"})
    drive = _drive([[7, 3, 0, 1], [0, 5, 6, 2]], 3)
    for rig in (analog, digital):
        rig.fill()
    first, second = (rig.unit.measure(drive, cancel=CancelToken()).values for rig in (analog, digital))
    np.testing.assert_allclose(first, second, atol=0.02 * np.abs(second).max())
    assert "twin" in digital.unit.how()
    assert "analog" in analog.unit.how()
    assert digital.unit.readings_per_sample == 0
    reads = [message for message in digital.station.transports["2450"].sent if message.startswith(":READ?")]
    assert len(reads) == 4 * 2


@pytest.mark.parametrize("scheme", ["v/2", "v/3", "1t1r"])
def test_writing_moves_the_written_cells_alone(scheme: str) -> None:
    """Verified pulses bring the wanted cells there; the others, half selected, keep their conductance."""
    rig = Rig(scheme=scheme)
    before = rig.fill()
    where = np.zeros((4, 2, 2), np.bool_)
    where[1, 0, 1] = where[2, 1, 0] = True
    wanted = np.full((4, 2, 2), 20e-6, np.float32)
    wanted[1, 0, 1] = 30e-6
    held = rig.unit.program(wanted, where)
    after = rig.cells()
    np.testing.assert_allclose(after[where], wanted[where], atol=2.5e-6)
    np.testing.assert_allclose(held, after, atol=1e-6)
    np.testing.assert_allclose(after[~where], before[~where], rtol=1e-6)
    assert (rig.unit.pulses()[~where] == 0).all()
    assert rig.unit.pulses()[where].min() >= 1
    assert bool(rig.unit.half_select_disturbs().any()) is (scheme != "1t1r")


def test_a_write_is_bounded_and_its_miss_is_told() -> None:
    """A cell that does not move gets the profile's pulses and no more, and counts as missed."""
    rig = Rig()
    rig.fill()
    rig.station.bench.strike("low", 1.0, seed=1)
    where = np.zeros((4, 2, 2), np.bool_)
    where[0, 0, 0] = True
    for misses in (1, 2):
        rig.unit.program(np.full((4, 2, 2), 30e-6, np.float32), where)
        assert rig.unit.write_misses()[0, 0, 0] == misses
    assert rig.unit.pulses()[0, 0, 0] == 2 * QUIET["max_pulses"]
    assert rig.unit.verify_passes() == 2 * (QUIET["max_pulses"] + 1)


def test_a_2450_can_drive_too() -> None:
    """Without pulses of its own it sweeps: level, then base."""
    rig = Rig(swapped=True)
    rig.fill()
    where = np.zeros((4, 2, 2), np.bool_)
    where[0, 1, 1] = True
    rig.unit.program(np.full((4, 2, 2), 25e-6, np.float32), where)
    assert rig.cells()[0, 1, 1] == pytest.approx(25e-6, abs=2.5e-6)


def test_cells_of_unknown_state_are_read_before_they_are_believed() -> None:
    """The belief about cells that were never written is a reading, also right after opening."""
    rig = Rig()
    cells = rig.fill()
    held = rig.unit.program(np.zeros((4, 2, 2), np.float32), np.zeros((4, 2, 2), np.bool_))
    np.testing.assert_allclose(held, cells, rtol=0.02)


def test_no_relay_moves_under_current() -> None:
    """Through a write and a measurement, every source stands at 0 V whenever relays move."""
    rig = Rig()
    rig.fill()
    moved: list[float] = []
    wire = rig.station.bench.connect

    def watch(contacts: Any) -> None:
        moved.append(max(abs(drive.level) for drive in rig.station.bench._drives.values()))
        wire(contacts)

    rig.station.bench.connect = watch  # type: ignore[method-assign]
    rig.unit.program(np.full((4, 2, 2), 20e-6, np.float32))
    rig.unit.measure(_drive([[7, 3, 0, 1]], 3), cancel=CancelToken())
    assert len(moved) > 20
    assert max(moved) == 0.0


def test_the_guard_stops_relays_when_a_source_was_not_read_back_at_zero() -> None:
    """A level that someone set behind the driver's back keeps the relays where they are."""
    rig = Rig()
    rig.fill()
    rig.unit.measure(_drive([[7, 3, 0, 1]], 3), cancel=CancelToken())
    with rig.device.session.link("unit") as link:
        link._sources[Bus.DRIVE].set_level(0.1)
        link._quiet.discard(Bus.DRIVE)
    with pytest.raises(DeviceError, match="no relay moves under current"):
        rig.unit.measure(_drive([[1, 2, 3, 4]], 3), cancel=CancelToken())


def test_a_clamped_column_is_flagged() -> None:
    """With the current limited below what a column carries, readings are marked as saturated, not used as they are."""
    station = Station(lines=(4, 4), override=QUIET)
    device = station.device()
    unit = device.unit(UnitRequest("unit", 4, 2, {"current_limit_a": 5e-6}))
    unit.open()
    station.bench.set_conductances(np.full((4, 4), 35e-6))
    made = unit.measure(_drive([[7, 7, 7, 7]], 3), cancel=CancelToken())
    assert made.saturated.all()
    assert np.isfinite(made.values).all()
    assert unit.current_limit_a() == 5e-6
    unit.close()


def test_outputs_go_on_only_under_a_guard() -> None:
    """A guard that has died keeps every output off."""

    class Dead:
        def require_alive(self) -> None:
            raise DeviceError("the guardian has died")

    station = Station(lines=(4, 4), override=QUIET)
    device = MemristorSmuMatrix(station.options(), DeviceContext("chip", 1, station.clock, Dead()), station.connect)
    unit = device.unit(UnitRequest("unit", 4, 2))
    unit.open()
    with pytest.raises(DeviceError, match="guardian"):
        unit.measure(_drive([[1, 1, 1, 1]], 3), cancel=CancelToken())
    assert station.truly_on() == []
    unit.close()


def test_make_safe_switches_everything_off_in_truth() -> None:
    """After a measurement outputs are on; after make_safe none is, no relay is closed, and the report says so."""
    rig = Rig()
    rig.fill()
    rig.unit.measure(_drive([[7, 3, 0, 1]], 3), cancel=CancelToken())
    assert rig.station.truly_on() != []
    report = rig.unit.make_safe()
    assert report.safe
    assert set(report.confirmed) == {"drive", "plus", "minus", "bias", "matrix"}
    assert rig.station.truly_on() == []
    assert np.isfinite(rig.unit.measure(_drive([[1, 1, 1, 1]], 3), cancel=CancelToken()).values).all()


@pytest.mark.parametrize(
    ("dead", "doubtful"), [("2450", {"plus"}), ("2602b", {"drive", "minus"}), ("matrix", {"matrix"})]
)
def test_what_is_behind_a_dead_link_is_not_confirmed(dead: str, doubtful: set[str]) -> None:
    """The others are off all the same, and the report names just those that did not answer."""
    rig = Rig()
    rig.fill()
    rig.unit.measure(_drive([[7, 3, 0, 1]], 3), cancel=CancelToken())
    rig.station.transports[dead].dead = True
    report = rig.unit.make_safe()
    assert set(report.not_confirmed) == doubtful
    assert "cable" in report.detail
    assert {name.split(".")[0] for name in rig.station.truly_on()} <= {dead}


def test_closing_the_last_unit_leaves_nothing_on() -> None:
    """Also when nobody called make_safe; the first unit to close leaves the other one working."""
    station = Station(lines=(4, 8), override=QUIET)
    device = station.device()
    first, second = (device.unit(UnitRequest(name, 4, 2)) for name in ("first", "second"))
    for unit in (first, second):
        unit.open()
        unit.measure(_drive([[7, 3, 0, 1]], 3), cancel=CancelToken())
    first.close()
    assert np.isfinite(second.measure(_drive([[1, 1, 1, 1]], 3), cancel=CancelToken()).values).all()
    second.close()
    assert station.truly_on() == []


def test_a_failure_amid_a_pulse_brings_the_sources_to_zero() -> None:
    """When the pulsing source's link breaks down half way, the bias does not stay up."""
    rig = Rig()
    rig.fill()
    with rig.device.session.link("unit") as link:
        link.energise()
        pulsing = link._sources[Bus.DRIVE]
        pulsing.pulse = _fail
        with pytest.raises(DeviceError, match="broke"):
            link.pulse(0, 0, 0.9)
        assert link._sources[Bus.BIAS].level() == 0.0


def _fail(*_: Any) -> bool:
    raise DeviceError("the pulse broke off")


def test_cancelling_stops_between_samples() -> None:
    """Sources stand at zero afterwards."""
    rig = Rig()
    rig.fill()
    token = CancelToken()
    token.cancel()
    with pytest.raises(Cancelled):
        rig.unit.measure(_drive([[7, 3, 0, 1]], 3), cancel=token)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"write": {"limit_v": 3.5, "threshold_v": 2.0}}, LimitError, r"write.limit_v: voltage of 3.5 V"),
        ({"write": {"limit_v": 1.0}}, ConfigurationError, "scheme v/2"),
        ({"write": {"start_v": 0.9, "limit_v": 0.8}}, ConfigurationError, "start_v"),
        ({"scheme": "v/3"}, ConfigurationError, "bias-columns is missing"),
        ({"scheme": "2t"}, ConfigurationError, "scheme"),
        ({"drive_bits": 0}, ConfigurationError, "drive_bits"),
        ({"rows": 17}, ConfigurationError, "rows"),
        ({"matrix": {"address": "matrix", "ground": "A"}}, ConfigurationError, "matrix row A"),
        ({"matrix": {"address": "matrix", "columns_from": 2}}, ConfigurationError, "different matrix columns"),
        ({"matrx": 1}, ConfigurationError, "matrx"),
    ],
)
def test_wrong_options_are_refused_with_their_path(
    change: dict[str, Any], error: type[Exception], message: str
) -> None:
    """Nothing is connected; the message names the key."""
    station = Station(lines=(4, 4))
    with pytest.raises(error, match=message):
        MemristorSmuMatrix({**station.options(), **change}, DeviceContext("chip", 1, VirtualClock()), station.connect)


def test_units_that_do_not_fit_are_refused() -> None:
    """Columns are given out in order; a unit keeps its own."""
    device = Station(lines=(4, 4)).device()
    device.unit(UnitRequest("first", 4, 1))
    device.unit(UnitRequest("first", 4, 1))
    device.unit(UnitRequest("second", 2, 1))
    with pytest.raises(ConfigurationError, match="do not fit"):
        device.unit(UnitRequest("third", 4, 1))
    with pytest.raises(ConfigurationError, match="do not fit"):
        device.unit(UnitRequest("first", 5, 1))


@pytest.mark.parametrize("swapped", [False, True])
def test_safe_actions_name_every_channel_once(swapped: bool) -> None:
    """The drive in the first stage, the matrix in the last, channels of a 2602B together where their stage is one."""
    station = Station(lines=(4, 4), swapped=swapped)
    station.serve()
    actions = station.device_by_address().safe_actions()
    station.close()
    assert {action.address for action in actions} == {server.address for server in station.servers.values()}
    stages = {action.device: action.stage for action in actions}
    if swapped:
        assert stages == {"chip.drive": 0, "chip.smua+smub": 1, "chip.bias": 1, "chip.matrix": 3}
    else:
        assert stages == {"chip.smua": 0, "chip.smub": 1, "chip.plus": 1, "chip.bias": 1, "chip.matrix": 3}


def test_a_whole_unit_over_sockets() -> None:
    """The same instruments on TCP: write, measure, safe."""
    station = Station(lines=(4, 4), override=QUIET, clock=VirtualClock())
    station.serve()
    unit = station.device_by_address().unit(UnitRequest("unit", 4, 2))
    unit.open()
    station.bench.set_conductances(np.full((4, 4), 20e-6))
    where = np.zeros((4, 2, 2), np.bool_)
    where[3, 1, 0] = True
    unit.program(np.full((4, 2, 2), 30e-6, np.float32), where)
    made = unit.measure(_drive([[0, 0, 0, 7]], 3), cancel=CancelToken())
    assert made.values[0, 1] == pytest.approx(0.2 * 10e-6, abs=0.2 * 3e-6)
    assert unit.make_safe().safe
    assert station.truly_on() == []
    unit.close()
    station.close()


def test_the_ladder_climbs_while_a_cell_does_not_move() -> None:
    """Voltages grow up to the limit, follow the sign of the error, and start again after an overshoot."""
    write = WriteOptions()
    ladder = PulseLadder(np.array([20e-6, 20e-6], np.float32), load_profile("chip-b"), write)
    stuck = [ladder.next(np.array([18e-6, 22e-6], np.float32)) for _ in range(12)]
    sizes = np.abs(stuck)
    assert (np.diff(sizes[:, 0]) >= 0).all()
    assert sizes[-1] == pytest.approx([write.limit_v] * 2)
    assert (np.sign(stuck) == [1, -1]).all()
    assert abs(ladder.next(np.array([20.5e-6, 22e-6], np.float32))[0]) < sizes[1, 0]


def test_limits_hold_for_pulses_of_the_rig() -> None:
    """A pulse beyond the chip's limit moves no relay."""
    rig = Rig()
    with rig.device.session.link("unit") as link:
        link.energise()
        sent = len(rig.station.transports["matrix"].sent)
        link._limits = ElectricalLimits(0.5, 1e-3)
        with pytest.raises(LimitError, match=r"cell \(0, 0\)"):
            link.pulse(0, 0, 0.9)
        assert len(rig.station.transports["matrix"].sent) == sent


def test_the_shipped_protocol_fits_the_shipped_bench() -> None:
    """Addresses, buses and wiring of the protocol are those of the example bench, and the units fit on its array."""
    lab = pib_lab.open("memristor-smu-matrix")
    options = lab.experiment.hardware["chip"].options
    bench = read_bench_file(EXAMPLE)
    ports = {instrument.port: instrument for instrument in bench.instruments}
    for source in options["sources"].values():
        instrument = ports[int(source["address"].split("::")[2])]
        assert source["bus"] == instrument.buses["ab".index(source.get("channel", "a"))]
        assert instrument.model.removeprefix("smu-")[:2] == source["model"].removeprefix("keithley-")[:2]
    assert ports[int(options["matrix"]["address"].split("::")[2])].model == "matrix-707b"
    assert bench.wiring.grounded == (options["matrix"]["ground"],)
    assert (bench.chip.rows, bench.chip.columns) == (options["rows"], options["columns"])
    lab.check()


def test_the_shipped_protocol_runs_on_the_mock_chip_too() -> None:
    """Under --mock the wiring has no effect, and every option of the device is one that the mock lets pass."""
    assert pib_lab.open("memristor-smu-matrix", mock=True).check().steps > 0
    assert set(ChipOptions.model_fields) <= {"profile", "serial", "override", *LINK_OPTIONS}


def test_a_data_set_can_be_cut_to_its_first_classes() -> None:
    """Only their samples remain, in all splits."""
    data = load(Dataset(name="digits", classes=3, resolution=4), 1)
    assert data.classes == 3
    for split in (data.train, data.validation, data.test):
        assert set(split.y.tolist()) == {0, 1, 2}
    with pytest.raises(ConfigurationError, match="classes"):
        load(Dataset(name="digits", classes=11), 1)
