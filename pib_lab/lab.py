"""The composition root: names concrete classes, owns the devices, checks that all fits; opens, trains, closes."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import tomlkit

import protocols
from data import datasets
from data.reader import Reader
from data.recorder import Recorder
from data.wear_ledger import WearLedger, default_folder
from drivers.safe.commands import SafeAction
from pib_lab.assembly import make_learners, make_units
from pib_lab.bus import Bus, View
from pib_lab.check import DryRun, dry_run
from pib_lab.clocks import RealClock, VirtualClock
from pib_lab.control import Commands
from pib_lab.device import Clock, Guard
from pib_lab.errors import Cancelled, ConfigurationError, DeviceError, LimitError, PibError
from pib_lab.evaluation import Material
from pib_lab.events import CheckpointTaken, Event, Message, RunStarted, StepDone
from pib_lab.experiment import Experiment, parse_experiment
from pib_lab.guarding import (
    Watch,
    actions_of,
    check_addresses,
    made_safe,
    opened,
    require_links,
    traffic_log,
    unguarded,
)
from pib_lab.lifetime import Lifetime, uncounted
from pib_lab.overrides import apply_overrides, refuse_other_profiles
from pib_lab.provenance import describe_units, git_commit, versions
from pib_lab.records import Passes
from pib_lab.registry import find_driver, is_real
from pib_lab.run_folder import claimed, new_folder
from pib_lab.teaching import Teacher
from pib_lab.threads import one_thread
from pib_lab.training import Trainer
from pib_lab.unit import PhysicalUnit, SafeReport


@dataclass(frozen=True)
class Run:
    """How a training ended; `error` is what ended a failed one; `wall_s` is of this session, preparation included."""

    folder: Path
    status: str
    metrics: dict[str, float]
    passes: Passes
    pulses: int
    wall_s: float
    safe: bool
    error: PibError | None = None
    confirmed_by: str = ""
    """Who has read back all outputs off after the run had not been `safe`: its second attempt, the guardian, nobody."""
    traffic_failure: str = ""
    """Why what went over the links could not be kept to the end."""


def open(  # the name users type: pib_lab.open("memristor-digits")
    protocol: str | Path | Experiment,
    *,
    seed: int | None = None,
    overrides: Sequence[str] = (),
    mock: bool = False,
    data_dir: Path | None = None,
    wear_dir: Path | None = None,
) -> Lab:
    """A lab for a shipped protocol by name, for a TOML file, or for an Experiment. Nothing is connected yet.

    `seed` replaces the protocol's; `overrides` are texts such as "schedule.epochs=5"; `mock` replaces every device by
    the mock that its driver names; `wear_dir` is where the wear of real chips is kept. Raises ConfigurationError for a
    mistake in any of them, LimitError for an override that names another profile for a real device.
    """
    if isinstance(protocol, Experiment):
        text = tomlkit.dumps(protocol.model_dump(mode="json", exclude_none=True))
    else:
        _, text = protocols.read(str(protocol))
    changes = [*overrides] + ([f"seed={seed}"] if seed is not None else [])
    text = apply_overrides(text, changes)
    made = Lab(parse_experiment(text), text, mock=mock, data_dir=data_dir, wear_dir=wear_dir)
    refuse_other_profiles(overrides, made.real_devices)
    return made


def reopen(folder: Path, *, data_dir: Path | None = None, wear_dir: Path | None = None) -> Lab:
    """The lab of a recorded run, from the protocol in its file. Raises RunFileError when there is none."""
    with Reader(folder) as reader:
        started = reader.started
    text = started.protocol_text
    return Lab(parse_experiment(text), text, mock=started.mock, data_dir=data_dir, wear_dir=wear_dir)


class Lab:
    """One experiment with its devices and its data. Building it connects to nothing."""

    def __init__(
        self,
        experiment: Experiment,
        protocol_text: str,
        *,
        mock: bool = False,
        data_dir: Path | None = None,
        wear_dir: Path | None = None,
    ):
        self.experiment = experiment
        self.protocol_text = protocol_text
        self._data_dir = data_dir
        self._ledger = WearLedger(wear_dir or default_folder())
        found = {
            name: find_driver(hardware.driver, mock, f"hardware.{name}")
            for name, hardware in experiment.hardware.items()
        }
        self._drivers = {name: driver for name, (driver, _) in found.items()}
        self._factories = {name: factory for name, (_, factory) in found.items()}
        self.mock = not any(is_real(factory) for factory in self._factories.values())
        self._material: datasets.DataSet | None = None

    @property
    def real_devices(self) -> list[str]:
        """Names under [hardware] of the devices that are really there."""
        return [name for name, factory in self._factories.items() if is_real(factory)]

    # What it would do

    def check(self) -> DryRun:
        """The dry run: limits, passes, pulses, times. Connects to nothing."""
        devices, units = make_units(self.experiment, self._factories, VirtualClock())
        data = self.data()
        sizes = (len(data.train), len(data.validation), len(data.test))
        drivers = [self._drivers[self.experiment.device_of(unit)] for unit in self.experiment.units]
        check_addresses(devices)
        for device in devices.values():
            device.close()
        return dry_run(self.experiment, units, drivers, sizes)

    def data(self) -> datasets.DataSet:
        """The data set, loaded once. Raises ConfigurationError when it does not fit the units."""
        if self._material is None:
            data = datasets.load(self.experiment.dataset, self.experiment.seed, self._data_dir)
            first, last = self.experiment.units[0], self.experiment.units[-1]
            if data.features != first.inputs:
                raise ConfigurationError(
                    f"units.0 ({first.name}).inputs: {first.inputs}, but {data.name} has {data.features} features"
                )
            if data.classes != last.outputs:
                raise ConfigurationError(
                    f"units.{len(self.experiment.units) - 1} ({last.name}).outputs: {last.outputs}, "
                    f"but {data.name} has {data.classes} classes"
                )
            self._material = data
        return self._material

    # What it does

    def train(
        self,
        out: Path | str = "runs",
        *,
        views: Sequence[View] = (),
        commands: Commands | None = None,
        teacher: Teacher | None = None,
        resume: Path | None = None,
        on_folder: Callable[[Path], Sequence[View]] | None = None,
        traffic: bool = False,
    ) -> Run:
        """Train, record into a new folder under `out` (or go on in `resume`), and leave every output off.

        `on_folder` is called with the run's folder once it exists and may return further views. traffic: keep what goes
        over the links of real devices in that folder (`drivers.wire.traffic`). A run that fails on a device, a limit or
        the data comes back with its `error`, recorded also when that was before the first step (then there is nothing
        to resume). Mistakes in the protocol, and devices that cannot be opened, are raised, and leave no new run
        behind. Raises RunFileError, before any device is opened, for a folder that cannot be used or a finished run to
        resume.
        """
        started_s = time.monotonic()
        if traffic:
            require_links(self.mock)
        data = self.data()
        clock: Clock = VirtualClock() if self.mock else RealClock()
        folder = Path(resume) if resume else new_folder(Path(out), self.experiment)
        log = traffic_log(folder, clock) if traffic else None
        with contextlib.ExitStack() as stack:
            stack.enter_context(claimed(folder, resume is not None))
            more = on_folder(folder) if on_folder else ()
            stack.enter_context(one_thread())
            guarded_at = None if self.mock else folder
            if log is not None:
                stack.callback(log.close)
            units, watch = stack.enter_context(opened(self.experiment, self._factories, clock, guarded_at, log))
            real = self._real(units)
            warnings = unguarded(self._factories) + uncounted(real, self.experiment.limits.lifetime_pulses)
            early: list[Event] = [Message("warning", text) for text in warnings]
            lifetime = stack.enter_context(Lifetime(self._ledger, self.experiment, real, folder.name))
            publish = _Publisher(early.append, clock, lifetime, watch.guardian if watch else None)
            trainer = self._trainer(units, data, publish, commands, teacher)
            error: PibError | None = None
            try:
                recorder = self._begin(trainer, folder, data, clock, resume is not None)
            except (Cancelled, DeviceError, LimitError) as problem:
                if resume is not None:  # the run file is as it was
                    raise
                error = problem
                recorder = Recorder.create(folder, self._started(trainer, folder, data), CheckpointTaken(0, {}))
            bus = Bus(recorder, [*views, *more])
            publish.to = bus.publish
            try:
                for event in [self._started(trainer, folder, data), *early]:
                    bus.publish(event)
                if error is None:
                    trainer.run()
            except PibError as problem:
                error = problem
            finally:
                bus.close()
        return Run(
            folder,
            trainer.state.value,
            dict(trainer.metrics),
            trainer.passes,
            trainer.pulses(),
            time.monotonic() - started_s,
            publish.safe,
            None if isinstance(error, Cancelled) else error,
            "" if publish.safe else _confirmed_by(watch),
            "" if log is None else log.failure,
        )

    def safe_actions(self) -> list[SafeAction]:
        """How its guarded devices are made safe, one action for each link. Connects to nothing.

        Raises ConfigurationError or LimitError as building the devices does.
        """
        devices, _ = make_units(self.experiment, self._factories, VirtualClock())
        actions = actions_of(devices)
        for device in devices.values():
            device.close()
        return actions

    def make_safe(self) -> list[SafeReport]:
        """Connect to every device, command all outputs off, read them back. A dead link is reported, not raised.

        A device that says beforehand how it is made safe is commanded over a link of its own, and reported by its name;
        the units of any other are opened and make themselves safe.
        """
        return made_safe(self.experiment, self._factories, VirtualClock() if self.mock else RealClock())

    # How

    def _begin(self, trainer: Trainer, folder: Path, data: datasets.DataSet, clock: Clock, resume: bool) -> Recorder:
        if not resume:
            trainer.start()
            initial = CheckpointTaken(0, trainer.snapshot() | {"clock_s": clock.now_s()})
            return Recorder.create(folder, self._started(trainer, folder, data), initial)

        def accept(checkpoint: CheckpointTaken) -> None:
            trainer.restore(checkpoint.step, checkpoint.state)

        recorder, _, checkpoint = Recorder.resume(folder, accept)
        if isinstance(clock, VirtualClock):
            clock.time_s = float(checkpoint.state["clock_s"])
        return recorder

    def _trainer(
        self,
        units: Sequence[PhysicalUnit],
        data: datasets.DataSet,
        publish: Callable[[Event], None],
        commands: Commands | None,
        teacher: Teacher | None,
    ) -> Trainer:
        experiment = self.experiment
        return Trainer(
            make_learners(experiment, units),
            Material(data.train, data.validation, data.test, data.classes),
            experiment.schedule,
            publish,
            seed=experiment.seed,
            learning_rate=experiment.rule.learning_rate,
            limits=experiment.limits,
            faults=experiment.faults,
            scan=experiment.scan,
            health=experiment.health,
            commands=commands,
            teacher=teacher,
        )

    def _real(self, units: Sequence[PhysicalUnit]) -> list[PhysicalUnit]:
        """Those that are no mocks: theirs is wear that stays."""
        names = [self.experiment.device_of(unit) for unit in self.experiment.units]
        return [unit for unit, name in zip(units, names, strict=True) if is_real(self._factories[name])]

    def _started(self, trainer: Trainer, folder: Path, data: datasets.DataSet) -> RunStarted:
        units = [learner.unit for learner in trainer.learners]
        return RunStarted(
            run_id=folder.name,
            protocol_name=self.experiment.name,
            protocol_text=self.protocol_text,
            seed=self.experiment.seed,
            versions=versions(),
            git_commit=git_commit(),
            units=describe_units(self.experiment, units, self._drivers),
            first_step=trainer.step,
            total_steps=trainer.total_steps,
            steps_per_epoch=trainer.steps_per_epoch,
            batch=self.experiment.schedule.batch,
            mock=self.mock,
            dataset=data.name,
            split_sizes=(len(data.train), len(data.validation), len(data.test)),
            started_unix_s=time.time(),
        )


def _confirmed_by(watch: Watch | None) -> str:
    """Who has read back off, in the end, what the run had not confirmed."""
    if watch is None or watch.in_doubt:
        return ""
    return "the guardian" if watch.guardian_confirmed else "the run's second attempt"


class _Publisher:
    """Hands events on; adds the clock to checkpoints, and remembers whether every output was confirmed off.

    `lifetime` sees each event once it is recorded, and after each step the guard is asked: what either refuses ends the
    run. A driver asks the guard itself before it switches on; some outputs then stay on for many steps.
    """

    def __init__(self, to: Callable[[Event], None], clock: Clock, lifetime: Lifetime, guard: Guard | None):
        self.to = to
        self.safe = True
        self._clock = clock
        self._lifetime, self._guard = lifetime, guard

    def __call__(self, event: Event) -> None:
        if isinstance(event, CheckpointTaken):
            event = replace(event, state=event.state | {"clock_s": self._clock.now_s()})
        not_confirmed = getattr(event, "not_confirmed", ())
        self.safe = self.safe and not not_confirmed
        self.to(event)
        self._lifetime.show(event)
        if isinstance(event, StepDone) and self._guard is not None:
            self._guard.require_alive()
