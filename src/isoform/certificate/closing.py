# SPDX-License-Identifier: Apache-2.0
"""What must be bounded so that forbidden sets are empty on a box.

A forbidden set is {v = (x, f, g): rows v <= bounds}. For multipliers c >= 0 every point of it has
c (bounds - rows v) >= 0, and > 0 where a strict row takes part. So the set is empty on a box where
the largest value of that form is below 0, or 0 with a strict row. The forms tried are every single
row, and the last two rows together.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from isoform.errors import CertificateRejected
from isoform.network.claim import Forbidden
from isoform.network.paired import Paired
from isoform.numerics.exact import Exact, concatenate
from isoform.numerics.sparse import ExactSparse

MOST_FORMS = 1 << 16
MOST_PLACES = 1 << 26  # forms times sets


@dataclass(frozen=True, slots=True, eq=False)
class Targets:
    """T linear forms over (1, x, f's units, units' differences): rows of p (T, 1 + d + N) and of q
    (T, N), as exact matrices."""

    p: ExactSparse
    q: ExactSparse


@dataclass(frozen=True, slots=True, eq=False)
class Forms:
    """T forms whose largest values close S sets. closes (S, T): whether form t closes set s;
    strict (T,): whether 0 will do."""

    targets: Targets
    closes: np.ndarray
    strict: np.ndarray

    def closed(self, upper: np.ndarray, form: np.ndarray) -> np.ndarray:
        """Whether upper bounds (R,) of these forms (R,) are low enough."""
        return (upper < 0) | (self.strict[form] & (upper == 0))


def forms_of(
    sets: tuple[Forbidden, ...], pair: Paired, constant: Exact, matrix: Exact
) -> Forms:
    """The forms of forbidden sets, over (1, u, slots), where (1, x) = constant + matrix u.

    constant (1 + d,), matrix (1 + d, k). CertificateRejected where there are too many.
    """
    found: dict[tuple[object, ...], int] = {}
    rows: list[Exact] = []
    strict: list[bool] = []
    members: list[list[int]] = []
    for part in sets:
        count = len(part.strict)
        table = concatenate([part.bounds.reshape(-1, 1), -part.rows], axis=1)
        picks = [[i] for i in range(count)] + ([[count - 2, count - 1]] if count > 1 else [])
        members.append([])
        for pick in picks:
            row = table[pick[0]]
            for i in pick[1:]:
                row = row + table[i]
            loose = any(part.strict[i] for i in pick)
            at = np.flatnonzero(row.sign())
            key = (at.tobytes(), *row[at].fractions(), loose)
            if key not in found:
                found[key] = len(rows)
                rows.append(row)
                strict.append(loose)
            members[-1].append(found[key])
        if len(rows) > MOST_FORMS or len(rows) * len(sets) > MOST_PLACES:
            raise CertificateRejected("tree", f"more than {len(rows) - 1:,} forms to bound")
    closes = np.zeros((len(sets), len(rows)), dtype=bool)
    for number, member in enumerate(members):
        closes[number, member] = True
    wide = concatenate([row.reshape(1, -1) for row in rows])
    return Forms(over_slots(wide, pair, constant, matrix), closes, np.array(strict))


def over_slots(rows: Exact, pair: Paired, constant: Exact, matrix: Exact) -> Targets:
    """Rows over (1, x, f, g) as forms over (1, u, h) and the differences rho: f = F (1, u, h),
    g = G (1, u, h) + G rho."""
    k, n = pair.dimension, matrix.shape[0] - 1
    m = pair.source_outputs.shape[0]
    width = pair.source_outputs.shape[1]
    places = concatenate([constant.reshape(-1, 1), matrix], axis=1)  # (1, x) over (1, u)
    own = ExactSparse.of((rows[:, : 1 + n] @ places).reduced()).widened(width)
    first = ExactSparse.of(rows[:, 1 + n : 1 + n + m]) @ pair.source_outputs
    second = ExactSparse.of(rows[:, 1 + n + m :]) @ pair.target_outputs
    keep = second.columns > k
    q = ExactSparse.of_triplets(
        (second.shape[0], width - 1 - k), second.row_numbers()[keep],
        second.columns[keep] - 1 - k, second.data[keep], second.denominator,
    )
    return Targets((own + first + second).reduced(), q.reduced())
