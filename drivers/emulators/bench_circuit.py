"""A resistive network with nonlinear cells and clamped sources, solved for its node voltages."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from drivers.emulators.circuit import Drive, Mode, Operating
from pib_lab.quantities import Array64

LEAK_SIEMENS = 1e-12
"""From every node to ground: what keeps a floating line from having no voltage at all; 1 Tohm."""
MAX_NEWTON, MAX_CLAMPING, ALL_AT_ONCE = 60, 60, 8


@dataclass(frozen=True, slots=True)
class Curve:
    """How a cell conducts: I = G V (1 + k (V / V_read)^2) / (1 + k), with G the conductance at V_read."""

    cubic: float
    read_v: float

    def current(self, conductance: Array64, voltage: Array64) -> Array64:
        """Amperes."""
        if not self.cubic:
            return np.asarray(conductance * voltage)
        bend = 1.0 + self.cubic * (voltage / self.read_v) ** 2
        return np.asarray(conductance * voltage * bend / (1.0 + self.cubic))

    def slope(self, conductance: Array64, voltage: Array64) -> Array64:
        """dI/dV in siemens."""
        if not self.cubic:
            return conductance
        bend = 1.0 + 3.0 * self.cubic * (voltage / self.read_v) ** 2
        return np.asarray(conductance * bend / (1.0 + self.cubic))


@dataclass(frozen=True, slots=True)
class Network:
    """Nodes and ground, and what conducts between them.

    linear: (nodes, nodes) conductance matrix of what is linear (contacts, bleeds, leaks), in siemens; cells: (rows,
    columns) conductances between node i and node rows + j.
    """

    linear: Array64
    cells: Array64
    curve: Curve

    def outflow(self, node_v: Array64) -> Array64:
        """Amperes that leave each node through what conducts."""
        rows, lines = len(self.cells), sum(self.cells.shape)
        current = self.curve.current(self.cells, node_v[:rows, None] - node_v[None, rows:lines])
        out = self.linear @ node_v
        out[:rows] += current.sum(axis=1)
        out[rows:lines] -= current.sum(axis=0)
        return np.asarray(out)

    def jacobian(self, node_v: Array64) -> Array64:
        """Derivative of the outflow by the node voltages, in siemens."""
        rows, lines = len(self.cells), sum(self.cells.shape)
        slope = self.curve.slope(self.cells, node_v[:rows, None] - node_v[None, rows:lines])
        matrix = self.linear.copy()
        matrix[:rows, rows:lines] -= slope
        matrix[rows:lines, :rows] -= slope.T
        diagonal = matrix.reshape(-1)[:: len(matrix) + 1]
        diagonal[:rows] += slope.sum(axis=1)
        diagonal[rows:lines] += slope.sum(axis=0)
        return matrix


@dataclass(frozen=True, slots=True)
class Solution:
    """node_v: voltage of each node; operating: of each driven node."""

    node_v: Array64
    operating: dict[int, Operating]


def solve(network: Network, drives: dict[int, Drive], start_v: Array64) -> Solution:
    """Node voltages of a network. drives: by node; start_v: a first guess.

    A source holds its level or, when the other quantity would exceed the limit, that limit: which of the two is found
    by turns, all sources at first and one at a time later, which ends since all that conducts is passive.
    """
    drives = {node: drive for node, drive in drives.items() if drive.mode is not Mode.OPEN}
    state = dict.fromkeys(drives, 0)  # 0: the level is held; +1, -1: clamped at the limit of that sign
    node_v, injected = start_v, dict[int, float]()
    for turn in range(MAX_CLAMPING):
        held, forced = _boundary(drives, state)
        node_v, injected = _newton(network, held, forced, node_v)
        moved = False
        for node, drive in drives.items():
            new = _next_state(drive, state[node], float(node_v[node]), injected[node])
            if new != state[node]:
                state[node], moved = new, True
                if turn >= ALL_AT_ONCE:
                    break
        if not moved:
            break
    operating = {node: Operating(float(node_v[node]), injected[node], bool(state[node])) for node in drives}
    return Solution(node_v, operating)


def _boundary(drives: dict[int, Drive], state: dict[int, int]) -> tuple[dict[int, float], dict[int, float]]:
    """Held voltages and forced currents by node."""
    held, forced = {}, {}
    for node, drive in drives.items():
        sign = state[node]
        value = sign * drive.limit if sign else drive.level
        if (drive.mode is Mode.VOLTAGE) == (sign == 0):
            held[node] = value
        else:
            forced[node] = value
    return held, forced


def _next_state(drive: Drive, state: int, voltage_v: float, current_a: float) -> int:
    limited = current_a if drive.mode is Mode.VOLTAGE else voltage_v
    other = voltage_v if drive.mode is Mode.VOLTAGE else current_a
    if state == 0:
        over = abs(limited) > drive.limit * (1.0 + 1e-9) + 1e-15
        return (1 if limited > 0.0 else -1) if over else 0
    # Clamped upwards, the level is not reached; beyond it, the source holds the level again.
    return 0 if state * (other - drive.level) > 1e-12 * max(1.0, abs(drive.level)) else state


def _newton(
    network: Network, held: dict[int, float], forced: dict[int, float], start_v: Array64
) -> tuple[Array64, dict[int, float]]:
    """Solve for the nodes that are not held; all voltages, and the current that each driven node feeds in."""
    node_v, source = start_v.copy(), np.zeros(len(start_v))
    node_v[list(held)], source[list(forced)] = list(held.values()), list(forced.values())
    known = np.zeros(len(start_v), np.bool_)
    known[list(held)] = True
    free = np.flatnonzero(~known)
    for _ in range(MAX_NEWTON if free.size else 0):
        excess = (network.outflow(node_v) - source)[free]
        step = np.linalg.solve(network.jacobian(node_v)[free[:, None], free], excess)
        node_v[free] -= step
        if float(np.abs(step).max()) <= 1e-12 * max(1.0, float(np.abs(node_v).max())):
            break
    out = network.outflow(node_v)
    return node_v, {node: float(out[node]) for node in held} | forced
