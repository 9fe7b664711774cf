# SPDX-License-Identifier: Apache-2.0
"""The splitting search in exact arithmetic alone.

The reference for the search in floats, and what takes over where a cell is too thin for them. It
decides each unit on each node by one linear programme at most: a point strictly inside the cell
says which sign z certainly has, the programme whether it has the other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from isoform.errors import TooLarge
from isoform.numerics.exact import Exact, integers
from isoform.regions.exact_decision import (
    Cell,
    EmptyCell,
    Verdict,
    along_split,
    cell_of,
    centre,
    constant_or_multiple,
    opposite,
    side_of,
)
from isoform.regions.exact_forms import PATTERN, ExactForms, Row, turned, wall_of
from isoform.regions.exact_program import Infeasible


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """The regions below a node, in preorder, minus first.

    patterns: (R, ceil(N / 8)) packed bits, unit 0 the highest of byte 0. points: (R, k), each
    strictly inside its region. codes uint8, ids int32: the token stream.
    """

    patterns: np.ndarray
    points: Exact
    codes: np.ndarray
    ids: np.ndarray

    def __len__(self) -> int:
        return len(self.patterns)


@dataclass(slots=True)
class Listed:
    """What the search has found so far."""

    patterns: list[bytes] = field(default_factory=list)
    points: list[Row] = field(default_factory=list)
    codes: list[int] = field(default_factory=list)
    ids: list[int] = field(default_factory=list)

    def token(self, verdict: Verdict, ids: tuple[int, ...] = ()) -> None:
        self.codes.append(verdict)
        self.ids += ids


@dataclass(frozen=True, slots=True)
class Open:
    """A node to go on with: its prefix, its cell and a point strictly inside."""

    prefix: bytes
    cell: Cell
    inside: Row


def search(forms: ExactForms, prefix: bytes = b"", most: int | None = None) -> Found:
    """All activation regions below a node, exactly.

    prefix: one code a decided unit (see `exact_forms`). A node without an interior has no regions
    and the one token EMPTY. Raises TooLarge beyond `most` regions.
    """
    found = Listed()
    cell = cell_of(forms, prefix)
    inside = centre(cell)
    if isinstance(inside, EmptyCell):
        found.token(Verdict.EMPTY, inside.ids)
        return finished(forms, found)
    stack = [Open(prefix, cell, inside)]
    while stack:
        node: Open | None = stack.pop()
        while node is not None:
            node = step(forms, node, stack, found)
        if most is not None and len(found.patterns) > most:
            raise TooLarge(f"more than {most:,} regions below this node; ask for fewer at a time")
    return finished(forms, found)


def step(forms: ExactForms, node: Open, stack: list[Open], found: Listed) -> Open | None:
    """Decide the node's next units up to the next split, whose plus child goes to the stack and
    whose minus child is returned; at a leaf, list the region and return None."""
    codes = bytearray(node.prefix)
    while len(codes) < forms.starts[-1]:
        unit, prefix = len(codes), bytes(codes)
        wall = wall_of(forms, unit, prefix)
        verdict, ids = settled(forms, prefix, unit, wall, node)
        found.token(verdict, ids)
        if verdict == Verdict.SPLIT:
            stack.append(child(forms, node, prefix, wall, 1))
            return child(forms, node, prefix, wall, -1)
        codes.append(verdict & 1)  # the plus verdicts are the odd ones
    found.patterns.append(bytes(codes).translate(PATTERN))
    found.points.append(node.inside)
    return None


def settled(
    forms: ExactForms, prefix: bytes, unit: int, wall: Row, node: Open
) -> tuple[Verdict, tuple[int, ...]]:
    """The verdict on a unit and the ids that prove it."""
    known = constant_or_multiple(forms, prefix, unit, wall) or along_split(
        forms, wall, node.cell.ids, node.cell.rows
    )
    if known is not None:
        return known.verdict, known.ids
    side = side_of(wall, node.inside)
    if side == 0:  # a point inside, on the wall: both signs are near it
        return Verdict.SPLIT, ()
    solved = opposite(node.cell, wall, side)
    if isinstance(solved, Infeasible):
        raise ArithmeticError("a cell with a point inside is not empty")
    if solved.value > 0:
        return Verdict.SPLIT, ()
    ids = tuple(node.cell.ids[i] for i in solved.basis)
    return (Verdict.PLUS_BASIS if side > 0 else Verdict.MINUS_BASIS), ids


def child(forms: ExactForms, node: Open, prefix: bytes, wall: Row, side: int) -> Open:
    """The child with this sign at a split; it keeps the point inside if it has that sign."""
    row = wall if side > 0 else turned(wall)
    cell = node.cell.with_wall(len(forms.chart_rows) + len(prefix), row)
    inside: Row | EmptyCell = node.inside
    if side_of(wall, node.inside) != side:
        inside = centre(cell)
    if isinstance(inside, EmptyCell):
        raise ArithmeticError("both children of a split have an interior")
    return Open(prefix + bytes([3 if side > 0 else 2]), cell, inside)


def finished(forms: ExactForms, found: Listed) -> Found:
    units, k = forms.starts[-1], forms.dimension
    bits = np.frombuffer(b"".join(found.patterns), dtype=np.uint8)
    scale = math.lcm(1, *(point[0] for point in found.points))
    numerator = integers(
        (value * (scale // point[0]) for point in found.points for value in point[1:]),
        (len(found.points), k),
    )
    return Found(
        np.packbits(bits.reshape(len(found.patterns), units), axis=1),
        Exact(numerator, scale),
        np.array(found.codes, dtype=np.uint8),
        np.array(found.ids, dtype=np.int32),
    )
