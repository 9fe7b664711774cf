# SPDX-License-Identifier: Apache-2.0
"""The splitting search: from a node of the tree of signs to regions, witnesses and tokens.

Floats search, exact arithmetic decides what their error bounds leave open: the result is that of
exact arithmetic. A node is its prefix, one code a decided unit (bit 0: active, bit 1: the unit
splits the cell there); exploring it stops after a number of regions and hands back the open rest,
so that the tree of tasks does not depend on who works on it, or how fast.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from isoform.errors import DomainError
from isoform.numerics.exact import Exact
from isoform.regions.compiled import Compiled
from isoform.regions.exact_decision import EmptyCell, interior
from isoform.regions.listing import Stopped
from isoform.regions.settling import Collected, search_exactly, settle_leaf, settle_unit
from isoform.regions.splitting_state import (
    DEEP,
    DONE,
    DOUBTFUL_LEAF,
    FULL,
    HOLE,
    PROGRAMS,
    SIBLINGS,
    STACK,
    UNDECIDED,
    Output,
    State,
    U,
)

NO_INTERIOR = (
    "the polytope has no interior: no point satisfies all its rows strictly; drop or relax rows, "
    "or take a slice through the affine space in which it lies"
)
PAUSE = 3_000_000  # half-spaces times coordinates times programmes between two returns
BATCH = 4096  # regions that the kernel lists before it is asked for them
REFRESH = 2  # a cell gets a fresh box where this many units a coordinate are open in a layer


@dataclass(frozen=True, slots=True)
class Node:
    """An open node: one prefix code for every decided unit (bit 0 active, bit 1 split)."""

    prefix: bytes = b""


@dataclass(frozen=True, slots=True, eq=False)
class Explored:
    """What was found below a node.

    patterns: (R, ceil(N / 8)) packed bits, unit 0 the highest of byte 0. points: (R, k) float64,
    each strictly inside its region, exactly; `fine` replaces those (by number) that need more than
    a double. children: the open rest, in the order of the tree. codes, ids: the token stream.
    programs: linear programmes solved. decided: questions that exact arithmetic answered.
    """

    patterns: np.ndarray
    points: np.ndarray
    fine: tuple[tuple[int, Exact], ...]
    children: tuple[Node, ...]
    codes: np.ndarray
    ids: np.ndarray
    programs: int
    decided: int


def allocated(compiled: Compiled, depth: int, batch: int) -> tuple[State, Output]:
    """Room for a path of `depth` splits and for `batch` regions between two takings."""
    k, units = compiled.dimension, compiled.units
    most = len(compiled.tables.rows) + depth
    state = State(
        at=np.zeros(10, dtype=np.int64), sign=np.zeros(units, dtype=np.uint8),
        forms=np.zeros((k + 4, units)), walls=np.zeros((k + 4, most)),
        ids=np.zeros(most, dtype=np.int64), vertices=np.zeros((2 + depth, k + 1, k)),
        bases=np.zeros((2 + depth, k + 3), dtype=np.int64), boxes=np.zeros((1 + depth, 2, k)),
        work=np.zeros((3, k)), span=np.zeros((3, units)), boxed=np.zeros(units, dtype=np.int8),
    )
    tokens = max(4 * units, 1 << 16)
    out = Output(
        patterns=np.zeros((batch, (units + 7) // 8), dtype=np.uint8),
        points=np.zeros((batch, k)), codes=np.zeros(tokens, dtype=np.uint8),
        ids=np.zeros(4 * tokens + 4 * (k + 1) ** 2, dtype=np.int32),
    )
    return state, out


def deeper(compiled: Compiled, old: State) -> State:
    """The same state with room for twice the depth."""
    state, _ = allocated(compiled, 2 * len(old.boxes), 1)
    for name, value in old._asdict().items():
        place = getattr(state, name)
        place[tuple(slice(0, n) for n in value.shape)] = value
    return state


def root(compiled: Compiled) -> Node:
    """The node of the whole chart. DomainError for a polytope without interior, exactly."""
    if compiled.chart.more is not None and isinstance(interior(compiled.exact, b""), EmptyCell):
        raise DomainError(NO_INTERIOR)
    return Node()


def start(compiled: Compiled, node: Node) -> State | None:
    """The state at a node; None where floats find no vertex off all its walls."""
    from isoform.regions.splitting_start import replay

    state, _ = allocated(compiled, max(64, len(node.prefix) + 8), 1)
    prefix = np.frombuffer(node.prefix, dtype=np.uint8)
    return state if replay(compiled.tables, state, prefix) else None


def explore(
    compiled: Compiled, node: Node, *, most: int = 1 << 62, record: bool = True,
    stop: Callable[[], bool] | None = None,
) -> Explored:
    """The regions below a node, at most about `most` of them; the rest comes back as children.

    The list is complete and exact for the explored part: every region once, none without an
    interior. record: whether to keep the token stream. Deterministic in (compiled, node, most).
    stop: asked some times a second whether to give up, which raises Stopped.
    """
    from isoform.regions.splitting_kernel import run

    found = Collected(record)
    children: list[Node] = []
    state = start(compiled, node)
    if state is None:  # a cell too thin for floats
        search_exactly(compiled, node.prefix, found)
        return finished(compiled, 0, found, children)
    _, out = allocated(compiled, 1, min(BATCH, most))
    some = max(1, PAUSE // compiled.tables.rows.size)
    status, fresh = FULL, True
    while status != DONE:
        left = max(0, most - found.regions)
        leaf = int(state.at[U]) == compiled.units
        if left == 0 and fresh and not leaf:
            children = open_nodes(state)
            found.say(np.full(len(children), HOLE, dtype=np.uint8), np.zeros(0, dtype=np.int32))
            break
        # A leaf is never left open: it has no token, so a hole after it could not be told apart.
        wanted = max(left, 1) if fresh else left
        until = int(state.at[PROGRAMS]) + some
        status = run(compiled.tables, state, out, min(BATCH, wanted), REFRESH, fresh, until)
        found.take(state, out)
        if stop is not None and stop():
            raise Stopped
        fresh = True
        if status == DEEP:
            state = deeper(compiled, state)
        elif status == DOUBTFUL_LEAF:
            settle_leaf(compiled, state, found)
            fresh = False
        elif status == UNDECIDED:
            fresh = settle_unit(compiled, state, found)
    return finished(compiled, int(state.at[PROGRAMS]), found, children)


def open_nodes(state: State) -> list[Node]:
    """The current node, then the siblings, the last first."""
    nodes = [Node(bytes(state.sign[: state.at[U]]))]
    entries = state.bases[SIBLINGS : SIBLINGS + state.at[STACK], -3:]
    for unit, _, side in entries[::-1].tolist():
        nodes.append(Node(bytes(state.sign[:unit]) + bytes([3 if side > 0 else 2])))
    return nodes


def finished(
    compiled: Compiled, programs: int, found: Collected, children: list[Node]
) -> Explored:
    width, k = (compiled.units + 7) // 8, compiled.dimension
    return Explored(
        patterns=np.concatenate([np.zeros((0, width), np.uint8), *found.patterns]),
        points=np.concatenate([np.zeros((0, k)), *found.points]),
        fine=tuple(found.fine), children=tuple(children),
        codes=np.concatenate([np.zeros(0, np.uint8), *found.codes]),
        ids=np.concatenate([np.zeros(0, np.int32), *found.ids]),
        programs=programs, decided=found.decided,
    )
