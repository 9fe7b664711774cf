# SPDX-License-Identifier: Apache-2.0
"""One unit, both of its phases: an affine bound of P h + Q rho over the inputs of a box.

Lines over y and delta forget that h and rho change phase together, and that y, h and rho all hang
on the same inputs. For a slot that reads inputs only there is a bound that does not. Let t be y or
y', the pivot, and a in {0, 1} its phase: t >= 0 where a = 1, t <= 0 where a = 0. Then

    P h + Q rho <= a (P y + Q delta)

for t = y where Q <= 0, since h = a y and rho = relu(y') - a y >= a delta; for t = y' where
Q >= max(P, 0), since P h + Q rho = P h' + (Q - P) rho with h' = a y' and rho = a y' - relu(y)
<= a delta. A slot without target unit has P h + Q rho = (P - Q) a y for t = y, one without source
unit Q a y' for t = y', whatever the signs; with y' = 0 or y = 0 the right-hand side is the same.

So for all multiples m_0, m_1 >= 0 and every affine function alpha u

    P h + Q rho <= alpha u + max(max over the box of P y + Q delta + m_1 t - alpha u,
                                 max over the box of -m_0 t - alpha u),

the first part left out where t <= 0 is known, the second where t >= 0 is. Multiples and alpha are
free choices. The best ones give the least concave function above a (P y + Q delta) over the box;
for one unit it is described by Anderson, Huchette, Ma, Tjandraatmadja and Vielma (Mathematical
Programming 183, 2020).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from isoform.network.paired import PairedLayer
from isoform.numerics.sparse import ExactSparse

STRAIGHT = ("relu", "none")  # functions of the rule; "none" where there is no unit
SHARES = (1 << 16) - 1  # parts into which the coefficients of both phases are mixed


@dataclass(frozen=True, slots=True, eq=False)
class Direct:
    """Rows (n, 1 + d) of y and of delta of a layer's slots over the constant and the inputs, as
    integers over one denominator (for doubles: over 1); which slots have a unit of source and of
    target; fits: which apply relu and read nothing but inputs."""

    own: np.ndarray
    gap: np.ndarray
    denominator: int
    has_source: np.ndarray
    has_target: np.ndarray
    fits: np.ndarray

    @staticmethod
    def of(layer: PairedLayer, d: int, ops: Any) -> Direct:
        parts = [inputs_of(rows, d) for rows in (layer.source, layer.target - layer.source)]
        (own, gap), denominator = ops.integral(parts)
        fits = np.array([{*names} <= {*STRAIGHT} for names in zip(*layer.curves, strict=True)],
                        dtype=bool)
        for rows in (layer.source, layer.target):
            fits[rows.row_numbers()[rows.columns > d]] = False
        return Direct(own, gap, denominator, layer.has_source, layer.has_target, fits)


def inputs_of(rows: ExactSparse, d: int) -> ExactSparse:
    """The columns of the constant and the inputs."""
    at = rows.columns <= d
    return ExactSparse.of_triplets(
        (rows.shape[0], 1 + d), rows.row_numbers()[at], rows.columns[at], rows.data[at],
        rows.denominator,
    )


@dataclass(frozen=True, slots=True, eq=False)
class Phased:
    """K bounds to be taken on the way back. row, slot (K,): where; prices (K, 2): m_0 and m_1, at
    least 0; shares (K, d): alpha lies between the coefficients -m_0 t and P y + Q delta + m_1 t,
    so many of SHARES from the first; low, high (K, d): the box; ends (K, 2, 2): bounds of y, y'."""

    row: np.ndarray
    slot: np.ndarray
    prices: np.ndarray
    shares: np.ndarray
    low: np.ndarray
    high: np.ndarray
    ends: np.ndarray

    def take(self, at: np.ndarray) -> Phased:
        return Phased(*(getattr(self, name)[at] for name in Phased.__slots__))

    def within(self, first: int, end: int) -> Phased:
        """Those of these slots, numbered from the first."""
        found = self.take(np.flatnonzero((self.slot >= first) & (self.slot < end)))
        return replace(found, slot=found.slot - first)


def taken(
    ops: Any, at: Phased, direct: Direct, p: np.ndarray, q: np.ndarray, rows: Any
) -> tuple[np.ndarray, np.ndarray]:
    """What is left of coefficients p, q (R, n) of h and rho where the rule holds: nothing; instead
    the coefficients of the inputs and the constants of the rows (`differential.Carried`) change."""
    has = direct.has_source[at.slot], direct.has_target[at.slot]
    fits, later = allowed(*has, p[at.row, at.slot], q[at.row, at.slot])
    used = np.flatnonzero(fits & direct.fits[at.slot])
    at, later = at.take(used), later[used]
    alpha, more = bound(ops, at, direct, later, p[at.row, at.slot], q[at.row, at.slot])
    p, q, inputs, constant = (part.copy() for part in (p, q, rows.inputs, rows.constant))
    np.add.at(inputs, at.row, alpha)
    np.add.at(constant, at.row, more)
    rows.inputs, rows.constant = ops.kept(inputs), ops.kept(constant)
    p[at.row, at.slot], q[at.row, at.slot] = 0, 0
    return p, q


def allowed(has_source: np.ndarray, has_target: np.ndarray, p: np.ndarray, q: np.ndarray
            ) -> tuple[np.ndarray, np.ndarray]:
    """Where the rule holds, and where its pivot is y'."""
    both = has_source & has_target
    return ~both | (q <= 0) | (q >= p), np.where(both, q > 0, has_target)


def bound(
    ops: Any, at: Phased, direct: Direct, later: np.ndarray, p: np.ndarray, q: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """alpha (K, d) and the constant (K,) for coefficients p, q (K,) of h and rho of the layer's
    slots; later: where the pivot is y'. Where p multiplies a unit that is not there it counts for
    nothing, because its row is 0."""
    own, gap = direct.own[at.slot], direct.gap[at.slot]
    pivot = own + np.where(later[:, None], gap, 0)
    whole, unit = ops.whole(), direct.denominator
    on = spread(p, own) + spread(q, gap) + spread(at.prices[:, 1], pivot)
    off = -spread(at.prices[:, 0], pivot)
    mixed = SHARES * off[:, 1:] + at.shares.astype(own.dtype) * (on - off)[:, 1:]
    alpha = ops.floored(mixed, SHARES * unit)
    ends = np.where(later[:, None], at.ends[:, 1], at.ends[:, 0])
    needed = np.stack((ends[:, 1] > 0, ends[:, 0] < 0))
    tops = []
    for phase in (on, off):
        left = phase[:, 1:] - alpha.astype(own.dtype) * unit
        tops.append(phase[:, 0] * whole + (np.maximum(left, 0) * at.high).sum(axis=1)
                    + (np.minimum(left, 0) * at.low).sum(axis=1))
    top = np.where(
        needed.all(axis=0), np.maximum(*tops), np.where(needed[0], tops[0], tops[1])
    )
    return alpha, -ops.floored(-top, unit * whole)


def spread(factor: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Rows times one factor each, in the numbers of the rows."""
    return factor.astype(rows.dtype)[:, None] * rows
