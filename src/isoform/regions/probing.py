# SPDX-License-Identifier: Apache-2.0
"""Single paths of the splitting tree, for estimates: random ones to a leaf, and one split."""

from __future__ import annotations

import numpy as np

from isoform.regions.compiled import Compiled
from isoform.regions.exact_decision import Verdict, decide
from isoform.regions.splitting import REFRESH, Node, allocated, start
from isoform.regions.splitting_state import HINTED, SIDE, Output, State, U


def probe(compiled: Compiled, node: Node, count: int, seed: int) -> np.ndarray:
    """Numbers of splits (count,) on random paths from a node to a leaf, either side at each split
    with probability one half.

    The mean of 2**splits is an unbiased estimate of the number of activation regions below the node
    (Knuth 1975), up to cells thinner than the tolerance of the floats, which are passed by.
    """
    random = np.random.default_rng(seed)
    _, out = allocated(compiled, 1, 1)
    found = np.zeros(count, dtype=np.int64)
    first = start(compiled, node)
    if first is None:
        return found
    for number in range(count):
        state = State(*(array.copy() for array in first))
        found[number] = descended(compiled, state, out, random)
    return found


def descended(
    compiled: Compiled, state: State, out: Output, random: np.random.Generator
) -> int:
    """Splits on one random path."""
    from isoform.regions.splitting_kernel import descend

    splits = 0
    while True:
        turns = random.integers(0, 2, size=64).astype(np.bool_)
        event = descend(compiled.tables, state, out, REFRESH, turns)
        splits += int(state.at[HINTED])
        if event == 1:
            return splits
        if event == 3:
            if state.at[HINTED] < len(turns):  # no room for a deeper path
                return splits
            continue
        if not passed(compiled, state):
            return splits


def passed(compiled: Compiled, state: State) -> bool:
    """Decide the current unit exactly, towards the side that floats can reach; False: neither."""
    from isoform.regions.splitting_kernel import take_side

    unit = int(state.at[U])
    decision = decide(compiled.exact, bytes(state.sign[:unit]), unit)
    if decision.verdict is Verdict.EMPTY:
        return False
    if decision.verdict is Verdict.SPLIT:
        side = int(state.at[SIDE])
        if side:
            take_side(compiled.tables, state, side)
        return side != 0
    state.sign[unit] = int(decision.verdict) & 1
    state.at[U] = unit + 1
    return True


def branches(compiled: Compiled, node: Node) -> tuple[Node, ...]:
    """The two children of the first split below a node; none where the node has one region."""
    from isoform.regions.splitting_kernel import descend

    state = start(compiled, node)
    if state is None:
        return ()
    _, out = allocated(compiled, 1, 1)
    while True:
        event = descend(compiled.tables, state, out, REFRESH, np.zeros(0, dtype=np.bool_))
        if event == 1:
            return ()
        unit = int(state.at[U])
        here = bytes(state.sign[:unit])
        if event == 3:
            return Node(here + b"\2"), Node(here + b"\3")
        if not passed(compiled, state):
            return ()
        if state.sign[unit] & 2:
            return Node(here + b"\2"), Node(here + b"\3")
