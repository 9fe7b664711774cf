# SPDX-License-Identifier: Apache-2.0
"""The bound of one unit in both phases: above the unit everywhere, tight where it is to be, and
wrong as soon as one of its conditions is dropped."""

from __future__ import annotations

from fractions import Fraction
from itertools import product

import numpy as np
import pytest

from isoform.certificate.fixed import Fixed
from isoform.certificate.phases import SHARES, Direct, Phased, allowed, bound
from isoform.network.paired import PairedLayer
from isoform.numerics.exact import Exact
from isoform.numerics.sparse import ExactSparse
from isoform.verify.floats import Floats
from test_checker_mutants import planted

PRICES = (0.0, 0.5, 1.0, 2.0, 3.0, 4.0)
MIXED = (0, SHARES // 4, SHARES // 2, SHARES)
POINTS = [Fraction(k, 8) for k in range(-8, 9)]
COEFFICIENTS = (-2, -1, 0, 1, 2)
PAIRS = [  # (weight, bias) of y and of y'; None: no unit
    ((1, 0), (1, Fraction(-1, 2))), ((1, 0), (1, Fraction(1, 2))), ((1, 0), (-1, 0)),
    ((1, Fraction(1, 4)), (2, Fraction(1, 4))), ((1, 0), None), (None, (-1, Fraction(1, 4))),
    ((1, 1), (1, Fraction(3, 4))), ((-1, -1), (1, Fraction(1, 3))), ((0, 0), (1, 0)),
]


def rows(unit: tuple | None) -> ExactSparse:
    if unit is None:
        return ExactSparse.zeros((1, 2))
    found = Exact.of(np.array([[unit[1], unit[0]]], dtype=object))
    return ExactSparse.of_triplets(
        (1, 2), np.zeros(2, dtype=np.int64), np.arange(2), found.numerator.reshape(-1),
        found.denominator,
    )


def layer(first: tuple | None, second: tuple | None) -> PairedLayer:
    names = tuple(("none",) if unit is None else ("relu",) for unit in (first, second))
    has = (np.array([unit is not None]) for unit in (first, second))
    return PairedLayer(rows(first), rows(second), *has, (names[0], names[1]))


def value(unit: tuple | None, u: Fraction) -> Fraction:
    return Fraction(0) if unit is None else unit[0] * u + unit[1]


def judge(ops: object, off: Fraction) -> tuple[int, dict]:
    """All small cases against the function itself; how many, and for each case the least bound of
    its largest value that some prices and shares give."""
    count, least = 0, {}
    choices = np.array(list(product(PRICES, PRICES, MIXED)))
    size = len(choices)
    whole, zero = ops.whole(), np.zeros(size, dtype=np.int64)
    for first, second in PAIRS:
        direct = Direct.of(layer(first, second), 1, ops)
        ends = np.array([
            [f(value(unit, u) for u in (Fraction(-1), Fraction(1))) for f in (min, max)]
            for unit in (first, second)
        ], dtype=object)
        at = Phased(
            zero, zero, ops.scaled(choices[:, :2]), choices[:, 2:].astype(np.uint16),
            np.full((size, 1), -whole), np.full((size, 1), whole),
            np.tile((ends.astype(float) * whole).astype(ops.dtype), (size, 1, 1)),
        )
        for p, q in product(COEFFICIENTS, COEFFICIENTS):
            coefficients = (np.full(size, p * whole), np.full(size, q * whole))
            has = np.full(size, first is not None), np.full(size, second is not None)
            fits, later = allowed(*has, *coefficients)
            if not fits.all():
                continue
            alpha, constant = bound(ops, at, direct, later, *coefficients)
            for u in POINTS:
                h, z = (max(value(unit, u), Fraction(0)) for unit in (first, second))
                true = p * h + q * (z - h)
                above = alpha[:, 0] * float(u) + constant  # exact: u is a multiple of 1/8
                assert np.all(float(true - off) * float(whole) <= above)
                count += size
            tops = (np.abs(alpha[:, 0]) + constant) / whole
            least[first, second, p, q] = float(tops.min())
    return count, least


def test_the_bound_lies_above_the_unit_in_fixed_point() -> None:
    count, _ = judge(Fixed(20), Fraction(0))
    assert count > 200_000


def test_the_bound_lies_above_the_unit_in_doubles_and_is_tight() -> None:
    _, least = judge(Floats(), Fraction(1, 10**9))
    for (first, second, p, q), found in least.items():
        top = max(
            p * max(value(first, u), 0) + q * (max(value(second, u), 0) - max(value(first, u), 0))
            for u in POINTS
        )
        assert found <= top + 1e-6 or None not in (first, second)
    assert sum(np.isfinite(list(least.values()))) == len(least)


def test_mixed_signs_are_left_to_lines() -> None:
    """With 0 < Q < P neither pivot gives the rule."""
    yes = np.ones(5, dtype=bool)
    p, q = np.array([2, 2, 2, -1, 0]), np.array([1, 2, -1, 1, 0])
    fits, later = allowed(yes, yes, p, q)
    assert fits.tolist() == [False, True, True, True, True]
    assert later.tolist() == [True, True, False, True, False]


@pytest.mark.parametrize("old, new", [
    ("| (q >= p)", "| (q >= -99)"), ("| (q <= 0)", "| (q <= 1 << 60)"),
    ("np.where(both, q > 0, has_target)", "q > 0"),
    ("np.where(both, q > 0, has_target)", "q <= 0"),
])
def test_the_conditions_are_needed(old: str, new: str, monkeypatch: pytest.MonkeyPatch) -> None:
    owner, name, wrong = planted("isoform.certificate.phases", "allowed", old, new)
    monkeypatch.setitem(globals(), name, wrong)
    with pytest.raises(AssertionError):
        judge(Fixed(20), Fraction(0))


@pytest.mark.parametrize("old, new", [
    ("np.where(later[:, None], gap, 0)", "np.where(later[:, None], 0, 0)"),
    ("needed[0], tops[0], tops[1]", "needed[0], tops[1], tops[0]"),
    ("off = -spread", "off = spread"),
])
def test_every_part_of_the_bound_is_needed(
    old: str, new: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, name, wrong = planted("isoform.certificate.phases", "bound", old, new)
    monkeypatch.setitem(globals(), name, wrong)
    with pytest.raises(AssertionError):
        judge(Fixed(20), Fraction(0))


def test_a_row_of_rationals_is_exact() -> None:
    """Thirds stay thirds: the denominator is carried, not rounded."""
    direct = Direct.of(
        layer((Fraction(1, 3), 0), (Fraction(1, 3), Fraction(1, 7))), 1, Fixed(20)
    )
    assert direct.denominator == 21 and direct.own[0].tolist() == [0, 7]
    assert direct.gap[0].tolist() == [3, 0] and direct.fits.all()
