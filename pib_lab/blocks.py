"""Parameters in blocks: neighbours on the first two axes that are moved together."""

from __future__ import annotations

import numpy as np

from pib_lab.quantities import Counts


def blocks_of(shape: tuple[int, ...], size: int) -> Counts:
    """Number of the block that each parameter of `shape` is in, counted from 0 in rows.

    Blocks are `size` x `size` on the first two axes (the last ones may be smaller); along further axes each parameter
    has a block of its own.
    """
    lengths = [-(-length // size) if axis < 2 else length for axis, length in enumerate(shape)]
    places = np.indices(shape)
    places[:2] //= size
    numbers: Counts = np.ravel_multi_index(tuple(places), tuple(lengths)).astype(np.int32)
    return numbers
