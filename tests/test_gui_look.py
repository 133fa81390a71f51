"""What the desktop looks like at any size: shares of the window, titles, size of text."""

from __future__ import annotations

import pytest
from gui_bench import LIVE_MS, Bench, bench
from PySide6.QtWidgets import QApplication

from gui import theme
from gui.app import make_app, make_window
from gui.desk import Desk
from gui.panels import PANELS
from gui.readout import Readout
from gui.window import Window

__all__ = ["bench"]


@pytest.fixture(autouse=True)
def usual_text() -> None:
    """Text of the usual size before each test, and after the last one."""
    theme.apply(make_app(), "dark", 1.0)


def heights(window: Window) -> dict[str, int]:
    """Of the panels in front."""
    QApplication.processEvents()
    return {name: window.docks[name].height() for name in ("health", "entropy", "learning", "maps")}


def test_panels_keep_their_shares_when_the_window_changes(bench: Bench) -> None:
    """A larger window makes all panels but the strip higher; in the former size all stand as before."""
    window = bench.open(PANELS)
    bench.qtbot.waitExposed(window)
    window.resize(1280, 800)
    before = heights(window)
    assert before["entropy"] == before["learning"]
    window.resize(1280, 1440)
    large = heights(window)
    assert large["health"] == before["health"]
    assert large["entropy"] / large["maps"] == pytest.approx(before["entropy"] / before["maps"], rel=0.1)
    window.resize(1280, 800)
    assert heights(window) == before


def test_panels_among_tabs_have_no_second_title(bench: Bench) -> None:
    """The tab names the panel; one that floats has a title to be moved by, and loses it when it is back."""
    window = bench.open(PANELS)
    dock = window.docks["learning"]
    bench.qtbot.waitUntil(lambda: dock.titleBarWidget() is not None)
    dock.setFloating(True)
    bench.qtbot.waitUntil(lambda: dock.titleBarWidget() is None)
    dock.setFloating(False)
    bench.qtbot.waitUntil(lambda: dock.titleBarWidget() is not None)


def test_size_of_text_is_changed_everywhere_and_kept(bench: Bench) -> None:
    """Larger text makes the words of the run bar higher at once, and the next session begins with it."""
    window = bench.open()
    before = window.run_bar.light.sizeHint().height(), window.panels["log"].level_box.sizeHint().height()  # type: ignore[attr-defined]
    window.resize_text(2)
    after = window.run_bar.light.sizeHint().height(), window.panels["log"].level_box.sizeHint().height()  # type: ignore[attr-defined]
    assert after[0] > before[0]
    assert after[1] > before[1]
    window.close()
    theme.apply(make_app(), "dark", 1.0)
    make_window(make_app(), Desk(bench.out), bench.settings()).desk.close()
    assert theme.text_size() == theme.TEXT_SIZES[3]


def test_readouts_have_room_for_larger_text(bench: Bench) -> None:
    """Labels that keep their sizes for speed take others with another size of text."""
    readout = Readout()
    bench.qtbot.addWidget(readout)
    readout.say("at step 1,000", at_once=True)
    before = readout.sizeHint().width()
    theme.apply(make_app(), "dark", 1.5)
    assert readout.sizeHint().width() > before


def test_text_has_a_largest_and_a_smallest_size(bench: Bench) -> None:
    """Beyond the ends of the list nothing changes."""
    window = bench.open()
    window.resize_text(100)
    assert theme.text_size() == theme.TEXT_SIZES[-1]
    window.resize_text(-100)
    assert theme.text_size() == theme.TEXT_SIZES[0]


def test_stop_is_told_in_one_band(bench: Bench) -> None:
    """What STOP could not confirm stands in its own band and in the log, and not in the band of notices as well."""
    window = bench.open()
    window.desk.protocol = "stubborn"
    window.run_bar.stop_button.click()
    bench.qtbot.waitUntil(lambda: window.desk.last_stop is not None and window.desk.last_stop.done, timeout=LIVE_MS)
    assert window.safe_band.isVisible()
    assert not window.notice_band.isVisible()
    assert any(line.text.startswith("STOP: NOT confirmed off") for line in window.desk.model.log)
