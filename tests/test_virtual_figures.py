"""Figures of training on instruments are made in virtual time, and repeat to the last bit."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import pib_lab
from benchmarks.pipeline import one_run
from benchmarks.smu_matrix import PROTOCOL, EmulatedSmuMatrix
from benchmarks.virtual import in_place_of
from drivers.emulators.circuit import Resistor
from drivers.emulators.direct import DirectTransport
from drivers.emulators.smu_2450 import Keithley2450
from drivers.latencies import LIKE_REAL
from pib_lab.clocks import VirtualClock
from pib_lab.device import DeviceContext, UnitRequest
from pib_lab.errors import LinkError

ROOT = Path(__file__).parents[1]
WRITE_AND_READ = """
import numpy as np
from pib_lab.clocks import VirtualClock
from pib_lab.device import DeviceContext, UnitRequest
from pib_lab.unit import CancelToken
from benchmarks.smu_matrix import PROTOCOL, EmulatedSmuMatrix
import pib_lab
clock = VirtualClock()
options = pib_lab.open(PROTOCOL, mock=True).experiment.hardware["chip"].options
device = EmulatedSmuMatrix(options, DeviceContext("chip", 1, clock))
unit = device.unit(UnitRequest("unit", 1, 2))
unit.open()
held = unit.program(np.full((1, 2, 2), 20e-6, np.float32))
made = unit.measure(np.full((1, 1), 0.2, np.float32), cancel=CancelToken())
print(held.tobytes().hex(), made.values.tobytes().hex(), clock.now_s().hex(), unit.pulses().sum())
unit.close()
device.close()
"""


def _printed(hash_seed: str) -> str:
    command = [sys.executable, "-c", WRITE_AND_READ]
    environment = {
        "PYTHONPATH": str(ROOT),
        "PYTHONHASHSEED": hash_seed,
        "PATH": "/usr/bin:/bin",
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_writing_behind_instruments_repeats_to_the_last_bit() -> None:
    """Two processes, with other hashes, write and read the same cells with the same pulses in the same virtual time."""
    with ThreadPoolExecutor(2) as both:
        first, second = both.map(_printed, ("1", "2"))
    assert first == second
    assert int(first.split()[-1]) > 0


def test_what_is_written_behind_instruments_is_what_the_cells_hold() -> None:
    """Verified writes end within their tolerance, and what is believed of a cell is true but for noise and ageing."""
    clock = VirtualClock()
    options = pib_lab.open(PROTOCOL, mock=True).experiment.hardware["chip"].options
    device = EmulatedSmuMatrix(options, DeviceContext("chip", 1, clock))
    unit = device.unit(UnitRequest("unit", 3, 2))
    unit.open()
    try:
        target = np.linspace(8e-6, 32e-6, 12, dtype=np.float32).reshape(3, 2, 2)
        held = unit.program(target)
        true = np.array(device.truth()["conductances"])[:3, :4].reshape(held.shape)
    finally:
        unit.close()
        device.close()
    assert (unit.write_misses() > 0).sum() <= 1  # a stuck cell, at most
    reached = unit.write_misses() == 0
    assert np.abs(held - target)[reached].max() < 2.4e-6  # 2 uS, and half a level
    assert np.sqrt(np.mean((held - true)[reached] ** 2)) < 1e-6


def test_the_board_is_busy_for_what_its_frames_and_the_chip_take() -> None:
    """The timeline of a run on the emulated board has the chip and the link in it, and adds up to the whole."""
    short = ("schedule.epochs=1", "scan.at_start=false", "dataset.limit=300", "units.0.outputs=8", "units.1.inputs=8")
    timeline, _ = one_run(1, 1, short)
    assert timeline.chip_s > 0.0
    assert timeline.link_s > 10 * LIKE_REAL.board_frame_s
    assert 0.0 < timeline.busy < 1.0
    assert timeline.now_s >= timeline.chip_s + timeline.link_s + timeline.waited_s


def test_a_driver_is_replaced_for_as_long_as_it_is_asked() -> None:
    """Within the block a protocol's driver is the benchmark's, after it the real one again."""
    with in_place_of("memristor-board", "benchmarks.pipeline:EmulatedBoard"):
        assert pib_lab.open("memristor-board-digits").mock
    assert not pib_lab.open("memristor-board-digits").mock


def test_a_transport_without_a_wire_lets_no_answer_be_lost() -> None:
    """A query has one answer and a command none; anything else is a LinkError, not a value."""
    transport = DirectTransport(Keithley2450(Resistor(1e3), VirtualClock(), 1, LIKE_REAL), "direct")
    with transport.exclusive():
        assert "2450" in transport.query("*IDN?")
        transport.write("*CLS")
    with pytest.raises(LinkError, match="was answered by"):
        transport.write("*IDN?")
    with pytest.raises(LinkError, match="0 lines"):
        transport.query("*CLS")


def test_the_shipped_protocol_of_the_board_learns_on_the_mock(tmp_path: Path) -> None:
    """Digits through the board's protocol, with a batch measured ahead, train under --mock."""
    lab = pib_lab.open("memristor-board-digits", mock=True, overrides=["schedule.epochs=3", "scan.at_start=false"])
    assert lab.experiment.schedule.delay == 1
    done = lab.train(tmp_path)
    assert (done.status, done.safe) == ("finished", True)
    assert done.metrics["test_accuracy"] > 0.5


def test_the_shipped_protocol_of_the_board_can_be_checked() -> None:
    """Without a board at its address, the dry run tells what it would cost."""
    dry = pib_lab.open("memristor-board-digits").check()
    assert dry.steps > 0
    assert dry.measuring_s > 0.0
