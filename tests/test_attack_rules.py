# SPDX-License-Identifier: Apache-2.0
"""Every rule of the sweep on its own: random rows and radii, random codes, exact values."""

from __future__ import annotations

import random
from fractions import Fraction

import numpy as np
import pytest

from isoform.certificate.basis import GRID, HINT_BITS, Basis, backward_range, interval_range
from isoform.certificate.codes import Code, Codes, Value
from isoform.certificate.sweep import applied
from isoform.certificate.units import multiplied, opaque, rectified, stepped
from isoform.errors import CertificateRejected
from isoform.network.domain import Box
from isoform.network.linear_map import Dense
from isoform.network.network import Node
from isoform.network.operators import Concat, Linear, Opaque, Select
from isoform.numerics.enclosure import (
    Enclosure,
    linear_enclosure,
    opaque_enclosure,
    product_enclosure,
    step_enclosure,
)
from isoform.numerics.exact import Exact, exact_fractions, integers
from isoform.numerics.sparse import ExactSparse
from test_attack_random import row_ends, unit_ends

UNIT = Fraction(1, 1 << GRID)
SMALL = (0, 1, -1, 2, -2, Fraction(1, 2), Fraction(1, 3), Fraction(-2, 3), UNIT, -UNIT)
RADII = (0, 0, 0, 1, 3, 1 << 93, (1 << 96) // 3, 1 << 97)
SCALES = (1, 2, Fraction(1, 3), 3, Fraction(1, 2))
KINDS = ("relu", "relu", "relu", "step", "product", "tanh", "sigmoid", "softmax 2", "exp", "cos")


def new_codes(n: int) -> Codes:
    return Codes.all_new(n)


def random_rows(rng: random.Random, basis: Basis, n: int) -> list[dict[int, Fraction]]:
    """Sparse rows over the basis, also empty and constant ones."""
    rows = []
    for _ in range(n):
        count = rng.choice([0, 1, 1, 2, 3])
        at = rng.sample(range(basis.width), min(count, basis.width))
        row = {j: Fraction(rng.choice(SMALL)) for j in at}
        rows.append({j: w for j, w in row.items() if w})
    return rows


def sparse(rows: list[dict[int, Fraction]], width: int) -> ExactSparse:
    entries = [(i, j, w) for i, row in enumerate(rows) for j, w in row.items()]
    data = exact_fractions([w for _, _, w in entries], (len(entries),))
    return ExactSparse.of_triplets(
        (len(rows), width), np.array([i for i, _, _ in entries], dtype=np.int64),
        np.array([j for _, j, _ in entries], dtype=np.int64), data.numerator, data.denominator,
    )


def plus(row: dict[int, Fraction], other: dict[int, Fraction], c: Fraction) -> dict[int, Fraction]:
    found = dict(row)
    for j, w in other.items():
        found[j] = found.get(j, Fraction(0)) + c * w
    return {j: w for j, w in found.items() if w}


def radii(rng: random.Random, n: int) -> np.ndarray:
    some = rng.random() < 0.6
    return integers([rng.choice(RADII) if some else 0 for _ in range(n)], (n,))


def rule(kind: str, value: Value, other: Value | None, basis: Basis, codes: Codes) -> Value:
    def decide(asked) -> Codes:
        return codes

    match kind.split():
        case ["relu"]:
            return rectified(value, basis, decide)
        case ["step"]:
            return stepped(value, basis, decide)
        case ["product"]:
            assert other is not None
            return multiplied(value, other, basis, decide)
        case ["softmax", group]:
            return opaque(Opaque("softmax", int(group)), value, basis, decide)
        case _:
            return opaque(Opaque(kind), value, basis, decide)


def prepared(rng: random.Random) -> tuple[Basis, list[Fraction], list[Fraction], bool]:
    """A basis with some blocks of units, on a box or (the last) everywhere."""
    n = rng.choice([1, 2])
    low = [Fraction(rng.choice([-1, 0, Fraction(-2, 3)])) for _ in range(n)]
    high = [a + Fraction(rng.choice([0, 1, Fraction(4, 3)])) for a in low]
    everywhere = rng.random() < 0.2
    basis = Basis.on(None if everywhere else Box(low, high), n)
    for _ in range(rng.randrange(1, 4)):
        kind = rng.choice(KINDS)
        count = 4 if "softmax" in kind else rng.randrange(1, 4)
        given = [Value(sparse(random_rows(rng, basis, count), basis.width),
                       integers([0] * count, (count,))) for _ in range(2)]
        rule(kind, given[0], given[1], basis, new_codes(count))
    return basis, low, high, everywhere


def likely(rng: random.Random, kind: str, basis: Basis, n: int):
    """Rows, second rows and codes that have a chance: rows near multiples of arguments."""
    blocks = [block for block in basis.blocks if block.kind == kind]
    spots = [(block, i) for block in blocks for i in range(block.stop - block.start)]
    rows, others = random_rows(rng, basis, n), random_rows(rng, basis, n)
    code, partner, factor = [], [], []
    start = rng.randrange(0, max(1, len(spots) - n + 1))
    whole = rng.choice([0, 0, 3]) if "softmax" in kind else None
    for i in range(n):
        if kind in ("step", "product") and rng.random() < 0.5:
            rows[i] = {0: rng.choice([Fraction(1, 2), Fraction(-1, 2), UNIT, -2 * UNIT])}
        chosen = rng.choice([0, 1, 2, 3, 3, 4] + [5, 6] * (kind == "relu" and i > 0))
        chosen = whole if whole is not None else chosen
        if chosen in (3, 4) and not spots:
            chosen = 0
        code.append(chosen)
        if chosen < Code.MERGE:
            continue
        scale = Fraction(rng.choice(SCALES)) if kind in ("relu", "step") else Fraction(1)
        extra = {0: rng.choice([Fraction(0), UNIT, -UNIT, 3 * UNIT, Fraction(1, 8)])}
        if rng.random() < 0.3:
            extra = rng.choice(rows)
        if rng.random() < 0.5:
            extra = {}
        sign = -1 if chosen in (Code.NEGATIVE, Code.MIRROR) and kind != "product" else 1
        sign *= rng.choice([1] * 5 + [-1])
        if chosen >= Code.FOLLOW:
            at = rng.randrange(i)
            base, mine = rows[at], at
        else:
            block, unit = spots[min(start + i, len(spots) - 1)] if whole else rng.choice(spots)
            mine = block.start + unit
            base = block.arguments.row_fractions(unit)
            if kind == "product":
                second = block.others.row_fractions(unit)
                base, second = (second, base) if chosen == Code.NEGATIVE else (base, second)
                others[i] = plus(second, extra, Fraction(1))
        rows[i] = plus(extra, base, sign * scale)
        partner.append(mine)
        factor.append(scale)
    codes = Codes(
        code=np.array(code, dtype=np.uint8), partner=np.array(partner, dtype=np.int64),
        factor=exact_fractions(factor, (len(factor),)), backward=rng.random() < 0.3,
    )
    return rows, others, codes


def true_values(kind: str, v: list[Fraction], w: list[Fraction]) -> list[tuple[Fraction, Fraction]]:
    """phi(v) (or v w), as numbers or enclosures."""
    match kind.split()[0]:
        case "relu":
            return [(max(a, Fraction(0)),) * 2 for a in v]
        case "step":
            return [(Fraction(a >= 0),) * 2 for a in v]
        case "product":
            return [(a * b,) * 2 for a, b in zip(v, w, strict=True)]
    group = int(kind.split()[1]) if " " in kind else 0
    found = opaque_enclosure(kind.split()[0], Enclosure.of(exact_fractions(v, (len(v),))), group)
    return list(zip(found.low.fractions(), found.high.fractions(), strict=True))


def judge_rules(seed: int, count: int) -> dict[str, int]:
    """Apply rules; at points and for every v within the radius the result must be within its own.
    Returns how often each kind was applied."""
    rng = random.Random(seed)
    done = dict.fromkeys(KINDS, 0)
    for _ in range(count):
        basis, low, high, everywhere = prepared(rng)
        kind = rng.choice(KINDS)
        n = 4 if "softmax" in kind else rng.randrange(1, 4)
        rows, others, codes = likely(rng, kind, basis, n)
        value = Value(sparse(rows, basis.width), radii(rng, n))
        other = Value(sparse(others, basis.width), radii(rng, n))
        try:
            result = rule(kind, value, other, basis, codes)
        except CertificateRejected:
            continue
        done[kind] += 1
        smooth = any(b.kind.split()[0] not in ("relu", "step", "product", "error")
                     for b in basis.blocks)
        slack = Fraction(1, 10**9) if smooth else Fraction(0)
        for _ in range(5):
            point = [rng.choice([a, b, (a + b) / 2, a + (b - a) / 3]) for a, b in
                     zip(low, high, strict=True)]
            if everywhere:
                point = [p * rng.choice([1, 100]) for p in point]
            columns = unit_ends(basis, point)
            if any(abs(c[0]) > 10**6 for c in columns):
                continue
            moved = [
                [row_ends(v.rows, i, columns)[0] + Fraction(int(v.radius[i]) * rng.choice(
                    [-2, -1, 0, 1, 2]), 2 << GRID) for i in range(n)] for v in (value, other)
            ]
            for i, (least, most) in enumerate(true_values(kind, *moved)):
                ends = row_ends(result.rows.widened(basis.width), i, columns)
                radius = Fraction(int(result.radius[i]), 1 << GRID) + slack * (1 + abs(ends[1]))
                assert least - ends[1] <= radius and ends[0] - most <= radius, (seed, kind, i)
            for j, (first, last) in enumerate(columns):
                room = slack * (1 + abs(first))
                inside = basis.range.open_low[j] or last + room >= basis.range.low[j] * UNIT
                assert inside, (seed, kind, j)
                inside = basis.range.open_high[j] or first - room <= basis.range.high[j] * UNIT
                assert inside, (seed, kind, j)
    return done


def judge_joins(seed: int, count: int) -> None:
    """Linear, Select and Concat carry radii, rounded up."""
    rng = random.Random(seed)
    for _ in range(count):
        basis = Basis.on(Box([-1], [1]), 1)
        n = rng.randrange(1, 4)
        values = [Value(sparse(random_rows(rng, basis, n), 2), radii(rng, n)) for _ in range(2)]
        weights = [[Fraction(rng.choice(SMALL[:8])) for _ in range(n)] for _ in range(2)]
        pick = np.array([rng.randrange(n) for _ in range(3)])
        bias = Exact.of([Fraction(rng.choice(SMALL))])
        maps = tuple(Dense(Exact.of([row])) for row in weights)
        results = [
            applied(Node(operator, operands, (size,)), given, basis, lambda asked: Codes.all_new(0))
            for operator, operands, size, given in (
                (Linear(maps, bias), (0, 1), 1, values), (Select(pick), (0,), 3, values[:1]),
                (Concat(), (0, 1), 2 * n, values),
            )
        ]
        columns = unit_ends(basis, [Fraction(rng.randrange(-3, 4), 3)])
        at = [
            [row_ends(v.rows, i, columns)[0] + rng.choice([-1, 1]) * int(v.radius[i]) * UNIT
             for i in range(n)] for v in values
        ]
        total = bias.fractions()[0] + sum(
            w * v for row, value in zip(weights, at, strict=True)
            for w, v in zip(row, value, strict=True)
        )
        for result, true in zip(results, ([total], [at[0][i] for i in pick], at[0] + at[1]),
                                strict=True):
            for i, v in enumerate(true):
                gap = abs(v - row_ends(result.rows, i, columns)[0])
                assert gap <= int(result.radius[i]) * UNIT, seed


def judge_ranges(seed: int, count: int) -> None:
    """Interval and backward ranges, with and without slopes, of rows over rectifiers and steps."""
    rng = random.Random(seed)
    for _ in range(count):
        n = rng.choice([1, 2])
        low = [Fraction(rng.choice([-1, 0, Fraction(-2, 3)])) for _ in range(n)]
        high = [a + Fraction(rng.choice([0, 1, Fraction(4, 3)])) for a in low]
        everywhere = rng.random() < 0.3
        basis = Basis.on(None if everywhere else Box(low, high), n)
        for _ in range(rng.randrange(1, 4)):
            kind, size = rng.choice(["relu", "relu", "relu", "step"]), rng.randrange(1, 4)
            value = Value(sparse(random_rows(rng, basis, size), basis.width),
                          integers([0] * size, (size,)))
            rule(kind, value, None, basis, Codes.all_new(size, backward=rng.random() < 0.5))
        rows = sparse(random_rows(rng, basis, 4), basis.width)
        hints = [rng.choice([0, 1 << HINT_BITS, 1 << 14, 65535, rng.randrange(1 << HINT_BITS)])
                 for _ in range(4 * basis.width)]
        slopes = np.array(hints, dtype=np.uint16).reshape(4, basis.width)
        found = [interval_range(rows, basis), backward_range(rows, basis),
                 backward_range(rows, basis, slopes)]
        for _ in range(6):
            point = [rng.choice([a, b, a + (b - a) * Fraction(rng.randrange(9), 8)])
                     for a, b in zip(low, high, strict=True)]
            if everywhere:
                point = [p * rng.choice([1, 50, -7]) for p in point]
            columns = unit_ends(basis, point)
            for known in found:
                for i in range(4):
                    v = row_ends(rows, i, columns)[0] * (1 << GRID)
                    assert known.open_low[i] or known.low[i] <= v, seed
                    assert known.open_high[i] or v <= known.high[i], seed


def judge_enclosures(seed: int, count: int) -> None:
    """Enclosures of wide enclosures hold what any value inside gives."""
    rng = random.Random(seed)
    for _ in range(count):
        a = [Fraction(rng.randrange(-9, 9), rng.choice([1, 2, 3])) for _ in range(4)]
        b = [v + Fraction(rng.randrange(0, 5), 2) for v in a]
        share = Fraction(rng.choice([0, 1, 2]), 2)
        inner = [p + (q - p) * share for p, q in zip(a, b, strict=True)]
        given = Enclosure(Exact.of(a).reshape(4, 1), Exact.of(b).reshape(4, 1))
        exact = Exact.of(inner).reshape(4, 1)
        matrix = sparse([{j: Fraction(rng.choice(SMALL[:8])) for j in range(4)}
                         for _ in range(3)], 4)
        results = [
            (linear_enclosure(matrix, given), Enclosure.of(matrix.times(exact))),
            (product_enclosure(given, given), Enclosure.of(exact * exact)),
            (step_enclosure(given), step_enclosure(Enclosure.of(exact))),
        ]
        for name in ("tanh", "sigmoid", "exp", "erf", "sin", "cos", "softplus"):
            results.append(
                (opaque_enclosure(name, given), opaque_enclosure(name, Enclosure.of(exact)))
            )
        results.append((opaque_enclosure("softmax", given, 2),
                        opaque_enclosure("softmax", Enclosure.of(exact), 2)))
        for wide, narrow in results:
            assert not np.any((wide.low - narrow.high).sign() > 0), seed
            assert not np.any((narrow.low - wide.high).sign() > 0), seed


def test_rules_hold_for_random_rows_radii_and_codes() -> None:
    done = judge_rules(1, 500)
    assert min(done.values()) > 3, done


def test_radii_are_carried() -> None:
    judge_joins(4, 100)


def test_ranges_hold() -> None:
    judge_ranges(2, 200)


def test_enclosures_hold() -> None:
    judge_enclosures(3, 40)


@pytest.mark.slow
def test_rules_and_ranges_hold_at_length() -> None:
    judge_rules(11, 4000)
    judge_ranges(12, 2000)
    judge_enclosures(13, 500)
