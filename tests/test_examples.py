"""What a newcomer reads first: the examples in docs/examples do what they say, and the core is short."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

import pib_lab

EXAMPLES = Path(__file__).parents[1] / "docs" / "examples"


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_train_and_read_prints_the_curves_of_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The first example trains, and reads the information of every unit back from the file."""
    accuracy = _load("train_and_read").main(tmp_path, "schedule.epochs=2", "dataset.limit=512")
    assert accuracy > 0.2
    assert capsys.readouterr().out.count("I(Z;Y)") == 3


def test_an_objective_of_ones_own_lowers_its_loss() -> None:
    """The second example's own objective is learned from as a shipped one is."""
    losses = _load("own_objective").train(_load("own_objective").KernelAlignment())
    assert min(losses[-5:]) < losses[0] - 0.05


def test_the_core_is_quickly_read() -> None:
    """The four files that explain the system have fewer than 700 lines together."""
    rooms = [Path(pib_lab.__file__).parent / f"{name}.py" for name in ("unit", "learner", "training", "events")]
    assert sum(len(room.read_text(encoding="utf-8").splitlines()) for room in rooms) < 700
