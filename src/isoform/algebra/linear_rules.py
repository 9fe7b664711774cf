# SPDX-License-Identifier: Apache-2.0
"""The rules that collapse affine sums, and the cost rule that admits them.

A rule replaces nodes of a `LinearGraph` only if fewer numbers are stored afterwards, or as many in
fewer nodes; so the rules end.
"""

from __future__ import annotations

from functools import cache

from isoform.algebra.conv_algebra import apply_exact
from isoform.algebra.linear_graph import LinearGraph, MakeBias, Total
from isoform.algebra.map_algebra import Sketch, composed, summed
from isoform.network.linear_map import Conv
from isoform.numerics.exact import Exact


def collapse(graph: LinearGraph, force: bool) -> list[str]:
    """Apply all rules to a fixed point. Returns what was left alone, in words."""
    changed = True
    while changed:
        changed = False
        for value in sorted(graph.nodes):
            changed |= add_parallel(graph, value, force)
        changed |= collapse_chains(graph, force)
        uses = graph.uses()
        for value in sorted(graph.nodes):
            while absorb(graph, value, uses, force):
                changed, uses = True, graph.uses()
        graph.drop_unread()
    return left_alone(graph)


def total_at(graph: LinearGraph, value: int) -> Total | None:
    node = graph.nodes.get(value)
    return node if isinstance(node, Total) else None


def add_parallel(graph: LinearGraph, value: int, force: bool) -> bool:
    """W x + V x = (W + V) x."""
    node = total_at(graph, value)
    if node is None:
        return False
    changed = False
    first = 0
    while first < len(node.parts):
        second = first + 1
        while second < len(node.parts):
            (a, x), (b, y) = node.parts[first], node.parts[second]
            both = summed(a, b) if x == y else None
            if both is not None and (force or both.stored <= a.saving + b.saving):
                node.parts[first] = (both, x)
                del node.parts[second]
                node.origin, changed = None, True
            else:
                second += 1
        first += 1
    return changed


# --- chains -----------------------------------------------------------------------------------


def collapse_chains(graph: LinearGraph, force: bool) -> bool:
    """The best grouping of every chain of sums that only the next one reads."""
    changed = False
    uses = graph.uses()
    inner = {
        node.parts[0][1]
        for value in graph.nodes
        if (node := total_at(graph, value)) and len(node.parts) == 1
        and uses.get(node.parts[0][1]) == 1
    }
    for value in sorted(graph.nodes):
        if value in inner or total_at(graph, value) is None:
            continue
        chain = chain_to(graph, value, uses)
        if len(chain) > 1:
            changed |= regroup(graph, chain, force)
    return changed


def chain_to(graph: LinearGraph, value: int, uses: dict[int, int]) -> list[int]:
    """The sums in a row that end at `value`, first to last."""
    chain = [value]
    while True:
        node = total_at(graph, chain[-1])
        if node is None or len(node.parts) != 1:
            break
        before = node.parts[0][1]
        if uses.get(before) != 1 or total_at(graph, before) is None:
            break
        chain.append(before)
    return chain[::-1]


def regroup(graph: LinearGraph, chain: list[int], force: bool) -> bool:
    """Dynamic programme: best[j] = min over i of best[i] + cost of nodes i..j-1 as one."""
    nodes = [total_at(graph, value) for value in chain]
    groups: dict[tuple[int, int], Total] = {}
    best: list[tuple[int, int]] = [(0, 0)]
    cut = [0]
    for j in range(1, len(chain) + 1):
        options = []
        for i in range(j - 1, -1, -1):
            group = grouped(nodes[j - 1], groups.get((i, j - 1)), force) if i < j - 1 \
                else nodes[j - 1]
            if group is None:
                break
            groups[i, j] = group
            cost = 0 if force else group.cost() if i == j - 1 else stored(group)
            options.append((best[i][0] + cost, best[i][1] + 1, i))
        cost, count, start = min(options)
        best.append((cost, count))
        cut.append(start)
    if best[-1][1] == len(chain):
        return False
    end = len(chain)
    while end:
        start = cut[end]
        if end - start > 1:
            graph.nodes[chain[end - 1]] = groups[start, end]
            for value in chain[start : end - 1]:
                del graph.nodes[value]
        end = start
    return True


def stored(node: Total) -> int:
    """Parameters of a new sum, at most."""
    return sum(part.stored for part, _ in node.parts) + (node.rows if node.bias else 0)


def grouped(outer: Total | None, inner: Total | None, force: bool) -> Total | None:
    """outer(inner(x)) for an outer sum of one map; None where it is not admissible."""
    if outer is None or inner is None:
        return None
    part = outer.parts[0][0]
    if blocked(part, inner, force):
        return None
    parts = [(composed(part, piece), value) for piece, value in inner.parts]
    bias = plus(outer.bias, inner.bias, part)
    return Total(parts, bias, outer.shape, None, outer.rows if bias else 0)


def blocked(part: Sketch, inner: Total, force: bool) -> bool:
    """Whether a bias stands before a zero-padded convolution that would stay one."""
    if force or inner.bias is None or not isinstance(part.frame, Conv):
        return False
    return any(map(any, part.frame.pads))


def plus(outer: MakeBias | None, inner: MakeBias | None, part: Sketch) -> MakeBias | None:
    """The bias of outer(inner(x)): W b + c."""
    if inner is None:
        return outer

    def make() -> Exact:
        moved = apply_exact(part.make(), inner() + Exact.zeros(part.inputs))
        return moved if outer is None else moved + outer()

    return cache(make)


# --- branches ---------------------------------------------------------------------------------


def absorb(graph: LinearGraph, value: int, uses: dict[int, int], force: bool) -> bool:
    """Replace an operand that is a sum by its own operands, where that stores no more."""
    node = total_at(graph, value)
    if node is None:
        return False
    for at, (part, operand) in enumerate(node.parts):
        inner = total_at(graph, operand)
        if inner is None or blocked(part, inner, force):
            continue
        alone = uses.get(operand) == 1
        parts = [(composed(part, piece), v) for piece, v in inner.parts]
        gained = part.saving + (inner.cost() if alone else 0)
        spent = sum(piece.stored for piece, _ in parts)
        if inner.bias is not None and node.bias is None:
            spent += node.rows
        if spent <= gained or (force and alone):
            node.bias = plus(node.bias, inner.bias, part)
            node.saving = node.rows if node.bias else 0
            node.parts[at : at + 1] = parts
            node.origin = None
            return True
    return False


def left_alone(graph: LinearGraph) -> list[str]:
    """Affine maps in a row that stay two, and why."""
    notes = []
    uses = graph.uses()
    for value in sorted(graph.nodes):
        node = total_at(graph, value)
        for part, operand in node.parts if node else []:
            inner = total_at(graph, operand)
            if inner is None or uses.get(operand) != 1 or part.saving == 0:
                continue
            if blocked(part, inner, False):
                notes.append(f"value {operand} keeps its bias before the zero-padded convolution "
                             f"of value {value}")
            elif inner.cost():
                product = sum(composed(part, piece).stored for piece, _ in inner.parts)
                notes.append(f"values {operand} and {value} stay two maps: they store "
                             f"{part.stored + inner.cost():,} numbers, their product {product:,}")
    return notes
