"""Line resistance of a crossbar: how much of the drive falls across each cell, in time linear in the number of cells.

A crossbar is linear in its drive, so one set of cell voltages per unit of drive is a transfer matrix. The voltages are
those of the *uniform* drive, solved exactly as a coupled system of row and column lines; for other drives the same
factors are an approximation, whose error against a sparse nodal solution docs/mock-memristor.md states.
"""

from __future__ import annotations

import numpy as np

from pib_lab.quantities import Array

TOLERANCE = 5e-3
"""Sweeps end when no potential moves by more than this fraction of the drive."""
MAX_SWEEPS = 60


def cell_attenuation(conductance: Array, segment_ohm: float) -> Array:
    """Voltage across each cell per volt of a drive common to all rows.

    conductance: (rows, arrays, columns) in siemens, row 0 farthest from the sense inputs, column 0 next to the drivers;
    columns end in virtual ground. A segment lies between neighbours and at the driven and sensed ends.

    With row potential u, column potential w, line conductance 1/r and G the cells:
        (L_row / r + G) u = G w + drive,   (L_col / r + G) w = G u,
    each a set of tridiagonal systems, solved in turn (block Gauss-Seidel). The start w = a (1 - b), with a and b the
    attenuations of rows and of columns alone, is within about 1 % of the drive for windows of tens of microsiemens.
    """
    if segment_ohm == 0.0:
        return np.ones_like(conductance)
    by_column = np.ascontiguousarray(conductance.swapaxes(0, 2))  # (columns, arrays, rows), along a row line
    by_row = np.ascontiguousarray(conductance[::-1])  # (rows, arrays, columns), along a column line from its sense end
    row_factor = _factor(by_column, segment_ohm)
    column_factor = _factor(by_row, segment_ohm)
    w = np.float32(1.0) - _running_product(column_factor)
    w *= _running_product(row_factor).swapaxes(0, 2)[::-1]
    for _ in range(MAX_SWEEPS):
        u = _line(by_column * w[::-1].swapaxes(0, 2), row_factor, segment_ohm, source=1.0).swapaxes(0, 2)[::-1]
        moved = _line(by_row * u, column_factor, segment_ohm, source=0.0)
        change = float(np.abs(moved - w).max())
        w = moved
        if change < TOLERANCE:
            break
    return np.ascontiguousarray((u - w)[::-1])


def _factor(load: Array, segment_ohm: float) -> Array:
    """Voltage ratio over each segment of loaded ladders: 1 / (1 + r Y_k) with Y_k = load_k + Y_{k+1} ratio_{k+1}.

    load: (nodes, ...), node 0 next to the source. All lines are walked at once, from the far end.
    """
    ratio = np.empty_like(load)
    seen = np.zeros_like(load[0])  # conductance to ground seen beyond the present node
    for node in range(len(load) - 1, -1, -1):
        seen += load[node]
        here = ratio[node]
        np.multiply(seen, segment_ohm, out=here)
        here += 1.0
        np.reciprocal(here, out=here)
        seen *= here
    return ratio


def _running_product(ratio: Array) -> Array:
    """Attenuation at each node, the product of the ratios up to it (several times faster than numpy's cumprod)."""
    product = ratio.copy()
    for node in range(1, len(product)):
        product[node] *= product[node - 1]
    return product


def _line(injected: Array, ratio: Array, segment_ohm: float, source: float) -> Array:
    """Node potentials of ladders with `ratio` from `_factor`, fed by `source` volts at node 0's end and by currents.

    Norton currents are gathered from the far end, J_k = injected_k + J_{k+1} ratio_{k+1}; then potentials run outward,
    p_k = (p_{k-1} + r J_k) ratio_k.
    """
    gathered = np.ascontiguousarray(injected)
    gathered *= np.float32(segment_ohm)
    for node in range(len(gathered) - 2, -1, -1):
        gathered[node] += gathered[node + 1] * ratio[node + 1]
    previous = np.full_like(gathered[0], source)
    for node in range(len(gathered)):
        here = gathered[node]
        here += previous
        here *= ratio[node]
        previous = here
    return gathered
