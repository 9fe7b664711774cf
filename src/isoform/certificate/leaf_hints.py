# SPDX-License-Identifier: Apache-2.0
"""How a pass is to be taken on single leaves of a tree, as evidence and as coefficients.

A leaf may name a form and say for it: multiples of y, y' and delta that are added, which lower
slopes h and h' take, and how much of rho is taken as h' - h. All of it is free. For v in [l, u] and
a > 0, a v - a l >= 0, for a < 0, a v - a u >= 0: adding that makes a form no smaller on the leaf.
Where a split has given v a sign, l or u is 0 at most, and the multiple is that of the split. So it
is with multiples m >= 0 of the faces of a domain (`faces.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from isoform.certificate.arrays import Arrays, fetch, malformed
from isoform.certificate.differential import Boxes, Carried, Differential
from isoform.network.linear_map import Constant

KINDS = (("leaves", np.int32, 1), ("forms", np.int32, 1), ("ends", np.int64, 1),
         ("places", np.int32, 1), ("added", np.float32, 1), ("low", np.uint8, 2),
         ("beside", np.float32, 2), ("faces", np.float32, 2))
LATER = frozenset({"faces"})  # parts that files without them have no columns of


@dataclass(frozen=True, slots=True, eq=False)
class Hints:
    """For H leaves in order: their tokens, their forms; multiples and the values that they are of,
    as 3 times the slot plus 0, 1, 2 for y, y', delta, those of leaf i end at ends[i]; low (H, 2 N):
    lower slopes of h and h' of every slot over 255; beside (H, N); faces (H, K): multiples of the
    faces, negative ones mean 0."""

    leaves: np.ndarray
    forms: np.ndarray
    ends: np.ndarray
    places: np.ndarray
    added: np.ndarray
    low: np.ndarray
    beside: np.ndarray
    faces: np.ndarray

    def check(self, tokens: np.ndarray, leaf: int, forms: int, bounds: Differential) -> None:
        """CertificateRejected unless all arrays fit a tree with these tokens."""
        for name, dtype, axes in KINDS:
            part = getattr(self, name)
            if not isinstance(part, np.ndarray) or part.dtype != dtype or part.ndim != axes:
                raise malformed(f"hints whose {name} are no array of {np.dtype(dtype).name}")
        count, slots = len(self.leaves), bounds.units
        sizes = (self.forms.shape, self.ends.shape, self.low.shape, self.beside.shape,
                 self.faces.shape)
        if sizes != ((count,), (count,), (count, 2 * slots), (count, slots),
                     (count, bounds.faces)):
            raise malformed("hints of another size than their leaves, slots and faces")
        steps = np.diff(np.concatenate(([0], self.ends)))
        if np.any(steps < 0) or (self.ends[-1] if count else 0) != len(self.added):
            raise malformed("hints whose multiples end too early or too late")
        if self.places.shape != self.added.shape or np.any(
            (self.places < 0) | (self.places >= 3 * slots)
        ):
            raise malformed("hints with multiples of values that are not there")
        if not all(np.isfinite(part).all() for part in (self.added, self.beside, self.faces)):
            raise malformed("hints that are no numbers")
        at = self.leaves
        if np.any(np.diff(at) <= 0) or np.any((at < 0) | (at >= len(tokens))):
            raise malformed("hints for tokens that are not there, or out of order")
        if np.any(tokens[at] != leaf) or np.any((self.forms < 0) | (self.forms >= forms)):
            raise malformed("hints for tokens that are no leaves, or for no form")

    def put(self, rows: Carried, boxes: Boxes, which: np.ndarray, bounds: Differential) -> None:
        """Give rows (R,) what the hints with these numbers (R,) say."""
        count, slots, ops = len(which), boxes.signs.shape[1], bounds.ops
        added = np.zeros((count, 3 * slots))
        for i, hint in enumerate(which.tolist()):
            given = slice(int(self.ends[hint - 1]) if hint else 0, int(self.ends[hint]))
            added[i, self.places[given]] = self.added[given]
        rows.added = ops.scaled(added.reshape(count, slots, 3))
        for value in range(3):
            positive = np.maximum(rows.added[..., value], 0)
            negative = rows.added[..., value] - positive
            low, high = (-boxes.bounds[rows.boxes, :, value, side] for side in (0, 1))
            rows.constant = ops.kept(
                rows.constant + ops.dot(positive, low) + ops.dot(negative, high)
            )
        rows.low = ops.share(self.low[which].reshape(count, slots, 2))
        rows.beside = ops.scaled(self.beside[which].astype(np.float64))
        if bounds.cuts is not None:
            multiples = self.faces[which].astype(np.float64)
            rows.inputs, rows.constant = bounds.cuts.added(multiples, rows.inputs, rows.constant)


def encode_hints(hints: Hints | None, arrays: Arrays) -> dict[str, Any] | None:
    if hints is None:
        return None
    names = [name for name, _, _ in KINDS if name not in LATER or getattr(hints, name).shape[1]]
    return {name: arrays.add(np.ascontiguousarray(getattr(hints, name))) for name in names}


def decode_hints(record: Any, arrays: list[Constant]) -> Hints | None:
    if record is None:
        return None
    if not isinstance(record, dict) or set(record) | LATER != {name for name, _, _ in KINDS}:
        raise malformed("hints with other parts than they have")
    parts: list[np.ndarray] = []
    for name, dtype, axes in KINDS:
        if name not in record:
            parts.append(np.zeros((len(parts[0]), 0), dtype=dtype))
            continue
        part = fetch(arrays, record[name])
        if not isinstance(part, np.ndarray) or part.dtype != dtype or part.ndim != axes:
            raise malformed(f"hints whose {name} are no array of {np.dtype(dtype).name}")
        parts.append(part)
    return Hints(*parts)
