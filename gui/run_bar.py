"""The run bar: what runs, on what, how far it has come, and the buttons; STOP is always there."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import (
    QComboBox,
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QSizePolicy,
    QWidget,
)

import protocols
from gui import theme, wording
from gui.desk import REPLAY_SPEEDS, Desk
from gui.model import Topic

_BADGES = {"mock": (theme.MOCK_BLUE, "#101418"), "real": (theme.REAL_ORANGE, "#101418"), "none": ("", "")}


class RunBar(QFrame):
    """Always on top of the window. browse_asked: the operator wants to look for a protocol file."""

    browse_asked = Signal()

    def __init__(self, desk: Desk) -> None:
        super().__init__()
        self.desk = desk
        self.setObjectName("run-bar")
        self.badge = QLabel()
        self.badge.setObjectName("badge")
        self.badge.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.light = QLabel()
        self.light.setObjectName("state")
        self.name_label = QLabel()
        self.name_label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.name_label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.progress = QProgressBar()
        self.progress.setMinimumHeight(26)
        self.protocol_box = QComboBox()
        self.protocol_box.setAccessibleName("protocol")
        self.protocol_box.setMinimumWidth(200)
        self.protocol_box.setMaximumWidth(720)
        self.protocol_box.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
        self.protocol_box.setPlaceholderText("choose a protocol")
        for name, title in protocols.available().items():
            self.protocol_box.addItem(name, name)
            self.protocol_box.setItemData(self.protocol_box.count() - 1, title, Qt.ItemDataRole.ToolTipRole)
        self.protocol_box.setCurrentIndex(-1)
        self.browse_button = _button("Open…", "A protocol file, or the folder of a run (Ctrl+O)")
        self.start_button = _button("Start", "Start the protocol (Ctrl+Return)")
        self.pause_button = _button("Pause", "Pause at the next step, or go on (Ctrl+P)")
        self.abort_button = _button("Abort", "End the run at the next step; it can be resumed (Ctrl+Shift+A)")
        self.replay_button = _button("Replay", "Show the recorded run as it went; touches no hardware")
        self.speed_box = QComboBox()
        self.speed_box.setAccessibleName("speed of the replay")
        for speed in REPLAY_SPEEDS:
            self.speed_box.addItem("at once" if speed == float("inf") else f"{speed:g} x", speed)
        self.speed_box.setCurrentIndex(1)
        self.stop_button = _button("STOP", "Switch all outputs off, whatever the state (F12 or Ctrl+.)")
        self.stop_button.setObjectName("stop")
        self.stop_button.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Expanding)
        self.stop_button.setMinimumWidth(150)
        self._lay_out()
        self._connect()
        self.refresh()

    def refresh(self) -> None:
        """Show where the run stands."""
        model, desk = self.desk.model, self.desk
        words, kind = wording.badge(model)
        self.badge.setText(words)
        background, text = _BADGES[kind]
        colours = f"background: {background or theme.current().button}; color: {text or theme.current().muted};"
        self.badge.setStyleSheet(f"{colours} padding: 3px 14px; border-radius: 6px;")
        sign, word, level = wording.STATES.get(model.state, ("?", model.state, "plain"))
        held = model.replay and desk.replay is not None and not desk.replay.going.is_set()
        self.light.setText(f"{sign} {'held' if held else word}")
        self.light.setStyleSheet(f"color: {theme.level_colour(level)};")
        self.name_label.setText(model.name or self._advice())
        self.name_label.setToolTip(str(model.folder or ""))
        done, total = model.progress
        starting = not total and model.state == "starting"
        self.progress.setRange(0, 0 if starting else max(1, total))
        self.progress.setValue(done)
        self.progress.setFormat(wording.progress(model).replace("%", "%%"))
        self.progress.setTextVisible(bool(total))
        self.progress.setVisible(bool(total) or starting)
        going = model.state in {"running", "paused"} and (model.live or model.replay)
        self.start_button.setEnabled(bool(desk.protocol) and not desk.busy and desk.manual is None)
        self.pause_button.setText("Resume" if held or (model.state == "paused" and not model.replay) else "Pause")
        self.pause_button.setEnabled(going and model.procedure is None)
        self.abort_button.setEnabled((model.live and not model.ended and desk.folder is not None) or model.replay)
        self.abort_button.setText("End replay" if model.replay else "Abort")
        self.replay_button.setEnabled(model.folder is not None and not model.live and model.procedure is None)
        self.speed_box.setEnabled(self.replay_button.isEnabled())

    def press_pause(self) -> None:
        """What the Pause button does."""
        if self.pause_button.isEnabled():
            self.desk.command("resume" if self.pause_button.text() == "Resume" else "pause")

    def _advice(self) -> str:
        """What to do first, while there is no run."""
        if self.desk.manual is not None:
            return f"{self.desk.manual.device} is in your hands: let it go before a run is started"
        return "press Start to run the protocol" if self.desk.protocol else "choose a protocol to begin with"

    def _lay_out(self) -> None:
        top, bottom = QHBoxLayout(), QHBoxLayout()
        top.addWidget(self.badge)
        top.addSpacing(8)
        top.addWidget(self.light)
        top.addSpacing(8)
        top.addWidget(self.name_label, 2)
        top.addWidget(self.progress, 3)
        bottom.addWidget(self.protocol_box, 1)
        for widget in (self.browse_button, self.start_button, self.pause_button, self.abort_button):
            bottom.addWidget(widget)
        bottom.addStretch()
        bottom.addSpacing(16)
        bottom.addWidget(self.replay_button)
        bottom.addWidget(self.speed_box)
        grid = QGridLayout(self)
        grid.setContentsMargins(10, 8, 10, 8)
        grid.setHorizontalSpacing(12)
        grid.addLayout(top, 0, 0)
        grid.addLayout(bottom, 1, 0)
        grid.addWidget(self.stop_button, 0, 1, 2, 1)
        grid.setColumnStretch(0, 1)

    def _connect(self) -> None:
        desk = self.desk
        self.stop_button.clicked.connect(desk.stop)
        self.start_button.clicked.connect(desk.ask_start)
        self.pause_button.clicked.connect(self.press_pause)
        self.abort_button.clicked.connect(lambda: desk.command("abort"))
        self.replay_button.clicked.connect(self._replay)
        self.speed_box.currentIndexChanged.connect(self._change_speed)
        self.browse_button.clicked.connect(self.browse_asked)
        self.protocol_box.activated.connect(lambda place: desk.choose_protocol(self.protocol_box.itemData(place)))
        desk.protocol_changed.connect(self._show_protocol)
        desk.run_ended.connect(lambda _: self.refresh())
        desk.bridge.watch(lambda changed: self.refresh() if changed & {Topic.RUN, Topic.STATE} else None)

    def _show_protocol(self, name: str) -> None:
        if self.protocol_box.findData(name) < 0:
            self.protocol_box.addItem(Path(name).name, name)
        self.protocol_box.setCurrentIndex(self.protocol_box.findData(name))
        self.protocol_box.setToolTip(name)
        self.refresh()

    def _replay(self) -> None:
        folder = self.desk.model.folder
        if folder is not None:
            self.desk.replay_run(folder, self.speed_box.currentData())

    def _change_speed(self) -> None:
        if self.desk.replay is not None:
            self.desk.replay.speed = self.speed_box.currentData()


def _button(text: str, tip: str) -> QPushButton:
    button = QPushButton(text)
    button.setToolTip(tip)
    button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
    return button


class Stripe(QWidget):
    """A band over the whole width in the colour of the badge, so that real hardware is seen from the door."""

    def __init__(self, desk: Desk) -> None:
        super().__init__()
        self.desk = desk
        self.setFixedHeight(6)
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        desk.bridge.watch(lambda changed: self.refresh() if changed & {Topic.RUN, Topic.STATE} else None)

    def refresh(self) -> None:
        """Take the colour that suits the run."""
        background = _BADGES[wording.badge(self.desk.model)[1]][0]
        self.setStyleSheet(f"background: {background or theme.current().button};")
