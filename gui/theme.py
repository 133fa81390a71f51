"""Dark and light, by Qt's own Fusion style and a palette; colours of curves and of states that colour-blind people can
tell apart (Okabe and Ito, 2008)."""

from __future__ import annotations

from dataclasses import dataclass

import pyqtgraph as pg
from PySide6.QtGui import QColor, QFont, QPalette
from PySide6.QtWidgets import QApplication, QStyleFactory

STOP_RED = "#c8102e"
"""Filled with it are the STOP button and what is NOT confirmed off, and nothing else."""

MOCK_BLUE = "#56b4e9"
REAL_ORANGE = "#e69f00"


@dataclass(frozen=True, slots=True)
class Theme:
    """Colours as "#rrggbb". plot: behind curves; muted: of words that matter less; series: of curves, in order."""

    name: str
    window: str
    base: str
    button: str
    text: str
    muted: str
    plot: str
    grid: str
    accent: str
    good: str
    look: str
    bad: str
    series: tuple[str, ...]


DARK = Theme(
    name="dark",
    window="#22262b",
    base="#181b1f",
    button="#32383f",
    text="#e8eaed",
    muted="#a4abb3",
    plot="#181b1f",
    grid="#4a525b",
    accent="#4c9be8",
    good="#2fbf9b",
    look="#f0c040",
    bad="#ff6b5e",
    series=("#56b4e9", "#e69f00", "#2fbf9b", "#cc79a7", "#f0e442", "#d55e00", "#7aa6ff", "#c9cdd2"),
)

LIGHT = Theme(
    name="light",
    window="#f1f3f5",
    base="#ffffff",
    button="#e3e7eb",
    text="#15181b",
    muted="#565e66",
    plot="#ffffff",
    grid="#c3c9cf",
    accent="#0b63b6",
    good="#007a5a",
    look="#8a5a00",
    bad="#b3261e",
    series=("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#9a8700", "#56b4e9", "#3f3f9f", "#444444"),
)

THEMES = {theme.name: theme for theme in (DARK, LIGHT)}

_current = DARK


def current() -> Theme:
    """The theme in force."""
    return _current


def apply(app: QApplication, name: str) -> Theme:
    """Put a theme in force; an unknown name means the dark one."""
    global _current
    _current = theme = THEMES.get(name, DARK)
    app.setStyle(QStyleFactory.create("Fusion"))
    app.setPalette(_palette(theme))
    app.setStyleSheet(_style(theme))
    pg.setConfigOptions(background=theme.plot, foreground=theme.text, antialias=False)
    return theme


def series(index: int) -> str:
    """Colour of the curve number `index`; from the ninth on they repeat."""
    return _current.series[index % len(_current.series)]


def level_colour(level: str) -> str:
    """Of a light or of a line of the log: "good", "look" or "warning", "bad" or "error", anything else plain."""
    known = {
        "good": _current.good,
        "look": _current.look,
        "warning": _current.look,
        "bad": _current.bad,
        "error": _current.bad,
    }
    return known.get(level, _current.text if level == "info" else _current.muted)


def scaled(font: QFont, factor: float, *, bold: bool = False) -> QFont:
    """A larger or smaller copy of a font."""
    made = QFont(font)
    made.setPointSizeF(font.pointSizeF() * factor)
    made.setBold(bold)
    return made


def _palette(theme: Theme) -> QPalette:
    roles = QPalette.ColorRole
    palette = QPalette()
    for role, colour in {
        roles.Window: theme.window,
        roles.WindowText: theme.text,
        roles.Base: theme.base,
        roles.AlternateBase: theme.window,
        roles.Text: theme.text,
        roles.PlaceholderText: theme.muted,
        roles.Button: theme.button,
        roles.ButtonText: theme.text,
        roles.ToolTipBase: theme.button,
        roles.ToolTipText: theme.text,
        roles.Highlight: theme.accent,
        roles.HighlightedText: "#ffffff",
        roles.Link: theme.accent,
        roles.BrightText: theme.bad,
        roles.Accent: theme.accent,
    }.items():
        palette.setColor(role, QColor(colour))
    for role in (roles.WindowText, roles.Text, roles.ButtonText):
        faint = QColor(theme.muted)
        faint.setAlpha(150)
        palette.setColor(QPalette.ColorGroup.Disabled, role, faint)
    return palette


def _style(theme: Theme) -> str:
    """The little that a palette cannot say."""
    return f"""
        QDockWidget::title {{ background: {theme.button}; padding: 5px 8px; }}
        QTabBar {{ qproperty-drawBase: 0; }}
        QLabel#empty {{ color: {theme.muted}; }}
        QToolTip {{ color: {theme.text}; background: {theme.button}; border: 1px solid {theme.grid}; }}
        QPushButton {{ padding: 5px 12px; }}
        QPushButton#stop {{
            background: {STOP_RED}; color: white; border: 2px solid #7d0a1d; border-radius: 8px; padding: 4px 18px;
        }}
        QPushButton#stop:hover {{ background: #e0203f; }}
        QPushButton#stop:pressed {{ background: #8f0c22; }}
        QPushButton#stop:focus {{ border: 2px solid white; }}
    """
