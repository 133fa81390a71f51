"""The composition root: names concrete classes, owns the devices, checks that all fits; opens, trains, closes."""

from __future__ import annotations

import contextlib
import importlib.metadata
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import tomlkit
import torch
from threadpoolctl import threadpool_limits

import protocols
from data import datasets
from data.reader import Reader
from data.recorder import Recorder
from pib_lab.bus import Bus, View
from pib_lab.check import DryRun, dry_run
from pib_lab.clocks import RealClock, VirtualClock
from pib_lab.control import Commands
from pib_lab.errors import ConfigurationError, LimitError, PibError, nearest
from pib_lab.events import CheckpointTaken, Event, Message, Passes, RunStarted, UnitInfo
from pib_lab.experiment import Experiment, parse_experiment
from pib_lab.learner import LearnerConfig, LocalLearner
from pib_lab.objectives import make_objective
from pib_lab.overrides import apply_overrides
from pib_lab.provenance import git_commit, versions
from pib_lab.quantities import parse_quantity
from pib_lab.training import Material, Teacher, Trainer
from pib_lab.unit import Clock, Device, DeviceContext, PhysicalUnit, SafeReport, UnitRequest

DRIVERS = "pib_lab.drivers"


@dataclass(frozen=True)
class Run:
    """How a training ended; `error` is what ended a failed one."""

    folder: Path
    status: str
    metrics: dict[str, float]
    passes: Passes
    pulses: int
    wall_s: float
    safe: bool
    error: PibError | None = None


def open(  # the name users type: pib_lab.open("memristor-digits")
    protocol: str | Path | Experiment,
    *,
    seed: int | None = None,
    overrides: Sequence[str] = (),
    mock: bool = False,
    data_dir: Path | None = None,
) -> Lab:
    """A lab for a shipped protocol by name, for a TOML file, or for an Experiment. Nothing is connected yet.

    `seed` replaces the protocol's; `overrides` are texts such as "schedule.epochs=5"; `mock` replaces every device by
    the mock that its driver names. Raises ConfigurationError for a mistake in any of them.
    """
    if isinstance(protocol, Experiment):
        text = tomlkit.dumps(protocol.model_dump(mode="json", exclude_none=True))
    else:
        _, text = protocols.read(str(protocol))
    changes = [*overrides] + ([f"seed={seed}"] if seed is not None else [])
    text = apply_overrides(text, changes)
    return Lab(parse_experiment(text), text, mock=mock, data_dir=data_dir)


def reopen(folder: Path, *, data_dir: Path | None = None) -> Lab:
    """The lab of a recorded run, from the protocol in its file. Raises RunFileError when there is none."""
    with Reader(folder) as reader:
        started = reader.started
    return Lab(parse_experiment(started.protocol_text), started.protocol_text, mock=started.mock, data_dir=data_dir)


class Lab:
    """One experiment with its devices and its data. Building it connects to nothing."""

    def __init__(self, experiment: Experiment, protocol_text: str, *, mock: bool = False, data_dir: Path | None = None):
        self.experiment = experiment
        self.protocol_text = protocol_text
        self._data_dir = data_dir
        self._drivers = {
            name: _driver(hardware.driver, mock, f"hardware.{name}") for name, hardware in experiment.hardware.items()
        }
        self.mock = all(getattr(factory, "is_mock", False) for _, factory in self._drivers.values())
        self._material: datasets.DataSet | None = None

    # What it would do

    def check(self) -> DryRun:
        """The dry run: limits, passes, pulses, hours. Connects to nothing."""
        devices, units = self._build(VirtualClock())
        data = self.data()
        sizes = (len(data.train), len(data.validation), len(data.test))
        drivers = [self._drivers[self.experiment.device_of(unit)][0] for unit in self.experiment.units]
        for device in devices.values():
            device.close()
        return dry_run(self.experiment, [unit.spec for unit in units], drivers, sizes)

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
    ) -> Run:
        """Train, record into a new folder under `out` (or go on in `resume`), and leave every output off.

        `on_folder` is called with the run's folder once it exists and may return further views. A run that fails on a
        device, a limit or the data comes back with its `error`; mistakes found before the first step are raised.
        """
        started_s = time.monotonic()
        data = self.data()
        clock: Clock = VirtualClock() if self.mock else RealClock()
        folder = Path(resume) if resume else _new_folder(Path(out), self.experiment)
        more = on_folder(folder) if on_folder else ()
        with _one_thread(), self._opened(clock) as units:
            early: list[Event] = []
            publish = _Publisher(early.append, clock)
            trainer = self._trainer(units, data, publish, commands, teacher)
            recorder = self._begin(trainer, folder, data, clock, resume is not None)
            bus = Bus(recorder, [*views, *more])
            publish.to = bus.publish
            error: PibError | None = None
            try:
                for event in [self._started(units, trainer, folder, data), *early]:
                    bus.publish(event)
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
            error,
        )

    def make_safe(self) -> list[SafeReport]:
        """Connect to every device, command all outputs off, read them back. A dead link is reported, not raised."""
        _, units = self._build(VirtualClock() if self.mock else RealClock())
        reports = []
        for unit in reversed(units):
            with contextlib.suppress(PibError):  # a unit that cannot be opened says so in its report
                unit.open()
            reports.append(unit.make_safe())
            unit.close()
        return reports

    # How

    def _begin(self, trainer: Trainer, folder: Path, data: datasets.DataSet, clock: Clock, resume: bool) -> Recorder:
        if not resume:
            trainer.start()
            initial = CheckpointTaken(0, trainer.snapshot() | {"clock_s": clock.now_s()})
            started = self._started([learner.unit for learner in trainer.learners], trainer, folder, data)
            return Recorder.create(folder, started, initial)
        recorder, _, checkpoint = Recorder.resume(folder)
        try:
            trainer.restore(checkpoint.step, checkpoint.state)
        except PibError:
            recorder.close()
            raise
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
            self.learners(units),
            Material(data.train, data.validation, data.test, data.classes),
            experiment.schedule,
            publish,
            seed=experiment.seed,
            learning_rate=experiment.rule.learning_rate,
            limits=experiment.limits,
            faults=experiment.faults,
            scan=experiment.scan,
            commands=commands,
            teacher=teacher,
        )

    def learners(self, units: Sequence[PhysicalUnit]) -> list[LocalLearner]:
        """One local learner per unit, as the protocol says."""
        experiment, result = self.experiment, []
        for index, (unit, wanted) in enumerate(zip(units, experiment.units, strict=True)):
            last = index == len(units) - 1
            rule, conditioning = experiment.rule, experiment.conditioning
            config = LearnerConfig(
                rectify=wanted.rectify if wanted.rectify is not None else not last,
                range=conditioning.range,
                headroom=conditioning.headroom,
                conditioning_momentum=conditioning.momentum,
                rule=rule.name,
                optimiser=rule.optimiser,
                momentum=rule.momentum,
                second_momentum=rule.second_momentum,
                deadband=rule.deadband,
                centring=rule.centring,
                perturbation=rule.perturbation,
                init_scale=wanted.init_scale,
                learning_rate_scale=wanted.learning_rate_scale,
                train=wanted.train,
                max_saturated=experiment.limits.saturated,
            )
            objective = make_objective(wanted.objective.name, wanted.objective.options)
            result.append(LocalLearner(unit, objective, config, _seed(experiment.seed, "learner", wanted.name)))
        return result

    def _build(self, clock: Clock) -> tuple[dict[str, Device], list[PhysicalUnit]]:
        """Devices and units, not open. Raises ConfigurationError, or LimitError for limits beyond the device's own."""
        experiment = self.experiment
        devices: dict[str, Device] = {}
        for name, hardware in experiment.hardware.items():
            context = DeviceContext(name, _seed(experiment.seed, "device", name), clock)
            devices[name] = self._drivers[name][1](hardware.options, context)
        limits = {}
        if experiment.limits.current is not None:
            limits["current_limit_a"] = parse_quantity(experiment.limits.current, "A")
        units = []
        for wanted in experiment.units:
            device = devices[experiment.device_of(wanted)]
            plain = device.unit(UnitRequest(wanted.name, wanted.inputs, wanted.outputs, wanted.options))
            options = dict(wanted.options) | limits
            if experiment.limits.drive is not None:
                options |= _drive_limit(experiment.limits.drive, plain)
            request = UnitRequest(wanted.name, wanted.inputs, wanted.outputs, options)
            units.append(device.unit(request) if options != dict(wanted.options) else plain)
        return devices, units

    @contextlib.contextmanager
    def _opened(self, clock: Clock) -> Iterator[list[PhysicalUnit]]:
        """Open in order; on any exit make safe, then close in reverse."""
        devices, units = self._build(clock)
        with contextlib.ExitStack() as stack:
            for device in devices.values():
                stack.callback(device.close)
            for unit in units:
                stack.callback(unit.close)
                stack.callback(unit.make_safe)
                unit.open()
            yield units

    def _started(
        self, units: Sequence[PhysicalUnit], trainer: Trainer, folder: Path, data: datasets.DataSet
    ) -> RunStarted:
        experiment = self.experiment
        infos = []
        for unit, wanted in zip(units, experiment.units, strict=True):
            spec, device = unit.spec, experiment.device_of(wanted)
            infos.append(
                UnitInfo(
                    wanted.name,
                    device,
                    self._drivers[device][0],
                    wanted.objective.name,
                    wanted.inputs,
                    wanted.outputs,
                    spec.drive.unit,
                    (spec.drive.low, spec.drive.high),
                    spec.response.unit,
                    spec.parameters.unit,
                    (spec.parameters.low, spec.parameters.high),
                    spec.parameters.shape,
                    spec.settle_s,
                )
            )
        return RunStarted(
            folder.name,
            experiment.name,
            self.protocol_text,
            experiment.seed,
            versions(),
            git_commit(),
            tuple(infos),
            trainer.step,
            trainer.total_steps,
            trainer.steps_per_epoch,
            experiment.schedule.batch,
            self.mock,
            data.name,
            (len(data.train), len(data.validation), len(data.test)),
            time.time(),
        )


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """One thread for linear algebra while a run lasts, in numpy and in torch.

    The products of one step are too small to share: with two threads on a busy machine each waits for the other, and a
    step takes ten times as long. And sums whose order does not change make a resumed run bit-identical.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(limits=1):
            yield
    finally:
        torch.set_num_threads(before)


class _Publisher:
    """Hands events on; adds the clock to checkpoints, and remembers whether every output was confirmed off."""

    def __init__(self, to: Callable[[Event], None], clock: Clock):
        self.to = to
        self.safe = True
        self._clock = clock

    def __call__(self, event: Event) -> None:
        if isinstance(event, CheckpointTaken):
            event = replace(event, state=event.state | {"clock_s": self._clock.now_s()})
        not_confirmed = getattr(event, "not_confirmed", ())
        self.safe = self.safe and not not_confirmed
        self.to(event)


def drivers() -> dict[str, importlib.metadata.EntryPoint]:
    """All drivers registered on this machine, by name."""
    return {entry.name: entry for entry in importlib.metadata.entry_points(group=DRIVERS)}


def _driver(name: str, mock: bool, where: str) -> tuple[str, Callable[[dict[str, Any], DeviceContext], Device]]:
    known = drivers()
    if name not in known:
        raise ConfigurationError(
            f"{where}.driver: {name!r} is unknown{nearest(name, known)} (known: {', '.join(sorted(known))})"
        )
    factory = known[name].load()
    if mock and not getattr(factory, "is_mock", False):
        name = getattr(factory, "mock_driver", "")
        if not name:
            raise ConfigurationError(f"{where}: --mock: driver {factory.__name__} names no mock to take its place")
        factory = known[name].load()
    return name, factory


def _drive_limit(text: str, unit: PhysicalUnit) -> dict[str, float]:
    """The protocol's drive limit for a unit; refused when it is beyond the device's own."""
    drive = unit.spec.drive
    try:
        limit = parse_quantity(text, drive.unit)
    except ConfigurationError as error:
        raise ConfigurationError(f"limits.drive: {error}") from None
    if limit > drive.high * (1 + 1e-9) or limit <= max(drive.low, 0.0):
        raise LimitError(
            f"limits.drive: {text} is not within {drive.low:g} to {drive.high:g} {drive.unit}, "
            f"the limits of {unit.spec.name}"
        )
    return {f"drive_limit_{drive.unit.lower()}": limit}


def _seed(seed: int, *names: str) -> int:
    """A seed of its own for each named part of the run."""
    words = [seed, *(byte for name in names for byte in name.encode())]
    return int(np.random.SeedSequence(words).generate_state(1)[0])


def _new_folder(out: Path, experiment: Experiment) -> Path:
    """A fresh name under `out`; the recorder makes the folder, and refuses one that holds a run."""
    stem = f"{experiment.name}-{datetime.now():%Y%m%d-%H%M%S}-s{experiment.seed}"
    folder, number = out / stem, 1
    while folder.exists():
        number += 1
        folder = out / f"{stem}-{number}"
    return folder
