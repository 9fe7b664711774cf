# SPDX-License-Identifier: Apache-2.0
"""What an attack tries to make large: a difference of outputs, the margin of a lost decision, or
how deep a point lies in a forbidden set."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from isoform.errors import Refused
from isoform.network.claim import (
    Avoids,
    Forbidden,
    RegionCount,
    Relation,
    SameDecision,
    Within,
)
from isoform.network.network import Network
from isoform.network.operators import Opaque, Scan
from isoform.numerics.enclosure import Enclosure
from isoform.numerics.exact import Exact, approximately, concatenate

Value = Exact | Enclosure  # (m, points)
Gradients = tuple[np.ndarray | None, np.ndarray, np.ndarray]  # by x (None: zero), f and g
NOTHING = Fraction(-1)  # rank where a point says nothing against the claim
STRICTER = Fraction(1, 1 << 20)  # an allowed difference of 0 weighs like this part of the others


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one point says against a claim.

    rank: what the search makes large; refutes: the point is a counterexample, for certain;
    difference: |g_i - f_i| of the output that counts most, the margin of f where g decides
    otherwise, or the depth in a forbidden set, each a lower value; output: where (of `Meeting`: the
    number of the set); largest: the largest |g_i - f_i| of any output, that of `widest`, else the
    same as difference and output.
    """

    rank: Fraction
    refutes: bool
    difference: Fraction
    output: int
    largest: Fraction
    widest: int

    @property
    def order(self) -> tuple[bool, Fraction]:
        """The larger, the better a finding."""
        return self.refutes, self.rank


def check_relation(relation: Relation) -> None:
    """Refused where the relation is none that evidence exists for."""
    match relation:
        case Within(eps, norm):
            for each in eps if isinstance(eps, tuple) else (eps,):
                if not isinstance(each, int | Fraction) or each < 0:
                    raise Refused(f"eps {each} is no rational of 0 or more; give one")
            if norm != "max":
                raise Refused(f"differences in the norm {norm!r} are not bounded; ask for 'max'")
        case SameDecision(margin):
            if not isinstance(margin, int | Fraction) or margin < 0:
                raise Refused(f"a margin of {margin} is no rational of 0 or more; give one")
        case RegionCount():
            raise Refused("regions are counted by a search, not proved of two networks")


def has_exact_values(network: Network) -> bool:
    """Whether every point gives exact numbers, no enclosures: no opaque function anywhere."""
    return not any(
        isinstance(node.operator, Opaque)
        or isinstance(node.operator, Scan) and not has_exact_values(node.operator.cell)
        for node in network.nodes
    )


@dataclass(frozen=True, slots=True)
class Difference:
    """Refuted where some |g_i - f_i| is larger than eps, or than the eps of that output. With one
    eps an output the search compares differences relative to it."""

    eps: Fraction | tuple[Fraction, ...]

    @property
    def threshold(self) -> Fraction:
        """The rank that is still allowed."""
        return Fraction(1) if isinstance(self.eps, tuple) else self.eps

    @property
    def units(self) -> tuple[Fraction, ...]:
        """What the differences are measured in: 1, or one unit an output."""
        if not isinstance(self.eps, tuple):
            return (Fraction(1),)
        least = min((eps for eps in self.eps if eps > 0), default=Fraction(1))
        return tuple(eps if eps > 0 else least * STRICTER for eps in self.eps)

    def sizes(self, f: np.ndarray, g: np.ndarray) -> np.ndarray:
        """|g_i - f_i| in units, (batch, m)."""
        with np.errstate(all="ignore"):
            return np.abs(g - f) / np.array([approximately(unit) for unit in self.units])

    def score(self, x: np.ndarray, f: np.ndarray, g: np.ndarray) -> np.ndarray:
        """The largest |g_i - f_i| of each row of (batch, m), in units."""
        return np.nan_to_num(self.sizes(f, g).max(axis=1), nan=-np.inf)

    def cotangents(self, x: np.ndarray, f: np.ndarray, g: np.ndarray) -> Gradients:
        """Of the largest |d_i| in even rows, of one |d_i| in odd rows."""
        with np.errstate(all="ignore"):
            gap = np.nan_to_num(g - f)
        rows = np.arange(len(gap))
        largest = np.nan_to_num(self.sizes(f, g)).argmax(axis=1)
        chosen = np.where(rows % 2 == 0, largest, rows // 2 % gap.shape[1])
        back = np.zeros_like(gap)
        sign = np.sign(gap[rows, chosen])
        back[rows, chosen] = np.where(sign == 0, 1.0, sign)
        return None, -back, back

    def findings(self, points: list[Exact], f: Value, g: Value) -> list[Finding]:
        """For each point the largest |g_i - f_i| (a lower value) in units, and its output."""
        a, b = Enclosure.of(f), Enclosure.of(g)
        found = []
        for up, down in zip(columns(b.low - a.high), columns(a.low - b.high), strict=True):
            found.append(self.finding([max(u, d) for u, d in zip(up, down, strict=True)]))
        return found

    def finding(self, sizes: list[Fraction]) -> Finding:
        eps = self.eps if isinstance(self.eps, tuple) else (self.eps,) * len(sizes)
        units = self.units if isinstance(self.eps, tuple) else (Fraction(1),) * len(sizes)
        over = [size > allowed for size, allowed in zip(sizes, eps, strict=True)]
        ranks = [size / unit for size, unit in zip(sizes, units, strict=True)]
        best = max(range(len(sizes)), key=lambda i: (over[i], ranks[i]))
        nought = Fraction(0)
        return Finding(
            rank=max(ranks[best], nought), refutes=over[best], difference=max(sizes[best], nought),
            output=best, largest=max(*sizes, nought),
            widest=max(range(len(sizes)), key=sizes.__getitem__),
        )


@dataclass(frozen=True, slots=True)
class Decision:
    """Refuted where f prefers c by at least `margin` and some g_j is larger than g_c."""

    margin: Fraction

    @property
    def threshold(self) -> Fraction:
        return self.margin

    def score(self, x: np.ndarray, f: np.ndarray, g: np.ndarray) -> np.ndarray:
        """min(margin of f - asked margin, lead of another output in g)."""
        parts = self.parts(f, g)
        return np.nan_to_num(np.minimum(parts[0], parts[1]), nan=-np.inf)

    def parts(self, f: np.ndarray, g: np.ndarray) -> tuple[np.ndarray, ...]:
        rows = np.arange(len(f))
        c = f.argmax(axis=1)
        second, lead = f.copy(), g.copy()
        second[rows, c] = lead[rows, c] = -np.inf
        k, j = second.argmax(axis=1), lead.argmax(axis=1)
        with np.errstate(all="ignore"):
            margin = f[rows, c] - f[rows, k] - float(self.margin)
            return margin, g[rows, j] - g[rows, c], c, k, j

    def cotangents(self, x: np.ndarray, f: np.ndarray, g: np.ndarray) -> Gradients:
        """Of the smaller of the two parts of the score."""
        margin, lead, c, k, j = self.parts(f, g)
        rows = np.arange(len(f))
        by_f, by_g = np.zeros_like(f), np.zeros_like(g)
        short = (margin < lead).astype(np.float64)
        by_f[rows, c], by_f[rows, k] = short, -short
        by_g[rows, j], by_g[rows, c] = 1 - short, short - 1
        return None, by_f, by_g

    def findings(self, points: list[Exact], f: Value, g: Value) -> list[Finding]:
        """For each point the margin of f where g decides otherwise, and the output g prefers."""
        a, b = Enclosure.of(f), Enclosure.of(g)
        quads = zip(*(columns(part) for part in (a.low, a.high, b.low, b.high)), strict=True)
        found = []
        for quad in quads:
            margin, output = lost_margin(*quad)
            size = max(margin, Fraction(0))
            found.append(Finding(
                rank=margin, refutes=margin >= self.margin, difference=size, output=output,
                largest=size, widest=output,
            ))
        return found


@dataclass(frozen=True, slots=True, eq=False)
class Meeting:
    """Refuted where (x, f, g) lies in a forbidden set.

    rows (k, n + m + m') and bounds (k,): the rows of all sets, in floats, a set without rows with
    one row of zeros; starts: the first row of each set. The depth in a set is the smallest slack
    bound - row @ (x, f, g) of its rows, the score the largest depth.
    """

    sets: tuple[Forbidden, ...]
    rows: np.ndarray
    bounds: np.ndarray
    starts: np.ndarray

    @staticmethod
    def of(sets: tuple[Forbidden, ...]) -> Meeting:
        """ValueError where there is no set at all."""
        rows = [np.atleast_2d(part.rows.to_float()) for part in sets]
        rows = [part if len(part) else np.zeros((1, part.shape[1])) for part in rows]
        bounds = [part.bounds.to_float() if part.strict else np.zeros(1) for part in sets]
        starts = np.cumsum([0, *(len(part) for part in rows[:-1])])
        return Meeting(sets, np.concatenate(rows), np.concatenate(bounds), starts)

    @property
    def threshold(self) -> Fraction:
        return Fraction(0)

    def slack(self, x: np.ndarray, f: np.ndarray, g: np.ndarray) -> np.ndarray:
        """Slack of every row, (batch, k)."""
        with np.errstate(all="ignore"):
            values = np.concatenate([x, f, g], axis=1) @ self.rows.T
            return np.nan_to_num(self.bounds - values, nan=-np.inf)

    def score(self, x: np.ndarray, f: np.ndarray, g: np.ndarray) -> np.ndarray:
        """The depth in the set where it is largest."""
        return np.minimum.reduceat(self.slack(x, f, g), self.starts, axis=1).max(axis=1)

    def cotangents(self, x: np.ndarray, f: np.ndarray, g: np.ndarray) -> Gradients:
        """Of the depth in the best set in even rows, in one set after the other in odd rows."""
        slack = self.slack(x, f, g)
        depths = np.minimum.reduceat(slack, self.starts, axis=1)
        batch = np.arange(len(x))
        chosen = np.where(batch % 2 == 0, depths.argmax(axis=1), batch // 2 % len(self.starts))
        ends = np.append(self.starts[1:], len(self.rows))
        place = np.arange(len(self.rows))
        inside = (place >= self.starts[chosen][:, None]) & (place < ends[chosen][:, None])
        tightest = np.where(inside, slack, np.inf).argmin(axis=1)
        back = -self.rows[tightest]
        n, m = x.shape[1], f.shape[1]
        return back[:, :n], back[:, n : n + m], back[:, n + m :]

    def findings(self, points: list[Exact], f: Value, g: Value) -> list[Finding]:
        """For each point the set that it lies in, or nearest to, and how deep (a lower value)."""
        a, b = Enclosure.of(f), Enclosure.of(g)
        x = concatenate([point.reshape(-1, 1) for point in points], axis=1)
        low, high = (concatenate([x, *ends]) for ends in ((a.low, b.low), (a.high, b.high)))
        depths = [columns(depth) for depth in (least_slacks(part, low, high) for part in self.sets)]
        found = []
        for i in range(len(points)):
            each = [finding_in(part, k, depths[k][i]) for k, part in enumerate(self.sets)]
            found.append(max(each, key=lambda finding: finding.order))
        return found


def least_slacks(part: Forbidden, low: Exact, high: Exact) -> Exact:
    """The least value of bound - row @ z for each row, (k, points); low <= z <= high."""
    used = np.flatnonzero((part.rows.numerator != 0).any(axis=0))
    rows, low, high = part.rows[:, used], low[used], high[used]
    most = rows @ low if low == high else rows.relu() @ high - (-rows).relu() @ low
    return part.bounds.reshape(-1, 1) - most


def finding_in(part: Forbidden, number: int, slacks: list[Fraction]) -> Finding:
    """What a point says about one forbidden set, by the slack of each of its rows."""
    depth = min(slacks, default=Fraction(0))
    inside = all(
        slack > 0 or slack == 0 and not strict
        for slack, strict in zip(slacks, part.strict, strict=True)
    )
    size = max(depth, Fraction(0))
    return Finding(
        rank=depth, refutes=inside, difference=size, output=number, largest=size,
        widest=number,
    )


Goal = Difference | Decision | Meeting


def goal_of(relation: Relation) -> Goal:
    """What an attack on a claim tries to reach. Refused where there is nothing to search for."""
    match relation:
        case Within(eps):
            return Difference(eps)
        case SameDecision(margin):
            return Decision(margin)
        case Avoids(forbidden):
            if not forbidden:
                raise Refused("a claim without forbidden sets holds at every point; nothing to do")
            return Meeting.of(forbidden)
        case RegionCount():
            raise Refused("regions are counted by a search, no point refutes their number")
        case _:
            return Difference(Fraction(0))


def lost_margin(
    f_low: list[Fraction], f_high: list[Fraction], g_low: list[Fraction], g_high: list[Fraction]
) -> tuple[Fraction, int]:
    """The largest certain margin of an output c of f that some g_j certainly exceeds."""
    best = (NOTHING, 0)
    count = len(f_low)
    if count < 2:
        return best
    j = max(range(count), key=g_low.__getitem__)
    for c in range(count):
        margin = f_low[c] - max(f_high[i] for i in range(count) if i != c)
        if j != c and g_low[j] > g_high[c] and margin >= 0 and margin > best[0]:
            best = (margin, j)
    return best


def columns(value: Exact) -> list[list[Fraction]]:
    """The entries (m, points) as one list a point."""
    return [value[:, point].fractions() for point in range(value.shape[1])]


def rounded_up(value: Fraction) -> Fraction:
    """The least decimal with two significant digits that is not below a positive number."""
    if value == 0:
        return value
    size = approximately(value)
    if size > 1e300:
        return Fraction(math.ceil(value))
    exponent = math.floor(math.log10(size)) - 1 if size > 1e-300 else -300
    step = Fraction(10) ** exponent
    return math.ceil(value / step) * step
