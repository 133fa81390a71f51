"""What the camera of an optical unit saw: the last frame that was measured, for people to look at."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pib_lab.quantities import Counts


@dataclass(frozen=True, slots=True)
class CameraFrame:
    """One frame and how it is read. Arrays are not to be written to.

    pixels: counts (rows, columns), uint16; saturated_level: counts from which a pixel may be clipped; regions: int32
    (regions, 4), each as top, left, height and width, whose mean counts are the response; bad: int32 (pixels, 2), rows
    and columns of pixels that are left out of every mean.
    """

    pixels: npt.NDArray[np.uint16]
    saturated_level: int
    regions: Counts
    bad: Counts


@dataclass(frozen=True, slots=True)
class FrameTaken:
    """The last frame that `unit` had measured when `step` steps were completed; no pass was spent on it.

    A newer one takes an older one's place wherever events wait, and a run file keeps only some of them.
    """

    step: int
    unit: str
    frame: CameraFrame
