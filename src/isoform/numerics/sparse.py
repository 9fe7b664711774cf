# SPDX-License-Identifier: Apache-2.0
"""Exact sparse matrices: compressed rows of integers over one denominator.

Rows of affine forms over a basis (verification, layered rewriting) are sparse most of the time: a
permuted, rescaled copy gives one non-zero a row, a convolution a few. Products choose between an
expansion of the non-zeros and flint's dense product, whichever costs less.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from isoform.numerics.exact import Exact, as_array, integer_product, integers

EXPANSION_COST = 8  # one expanded non-zero costs about this many dense multiplications in flint


@dataclass(frozen=True, slots=True, eq=False)
class ExactSparse:
    """A matrix of `shape` in compressed rows, entries `data / denominator`.

    Row i has its columns in `columns[starts[i]:starts[i + 1]]`, strictly increasing, and its
    integers, none of them zero, at the same places of `data`. Nothing is changed in place.
    """

    shape: tuple[int, int]
    starts: np.ndarray
    columns: np.ndarray
    data: np.ndarray
    denominator: int = 1

    @staticmethod
    def of_triplets(
        shape: tuple[int, int],
        rows: np.ndarray,
        columns: np.ndarray,
        data: np.ndarray,
        denominator: int = 1,
    ) -> ExactSparse:
        """The matrix with these entries; entries at one place add up, zeros vanish."""
        if len(data) == 0:
            return ExactSparse.zeros(shape)
        place = rows.astype(np.int64) * shape[1] + columns.astype(np.int64)
        if not np.all(place[1:] > place[:-1]):
            order = np.argsort(place, kind="stable")
            place, data = place[order], data[order]
            first = np.flatnonzero(np.concatenate(([True], place[1:] != place[:-1])))
            if len(first) < len(place):
                data, place = np.add.reduceat(data, first), place[first]
        keep = data != 0
        if not keep.all():
            place, data = place[keep], data[keep]
        if len(place):
            counts = np.bincount(place // shape[1], minlength=shape[0])
        else:
            counts = np.zeros(shape[0], dtype=np.int64)
        starts = np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
        columns = place % shape[1] if len(place) else np.zeros(0, dtype=np.int64)
        return ExactSparse(shape, starts, columns, data, denominator)

    @staticmethod
    def of(matrix: Exact) -> ExactSparse:
        """The non-zeros of a dense matrix."""
        rows, columns = np.nonzero(matrix.numerator)
        data = matrix.numerator[rows, columns]
        return ExactSparse.of_triplets(
            (matrix.shape[0], matrix.shape[1]), rows, columns, data, matrix.denominator
        )

    @staticmethod
    def zeros(shape: tuple[int, int]) -> ExactSparse:
        empty = np.zeros(0, dtype=np.int64)
        starts = np.zeros(shape[0] + 1, dtype=np.int64)
        return ExactSparse(shape, starts, empty, empty.astype(object))

    @staticmethod
    def eye(n: int, width: int | None = None, at: int = 0) -> ExactSparse:
        """n rows of `width` columns (default n), row i with a one in column `at + i`."""
        return ExactSparse(
            (n, n if width is None else width),
            np.arange(n + 1),
            np.arange(at, at + n),
            integers([1] * n, (n,)),
        )

    @property
    def nonzeros(self) -> int:
        return len(self.data)

    def row_numbers(self) -> np.ndarray:
        """The row of each stored entry."""
        return np.repeat(np.arange(self.shape[0]), np.diff(self.starts))

    def dense(self) -> Exact:
        matrix = np.zeros(self.shape, dtype=object)
        matrix[self.row_numbers(), self.columns] = self.data
        return Exact(matrix, self.denominator)

    def row(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        """Columns and integers of row i (over the common denominator)."""
        part = slice(int(self.starts[i]), int(self.starts[i + 1]))
        return self.columns[part], self.data[part]

    def take(self, rows: np.ndarray | Sequence[int]) -> ExactSparse:
        """The rows with these numbers, in this order (repeats allowed)."""
        wanted = np.asarray(rows, dtype=np.int64)
        counts = (self.starts[1:] - self.starts[:-1])[wanted]
        starts = np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
        index = np.arange(starts[-1]) - np.repeat(starts[:-1] - self.starts[wanted], counts)
        return ExactSparse(
            (len(wanted), self.shape[1]),
            starts, self.columns[index], self.data[index], self.denominator,
        )

    def widened(self, width: int) -> ExactSparse:
        """The same rows with zero columns appended up to `width`."""
        if width < self.shape[1]:
            raise ValueError(f"{width} columns are fewer than {self.shape[1]}")
        return ExactSparse(
            (self.shape[0], width), self.starts, self.columns, self.data, self.denominator
        )

    def over(self, denominator: int) -> ExactSparse:
        """The same matrix over a multiple of its denominator."""
        factor, rest = divmod(denominator, self.denominator)
        if rest:
            raise ValueError("not a multiple of the denominator")
        data = self.data if factor == 1 else self.data * factor
        return ExactSparse(self.shape, self.starts, self.columns, data, denominator)

    def reduced(self) -> ExactSparse:
        """The same matrix over the least denominator."""
        if self.denominator == 1:
            return self
        common = math.gcd(self.denominator, *self.data.tolist())
        if common == 1:
            return self
        return ExactSparse(
            self.shape, self.starts, self.columns, self.data // common, self.denominator // common
        )

    def scaled_rows(self, factors: Exact) -> ExactSparse:
        """Row i times factors[i]."""
        data = self.data * factors.numerator[self.row_numbers()]
        return ExactSparse.of_triplets(
            self.shape, self.row_numbers(), self.columns, data,
            self.denominator * factors.denominator,
        )

    def scaled_columns(self, factors: Exact) -> ExactSparse:
        """Column j times factors[j]."""
        data = self.data * factors.numerator[self.columns]
        return ExactSparse.of_triplets(
            self.shape, self.row_numbers(), self.columns, data,
            self.denominator * factors.denominator,
        )

    def __neg__(self) -> ExactSparse:
        return ExactSparse(
            self.shape, self.starts, self.columns, np.negative(self.data), self.denominator
        )

    def __add__(self, other: ExactSparse) -> ExactSparse:
        return total([self, other])

    def __sub__(self, other: ExactSparse) -> ExactSparse:
        return total([self, -other])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ExactSparse):
            return NotImplemented
        return self.shape == other.shape and (self - other).nonzeros == 0

    __hash__ = None  # type: ignore[assignment]

    def times(self, vector: Exact) -> Exact:
        """The product with a vector of `shape[1]` entries, or with the columns of a matrix."""
        flat = vector.numerator if vector.ndim == 2 else vector.numerator[:, None]
        if flat.shape[1] > 2 and self.nonzeros * EXPANSION_COST > self.shape[0] * self.shape[1]:
            product = integer_product(self.dense().numerator, flat)
            return Exact(product, self.denominator * vector.denominator)
        sums = np.zeros((self.shape[0], flat.shape[1]), dtype=object)
        terms = self.data[:, None] * flat[self.columns]
        filled = np.flatnonzero(np.diff(self.starts))
        if len(filled):
            sums[filled] = np.add.reduceat(terms, self.starts[:-1][filled], axis=0)
        numerator = sums if vector.ndim == 2 else sums[:, 0]
        return Exact(as_array(numerator), self.denominator * vector.denominator)

    def __matmul__(self, other: ExactSparse) -> ExactSparse:
        if self.shape[1] != other.shape[0]:
            raise ValueError(f"shapes {self.shape} and {other.shape} do not multiply")
        shape = (self.shape[0], other.shape[1])
        denominator = self.denominator * other.denominator
        counts = np.diff(other.starts)[self.columns]
        expanded = int(counts.sum())
        used = np.unique(other.columns)
        dense = self.shape[0] * self.shape[1] * len(used)
        if expanded * EXPANSION_COST > dense and expanded > 4096:
            return dense_product(self, other, used)
        rows = np.repeat(self.row_numbers(), counts)
        within = np.arange(expanded) - np.repeat(np.cumsum(counts) - counts, counts)
        source = np.repeat(other.starts[:-1][self.columns], counts) + within
        data = np.repeat(self.data, counts) * other.data[source]
        return ExactSparse.of_triplets(shape, rows, other.columns[source], data, denominator)

    def row_fractions(self, i: int) -> dict[int, Fraction]:
        """Row i as a mapping from column to value."""
        columns, data = self.row(i)
        return {
            int(j): Fraction(int(v), self.denominator)
            for j, v in zip(columns, data, strict=True)
        }


def dense_product(left: ExactSparse, right: ExactSparse, used: np.ndarray) -> ExactSparse:
    """left @ right by flint, over the columns of `right` that hold anything."""
    place = np.zeros(right.shape[1], dtype=np.int64)
    place[used] = np.arange(len(used))
    packed = np.zeros((right.shape[0], len(used)), dtype=object)
    packed[right.row_numbers(), place[right.columns]] = right.data
    product = integer_product(left.dense().numerator, packed)
    rows, columns = np.nonzero(product)
    return ExactSparse.of_triplets(
        (left.shape[0], right.shape[1]), rows, used[columns], product[rows, columns],
        left.denominator * right.denominator,
    )


def total(parts: Sequence[ExactSparse]) -> ExactSparse:
    """The sum of matrices of one shape."""
    common = math.lcm(1, *(part.denominator for part in parts))
    aligned = [part.over(common) for part in parts]
    return ExactSparse.of_triplets(
        parts[0].shape,
        np.concatenate([part.row_numbers() for part in aligned]),
        np.concatenate([part.columns for part in aligned]),
        np.concatenate([part.data for part in aligned]),
        common,
    )


def stack(parts: Sequence[ExactSparse]) -> ExactSparse:
    """The parts (equal widths) one below the other."""
    common = math.lcm(1, *(part.denominator for part in parts))
    aligned = [part.over(common) for part in parts]
    offsets = np.cumsum([0] + [part.nonzeros for part in aligned])
    starts = [part.starts[:-1] + offset for part, offset in zip(aligned, offsets, strict=False)]
    return ExactSparse(
        (sum(part.shape[0] for part in aligned), aligned[0].shape[1]),
        np.concatenate([*starts, offsets[-1:]]).astype(np.int64),
        np.concatenate([part.columns for part in aligned]),
        np.concatenate([part.data for part in aligned]),
        common,
    )
