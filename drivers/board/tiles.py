"""How a unit that is larger than an array is cut over several: evenly, rows and pairs apart, each tile an array."""

from __future__ import annotations

import math
from dataclasses import dataclass

from drivers.board.protocol import Window


@dataclass(frozen=True, slots=True)
class Tile:
    """One array's share of a unit: which of the unit's rows and pairs, and the window that holds them."""

    rows: slice
    pairs: slice
    window: Window


class Tiling:
    """n_in rows and n_out pairs over arrays of at most `rows` and `pairs`."""

    def __init__(self, n_in: int, n_out: int, rows: int, pairs: int) -> None:
        self._n_in, self._n_out = n_in, n_out
        self.rows = math.ceil(n_in / math.ceil(n_in / rows))
        self.pairs = math.ceil(n_out / math.ceil(n_out / pairs))
        self.down, self.across = math.ceil(n_in / self.rows), math.ceil(n_out / self.pairs)

    @property
    def arrays(self) -> int:
        """How many arrays it takes."""
        return self.down * self.across

    def by_rows(self, first_array: int) -> list[tuple[slice, list[Tile]]]:
        """The tiles that share drive lines, from the top; arrays are numbered along the rows of tiles."""
        made = []
        for down in range(self.down):
            rows = slice(down * self.rows, min((down + 1) * self.rows, self._n_in))
            tiles = []
            for across in range(self.across):
                pairs = slice(across * self.pairs, min((across + 1) * self.pairs, self._n_out))
                array = first_array + down * self.across + across
                tiles.append(Tile(rows, pairs, Window(array, rows.stop - rows.start, pairs.stop - pairs.start)))
            made.append((rows, tiles))
        return made

    def alike(self, first_array: int) -> list[tuple[slice, int, list[Tile]]]:
        """Rows, pairs of each tile, and the tiles that share these rows and have as many pairs: one request's."""
        return [
            (rows, pairs, [tile for tile in tiles if tile.window.pairs == pairs])
            for rows, tiles in self.by_rows(first_array)
            for pairs in sorted({tile.window.pairs for tile in tiles})
        ]

    def tiles(self, first_array: int) -> list[Tile]:
        """All tiles."""
        return [tile for _, tiles in self.by_rows(first_array) for tile in tiles]
