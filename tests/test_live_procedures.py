"""A bring-up procedure that goes on can be watched, stopped and made safe from another terminal, as a training can."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli_tools import call, last_line

from pib_lab.bring_up import BringUp, Outcome, load
from pib_lab.client import Client
from pib_lab.commands.procedure_bar import ProcedureBar
from pib_lab.control import Commands
from pib_lab.errors import LinkError
from pib_lab.events import MadeSafe
from pib_lab.findings import Progress, Verdict
from pib_lab.procedure_events import ProcedureEvent, ProcedureFinished, ProcedureStarted
from pib_lab.procedure_status import ProcedureStatus
from pib_lab.service import Service
from pib_lab.wire_format import pack, unpack

PROCEDURES = (
    "contact-check",
    "form-cells",
    "iv-sweep",
    "pulse-response",
    "map-conductance",
    "scan-faults",
    "daily-check",
)
SMALL = ["array.rows=4", "array.columns=4"]


class _Stopped(Commands):
    """Stops the procedure at any command, as `pib-lab run` does."""

    def post(self, verb: str) -> None:
        super().post(verb)
        self.cancel.cancel()


def _run(folder: Path, act: Callable[[Path, Commands, Progress], None], name: str = "form-cells") -> Outcome:
    """A shipped procedure on a small mock with its service; `act` is called at every telling of its progress."""
    more = ["procedure.sample=4"] if name in ("iv-sweep", "pulse-response") else []
    job = BringUp(load(name, [*SMALL, *more], None), mock=True, passport_dir=folder / "p")
    commands = _Stopped()

    def watched(run: Path) -> Service:
        return Service(run, commands, status=ProcedureStatus(), verbs=("abort", "safe"))

    def publish(progress: Progress) -> None:
        (run,) = (folder / "runs").iterdir()
        act(run, commands, progress)

    return job.run(folder / "runs", publish, commands.cancel, watched)


def _aside(work: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(work()), daemon=True)
    thread.start()
    return thread, found


@pytest.mark.parametrize("name", PROCEDURES)
def test_each_procedure_tells_its_status_and_can_be_aborted(tmp_path: Path, name: str) -> None:
    """Status names procedure and progress; an abort ends it in order, outputs off, its part recorded as incomplete."""
    seen: list[dict[str, Any]] = []

    def act(run: Path, commands: Commands, progress: Progress) -> None:
        if not seen:
            with Client(run) as client:
                seen.append(client.status())
                client.send("abort")

    outcome = _run(tmp_path, act, name)
    assert (seen[0]["procedure"], seen[0]["state"], seen[0]["mock"]) == (name, "running", True)
    assert seen[0]["total_steps"] > 0
    assert outcome.record.status == "aborted"
    assert outcome.record.verdict is not Verdict.PASS
    assert outcome.record.not_confirmed == ()
    assert (outcome.folder / "procedure.json").is_file()
    assert not (outcome.folder / "endpoint.json").exists()


def test_cells_formed_before_an_abort_are_kept(tmp_path: Path) -> None:
    """What was measured before the abort is in the arrays of the part that is recorded."""

    def act(run: Path, commands: Commands, progress: Progress) -> None:
        if progress.done == 3:
            commands.post("abort")

    record = _run(tmp_path, act).record
    done = next(check for check in record.checks if check.name == "completed")
    assert (done.numbers["done"], done.numbers["total"]) == (4, 16)
    assert record.pulses > 0


def test_the_status_command_shows_the_progress(tmp_path: Path) -> None:
    """`pib-lab status` of a live procedure says how many items are done, in words and as JSON."""
    shown: list[str] = []

    def act(run: Path, commands: Commands, progress: Progress) -> None:
        if progress.done == 2 and not shown:
            shown.extend([call("status", run).stdout, call("status", run, "--json").stdout])

    _run(tmp_path, act)
    assert "running, 2/16" in shown[0]
    status = json.loads(shown[1])
    assert (status["procedure"], status["total_steps"], status["state"]) == ("form-cells", 16, "running")


def test_the_safe_command_waits_until_the_procedure_has_switched_off(tmp_path: Path) -> None:
    """`pib-lab safe` of a live procedure ends it and reports its outputs off, with exit code 0."""
    asked: list[tuple[threading.Thread, list[Any]]] = []

    def act(run: Path, commands: Commands, progress: Progress) -> None:
        if not asked:
            asked.append(_aside(lambda: call("safe", run)))
        assert commands.cancel._event.wait(30.0)

    outcome = _run(tmp_path, act)
    thread, found = asked[0]
    thread.join(30.0)
    assert outcome.record.status == "aborted"
    assert found[0].exit_code == 0, found[0].output


def test_a_second_terminal_sees_the_procedure_to_its_end(tmp_path: Path) -> None:
    """An attached client gets where it stands, its progress, what was made safe, and its end."""
    asked: list[tuple[threading.Thread, list[Any]]] = []
    attached = threading.Event()

    def watch(run: Path) -> list[ProcedureEvent]:
        with Client(run) as client:
            client.attach()
            attached.set()
            return list(client.procedure_events(timeout_s=60.0))

    def act(run: Path, commands: Commands, progress: Progress) -> None:
        if not asked:
            asked.append(_aside(lambda: watch(run)))
            assert attached.wait(30.0)

    _run(tmp_path, act)
    thread, found = asked[0]
    thread.join(30.0)
    kinds = [type(event) for event in found[0]]
    assert kinds[0] is ProcedureStarted
    assert kinds[-2:] == [MadeSafe, ProcedureFinished]
    assert set(kinds[1:-2]) == {Progress}


def test_a_procedure_cannot_be_paused(tmp_path: Path) -> None:
    """A command that a procedure does not know is refused with those that it knows, and does not stop it."""
    refused: list[str] = []

    def act(run: Path, commands: Commands, progress: Progress) -> None:
        if not refused:
            with Client(run) as client, pytest.raises(LinkError, match="abort, safe") as error:
                client.send("pause")
            refused.append(str(error.value))

    assert _run(tmp_path, act).record.status == "finished"


def test_a_view_that_fails_does_not_end_the_procedure(tmp_path: Path) -> None:
    """When the endpoint dies on the way, the procedure goes on to its end."""

    def act(run: Path, commands: Commands, progress: Progress) -> None:
        services[0]._stopping.set()
        services[0]._ring()
        services[0]._thread.join()

    services: list[Service] = []
    job = BringUp(load("map-conductance", SMALL, None), mock=True, passport_dir=tmp_path / "p")
    commands = Commands()

    def watched(run: Path) -> Service:
        services.append(Service(run, commands, status=ProcedureStatus()))
        return services[0]

    outcome = job.run(tmp_path / "runs", lambda progress: act(tmp_path, commands, progress), commands.cancel, watched)
    assert outcome.record.status == "finished"


def test_run_puts_up_the_endpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A procedure started by `pib-lab run` is aborted by another client: exit code 130, outputs off."""
    asked: list[str] = []

    def show(bar: ProcedureBar, progress: Progress) -> None:
        if not asked:
            (run,) = (tmp_path / "runs").iterdir()
            with Client(run) as client:
                asked.append(client.send("abort")["procedure"])

    monkeypatch.setattr(ProcedureBar, "show", show)
    size = [part for change in SMALL for part in ("--set", change)]
    where = ("--out", tmp_path / "runs", "--passport-dir", tmp_path / "p")
    done = call("run", "form-cells", "--mock", *size, *where, "--json")
    assert (done.exit_code, asked) == (130, ["form-cells"])
    result = last_line(done)
    assert (result["status"], result["verdict"], result["safe"]) == ("aborted", "incomplete", True)


@pytest.mark.parametrize(
    "event",
    [
        ProcedureStarted("run", "form", "form-cells", "chip", True, 1.0),
        Progress(1, 2, "cell (1, 2)"),
        ProcedureFinished("aborted", "incomplete", 3, "stopped", False),
    ],
)
def test_its_events_survive_the_wire(event: ProcedureEvent) -> None:
    """Each event of a procedure comes back from bytes as it was."""
    assert unpack(pack(event)) == event
