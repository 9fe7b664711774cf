# SPDX-License-Identifier: Apache-2.0
"""The splitting search: from a node of the tree of signs to regions, witnesses and the token stream.

Floats search, exact arithmetic decides what their error bounds leave open: the result is that of
exact arithmetic. A node is its prefix, one code a decided unit (bit 0: active, bit 1: the unit
splits the cell there); exploring it stops after a number of regions and hands back the open rest,
so that the tree of tasks does not depend on who works on it, or how fast.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from isoform.errors import DomainError
from isoform.numerics.exact import Exact
from isoform.regions.compiled import Compiled
from isoform.regions.splitting_state import (
    CODES,
    DEEP,
    DONE,
    DOUBTFUL_LEAF,
    EMPTY,
    FULL,
    HINTED,
    HOLE,
    IDS,
    PROGRAMS,
    REGIONS,
    SIDE,
    SPLIT_MINUS_FIRST,
    SPLIT_PLUS_FIRST,
    STACK,
    UNDECIDED,
    U,
    Output,
    State,
)

BATCH = 4096  # regions that the kernel lists before it is asked for them
REFRESH = 6  # layers with this many units per input get a fresh box


@dataclass(frozen=True, slots=True)
class Node:
    """An open node: one prefix code for every decided unit (see `Tokens`)."""

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


@dataclass(slots=True)
class Collected:
    """Parts of an Explored, in order."""

    patterns: list[np.ndarray] = field(default_factory=list)
    points: list[np.ndarray] = field(default_factory=list)
    fine: list[tuple[int, Exact]] = field(default_factory=list)
    codes: list[np.ndarray] = field(default_factory=list)
    ids: list[np.ndarray] = field(default_factory=list)
    children: list[Node] = field(default_factory=list)
    regions: int = 0
    decided: int = 0

    def take(self, state: State, out: Output) -> None:
        """Take what the kernel has listed."""
        n, codes, ids = (int(state.at[i]) for i in (REGIONS, CODES, IDS))
        if n:
            self.patterns.append(out.patterns[:n].copy())
            self.points.append(out.points[:n].copy())
        if codes:
            self.codes.append(out.codes[:codes].copy())
        if ids:
            self.ids.append(out.ids[:ids].copy())
        self.regions += n
        state.at[REGIONS] = state.at[CODES] = state.at[IDS] = 0

    def token(self, code: int, ids: tuple[int, ...] = ()) -> None:
        self.codes.append(np.array([code], dtype=np.uint8))
        if ids:
            self.ids.append(np.array(ids, dtype=np.int32))


def allocated(compiled: Compiled, depth: int, batch: int) -> tuple[State, Output]:
    """Room for a path of `depth` splits and for `batch` regions between two takings."""
    k, units = compiled.dimension, compiled.units
    most = len(compiled.tables.rows) + depth
    state = State(
        at=np.zeros(9, dtype=np.int64), sign=np.zeros(units, dtype=np.uint8),
        forms=np.zeros((k + 3, units)), norm=np.zeros(units),
        A=np.zeros((k, most)), b=np.zeros(most), drift=np.zeros(most),
        ids=np.zeros(most, dtype=np.int64),
        x=np.zeros(k), basis=np.zeros(k, dtype=np.int64), inverse=np.zeros((k, k)),
        low=np.zeros(k), high=np.zeros(k),
        stack_at=np.zeros((depth, 3), dtype=np.int64), stack_x=np.zeros((depth, k)),
        stack_basis=np.zeros((depth, k), dtype=np.int64), stack_inverse=np.zeros((depth, k, k)),
        stack_box=np.zeros((depth, 2, k)),
        try_x=np.zeros(k), try_basis=np.zeros(k, dtype=np.int64), try_inverse=np.zeros((k, k)),
        gap=np.zeros(most), rate=np.zeros(most), objective=np.zeros(k), multiplier=np.zeros(k),
        hint=np.zeros(k, dtype=np.int64),
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
    state, _ = allocated(compiled, 2 * len(old.stack_at), 1)
    for name, value in old._asdict().items():
        place = getattr(state, name)
        place[tuple(slice(0, n) for n in value.shape)] = value
    return state


def start(compiled: Compiled, node: Node, depth: int) -> State:
    """The state at a node. DomainError for a domain without interior."""
    from isoform.regions.splitting_kernel import begin, replay

    prefix = np.frombuffer(node.prefix, dtype=np.uint8)
    while True:
        state, _ = allocated(compiled, depth, 1)
        if not begin(compiled.tables, state):
            raise DomainError(
                "the domain has no interior: no point satisfies its rows strictly (by more than "
                "1e-9 of the box's half width)"
            )
        if replay(compiled.tables, state, prefix):
            return state
        if depth > len(prefix) + 1:
            raise ArithmeticError("no vertex of this node was found in floats")
        depth = 2 * max(depth, len(prefix))


def explore(
    compiled: Compiled, node: Node, *, most: int = 1 << 62, record: bool = True
) -> Explored:
    """The regions below a node, at most about `most` of them; the rest comes back as children.

    The list is complete and exact for the explored part: every region once, none without an
    interior. record: whether to keep the token stream. Deterministic in (compiled, node, most).
    """
    from isoform.regions.splitting_kernel import run

    state = start(compiled, node, max(64, len(node.prefix) + 8))
    _, out = allocated(compiled, 1, min(BATCH, most))
    found = Collected()
    fresh = True
    while True:
        status = run(compiled.tables, state, out, min(BATCH, most - found.regions), REFRESH, fresh)
        found.take(state, out)
        fresh = True
        if status == DONE:
            break
        if status == FULL and found.regions >= most:
            found.children = open_nodes(state)
            found.codes.append(np.full(len(found.children), HOLE, dtype=np.uint8))
            break
        if status == DEEP:
            state = deeper(compiled, state)
        elif status == DOUBTFUL_LEAF:
            settle_leaf(compiled, state, found)
            fresh = False
        elif status == UNDECIDED:
            fresh = settle_unit(compiled, state, found)
    return finished(compiled, state, found, record)


def open_nodes(state: State) -> list[Node]:
    """The current node, then the siblings on the stack, the last first."""
    here = bytes(state.sign[: state.at[U]])
    nodes = [Node(here)]
    for unit, _, side in state.stack_at[: state.at[STACK]][::-1].tolist():
        nodes.append(Node(here[:unit] + bytes([3 if side > 0 else 2])))
    return nodes


def finished(compiled: Compiled, state: State, found: Collected, record: bool) -> Explored:
    width, k = (compiled.units + 7) // 8, compiled.dimension
    return Explored(
        patterns=np.concatenate([np.zeros((0, width), np.uint8), *found.patterns]),
        points=np.concatenate([np.zeros((0, k)), *found.points]),
        fine=tuple(found.fine), children=tuple(found.children),
        codes=np.concatenate([np.zeros(0, np.uint8), *(found.codes if record else [])]),
        ids=np.concatenate([np.zeros(0, np.int32), *(found.ids if record else [])]),
        programs=int(state.at[PROGRAMS]), decided=found.decided,
    )
