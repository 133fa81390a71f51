"""Units that drift while they learn: asked between steps, then zeroed anew or the run paused."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from calibration_bench import mock_rig
from learning_bench import Linear, Log, network, started, states

import pib_lab
from drivers.chip.mock_chip import MockCrossbar
from drivers.optics.optical_rig import MockOpticalRig, MockOpticalUnit
from pib_lab.control import Commands
from pib_lab.device import UnitRequest
from pib_lab.errors import ConfigurationError
from pib_lab.events import Event, Message, StateChanged, StepDone
from pib_lab.experiment import Health, parse_experiment
from pib_lab.unit import CancelToken

NO = CancelToken()


class Drifting(Linear):
    """Tells the correlations it is given, one a call, and 1 when a reference is kept."""

    told: Sequence[float] = ()

    def __init__(self, unit: MockCrossbar):
        super().__init__(unit)
        self.asked: list[bool] = []

    def health(self, *, cancel: CancelToken, renew: bool = False) -> tuple[float, int]:
        """The next of `told`."""
        self.asked.append(renew)
        looks = len(self.asked) - 1 - sum(self.asked)
        return (1.0 if renew or looks >= len(self.told) else self.told[looks]), 1


def _drifting(*told: float) -> type[Drifting]:
    return type("Told", (Drifting,), {"told": told})


def test_units_are_asked_as_often_as_the_protocol_says() -> None:
    """Before steps 1, 3 and 5 of six with every = 2; each look is a pass of calibration; what was seen is said."""
    log, plain = Log(), Log()
    started(plain, network(wrap=Linear)).run()
    learners = network(wrap=_drifting())
    made = started(log, learners, health=Health(every=2))
    made.run()
    assert [unit.asked for unit in (learners[0].unit, learners[1].unit)] == [[False] * 3] * 2  # type: ignore[attr-defined]
    assert [(said.level, said.step) for said in log.of(Message)] == [("info", 1), ("info", 3), ("info", 5)]
    assert "correlation 1.00 with its reference" in log.of(Message)[0].text
    without = started(Log(), network(wrap=Linear))
    assert made.passes.calibration == without.passes.calibration + 6


def test_nothing_is_asked_unless_the_protocol_says_so() -> None:
    """Without [health] no unit is looked at."""
    learners = network(wrap=_drifting(0.0))
    started(Log(), learners).run()
    assert learners[0].unit.asked == []  # type: ignore[attr-defined]


def test_a_unit_that_has_moved_is_zeroed_anew() -> None:
    """Below the threshold every unit is calibrated again and keeps a new reference, with a warning that says so."""
    log = Log()
    learners = network(wrap=_drifting(1.0, 0.4))
    made = started(log, learners, health=Health(every=2, min_correlation=0.5))
    before = made.passes.calibration
    assert made.run().status == "finished"
    assert learners[0].unit.asked == [False, False, True, False]  # type: ignore[attr-defined]
    (said,) = (message for message in log.of(Message) if message.level == "warning")
    assert said.step == 3
    assert "hidden: correlation 0.40" in said.text
    assert "zeroed anew" in said.text
    assert made.passes.calibration - before == 2 * 3 + 2 * 32 + 2  # looks, one batch through both units, references


def test_a_run_pauses_when_told_to_and_zeroes_anew_afterwards() -> None:
    """The step is finished, the run waits, and once resumed it begins with new references."""
    commands = Commands()
    learners = network(wrap=_drifting(1.0, 0.1))
    asked_at_pause: list[list[bool]] = []

    def resume(event: Event) -> None:
        if isinstance(event, StateChanged) and event.state.value == "paused":
            asked_at_pause.append(list(learners[0].unit.asked))  # type: ignore[attr-defined]
            commands.post("resume")

    log = Log(react=resume)
    made = started(log, learners, health=Health(every=2, action="pause"), commands=commands)
    assert made.run().status == "finished"
    assert states(log) == ["running", "paused", "running", "finished"]
    paused = next(event for event in log.of(StateChanged) if event.state.value == "paused")
    assert paused.step == 3
    assert asked_at_pause == [[False, False]]
    assert learners[0].unit.asked == [False, False, True, False]  # type: ignore[attr-defined]
    assert len(log.of(StepDone)) == 6


def test_a_protocol_refuses_another_action() -> None:
    """The table is read like the others: an unknown action names those that there are."""
    text = """
name = "x"
dataset = { name = "digits" }
schedule = { epochs = 1, batch = 32 }
health = { every = 10, action = "stop" }
[hardware.chip]
driver = "mock-memristor-chip"
[[units]]
name = "a"
inputs = 64
outputs = 10
objective = "cross-entropy"
"""
    with pytest.raises(ConfigurationError, match=r"health.action.*rezero.*pause"):
        parse_experiment(text)
    assert parse_experiment(text.replace('"stop"', '"pause"')).health == Health(every=10, action="pause")


# On the optical rig


def _unit(device: MockOpticalRig, name: str = "layer") -> MockOpticalUnit:
    unit = device.unit(UnitRequest(name, 16, 20))
    unit.open()
    return unit


@pytest.mark.parametrize("mask_rad", [0.0, 2.0])
def test_the_reference_follows_the_law_of_the_drift(mask_rad: float) -> None:
    """Half of the field correlation's time takes the intensities to exp(-1), within 0.1, whatever the mask."""
    device = mock_rig(drift_s=1000.0)
    unit = _unit(device)
    assert unit.health(cancel=NO) == (1.0, 1)
    unit.program(np.full(unit.spec.parameters.shape, mask_rad, np.float32))
    assert unit.health(cancel=NO)[0] > 0.98
    device.bench.clock.sleep_s(500.0)
    assert unit.health(cancel=NO)[0] == pytest.approx(np.exp(-1.0), abs=0.1)
    assert unit.health(cancel=NO, renew=True)[0] == 1.0
    assert unit.health(cancel=NO)[0] > 0.98


def test_the_reference_is_part_of_a_snapshot() -> None:
    """A resumed mock compares with the very frame that was kept, and has one only if it had one."""
    device = mock_rig(drift_s=1000.0)
    unit = _unit(device)
    bare = unit.snapshot()
    unit.health(cancel=NO)
    kept, now_s = unit.snapshot(), device.bench.clock.now_s()
    assert np.shape(bare["reference"]) == np.shape(kept["reference"]), "checkpoints of one run have the same parts"
    again = mock_rig(drift_s=1000.0)
    fresh = _unit(again)
    again.bench.clock.sleep_s(now_s - again.bench.clock.now_s() + 500.0)
    fresh.restore(kept)
    assert fresh.health(cancel=NO)[0] < 0.6
    fresh.restore(bare)
    assert fresh.health(cancel=NO)[0] == 1.0


PROTOCOL = """
name = "drifting"
dataset = { name = "digits", limit = 64 }
schedule = { epochs = 1, batch = 16 }
health = { every = 2, min_correlation = 0.0 }
[hardware.rig]
driver = "mock-optical-rig"
[[units]]
name = "light"
inputs = 64
outputs = 10
objective = "cross-entropy"
train = false
"""


def test_looks_are_foreseen_and_counted(tmp_path: Path) -> None:
    """A dry run tells the very passes of calibration, as long as nothing has to be zeroed anew."""
    path = tmp_path / "drifting.toml"
    path.write_text(PROTOCOL, encoding="utf-8")
    lab = pib_lab.open(path)
    foreseen, done = lab.check(), lab.train(tmp_path)
    assert done.status == "finished"
    assert foreseen.passes.calibration == done.passes.calibration == 16 + -(-foreseen.steps // 2)
