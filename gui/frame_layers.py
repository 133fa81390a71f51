"""From a camera's frame to what is drawn of it, and to the words about one pixel. No Qt."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from data.wording import count
from gui.map_layers import Picture
from pib_lab.frames import CameraFrame


class PixelKind(IntEnum):
    """Of a pixel of a frame. Where several lie under one pixel of the screen, the largest code is shown."""

    SOUND = 0
    LEFT_OUT = 1
    SATURATED = 2


PIXEL_COLOURS = {PixelKind.SATURATED: "#D55E00", PixelKind.LEFT_OUT: "#56B4E9"}
"""Of Okabe and Ito; they differ in lightness as well, and from the gray of all other pixels."""

REGION_COLOUR = "#F0E442"


@dataclass(frozen=True, slots=True)
class FrameCounts:
    """Pixels of a frame by kind, and regions. in_regions: saturated pixels that are part of a response."""

    saturated: int
    in_regions: int
    left_out: int
    regions: int


def pixel_kinds(frame: CameraFrame) -> Picture:
    """PixelKind codes (rows, columns). A pixel that is left out of every mean may be as bright as it likes."""
    kinds = (frame.pixels >= frame.saturated_level).view(np.uint8) * np.uint8(PixelKind.SATURATED)
    kinds[frame.bad[:, 0], frame.bad[:, 1]] = PixelKind.LEFT_OUT
    return kinds


def frame_counts(frame: CameraFrame, kinds: Picture) -> FrameCounts:
    """What the legend says of a frame whose `pixel_kinds` these are."""
    saturated = kinds == PixelKind.SATURATED
    within = sum(int(np.count_nonzero(saturated[box])) for box in _boxes(frame))
    return FrameCounts(int(np.count_nonzero(saturated)), within, len(frame.bad), len(frame.regions))


def averaged(pixels: Picture, block: tuple[int, int]) -> Picture:
    """Mean counts (float32) of blocks of so many rows and columns; a last block that is not whole is averaged alone."""
    if block == (1, 1):
        return np.asarray(pixels, np.float32)
    tall, wide = block
    padded = np.pad(pixels, [(0, -side % step) for side, step in zip(pixels.shape, block, strict=True)])
    lines = np.zeros((padded.shape[0] // tall, padded.shape[1]), np.uint32)
    for place in range(tall):
        lines += padded[place::tall]
    sums = np.zeros((lines.shape[0], lines.shape[1] // wide), np.uint32)
    for place in range(wide):
        sums += lines[:, place::wide]
    sizes = (np.minimum(step, side - np.arange(0, side, step)) for side, step in zip(pixels.shape, block, strict=True))
    return np.asarray(sums / np.multiply.outer(*sizes), np.float32)


def outlines(frame: CameraFrame) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Columns and rows of the corners of all regions, each closed, with NaN between two."""
    top, left, tall, wide = (frame.regions[:, place].astype(np.float64) for place in range(4))
    gap = np.full(len(top), np.nan)
    across = np.stack([left, left + wide, left + wide, left, left, gap], axis=1)
    down = np.stack([top, top, top + tall, top + tall, top, gap], axis=1)
    return across.ravel(), down.ravel()


def pixel_text(frame: CameraFrame, row: int, column: int) -> str:
    """What is known of one pixel: place, counts, whether it counts, and the region that it is part of."""
    text = f"row {row}, column {column}:  {count(int(frame.pixels[row, column]))} counts"
    bad = bool(((frame.bad[:, 0] == row) & (frame.bad[:, 1] == column)).any())
    if bad:
        text += ", left out of every mean"
    elif frame.pixels[row, column] >= frame.saturated_level:
        text += ", saturated"
    for number, box in enumerate(_boxes(frame)):
        if box[0].start <= row < box[0].stop and box[1].start <= column < box[1].stop:
            text += f"   |   region {number}: mean of {float(frame.pixels[box].mean()):.1f} counts"
    return text


def _boxes(frame: CameraFrame) -> list[tuple[slice, slice]]:
    return [(slice(top, top + tall), slice(left, left + wide)) for top, left, tall, wide in frame.regions.tolist()]
