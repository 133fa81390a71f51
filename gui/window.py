"""The main window: run bar, bands, panels in docks; layout, theme and keys."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from PySide6.QtCore import QByteArray, QSettings, Qt, QTimer
from PySide6.QtGui import QAction, QCloseEvent, QKeySequence, QShowEvent
from PySide6.QtWidgets import (
    QApplication,
    QDockWidget,
    QFileDialog,
    QMainWindow,
    QMenu,
    QMenuBar,
    QTabBar,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from gui import theme
from gui.bands import Band, SafeBand
from gui.desk import Desk
from gui.panel import Panel
from gui.panels import PANELS, Place, Placed
from gui.run_bar import RunBar, Stripe

_LAYOUT_VERSION = 2
_AREA = Qt.DockWidgetArea.LeftDockWidgetArea
"""Of all panels: within one area they keep their shares of the room when the window gets another size."""

_SHARES = {Place.TOP: 70, Place.LEFT: 330, Place.RIGHT: 330, Place.BOTTOM: 270}
"""Of the height, at first."""


class Window(QMainWindow):
    """The desktop. settings: where layout and theme are kept between sessions."""

    def __init__(self, desk: Desk, settings: QSettings, panels: Sequence[Placed] = PANELS) -> None:
        super().__init__()
        self.desk = desk
        self.settings = settings
        self.setWindowTitle("PIB Lab")
        self.setObjectName("window")
        self.run_bar = RunBar(desk)
        self.stripe = Stripe(desk)
        self.safe_band = SafeBand(desk)
        self.notice_band = Band("notice-band")
        self.question_band = Band("question-band")
        self.menus = QMenuBar()
        self._leave_anyway = False
        self._files: QFileDialog | None = None
        self._lay_out_head()
        self.panels: dict[str, Panel] = {}
        self.docks: dict[str, QDockWidget] = {}
        self._strips: list[QDockWidget] = []
        options = QMainWindow.DockOption
        self.setDockOptions(
            options.AnimatedDocks | options.AllowNestedDocks | options.AllowTabbedDocks | options.GroupedDragging
        )
        self.setTabPosition(Qt.DockWidgetArea.AllDockWidgetAreas, QTabWidget.TabPosition.North)
        first = {placed.place: placed for placed in reversed(panels)}
        front = {placed.place: self._add(placed) for placed in panels if placed is first[placed.place]}
        self._split(front)
        for placed in panels:
            if placed is not first[placed.place]:
                self.tabifyDockWidget(front[placed.place], self._add(placed))
        self.resize(1280, 800)
        self._make_menus()
        self._arrange(front)
        self._default_layout = self.saveState(_LAYOUT_VERSION)
        self._restore()
        desk.noticed.connect(self._show_notice)
        desk.protocol_changed.connect(lambda _: self.notice_band.hide())
        desk.bridge.panel_failed.connect(self._tell_failed_panel)
        self.run_bar.browse_asked.connect(self.browse)

    def browse(self) -> None:
        """Look for a protocol file or a recorded run; the window stays usable meanwhile."""
        dialog = QFileDialog(self, "Open a protocol or a run", str(Path.cwd()), "Protocols and runs (*.toml run.h5)")
        dialog.setOption(QFileDialog.Option.DontUseNativeDialog)
        dialog.setFileMode(QFileDialog.FileMode.ExistingFile)
        dialog.setModal(False)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.fileSelected.connect(self.desk.open)
        dialog.show()
        self._files = dialog

    def switch_theme(self) -> None:
        """From dark to light and back."""
        self.use_theme("light" if theme.current().name == "dark" else "dark")

    def use_theme(self, name: str) -> None:
        """Put a theme in force for the whole desktop, now and the next time."""
        self._style(name, theme.text_size())
        self.settings.setValue("theme", theme.current().name)

    def use_text(self, size: float) -> None:
        """Put a size of text in force, as a part of what the system uses, now and the next time."""
        self._style(theme.current().name, size)
        self.settings.setValue("text", size)

    def resize_text(self, by: int) -> None:
        """Larger or smaller text everywhere, by so many sizes of `theme.TEXT_SIZES`, now and the next time."""
        sizes = theme.TEXT_SIZES
        now = min(range(len(sizes)), key=lambda place: abs(sizes[place] - theme.text_size()))
        self.use_text(sizes[max(0, min(len(sizes) - 1, now + by))])

    def reset_layout(self) -> None:
        """All panels back to where they stood at first."""
        self.restoreState(self._default_layout, _LAYOUT_VERSION)
        QTimer.singleShot(0, self._tidy)

    def show_panel(self, name: str) -> None:
        """Bring a panel to the front."""
        self.docks[name].show()
        self.docks[name].raise_()

    def save(self) -> None:
        """Keep size and layout for the next time."""
        self.settings.setValue("geometry", self.saveGeometry())
        self.settings.setValue("layout", self.saveState(_LAYOUT_VERSION))
        self.settings.sync()

    def showEvent(self, event: QShowEvent) -> None:
        """The window appears."""
        super().showEvent(event)
        QTimer.singleShot(0, self._tidy)

    def closeEvent(self, event: QCloseEvent) -> None:
        """Closing never ends a run: while one goes on, it is asked first, in a band; a second time closes."""
        if self.desk.busy and not self._leave_anyway:
            self._leave_anyway = True
            event.ignore()
            self.question_band.say(
                "A run is going on. It goes on without this window, and can be opened here again.",
                "look",
                (
                    ("Close, the run goes on", self.close),
                    ("Abort the run and close", self._abort_and_close),
                    ("Stay", self._stay),
                ),
            )
            return
        self.save()
        self.desk.close()
        event.accept()

    def _style(self, name: str, text: float) -> None:
        app = QApplication.instance()
        assert isinstance(app, QApplication)
        theme.apply(app, name, text)
        self.run_bar.refresh()
        self.stripe.refresh()
        self.desk.bridge.restyle()
        theme.fit_axes(self)

    def _abort_and_close(self) -> None:
        self.desk.run_ended.connect(lambda _: self.close())
        self.desk.command("abort")
        self.question_band.say("The window closes when the run has ended.", "look", (("Stay", self._stay),))

    def _stay(self) -> None:
        self._leave_anyway = False

    def _lay_out_head(self) -> None:
        head = QWidget()
        layout = QVBoxLayout(head)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        for widget in (
            self.menus,
            self.stripe,
            self.run_bar,
            self.safe_band,
            self.notice_band,
            self.question_band,
        ):
            layout.addWidget(widget)
        self.setMenuWidget(head)

    def _add(self, placed: Placed) -> QDockWidget:
        panel = placed.panel(self.desk)
        dock = QDockWidget(panel.title, self)
        dock.setObjectName(f"dock-{panel.name}")
        dock.setWidget(panel)
        if placed.place is Place.TOP:
            self._strips.append(dock)
        dock.topLevelChanged.connect(lambda _: QTimer.singleShot(0, self._tidy))
        dock.dockLocationChanged.connect(lambda _: QTimer.singleShot(0, self._tidy))
        self.panels[panel.name] = panel
        self.docks[panel.name] = dock
        self.desk.bridge.add(panel)
        return dock

    def _split(self, front: dict[Place, QDockWidget]) -> None:
        """One panel of each place; those of one place become tabs later, for what is a tab cannot be split."""
        for place, dock in front.items():
            if place is Place.RIGHT and Place.LEFT in front:
                self.splitDockWidget(front[Place.LEFT], dock, Qt.Orientation.Horizontal)
            else:
                self.addDockWidget(_AREA, dock, Qt.Orientation.Vertical)

    def _arrange(self, front: dict[Place, QDockWidget]) -> None:
        """Curves get most of the room."""
        for dock in front.values():
            dock.raise_()
        layout = self.layout()
        if layout is not None:
            layout.activate()  # else docks are resized within a window that is smaller yet
        shares = [_SHARES[place] for place in front]
        self.resizeDocks(list(front.values()), shares, Qt.Orientation.Vertical)
        sides = [dock for place, dock in front.items() if place in (Place.LEFT, Place.RIGHT)]
        self.resizeDocks(sides, [640] * len(sides), Qt.Orientation.Horizontal)

    def _tidy(self) -> None:
        """After panels have got other places."""
        self._hide_stray_tabs()
        for dock in self.docks.values():
            named = dock in self._strips or bool(self.tabifiedDockWidgets(dock))
            _show_title(dock, dock.isFloating() or not named)

    def _hide_stray_tabs(self) -> None:
        """Qt leaves tab bars of arrangements in between standing; of each group of tabs the newest is used."""
        groups = {
            frozenset(tab.windowTitle() for tab in (dock, *self.tabifiedDockWidgets(dock)))
            for dock in self.docks.values()
        }
        newest: dict[frozenset[str], QTabBar] = {}
        for bar in self.findChildren(QTabBar, options=Qt.FindChildOption.FindDirectChildrenOnly):
            titles = frozenset(bar.tabText(place) for place in range(bar.count()))
            stray = bar if titles not in groups else newest.get(titles)
            if stray is not None:
                stray.hide()
            if titles in groups:
                newest[titles] = bar

    def _restore(self) -> None:
        geometry, layout = self.settings.value("geometry"), self.settings.value("layout")
        if isinstance(geometry, QByteArray):
            self.restoreGeometry(geometry)
        if isinstance(layout, QByteArray):
            self.restoreState(layout, _LAYOUT_VERSION)

    def _make_menus(self) -> None:
        bar = self.run_bar
        files = self.menus.addMenu("&File")
        self._action(files, "&Open a protocol or a run…", self.browse, "Ctrl+O")
        self._action(files, "&Quit", self.close, "Ctrl+Q")
        runs = self.menus.addMenu("&Run")
        self._action(runs, "&Start", bar.start_button.click, "Ctrl+Return")
        self._action(runs, "&Pause or resume", bar.press_pause, "Ctrl+P")
        self._action(runs, "&Abort", bar.abort_button.click, "Ctrl+Shift+A")
        runs.addSeparator()
        self._action(runs, "S&TOP: switch everything off", self.desk.stop, "F12", "Ctrl+.")
        view = self.menus.addMenu("&View")
        for dock in self.docks.values():
            view.addAction(dock.toggleViewAction())
        view.addSeparator()
        self._action(view, "&Dark or light", self.switch_theme, "Ctrl+T")
        self._action(view, "&Larger text", lambda: self.resize_text(1), "Ctrl++", "Ctrl+=")
        self._action(view, "&Smaller text", lambda: self.resize_text(-1), "Ctrl+-")
        self._action(view, "&Reset the layout", self.reset_layout)

    def _action(self, menu: QMenu, text: str, act: Callable[[], object], *keys: str) -> None:
        action = QAction(text, self)
        action.setShortcuts([QKeySequence(key) for key in keys])
        action.setShortcutContext(Qt.ShortcutContext.ApplicationShortcut)  # from panels that float as well
        action.triggered.connect(lambda: act())
        menu.addAction(action)
        self.addAction(action)

    def _show_notice(self, level: str, text: str) -> None:
        if level != "info":
            self.notice_band.say(text, level)

    def _tell_failed_panel(self, title: str, why: str) -> None:
        self.desk.notice("warning", f"the panel {title!r} has stopped ({why}); the run is not affected")


def _show_title(dock: QDockWidget, wanted: bool) -> None:
    """A panel among tabs has its name on its tab, by which it can be dragged away, and a strip says itself what it is:
    the height is for what they show."""
    bar = dock.titleBarWidget()
    if wanted and bar is not None:
        dock.setTitleBarWidget(None)  # type: ignore[arg-type]  # its own again
        bar.deleteLater()
    elif not wanted and bar is None:
        dock.setTitleBarWidget(QWidget(dock))
