"""Weights in memory: they learn as a layer of their own, cost no pass and no wear, and are counted and told apart."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from cli_tools import call
from learning_bench import learner, teach

import pib_lab
from data.reader import Reader
from drivers.digital import DigitalUnit, DigitalWeights
from drivers.safe.guardian import Guardian
from pib_lab.clocks import VirtualClock
from pib_lab.control import Commands
from pib_lab.device import DeviceContext, UnitRequest
from pib_lab.errors import ConfigurationError
from pib_lab.events import FaultsScanned, Message
from pib_lab.learner import LocalLearner
from pib_lab.lessons import LearnBatch, LearnRecord
from pib_lab.registry import find_driver, is_digital, is_real
from pib_lab.teaching import LocalTeacher
from pib_lab.unit import CancelToken

PROTOCOL = """
name = "hybrid"
[dataset]
name = "digits"
limit = 128
[hardware.chip]
driver = "mock-memristor-chip"
profile = "ideal"
[hardware.memory]
driver = "digital-weights"
limit = 2.0
[[units]]
name = "crossbar"
device = "chip"
inputs = 64
outputs = 16
objective = "ridge-entropy"
[[units]]
name = "weights"
device = "memory"
inputs = 16
outputs = 10
objective = "cross-entropy"
[schedule]
epochs = 2
batch = 32
entropies_every = 0
"""


def unit(inputs: int = 16, outputs: int = 8, **options: object) -> DigitalUnit:
    device = DigitalWeights(options, DeviceContext("memory", 1, VirtualClock()))
    made = device.unit(UnitRequest("weights", inputs, outputs))
    made.open()
    return made


def write(folder: Path, text: str = PROTOCOL) -> Path:
    path = folder / "hybrid.toml"
    path.write_text(text)
    return path


def test_digital_weights_learn_by_their_pull_back() -> None:
    """The local loss falls, and not a pass is counted."""
    made = learner(unit())
    assert made.rule.name == "pullback"
    losses = teach(made, 20)
    assert losses[-1] < losses[0] - 0.2
    assert made.unit.measure(np.zeros((5, 16), np.float32), cancel=CancelToken()).passes == 0


def test_the_response_is_the_product() -> None:
    """drive @ W, in float32."""
    rng, made = np.random.default_rng(0), unit()
    weights, drive = rng.uniform(-1, 1, (16, 8)).astype(np.float32), rng.random((5, 16)).astype(np.float32)
    np.testing.assert_array_equal(made.program(weights), weights)
    np.testing.assert_array_equal(made.measure(drive, cancel=CancelToken()).values, drive @ weights)


def test_bits_round_weights_to_steps() -> None:
    """With 3 bits a weight is one of eight values from -1 to 1."""
    held = unit(bits=3).program(np.linspace(-1, 1, 128, dtype=np.float32).reshape(16, 8))
    np.testing.assert_allclose(np.unique(held), np.linspace(-1, 1, 8), atol=1e-6)


@pytest.mark.parametrize(
    "options",
    [{"limit": 0}, {"limit": "1"}, {"limit": float("nan")}, {"bits": 1}, {"bits": 30}, {"bit": 8}],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, object]) -> None:
    """The message names the key, of the device and of one unit alike."""
    with pytest.raises(ConfigurationError, match=r"hardware\.memory\.(limit|bits?)"):
        unit(**options)
    device = DigitalWeights({}, DeviceContext("memory", 1, VirtualClock()))
    with pytest.raises(ConfigurationError, match=r"units \(weights\)\.options\.(limit|bits?)"):
        device.unit(UnitRequest("weights", 4, 4, options))


def test_memory_is_neither_a_mock_nor_hardware() -> None:
    """Under --mock it stays itself, and it needs no guardian."""
    for mock in (False, True):
        name, factory = find_driver("digital-weights", mock, "hardware.memory")
        assert (name, is_digital(factory), is_real(factory)) == ("digital-weights", True, False)


def test_a_hybrid_run_counts_physics_and_memory_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Passes, pulses a parameter and passes an update are of the crossbar; the weights are told; nothing is guarded."""
    monkeypatch.setattr(Guardian, "start", lambda guardian: pytest.fail("a guardian was started"))
    opened = pib_lab.open(write(tmp_path))
    dry, run = opened.check(), opened.train(tmp_path)
    assert run.status == "finished"
    assert run.metrics["digital_weights"] == dry.digital_weights == 160
    assert run.metrics["training_passes_per_sample_per_update"] == 1.0
    assert run.metrics["pulses_per_parameter"] == run.pulses / (2 * 64 * 16)
    assert (run.passes.training, run.passes.evaluation) == (dry.passes.training, dry.passes.evaluation)
    assert run.passes.training == dry.steps * 32
    assert dry.writes_max == (1 + dry.steps) * 2 * 64 * 16
    assert dry.warnings == ()


def test_runs_without_memory_say_nothing_of_it(tmp_path: Path) -> None:
    """No metric of digital weights where there are none."""
    text = PROTOCOL.replace('device = "memory"', 'device = "chip"').replace('name = "weights"', 'name = "read-out"')
    assert "digital_weights" not in pib_lab.open(write(tmp_path, text)).train(tmp_path).metrics


def test_limits_of_physical_units_pass_memory_by(tmp_path: Path) -> None:
    """A drive limit in volts and a current limit hold for the crossbar, and are nothing to weights in memory."""
    dry = pib_lab.open(write(tmp_path, PROTOCOL + '[limits]\ndrive = "100 mV"\ncurrent = "1 mA"\n')).check()
    assert [row.drive_limit for row in dry.units] == ["0 to 0.1 V", "0 to 1"]


def test_scans_and_faults_pass_memory_by(tmp_path: Path) -> None:
    """A scan of all units tests and writes the crossbar's cells only, and no fault strikes weights in memory."""
    faults = "[[faults]]\nstep = 2\nfraction = 0.1\n[scan]\nat_start = true\n"
    run = pib_lab.open(write(tmp_path, PROTOCOL.replace("epochs = 2", "epochs = 1") + faults)).train(tmp_path)
    with Reader(run.folder) as reader:
        events = list(reader.events())
    assert run.status == "finished"
    assert {event.unit for event in events if isinstance(event, FaultsScanned)} == {"crossbar"}
    told = [event.text for event in events if isinstance(event, Message)]
    assert "unit weights has no cells: the scheduled fault is left out" in told


def test_check_shows_the_number_of_digital_weights(tmp_path: Path) -> None:
    """In the table, and how the unit's response comes about."""
    shown = call("check", write(tmp_path)).stdout
    assert "160 of 2,208 parameters are weights in memory" in shown
    assert "weights: computed: 160 digital weights, no passes" in shown


def test_a_resumed_run_ends_as_the_whole_one(tmp_path: Path) -> None:
    """Weights in memory are part of a checkpoint: a resumed hybrid run has bit-identical results."""
    path = write(tmp_path, PROTOCOL.replace("[schedule]", "[schedule]\ncheckpoint_every = 3"))
    whole = pib_lab.open(path).train(tmp_path / "whole")
    commands = Commands()

    class Stopping(LocalTeacher):
        def teach(self, learners: Sequence[LocalLearner], batch: LearnBatch) -> list[LearnRecord]:
            if batch.batch_id == 5:
                commands.post("abort")
            return super().teach(learners, batch)

    cut = pib_lab.open(path).train(tmp_path / "cut", commands=commands, teacher=Stopping())
    assert cut.status == "aborted"
    resumed = pib_lab.reopen(cut.folder).train(resume=cut.folder)
    assert resumed.status == "finished"
    assert resumed.metrics == whole.metrics
    assert resumed.pulses == whole.pulses
