# SPDX-License-Identifier: Apache-2.0
"""The exact weights of a network's layers, taken apart by the layers that they read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import flint
import numpy as np

from isoform.numerics.sparse import EXPANSION_COST, ExactSparse

Row = tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """What n rows take of one earlier layer: `places` in it that any of them uses, in order, and
    their weights: a matrix (n, len(places)) of flint, or where there are few non-zeros None, and
    `entries`, one list of (place in the layer, weight) a row."""

    layer: int
    places: Sequence[int]
    matrix: flint.fmpz_mat | None
    entries: list[list[tuple[int, int]]]


@dataclass(frozen=True, slots=True, eq=False)
class Weights:
    """Rows over the constant, the coordinates and the units, over one denominator: `base` are n
    lists of 1 + k integers. sparse: there are earlier units, and all blocks are lists, so that
    single rows cost little."""

    base: list[list[int]]
    blocks: tuple[Block, ...]
    denominator: int
    sparse: bool


def weights(rows: ExactSparse, dimension: int, starts: Sequence[int]) -> Weights:
    """Rows over (constant, inputs, units) taken apart by layer."""
    n = rows.shape[0]
    at, columns, data = rows.row_numbers(), rows.columns, rows.data
    base = [[0] * (1 + dimension) for _ in range(n)]
    early = columns <= dimension
    for i, c, value in zip(at[early], columns[early], data[early], strict=True):
        base[i][c] = int(value)
    blocks: list[Block] = []
    for layer, (first, end) in enumerate(zip(starts[:-1], starts[1:], strict=True)):
        mine = (columns > dimension + first) & (columns <= dimension + end)
        if mine.any():
            places = columns[mine] - 1 - dimension - first
            blocks.append(block(layer, (n, end - first), at[mine], places, data[mine]))
    sparse = bool(blocks) and all(part.matrix is None for part in blocks)
    return Weights(base, tuple(blocks), rows.denominator, sparse)


def block(
    layer: int, shape: tuple[int, int], at: np.ndarray, places: np.ndarray, data: np.ndarray
) -> Block:
    """The entries (row, place, integer) of one earlier layer, in the form that costs less."""
    used, columns = np.unique(places, return_inverse=True)
    if len(data) * EXPANSION_COST >= shape[0] * shape[1]:
        matrix = flint.fmpz_mat(shape[0], len(used))
        for i, c, value in zip(at.tolist(), columns.tolist(), data.tolist(), strict=True):
            matrix[i, c] = int(value)
        return Block(layer, used.tolist(), matrix, [])
    entries: list[list[tuple[int, int]]] = [[] for _ in range(shape[0])]
    for i, place, value in zip(at.tolist(), places.tolist(), data.tolist(), strict=True):
        entries[i].append((place, int(value)))
    return Block(layer, used.tolist(), None, entries)


def multiplied(part: Block, values: Sequence[Row | None], width: int) -> Sequence[Sequence[int]]:
    """Weights times values of the block's places, in integers; None is 0."""
    if part.matrix is None:
        at = dict(zip(part.places, values, strict=True))
        return [
            combination([(w, v) for place, w in row if (v := at[place]) is not None], width)
            for row in part.entries
        ]
    none = (0,) * width
    flat = [entry for value in values for entry in (none if value is None else value)]
    sums = (part.matrix * flint.fmpz_mat(len(values), width, flat)).entries()
    return [[int(value) for value in sums[i : i + width]] for i in range(0, len(sums), width)]


def combination(terms: Sequence[tuple[int, Row]], width: int) -> Row:
    """The sum of weights times rows."""
    return tuple(sum([w * row[c] for w, row in terms]) for c in range(width))


def primitive(row: Row) -> Row:
    """The row divided by the greatest common divisor of its entries."""
    shared = math.gcd(*row)
    return tuple(value // shared for value in row) if shared > 1 else row


def turned(row: Row) -> Row:
    return tuple(-value for value in row)


def signed(wall: Row) -> tuple[Row, int]:
    """(the wall or its negative, 1 or -1): whichever has its first coefficient positive."""
    lead = next(value for value in wall[1:] if value)
    return (wall, 1) if lead > 0 else (turned(wall), -1)
