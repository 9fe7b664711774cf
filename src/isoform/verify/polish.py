# SPDX-License-Identifier: Apache-2.0
"""The best point of one cell: where two networks are affine, a linear programme finds it."""

from __future__ import annotations

import numpy as np

from isoform.network.domain import Polytope
from isoform.verify.goal import Difference, Goal, Meeting
from isoform.verify.gradient import FloatNetwork, Piece, affine_piece
from isoform.verify.sample import Place

LARGEST = 200_000  # rows times columns of a cell worth a linear programme
FAR = 1e6  # where inputs without bounds end


def polish(
    source: FloatNetwork, target: FloatNetwork, place: Place, x: np.ndarray, goal: Goal
) -> np.ndarray | None:
    """The best point of the cell of x (n,), in floats.

    Forbidden sets: where the depth is largest in the set that is best at x. Otherwise: with the
    largest |g_i - f_i| for the output i that counts most at x. None where the networks are not
    piecewise linear, the cell is too large, or the programme has no finite optimum.
    """
    if not (source.piecewise_linear and target.piecewise_linear):
        return None
    units = sum(
        sum(node.shape[0] for node in net.network.nodes) for net in (source, target)
    )
    if units * len(x) > LARGEST:
        return None
    left, right = affine_piece(source, x), affine_piece(target, x)
    cell = np.concatenate([left.cell, right.cell])
    if isinstance(goal, Meeting):
        return deepest(cell, left, right, place, x, goal)
    gap = right.output - left.output
    values = gap @ np.append(x, 1.0)
    sizes = np.abs(values)
    if isinstance(goal, Difference):
        sizes = goal.sizes(np.zeros((1, len(values))), values[None])[0]
    output = int(np.nan_to_num(sizes).argmax())
    slope = gap[output, :-1] * (np.sign(values[output]) or 1.0)
    return optimum(slope, -cell[:, :-1], cell[:, -1], place, x)


def deepest(
    cell: np.ndarray, left: Piece, right: Piece, place: Place, x: np.ndarray, goal: Meeting
) -> np.ndarray | None:
    """max t with row @ (x, f, g) + t <= bound in the rows of the best set; (x, t) are unknown."""
    n = len(x)
    at = np.append(x, 1.0)
    slack = goal.slack(x[None], (left.output @ at)[None], (right.output @ at)[None])
    best = int(np.minimum.reduceat(slack[0], goal.starts).argmax())
    ends = np.append(goal.starts[1:], len(goal.rows))
    part = slice(goal.starts[best], ends[best])
    values = np.concatenate([np.eye(n, n + 1), left.output, right.output])  # of (x, f, g)
    rows = goal.rows[part] @ values
    matrix = np.vstack([
        np.column_stack([rows[:, :-1], np.ones(len(rows))]),
        np.column_stack([-cell[:, :-1], np.zeros(len(cell))]),
    ])
    limit = np.concatenate([goal.bounds[part] - rows[:, -1], cell[:, -1]])
    found = optimum(np.append(np.zeros(n), 1.0), matrix, limit, place, np.append(x, slack.min()))
    return None if found is None else found[:n]


def optimum(
    slope: np.ndarray, matrix: np.ndarray, limit: np.ndarray, place: Place, x: np.ndarray
) -> np.ndarray | None:
    """max slope @ y with matrix @ y <= limit, the first entries of y in the domain's hull. A row
    that x itself breaks by rounding is widened to it."""
    from scipy.optimize import linprog

    n, free = len(place.low), len(x) - len(place.low)
    if isinstance(place.domain, Polytope):
        faces = place.domain.A.to_float()
        matrix = np.concatenate([matrix, np.pad(faces, ((0, 0), (0, free)))])
        limit = np.concatenate([limit, place.domain.b.to_float()])
    bounds = [*zip(np.maximum(place.low, -FAR), np.minimum(place.high, FAR), strict=True)]
    bounds += [(None, None)] * (len(x) - n)
    scale = np.abs(slope).max()
    finite = np.isfinite(matrix).all() and np.isfinite(limit).all()
    if not np.isfinite(scale) or scale == 0 or not finite:
        return None
    found = linprog(
        -slope / scale, A_ub=matrix, b_ub=np.maximum(limit, matrix @ x), bounds=bounds,
        method="highs",
    )
    return found.x
