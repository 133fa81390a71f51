"""The experiments that are shipped, as TOML files beside this one, and how a protocol is found by name or path."""

from __future__ import annotations

import functools
import tomllib
from pathlib import Path

from pib_lab.errors import ConfigurationError, nearest

_FOLDER = Path(__file__).parent


def available() -> dict[str, str]:
    """Names of the shipped protocols, sorted, each with its title."""
    return {path.stem: _title(path) for path in sorted(_FOLDER.glob("*.toml"))}


def read(name_or_path: str) -> tuple[str, str]:
    """Name and TOML text of a shipped protocol, or of the file at a path (its name is the file's, without suffix).

    A shipped name wins over a file of the same name in the working folder: write `./NAME.toml` to mean the file.
    Raises ConfigurationError, with the nearest shipped name, when there is neither.
    """
    shipped = available()
    if name_or_path in shipped:
        return name_or_path, (_FOLDER / f"{name_or_path}.toml").read_text(encoding="utf-8")
    path = Path(name_or_path)
    if not path.is_file():
        raise ConfigurationError(
            f"protocol {name_or_path!r} is neither a shipped name nor a TOML file"
            f"{nearest(path.stem, shipped)} (shipped: {', '.join(shipped)})"
        )
    try:
        return path.stem, path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"protocol {path}: cannot be read as text ({error})") from error


@functools.cache
def _title(path: Path) -> str:
    return str(tomllib.loads(path.read_text(encoding="utf-8")).get("title", ""))
