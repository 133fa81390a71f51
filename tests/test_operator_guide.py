"""docs/operator-guide.md against the desktop: what it names is on the screen, what it shows is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
GUIDE = (ROOT / "docs" / "operator-guide.md").read_text(encoding="utf-8")
LARGEST_BYTES = 200_000


def _texts() -> list[str]:
    """All literal texts of the desktop, docstrings left out, without the marks of access keys."""
    found = []
    for path in (ROOT / "gui").rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        said = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in said:
                found.append(node.value.replace("&", ""))
    return found


def test_words_in_bold_are_on_the_screen() -> None:
    """Every button, panel, light and state that the guide writes in bold is a text of the desktop."""
    texts = _texts()
    named = {re.sub(r"\s+", " ", words) for words in re.findall(r"\*\*(.+?)\*\*", GUIDE, re.DOTALL)}
    assert len(named) > 40
    assert not {words for words in named if not any(words in text for text in texts)}


def test_keys_of_the_guide_are_those_of_the_window() -> None:
    """Every key that the guide names is a shortcut of the window."""
    keys = set(re.findall(r"(?:Ctrl\+(?:Shift\+)?(?:Return|[A-Z.+-])|F12)", GUIDE))
    assert len(keys) >= 10
    assert not keys - set(_texts())


def test_pictures_of_the_guide_are_there_and_small() -> None:
    """Each picture that is shown exists and is smaller than 200 kB, and none lies there unused."""
    shown = set(re.findall(r"\(pictures/([\w-]+\.png)\)", GUIDE))
    there = {path.name: path.stat().st_size for path in (ROOT / "docs" / "pictures").iterdir()}
    assert shown == set(there)
    assert all(size < LARGEST_BYTES for size in there.values())
