# SPDX-License-Identifier: Apache-2.0
"""What the rows of a polytope say on boxes: shorter sides, and multiples that lower a bound.

A face is a row b - a u >= 0 over u in [-1, 1]^d, the coordinates of a box around the polytope. It
holds wherever u belongs to the polytope, so any multiple m >= 0 of it may be added to a form that
is bounded from above there: m is a free choice. On a box [l, h] a face with a_i > 0 also gives
u_i <= (b - sum over j != i of the least a_j u_j) / a_i, and the mirror image for a_i < 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from isoform.certificate.fixed import SLOPE
from isoform.certificate.relaxation import Ops
from isoform.network.domain import Domain, Polytope, Sequences
from isoform.numerics.exact import Exact, concatenate, longest
from isoform.numerics.sparse import ExactSparse

MOST_FACES, MOST_ENTRIES = 1 << 12, 1 << 22  # rows beyond that are left out,
MOST_BITS = 1 << 30  # and where numbers are so long, about
CHUNK = 1 << 20  # products that are summed up together
ROUNDS = 2  # through all faces, for the sides of a box
SWEEPS, MOST_TRIED = 3, 16  # through all faces, for multiples; the first so many that cut a box
FAINT = 1 << SLOPE - 10  # smaller coefficients give no ends: their errors would be too large
LARGEST = 1024.0  # of what all multiples together add to a form, about
Ends = tuple[np.ndarray, np.ndarray]  # low and high of boxes
TAUT = 2.0**-14  # how much a large multiple costs where it makes no difference


@dataclass(frozen=True, slots=True, eq=False)
class Faces:
    """rows (K, 1 + d): b, -a of each face, as integers over 2^SLOPE, |a| at most 1; a face that
    holds on the whole box, or nowhere in it, is 0. void: whether there is one that holds
    nowhere."""

    rows: np.ndarray
    void: bool

    def __len__(self) -> int:
        return len(self.rows)

    def none(self) -> Faces:
        """No faces, for trees about the box alone."""
        return Faces(self.rows[:0], False)


def faces_of(domain: Domain, middle: Exact, half: Exact) -> Faces:
    """The rows of a (bound) domain in coordinates u of a box around it, x = middle + half u,
    rounded outward; none where the domain has no rows, or too many."""
    d = len(half)
    A, b = rows_of(domain)
    parts = (A, b, middle, half)
    bits = sum(longest(part.numerator) + part.denominator.bit_length() for part in parts)
    if bits * A.size > MOST_BITS:
        A, b = A[:0], b[:0]
    table = concatenate([(b - A @ middle).reshape(-1, 1), -(A * half)], axis=1)
    made, void = np.zeros((len(table), 1 + d), dtype=np.int64), False
    for k, row in enumerate(table.numerator):
        size, most = int(np.abs(row[1:]).sum()), int(np.abs(row[1:]).max(initial=0))
        void |= bool(row[0] < -size)
        if -size <= row[0] < size:
            made[k] = outward(row, most.bit_length())
    return Faces(made, void)


def outward(row: np.ndarray, shift: int) -> np.ndarray:
    """A row (b, -a) of integers over 2^shift as one over 2^SLOPE: each -a is rounded up, and b
    grows by what that may take away, for |u| <= 1."""
    wide = row << SLOPE
    found = -(-wide >> shift)
    found[0] = -(-(wide[0] + ((found[1:] << shift) - wide[1:]).sum()) >> shift)
    return found


def rows_of(domain: Domain) -> tuple[Exact, Exact]:
    """A (K, n) and b (K,) of the rows A x <= b of a domain."""
    n = domain.dimension or 0
    none = Exact.zeros((0, n)), Exact.zeros(0)
    match domain:
        case Polytope(A, b) if fits(len(b), n):
            return A, b
        case Sequences(length, Polytope(A, b)) if fits(length * len(b), n):
            count, size = A.shape
            wide = np.zeros((length, count, length, size), dtype=object)
            wide[np.arange(length), :, np.arange(length)] = A.numerator
            repeated = np.tile(b.numerator, length)
            return (Exact(wide.reshape(length * count, n), A.denominator),
                    Exact(repeated, b.denominator))
    return none


def fits(count: int, n: int) -> bool:
    return count <= MOST_FACES and count * (1 + n) <= MOST_ENTRIES


def at_ends(ops: Ops, inputs: np.ndarray, constant: np.ndarray, ends: Ends) -> np.ndarray:
    """The largest values of forms inputs (R, d) u + constant (R,) on boxes, by signs."""
    positive = np.maximum(inputs, 0)
    return constant + ops.dot(positive, ends[1]) + ops.dot(inputs - positive, ends[0])


class Cuts:
    """Faces in one arithmetic."""

    def __init__(self, faces: Faces, ops: Ops):
        self.ops, self.void = ops, faces.void
        exact = Exact(faces.rows.astype(object), 1 << SLOPE)
        self.weights = ops.weights(ExactSparse.of(exact))
        self.bound = ops.rounded(exact[:, 0], up=True)
        self.slope = ops.slopes(-faces.rows[:, 1:])
        self.columns = [np.flatnonzero(row) for row in faces.rows[:, 1:]]
        self.clear = np.abs(faces.rows[:, 1:]) >= FAINT
        self.normals = exact[:, 1:].to_float() * -1.0
        self.limits = exact[:, 0].to_float()
        size = np.maximum(np.abs(faces.rows).max(axis=1, initial=1) / (1 << SLOPE), 1.0)
        largest = min(LARGEST, float(ops.number(ops.infinity)) / 4)
        self.most = largest / (max(1, len(faces)) * size)

    def tightened(
        self, low: np.ndarray, high: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Ends (B, d) of what the faces leave of boxes, and which boxes nothing is left of."""
        ops, low, high = self.ops, low.copy(), high.copy()
        for k in [*range(len(self.columns))] * ROUNDS:
            at = self.columns[k]
            slope, clear = self.slope[k, at], self.clear[k, at]
            least = ops.times(np.where(slope > 0, low[:, at], high[:, at]), slope)
            room = self.bound[k] + least - least.sum(axis=1, keepdims=True)
            end = ops.coarse(ops.quotient(room[:, clear], np.abs(slope[clear])))
            at, up = at[clear], slope[clear] > 0
            high[:, at[up]] = np.minimum(high[:, at[up]], end[:, up])
            low[:, at[~up]] = np.maximum(low[:, at[~up]], -end[:, ~up])
        empty = np.any(low > high, axis=1) | np.full(len(low), self.void)
        return low, np.maximum(low, high), empty

    def added(
        self, multiples: np.ndarray, inputs: np.ndarray, constant: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Forms inputs (R, d) u + constant (R,) with multiples (R, K) of the faces; negative ones
        are none."""
        ops = self.ops
        found, off = ops.product(ops.scaled(np.maximum(multiples, 0)), self.weights)
        constant = constant + found[:, 0] + off * (1 + inputs.shape[1])
        return ops.kept(inputs + found[:, 1:]), ops.kept(constant)

    def lower(
        self, upper: np.ndarray, inputs: np.ndarray, constant: np.ndarray, ends: Ends,
        box: np.ndarray,
    ) -> None:
        """Put multiples into those forms inputs (R, d) u + constant (R,) whose upper bounds (R,)
        on their boxes they lower; everything is changed in place."""
        chosen = self.choice(inputs, *ends, box)
        r = np.flatnonzero(chosen.any(axis=1))
        forms, rest = self.added(chosen[r], inputs[r], constant[r])
        found = at_ends(self.ops, forms, rest, (ends[0][box[r]], ends[1][box[r]]))
        less = found < upper[r]
        r = r[less]
        inputs[r], constant[r], upper[r] = forms[less], rest[less], found[less]

    def active(self, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """(B, K): which faces leave out something of which boxes, in doubles; the first ones."""
        found = np.zeros((len(low), len(self.limits)), dtype=bool)
        step = max(1, CHUNK // max(1, low.size))
        for first in range(0, len(self.limits), step):
            normal = self.normals[first : first + step]
            most = np.where(normal > 0, high[:, None], low[:, None]) * normal
            found[:, first : first + step] = most.sum(axis=2) > self.limits[first : first + step]
        # by sums, and no product of matrices: the same in every batch
        return found & (np.cumsum(found, axis=1) <= MOST_TRIED)

    def choice(
        self, inputs: np.ndarray, low: np.ndarray, high: np.ndarray, box: np.ndarray
    ) -> np.ndarray:
        """Multiples (R, K) that make the largest values of forms inputs (R, d) u on their boxes
        small: one face after the other, the best for it while the others stay. In doubles."""
        number = self.ops.number
        rest, low, high = number(inputs).copy(), number(low), number(high)
        active = self.active(low, high)
        cutting = np.flatnonzero(active.any(axis=0)).tolist()
        found = np.zeros((len(rest), len(self.columns)))
        rows = np.flatnonzero(np.abs(inputs).max(axis=1, initial=0) <= self.ops.infinity // 2)
        for k in cutting * (SWEEPS if len(cutting) > 1 else 1):
            r, at = rows[active[box[rows], k]], self.columns[k]
            normal = self.normals[k, at]
            form = rest[np.ix_(r, at)] + found[r, k, None] * normal
            ends = low[np.ix_(box[r], at)], high[np.ix_(box[r], at)]
            found[r, k] = np.clip(best(form, normal, self.limits[k], *ends), 0, self.most[k])
            rest[np.ix_(r, at)] = form - found[r, k, None] * normal
        return found


def best(
    form: np.ndarray, normal: np.ndarray, limit: float, low: np.ndarray, high: np.ndarray
) -> np.ndarray:
    """The m >= 0 for which m limit + the largest (form - m normal) u over a box is least.

    That is a convex function of m whose slope grows by |a_i| (h_i - l_i) at m = form_i / a_i; a
    small multiple of m is added to the slope, so that the answer depends on everything continuously
    and two arithmetics find nearly the same.
    """
    with np.errstate(all="ignore"):
        turn = form / normal
        jump = np.where(turn > 0, np.abs(normal) * (high - low), 0)
        first = np.where(turn > 0, np.maximum(normal * low, normal * high),
                         np.minimum(normal * low, normal * high))
        order = np.argsort(turn, axis=1)
        slope = (limit - first.sum(axis=1))[:, None] + np.cumsum(
            np.take_along_axis(jump, order, axis=1), axis=1)
        slope = np.concatenate(((limit - first.sum(axis=1))[:, None], slope), axis=1)
        turn = np.maximum(np.take_along_axis(turn, order, axis=1), 0)
        turn = np.concatenate((np.zeros((len(turn), 1)), turn), axis=1)
        taut = TAUT * (np.abs(normal) * (high - low)).sum(axis=1) / np.abs(form).max(axis=1)
        return np.nan_to_num(np.maximum(turn, -slope / taut[:, None]).min(axis=1))
