# SPDX-License-Identifier: Apache-2.0
"""Exact sparse matrices against dense matrices of Fractions."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isoform.numerics.exact import Exact
from isoform.numerics.sparse import ExactSparse, dense_product, stack, total

ENTRY = st.sampled_from([Fraction(0)] * 4 + [Fraction(1), Fraction(-2), Fraction(3, 4),
                                             Fraction(-1, 3), Fraction(10**20, 7)])


@st.composite
def matrices(draw: st.DrawFn, rows: int | None = None, columns: int | None = None) -> np.ndarray:
    rows = draw(st.integers(0, 5)) if rows is None else rows
    columns = draw(st.integers(1, 5)) if columns is None else columns
    entries = draw(st.lists(ENTRY, min_size=rows * columns, max_size=rows * columns))
    matrix = np.empty(rows * columns, dtype=object)
    matrix[:] = entries
    return matrix.reshape(rows, columns)


def sparse(matrix: np.ndarray) -> ExactSparse:
    return ExactSparse.of(Exact.of(matrix))


def check(result: ExactSparse, expected: np.ndarray) -> None:
    """The same numbers, in the promised order, without stored zeros."""
    assert result.shape == expected.shape
    assert result.dense() == Exact.of(expected)
    assert np.all(result.data != 0)
    assert result.starts[0] == 0 and result.starts[-1] == result.nonzeros
    for i in range(result.shape[0]):
        columns, data = result.row(i)
        assert np.all(np.diff(columns) > 0) and len(columns) == len(data)
        held = {j: Fraction(v) for j, v in enumerate(expected[i]) if v != 0}
        assert result.row_fractions(i) == held


@settings(max_examples=80, deadline=None)
@given(matrices(), ENTRY)
def test_one_matrix(a: np.ndarray, s: Fraction) -> None:
    m = sparse(a)
    check(m, a)
    check(-m, -a)
    check(m.reduced(), a)
    check(m.over(m.denominator * 6), a)
    check(m - m, np.zeros_like(a) + Fraction(0))
    check(m.scaled_rows(Exact.of([s] * len(a)) if len(a) else Exact.zeros(0)), a * s)
    check(m.scaled_columns(Exact.of([s] * a.shape[1])), a * s)
    assert m == m.reduced()
    with pytest.raises(ValueError, match="multiple"):
        ExactSparse.eye(1).over(6).over(7)


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_two_matrices(data: st.DataObject) -> None:
    n, k, m = (data.draw(st.integers(1, 5)) for _ in range(3))
    a, b = data.draw(matrices(n, k)), data.draw(matrices(n, k))
    c, x = data.draw(matrices(k, m)), data.draw(matrices(k, 1))
    check(sparse(a) + sparse(b), a + b)
    check(sparse(a) - sparse(b), a - b)
    check(sparse(a) @ sparse(c), a.dot(c))
    check(dense_product(sparse(a), sparse(c), np.arange(m)), a.dot(c))
    check(total([sparse(a), sparse(b), sparse(a)]), a + b + a)
    check(stack([sparse(a), sparse(b)]), np.concatenate([a, b]))
    assert sparse(a).times(Exact.of(x[:, 0])) == Exact.of(a.dot(x[:, 0]))
    assert sparse(a).times(Exact.of(c)) == Exact.of(a.dot(c))
    assert (sparse(a) == sparse(b)) == bool(np.all(a == b))
    rows = data.draw(st.lists(st.integers(0, n - 1), max_size=6))
    check(sparse(a).take(rows), a[np.array(rows, dtype=int)])
    with pytest.raises(ValueError, match="multiply"):
        sparse(a) @ ExactSparse.zeros((k + 1, 2))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2), st.integers(-3, 3)), max_size=12))
def test_triplets_add_up(triplets: list[tuple[int, int, int]]) -> None:
    expected = np.full((4, 3), Fraction(0), dtype=object)
    for i, j, v in triplets:
        expected[i, j] += Fraction(v, 2)
    rows, columns, values = (np.array(part, dtype=np.int64) for part in
                             (zip(*triplets, strict=True) if triplets else ((), (), ())))
    check(ExactSparse.of_triplets((4, 3), rows, columns, values.astype(object), 2), expected)


def test_large_products_choose_flint_and_agree() -> None:
    rng = np.random.default_rng(4)
    a, b = rng.integers(-5, 6, (40, 40)), rng.integers(-5, 6, (40, 40))
    product = sparse(a.astype(float)) @ sparse(b.astype(float))
    assert product.dense() == Exact.of(a @ b)


def test_identity_blocks() -> None:
    expected = np.zeros((2, 5), dtype=int)
    expected[0, 3] = expected[1, 4] = 1
    check(ExactSparse.eye(2, 5, 3), expected.astype(object))
    check(ExactSparse.zeros((2, 0)), np.zeros((2, 0), dtype=object))
