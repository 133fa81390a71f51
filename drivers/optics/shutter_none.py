"""A rig without a shutter that software could close: somebody must have said what stops the light instead."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pib_lab.errors import ConfigurationError
from pib_lab.experiment import check_options


class NoShutter:
    """`{ driver = "none", beam = "enclosed" }`: the operator states that the beam is enclosed, so that it may stay on.

    Without that statement the light counts as an output that is never confirmed off.
    """

    name = "no shutter"

    def __init__(self, options: Mapping[str, Any], where: str) -> None:
        check_options(dict(options), ("beam",), where)
        if options.get("beam", "open") not in ("open", "enclosed"):
            raise ConfigurationError(
                f'{where}.beam: {options["beam"]!r} is none of open, enclosed; write "enclosed" only where no one can '
                "be reached by the light"
            )
        self.enclosed = options.get("beam") == "enclosed"

    def open(self) -> None:
        """Light is on already."""

    def close_and_read_back(self) -> bool:
        """True only for a beam that was stated to be enclosed."""
        return self.enclosed

    def is_closed(self) -> bool:
        """Light is always on."""
        return False

    def release(self) -> None:
        """Nothing to let go of."""
