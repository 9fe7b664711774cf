# SPDX-License-Identifier: Apache-2.0
"""What the splitting search asks of exact arithmetic: a sign that floats leave open, a region that
is too thin for them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from isoform.numerics.exact import Exact
from isoform.regions.compiled import Compiled
from isoform.regions.exact_decision import Decision, EmptyCell, Verdict, decide, interior
from isoform.regions.exact_forms import wall_of
from isoform.regions.exact_search import search
from isoform.regions.splitting_state import (
    CODES,
    EMPTY,
    HINTED,
    IDS,
    LEAF,
    QUIET,
    REGIONS,
    SIDE,
    SPLIT_MINUS_FIRST,
    SPLIT_PLUS_FIRST,
    TRIAL,
    Output,
    State,
    U,
)


@dataclass(slots=True)
class Collected:
    """What a search has listed so far: parts of an `Explored`, in order."""

    record: bool
    patterns: list[np.ndarray] = field(default_factory=list)
    points: list[np.ndarray] = field(default_factory=list)
    fine: list[tuple[int, Exact]] = field(default_factory=list)
    codes: list[np.ndarray] = field(default_factory=list)
    ids: list[np.ndarray] = field(default_factory=list)
    regions: int = 0
    decided: int = 0

    def take(self, state: State, out: Output) -> None:
        """Take what the kernel has listed since the last time."""
        regions, codes, ids = (int(state.at[place]) for place in (REGIONS, CODES, IDS))
        self.add(out.patterns[:regions].copy(), out.points[:regions].copy())
        self.say(out.codes[:codes].copy(), out.ids[:ids].copy())
        state.at[REGIONS] = state.at[CODES] = state.at[IDS] = 0

    def add(self, patterns: np.ndarray, points: np.ndarray) -> None:
        if len(patterns):
            self.patterns.append(patterns)
            self.points.append(points)
            self.regions += len(patterns)

    def add_exact(self, patterns: np.ndarray, points: Exact) -> None:
        """Regions with exact points (R, k); those that are no doubles are kept as they are."""
        for number in range(len(patterns)):
            if not points[number].is_representable(np.float64):
                self.fine.append((self.regions + number, points[number].reduced()))
        self.add(patterns, points.to_float())

    def say(self, codes: np.ndarray, ids: np.ndarray) -> None:
        if self.record:
            self.codes.append(codes)
            self.ids.append(ids)

    def token(self, code: int, ids: tuple[int, ...] = ()) -> None:
        self.say(np.array([code], dtype=np.uint8), np.array(ids, dtype=np.int32))

    def empty(self, state: State, ids: tuple[int, ...]) -> None:
        """The token of a cell without interior; right after leaves it would be taken for theirs."""
        for _ in range(int(state.at[QUIET])):
            self.token(LEAF)
        self.token(EMPTY, ids)
        state.at[QUIET] = 0


def settle_unit(compiled: Compiled, state: State, found: Collected) -> bool:
    """Decide the current unit exactly and move on; False: nothing is left of this node.

    Where the unit splits the cell, the side that floats do not reach is searched exactly, at once;
    the node's vertex goes on with the other, and with none if it lies on neither.
    """
    found.decided += 1
    unit, side = int(state.at[U]), int(state.at[SIDE])
    prefix = bytes(state.sign[:unit])
    hint = state.ids[state.bases[TRIAL, : compiled.dimension]] if state.at[HINTED] else None
    decision = decide(compiled.exact, prefix, unit, None if hint is None else hint.tolist())
    if decision.verdict is Verdict.EMPTY:
        found.empty(state, decision.ids)
        return False
    if decision.verdict is not Verdict.SPLIT:
        record_sign(compiled, state, found, unit, decision)
        return True
    if side == 0:
        search_exactly(compiled, prefix, found, state)
        return False
    found.token(SPLIT_MINUS_FIRST if side > 0 else SPLIT_PLUS_FIRST)
    state.at[QUIET] = 0
    search_exactly(compiled, prefix + bytes([2 if side > 0 else 3]), found, state)
    from isoform.regions.splitting_kernel import take_side

    take_side(compiled.tables, state, side)
    return True


def record_sign(
    compiled: Compiled, state: State, found: Collected, unit: int, decision: Decision
) -> None:
    prefix = bytes(state.sign[:unit])
    found.token(int(decision.verdict), decision.ids)
    state.at[QUIET] = 0
    state.sign[unit] = int(decision.verdict) & 1
    if decision.verdict is Verdict.MINUS_BOX and not any(wall_of(compiled.exact, unit, prefix)):
        state.forms[:, unit] = 0.0  # z = 0, which a later layer has to know of a step unit
    state.at[U] = unit + 1


def search_exactly(
    compiled: Compiled, prefix: bytes, found: Collected, state: State | None = None
) -> None:
    """All that lies below a node too thin for floats. state: of a search that goes on."""
    below = search(compiled.exact, prefix)
    if state is not None and len(below) == 0:
        found.empty(state, tuple(below.ids.tolist()))
        return
    found.add_exact(below.patterns, below.points)
    found.say(below.codes, below.ids)
    if state is not None:
        split_last = below.codes[-1:] <= max(SPLIT_MINUS_FIRST, SPLIT_PLUS_FIRST)
        state.at[QUIET] = 2 if split_last.any() else 1  # leaves of the last unit


def settle_leaf(compiled: Compiled, state: State, found: Collected) -> None:
    """A region for which floats have no certain witness: an exact one, or the proof that the cell
    has no interior."""
    found.decided += 1
    prefix = bytes(state.sign)
    point = interior(compiled.exact, prefix)
    if isinstance(point, EmptyCell):
        found.empty(state, point.ids)
        return
    state.at[QUIET] += 1
    bits = (state.sign & 1).astype(np.bool_)
    found.add_exact(np.packbits(bits)[None, :], point.reshape(1, -1))
