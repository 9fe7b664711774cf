# SPDX-License-Identifier: Apache-2.0
"""Bounds by linear programming over the triangle relaxation, from HiGHS's duals.

Variables are all entries of all values up to the wanted one, in their known bounds; linear nodes
are equations, an unstable ReLU y = relu(z), l < 0 < u, is y >= 0, y >= z and
y <= u (z - l) / (u - l), weakened outward. The solver is not trusted: for *any* multipliers y,
min c v >= sum y_i (the end of row i that y_i picks) + sum_j min over [l_j, u_j] of (c - A'y)_j v_j,
so a bound is computed from its multipliers, with all rounding accounted for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from isoform.bounds.backward import lines
from isoform.bounds.interval import TINY, UNIT, Bounds, gamma, outward
from isoform.bounds.matrices import float_matrix
from isoform.bounds.solver import silent_solver
from isoform.errors import Refused
from isoform.network.domain import Box, Polytope
from isoform.network.linear_map import floats
from isoform.network.network import Network, Node
from isoform.network.operators import Concat, Linear, Relu, Round, Select


@dataclass(frozen=True, slots=True)
class Relaxation:
    """low <= A v <= high with v between column bounds.

    matrix: csr (rows, columns), each entry within half an ulp of the exact one; offsets: first
    column of each value.
    """

    matrix: Any
    low: np.ndarray
    high: np.ndarray
    columns: Bounds
    offsets: np.ndarray


@dataclass(frozen=True, slots=True)
class Certified:
    """A bound of one entry, and the multipliers of the rows that it was computed from."""

    low: float
    high: float
    duals: tuple[np.ndarray, np.ndarray]


def linear_program_bounds(
    network: Network,
    domain: Box | Polytope,
    value: int,
    indices: Sequence[int],
    known: list[Bounds],
    *,
    seconds: float = 10.0,
) -> list[Certified]:
    """Bounds of some entries of one value of a primitive network on a box or polytope.

    known: valid bounds of all values up to `value` (as of `backward_bounds`), all finite. seconds:
    limit of a single programme; what the solver has then is used, and is as sound. Raises Refused
    where a bound is infinite.
    """
    relaxation = relax(network, domain, value, known)
    solver = prepared(relaxation)
    found = []
    for index in indices:
        column = int(relaxation.offsets[value]) + int(index)
        ends = [one_end(solver, relaxation, column, sign, seconds) for sign in (1.0, -1.0)]
        (low, first), (high, second) = ends
        found.append(Certified(
            max(low, float(known[value][0][index])),
            min(-high, float(known[value][1][index])), (first, second),
        ))
    return found


def relax(
    network: Network, domain: Box | Polytope, value: int, known: list[Bounds]
) -> Relaxation:
    """The rows of all nodes up to `value`."""
    from scipy.sparse import block_array

    bounds = known[: value + 1]
    if not all(np.isfinite(end).all() for pair in bounds for end in pair):
        raise Refused("a value has no finite bounds; give a bounded domain")
    sizes = [len(low) for low, _ in bounds]
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    blocks: list[list[Any]] = []
    lows, highs = [], []
    for at, node in network.items():
        if at > value:
            break
        for pieces, low, high in rows_of(node, at, bounds):
            row: list[Any] = [None] * len(sizes)
            for operand, piece in pieces:
                row[operand] = piece if row[operand] is None else row[operand] + piece
            blocks.append(row)
            lows.append(low)
            highs.append(high)
    if isinstance(domain, Polytope):
        blocks.append([sparse(domain.A.to_float()), *[None] * (len(sizes) - 1)])
        limit = outward(domain.b, domain.b)[1]
        lows.append(np.full(len(limit), -np.inf))
        highs.append(limit)
    blocks.append([empty(size) for size in sizes])  # fixes the widths of values without rows
    columns = (
        np.concatenate([low for low, _ in bounds]), np.concatenate([high for _, high in bounds])
    )
    matrix = block_array(blocks, format="csr")
    return Relaxation(
        matrix, np.concatenate(lows or [np.zeros(0)]), np.concatenate(highs or [np.zeros(0)]),
        columns, offsets,
    )


def sparse(matrix: Any) -> Any:
    from scipy.sparse import csr_array

    return csr_array(matrix)


def empty(size: int) -> Any:
    return sparse(np.zeros((0, size)))


def selector(indices: np.ndarray, width: int, data: np.ndarray | float = 1.0) -> Any:
    """Rows with one entry each."""
    from scipy.sparse import csr_array

    count = len(indices)
    values = np.broadcast_to(np.asarray(data, dtype=np.float64), (count,))
    return csr_array((values, (np.arange(count), indices)), shape=(count, width))


def rows_of(
    node: Node, at: int, bounds: list[Bounds]
) -> list[tuple[list[tuple[int, Any]], np.ndarray, np.ndarray]]:
    """Groups of rows: (operand, block) pairs with lower and upper ends."""
    size = node.shape[0]
    own = (at, selector(np.arange(size), size, -1.0))
    match node.operator:
        case Linear():
            bias = node.operator.bias
            shift = np.zeros(size) if bias is None else -floats(bias)
            maps = zip(node.operands, node.operator.maps, strict=True)
            pieces = [(operand, sparse(float_matrix(part))) for operand, part in maps]
            # A bias that is no double lies within half an ulp.
            return [([*pieces, own], np.nextafter(shift, -np.inf), np.nextafter(shift, np.inf))]
        case Concat():
            pieces, begin = [], 0
            for operand in node.operands:
                width = len(bounds[operand][0])
                pieces.append((operand, identity_at(begin, width, size)))
                begin += width
            return [([*pieces, own], np.zeros(size), np.zeros(size))]
        case Select():
            operand = node.operands[0]
            width = len(bounds[operand][0])
            piece = (operand, selector(node.operator.indices, width))
            return [([piece, own], np.zeros(size), np.zeros(size))]
        case Round():
            piece = (node.operands[0], selector(np.arange(size), size))
            return [([piece, own], np.full(size, -0.5), np.full(size, 0.5))]
        case Relu():
            return relu_rows(node.operands[0], at, bounds)
        case _:
            return []  # only the known bounds


def identity_at(begin: int, width: int, size: int) -> Any:
    """The identity of `width` in rows from `begin` on, of `size` rows."""
    from scipy.sparse import csr_array

    places = np.arange(width)
    return csr_array((np.ones(width), (places + begin, places)), shape=(size, width))


def relu_rows(
    operand: int, at: int, bounds: list[Bounds]
) -> list[tuple[list[tuple[int, Any]], np.ndarray, np.ndarray]]:
    """y - z >= 0 (= 0 where always on), y - s z <= t where unstable; dead ones by their bounds."""
    low, high = bounds[operand]
    width = len(low)
    alive = np.flatnonzero(high > 0)
    bent = np.flatnonzero((high > 0) & (low < 0))
    slope, lift, _ = lines(low, high)
    first = [(at, selector(alive, width)), (operand, selector(alive, width, -1.0))]
    second = [(at, selector(bent, width)), (operand, selector(bent, width, -slope[bent]))]
    top = np.where(low[alive] >= 0, 0.0, np.inf)
    return [
        (first, np.zeros(len(alive)), top),
        (second, np.full(len(bent), -np.inf), lift[bent]),
    ]


def prepared(relaxation: Relaxation) -> Any:
    """HiGHS with the relaxation loaded."""
    import highspy

    matrix = relaxation.matrix.tocsc()
    model = highspy.HighsLp()
    model.num_col_, model.num_row_ = matrix.shape[1], matrix.shape[0]
    model.col_cost_ = np.zeros(matrix.shape[1])
    model.col_lower_, model.col_upper_ = relaxation.columns
    model.row_lower_, model.row_upper_ = relaxation.low, relaxation.high
    model.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    model.a_matrix_.start_ = matrix.indptr
    model.a_matrix_.index_ = matrix.indices
    model.a_matrix_.value_ = matrix.data
    solver = silent_solver()
    solver.passModel(model)
    return solver


def one_end(
    solver: Any, relaxation: Relaxation, column: int, sign: float, seconds: float
) -> tuple[float, np.ndarray]:
    """A lower bound of sign * v_column, and its multipliers."""
    solver.setOptionValue("time_limit", solver.getRunTime() + seconds)  # its clock never restarts
    solver.changeColCost(column, sign)
    solver.run()
    duals = np.array(solver.getSolution().row_dual, dtype=np.float64)
    solver.changeColCost(column, 0.0)
    if duals.shape != (relaxation.matrix.shape[0],) or not np.isfinite(duals).all():
        duals = np.zeros(relaxation.matrix.shape[0])
    return certified(relaxation, column, sign, duals), duals


def certified(relaxation: Relaxation, column: int, sign: float, duals: np.ndarray) -> float:
    """The bound that any multipliers of the rows prove, rounded down."""
    low, high = relaxation.low, relaxation.high
    y = np.where((duals > 0) & np.isfinite(low) | (duals < 0) & np.isfinite(high), duals, 0.0)
    ends = np.where(y > 0, np.where(np.isfinite(low), low, 0.0), np.where(y < 0, high, 0.0))
    ends = np.where(y == 0, 0.0, ends)
    matrix = relaxation.matrix
    rest = -(matrix.T @ y)
    rest[column] += sign
    below, above = relaxation.columns
    size = np.maximum(np.abs(below), np.abs(above))
    bound = y @ ends + np.where(rest > 0, rest * below, rest * above).sum()
    weight = abs(matrix).T @ np.abs(y)
    weight[column] += 1.0
    count = 2 * sum(matrix.shape) + 32
    lost = gamma(count) * (np.abs(y) @ np.abs(ends) + weight @ size)
    tiny = TINY * (1 + float(np.abs(y).sum())) * (1 + float(size.max(initial=0.0))) * len(size)
    return float(np.nextafter(bound - lost * (1 + 64 * UNIT) - tiny, -np.inf))
