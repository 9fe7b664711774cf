# SPDX-License-Identifier: Apache-2.0
"""Evidence for a count of activation regions: a splitting tree as streams of tokens, with a point
inside every region.

A node of the tree is a prefix: one code a decided unit, 0 inactive and 1 active without a split, 2
and 3 the same where the unit splits the cell. A stream is the subtree below one node in preorder,
units in their order. Rows are named by ids: 0..m-1 the rows of the chart, m + j the half-space of
unit j, which split the path.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np

from isoform.certificate.arrays import Arrays, fetch, fetch_exact, fetch_index, listed, malformed
from isoform.network.linear_map import Constant
from isoform.numerics.exact import Exact, integers

NUMBERS = ("prefixes", "lengths", "codes", "ids", "points", "places", "fine")


class Token(IntEnum):
    """What a stream says next. MINUS: z <= 0 on the cell; PLUS: z >= 0 and not identically 0."""

    SPLIT_MINUS_FIRST = 0  # both children follow, the named one first
    SPLIT_PLUS_FIRST = 1
    MINUS_BOX = 2  # by the box around the node
    PLUS_BOX = 3
    MINUS_BASIS = 4  # by multipliers of k rows, whose ids follow
    PLUS_BASIS = 5
    MINUS_FOLLOW = 6  # a multiple of an earlier unit, whose number follows
    PLUS_FOLLOW = 7
    BOX = 8  # tightens the box: a mask in words of 15 coordinates (bit 2i: lower end, bit 2i + 1:
    # upper end), then for every set bit the ids of k rows
    EMPTY = 9  # in place of a unit or leaf: no interior, by k + 1 rows
    HOLE = 10  # the subtree of this node is another stream
    LEAF = 11  # says that a node with all units decided is a leaf where an EMPTY of another follows


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Stream:
    """The subtree below a node of a chart in R^k.

    codes (T,) uint8 and ids int32: the tokens. points (R, k) float64: for every leaf, in order, a
    point strictly inside its cell; fine: exact ones (k,) that replace those with these numbers
    (rising), for cells that no double is in.
    """

    prefix: bytes = b""
    codes: np.ndarray
    ids: np.ndarray
    points: np.ndarray
    fine: tuple[tuple[int, Exact], ...] = ()


@dataclass(frozen=True, slots=True)
class Regions:
    """For every chart of the domain its streams, that of the whole chart first."""

    charts: tuple[tuple[Stream, ...], ...]


def encode_regions(data: Regions, arrays: Arrays) -> dict[str, Any]:
    return {"charts": [encode_streams(streams, arrays) for streams in data.charts]}


def encode_streams(streams: tuple[Stream, ...], arrays: Arrays) -> dict[str, int]:
    """The streams of a chart, one after the other: seven arrays."""
    lengths = [
        [len(s.prefix), len(s.codes), len(s.ids), len(s.points), len(s.fine)] for s in streams
    ]
    fine = [point for s in streams for _, point in s.fine]
    k = streams[0].points.shape[1] if streams else 0
    whole = [[point.denominator, *point.numerator.tolist()] for point in fine]
    places = [number for s in streams for number, _ in s.fine]
    parts: tuple[Constant, ...] = (
        np.frombuffer(b"".join(s.prefix for s in streams), dtype=np.uint8),
        np.array(lengths, dtype=np.int64).reshape(-1),
        np.concatenate([np.zeros(0, np.uint8), *(s.codes for s in streams)]),
        np.concatenate([np.zeros(0, np.int32), *(s.ids for s in streams)]),
        np.concatenate([np.zeros((0, k)), *(s.points for s in streams)]),
        np.array(places, dtype=np.int64),
        Exact(integers((n for row in whole for n in row), (len(fine), 1 + k))),
    )
    return {name: arrays.add(part) for name, part in zip(NUMBERS, parts, strict=True)}


def decode_regions(data: dict[str, Any], arrays: list[Constant]) -> Regions:
    return Regions(tuple(decode_streams(record, arrays) for record in listed(data, "charts")))


def decode_streams(record: Any, arrays: list[Constant]) -> tuple[Stream, ...]:
    if not isinstance(record, dict) or set(record) != set(NUMBERS):
        raise malformed("streams of tokens with other parts than they have")
    prefixes = typed(fetch(arrays, record["prefixes"]), np.uint8, 1)
    codes = typed(fetch(arrays, record["codes"]), np.uint8, 1)
    ids = typed(fetch(arrays, record["ids"]), np.int32, 1)
    points = typed(fetch(arrays, record["points"]), np.float64, 2)
    places = fetch_index(arrays, record["places"])
    fine = fetch_exact(arrays, record["fine"])
    if fine.shape != (len(places), 1 + points.shape[1]) or fine.denominator != 1:
        raise malformed("exact points of another shape")
    if np.any(fine.numerator[:, :1] <= 0):
        raise malformed("an exact point without a positive denominator")
    flat = fetch_index(arrays, record["lengths"])
    parts = (prefixes, codes, ids, points, places)
    if len(flat) % 5 or np.any(flat < 0) or np.any(flat > max(map(len, parts))):
        raise malformed("streams of tokens with impossible lengths")
    lengths = flat.reshape(-1, 5)
    ends = np.concatenate((np.zeros((1, 5), np.int64), np.cumsum(lengths, axis=0)))
    if ends[-1].tolist() != [len(part) for part in parts]:
        raise malformed("streams of tokens that are longer or shorter than their arrays")
    rows = [Exact(row[1:], row[0]) for row in fine.numerator]
    numbers = places.tolist()
    return tuple(
        Stream(
            prefix=prefixes[a[0] : b[0]].tobytes(), codes=codes[a[1] : b[1]],
            ids=ids[a[2] : b[2]], points=points[a[3] : b[3]],
            fine=tuple(zip(numbers[a[4] : b[4]], rows[a[4] : b[4]], strict=True)),
        )
        for a, b in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True)
    )


def typed(value: Constant, dtype: Any, axes: int) -> np.ndarray:
    """An array of floats or integers of this type."""
    if not isinstance(value, np.ndarray) or value.dtype != dtype or value.ndim != axes:
        raise malformed(f"an array that is no {np.dtype(dtype).name} of {axes} axes")
    return value
