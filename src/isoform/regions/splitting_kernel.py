# SPDX-License-Identifier: Apache-2.0
"""Depth-first splitting over units, compiled: one simplex vertex a node, no phase 1.

A node is a prefix of signs, the half-spaces of its split units, a feasible vertex of the cell (its
basis, inverse and point) and a box around the cell. A unit is decided by the first that applies:
the box, a parallel earlier unit, or a linear programme from the vertex which ends at a point where
the unit has the other sign (the node splits, and both children have a vertex) or at an optimum
whose multipliers, with all rounding counted, prove the sign. What floats do not decide is handed to
the caller, who answers in exact arithmetic.
"""

from __future__ import annotations

from isoform.regions.cell_kernel import (
    add_wall,
    bound_of_climb,
    climbed,
    copy_vertex,
    emit_basis,
    in_cone,
    middle,
    refresh_box,
    spread_middle,
)
from isoform.regions.compiled import Tables
from isoform.regions.kernel import kernel
from isoform.regions.simplex_kernel import Array
from isoform.regions.splitting_state import (
    BLURRED,
    CODES,
    DEEP,
    DONE,
    DOUBTFUL_LEAF,
    FULL,
    HINTED,
    IDS,
    LEAD,
    MINUS_BASIS,
    MINUS_BOX,
    MINUS_FOLLOW,
    NODE,
    PAUSED,
    PLUS_BASIS,
    PLUS_BOX,
    PLUS_FOLLOW,
    PROGRAMS,
    QUIET,
    REGIONS,
    ROWS,
    SIBLINGS,
    SIDE,
    SPLIT_MINUS_FIRST,
    SPLIT_PLUS_FIRST,
    STACK,
    TOL,
    TRIAL,
    UNDECIDED,
    Output,
    State,
    U,
    box_signs,
    layer_forms,
    single_sources,
)


@kernel(inline=True)
def aim(G: Array, work: Array, unit: int, side: int) -> float:
    """The objective side * z / |gradient|; returns its constant."""
    k = work.shape[1]
    scale = side / G[k + 3, unit]
    for c in range(k):
        work[0, c] = G[1 + c, unit] * scale
    return G[0, unit] * scale


@kernel(inline=True)
def height(S: State, constant: float) -> float:
    """constant + objective . x at the node's vertex."""
    k = S.work.shape[1]
    value = constant
    for c in range(k):
        value += S.work[0, c] * S.vertices[NODE, k, c]
    return value


@kernel(inline=True)
def side_of_vertex(S: State, unit: int, off: float) -> int:
    """The side of the wall on which the node's vertex lies, by more than `off`; where it lies on
    the wall the vertex is replaced by one that does not. 0: none was found."""
    value = height(S, aim(S.forms, S.work, unit, 1))
    if value > off:
        return 1
    if value < -off:
        return -1
    for way in (1, -1):
        if climbed(S, aim(S.forms, S.work, unit, way), off) == 1:
            copy_vertex(S.vertices, S.bases, TRIAL, NODE)
            return way
    return 0


@kernel(inline=True)
def by_program(S: State, unit: int) -> int:
    """0: the unit splits the cell, SIDE is the node's vertex's and the trial vertex lies on the
    other one. 1 or -1: proved sign, the trial basis proves it. 2: undecided; SIDE is the side on
    which the node's vertex certainly lies (0: neither), HINTED whether the trial basis is optimal
    for the other side."""
    G, at = S.forms, S.at
    k = S.work.shape[1]
    length, error = G[k + 3, unit], G[k + 2, unit]
    at[SIDE], at[HINTED] = 0, 0
    if not length > 0 or error > BLURRED * length:
        return 2
    off = max(TOL, 20 * error / length)
    side = side_of_vertex(S, unit, off)
    if side == 0:
        return 2
    at[SIDE] = side
    constant = aim(G, S.work, unit, -side)
    end = climbed(S, constant, off)
    if end == 1:
        return 0
    if end == 0:
        if bound_of_climb(S, constant, error / length, False) < 0:
            return side
        at[HINTED] = 1
    return 2


@kernel(inline=True)
def push(S: State, unit: int, side: int) -> None:
    """Remember the sibling on `side`, with the trial vertex."""
    n, k = S.at[STACK], S.work.shape[1]
    copy_vertex(S.vertices, S.bases, TRIAL, SIBLINGS + n)
    for c in range(k):
        S.boxes[1 + n, 0, c], S.boxes[1 + n, 1, c] = S.boxes[0, 0, c], S.boxes[0, 1, c]
    entry = S.bases[SIBLINGS + n]
    entry[k], entry[k + 1], entry[k + 2] = unit, S.at[ROWS], side
    S.at[STACK] = n + 1


@kernel(inline=True)
def pop(T: Tables, S: State) -> None:
    """Go on with the sibling that was remembered last."""
    n, k = S.at[STACK] - 1, S.work.shape[1]
    copy_vertex(S.vertices, S.bases, SIBLINGS + n, NODE)
    for c in range(k):
        S.boxes[0, 0, c], S.boxes[0, 1, c] = S.boxes[1 + n, 0, c], S.boxes[1 + n, 1, c]
    entry = S.bases[SIBLINGS + n]
    S.at[STACK], S.at[U], S.at[ROWS] = n, entry[k], entry[k + 1]
    turn(T, S, entry[k + 2])


@kernel(inline=True)
def pack(sign: Array, out: Array) -> None:
    """The activation pattern as bits, unit 0 the highest of byte 0."""
    for j in range(len(out)):
        out[j] = 0
    for j in range(len(sign)):
        if sign[j] & 1:
            out[j >> 3] |= 128 >> (j & 7)


@kernel
def take_side(T: Tables, S: State, side: int) -> None:
    """Continue on one side of the current unit, as a split."""
    turn(T, S, side)


@kernel(inline=True)
def turn(T: Tables, S: State, side: int) -> None:
    unit = S.at[U]
    S.sign[unit] = 3 if side > 0 else 2
    add_wall(S, len(T.rows), unit, side)
    S.at[U] = unit + 1


@kernel
def run(
    T: Tables, S: State, out: Output, most: int, ratio: float, fresh: bool, until: int
) -> int:
    """Search on until `most` regions are listed, so many programmes are solved in all, or the
    caller is needed (DONE to PAUSED say why).

    ratio: the box is refreshed at the start of a layer of which it leaves at least ratio * k units
    open. fresh: the current node is to be started (False: the first thing is to pop a sibling).
    """
    at, N = S.at, len(S.sign)
    most = min(most, len(out.patterns))
    going = fresh
    while True:
        if not going:
            if at[STACK] == 0:
                return DONE
            pop(T, S)
        going = True
        if at[REGIONS] >= most or not room(S, out):
            return FULL
        if at[ROWS] + 1 >= S.walls.shape[1] or at[STACK] + 1 >= len(S.boxes) - 1:
            return DEEP
        said = at[CODES]
        event = advance(T, S, out, ratio, until)
        if at[CODES] > said:
            at[QUIET] = 0
        if event == 4:
            return PAUSED
        if event == 2:
            return UNDECIDED
        if event == 3:
            return FULL
        if at[U] < N:
            side = at[SIDE]
            out.codes[at[CODES]] = SPLIT_PLUS_FIRST if side > 0 else SPLIT_MINUS_FIRST
            at[CODES] += 1
            at[QUIET] = 0
            push(S, at[U], -side)
            turn(T, S, side)
        else:
            point = out.points[at[REGIONS]]
            found = middle(S.walls, S.vertices, S.bases, at[ROWS], point)
            if not found and not spread_middle(S, point):
                return DOUBTFUL_LEAF
            pack(S.sign, out.patterns[at[REGIONS]])
            at[REGIONS] += 1
            at[QUIET] += 1
            going = False


@kernel(inline=True)
def room(S: State, out: Output) -> bool:
    """Whether the tokens of a path to a leaf fit in what is left of the output."""
    left = len(S.sign) - S.at[U]
    return S.at[CODES] + 2 * left + 4 <= len(out.codes)


@kernel(inner=True)
def advance(T: Tables, S: State, out: Output, ratio: float, until: int) -> int:
    """Decide units, one after the other, until one splits the cell (0, with its sides as in
    `by_program`), all are decided (1), one is undecided (2), the output is full (3), or `until`
    programmes are solved (4)."""
    at, k = S.at, S.work.shape[1]
    changed = True  # the box, since the units of the layer were held against it
    while at[U] < len(S.sign):
        if at[IDS] + 2 * (k + 1) ** 2 + 4 > len(out.ids):
            return 3
        if at[PROGRAMS] >= until:
            return 4
        unit = at[U]
        layer = T.layer[unit]
        start, end = T.starts[layer], T.starts[layer + 1]
        if unit == start:
            layer_forms(T, S, layer)
            single_sources(T, S, layer)
            changed = True
        if changed:
            box_signs(S.forms[:, unit:end], S.boxes[0], S.span, S.boxed[unit:end])
            many = unit == start and layer > 0 and open_units(S.boxed[start:end]) >= ratio * k
            if many and refresh_box(S, out):
                box_signs(S.forms[:, unit:end], S.boxes[0], S.span, S.boxed[unit:end])
        changed = False
        skip_boxed(S.boxed, S.sign, out.codes, at, end)
        if at[U] < end:
            lead = S.span[LEAD, at[U]]
            if lead != 0:
                event = follow(S, out, int(abs(lead)) - 1, lead > 0)
            elif T.follows[at[U]] >= 0:
                event = by_follow(T, S, out)
            else:
                event = by_row(S, out, T.central, k)
            if event == 0 or event == 2:
                return event
    return 1


@kernel(inline=True)
def open_units(boxed: Array) -> int:
    """How many units the box leaves open."""
    count = 0
    for j in range(len(boxed)):
        count += boxed[j] == 0
    return count


@kernel(inline=True)
def skip_boxed(boxed: Array, sign: Array, codes: Array, at: Array, end: int) -> None:
    """Pass over the units that the box decides, up to the end of the layer."""
    unit, n = at[U], at[CODES]
    while unit < end and boxed[unit] != 0:
        plus = boxed[unit] > 0
        codes[n] = PLUS_BOX if plus else MINUS_BOX
        sign[unit] = 1 if plus else 0
        n += 1
        unit += 1
    at[U], at[CODES] = unit, n


@kernel(inline=True)
def by_row(S: State, out: Output, central: Array, k: int) -> int:
    """`by_program` of the current unit; a proved sign is recorded, and the unit passed."""
    at = S.at
    unit = at[U]
    sign = by_program(S, unit)
    if sign == 2 and at[HINTED] and central[unit] and in_cone(S, central, unit):
        sign = at[SIDE]
    if sign == 1 or sign == -1:
        out.codes[at[CODES]] = PLUS_BASIS if sign > 0 else MINUS_BASIS
        at[CODES] += 1
        emit_basis(out.ids, at, S.ids, S.bases[TRIAL], k)
        S.sign[unit] = 1 if sign > 0 else 0
        at[U] = unit + 1
    return sign


@kernel(inline=True)
def by_follow(T: Tables, S: State, out: Output) -> int:
    """The sign of a unit whose row is a multiple of an earlier one's; 2 where z may be 0 on the
    cell, and the unit then inactive whatever the sign of the multiple."""
    at, G = S.at, S.forms
    unit = at[U]
    if G[-3, unit] <= 1.1 * G[-2, unit]:
        at[SIDE], at[HINTED] = 0, 0
        return 2
    v = T.follows[unit]
    return follow(S, out, v, (T.factor[unit] > 0) == (S.sign[v] & 1 == 1))


@kernel(inline=True)
def follow(S: State, out: Output, v: int, plus: bool) -> int:
    """The current unit is a multiple of unit v, not 0 throughout, and has this sign."""
    at = S.at
    out.codes[at[CODES]] = PLUS_FOLLOW if plus else MINUS_FOLLOW
    at[CODES] += 1
    out.ids[at[IDS]] = v
    at[IDS] += 1
    S.sign[at[U]] = 1 if plus else 0
    at[U] += 1
    return 1 if plus else -1
