"""Dark and light, by Qt's own Fusion style and a palette; colours of curves and of states that colour-blind people can
tell apart (Okabe and Ito, 2008)."""

from __future__ import annotations

from dataclasses import dataclass

import pyqtgraph as pg
from PySide6.QtGui import QColor, QFontDatabase, QPalette
from PySide6.QtWidgets import QApplication, QStyleFactory, QWidget

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

TEXT_SIZES = (0.9, 1.0, 1.15, 1.3, 1.5, 1.75, 2.0)
"""Sizes of text that an operator can choose from, as parts of what the system uses."""

_LARGE_SCREEN_PX = 1300
"""Height of a screen, in the system's own scaled pixels, from which text of the usual size is small at arm's length."""

_current = DARK
_text_size = 1.0


def current() -> Theme:
    """The theme in force."""
    return _current


def text_size() -> float:
    """Size of text in force, as a part of what the system uses."""
    return _text_size


def usual_text_size(app: QApplication) -> float:
    """What suits the screen, when nobody has chosen."""
    screen = app.primaryScreen()
    return 1.3 if screen is not None and screen.geometry().height() >= _LARGE_SCREEN_PX else 1.0


def apply(app: QApplication, name: str, text: float | None = None) -> Theme:
    """Put a theme in force; an unknown name means the dark one. text: size of text, as it is when left out."""
    global _current, _text_size
    _current = theme = THEMES.get(name, DARK)
    _text_size = text or _text_size
    font = QFontDatabase.systemFont(QFontDatabase.SystemFont.GeneralFont)
    font.setPointSizeF(font.pointSizeF() * _text_size)
    app.setStyle(QStyleFactory.create("Fusion"))
    app.setFont(font)
    app.setPalette(_palette(theme))
    app.setStyleSheet(_style(theme, font.pointSizeF()))
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


def fit_axes(within: QWidget) -> None:
    """Give the words beside all axes the size of text in force, which they do not follow by themselves."""
    for view in within.findChildren(pg.GraphicsView):
        for item in view.scene().items():
            if isinstance(item, pg.AxisItem):
                item.label.setFont(QApplication.font())
                item.resizeEvent()


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


def _style(theme: Theme, points: float) -> str:
    """The little that a palette cannot say. Sizes of text stand here, so that all of them change with `points`."""
    return f"""
        QLabel#badge {{ font-size: {1.35 * points}pt; font-weight: bold; }}
        QLabel#state {{ font-size: {1.25 * points}pt; font-weight: bold; }}
        QLabel#headline {{ font-size: {1.2 * points}pt; font-weight: bold; }}
        QLabel#device {{ font-size: {1.15 * points}pt; font-weight: bold; }}
        QLabel#sign {{ font-size: {2.2 * points}pt; }}
        QLabel#reading {{ font-weight: bold; }}
        QDockWidget::title {{ background: {theme.button}; padding: 5px 8px; }}
        QTabBar {{ qproperty-drawBase: 0; }}
        QLabel#empty {{ color: {theme.muted}; }}
        QToolTip {{ color: {theme.text}; background: {theme.button}; border: 1px solid {theme.grid}; }}
        QPushButton {{ padding: 5px 12px; }}
        QPushButton#stop {{
            font-size: {2.0 * points}pt; font-weight: bold;
            background: {STOP_RED}; color: white; border: 2px solid #7d0a1d; border-radius: 8px; padding: 4px 18px;
        }}
        QPushButton#stop:hover {{ background: #e0203f; }}
        QPushButton#stop:pressed {{ background: #8f0c22; }}
        QPushButton#stop:focus {{ border: 2px solid white; }}
    """
