# SPDX-License-Identifier: Apache-2.0
"""The state at a node of the splitting tree, from its prefix alone, compiled."""

from __future__ import annotations

from isoform.regions.cell_kernel import add_wall, climbed, copy_vertex
from isoform.regions.compiled import Tables
from isoform.regions.kernel import kernel
from isoform.regions.simplex_kernel import Array
from isoform.regions.splitting_kernel import aim, height
from isoform.regions.splitting_state import NODE, ROWS, TOL, TRIAL, State, U, layer_forms


@kernel(inline=True)
def force(S: State, constant: float) -> bool:
    """Move the node to a vertex at which constant + objective . x exceeds TOL; False: none."""
    if height(S, constant) > TOL:
        return True
    if climbed(S, constant, TOL) != 1:
        return False
    copy_vertex(S.vertices, S.bases, TRIAL, NODE)
    return True


@kernel(inline=True)
def begin(T: Tables, S: State) -> bool:
    """The corner of the box, then a vertex of the polytope strictly inside its own rows; False
    where floats find none."""
    m0, k = T.rows.shape
    for place in range(len(S.at)):
        S.at[place] = 0
    for c in range(k):
        S.boxes[0, 0, c], S.boxes[0, 1, c] = -1.0, 1.0
        for i in range(k + 1):
            S.vertices[NODE, i, c] = 0.0
    for c in range(k):
        S.vertices[NODE, k, c], S.bases[NODE, c], S.vertices[NODE, c, c] = -1.0, 2 * c, -1.0
    for r in range(m0):
        if r >= 2 * k:
            for c in range(k):
                S.work[0, c] = -T.rows[r, c]
            if not force(S, T.bounds[r]):
                return False
        for c in range(k):
            S.walls[c, r] = T.rows[r, c]
        S.walls[k, r], S.walls[k + 1, r], S.ids[r] = T.bounds[r], T.slack[r], r
        S.at[ROWS] = r + 1
    return True


@kernel
def replay(T: Tables, S: State, prefix: Array) -> bool:
    """The node with a prefix: its walls, its box, and a vertex off every wall; False where floats
    find none."""
    if not begin(T, S):
        return False
    for unit in range(len(prefix)):
        layer = T.layer[unit]
        if T.starts[layer] == unit:
            layer_forms(T, S, layer)
        S.sign[unit] = prefix[unit]
        size, error = S.forms[-3, unit], S.forms[-2, unit]
        if T.step[unit] and prefix[unit] == 0 and error > 0.0 and size <= 1.1 * error:
            return False  # whether z = 0, where a step unit gives 1, is for exact arithmetic to say
        if prefix[unit] & 2:
            side = 1 if prefix[unit] & 1 else -1
            found = force(S, aim(S.forms, S.work, unit, side))
            if not found or not add_wall(S, len(T.rows), unit, side):
                return False
    S.at[U] = len(prefix)
    return True
