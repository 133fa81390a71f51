"""STOP, in three steps: ask the run; end its process; command its devices off. Works whatever the state of the run.

Runs on a thread of its own, and tells of each device as soon as something is known.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from gui import processes
from pib_lab.client import Client
from pib_lab.endpoint import Endpoint, read_endpoint
from pib_lab.errors import LinkError, PibError
from pib_lab.events import MadeSafe, RunStarted
from pib_lab.procedure_events import ProcedureStarted

ANSWER_S = 1.5
"""Within which a run's service, a thread that does nothing else, answers a command."""

SAFE_S = 4.0
"""Within which the run has to confirm all outputs off; then its process is ended."""

DOUBT_S = 0.8
"""After which devices that have not been confirmed off are shown so, while they are still waited for."""

COMMAND_S = 60.0


@dataclass(frozen=True, slots=True)
class DeviceOff:
    """What is known of one device. not_confirmed: outputs that nobody has read back off."""

    name: str
    confirmed: tuple[str, ...] = ()
    not_confirmed: tuple[str, ...] = ()
    detail: str = ""

    @property
    def off(self) -> bool:
        """Whether every output was read back off."""
        return not self.not_confirmed


@dataclass(frozen=True, slots=True)
class StopReport:
    """How far STOP has come. done: nothing more will be tried; text: what is being done, or how it ended."""

    text: str
    devices: tuple[DeviceOff, ...] = ()
    done: bool = False
    failed: bool = False

    @property
    def safe(self) -> bool:
        """Whether all is done and every device was confirmed off."""
        return self.done and not self.failed and all(device.off for device in self.devices)


Tell = Callable[[StopReport], None]


class Ends(Protocol):
    """A process that was started here: of a run, or of a device in a person's hands."""

    def find_folder(self) -> Path | None:
        """Its folder, once its endpoint can be reached."""

    def poll(self) -> int | None:
        """The exit code; None while it goes on."""

    def end(self) -> None:
        """End it at once and wait until it has gone."""


@dataclass(frozen=True, slots=True)
class Target:
    """What is to be stopped, as far as the desktop knows: a run's folder, its process, the protocol of its devices."""

    folder: Path | None = None
    process: Ends | None = None
    protocol: str = ""


def stop_all(targets: Sequence[Target], tell: Tell) -> StopReport:
    """Switch everything off that `targets` may have on, one after the other; `tell` hears of each step.

    Never raises. The last report, of all of them together, is returned, and told as well.
    """
    ended: list[StopReport] = []

    def tell_more(report: StopReport) -> None:
        before = tuple(device for done in ended for device in done.devices)
        tell(replace(report, devices=before + report.devices, done=False))

    for target in targets:
        ended.append(stop(target, tell_more))
    report = StopReport(
        "; ".join(dict.fromkeys(done.text for done in ended)),
        tuple(device for done in ended for device in done.devices),
        done=True,
        failed=any(done.failed for done in ended),
    )
    tell(report)
    return report


def stop(target: Target, tell: Tell, *, answer_s: float = ANSWER_S, safe_s: float = SAFE_S) -> StopReport:
    """Switch everything off that `target` may have on; `tell` hears of each step. Never raises."""
    try:
        return _stop(target, tell, answer_s, safe_s)
    except (PibError, OSError) as error:
        return StopReport(f"{error}. Look at the devices and switch them off by hand", done=True, failed=True)


def of_units(made: Sequence[MadeSafe], device_of: Mapping[str, str]) -> tuple[DeviceOff, ...]:
    """Reports of units gathered by device: a device is off when all of its units are. device_of: by unit."""
    found: dict[str, DeviceOff] = {}
    for report in made:
        name = device_of.get(report.unit, report.unit)
        before = found.get(name, DeviceOff(name))
        doubtful = tuple(f"{report.unit}: {output}" for output in report.not_confirmed)
        found[name] = DeviceOff(
            name,
            before.confirmed + tuple(f"{report.unit}: {output}" for output in report.confirmed),
            before.not_confirmed + doubtful,
            "; ".join(dict.fromkeys(filter(None, (before.detail, report.detail)))),
        )
    return tuple(found.values())


def _stop(target: Target, tell: Tell, answer_s: float, safe_s: float) -> StopReport:
    folder = target.folder or (target.process.find_folder() if target.process is not None else None)
    endpoint = _live(folder)
    if folder is not None and endpoint is not None:
        tell(StopReport("asking the run to switch off"))
        asked = _ask(folder, tell, answer_s, safe_s)
        if asked is not None and asked.safe:
            return asked
        tell(StopReport("the run did not confirm everything off: ending its process", asked.devices if asked else ()))
        _end(endpoint)
    elif target.process is not None and target.process.poll() is None:
        tell(StopReport("the run has not begun: ending its process"))
        target.process.end()
        folder = folder or target.process.find_folder()
        if folder is None:
            return StopReport("the run was ended before it opened a device: nothing had been switched on", done=True)
    where = str(folder) if folder is not None else target.protocol
    if not where:
        return StopReport("no run and no protocol is open here: there is no device to switch off", done=True)
    tell(StopReport(f"commanding the devices of {Path(where).name} off"))
    return _command(where)


def _live(folder: Path | None) -> Endpoint | None:
    try:
        endpoint = read_endpoint(folder) if folder is not None else None
    except LinkError:
        return None
    return endpoint if endpoint is not None and endpoint.alive else None


def _ask(folder: Path, tell: Tell, answer_s: float, safe_s: float) -> StopReport | None:
    """The run's own reports; None when it does not answer or does not confirm everything off in time."""
    deadline_s, doubt_s = time.monotonic() + safe_s, time.monotonic() + DOUBT_S
    device_of: dict[str, str] = {}
    made: dict[str, MadeSafe] = {}
    report = StopReport("asking the run to switch off")
    try:
        with Client(folder, timeout_s=answer_s) as client:
            procedure = "procedure" in client.send("safe")  # first of all: what is asked next may be long
            client.attach()
            events: Any = client.procedure_events if procedure else client.events
            while (left_s := deadline_s - time.monotonic()) > 0:
                if (quiet_s := doubt_s - time.monotonic()) <= 0:
                    quiet_s, doubt_s = left_s, math.inf
                    waiting = tuple(DeviceOff(name, (), ("no word yet",)) for name in dict.fromkeys(device_of.values()))
                    tell(report if made else replace(report, devices=waiting))
                for event in events(timeout_s=min(left_s, quiet_s)):
                    if isinstance(event, RunStarted):
                        device_of = {unit.name: unit.device for unit in event.units}
                    elif isinstance(event, ProcedureStarted):
                        device_of = {event.device: event.device}
                    elif isinstance(event, MadeSafe):
                        made[event.unit] = event
                        report = replace(report, devices=of_units(list(made.values()), device_of))
                        tell(report)
                    if device_of and made.keys() >= device_of.keys():
                        return replace(report, text=_verdict(report.devices), done=True)
    except LinkError:
        pass  # it is silent or gone: whatever it has confirmed by then is in the report
    return report if made else None


def _end(endpoint: Endpoint) -> None:
    """End the run's process, so that its links are free; its guardian then acts at once."""
    endpoint.end_process()
    deadline_s = time.monotonic() + SAFE_S
    while endpoint.alive:
        if time.monotonic() > deadline_s:
            raise LinkError(f"process {endpoint.pid} does not end")
        time.sleep(0.01)


def _command(where: str) -> StopReport:
    code, result, told = processes.call(["safe", where, "--json"], COMMAND_S)
    devices = tuple(
        DeviceOff(row["unit"], tuple(row["confirmed"]), tuple(row["not_confirmed"]), row["detail"])
        for row in result.get("reports", ())
    )
    if not devices:
        why = told.splitlines()[-1].removeprefix("error: ") if told else f"`pib-lab safe` ended with code {code}"
        return StopReport(f"the devices could not be commanded: {why}", done=True, failed=True)
    return StopReport(_verdict(devices), devices, done=True, failed=code != 0)


def _verdict(devices: Sequence[DeviceOff]) -> str:
    doubtful = [device.name for device in devices if not device.off]
    if doubtful:
        return f"NOT confirmed off: {', '.join(doubtful)}. Look at them and switch them off by hand"
    return "all outputs were read back off"
