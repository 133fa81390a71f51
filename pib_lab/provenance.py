"""What a run file says about the software that made it."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
from pathlib import Path

from pib_lab._version import __version__


def versions() -> dict[str, str]:
    """Of the project, the interpreter and the libraries that compute."""
    names = ("numpy", "torch", "h5py", "scikit-learn", "pydantic")
    found = {name: importlib.metadata.version(name) for name in names}
    return {"pib-lab": __version__, "python": platform.python_version(), **found}


def git_commit() -> str:
    """Commit of the checkout that runs, with "+" when it has changes; empty outside a checkout."""
    here = Path(__file__).resolve().parent
    try:
        commit = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, timeout=5, check=True
        ).stdout.strip()
        changed = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no"],
            cwd=here, capture_output=True, text=True, timeout=5, check=True,
        ).stdout.strip()  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return ""
    return commit + ("+" if changed else "")
