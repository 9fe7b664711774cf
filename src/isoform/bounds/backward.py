# SPDX-License-Identifier: Apache-2.0
"""Backward bounds: linear lines of ReLUs substituted back to the input.

For l <= z <= u and slopes s, s' in [0, 1]: s' z <= relu(z) <= s z + max(-s l, (1 - s) u). The
default slopes are s = u / (u - l), rounded down to 2^-24, and s' = 1 where u > -l, else 0: the same
as in the exact pass of the certificate, so what is decided here can be re-derived there.

Rounding: whenever coefficients are multiplied or added, at most a relative error times the largest
magnitude of the values that they stand for is lost; these amounts are summed per row and added.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from isoform.bounds.interval import (
    TINY,
    UNIT,
    Bounds,
    box_bounds,
    gamma,
    magnitude,
    meet,
    node_bounds,
)
from isoform.bounds.matrices import Matrix, matrices_of
from isoform.network.domain import Box
from isoform.network.linear_map import floats
from isoform.network.network import Network, Node
from isoform.network.operators import (
    Concat,
    Linear,
    Opaque,
    Product,
    Relu,
    Round,
    Select,
    Step,
)

SLOPE_GRID = 2.0**24
ROWS = 512  # rows of one backward pass


def backward_bounds(
    network: Network, box: Box, *, until: int | None = None, known: list[Bounds] | None = None
) -> list[Bounds]:
    """Bounds of every value of a primitive network on a box, by value number.

    Values that a non-linear operator takes, and the output, are bounded by backward substitution
    met with intervals; all others by intervals over those. until: the last value number that is
    needed. known: valid bounds of some first values (as from an earlier call), used where they are.
    Linear, Relu, Concat and Select are followed, Round as its operand up to 1/2; Product, Opaque,
    Step and Scan are enclosed by constants. Errors as in `interval_bounds`.
    """
    last = len(network.nodes) if until is None else until
    found = [box_bounds(network, box)]
    matrices = matrices_of(network)
    bent = bent_values(network) | {network.outputs[0], last}
    for value, node in network.items():
        if value > last:
            break
        here = node_bounds(node, [found[operand] for operand in node.operands])
        if known is not None and value < len(known):
            here = meet(here, known[value])
        found.append(here)
        if value in bent and isinstance(node.operator, Linear | Concat | Select):
            found[value] = meet(here, substitute(network, matrices, found, value))
    return found


def bent_values(network: Network) -> set[int]:
    """Values that go into a non-linear operator."""
    kinds = Relu | Step | Round | Product | Opaque
    return {
        operand
        for node in network.nodes if isinstance(node.operator, kinds)
        for operand in node.operands
    }


def substitute(
    network: Network, matrices: dict[int, tuple[Matrix, ...]], found: list[Bounds], value: int
) -> Bounds:
    """Bounds of one value from bounds of all earlier ones, by backward substitution."""
    size = network.size_of(value)
    low, high = np.empty(size), np.empty(size)
    for first in range(0, size, ROWS):
        rows = np.arange(first, min(first + ROWS, size))
        unit = np.zeros((len(rows), size))
        unit[np.arange(len(rows)), rows] = 1.0
        high[rows] = upper_ends(network, matrices, found, value, unit)
        low[rows] = -upper_ends(network, matrices, found, value, -unit)
    return low, high


@dataclass(slots=True)
class Pass:
    """Rows on their way back: coefficients by value, a constant, what rounding may have cost."""

    found: list[Bounds]
    constant: np.ndarray
    lost: np.ndarray
    rows: dict[int, np.ndarray] = field(default_factory=dict)

    def give(self, value: int, coefficients: np.ndarray) -> None:
        """Add coefficients of a value."""
        sofar = self.rows.get(value)
        if sofar is None:
            self.rows[value] = coefficients
            return
        joined = sofar + coefficients
        self.lose(joined, magnitude(self.found[value]), UNIT)
        self.rows[value] = joined

    def lose(self, coefficients: np.ndarray, size: np.ndarray, factor: float) -> None:
        """Account for a relative error of `factor` in terms of this size."""
        self.lost += (factor * (np.abs(coefficients) @ size)) * (1 + 1e-9) + TINY

    def add(self, coefficients: np.ndarray, vector: np.ndarray) -> None:
        """Add coefficients @ vector to the constant."""
        self.constant = self.constant + coefficients @ vector
        self.lose(coefficients, np.abs(vector), gamma(2 * len(vector) + 8))
        self.lost += UNIT * np.abs(self.constant)


def upper_ends(
    network: Network,
    matrices: dict[int, tuple[Matrix, ...]],
    found: list[Bounds],
    value: int,
    rows: np.ndarray,
) -> np.ndarray:
    """Upper bounds of rows (k, size of value) of a value on the box; infinite where a value on the
    way has no bounds."""
    if not all(np.isfinite(magnitude(bounds)).all() for bounds in found[: value + 1]):
        return np.full(len(rows), np.inf)
    state = Pass(found, np.zeros(len(rows)), np.zeros(len(rows)), {value: rows})
    with np.errstate(over="ignore", invalid="ignore"):
        for at in range(value, 0, -1):
            coefficients = state.rows.pop(at, None)
            if coefficients is not None:
                step_back(state, network.nodes[at - 1], at, matrices.get(at, ()), coefficients)
        rest = state.rows.pop(0, None)
        if rest is not None:
            enclose(state, 0, rest)
        high = state.constant + state.lost * (1 + 1e-6)
    return np.where(np.isnan(high), np.inf, np.nextafter(high, np.inf))


def step_back(
    state: Pass, node: Node, at: int, matrices: tuple[Matrix, ...], rows: np.ndarray
) -> None:
    """Replace coefficients of a value by coefficients of its operands, upward."""
    match node.operator:
        case Linear():
            if node.operator.bias is not None:
                state.add(rows, floats(node.operator.bias))
            for matrix, operand in zip(matrices, node.operands, strict=True):
                size = abs(matrix) @ magnitude(state.found[operand])
                state.lose(rows, size, gamma(2 * matrix.shape[0] + 2 * matrix.shape[1] + 8))
                scale = matrix.shape[0] * (1 + magnitude(state.found[operand]).max(initial=0.0))
                state.lost += TINY * scale * np.abs(rows).sum(axis=1)  # weights that underflow
                state.give(operand, (matrix.T @ rows.T).T)
        case Relu():
            relu_back(state, node.operands[0], rows)
        case Round():
            round_back(state, at, node.operands[0], rows)
        case Concat():
            begin = 0
            for operand in node.operands:
                size = len(state.found[operand][0])
                state.give(operand, rows[:, begin : begin + size])
                begin += size
        case Select():
            operand = node.operands[0]
            gathered = np.zeros((len(rows), len(state.found[operand][0])))
            np.add.at(gathered.T, node.operator.indices, rows.T)
            state.lose(rows, magnitude(state.found[at]), gamma(len(node.operator.indices)))
            state.give(operand, gathered)
        case _:
            enclose(state, at, rows)


def relu_back(state: Pass, operand: int, rows: np.ndarray) -> None:
    """Positive coefficients go to the upper line, negative ones to the lower line."""
    low, high = state.found[operand]
    upper, lift, lower = lines(low, high)
    up, down = np.maximum(rows, 0.0), np.minimum(rows, 0.0)
    state.add(up, lift)
    passed = up * upper + down * lower
    state.lose(passed, np.maximum(np.abs(low), np.abs(high)), 4 * UNIT)
    state.give(operand, passed)


def lines(low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Slope and lift of the upper line, slope of the lower line, of relu on [low, high].

    The lift is rounded up, so the line holds for the slope as it stands.
    """
    gap = np.where(high > low, high - low, 1.0)
    slope = np.clip(np.floor(np.maximum(high, 0.0) / gap * SLOPE_GRID) / SLOPE_GRID, 0.0, 1.0)
    slope = np.where(low >= 0, 1.0, np.where(high <= 0, 0.0, slope))
    lift = np.maximum(np.nextafter(-slope * low, np.inf), np.nextafter((1 - slope) * high, np.inf))
    lift = np.where((low >= 0) | (high <= 0), 0.0, np.maximum(lift, 0.0))
    return slope, lift, (high > -low).astype(np.float64)


def round_back(state: Pass, at: int, operand: int, rows: np.ndarray) -> None:
    """z - 1/2 <= round(z) <= z + 1/2; one integer where both ends of z round to it."""
    low, high = state.found[at]
    fixed = low == high
    enclose(state, at, np.where(fixed, rows, 0.0))
    free = np.where(fixed, 0.0, rows)
    state.add(np.abs(free), np.full(rows.shape[1], 0.5))
    state.give(operand, free)


def enclose(state: Pass, value: int, rows: np.ndarray) -> None:
    """Replace coefficients of a value by the larger ends of its interval."""
    low, high = state.found[value]
    state.add(np.maximum(rows, 0.0), high)
    state.add(np.minimum(rows, 0.0), low)
