"""What keeps the desktop quick: long curves kept coarser and drawn at the cost of their new points; STOP that tells."""

# ruff: noqa: I001 - gui_bench sets Qt's platform before Qt is imported

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from gui_bench import LIVE_MS, Bench, bench
from gui.curves import MOST_POINTS, NEWEST, Curve, Thinned, smoothed, thinned

__all__ = ["bench"]


def wave(count: int) -> Curve:
    curve = Curve()
    steps = np.arange(count, dtype=float)
    curve.extend(steps, np.sin(steps / 900) + 0.1 * np.sin(steps * 1.3))
    return curve


def test_long_curve_is_kept_coarser_but_for_its_newest_points() -> None:
    """A curve of half a million points keeps a bounded number, its extremes, its order, and the newest as they came."""
    curve = Curve()
    steps = np.arange(500_000)
    values = np.sin(steps / 9e4)
    values[1234], values[77_777] = 5.0, -5.0
    for step, value in zip(steps.tolist(), values.tolist(), strict=True):
        curve.append(step, value)
    assert MOST_POINTS // 2 < len(curve) <= MOST_POINTS
    assert (np.diff(curve.steps) >= 0).all()
    assert (curve.values.max(), curve.values.min(), curve.last) == (5.0, -5.0, values[-1])
    np.testing.assert_array_equal(curve.values[-NEWEST:], values[-NEWEST:])
    assert abs(curve.value_at(250_000) - values[250_000]) < 1e-3


def test_long_history_is_kept_like_a_long_run() -> None:
    """A curve that is loaded in one go is bounded as one that grew is, and goes on growing."""
    curve = wave(400_000)
    assert len(curve) <= MOST_POINTS
    curve.append(400_000, 7.0)
    assert curve.value_at(400_000) == 7.0
    curve.cut(1000)
    assert curve.steps[-1] <= 1000 < len(curve) * 8


@settings(max_examples=30)
@given(st.lists(st.integers(1, 700), min_size=1, max_size=12), st.integers(1, 40), st.booleans())
def test_growing_curve_is_drawn_as_one_drawn_at_once(parts: list[int], window: int, extreme: bool) -> None:
    """What is drawn of a curve bit by bit is what is drawn of all of it, smoothed, with its extremes."""
    whole, grown, bitwise = wave(sum(parts)), Curve(), Thinned(100, window, extreme=extreme)
    for end in np.cumsum(parts):
        begin = len(grown)
        grown.extend(whole.steps[begin:end], whole.values[begin:end])
        steps, drawn = bitwise.of(grown)
    at_once = Thinned(100, window, extreme=extreme).of(whole)
    np.testing.assert_array_equal(steps, at_once[0])
    np.testing.assert_allclose(drawn, at_once[1], atol=1e-9)
    if extreme:
        smooth = smoothed(whole.values, window)
        np.testing.assert_allclose((drawn.min(), drawn.max()), (smooth.min(), smooth.max()), atol=1e-9)
        assert len(steps) <= 3 * len(thinned(whole.steps, whole.values, 100)[0]) + 100


def test_device_that_is_silent_is_red_while_it_is_waited_for(bench: Bench) -> None:
    """A device that nobody has confirmed off soon after STOP is shown so in red before STOP has come to its end."""
    window = bench.open()
    bench.start(window, "hangs")
    window.run_bar.stop_button.click()
    bench.qtbot.waitUntil(lambda: "NOT confirmed off" in "".join(_lines(window)), timeout=LIVE_MS)
    assert window.desk.stopping
    assert _lines(window) == ["✖ chip: NOT confirmed off: no word yet"]
    bench.qtbot.waitUntil(lambda: not window.desk.stopping, timeout=LIVE_MS)
    assert _lines(window) == ["✔ smu: off"]


def _lines(window: object) -> list[str]:
    return [line.text() for line in window.safe_band.lines.values()]  # type: ignore[attr-defined]
