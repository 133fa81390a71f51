"""Exact currents of a crossbar with line resistance, by sparse nodal analysis: the judge of the fast model."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.sparse.linalg import splu

Array64 = npt.NDArray[np.float64]


def column_currents(conductance_s: Array64, drive_v: Array64, segment_ohm: float) -> Array64:
    """Currents (batch, columns) into virtual ground at the bottom of each column, rows driven from the left.

    conductance_s: (rows, columns); drive_v: (batch, rows). Unknowns are the potentials of the two nodes of each cell,
    on its row line and on its column line; a segment of `segment_ohm` lies between neighbours, between a driver and its
    first cell and between a column's last cell and its sense input.
    """
    rows, columns = conductance_s.shape
    wire_s = 1.0 / segment_ohm
    row_node = np.arange(rows * columns).reshape(rows, columns)
    column_node = row_node + rows * columns
    size = 2 * rows * columns
    links = [
        (row_node[:, :-1], row_node[:, 1:], np.full((rows, columns - 1), wire_s)),
        (column_node[:-1], column_node[1:], np.full((rows - 1, columns), wire_s)),
        (row_node, column_node, conductance_s),
    ]
    a = np.concatenate([link[0].ravel() for link in links])
    b = np.concatenate([link[1].ravel() for link in links])
    g = np.concatenate([link[2].ravel() for link in links])
    to_source = np.zeros(size)
    to_source[row_node[:, 0]] += wire_s
    to_source[column_node[-1]] += wire_s
    diagonal = to_source + np.bincount(a, g, size) + np.bincount(b, g, size)
    itself = np.arange(size)
    entries = np.concatenate([-g, -g, diagonal])
    places = (np.concatenate([a, b, itself]), np.concatenate([b, a, itself]))
    matrix = sparse.coo_matrix((entries, places), shape=(size, size)).tocsc()
    sources = np.zeros((size, len(drive_v)))
    sources[row_node[:, 0]] = drive_v.T * wire_s
    potentials = splu(matrix).solve(sources)
    return np.asarray(potentials[column_node[-1]].T * wire_s)
