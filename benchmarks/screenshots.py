"""`python -m benchmarks.screenshots [NAME ...]`: the pictures of docs/operator-guide.md, of the real desktop.

The desktop is that of `pib-lab gui`, its runs are processes of `pib-lab`, their devices are mocks and emulated boards.
"""

from __future__ import annotations

import io
import os
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from PIL import Image
from PySide6.QtCore import QBuffer, QIODevice, QSettings
from PySide6.QtGui import QPixmap
from PySide6.QtWidgets import QApplication

from gui.app import make_app, make_window
from gui.desk import Desk
from gui.panel import Panel
from gui.window import Window

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "pictures"

LARGEST_BYTES = 200_000

P = TypeVar("P", bound=Panel)


@dataclass(frozen=True, slots=True)
class Look:
    """A size of the window in pixels, a theme, and the size of text that suits a screen of this size."""

    width: int
    height: int
    theme: str
    text: float = 1.0

    @property
    def name(self) -> str:
        """As part of a file's name."""
        return f"{self.width}x{self.height}-{self.theme}"


DARK, LIGHT = Look(1280, 800, "dark"), Look(1280, 800, "light")
LARGE_DARK, LARGE_LIGHT = Look(2560, 1440, "dark", 1.3), Look(2560, 1440, "light", 1.3)

LOOKS = (DARK, LIGHT, LARGE_DARK, LARGE_LIGHT)


class Operator:
    """Sits at the desktop: waits for what it shows, and takes pictures of it.

    folder: where pictures go; everything: of each scene a picture in every look, and not only in the one that the
    documents show.
    """

    def __init__(self, app: QApplication, folder: Path, everything: bool) -> None:
        self.app = app
        self.folder = folder
        self.everything = everything
        self.window = self._open()

    def _open(self) -> Window:
        settings = QSettings(str(Path("settings.ini").resolve()), QSettings.Format.IniFormat)
        settings.clear()
        settings.setValue("text", DARK.text)
        window = make_window(self.app, Desk(Path("runs")), settings, DARK.theme)
        window.show()
        return window

    def new_window(self) -> None:
        """Leave the desktop and open it anew, as it is at first."""
        self.close()
        self.window = self._open()

    def close(self) -> None:
        """Leave the desktop, and end what it has started."""
        process = self.window.desk.process
        if process is not None and process.poll() is None:
            process.end()
        self.window.desk.close()
        self.window.close()
        self.window.deleteLater()

    def panel(self, kind: type[P]) -> P:
        """The panel of this kind, brought to the front."""
        self.window.show_panel(kind.name)
        found = self.window.panels[kind.name]
        assert isinstance(found, kind)
        return found

    def wait(self, condition: Callable[[], bool], timeout_s: float = 180.0) -> None:
        """Let the desktop go on until `condition` holds. Raises TimeoutError."""
        until_s = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > until_s:
                told = "\n".join(line.text for line in list(self.window.desk.model.log)[-5:])
                raise TimeoutError(f"nothing came of it within {timeout_s:g} s; the log says:\n{told}")
            self.app.processEvents()
            time.sleep(0.005)

    def linger(self, duration_s: float) -> None:
        """Let the desktop go on for so long."""
        until_s = time.monotonic() + duration_s
        self.wait(lambda: time.monotonic() > until_s)

    def take(self, name: str, look: Look) -> None:
        """Take the picture `name` of the window in `look`."""
        for each in LOOKS if self.everything else (look,):
            self._put_on(each)
            self._catch_up()
            write(self.window.grab(), self.folder / (f"{name}-{each.name}.png" if self.everything else f"{name}.png"))
        self._put_on(DARK)

    def _catch_up(self) -> None:
        """On a busy computer panels wait for their turn; a picture shows all of them at the same step."""
        for panel in self.window.panels.values():
            if panel.isVisible() and not panel.failed:
                panel.show_model(self.window.desk.model)
        self.window.run_bar.refresh()
        self.app.processEvents()

    def _put_on(self, look: Look) -> None:
        self.window.resize(look.width, look.height)
        self.window.use_text(look.text)
        self.window.use_theme(look.theme)
        self.linger(1.0)


def write(picture: QPixmap, path: Path) -> None:
    """As a PNG of the 256 colours that suit it best. Raises ValueError when it is larger than LARGEST_BYTES."""
    buffer = QBuffer()
    buffer.open(QIODevice.OpenModeFlag.WriteOnly)
    picture.save(buffer, "PNG")
    image = Image.open(io.BytesIO(buffer.data().data())).convert("RGB")
    path.parent.mkdir(parents=True, exist_ok=True)
    few = image.quantize(256, Image.Quantize.MAXCOVERAGE, kmeans=1, dither=Image.Dither.NONE)
    few.save(path, optimize=True)
    size = path.stat().st_size
    print(f"{path}  {picture.width()}x{picture.height()}  {size / 1000:.0f} kB", flush=True)
    if size > LARGEST_BYTES:
        raise ValueError(f"{path} has {size:,} bytes, more than {LARGEST_BYTES:,}")


def main(
    names: Annotated[list[str] | None, typer.Argument(help="which scenes; all when left out")] = None,
    folder: Annotated[Path, typer.Option(help="where the pictures go")] = FOLDER,
    everything: Annotated[bool, typer.Option(help="each scene small and large, dark and light")] = False,
) -> None:
    """Take the pictures of the operator's guide."""
    from benchmarks.screenshot_scenes import SCENES

    for name in names or []:
        if name not in SCENES:
            raise typer.BadParameter(f"{name}: choose from {', '.join(SCENES)}")
    folder = folder.resolve()
    if sys.platform == "linux" and not os.environ.get("DISPLAY"):
        os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
        print("no screen here: drawn by Qt without one; `make screenshots` uses Xvfb where it is installed")
    app = make_app()
    with tempfile.TemporaryDirectory(prefix="pib-lab-pictures-") as place, chdir(place):
        operator = Operator(app, folder, everything)
        try:
            for name in names or list(SCENES):
                operator.new_window()
                SCENES[name](operator)
        finally:
            operator.close()


if __name__ == "__main__":
    typer.run(main)
