"""The panel that is a window: what it shows, what it refuses, and what happens when its process dies."""

from __future__ import annotations

import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from drivers.emulators.optics_rig import monitor_file
from drivers.optics.parts import make_slm
from drivers.optics.rig_options import Driven
from drivers.optics.screen_messages import receive, send
from drivers.optics.slm import SpatialLightModulator, dump_pattern
from drivers.optics.slm_screen import ScreenSlm, make_screen_slm
from pib_lab.clocks import RealClock, VirtualClock
from pib_lab.device import Clock, DeviceContext
from pib_lab.errors import ConfigurationError, DeviceError, LimitError, LinkError

pytest.importorskip("PySide6.QtGui", reason="needs the extra gui", exc_type=ImportError)

PANEL = (24, 40)


def _slm(
    platform: str | None, monitor: str | int = "panel", shape: tuple[int, int] = PANEL, clock: Clock | None = None
) -> ScreenSlm:
    options = {"monitor": monitor, "shape": shape, "settle_s": 0.5, "paint_s": 2.0, "platform": platform}
    return make_screen_slm(options, DeviceContext("rig", 1, clock or RealClock()), "rig.slm")


def _gray(seed: int, shape: tuple[int, int] = PANEL) -> npt.NDArray[np.uint16]:
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint16)


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Three invisible monitors: the operator's, the panel, and a scaled one."""
    folder = tmp_path_factory.mktemp("qt")
    return monitor_file(folder, ("desk", 480, 640, 1.0), ("panel", *PANEL, 1.0), ("scaled", *PANEL, 2.0))


@pytest.fixture(scope="module")
def slm(platform: str) -> Iterator[ScreenSlm]:
    """An open panel."""
    slm = _slm(platform)
    slm.open()
    yield slm
    slm.close()


def test_it_is_a_panel_and_a_part_of_a_rig() -> None:
    """A protocol's `slm.driver = "screen"` makes it, and nothing is started yet."""
    options = {"driver": "screen", "monitor": 1, "shape": [24, 40], "settle_s": 0.1}
    made = make_slm(Driven.model_validate(options), DeviceContext("rig", 1, RealClock()), "rig.slm")
    assert isinstance(made, ScreenSlm)
    assert isinstance(made, SpatialLightModulator)
    assert made.pid is None


def test_one_pixel_of_a_pattern_is_one_of_the_monitor(slm: ScreenSlm) -> None:
    """All levels come back from the window as they were sent, at once after `show`."""
    for seed in range(3):
        gray = _gray(seed)
        slm.show(gray)
        np.testing.assert_array_equal(slm.shown(), gray)


def test_it_tells_the_time_before_the_pattern_was_handed_over(slm: ScreenSlm) -> None:
    """On the host's clock."""
    before_s = time.monotonic()
    shown_s = slm.show(_gray(1))
    assert before_s <= shown_s <= time.monotonic()
    assert slm.shown_s == shown_s


def test_parking_shows_the_dump_pattern(slm: ScreenSlm) -> None:
    """Stripes of two levels."""
    slm.park()
    np.testing.assert_array_equal(slm.shown(), dump_pattern(PANEL, 0, 128))


@pytest.mark.parametrize("wrong", [np.full(PANEL, 256), np.zeros((40, 24), int), np.zeros((1, *PANEL), int)])
def test_a_pattern_that_does_not_fit_is_refused(slm: ScreenSlm, wrong: npt.NDArray[np.int64]) -> None:
    """And the window keeps what it holds."""
    slm.show(_gray(7))
    with pytest.raises(LimitError):
        slm.show(wrong)  # type: ignore[arg-type]
    np.testing.assert_array_equal(slm.shown(), _gray(7))


@pytest.mark.parametrize(
    ("monitor", "shape", "told"),
    [
        ("panel", (48, 80), "monitor 'panel' has 24 x 40 pixels, the panel 48 x 80.*'desk', 480 x 640"),
        ("other", PANEL, "no monitor 'other'.*'panel', 24 x 40"),
        ("scaled", PANEL, "is scaled; set its scale to 100 %"),
    ],
)
def test_a_monitor_that_is_not_the_panel_is_refused(
    platform: str, monitor: str, shape: tuple[int, int], told: str
) -> None:
    """Before a window is up, with a list of the monitors."""
    slm = _slm(platform, monitor, shape)
    with pytest.raises(DeviceError, match=told):
        slm.open()
    assert slm.pid is None


def test_a_process_that_dies_is_a_dead_link_and_can_be_opened_anew(platform: str) -> None:
    """The next pattern says so; nothing is shown in silence; and the next opening works."""
    slm = _slm(platform, "panel")
    slm.open()
    pid = slm.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(LinkError, match=r"has died \(exit code -9\)"):
        slm.show(_gray(1))
    with pytest.raises(DeviceError, match="not open"):
        slm.show(_gray(1))
    slm.open()
    slm.show(_gray(2))
    np.testing.assert_array_equal(slm.shown(), _gray(2))
    slm.close()
    slm.close()


def test_what_qt_says_before_it_dies_is_told() -> None:
    """A platform that does not exist ends the process at once."""
    with pytest.raises(LinkError, match="no-such-platform"):
        _slm("no-such-platform").open()


def test_closing_ends_the_process(platform: str) -> None:
    """No window is left behind."""
    slm = _slm(platform)
    slm.open()
    pid = slm.pid
    assert pid is not None
    slm.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


_OWNER = """
import os, sys
from drivers.optics.slm_screen import make_screen_slm
from pib_lab.clocks import RealClock
from pib_lab.device import DeviceContext

options = {"monitor": "panel", "shape": (24, 40), "settle_s": 0.1, "platform": sys.argv[1]}
slm = make_screen_slm(options, DeviceContext("rig", 1, RealClock()), "rig.slm")
slm.open()
print(slm.pid, flush=True)
sys.stdin.readline()
os.kill(os.getpid(), 9)
"""


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs Linux, which tells when another's child has ended")
def test_no_window_outlives_its_owner(platform: str) -> None:
    """A run that is killed takes its window with it."""
    command = [sys.executable, "-c", _OWNER, platform]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdin is not None
        assert owner.stdout is not None
        window = os.pidfd_open(int(owner.stdout.readline()))
        owner.stdin.write("\n")
        owner.stdin.flush()
        assert select.select([window], [], [], 10.0)[0]
        os.close(window)


class _SlowClock(VirtualClock):
    """Each look at it takes a second."""

    def now_s(self) -> float:
        self.time_s += 1.0
        return self.time_s


def test_a_slow_painting_is_waited_out(platform: str) -> None:
    """One that took longer than `paint_s` settles before `show` returns, and is counted."""
    clock = _SlowClock()
    slm = make_screen_slm(
        {"monitor": "panel", "shape": PANEL, "settle_s": 0.25, "paint_s": 0.5, "platform": platform},
        DeviceContext("rig", 1, clock),
        "rig.slm",
    )
    slm.open()
    shown_s = slm.show(_gray(1))
    slm.close()
    assert slm.late == 2  # the dump pattern was the first
    assert clock.time_s == shown_s + 1.0 + 0.25


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"monitor": 1, "shape": [1, 2]}, "rig.slm.settle_s"),
        ({"monitor": 1, "shape": [0, 2], "settle_s": 1.0}, "rig.slm.shape.0"),
        ({"monitor": 1, "shape": [1, 2], "settle_s": 1.0, "dump": [0, 256]}, "rig.slm.dump.1"),
        ({"monitor": 1, "shape": [1, 2], "settle_s": 1.0, "colour": 1}, "rig.slm.colour"),
    ],
)
def test_wrong_options_are_named(options: dict[str, object], told: str) -> None:
    """With the path of the key."""
    with pytest.raises(ConfigurationError, match=told):
        make_screen_slm(options, DeviceContext("rig", 1, RealClock()), "rig.slm")


def test_messages_arrive_whole_or_not_at_all() -> None:
    """Whatever the pieces in which they come; a closed connection is an error."""
    one, other = socket.socketpair()
    body = bytes(range(256)) * 3000
    with one, other:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2**21)
        send(one, b"F", body)
        assert receive(other) == (b"F", body)
        one.sendall(b"F\0\0")
        one.shutdown(socket.SHUT_WR)
        with pytest.raises(ConnectionError):
            receive(other)


@pytest.mark.skipif(shutil.which("Xvfb") is None, reason="needs Xvfb, and the xcb libraries that Qt loads")
def test_it_covers_a_monitor_of_a_real_window_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """X11, without a window manager: the whole screen holds the pattern."""
    reading, writing = os.pipe()
    command = ["Xvfb", "-displayfd", str(writing), "-screen", "0", "640x480x24", "-nolisten", "tcp"]
    server = subprocess.Popen(command, pass_fds=(writing,), stderr=subprocess.DEVNULL)
    try:
        os.close(writing)
        with os.fdopen(reading) as numbers:
            monkeypatch.setenv("DISPLAY", f":{numbers.readline().strip()}")
        slm = _slm("xcb", 0, (480, 640))
        slm.open()
        for seed in range(3):
            slm.show(_gray(seed, (480, 640)))
            np.testing.assert_array_equal(slm.shown(), _gray(seed, (480, 640)))
        slm.close()
    finally:
        server.terminate()
        server.wait()
