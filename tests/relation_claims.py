# SPDX-License-Identifier: Apache-2.0
"""Relations between units of medians, and guesses and forgeries of them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

import numpy as np

from isoform.certificate.basis import Basis, interval_range
from isoform.certificate.relations import Relation
from isoform.network.domain import Box
from isoform.numerics.exact import Exact, exact_fractions
from isoform.numerics.sparse import ExactSparse
from isoform.verify.relations import points_of, shown, solutions, values_at


def median(rng: random.Random) -> tuple[Basis, ExactSparse, Box | None]:
    """A basis of units about maxima or minima of three rows in two orders, scaled or moved, and the
    row of the last unit."""
    n = rng.choice([2, 3])
    scale = Fraction(rng.choice([1, 2, 3]), rng.choice([1, 2, 5]))
    rows = [[Fraction(rng.randrange(-3, 4)) for _ in range(n + 1)] for _ in range(3)]
    a, b, c = (np.array(row, dtype=object) for row in rows)
    moved = a.copy()
    moved[rng.randrange(n + 1)] += rng.choice([0, 0, Fraction(1, 1 << 40), Fraction(-1, 3)])
    box = None if rng.random() < 0.4 else Box([-1] * n, [rng.choice([0, 1])] * n)
    basis = Basis.on(box, n)

    def append(row: np.ndarray, last: int | None = None, sign: int = 1) -> int:
        values = np.array([*row, *[Fraction(0)] * (basis.width - n - 1)], dtype=object)
        if last is not None:
            values[last] += sign
        matrix = ExactSparse.of(Exact.of(values.reshape(1, -1)))
        before = interval_range(matrix, basis)
        return int(basis.append("relu", matrix, before, before.relu())[0])

    least = rng.random() < 0.5
    last = append(a - b)
    append(a - c, last, -1) if least else append(b - c, last)
    first = append(b - c)  # max(b, c) = c + relu(b - c), min(b, c) = b - relu(b - c)
    row = moved - b if least else c - moved
    values = np.array([*row, *[Fraction(0)] * (basis.width - n - 1)], dtype=object)
    values[first] += 1
    return basis, ExactSparse.of(Exact.of(scale * values.reshape(1, -1))), box


def guesses(rng: random.Random, argument: ExactSparse, basis: Basis, box: Box | None
            ) -> Iterator[Relation]:
    """The relation that is found, and wrong ones."""
    values = values_at(basis, points_of(box, basis.inputs, basis.width + 24, rng.randrange(99)))
    wanted = argument.widened(basis.width).times(values).relu()
    for row in solutions(values, wanted):
        honest = None if row is None else shown(argument, row, basis)
        if honest is not None:
            yield honest
            for _ in range(12):
                yield forged(rng, honest, basis)
    k = rng.randrange(0, 4)
    for _ in range(12):  # from nothing
        hinges = sorted(rng.sample(range(basis.inputs + 1, basis.width), min(k, 3)))
        yield any_relation(rng, hinges, basis)


def any_relation(rng: random.Random, hinges: list[int], basis: Basis) -> Relation:
    k = len(hinges)
    columns = sorted(rng.sample(range(basis.width), rng.randrange(0, basis.width)))
    return Relation(
        columns=np.array(columns, dtype=np.int64),
        values=exact_fractions([rng.choice([1, -1, Fraction(1, 2)]) for _ in columns],
                               (len(columns),)),
        hinges=np.array(hinges, dtype=np.int64),
        above=np.array([rng.randrange(2) for _ in range((2 << k) - 1)], dtype=np.uint8),
        multipliers=Exact.of(np.array([[rng.randrange(3) for _ in range(k + 1)]
                                       for _ in range(2 << k)])),
    )


def forged(rng: random.Random, honest: Relation, basis: Basis) -> Relation:
    """One change."""
    match rng.randrange(6):
        case 0:
            values = honest.values.fractions()
            if values:
                values[rng.randrange(len(values))] += rng.choice([1, -1, Fraction(1, 1 << 70)])
            return replace(honest, values=exact_fractions(values, (len(values),)))
        case 1:
            above = honest.above.copy()
            above[rng.randrange(len(above))] ^= 1
            return replace(honest, above=above)
        case 2:
            numbers = honest.multipliers.numerator.copy()
            numbers[rng.randrange(len(numbers)), rng.randrange(numbers.shape[1])] += rng.choice(
                [1, -1])
            return replace(honest, multipliers=Exact(numbers, honest.multipliers.denominator))
        case 3:
            numbers = honest.multipliers.numerator[::-1].copy()
            return replace(honest, multipliers=Exact(numbers, honest.multipliers.denominator))
        case 4:
            k = len(honest.hinges) - 1
            if k < 0:
                return honest
            return replace(
                honest, hinges=np.delete(honest.hinges, rng.randrange(k + 1)),
                above=honest.above[: (2 << k) - 1],
                multipliers=honest.multipliers[: 2 << k, : k + 1],
            )
    return any_relation(rng, honest.hinges.tolist(), basis)
