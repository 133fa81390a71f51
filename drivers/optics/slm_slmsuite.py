"""Panels that the package slmsuite drives (its classes wrap the makers' own libraries).

Nothing of this has been proved beyond its refusals: slmsuite is not among the tests' packages, and no panel was ever
connected. Written after slmsuite 0.5: attributes `shape`, `bitresolution`, `display`; `set_phase` shows whole numbers
of the display's type as they are; `close`. Every pattern is compared with `display` after it was set, so that another
treatment of it is an error and never a wrong pattern. slmsuite shows a flat panel, the brightest state, while it opens:
a rig closes its shutter first. Panels that slmsuite drives as a monitor are the driver `screen`.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from drivers.optics.slm import Gray, check_gray, dump_pattern
from pib_lab.device import DeviceContext
from pib_lab.errors import ConfigurationError, DeviceError, LimitError, nearest

VENDORS = {
    "hamamatsu": "hamamatsu:Hamamatsu",
    "holoeye": "holoeye:Holoeye",
    "meadowlark": "meadowlark:Meadowlark",
    "santec": "santec:Santec",
}
"""Module and class in `slmsuite.hardware.slms`, by the name that a protocol uses."""


class SlmsuiteOptions(BaseModel):
    """vendor: one of VENDORS. shape, levels: the panel's; slmsuite must agree. arguments: of its constructor.

    settle_s: from handing a pattern over until every phase has settled, as measured by light. dump: gray levels half a
    wave apart.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    vendor: str
    shape: tuple[Annotated[int, Field(ge=1, le=8192)], Annotated[int, Field(ge=1, le=8192)]]
    levels: Annotated[int, Field(ge=2, le=65536)] = 256
    settle_s: Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
    dump: tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=0)]] = (0, 128)
    arguments: dict[str, Any] = {}


def make_slmsuite(options: Mapping[str, Any], context: DeviceContext, where: str) -> SlmsuiteSlm:
    """Connects to nothing. Raises ConfigurationError with the key that is missing, unknown or wrong."""
    try:
        read = SlmsuiteOptions.model_validate(dict(options))
    except ValidationError as error:
        lines = [f"{where}.{'.'.join(map(str, detail['loc']))}: {detail['msg']}" for detail in error.errors()]
        raise ConfigurationError("\n".join(lines)) from None
    if read.vendor not in VENDORS:
        hint = f"{nearest(read.vendor, VENDORS)} (known: {', '.join(VENDORS)})"
        raise ConfigurationError(f"{where}.vendor: {read.vendor!r} does not exist{hint}")
    if max(read.dump) >= read.levels:
        raise ConfigurationError(f"{where}.dump: {read.dump} exceeds the panel's levels 0 to {read.levels - 1}")
    return SlmsuiteSlm(read, context)


class SlmsuiteSlm:
    """A `SpatialLightModulator` around one of slmsuite's."""

    def __init__(self, options: SlmsuiteOptions, context: DeviceContext) -> None:
        self._options, self._clock = options, context.clock
        self.name = f"{context.name}.slm {options.vendor} (slmsuite)"
        self.shape, self.levels, self.settle_s = options.shape, options.levels, options.settle_s
        self._slm: Any = None

    def open(self) -> None:
        """Connect, and show the dump pattern. Raises DeviceError when slmsuite is missing, or for what it raises."""
        if self._slm is not None:
            return
        module, _, kind = VENDORS[self._options.vendor].partition(":")
        try:
            make = getattr(import_module(f"slmsuite.hardware.slms.{module}"), kind)
        except ImportError as problem:
            raise DeviceError(
                f"{self.name}: {problem}; run: pip install slmsuite, and install the maker's library"
            ) from None
        try:
            self._slm = make(**self._options.arguments)
        except Exception as problem:  # the makers' libraries raise whatever they like
            raise DeviceError(f"{self.name}: cannot be opened: {type(problem).__name__}: {problem}") from problem
        try:
            self._require_same_panel()
            self.park()
        except BaseException:
            self.close()
            raise

    def show(self, gray: Gray) -> float:
        """Hand over a pattern; returns the time before. Raises LimitError, DeviceError for what slmsuite raises."""
        if self._slm is None:
            raise DeviceError(f"{self.name} is not open; open it before showing a pattern")
        gray = np.asarray(gray)
        if gray.ndim != 2:
            raise LimitError(f"{self.name}: show one pattern (rows, columns) at a time, not {gray.shape}")
        check_gray(gray, self.shape, self.levels, self.name)
        shown_s = self._clock.now_s()
        try:
            self._slm.set_phase(gray.astype(self._slm.display.dtype), phase_correct=False, settle=False)
        except Exception as problem:
            raise DeviceError(f"{self.name}: a pattern failed: {type(problem).__name__}: {problem}") from problem
        if not np.array_equal(self._slm.display, gray):
            raise DeviceError(
                f"{self.name}: slmsuite changed the pattern; this version of it does not take gray levels"
            )
        return shown_s

    def park(self) -> float:
        """Show the dump pattern."""
        return self.show(dump_pattern(self.shape, *self._options.dump))

    def close(self) -> None:
        """Let go of the panel. Idempotent. Raises DeviceError for what slmsuite raises."""
        slm, self._slm = self._slm, None
        if slm is None:
            return
        try:
            slm.close()
        except Exception as problem:
            raise DeviceError(f"{self.name}: closing failed: {type(problem).__name__}: {problem}") from problem

    def _require_same_panel(self) -> None:
        found = (tuple(self._slm.shape), int(self._slm.bitresolution))
        if found != (self.shape, self.levels):
            raise DeviceError(
                f"{self.name}: slmsuite says {found[0]} pixels of {found[1]} levels, the protocol {self.shape} of "
                f"{self.levels}: mend shape and levels"
            )
