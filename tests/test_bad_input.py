"""Batches and data that nothing can be learned from: each is a clear error, and outputs are off."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from learning_bench import Log, Split, batch_of, crossbar, learner, network, started, task, trainer

import pib_lab
from data.reader import Reader
from pib_lab.batches import batches
from pib_lab.errors import ConfigurationError, LimitError, ResponseError
from pib_lab.evaluation import Material
from pib_lab.events import BatchRejected, MadeSafe, RunFinished

SMALL = ["dataset.limit=128", "schedule.epochs=1", "schedule.batch=64"]


def test_an_empty_batch_is_refused() -> None:
    """No samples: told so, not a NaN."""
    made = learner(crossbar())
    made.forward(task().x, learn=True)
    with pytest.raises(ConfigurationError, match="0 labels for 96"):
        made.learn(replace(batch_of(task()), labels=np.zeros(0, np.int64)))


@pytest.mark.parametrize("n", [1, 8])
def test_a_batch_of_one_class_is_refused(n: int) -> None:
    """It would teach every unit to forget; the message says what to do."""
    made, split = learner(crossbar()), task(n, classes=1)
    made.forward(split.x, learn=True)
    with pytest.raises(ConfigurationError, match="single class teaches nothing; use a larger batch or shuffle"):
        made.learn(batch_of(split))


def test_data_of_one_class_ends_the_run_safely() -> None:
    """The run fails at its first step, outputs off."""
    log, one = Log(), task(64, classes=1)
    made = started(log, material=Material(one, task(8), task(8), 4))
    with pytest.raises(ConfigurationError, match="single class"):
        made.run()
    assert len(log.of(MadeSafe)) == 2
    assert log.of(RunFinished)[0].status == "failed"


@pytest.mark.parametrize(("n", "batch"), [(0, 8), (7, 8), (5, 0)])
def test_a_batch_that_cannot_be_filled_is_refused(n: int, batch: int) -> None:
    """Fewer samples than one batch, and batches of nothing."""
    with pytest.raises(ConfigurationError, match=r"schedule\.batch"):
        batches(n, batch, 1, 0)


def test_a_batch_larger_than_the_data_is_refused_before_anything_is_opened(tmp_path: Path) -> None:
    """Nothing is left in the output folder."""
    lab = pib_lab.open("memristor-digits", overrides=[*SMALL, "schedule.batch=512"])
    with pytest.raises(ConfigurationError, match=r"schedule\.batch"):
        lab.train(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", [np.nan, np.inf, -0.2, 1.5])
def test_a_signal_that_no_drive_can_be_is_refused(value: float) -> None:
    """Not finite, or beyond the drive's limits: nothing is sent."""
    made, split = learner(crossbar()), task()
    split.x[0, 0] = value
    with pytest.raises(LimitError, match="nothing was sent"):
        made.forward(split.x, learn=True)


def test_a_signal_of_the_wrong_width_is_refused() -> None:
    """15 signals for 16 inputs."""
    with pytest.raises(ConfigurationError, match=r"shape \(96, 15\)"):
        learner(crossbar()).forward(task(features=15).x, learn=True)


def test_labels_beyond_the_classes_fail_the_run_safely() -> None:
    """A label that the read-out has no column for."""
    log, bad = Log(), task(64)
    made = started(log, material=Material(Split(bad.x, bad.y + 3), task(8), task(8), 4))
    with pytest.raises(ConfigurationError, match="label"):
        made.run()
    assert len(log.of(MadeSafe)) == 2


def test_a_saturated_front_end_stops_the_run_with_the_batch_in_the_file(tmp_path: Path) -> None:
    """A chip whose widest range is far too small: the run fails, safely, and the file holds what was measured."""
    overrides = [*SMALL, "hardware.chip.override={range_min_a=1e-8, range_max_a=1e-7}"]
    run = pib_lab.open("memristor-digits", overrides=overrides).train(tmp_path)
    assert run.status == "failed"
    assert run.safe
    assert isinstance(run.error, ResponseError)
    assert "saturated" in str(run.error)
    with Reader(run.folder) as reader:
        events = list(reader.events())
        assert reader.status().status == "failed"
    (rejected,) = (event for event in events if isinstance(event, BatchRejected))
    assert rejected.unit == "hidden-1"
    assert rejected.response.shape == (64, 64)
    assert np.abs(rejected.response).max() <= 1e-7 * 1.001
    assert any(isinstance(event, MadeSafe) for event in events)


@pytest.mark.parametrize(
    ("override", "error", "message"),
    [
        ("units.hidden-1.inputs=63", ConfigurationError, "63, but digits has 64 features"),
        ("units.read-out.outputs=9", ConfigurationError, "9, but digits has 10 classes"),
        ("units.hidden-2.inputs=32", ConfigurationError, "takes 32 inputs, but 'hidden-1' gives 64"),
        ("limits.drive=2 V", LimitError, r"limits\.drive: 2 V is not within"),
        ("limits.current=10 mA", LimitError, r"limits\.current: 10 mA is beyond 0\.002 A, the limit of hidden-1"),
        ("limits.drive=200 mA", ConfigurationError, "not a quantity in V"),
        ("hardware.chip.driver=mock-memristor-chp", ConfigurationError, "did you mean 'mock-memristor-chip'"),
        ("hardware.chip.profile=chip-c", ConfigurationError, "did you mean 'chip-b'"),
        ("units.hidden-1.objective=renyy", ConfigurationError, "did you mean 'renyi'"),
        ("dataset.name=digitz", ConfigurationError, "did you mean 'digits'"),
    ],
)
def test_a_mistake_in_the_protocol_is_found_before_anything_is_programmed(
    override: str, error: type[Exception], message: str, tmp_path: Path
) -> None:
    """One clear message; the output folder stays empty."""
    with pytest.raises(error, match=message):
        pib_lab.open("memristor-digits", overrides=[*SMALL, override]).train(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_learners_that_do_not_chain_are_refused() -> None:
    """A read-out that takes other signals than the hidden unit gives."""
    learners = network()
    learners[1] = learner(crossbar(9, 4, name="read-out"), rectify=False)
    made = trainer(Log(), learners)
    with pytest.raises(ConfigurationError, match="shape"):
        made.start()
