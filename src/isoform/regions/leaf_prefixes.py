# SPDX-License-Identifier: Apache-2.0
"""The prefixes of the leaves of a recorded search."""

from __future__ import annotations

import numpy as np

from isoform.regions.kernel import kernel
from isoform.regions.splitting_state import (
    BOX,
    EMPTY,
    HOLE,
    LEAF,
    SPLIT_MINUS_FIRST,
    SPLIT_PLUS_FIRST,
)


def leaf_prefixes(codes: np.ndarray, prefix: bytes, units: int) -> list[bytes]:
    """The prefix of every region of a token stream that starts at `prefix`, in order; each has
    `units` codes. Subtrees left to other streams are left out."""
    path = np.zeros(units, dtype=np.uint8)
    path[: len(prefix)] = np.frombuffer(prefix, dtype=np.uint8)
    splits = int(np.count_nonzero(codes <= max(SPLIT_MINUS_FIRST, SPLIT_PLUS_FIRST)))
    found = np.zeros((splits + 1, units), dtype=np.uint8)
    count = follow(codes, path, len(prefix), found)
    return [row.tobytes() for row in found[:count]]


@kernel
def follow(codes: np.ndarray, path: np.ndarray, first: int, found: np.ndarray) -> int:
    """Write the leaves' prefixes to `found`; how many there are."""
    units = len(path)
    waiting = np.zeros((units + 1, 2), dtype=np.int64)
    depth = count = 0
    unit = first
    at = 0
    while True:
        ended = False
        if unit == units:
            ended = True
            after = codes[at] if at < len(codes) else BOX
            if after in (EMPTY, LEAF):
                at += 1
            if after != EMPTY:
                found[count] = path
                count += 1
        else:
            code = codes[at]
            at += 1
            if code in (SPLIT_MINUS_FIRST, SPLIT_PLUS_FIRST):
                side = code == SPLIT_PLUS_FIRST
                path[unit] = 3 if side else 2
                waiting[depth, 0], waiting[depth, 1] = unit, 2 if side else 3
                depth += 1
                unit += 1
            elif code in (EMPTY, HOLE):
                ended = True
            elif code != BOX:
                path[unit] = code & 1
                unit += 1
        if ended:
            if depth == 0:
                return count
            depth -= 1
            unit = waiting[depth, 0]
            path[unit] = waiting[depth, 1]
            unit += 1
