"""How a lab opens its devices so that their outputs go off again whatever happens, and how it commands them off."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from drivers.board.ports import find_place
from drivers.safe.commands import Guarded, SafeAction
from drivers.safe.execution import carry_out_all
from drivers.safe.guardian import Guardian
from drivers.safe.kept import forget, keep
from drivers.wire.dialects import SCPI
from drivers.wire.links import make_transport
from drivers.wire.ownership import Claims
from drivers.wire.places import place_of
from drivers.wire.traffic import TRAFFIC, TrafficLog
from pib_lab.device import Clock, Device, Traffic
from pib_lab.errors import ConfigurationError, DeviceError, LinkError, LostLinkError, PibError
from pib_lab.experiment import Experiment
from pib_lab.registry import Factory, is_mock, is_real
from pib_lab.switching_off import device_by_device, switch_off
from pib_lab.unit import PhysicalUnit, SafeReport


class Watch:
    """The guardian of one opened lab. It is let go only when every unit has been confirmed off."""

    def __init__(self, folder: Path) -> None:
        self.guardian = Guardian(folder)
        self.guardian_confirmed = False
        """After `end`: the run was in doubt, and the guardian has then read back off every output."""
        self._folder, self._kept = folder, False
        self._claims = Claims(folder)
        self._actions: dict[str, list[SafeAction]] = {}
        self._in_doubt: set[str] = set()

    @property
    def in_doubt(self) -> bool:
        """Whether outputs may be on that nobody has read back off: neither the run, nor, after `end`, the guardian."""
        return bool(self._in_doubt) and not self.guardian_confirmed

    def begin(self, devices: Mapping[str, Device]) -> None:
        """Claim every device, note in the folder how it is made safe, tell the guardian too, before one is opened.

        Raises DeviceError, RunFileError for a folder that cannot be written, ConfigurationError as `check_addresses`
        does.
        """
        check_addresses(devices)
        self._actions = {name: device.safe_actions() for name, device in guarded(devices).items()}
        actions = [action for found in self._actions.values() for action in found]
        self._claims.claim(action.address for action in actions)
        mute = [name for name, device in devices.items() if name not in self._actions and is_real(type(device))]
        keep(self._folder, actions, mute)
        self._kept = True
        self.guardian.start(self._claims.descriptors)
        for action in actions:
            self.guardian.register(action)

    def opening(self, unit: str) -> None:
        """From now on `unit` may have outputs on."""
        self._in_doubt.add(unit)

    def refused(self, unit: str, device: str, first: bool) -> None:
        """`unit` could not be opened, and nothing had answered or the protocol is wrong: it has switched nothing on.

        first: nor has any other unit of `device`, and so the guardian is not to command it, nor to raise an alarm.
        """
        self._in_doubt.discard(unit)
        if first:
            with contextlib.suppress(DeviceError):  # it has died: then it raises no alarm either
                for action in self._actions.get(device, ()):
                    self.guardian.forget(action)

    def confirmed(self, unit: str) -> None:
        """All outputs of `unit` were read back off, for the last time."""
        self._in_doubt.discard(unit)

    def end(self) -> None:
        """After all links are closed: let the guardian go, or let it do what the run could not confirm."""
        with contextlib.suppress(DeviceError):  # it has died: the run's own report says what is in doubt
            if self._in_doubt:
                why = f"the run did not confirm all outputs of {', '.join(sorted(self._in_doubt))} off"
                self.guardian_confirmed = self.guardian.act(why)
        self.guardian.close()
        if self._kept and not self.in_doubt:
            forget(self._folder)
        self._claims.release()


def guarded(devices: Mapping[str, Device]) -> dict[str, Guarded]:
    """The devices that say beforehand how they are made safe, by name."""
    return {name: device for name, device in devices.items() if isinstance(device, Guarded)}


def check_addresses(devices: Mapping[str, Device]) -> None:
    """Look at every guarded device's addresses; nothing is connected, though hosts' names are looked up.

    Raises ConfigurationError, a line for each one that no link understands, or that two devices name.
    """
    problems = []
    named: dict[str, str] = {}
    for name, device in guarded(devices).items():
        for action in device.safe_actions():
            other = named.setdefault(place_of(action.address), name)
            if other != name:
                problems.append(
                    f"hardware.{name}: hardware.{other} is at {action.address} as well; give each its own address, or "
                    "let units share one device"
                )
            try:
                if action.kind == "board":
                    find_place(action.address)
                else:
                    make_transport(action.address, marker=SCPI.marker)
            except ConfigurationError as problem:
                problems.append(f"hardware.{action.device}: {problem}")
    if problems:
        raise ConfigurationError("\n".join(problems))


def traffic_log(folder: Path, clock: Clock) -> TrafficLog:
    """Keeps what goes over the links of a run, in its folder."""
    return TrafficLog(folder / TRAFFIC, clock)


def require_links(mock: bool) -> None:
    """What goes over links is to be kept. Raises ConfigurationError for mocks, which have none."""
    if mock:
        raise ConfigurationError(
            "--traffic keeps what goes over the links of real devices, and mocks have none: omit it"
        )


def not_connected(problem: LinkError, device: str) -> LinkError:
    """What to say when a device could not be connected for the first time."""
    return LinkError(
        f"hardware.{device} could not be connected: {problem}. `pib-lab list instruments` shows what is connected. It "
        "never answered this run, which has switched nothing on there; its state is unknown (`pib-lab safe "
        "PROTOCOL` would command it off)"
    )


def may_be_on(problem: PibError) -> bool:
    """Whether a device that could not be opened may have outputs on: it had answered, and then did not as told."""
    if isinstance(problem, LinkError):
        return isinstance(problem, LostLinkError)
    return isinstance(problem, DeviceError)


def told_doubt(doubtful: Sequence[str], watch: Watch | None) -> str:
    """What to say, once the lab is closed, of outputs that the run has not confirmed off."""
    if watch is not None and not watch.in_doubt:
        return (
            f"the run could not confirm these outputs off: {', '.join(doubtful)}; the guardian has then read back all "
            "outputs off"
        )
    return f"outputs were NOT confirmed off: {', '.join(doubtful)}"


def unguarded(factories: Mapping[str, Factory]) -> list[str]:
    """A warning for each real device whose driver does not say how it is made safe."""
    return [
        f"hardware.{name}: its driver offers no safe_actions, so the guardian cannot switch it off if the run dies"
        for name, factory in factories.items()
        if is_real(factory) and not hasattr(factory, "safe_actions")
    ]


def not_commanded(report: SafeReport, factory: Factory) -> SafeReport:
    """The report of what drives no hardware says so, and calls nothing confirmed."""
    if is_real(factory) or not report.safe:
        return report
    kind = "mock" if is_mock(factory) else "computed"
    return SafeReport(report.unit, (), (), f"{kind}: no device was commanded")


def actions_of(devices: Mapping[str, Device]) -> list[SafeAction]:
    """How every guarded device is made safe, one action for each of its links; no I/O."""
    return [action for device in guarded(devices).values() for action in device.safe_actions()]


@contextlib.contextmanager
def opened(
    experiment: Experiment,
    factories: Mapping[str, Factory],
    clock: Clock,
    folder: Path | None,
    traffic: Traffic | None = None,
) -> Iterator[tuple[list[PhysicalUnit], Watch | None]]:
    """Open in order, real devices under a guardian; on any exit make safe and close: units in reverse, devices at once.

    Gives the units and who watches over them. folder: where the guardian writes what it did; None for mocks, which need
    none. traffic: keeps what goes over the links. Raises DeviceError in the place of an error after which outputs were
    not confirmed off. A unit that could not be opened for want of any answer has switched nothing on: it is closed, and
    not in doubt. One that had answered is made safe like those that were opened.
    """
    from pib_lab.assembly import make_units  # and torch, which a single device need not wait for

    watch = None if folder is None else Watch(folder)
    devices, units = make_units(experiment, factories, clock, watch.guardian if watch else None, traffic)
    begun: list[PhysicalUnit] = []
    connected: set[str] = set()
    doubtful: list[str] = []

    def leave(unit: PhysicalUnit) -> SafeReport:
        report = switch_off(unit)
        if watch is not None and report.safe:
            watch.confirmed(report.unit)
        unit.close()
        return report

    def leave_all() -> None:
        for report in device_by_device(begun, leave):
            doubtful.extend(f"{report.unit} ({output})" for output in report.not_confirmed)

    try:
        with contextlib.ExitStack() as stack:
            if watch is not None:
                stack.callback(watch.end)
                watch.begin(devices)
            for device in devices.values():
                stack.callback(device.close)
            stack.callback(leave_all)
            for unit, wanted in zip(units, experiment.units, strict=True):
                name = experiment.device_of(wanted)
                begun.append(unit)
                if watch is not None:
                    watch.opening(unit.spec.name)
                try:
                    unit.open()
                except PibError as problem:
                    if name not in connected and may_be_on(problem):
                        raise
                    begun.pop().close()
                    if watch is not None:
                        watch.refused(unit.spec.name, name, name not in connected)
                    if name in connected or not isinstance(problem, LinkError):
                        raise
                    raise not_connected(problem, name) from problem
                connected.add(name)
            yield units, watch
    except PibError as problem:
        if doubtful:
            raise DeviceError(f"{problem}; {told_doubt(doubtful, watch)}") from problem
        raise


def made_safe(experiment: Experiment, factories: Mapping[str, Factory], clock: Clock) -> list[SafeReport]:
    """Connect to every device, command all outputs off, read them back: a report for each link, or for each unit."""
    from pib_lab.assembly import make_units  # as above

    devices, units = make_units(experiment, factories, clock)
    known = guarded(devices)
    reports = [
        SafeReport(outcome.device, outcome.confirmed, outcome.not_confirmed, outcome.detail)
        for outcome in carry_out_all(actions_of(devices))
    ]
    for unit, wanted in reversed(list(zip(units, experiment.units, strict=True))):
        if experiment.device_of(wanted) in known:
            continue
        with contextlib.suppress(Exception):  # a unit that cannot be opened, for whatever reason, says so in its report
            unit.open()
        reports.append(not_commanded(switch_off(unit), factories[experiment.device_of(wanted)]))
        unit.close()
    for device in devices.values():
        device.close()
    return reports
