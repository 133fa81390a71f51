"""A write that takes minutes can be interrupted: the run ends in order, aborted, with outputs off."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from learning_bench import Linear, Log, Wrapped, network, trainer

from drivers.chip.mock_chip import MockCrossbar
from pib_lab.control import Commands
from pib_lab.errors import Cancelled
from pib_lab.events import CheckpointTaken, MadeSafe, RunFinished
from pib_lab.quantities import Array, Mask
from pib_lab.unit import CancelToken


class SlowToWrite(Linear):
    """Writes parameter by parameter, looking at its token before each; `writing` is told how many it has begun."""

    writing: Callable[[int], None] = staticmethod(lambda number: None)

    def __init__(self, unit: MockCrossbar):
        super().__init__(unit)
        self.token = CancelToken()
        self.begun = 0

    def cancel_with(self, token: CancelToken) -> None:
        self.token = token

    def program(self, parameters: Array, where: Mask | None = None) -> Array:
        held = parameters
        every = np.ones(parameters.shape, np.bool_) if where is None else where
        for at in np.argwhere(every)[:4]:
            self.token.raise_if_cancelled()
            self.begun += 1
            self.writing(self.begun)
            one = np.zeros(parameters.shape, np.bool_)
            one[tuple(at)] = True
            held = super().program(parameters, one)
        return held


def _network(interrupt_at: int, commands: Commands) -> tuple[list[SlowToWrite], Log, Callable[[], RunFinished]]:
    units: list[SlowToWrite] = []

    def interrupt(number: int) -> None:
        if number == interrupt_at:
            commands.cancel.cancel()

    def wrap(unit: MockCrossbar) -> SlowToWrite:
        made = SlowToWrite(unit)
        if unit.spec.name == "hidden":
            made.writing = interrupt
        units.append(made)
        return made

    log = Log()
    made = trainer(log, network(wrap=wrap), commands=commands)

    def run() -> RunFinished:
        made.start()
        return made.run()

    return units, log, run


def test_an_interrupted_write_aborts_the_run() -> None:
    """The write of a step stops at once; outputs go off, and no checkpoint tells of a step that was not completed."""
    units, log, run = _network(6, Commands())
    finished = run()
    assert finished.status == "aborted"
    assert finished.safe
    assert units[0].begun == 6
    assert [event.unit for event in log.of(MadeSafe)] == ["read-out", "hidden"]
    assert log.of(CheckpointTaken) == []


def test_an_interrupted_first_programming_aborts_the_run() -> None:
    """Interrupted while initial parameters are written, nothing else is programmed or measured."""
    units, log, run = _network(2, Commands())
    with pytest.raises(Cancelled):
        run()
    assert [unit.begun for unit in units] == [2, 0]
    assert [unit.measured for unit in units] == [0, 0]
    assert log.of(RunFinished)[0].status == "aborted"
    assert [unit.made_safe for unit in units] == [1, 1]


def test_units_without_long_writes_need_no_token() -> None:
    """A unit that offers nothing beyond the interface trains as before."""
    made = trainer(Log(), network(wrap=Linear))
    assert not any(hasattr(learner.unit, "cancel_with") for learner in made.learners)
    assert issubclass(Linear, Wrapped)
    made.start()
    assert made.run().status == "finished"
