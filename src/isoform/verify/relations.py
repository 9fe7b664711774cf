# SPDX-License-Identifier: Apache-2.0
"""Looks for units that are a row over earlier ones: max(max(a, b), c) against max(a, max(b, c)).

The values of all columns at sample points, exact, say which combination of columns a unit is there:
modulo a prime first, then by an exact solution. Linear programmes find multipliers for the side
patterns of the units involved on which the two sides differ. Hints only; `certificate.relations`
derives the relation again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction

import numpy as np

from isoform.certificate.basis import GRID, Basis, interval_range
from isoform.certificate.relations import (
    MOST_HINGES,
    Relation,
    Row,
    add,
    on_sides,
    place_of,
    related,
    sparse,
)
from isoform.errors import CertificateRejected
from isoform.network.domain import Box
from isoform.numerics.exact import Exact, concatenate, exact_fractions
from isoform.numerics.sparse import ExactSparse

MOST_COLUMNS = 160  # of a basis in which relations are looked for
MORE = 24  # points than columns
PRIME = (1 << 61) - 1
POINT_BITS = 12
ASIDE = ((-(1 << 20), 1 << 20), (1, 1 << 20), (-(1 << 20), 0))  # directions: any, up, down
SHORT = 64  # multipliers of so small denominators are tried first


def points_of(box: Box | None, dimension: int, count: int, seed: int) -> Exact:
    """Sample points (dimension, count), of few bits; everywhere some near, some far."""
    rng = np.random.default_rng(seed)
    share = Exact.of(rng.integers(0, 1 + (1 << POINT_BITS), (dimension, count)))
    share = share * Fraction(1, 1 << POINT_BITS)
    if box is None:
        far = Exact.of(rng.choice([1, 2, 8, 32], count).astype(np.int64).reshape(1, -1))
        return (share - Fraction(1, 2)) * far
    return share * (box.high - box.low).reshape(-1, 1) + box.low.reshape(-1, 1)


def values_at(basis: Basis, points: Exact) -> Exact:
    """All columns (width, count) at points."""
    found = concatenate([Exact.of(np.ones((1, points.shape[1]), dtype=np.int64)), points])
    for block in basis.blocks:
        rows = block.arguments.widened(found.shape[0])
        found = concatenate([found, rows.times(found).relu()])
    return found.reduced()


def solutions(values: Exact, wanted: Exact) -> Iterator[Row | None]:
    """For each row of `wanted` (m, count) the combination of rows of `values` (n, count) that it
    is, if it is one; of rows that depend on each other some are left out."""
    import flint

    n, m = values.shape[0], wanted.shape[0]
    together = concatenate([values, wanted]).numerator  # over one denominator, which cancels
    residues = [[int(v) % PRIME for v in row] for row in together.T.tolist()]
    reduced, _ = flint.nmod_mat(len(residues), n + m, sum(residues, []), PRIME).rref()
    pivots: list[int] = []
    for i in range(min(len(residues), n)):
        at = next((j for j in range(n) if int(reduced[i, j])), None)
        if at is None:
            break
        pivots.append(at)
    rank = len(pivots)
    independent = flint.nmod_mat(
        rank, len(residues), [residues[i][j] for j in pivots for i in range(len(residues))], PRIME
    ).rref()[0]
    chosen = [next(j for j in range(len(residues)) if int(independent[i, j])) for i in range(rank)]
    square = flint.fmpz_mat(
        rank, rank, [int(together[j, i]) for i in chosen for j in pivots]
    )
    for k in range(m):
        if any(int(reduced[i, n + k]) for i in range(rank, len(residues))):
            yield None
            continue
        right = flint.fmpz_mat(rank, 1, [int(together[n + k, i]) for i in chosen])
        answer = square.solve(right).entries()
        row = {
            pivots[j]: Fraction(int(v.p), int(v.q)) for j, v in enumerate(answer) if v != 0
        }
        yield row if holds(row, together, n + k) else None


def holds(row: Row, together: np.ndarray, k: int) -> bool:
    """Whether a combination fits at all points."""
    weights = exact_fractions(list(row.values()), (len(row),))
    total = sum(
        (w * together[j] for w, j in zip(weights.numerator, row, strict=True)),
        0 * together[k],
    )
    return bool(np.all(total == weights.denominator * together[k]))


def by_relations(
    rows: ExactSparse, basis: Basis, units: np.ndarray, box: Box | None, seed: int
) -> dict[int, Relation]:
    """Relations of these units, each shown."""
    if not len(units) or basis.width > MOST_COLUMNS or not basis.blocks or any(
        block.kind != "relu" for block in basis.blocks
    ):
        return {}
    values = values_at(basis, points_of(box, basis.inputs, basis.width + MORE, seed))
    arguments = rows.take(units).widened(basis.width)
    found = {}
    for place, row in enumerate(solutions(values, arguments.times(values).relu())):
        relation = None if row is None else shown(arguments.take([place]), row, basis)
        if relation is not None:
            found[int(units[place])] = relation
    return found


def shown(argument: ExactSparse, row: Row, basis: Basis) -> Relation | None:
    """relu of the argument is this row: the hints, or None where they are not found."""
    hinges = cone({*argument.row_fractions(0), *row}, basis)
    if len(hinges) > MOST_HINGES:
        return None
    arguments = [
        basis.arguments(np.array([column]), "relu").row_fractions(0) for column in hinges
    ]
    arguments.append(argument.row_fractions(0))
    count, multipliers = len(arguments), []
    for pattern in range(1 << count):
        on = [bool(pattern >> j & 1) for j in range(count)]
        *forms, value = (on_sides(each, hinges, arguments, on) for each in (*arguments, row))
        weights: list[Fraction] | None = [Fraction(0)] * count
        if (forms[-1] if on[-1] else {}) != value:
            weights = impossible([
                form if side else {k: -v for k, v in form.items()}
                for form, side in zip(forms, on, strict=True)
            ], basis)
        if weights is None:
            return None
        multipliers += weights
    columns = sorted(row)
    rng = np.random.default_rng(len(row))
    for low, high in ASIDE:
        aside = rng.integers(low, high, basis.width).tolist()
        relation = Relation(
            columns=np.array(columns, dtype=np.int64),
            values=exact_fractions([row[c] for c in columns], (len(columns),)),
            hinges=np.array(hinges, dtype=np.int64), above=sides(hinges, arguments, aside),
            multipliers=exact_fractions(multipliers, (1 << count, count)),
        )
        with suppress(CertificateRejected):
            related(argument, relation, basis)
            return relation
    return None


def sides(hinges: list[int], arguments: list[Row], aside: list[int]) -> np.ndarray:
    """Zero counts as what it is a little aside, in a direction of the inputs."""
    count = len(arguments)
    above = np.zeros((1 << count) - 1, dtype=np.uint8)
    for pattern in range(1 << count):
        on = [bool(pattern >> j & 1) for j in range(count)]
        for j, argument in enumerate(arguments):
            form = on_sides(argument, hinges, arguments, on)
            above[place_of(j, pattern)] = sum(v * aside[c] for c, v in form.items() if c) > 0
    return above


def cone(columns: set[int], basis: Basis) -> list[int]:
    """The units among these columns, and those that they read, however indirectly."""
    waiting = [c for c in columns if c > basis.inputs]
    found: set[int] = set()
    while waiting and len(found) <= MOST_HINGES:
        column = waiting.pop()
        if column not in found:
            found.add(column)
            block = basis.block_of(column)
            read = block.arguments.row(column - block.start)[0].tolist()
            waiting += [c for c in read if c > basis.inputs]
    return sorted(found)


def impossible(forms: list[Row], basis: Basis) -> list[Fraction] | None:
    """Multipliers >= 0 with which the sum of forms is never positive; None where none are found."""
    floats = programme(forms, basis)
    if floats is None:
        return None
    for weights in candidates(floats, forms):
        total: Row = {}
        for form, weight in zip(forms, weights, strict=True):
            add(total, form, weight)
        known = interval_range(sparse(total, basis.width), basis)
        if any(weights) and not known.open_high[0] and known.high[0] <= 0:
            return weights
    return None


def programme(forms: list[Row], basis: Basis) -> np.ndarray | None:
    """Multipliers with sum 1 of the least largest value of the sum, in floats."""
    from scipy.optimize import linprog

    columns = sorted({c for form in forms for c in form} - {0})
    n, m = len(forms), len(columns)
    size = [max([abs(float(v)) for v in form.values()], default=1.0) or 1.0 for form in forms]
    weight = np.array([[float(form.get(c, 0)) / s for c in columns]
                       for form, s in zip(forms, size, strict=True)]).reshape(n, m)
    known = basis.range
    low = Exact(known.low[columns], 1 << GRID).to_float()
    high = Exact(known.high[columns], 1 << GRID).to_float()
    rows, below = [], []
    for j, column in enumerate(columns):  # t_j >= coefficient * either end
        for end, is_open, sign in (
            (low[j], known.open_low[column], -1.0), (high[j], known.open_high[column], 1.0),
        ):
            row = np.zeros(n + m)
            row[:n] = weight[:, j] * (sign if is_open else end)
            row[n + j] = 0.0 if is_open else -1.0
            rows.append(row)
            below.append(0.0)
    free = known.open_low[columns] & known.open_high[columns]
    bounds = [(0, None)] * n + [(0 if both else None, None) for both in free.tolist()]
    constants = [float(form.get(0, 0)) / s for form, s in zip(forms, size, strict=True)]
    found = linprog(
        np.concatenate((constants, np.ones(m))), A_ub=np.array(rows) if rows else None,
        b_ub=below or None, A_eq=np.concatenate((np.ones(n), np.zeros(m))).reshape(1, -1),
        b_eq=[1.0], bounds=bounds, method="highs",
    )
    if found.status != 0 or found.fun > 1e-7:
        return None
    return np.asarray(found.x[:n] / np.array(size))


def candidates(floats: np.ndarray, forms: list[Row]) -> Iterator[list[Fraction]]:
    """Rationals near the multipliers: short ones, those that cancel exactly, long ones."""
    floats = np.where(floats > 1e-9 * floats.max(), floats, 0) / floats.max()
    yield [Fraction(float(v)).limit_denominator(SHORT) for v in floats]
    held = np.flatnonzero(floats)
    cancelling = kernel([forms[j] for j in held.tolist()], floats[held])
    if cancelling is not None:
        weights = [Fraction(0)] * len(forms)
        for j, weight in zip(held.tolist(), cancelling, strict=True):
            weights[j] = weight
        yield weights
    yield [Fraction(round(float(v) * 2**30), 2**30) for v in floats]


def kernel(forms: list[Row], near: np.ndarray) -> list[Fraction] | None:
    """The positive multipliers, up to a factor, with which every column vanishes that does so with
    these nearby ones."""
    import flint

    columns = []
    for column in sorted({c for form in forms for c in form} - {0}):
        parts = np.array([float(form.get(column, 0)) for form in forms]) * near
        if abs(parts.sum()) <= 1e-9 * np.abs(parts).sum():
            columns.append(column)
    if not columns:
        return None
    entries = exact_fractions(
        [form.get(c, Fraction(0)) for c in columns for form in forms], (len(columns) * len(forms),)
    ).numerator.tolist()
    basis, rank = flint.fmpz_mat(len(columns), len(forms), entries).nullspace()
    if rank != 1:
        return None
    found = [int(basis[i, 0]) for i in range(len(forms))]
    found = [-v for v in found] if sum(found) < 0 else found
    return [Fraction(v) for v in found] if min(found) >= 0 else None
