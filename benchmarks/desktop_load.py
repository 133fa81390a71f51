"""The desktop under load: how often it is painted, how long its event loop stands still, what memory it takes."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.desktop_run import FRAMES_A_SECOND, MAPS_A_SECOND, STEPS_BEFORE, UNITS

RATE = 1000
DURATION_S = 600
CORES = 2

_SAMPLE_S = 1.0
_SETTLED_S = 60.0


def desktop_load(seeds: Sequence[int], processes: int, n: int = DURATION_S) -> str:
    """The section of the figures: `n` seconds of load under Xvfb."""
    figures = loaded(n, under_xvfb=True)
    steady, paints = figures["steady"], figures["paints_per_s"]
    curves = [rate for part, rate in paints.items() if part.startswith(("entropy", "learning"))]
    slowest = min(curves)
    rows = [
        ("repaints of the window", f"{paints['window']:.0f} a second", "30"),
        ("repaints of the least often painted plot of curves", f"{slowest:.1f} a second", "30"),
        ("pauses of the event loop, 99.9 %", f"{steady['p99.9_ms']:.1f} ms", "50 ms"),
        ("longest pause", f"{steady['longest_ms']:.0f} ms", "200 ms"),
        ("pauses over 50 ms", f"{steady['over_50_ms']} of {steady['pauses']:,}", ""),
        ("longest pause while the run is opened", f"{figures['loading']['longest_ms']:.0f} ms", "200 ms"),
        ("until 100,000 steps were shown", f"{figures['loading']['took_s']:.2f} s", ""),
        ("steps taken in", f"{figures['steps_per_s']:.0f} a second", ""),
        ("memory after the first minute, at the end", f"{figures['early_mb']:.0f} MB, {figures['late_mb']:.0f} MB", ""),
        ("slope of the memory after the first minute", f"{figures['slope_mb']:+.2f} MB a minute", "flat"),
        ("processor time of the desktop", f"{100 * figures['busy']:.0f} % of one core", ""),
    ]
    return (
        "### The desktop under load\n\n"
        f"`python -m benchmarks desktop-load`; {RATE} events a second for {figures['lasted_s']:.0f} s from a process "
        f"of its own by the run's endpoint: steps of {UNITS} units with entropies, {MAPS_A_SECOND} maps of 128x128 "
        f"a second of each unit, {FRAMES_A_SECOND} camera frames of a megapixel a second, messages; {STEPS_BEFORE:,} "
        "steps recorded before, which are loaded on attaching. Window of 1600x1000 with entropy, learning, SLM mask "
        f"and camera frame visible, under Xvfb, on {CORES} cores, which the run and the X server share. Pauses are the "
        "gaps of a timer of the event loop that is due every millisecond.\n\n"
        "| | measured | goal |\n|---|---|---|\n"
        + "".join(f"| {what} | {value} | {goal} |\n" for what, value, goal in rows)
        + f"\nLoad of the machine before: {figures['load_before']:.1f}.\n"
    )


def loaded(duration_s: float, *, under_xvfb: bool) -> dict[str, Any]:
    """The figures of a window under load, with those of its memory, sampled from outside, in MB (of 2^20 bytes)."""
    load_before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name, _run(Path(name) / "load-run") as folder, _display(under_xvfb) as screen:
        command = [sys.executable, "-m", "benchmarks.desktop_window", str(folder), str(duration_s)]
        window = subprocess.Popen(command, env=os.environ | screen, stdout=subprocess.PIPE, text=True)
        samples: list[tuple[float, float]] = []
        used_s, began_s = 0.0, time.monotonic()
        while window.poll() is None:
            time.sleep(_SAMPLE_S)
            samples.append((time.monotonic() - began_s, _resident_mb(window.pid)))
            used_s = _processor_s(window.pid) or used_s
        assert window.stdout is not None
        figures = dict(json.loads(window.stdout.read()))
    lasted_s = samples[-1][0]
    settled = [sample for sample in samples if sample[0] > min(_SETTLED_S, lasted_s / 3) and sample[1]]
    slope = statistics.linear_regression(*zip(*settled, strict=True)).slope
    return figures | {
        "early_mb": settled[0][1],
        "late_mb": settled[-1][1],
        "slope_mb": 60 * slope,
        "busy": used_s / lasted_s,
        "load_before": load_before,
    }


@contextmanager
def _run(folder: Path) -> Iterator[Path]:
    """A run that goes on in `folder` until this is left."""
    command = [sys.executable, "-m", "benchmarks.desktop_run", str(folder), str(RATE)]
    run = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert run.stdin is not None
    assert run.stdout is not None
    try:
        if run.stdout.readline() != "ready\n":
            raise RuntimeError("the run did not begin")
        yield folder
    finally:
        run.stdin.close()
        run.wait()


@contextmanager
def _display(under_xvfb: bool) -> Iterator[dict[str, str]]:
    """What the window's environment needs: an X server of its own, or Qt's platform without a screen."""
    if not under_xvfb:
        yield {"QT_QPA_PLATFORM": "offscreen"}
        return
    reader, writer = os.pipe()
    command = ["Xvfb", "-displayfd", str(writer), "-screen", "0", "1920x1200x24", "-nolisten", "tcp"]
    server = subprocess.Popen(command, pass_fds=[writer], stderr=subprocess.DEVNULL)
    os.close(writer)
    try:
        with os.fdopen(reader) as told:
            yield {"DISPLAY": f":{told.readline().strip()}", "QT_QPA_PLATFORM": "xcb"}
    finally:
        server.terminate()
        server.wait()


def _resident_mb(pid: int) -> float:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):  # it has just ended
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _processor_s(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
