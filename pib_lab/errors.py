"""The few kinds of error a user meets. Every message says what is wrong and what to do about it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class PibError(Exception):
    """Base of all errors raised on purpose. `exit_code` is what the command line returns for it."""

    exit_code = 1


class ConfigurationError(PibError):
    """The protocol, the data or the command is wrong: mend the input and try again."""

    exit_code = 2


class RunFileError(ConfigurationError):
    """A run file or folder is missing, truncated, locked, of an unknown schema version, or not writable."""


class DeviceError(PibError):
    """An instrument did not do what it was asked, or was asked something it cannot do in its present state."""

    exit_code = 3


class LinkError(DeviceError):
    """The link to an instrument, or to a running experiment, is closed, dead or silent."""


class LostLinkError(LinkError):
    """A device that had answered answers no more while it is opened: what it does is not known."""


class LimitError(PibError):
    """A value beyond a limit was refused before anything was sent."""

    exit_code = 4


class ResponseError(DeviceError):
    """A measured response cannot be learned from (not a number, saturated, wrong shape); the run stops safely."""


class Cancelled(PibError):
    """The operator interrupted a measurement; outputs have been made safe."""

    exit_code = 130


def nearest(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the known name most like `word`, or nothing."""
    found = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"; did you mean {found[0]!r}?" if found else ""
