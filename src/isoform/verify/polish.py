# SPDX-License-Identifier: Apache-2.0
"""The best point of one cell: where two networks are affine, a linear programme finds it."""

from __future__ import annotations

import numpy as np

from isoform.network.domain import Polytope
from isoform.verify.gradient import FloatNetwork, affine_piece
from isoform.verify.sample import Place

LARGEST = 200_000  # rows times columns of a cell worth a linear programme


def polish(
    source: FloatNetwork, target: FloatNetwork, place: Place, x: np.ndarray
) -> np.ndarray | None:
    """The point of the cell of x (n,) with the largest |g_i - f_i| for the output i that differs
    most at x, in floats; None where the networks are not piecewise linear, the cell is too large,
    or the programme has no finite optimum."""
    from scipy.optimize import linprog

    if not (source.piecewise_linear and target.piecewise_linear):
        return None
    units = sum(
        sum(node.shape[0] for node in net.network.nodes) for net in (source, target)
    )
    if units * len(x) > LARGEST:
        return None
    left, right = affine_piece(source, x), affine_piece(target, x)
    gap = right.output - left.output
    values = gap @ np.append(x, 1.0)
    output = int(np.abs(values).argmax())
    goal = gap[output, :-1] * (np.sign(values[output]) or 1.0)
    rows = np.concatenate([left.cell, right.cell])
    matrix, limit = -rows[:, :-1], rows[:, -1]
    if isinstance(place.domain, Polytope):
        matrix = np.concatenate([matrix, place.domain.A.to_float()])
        limit = np.concatenate([limit, place.domain.b.to_float()])
    low = np.maximum(place.low, -1e6)
    high = np.minimum(place.high, 1e6)
    scale = np.abs(goal).max()
    if not np.isfinite(scale) or scale == 0:
        return None
    found = linprog(
        -goal / scale, A_ub=matrix, b_ub=np.maximum(limit, matrix @ x),
        bounds=np.column_stack([low, high]), method="highs",
    )
    return found.x
