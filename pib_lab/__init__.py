"""PIB Lab trains deep physical neural networks on real instruments with the physical information bottleneck.

>>> import pib_lab
>>> lab = pib_lab.open("memristor-digits")
>>> run = lab.train()
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pib_lab._version import __version__

if TYPE_CHECKING:
    from pib_lab.lab import Lab, Run, open, reopen

__all__ = ["Lab", "Run", "__version__", "open", "reopen"]


def __getattr__(name: str) -> Any:
    """Import the laboratory when it is first asked for: torch costs two seconds that `pib-lab --help` must not pay."""
    if name in {"Lab", "Run", "open", "reopen"}:
        from pib_lab import lab

        return getattr(lab, name)
    raise AttributeError(f"module 'pib_lab' has no attribute {name!r}")
