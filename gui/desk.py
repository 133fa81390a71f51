"""What an operator can do, for the window and for every panel: open, start, command, stop and replay runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from PySide6.QtCore import QObject, QTimer, Signal

import protocols
from gui import processes
from gui.bridge import Bridge
from gui.manual_process import GONE, Answer, ManualProcess
from gui.model import History, LogLine, RunModel, Topic
from gui.processes import Order, RunProcess
from gui.protocol_devices import NO_HARDWARE, devices_of, has_links
from gui.sources import ReplaySource, RunSource, StartedSource, is_live
from gui.stop import StopReport, Target, stop_all
from pib_lab.client import Client
from pib_lab.errors import ConfigurationError, PibError

_LOOK_MS = 100

REPLAY_SPEEDS = (1.0, 10.0, 100.0, float("inf"))


class Desk(QObject):
    """The run that is looked at, and the commands to it. Lives in the window's thread; nothing in it waits.

    noticed: level ("info", "warning", "error") and a text for the operator; it is in the log as well.
    protocol_changed: the protocol that Start would run. run_ended: the RunProcess of a run that was started here, once
    its process has gone and all its events are shown. stop_told: each StopReport of a STOP. ghost_changed: a past run
    to draw behind the curves, or none. start_asked: see `confirm_first`. manual_told: each answer of a device that is
    controlled by hand, its end last.
    """

    noticed = Signal(str, str)
    protocol_changed = Signal(str)
    run_ended = Signal(object)
    stop_told = Signal(object)
    ghost_changed = Signal()
    start_asked = Signal(object)
    manual_told = Signal(object)

    def __init__(self, out: Path) -> None:
        super().__init__()
        self.out = out
        self.model = RunModel()
        self.bridge = Bridge(self.model)
        self.protocol = ""
        self.process: RunProcess | None = None
        self.replay: ReplaySource | None = None
        self.ghost: History | None = None
        self.stopping = False
        self.last_stop: StopReport | None = None
        self.confirm_first = False
        """Set by a panel that shows dry runs: `ask_start` then emits start_asked, and that panel starts the run."""
        self.keep_traffic = False
        """Whether runs of real devices that are started here keep what goes over their links."""
        self.manual: ManualProcess | None = None
        """The device that is controlled by hand, from asking for it until its process has gone."""
        self.hand_folder: Path | None = None
        """Of the device that is, or was last, controlled by hand; None once a run has been started or opened."""
        self._unseen: RunProcess | None = None  # ended or not, its end has not been told yet
        self._timer = QTimer(self)
        self._timer.setInterval(_LOOK_MS)
        self._timer.timeout.connect(self._look)
        self._timer.start()

    @property
    def busy(self) -> bool:
        """Whether the run that is looked at goes on, here or in another terminal."""
        return (self.process is not None and self.process.poll() is None) or (self.model.live and not self.model.ended)

    def notice(self, level: str, text: str) -> None:
        """Tell the operator something, in the window and in the log."""
        self.model.take(LogLine(level, text))
        self.noticed.emit(level, text)

    def choose_protocol(self, name_or_path: str) -> None:
        """What Start will run. A mistake is told, and the former choice stays."""
        if name_or_path == self.protocol:
            return
        try:
            protocols.read(name_or_path)
        except ConfigurationError as error:
            self.notice("error", str(error))
            return
        self.protocol = name_or_path
        self.protocol_changed.emit(name_or_path)

    def open(self, what: str) -> None:
        """A run, named by its folder or file, is looked at; anything else is a protocol to be started."""
        folder = Path(what)
        if folder.name == "run.h5":
            folder = folder.parent
        if (folder / "run.h5").is_file() or is_live(folder):
            self.open_run(folder)
        else:
            self.choose_protocol(what)

    def open_run(self, folder: Path) -> None:
        """Look at a run: attach to it when it is live, else show what its file holds. The run before it goes on."""
        self.replay = self.hand_folder = None
        self.bridge.follow(RunSource(folder))

    def replay_run(self, folder: Path, speed: float) -> None:
        """Show a recorded run as it went, at `speed` times its pace; infinity: at once."""
        self.replay, self.hand_folder = ReplaySource(folder, speed), None
        self.bridge.follow(self.replay)

    def ask_start(self) -> None:
        """Start the chosen protocol, or let the panel that confirms runs on real hardware ask first."""
        if not self.protocol:
            self.notice("warning", "choose a protocol first")
            return
        order = Order(self.protocol)
        if self.confirm_first:
            self.start_asked.emit(order)
        else:
            self.start(order)

    def start(self, order: Order) -> RunProcess | None:
        """Start a run in a process of its own and look at it. None, with a notice, when it cannot be started."""
        if self.busy:
            self.notice("warning", "a run is going on: abort it, or wait for its end, before the next one is started")
            return None
        if self.manual is not None:
            self.notice("warning", f"{self.manual.device} is controlled by hand: let it go before a run is started")
            return None
        if self.keep_traffic and order.resume is None and not order.mock and has_links(order.protocol):
            order = replace(order, traffic=True)
        try:
            self.process = processes.start(order, self.out)
        except PibError as error:
            self.notice("error", str(error))
            return None
        self._unseen = self.process
        self.replay = self.hand_folder = None
        self.last_stop = None
        self.bridge.follow(StartedSource(self.process))
        return self.process

    def command(self, verb: str) -> None:
        """Send "pause", "resume" or "abort" to the run, without waiting for it; a replay is held and goes on here."""
        if self.replay is not None and self.model.replay:
            self._command_replay(verb)
            return
        folder = self.folder
        if folder is None:
            self.notice("warning", f"there is no run to {verb} yet")
            return

        def send() -> None:
            with Client(folder) as client:
                client.send(verb)

        self.bridge.background(send, lambda _: None, lambda error: self.notice("error", str(error)))

    def take_by_hand(self, device: str) -> None:
        """Take a device of the chosen protocol under manual control, in a process of its own. Only while no run goes
        on; else a notice says so."""
        if self.busy or self.manual is not None:
            self.notice("warning", "a device can be controlled by hand only while no run, and no other hand, has it")
            return
        traffic = self.keep_traffic and devices_of(self.protocol).get(device) not in NO_HARDWARE
        try:
            self.manual = ManualProcess(self.protocol, device, self.out, self._hear_manual, traffic=traffic)
        except PibError as error:
            self.notice("error", str(error))

    def tell_manual(self, message: Answer) -> None:
        """Tell the device in hand what to do; `manual_told` brings its answer."""
        if self.manual is not None:
            self.manual.tell(message)

    def let_go(self) -> None:
        """End manual control: the device is made safe by its own process."""
        if self.manual is not None:
            self.manual.let_go()

    @property
    def folder(self) -> Path | None:
        """Of the run that is looked at; None without one, and as long as a run that was started has none."""
        if self.model.folder is not None:
            return self.model.folder
        return self.process.folder if self.process is not None and not self.model.ended else None

    def stop(self) -> None:
        """STOP: switch everything off, whatever the state; `stop_told` says how far it has come."""
        if self.stopping:
            return
        self.stopping = True
        targets = self._targets()
        if self.replay is not None:
            self._command_replay("pause")

        def work() -> StopReport:
            return stop_all(targets, lambda report: self.bridge.later(lambda: self._tell_stop(report)))

        self.bridge.background(work, lambda _: None)

    def choose_ghost(self, folder: Path | None) -> None:
        """Draw a past run behind the curves of this one; None: no longer."""
        if folder is None:
            self._take_ghost(None)
            return

        def load() -> History:
            from gui.history import read_history

            return read_history(folder)[0]

        self.bridge.background(load, self._take_ghost, lambda error: self.notice("error", str(error)))

    def close(self) -> None:
        """Look at nothing any more. Runs go on; a device in hand is made safe."""
        self.let_go()
        self._timer.stop()
        self.bridge.close()

    def runs(self) -> Sequence[Path]:
        """Folders of the recorded runs, the newest first."""
        found = [path.parent for path in self.out.glob("*/run.h5")]
        return sorted(found, key=lambda folder: folder.stat().st_mtime, reverse=True)

    def _targets(self) -> list[Target]:
        """What may have outputs on: the run that was started here, and the one that is looked at; else the devices of
        the one that was looked at last, else those of the chosen protocol."""
        targets: list[Target] = []
        if self.manual is not None:
            targets.append(Target(self.manual.folder, self.manual))
        running = self.process is not None and self.process.poll() is None
        if self.process is not None and running:
            targets.append(Target(self.process.find_folder(), self.process))
        looked_at = self.model.folder
        if looked_at is not None and (self.model.live or not running) and looked_at not in [t.folder for t in targets]:
            targets.append(Target(looked_at))
        return targets or [Target(protocol=self.protocol)]

    def _hear_manual(self, answer: Answer) -> None:
        """From the thread that listens."""
        self.bridge.later(lambda: self._take_answer(answer))

    def _take_answer(self, answer: Answer) -> None:
        if answer["did"] == "open":
            self.model.by_hand = bool(answer["mock"])
            self.hand_folder = Path(answer["folder"])
        if answer["did"] == GONE:
            self.manual, self.model.by_hand = None, None
        elif answer["did"] == "end" and not answer["ok"]:
            self.notice("error", f"manual control: {answer['error']}")
        self.model.changed |= {Topic.STATE, Topic.RUN}
        self.manual_told.emit(answer)

    def _command_replay(self, verb: str) -> None:
        assert self.replay is not None
        if verb == "pause":
            self.replay.going.clear()
        elif verb == "resume":
            self.replay.going.set()
        else:
            self.open_run(self.replay.folder)
        self.model.changed.add(Topic.STATE)

    def _take_ghost(self, history: History | None) -> None:
        self.ghost = history
        self.ghost_changed.emit()
        self.model.changed |= {Topic.ENTROPY, Topic.LEARNING}

    def _tell_stop(self, report: StopReport) -> None:
        if report.done:
            self.stopping = False
            level = "info" if report.safe else "error"
            self.model.take(LogLine(level, f"STOP: {report.text}"))  # the window has a band of its own for it
        self.last_stop = report
        self.stop_told.emit(report)

    def _look(self) -> None:
        """Tell the end of a run that was started here, after all its events."""
        ended = self._unseen
        if ended is None or ended.poll() is None or not self.bridge.idle:
            return
        self._unseen = None
        self.model.changed.add(Topic.STATE)
        self.run_ended.emit(ended)
