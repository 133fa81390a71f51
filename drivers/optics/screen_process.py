"""The window of a `ScreenSlm`: `python -m drivers.optics.screen_process PORT MONITOR ROWS COLUMNS`.

It is a process of its own, since Qt wants the main thread of one. The owner listens on PORT of the loopback interface;
the token on stdin proves to it who calls. Messages: drivers/optics/screen_messages.py. The process ends when the
connection does, so that no window outlives its owner.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time

os.environ["QT_ENABLE_HIGHDPI_SCALING"] = "0"  # before Qt is imported: one pixel of a pattern is one of the screen

from PySide6.QtCore import QEvent, QPoint, QRect, QSocketNotifier, Qt
from PySide6.QtGui import QBackingStore, QGuiApplication, QImage, QPainter, QRegion, QScreen, QWindow

from drivers.optics.screen_messages import receive, send

_STAND_S = 5.0
"""How long the window system is given to put the window over the whole monitor."""


class PanelWindow(QWindow):
    """Frameless, over a whole monitor, without a cursor. It is painted at once when told, not by a schedule."""

    def __init__(self, screen: QScreen) -> None:
        super().__init__(screen)
        self.setFlags(Qt.WindowType.FramelessWindowHint | Qt.WindowType.WindowStaysOnTopHint)
        self.setCursor(Qt.CursorShape.BlankCursor)
        self._store = QBackingStore(self)
        self._area = QRect(screen.geometry())
        self._image = QImage(self._area.size(), QImage.Format.Format_Grayscale8)
        self._image.fill(0)
        self.setGeometry(self._area)

    def paint(self, gray: bytes) -> None:
        """Take rows x columns gray bytes; returns when the window's buffer was handed to the platform."""
        columns, rows = self._area.width(), self._area.height()
        self._image = QImage(gray, columns, rows, columns, QImage.Format.Format_Grayscale8).copy()
        self._flush()

    def held(self) -> bytes:
        """rows x columns x 3 bytes: red, green, blue of the window as the platform has it."""
        image = self.screen().grabWindow(self.winId()).toImage().convertToFormat(QImage.Format.Format_RGB888)
        lines, pitch = bytes(image.constBits()), image.bytesPerLine()
        return b"".join(lines[row * pitch : row * pitch + 3 * image.width()] for row in range(image.height()))

    def stands(self) -> bool:
        """Whether it covers its monitor, which is still where it was, at its resolution."""
        return self.isExposed() and self.geometry() == self._area == self.screen().geometry()

    def event(self, event: QEvent) -> bool:
        """Paint anew what the window system has forgotten."""
        done = super().event(event)
        if event.type() in (QEvent.Type.Expose, QEvent.Type.Paint) and self.isExposed():
            self._flush()
        return done

    def _flush(self) -> None:
        region = QRegion(QRect(QPoint(0, 0), self._area.size()))
        self._store.resize(self._area.size())
        self._store.beginPaint(region)
        painter = QPainter(self._store.paintDevice())
        painter.setCompositionMode(QPainter.CompositionMode.CompositionMode_Source)
        painter.drawImage(0, 0, self._image)
        painter.end()
        self._store.endPaint()
        self._store.flush(region)


def choose(screens: list[QScreen], wanted: str, shape: tuple[int, int]) -> QScreen:
    """The monitor with that name or number. Raises ValueError, with a list of all, when it is not there, is scaled, or
    when its resolution is not `shape` (rows, columns)."""
    told = "; ".join(f"{place}: {screen.name()!r}, {_size(screen)}" for place, screen in enumerate(screens))
    listed = f"the monitors (rows x columns): {told}"
    named = [screen for screen in screens if screen.name() == wanted]
    numbered = screens[int(wanted) : int(wanted) + 1] if wanted.isdecimal() else []
    found = [*named, *numbered][:1]
    if not found:
        raise ValueError(f"there is no monitor {wanted!r}; {listed}")
    screen = found[0]
    size = screen.geometry().size()
    if screen.devicePixelRatio() != 1.0:
        raise ValueError(f"monitor {screen.name()!r} is scaled; set its scale to 100 % in the system; {listed}")
    if (size.height(), size.width()) != shape:
        raise ValueError(
            f"monitor {screen.name()!r} has {_size(screen)} pixels, the panel {shape[0]} x {shape[1]}: name the "
            f"panel's monitor, at the panel's own resolution; {listed}"
        )
    return screen


def _size(screen: QScreen) -> str:
    size, ratio = screen.geometry().size(), screen.devicePixelRatio()
    return f"{size.height()} x {size.width()}" + (f" scaled by {ratio:g}" if ratio != 1.0 else "")


def _wait_until_it_stands(app: QGuiApplication, window: PanelWindow) -> bool:
    until_s = time.monotonic() + _STAND_S
    while not window.stands() and time.monotonic() < until_s:
        app.processEvents()
        time.sleep(0.005)
    return window.stands()


def _answer(link: socket.socket, window: PanelWindow) -> bool:
    """Do what one message asks for; False when the owner has gone."""
    try:
        letter, body = receive(link)
        if not window.stands():
            send(link, b"E", b"the window no longer covers its monitor: look at its cable and at other windows")
        elif letter == b"F":
            window.paint(body)
            send(link, b"P")
        else:
            send(link, b"G", window.held())
    except OSError:
        return False
    return True


def main(port: int, wanted: str, shape: tuple[int, int]) -> int:
    """Call the owner, put up the window, and serve until the owner has gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the owner's: it parks the panel first
    link = socket.create_connection(("127.0.0.1", port))
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    link.sendall(sys.stdin.buffer.readline().strip())
    app = QGuiApplication(["screen"])
    try:
        screen = choose(app.screens(), wanted, shape)
    except ValueError as problem:
        send(link, b"E", str(problem).encode())
        return 1
    window = PanelWindow(screen)
    window.showFullScreen()
    if not _wait_until_it_stands(app, window):
        send(link, b"E", b"the window cannot cover the whole monitor: take panels and docks off it")
        return 1
    send(link, b"R")
    notifier = QSocketNotifier(link.fileno(), QSocketNotifier.Type.Read)

    def hear() -> None:
        if not _answer(link, window):
            notifier.setEnabled(False)
            app.exit(0)

    notifier.activated.connect(hear)
    return app.exec()


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2], (int(sys.argv[3]), int(sys.argv[4]))))
