# SPDX-License-Identifier: Apache-2.0
"""What a sweep proves: both networks over one basis, and the bound of their difference."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from isoform.certificate.basis import GRID, Basis, Range, backward_range, interval_range
from isoform.certificate.codes import Value
from isoform.certificate.evidence import Sweep
from isoform.certificate.sweep import replayed
from isoform.errors import CertificateRejected
from isoform.network.claim import Avoids, Comparison, Equal, SameDecision, Within, brief, tolerances
from isoform.network.domain import Domain, hull
from isoform.network.network import Network
from isoform.numerics.exact import Exact
from isoform.numerics.sparse import ExactSparse

MOST_PAIRS = 1 << 24  # of outputs, for a decision


def swept(
    data: Sweep, source: Network, target: Network, domain: Domain, relation: Comparison
) -> Fraction:
    """Run both networks over one basis with the recorded codes, then bound the difference."""
    basis = Basis.on(hull(domain), source.dimension)
    first, second = replayed(data.codes, source, target, basis)
    return conclude(first, second, basis, relation, data.backward)


def conclude(
    first: Value, second: Value, basis: Basis, relation: Comparison, backward: bool
) -> Fraction:
    """The relation follows from final rows and radii, or CertificateRejected with the numbers.
    Returns an upper value of the largest difference (for a decision: of the margin)."""
    rows = second.rows.widened(basis.width) - first.rows.widened(basis.width)
    radius = first.radius + second.radius
    match relation:
        case Equal():
            if rows.nonzeros or radius.any():
                at = int(np.flatnonzero((np.diff(rows.starts) > 0) | (radius != 0))[0])
                raise CertificateRejected("sweep", f"output {at} differs")
            return Fraction(0)
        case Within():
            known = bounded(rows, basis, backward)
            sizes = known.magnitude()[0] + radius
            allowed = tolerances(relation, len(sizes))
            excess = (Exact(sizes, 1 << GRID) - allowed).sign() > 0
            if excess.any():
                i = int(np.flatnonzero(excess)[0])
                raise CertificateRejected(
                    "sweep", f"the difference of output {i} is bounded by "
                    f"{brief(Fraction(sizes[i], 1 << GRID))}, not {brief(allowed[i].item())}"
                )
            return largest(known, radius)
        case SameDecision(margin):
            upper = decision_margin(rows, radius, basis, backward)
            if upper > margin:
                raise CertificateRejected(
                    "sweep", f"the margin is {brief(upper)}, not {brief(margin)}"
                )
            return upper
        case Avoids():
            raise CertificateRejected("sweep", "a sweep says nothing of forbidden sets")


def bounded(rows: ExactSparse, basis: Basis, backward: bool) -> Range:
    known = backward_range(rows, basis) if backward else interval_range(rows, basis)
    if known.open_low.any() or known.open_high.any():
        raise CertificateRejected("sweep", "the difference has no bound on this domain")
    return known


def largest(known: Range, radius: np.ndarray) -> Fraction:
    """Upper value of max |difference|."""
    return Fraction(max((known.magnitude()[0] + radius).tolist()), 1 << GRID)


def decision_margin(
    rows: ExactSparse, radius: np.ndarray, basis: Basis, backward: bool
) -> Fraction:
    """Upper value of (f_c - f_j) - (g_c - g_j) over all pairs of outputs: where f prefers c by that
    much, g does not prefer j."""
    m = rows.shape[0]
    if m < 2:
        raise CertificateRejected("sweep", "a decision needs two outputs or more")
    if m * m > MOST_PAIRS:
        raise CertificateRejected("sweep", f"{m * m:,} pairs of outputs are too many")
    first, second = np.meshgrid(np.arange(m), np.arange(m), indexing="ij")
    apart = first != second
    first, second = first[apart], second[apart]
    pairs = rows.take(second) - rows.take(first)
    known = bounded(pairs, basis, backward)
    return Fraction(max(0, *(known.high + radius[first] + radius[second]).tolist()), 1 << GRID)
