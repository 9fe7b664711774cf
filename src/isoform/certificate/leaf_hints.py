# SPDX-License-Identifier: Apache-2.0
"""How a pass is to be taken on single leaves of a tree, as evidence and as coefficients.

A leaf may name a form and say for it: multiples of y, y' and delta that are added, which lower
slopes h and h' take, how much of rho is taken as h' - h, and which slots are bounded in both phases
at once (`phases.py`). All of it is free. For v in [l, u] and a > 0, a v - a l >= 0, for a < 0,
a v - a u >= 0: adding that makes a form no smaller on the leaf. Where a split has given v a sign, l
or u is 0 at most, and the multiple is that of the split. So it is with multiples m >= 0 of the
faces of a domain (`faces.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from isoform.certificate.arrays import Arrays, fetch, malformed
from isoform.certificate.differential import Boxes, Carried, Differential
from isoform.certificate.phases import Phased
from isoform.network.linear_map import Constant

KINDS = (("leaves", np.int32, 1), ("forms", np.int32, 1), ("ends", np.int64, 1),
         ("places", np.int32, 1), ("added", np.float32, 1), ("low", np.uint16, 2),
         ("beside", np.float32, 2), ("faces", np.float32, 2), ("phase_ends", np.int64, 1),
         ("phase_slots", np.int32, 1), ("prices", np.float32, 2), ("shares", np.uint16, 2))
COARSE = {"low": np.uint8}  # other types that parts may have
FACES, PHASES = ("faces",), ("phase_ends", "phase_slots", "prices", "shares")
LATER = FACES + PHASES  # not in every certificate
MOST_PHASED = 1024  # slots of a leaf that are bounded in both phases: sums of them fit


@dataclass(frozen=True, slots=True, eq=False)
class Hints:
    """For H leaves in order: their tokens, their forms; multiples and the values that they are of,
    as 3 times the slot plus 0, 1, 2 for y, y', delta, those of leaf i end at ends[i]; low (H, 2 N):
    lower slopes of h and h' of every slot over 65,535 (or, in bytes, over 255); beside (H, N);
    faces (H, F): multiples of the faces, negative ones mean 0. Slots that are bounded in both
    phases at once, those of leaf i end at phase_ends[i], with prices (K, 2) and shares (K, d)."""

    leaves: np.ndarray
    forms: np.ndarray
    ends: np.ndarray
    places: np.ndarray
    added: np.ndarray
    low: np.ndarray
    beside: np.ndarray
    faces: np.ndarray
    phase_ends: np.ndarray
    phase_slots: np.ndarray
    prices: np.ndarray
    shares: np.ndarray

    def check(self, tokens: np.ndarray, leaf: int, forms: int, bounds: Differential) -> None:
        """CertificateRejected unless all arrays fit a tree with these tokens."""
        for name, dtype, axes in KINDS:
            part = getattr(self, name)
            check_part(name, part, dtype, axes)
        count, slots = len(self.leaves), bounds.units
        sizes = (self.forms.shape, self.ends.shape, self.low.shape, self.beside.shape,
                 self.faces.shape, self.phase_ends.shape)
        if sizes != ((count,), (count,), (count, 2 * slots), (count, slots),
                     (count, bounds.faces), (count,)):
            raise malformed("hints of another size than their leaves, slots and faces")
        if not (fill(self.ends, len(self.added)) and fill(self.phase_ends, len(self.phase_slots))):
            raise malformed("hints whose multiples end too early or too late")
        self.check_phases(slots, bounds.d)
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

    def check_phases(self, slots: int, inputs: int) -> None:
        count = len(self.phase_slots)
        shapes = self.prices.shape, self.shares.shape
        if shapes != ((count, 2), (count, inputs if count else self.shares.shape[1])):
            raise malformed("prices or shares of another number than their slots and inputs")
        if not np.all(self.prices >= 0) or np.isinf(self.prices).any():
            raise malformed("prices that are no numbers from 0 up")
        leaf = np.repeat(np.arange(len(self.phase_ends)), begun(self.phase_ends))
        if np.bincount(leaf, minlength=1).max() > MOST_PHASED:
            raise malformed(f"a leaf with more than {MOST_PHASED:,} slots in both phases")
        if np.any((self.phase_slots < 0) | (self.phase_slots >= slots)):
            raise malformed("a slot in both phases that is not there")
        if np.any((np.diff(leaf) == 0) & (np.diff(self.phase_slots) <= 0)):
            raise malformed("slots in both phases twice, or out of order")

    def within(self, first: int, end: int) -> Hints:
        """Those of the tokens from `first` up to `end`, counted from `first`."""
        low, high = np.searchsorted(self.leaves, (first, end)).tolist()
        leaf = slice(low, high)
        given, phased = (
            slice(int(ends[low - 1]) if low else 0, int(ends[high - 1]) if high else 0)
            for ends in (self.ends, self.phase_ends)
        )
        return Hints(
            leaves=self.leaves[leaf] - np.int32(first), forms=self.forms[leaf],
            ends=self.ends[leaf] - given.start, places=self.places[given],
            added=self.added[given], low=self.low[leaf], beside=self.beside[leaf],
            faces=self.faces[leaf], phase_ends=self.phase_ends[leaf] - phased.start,
            phase_slots=self.phase_slots[phased], prices=self.prices[phased],
            shares=self.shares[phased],
        )

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
        rows.phased = self.phased(rows.boxes, boxes, which, ops)

    def phased(self, box: np.ndarray, boxes: Boxes, which: np.ndarray, ops: Any) -> Phased | None:
        """The slots in both phases of rows (R,) with these hints, on their boxes."""
        if not len(self.phase_slots):
            return None
        size = begun(self.phase_ends)[which]
        row = np.repeat(np.arange(len(which)), size)
        last = np.repeat(self.phase_ends[which] - np.cumsum(size), size)
        at, b = last + np.arange(len(row)), box[row]
        slot = self.phase_slots[at].astype(np.int64)
        return Phased(
            row, slot, ops.scaled(self.prices[at].astype(np.float64)), self.shares[at],
            boxes.low[b], boxes.high[b], boxes.bounds[b, slot, :2],
        )


def check_part(name: str, part: Any, dtype: Any, axes: int) -> np.ndarray:
    if not isinstance(part, np.ndarray) or part.ndim != axes or (
        part.dtype not in (dtype, COARSE.get(name, dtype))
    ):
        raise malformed(f"hints whose {name} are no array of {np.dtype(dtype).name}")
    return part


def begun(ends: np.ndarray) -> np.ndarray:
    """How many entries end at each of these places, from the place before."""
    return np.diff(np.concatenate(([0], ends)))


def fill(ends: np.ndarray, count: int) -> bool:
    """Whether places where lists end fill so many entries, in order."""
    return not np.any(begun(ends) < 0) and (ends[-1] if len(ends) else 0) == count


def encode_hints(hints: Hints | None, arrays: Arrays) -> dict[str, Any] | None:
    if hints is None:
        return None
    left_out = (FACES if not hints.faces.shape[1] else ()) + (
        PHASES if not len(hints.phase_slots) else ()
    )
    return {
        name: arrays.add(np.ascontiguousarray(getattr(hints, name)))
        for name, _, _ in KINDS if name not in left_out
    }


def decode_hints(record: Any, arrays: list[Constant]) -> Hints | None:
    if record is None:
        return None
    names = {name for name, _, _ in KINDS}
    if not isinstance(record, dict) or names - set(record) not in (
        set(), set(FACES), set(PHASES), set(LATER)
    ) or set(record) - names:
        raise malformed("hints with other parts than they have")
    parts: dict[str, np.ndarray] = {}
    for name, dtype, axes in KINDS:
        if name in record:
            parts[name] = check_part(name, fetch(arrays, record[name]), dtype, axes)
    count = len(parts["leaves"])
    none: dict[str, np.ndarray] = {
        "faces": np.zeros((count, 0), dtype=np.float32),
        "phase_ends": np.zeros(count, dtype=np.int64), "phase_slots": np.zeros(0, dtype=np.int32),
        "prices": np.zeros((0, 2), dtype=np.float32), "shares": np.zeros((0, 0), dtype=np.uint16),
    }
    return Hints(**(none | parts))
