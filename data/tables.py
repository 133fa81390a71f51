"""Things in a run file that grow: tables of rows, stacks of arrays of one shape, flat runs of values.

While a run is going on, tables are chunked but not compressed: in SWMR mode HDF5 cannot use the space of a rewritten
chunk again, so a compressed table flushed every batch grows to a hundred times its size. Stacks are compressed at once
(each entry is a chunk of its own, written once); tables are compressed when the file is copied at the end of the run.
"""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from data.layout import Columns, row_type
from data.rows import Row, fit
from pib_lab.errors import RunFileError

_CHUNK_BYTES = 16_384
_BUFFERED_ROWS = 1024
_COMPRESSION: dict[str, Any] = {"compression": "gzip", "compression_opts": 1, "shuffle": True}


class Table:
    """An extendable dataset of rows. Rows are kept until `write`, so that a batch costs one write a table."""

    def __init__(self, dataset: Any) -> None:
        self._dataset = dataset
        self._dtype = dataset.dtype
        self._file_type = dataset.id.get_type()  # asking h5py for it at every write costs more than the write
        self._texts = [(i, self._dtype[i].itemsize) for i in range(len(self._dtype)) if self._dtype[i].kind == "S"]
        self._pending: list[Row] = []
        self._written = len(dataset)

    @classmethod
    def create(cls, file: Any, path: str, columns: Columns, *, compress: bool) -> Table:
        """Make the empty table; units of columns become attributes of the same name."""
        dtype = row_type(columns)
        dataset = file.create_dataset(
            path,
            shape=(0,),
            maxshape=(None,),
            dtype=dtype,
            chunks=(max(1, _CHUNK_BYTES // dtype.itemsize),),
            **(_COMPRESSION if compress else {}),
        )
        for column in columns:
            if column.unit:
                dataset.attrs[column.name] = column.unit
        return cls(dataset)

    def __len__(self) -> int:
        return self._written + len(self._pending)

    def append(self, row: Row) -> int:
        """Add a row; returns its index."""
        if self._texts:
            values = list(row)
            for place, size in self._texts:
                values[place] = fit(values[place], size)
            row = tuple(values)
        self._pending.append(row)
        if len(self._pending) >= _BUFFERED_ROWS:
            self.write()
        return len(self) - 1

    def write(self) -> None:
        """Hand pending rows to HDF5."""
        if not self._pending:
            return
        rows = np.array(self._pending, dtype=self._dtype)
        end = self._written + len(rows)
        self._dataset.id.set_extent((end,))
        target = self._dataset.id.get_space()
        target.select_hyperslab((self._written,), (len(rows),))
        self._dataset.id.write(h5py.h5s.create_simple((len(rows),)), target, rows, self._file_type)
        self._written = end
        self._pending.clear()


class Stack:
    """An extendable dataset of arrays of one shape, (n, *shape), one compressed chunk each."""

    def __init__(self, dataset: Any) -> None:
        self._dataset = dataset

    @classmethod
    def create(cls, file: Any, path: str, shape: tuple[int, ...], dtype: str, unit: str) -> Stack:
        """Make the empty stack; `unit` becomes an attribute."""
        dataset = file.create_dataset(
            path, shape=(0, *shape), maxshape=(None, *shape), dtype=dtype, chunks=(1, *shape), **_COMPRESSION
        )
        dataset.attrs["unit"] = unit
        return cls(dataset)

    def put(self, index: int, values: npt.NDArray[Any]) -> None:
        """Make `values` the last array, entry `index`; RunFileError when its shape is not that of the stack."""
        if values.shape != self._dataset.shape[1:]:
            raise RunFileError(
                f"{self._dataset.name}: an array of shape {values.shape} does not fit {self._dataset.shape[1:]}, the "
                f"shape that the unit declared when the run started"
            )
        self._dataset.resize(index + 1, axis=0)
        self._dataset[index] = values


class Flat:
    """An extendable dataset (n,) that holds arrays of any shape one after another; tables say where each begins."""

    def __init__(self, dataset: Any) -> None:
        self._dataset = dataset

    @classmethod
    def create(cls, file: Any, path: str, unit: str, dtype: str = "f4") -> Flat:
        """Make the empty dataset; `unit` becomes an attribute."""
        dataset = file.create_dataset(path, shape=(0,), maxshape=(None,), dtype=dtype, chunks=(65_536,), **_COMPRESSION)
        dataset.attrs["unit"] = unit
        return cls(dataset)

    def append(self, values: npt.NDArray[Any], *, own_chunks: bool = False) -> int:
        """Add the values of one array in C order; returns where they begin.

        own_chunks: in chunks that nothing else is in, so that none is ever written twice; what is left free of the last
        one is zeros, which take no room once compressed.
        """
        start, chunk = len(self._dataset), self._dataset.chunks[0]
        if own_chunks:
            start += -start % chunk
        self._dataset.resize((start + values.size,))
        self._dataset[start:] = values.ravel()
        return start
