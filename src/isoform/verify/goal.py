# SPDX-License-Identifier: Apache-2.0
"""What an attack tries to make large: a difference of outputs, or the margin of a lost decision."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from isoform.errors import Refused
from isoform.network.claim import RegionCount, Relation, SameDecision, Within
from isoform.network.network import Network
from isoform.network.operators import Opaque, Scan
from isoform.numerics.enclosure import Enclosure
from isoform.numerics.exact import Exact, approximately

Value = Exact | Enclosure  # (m, points)
NOTHING = Fraction(-1)  # amount where a point says nothing against the claim


def check_relation(relation: Relation) -> None:
    """Refused where the relation is none that evidence exists for."""
    match relation:
        case Within(eps, norm):
            if not isinstance(eps, int | Fraction) or eps < 0:
                raise Refused(f"eps {eps} is no rational of 0 or more; give one")
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
    """Refuted where some |g_i - f_i| is larger than eps."""

    eps: Fraction

    @property
    def threshold(self) -> Fraction:
        return self.eps

    def score(self, f: np.ndarray, g: np.ndarray) -> np.ndarray:
        """The largest |g_i - f_i| of each row of (batch, m)."""
        with np.errstate(all="ignore"):
            return np.nan_to_num(np.abs(g - f).max(axis=1), nan=-np.inf)

    def cotangents(self, f: np.ndarray, g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Gradients by f and g: of the largest |d_i| in even rows, of one |d_i| in odd rows."""
        with np.errstate(all="ignore"):
            gap = np.nan_to_num(g - f)
        rows = np.arange(len(gap))
        chosen = np.where(rows % 2 == 0, np.abs(gap).argmax(axis=1), rows // 2 % gap.shape[1])
        back = np.zeros_like(gap)
        sign = np.sign(gap[rows, chosen])
        back[rows, chosen] = np.where(sign == 0, 1.0, sign)
        return -back, back

    def amounts(self, f: Value, g: Value) -> list[tuple[Fraction, int]]:
        """For each point the largest |g_i - f_i| (a lower value) and its output."""
        a, b = Enclosure.of(f), Enclosure.of(g)
        above, below = b.low - a.high, a.low - b.high
        found = []
        for up, down in zip(columns(above), columns(below), strict=True):
            sizes = [max(u, d) for u, d in zip(up, down, strict=True)]
            output = max(range(len(sizes)), key=sizes.__getitem__)
            found.append((max(sizes[output], Fraction(0)), output))
        return found

    def refutes(self, amount: Fraction) -> bool:
        return amount > self.eps


@dataclass(frozen=True, slots=True)
class Decision:
    """Refuted where f prefers c by at least `margin` and some g_j is larger than g_c."""

    margin: Fraction

    @property
    def threshold(self) -> Fraction:
        return self.margin

    def score(self, f: np.ndarray, g: np.ndarray) -> np.ndarray:
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

    def cotangents(self, f: np.ndarray, g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Gradients of the smaller of the two parts of the score."""
        margin, lead, c, k, j = self.parts(f, g)
        rows = np.arange(len(f))
        by_f, by_g = np.zeros_like(f), np.zeros_like(g)
        short = (margin < lead).astype(np.float64)
        by_f[rows, c], by_f[rows, k] = short, -short
        by_g[rows, j], by_g[rows, c] = 1 - short, short - 1
        return by_f, by_g

    def amounts(self, f: Value, g: Value) -> list[tuple[Fraction, int]]:
        """For each point the margin of f where g decides otherwise, and the output g prefers."""
        a, b = Enclosure.of(f), Enclosure.of(g)
        quads = zip(*(columns(part) for part in (a.low, a.high, b.low, b.high)), strict=True)
        return [lost_margin(*quad) for quad in quads]

    def refutes(self, amount: Fraction) -> bool:
        return amount >= self.margin


Goal = Difference | Decision


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
