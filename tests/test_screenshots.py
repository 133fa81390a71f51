"""The pictures of the operator's guide: taken of the real window, in the look that is asked for."""

from __future__ import annotations

import re
from pathlib import Path

import gui_bench  # noqa: F401 - Qt without a screen
import pytest
from PIL import Image

from benchmarks.screenshot_scenes import begin
from benchmarks.screenshots import FOLDER, LIGHT, LOOKS, Operator
from gui import theme
from gui.app import make_app


def test_a_scene_is_taken_in_every_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The desktop as it is opened gives a picture of each size and theme, and is left in the first look again."""
    monkeypatch.chdir(tmp_path)
    operator = Operator(make_app(), tmp_path, everything=True)
    begin(operator)
    operator.close()
    sizes = {path.name: Image.open(path).size for path in tmp_path.glob("*.png")}
    assert sizes == {f"start-{look.name}.png": (look.width, look.height) for look in LOOKS}
    light = Image.open(tmp_path / f"start-{LIGHT.name}.png").convert("RGB")
    corner = light.getpixel((3, LIGHT.height - 3))
    assert all(abs(a - b) < 16 for a, b in zip(corner, bytes.fromhex(theme.LIGHT.window[1:]), strict=True))  # type: ignore[arg-type]
    assert theme.current().name == "dark"


def test_every_picture_of_the_guide_is_taken_by_a_scene() -> None:
    """The scenes' source names just the pictures that the guide shows."""
    source = Path(begin.__code__.co_filename).read_text(encoding="utf-8")
    taken = set(re.findall(r'at\.take\("([\w-]+)"', source))
    guide = (FOLDER.parent / "operator-guide.md").read_text(encoding="utf-8")
    assert taken == set(re.findall(r"\(pictures/([\w-]+)\.png\)", guide))
