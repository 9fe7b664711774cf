# SPDX-License-Identifier: Apache-2.0
"""The rule of each kind of non-linear unit in a sweep, with its proof.

|v - p| <= e stands for: the value v is the row p up to the radius e, at every point of the domain.
"""

from __future__ import annotations

import numpy as np

from isoform.certificate.basis import GRID, Basis, Range, backward_range, interval_range
from isoform.certificate.codes import (
    LONGEST,
    Assembly,
    Code,
    Codes,
    Decide,
    Value,
    asked_codes,
    columns,
    difference,
    distance,
    failed,
    merged,
    range_of,
    ranks,
    short_enough,
)
from isoform.certificate.residue import put_followers, put_related, with_residue
from isoform.network.operators import Opaque
from isoform.numerics.exact import Exact, as_array, integers, longest
from isoform.numerics.sparse import ExactSparse

# |phi(a) - phi(b)| <= L |a - b|, L as (over, under); softmax in the maximum norm. The slope of erf
# is at most 2 / sqrt(pi) < 1.13.
LIPSCHITZ: dict[str, tuple[int, int]] = {
    "tanh": (1, 1), "sigmoid": (1, 4), "erf": (113, 100), "softplus": (1, 1), "sin": (1, 1),
    "cos": (1, 1), "softmax": (1, 2),
}
RANGES: dict[str, tuple[int, int]] = {
    "tanh": (-1, 1), "sigmoid": (0, 1), "erf": (-1, 1), "sin": (-1, 1), "cos": (-1, 1),
    "softmax": (0, 1), "step": (0, 1),
}
ODD = ("tanh", "erf", "sin", "reciprocal")  # phi(-z) = -phi(z)


def rectified(value: Value, basis: Basis, decide: Decide) -> Value:
    """relu(v) for |v - p| <= e, by code; relu is monotone and 1-Lipschitz.

    NEW: r_k = relu(p), radius e. DEAD: 0 <= relu(v) <= max(0, high + e). LINEAR: p, and
    relu(p) - p <= max(0, -low). MERGE: relu(c rho) = c r; what d = p - c rho adds is a residue,
    radius e. NEGATIVE: the same with relu(-c rho) = c r - c rho and d = p + c rho. FOLLOW, MIRROR:
    a multiple of another unit of this node, which shares its residue. RELATION: see `relations`.
    """
    codes = asked_codes("relu", value, basis, decide)
    rows, e, made = value.rows.widened(basis.width), value.radius, Assembly(value.radius)
    part = {code: np.flatnonzero(codes.code == code) for code in Code}
    stable = np.concatenate([part[Code.DEAD], part[Code.LINEAR], part[Code.NEW]])
    if len(stable):
        known = range_of(rows.take(stable), basis, codes.backward)
        known = with_slopes(known, stable, rows, codes, basis)
        put_stable(made, rows, e, part, known)
        put_new(made, rows, e, part[Code.NEW], known, basis)
    for code, sign in ((Code.MERGE, 1), (Code.NEGATIVE, -1)):
        which = part[code]
        if not len(which):
            continue
        gap, factor, scaled = merged(
            rows, codes, which, ranks(codes, which), "relu", basis, sign
        )
        eta = distance(gap, basis, codes.backward)
        unit = columns(codes.partner[ranks(codes, which)], factor, basis.width)
        unit = unit if sign > 0 else unit - scaled
        made.put(which, with_residue(unit, gap, eta, basis), e[which])
    put_followers(made, rows, e, codes, basis)
    put_related(made, rows, e, codes, basis)
    return made.value(basis)


def with_slopes(
    known: Range, which: np.ndarray, rows: ExactSparse, codes: Codes, basis: Basis
) -> Range:
    """Ranges of the units `which`, those with slopes of their own refined by them."""
    if codes.refined is None or not len(codes.refined):
        return known
    own = backward_range(rows.take(codes.refined), basis, codes.slopes)
    place = {int(unit): i for i, unit in enumerate(which)}
    if any(int(unit) not in place for unit in codes.refined):
        raise failed("slopes for a unit that is merged")
    at = np.array([place[int(unit)] for unit in codes.refined])
    met = known.take(at).meet(own)
    parts = [part.copy() for part in (known.low, known.high, known.open_low, known.open_high)]
    for part, new in zip(parts, (met.low, met.high, met.open_low, met.open_high), strict=True):
        part[at] = new
    return Range(*parts)


def put_stable(made: Assembly, rows: ExactSparse, e: np.ndarray,
               part: dict[Code, np.ndarray], known: Range) -> None:
    dead, straight = part[Code.DEAD], part[Code.LINEAR]
    first, second = len(dead), len(dead) + len(straight)
    if known.open_high[:first].any() or known.open_low[first:second].any():
        raise failed("a dead or linear unit whose row has no bound on that side")
    made.put(
        dead, ExactSparse.zeros((len(dead), rows.shape[1])),
        as_array(np.maximum(known.high[:first] + e[dead], 0)),
    )
    made.put(
        straight, rows.take(straight),
        as_array(e[straight] + np.maximum(-known.low[first:second], 0)),
    )


def put_new(made: Assembly, rows: ExactSparse, e: np.ndarray, new: np.ndarray, known: Range,
            basis: Basis) -> None:
    if not len(new):
        return
    before = known.take(np.arange(len(known.low) - len(new), len(known.low)))
    at = basis.append("relu", rows.take(new), before, before.relu())
    made.put(new, columns(at, None, basis.width), e[new])


def stepped(value: Value, basis: Basis, decide: Decide) -> Value:
    """[v >= 0]. A step does not forgive: DEAD needs high + e < 0, LINEAR (always on) low - e >= 0,
    NEW and MERGE need an exact row; step(c z) = step(z) for c > 0."""
    codes = asked_codes("step", value, basis, decide)
    rows, e, made = value.rows.widened(basis.width), value.radius, Assembly(value.radius)
    part = {code: np.flatnonzero(codes.code == code) for code in Code}
    if len(part[Code.NEGATIVE]):
        raise failed("a step is not the negative of another")
    zero = np.zeros(1, dtype=object)
    dead, on = part[Code.DEAD], part[Code.LINEAR]
    below = range_of(rows.take(dead), basis, codes.backward)
    above = range_of(rows.take(on), basis, codes.backward)
    if below.open_high.any() or np.any(below.high + e[dead] >= 0):
        raise failed("a step called dead is not")
    if above.open_low.any() or np.any(above.low - e[on] < 0):
        raise failed("a step called always on is not")
    made.put(dead, ExactSparse.zeros((len(dead), basis.width)), zero)
    made.put(on, columns(np.zeros(len(on), dtype=np.int64), None, basis.width), zero)
    which, new = part[Code.MERGE], part[Code.NEW]
    if e[which].any() or e[new].any():
        raise failed("a step of a row that is not exact")
    if len(new):
        before = range_of(rows.take(new), basis, codes.backward)
        at = basis.append("step", rows.take(new), before, Range.between(0, 1, len(new)))
        made.put(new, columns(at, None, basis.width), zero)
    if len(which):
        gap, _, _ = merged(rows, codes, which, ranks(codes, which), "step", basis, 1)
        if gap.nonzeros:
            raise failed("merged steps whose rows differ")
        made.put(which, columns(codes.partner[ranks(codes, which)], None, basis.width), zero)
    return made.value(basis)


def lipschitz(name: str, delta: np.ndarray) -> np.ndarray:
    """Radius of phi where the argument has radius delta, rounded up."""
    if not delta.any():
        return delta
    if name not in LIPSCHITZ:
        raise failed(f"{name} of rows that are not exact")
    over, under = LIPSCHITZ[name]
    return as_array(-((-delta * over) // under))


def opaque(operator: Opaque, value: Value, basis: Basis, decide: Decide) -> Value:
    """Congruence: equal arguments give equal results; near ones by the Lipschitz constant.

    MERGE: phi(rho_k); NEGATIVE: phi(-rho_k) = -phi(rho_k) (odd ones), 1 - phi(rho_k) (sigmoid);
    factors must be 1. A softmax group is merged whole, with the largest radius of its entries.
    """
    name, group = operator.name, operator.group
    kind = f"{name} {group}" if group else name
    codes = asked_codes(kind, value, basis, decide)
    rows, e, made = value.rows.widened(basis.width), value.radius, Assembly(value.radius)
    if np.any(codes.factor.numerator != codes.factor.denominator):
        raise failed(f"a merge of {name} with a factor other than 1")
    if np.any((codes.code == Code.DEAD) | (codes.code == Code.LINEAR)):
        raise failed(f"a unit of kind {name} is neither dead nor linear")
    new = np.flatnonzero(codes.code == Code.NEW)
    if len(new):
        delta = whole_groups(new, None, group, e[new], basis) if group else e[new]
        radius = lipschitz(name, delta)
        before = range_of(rows.take(new), basis, codes.backward)
        ends = RANGES.get(name)
        n = len(new)
        after = Range.all_reals(n) if ends is None else Range.between(ends[0], ends[1], n)
        at = basis.append(kind, rows.take(new), before, after)
        made.put(new, columns(at, None, basis.width), radius)
    for code, sign in ((Code.MERGE, 1), (Code.NEGATIVE, -1)):
        which = np.flatnonzero(codes.code == code)
        if not len(which):
            continue
        chosen = ranks(codes, which)
        gap, _, _ = merged(rows, codes, which, chosen, kind, basis, sign)
        delta = as_array(distance(gap, basis, codes.backward) + e[which])
        if group:
            delta = whole_groups(which, codes.partner[chosen], group, delta, basis)
        unit = columns(codes.partner[chosen], None, basis.width)
        made.put(which, unit if sign > 0 else reflected(name, unit), lipschitz(name, delta))
    return made.value(basis)


def reflected(name: str, unit: ExactSparse) -> ExactSparse:
    """phi(-z) in terms of phi(z)."""
    if name in ODD:
        return -unit
    if name == "sigmoid":
        n = unit.shape[0]
        return columns(np.zeros(n, dtype=np.int64), None, unit.shape[1]) - unit
    raise failed(f"{name} has no rule for a negative argument")


def whole_groups(which: np.ndarray, partner: np.ndarray | None, group: int, delta: np.ndarray,
                 basis: Basis) -> np.ndarray:
    """The largest radius of each softmax group; the groups (and their partners') must be whole."""
    if len(which) % group or np.any(which[::group] % group):
        raise failed("part of a softmax group")
    steps = np.tile(np.arange(group), len(which) // group)
    if np.any(which != np.repeat(which[::group], group) + steps):
        raise failed("part of a softmax group")
    if partner is not None:
        first = np.repeat(partner[::group], group)
        if np.any(partner != first + steps):
            raise failed("a softmax group merged with units of several groups")
        for column in np.unique(partner[::group]):
            if (int(column) - basis.block_of(int(column)).start) % group:
                raise failed("a softmax group merged with part of a group")
    largest = np.maximum.reduceat(delta, np.arange(0, len(delta), group))
    return as_array(np.repeat(largest, group))


def multiplied(left: Value, right: Value, basis: Basis, decide: Decide) -> Value:
    """v w for |v - p| <= e, |w - q| <= f. A constant exact factor scales; else NEW is the unit p q
    and MERGE the unit rho sigma of an earlier pair with |p - rho| <= eta, |q - sigma| <= theta
    (NEGATIVE: of the pair sigma rho): |v w - rho sigma| <= |rho| t + |sigma| s + s t with
    s = eta + e, t = theta + f."""
    codes = asked_codes("product", left, basis, decide, right)
    made = Assembly(left.radius)
    p, q = left.rows.widened(basis.width), right.rows.widened(basis.width)
    straight = np.flatnonzero(codes.code == Code.LINEAR)
    for i in straight:  # constant factors are few: one row at a time
        made.put(np.array([i]), *scaled_row(p, q, left, right, int(i)))
    new = np.flatnonzero(codes.code == Code.NEW)
    if len(new):
        rows, others = p.take(new), q.take(new)
        radius = product_radius(rows, others, left.radius[new], right.radius[new], basis)
        before = interval_range(rows, basis)
        after = product_range(before, interval_range(others, basis))
        at = basis.append("product", rows, before, after, others)
        made.put(new, columns(at, None, basis.width), radius)
    for code, swapped in ((Code.MERGE, False), (Code.NEGATIVE, True)):
        which = np.flatnonzero(codes.code == code)
        if not len(which):
            continue
        partner = codes.partner[ranks(codes, which)]
        try:
            rho = basis.arguments(partner, "product", right=swapped)
            sigma = basis.arguments(partner, "product", right=not swapped)
        except IndexError as error:
            raise failed(str(error)) from None
        first = difference(p.take(which).widened(basis.width), rho)
        second = difference(q.take(which).widened(basis.width), sigma)
        s = as_array(distance(first, basis, codes.backward) + left.radius[which])
        t = as_array(distance(second, basis, codes.backward) + right.radius[which])
        radius = product_radius(rho, sigma, s, t, basis)
        made.put(which, columns(partner, None, basis.width), radius)
    if np.any(codes.code == Code.DEAD):
        raise failed("a product is not dead")
    return short_enough(made.value(basis))


def scaled_row(p: ExactSparse, q: ExactSparse, left: Value, right: Value,
               i: int) -> tuple[ExactSparse, np.ndarray]:
    """A product with one exact constant factor."""
    for rows, others, mine, theirs in ((p, q, left, right), (q, p, right, left)):
        at, data = rows.row(i)
        if len(at) == 0 or (len(at) == 1 and at[0] == 0):
            if mine.radius[i]:
                continue
            factor = int(data[0]) if len(at) else 0
            scale = Exact(integers([factor], (1,)), rows.denominator)
            radius = -((-abs(factor) * theirs.radius[i]) // rows.denominator)
            return others.take(np.array([i])).scaled_rows(scale), integers([radius], (1,))
    raise failed("a product called linear has no constant factor")


def product_radius(rho: ExactSparse, sigma: ExactSparse, s: np.ndarray, t: np.ndarray,
                   basis: Basis) -> np.ndarray:
    if not s.any() and not t.any():
        return integers([0] * len(s), (len(s),))
    first, open_first = interval_range(rho, basis).magnitude()
    second, open_second = interval_range(sigma, basis).magnitude()
    if open_first.any() or open_second.any():
        raise failed("a product of rows that are not exact, on a domain without bounds")
    return as_array(-((-(first * t + second * s + s * t)) >> GRID))


def product_range(left: Range, right: Range) -> Range:
    missing = left.open_low | left.open_high | right.open_low | right.open_high
    if max(longest(end) for part in (left, right) for end in (part.low, part.high)) > LONGEST:
        return Range.all_reals(len(missing))  # squares of squares: no longer worth their length
    ends = [a * b for a in (left.low, left.high) for b in (right.low, right.high)]
    low = ends[0]
    high = ends[0]
    for end in ends[1:]:
        low, high = np.minimum(low, end), np.maximum(high, end)
    return Range(as_array(low >> GRID), as_array(-((-high) >> GRID)), missing, missing)
