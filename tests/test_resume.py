"""A run that was stopped or killed continues bit-identically: losses, entropies, accuracies, pulses, conductances."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pib_lab
from data.reader import Reader
from drivers.chip.mock_chip import MockCrossbar
from pib_lab.bus import View
from pib_lab.control import Commands
from pib_lab.errors import ConfigurationError, RunFileError
from pib_lab.events import CheckpointTaken, Evaluated, FaultsScanned, MapTaken, RunFinished, StepDone
from pib_lab.learner import LocalLearner
from pib_lab.lessons import LearnBatch, LearnRecord
from pib_lab.teaching import LocalTeacher

ROOT = Path(__file__).parents[1]
PROTOCOL = """
name = "small"
seed = 4

[dataset]
name = "digits"
validation = 0.15
limit = 256

[hardware.chip]
driver = "mock-memristor-chip"
profile = "chip-b"

[[units]]
name = "hidden"
inputs = 64
outputs = 16
objective = { name = "conditional-entropy", beta = 0.05 }

[[units]]
name = "read-out"
inputs = 16
outputs = 10
objective = "cross-entropy"

[schedule]
epochs = 2
batch = 64
entropies_every = 2
checkpoint_every = 3

[[faults]]
step = 5
fraction = 0.1
unit = "hidden"
"""


class Interrupting(LocalTeacher):
    """Teaches as usual, and acts after the given number of steps."""

    def __init__(self, steps: int, act: Callable[[], None]):
        self._left, self._act = steps, act

    def teach(self, learners: Sequence[LocalLearner], batch: LearnBatch) -> list[LearnRecord]:
        records = super().teach(learners, batch)
        self._left -= 1
        if self._left == 0:
            self._act()
        return records


@pytest.fixture(scope="module")
def protocol(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("protocol") / "small.toml"
    path.write_text(PROTOCOL, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def straight(protocol: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the uninterrupted run: 8 steps."""
    run = pib_lab.open(protocol).train(tmp_path_factory.mktemp("straight"))
    assert run.error is None
    assert run.status == "finished"
    return run.folder


@pytest.fixture(scope="module")
def stopped(protocol: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was aborted after step 5."""
    commands = Commands()
    teacher = Interrupting(5, lambda: commands.post("abort"))
    return pib_lab.open(protocol).train(tmp_path_factory.mktemp("stopped"), commands=commands, teacher=teacher).folder


def numbers(folder: Path) -> dict[str, Any]:
    """All that must not depend on an interruption, by kind and step."""
    found: dict[str, Any] = {}
    with Reader(folder) as reader:
        for event in reader.events():
            if isinstance(event, StepDone):
                found[f"step {event.step}"] = (event.batch_accuracy, event.units, event.passes, event.pulses)
            elif isinstance(event, Evaluated):
                found[f"{event.split} {event.step}"] = (event.accuracy, event.loss)
            elif isinstance(event, FaultsScanned):
                found[f"scan {event.step}"] = (event.found, event.pulses, event.recall, event.faults.tobytes())
            elif isinstance(event, MapTaken):
                content = [event.parameters.tobytes(), event.faults.tobytes(), event.pulses.tobytes()]
                found[f"map {event.unit} {event.step}"] = content
            elif isinstance(event, RunFinished) and event.status == "finished":
                found["end"] = (event.metrics, event.passes, event.pulses, event.safe)
    return found


def assert_same(folder: Path, straight: Path) -> None:
    resumed, whole = numbers(folder), numbers(straight)
    assert resumed.keys() == whole.keys()
    for key, value in whole.items():
        assert repr(resumed[key]) == repr(value), key


def last_checkpoint(folder: Path) -> CheckpointTaken:
    with Reader(folder) as reader:
        checkpoint = reader.checkpoint()
    assert checkpoint is not None
    return checkpoint


@pytest.mark.parametrize("steps", [2, 5, 7])
def test_an_aborted_run_continues_bit_identically(steps: int, protocol: Path, straight: Path, tmp_path: Path) -> None:
    """Stopped before the first checkpoint, between checkpoints with a fault to come or past, and near the end."""
    commands = Commands()
    stopped = pib_lab.open(protocol).train(
        tmp_path, commands=commands, teacher=Interrupting(steps, lambda: commands.post("abort"))
    )
    assert stopped.status == "aborted"
    assert stopped.safe
    resumed = pib_lab.reopen(stopped.folder).train(resume=stopped.folder)
    assert resumed.status == "finished"
    assert_same(stopped.folder, straight)


def test_final_state_is_identical_to_the_last_bit(protocol: Path, straight: Path, tmp_path: Path) -> None:
    """The last checkpoint of a resumed run equals that of the straight one: cells, traps, generators, optimisers."""
    commands = Commands()
    teacher = Interrupting(4, lambda: commands.post("abort"))
    stopped = pib_lab.open(protocol).train(tmp_path, commands=commands, teacher=teacher)
    pib_lab.reopen(stopped.folder).train(resume=stopped.folder)
    ours, theirs = last_checkpoint(stopped.folder), last_checkpoint(straight)
    assert ours.step == theirs.step == 6
    assert ours.state.keys() == theirs.state.keys()
    for key, value in theirs.state.items():
        if key == "elapsed_s":  # the only number that is of this computer
            continue
        np.testing.assert_array_equal(np.asarray(ours.state[key]), np.asarray(value), err_msg=key)


def killed(protocol: Path, out: Path, steps: int) -> Path:
    """The folder of a run whose process killed itself with SIGKILL in step `steps`."""
    code = (
        "import sys, pib_lab, test_resume as t\n"
        "pib_lab.open(sys.argv[1]).train(sys.argv[2], teacher=t.Interrupting(int(sys.argv[3]), t.die))\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    arguments = [sys.executable, "-c", code, str(protocol), str(out), str(steps)]
    process = subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=120)
    assert process.returncode == -signal.SIGKILL, process.stderr
    (folder,) = out.iterdir()
    return folder


def die() -> None:
    """End this process as kill -9 does."""
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_a_killed_run_continues_bit_identically(protocol: Path, straight: Path, tmp_path: Path) -> None:
    """kill -9 in mid-step: the file tells that the run was killed, and resume goes on from the last checkpoint."""
    folder = killed(protocol, tmp_path, 5)
    with Reader(folder) as reader:
        assert reader.status().status == "killed"
    resumed = pib_lab.reopen(folder).train(resume=folder)
    assert resumed.status == "finished"
    assert_same(folder, straight)


def test_a_run_can_be_stopped_twice(protocol: Path, straight: Path, tmp_path: Path) -> None:
    """A resumed run is as good as a first one: it can be stopped and resumed again."""
    folder = None
    for steps in (4, 2):
        commands = Commands()
        teacher = Interrupting(steps, lambda commands=commands: commands.post("abort"))  # type: ignore[misc]
        lab = pib_lab.open(protocol) if folder is None else pib_lab.reopen(folder)
        folder = lab.train(tmp_path, commands=commands, teacher=teacher, resume=folder).folder
    pib_lab.reopen(folder).train(resume=folder)
    assert_same(folder, straight)


def test_the_same_seed_gives_the_same_run(protocol: Path, straight: Path, tmp_path: Path) -> None:
    """Two runs of one protocol agree in every number; another seed does not."""
    again = pib_lab.open(protocol).train(tmp_path / "again")
    assert_same(again.folder, straight)
    other = pib_lab.open(protocol, seed=5).train(tmp_path / "other")
    assert repr(numbers(other.folder)["step 8"]) != repr(numbers(straight)["step 8"])


def test_a_checkpoint_of_another_chip_is_refused(protocol: Path, stopped: Path, tmp_path: Path) -> None:
    """Resuming with another profile is refused before anything is trained, and the file stays as it was."""
    folder = shutil.copytree(stopped, tmp_path / "copy")
    before = (folder / "run.h5").read_bytes()
    other = pib_lab.open(protocol, overrides=["hardware.chip.profile=wan-2022"])
    with pytest.raises(ConfigurationError, match="another chip"):
        other.train(resume=folder)
    assert (folder / "run.h5").read_bytes() == before
    assert not (folder / "run.h5.before-recovery").exists()


def test_a_checkpoint_of_another_shape_is_refused(stopped: Path, tmp_path: Path) -> None:
    """Another network of the same names: both shapes are in the message, and the file stays as it was."""
    folder = shutil.copytree(stopped, tmp_path / "copy")
    before = (folder / "run.h5").read_bytes()
    text = PROTOCOL.replace("outputs = 16", "outputs = 12").replace("inputs = 16", "inputs = 12")
    (tmp_path / "other.toml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"\(64, 16, 2\), the unit has \(64, 12, 2\)"):
        pib_lab.open(tmp_path / "other.toml").train(resume=folder)
    assert (folder / "run.h5").read_bytes() == before


def test_a_folder_that_cannot_be_used_is_refused_before_anything_is_opened(
    protocol: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file stands where the folder should be: no unit is opened, let alone programmed."""
    opened: list[MockCrossbar] = []
    monkeypatch.setattr(MockCrossbar, "open", opened.append)
    (tmp_path / "runs").write_text("not a folder", encoding="utf-8")
    with pytest.raises(RunFileError, match="cannot be made"):
        pib_lab.open(protocol).train(tmp_path / "runs")
    assert not opened


def test_views_may_be_added_once_the_folder_exists(protocol: Path, tmp_path: Path) -> None:
    """on_folder is called with a folder that is there."""
    seen: list[bool] = []

    def on_folder(folder: Path) -> list[View]:
        seen.append(folder.is_dir())
        return []

    pib_lab.open(protocol, overrides=["schedule.epochs=1"]).train(tmp_path, on_folder=on_folder)
    assert seen == [True]


def test_resuming_where_there_is_no_run_is_a_clear_error(tmp_path: Path) -> None:
    """Nothing is made in the folder."""
    with pytest.raises(RunFileError):
        pib_lab.reopen(tmp_path)
    assert list(tmp_path.iterdir()) == []
