# SPDX-License-Identifier: Apache-2.0
"""Affine maps as exact sparse rows: the arithmetic that rewritings share.

`AffineRows` is y = M h + b with M in compressed rows. `as_map` and `as_constant` turn exact results
back into the linear maps and constants of a network, in the most compact form that loses nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from isoform.network.linear_map import Constant, Conv, Csr, Dense, Gather, LinearMap, exact
from isoform.numerics.exact import Exact, concatenate
from isoform.numerics.sparse import ExactSparse, stack

FLOAT64_LOWEST = -1022  # exponents below give subnormal numbers, which are left as Exact


@dataclass(frozen=True, slots=True, eq=False)
class AffineRows:
    """y = matrix @ h + bias. matrix: (m, n); bias: (m,)."""

    matrix: ExactSparse
    bias: Exact

    @staticmethod
    def identity(n: int) -> AffineRows:
        return AffineRows(ExactSparse.eye(n), Exact.zeros(n))

    @property
    def rows(self) -> int:
        return self.matrix.shape[0]

    def take(self, rows: np.ndarray | Sequence[int]) -> AffineRows:
        """Some of the rows, in the given order."""
        return AffineRows(self.matrix.take(rows), self.bias[np.asarray(rows, dtype=np.int64)])

    def __neg__(self) -> AffineRows:
        return AffineRows(-self.matrix, -self.bias)


def after(part: LinearMap, inner: AffineRows) -> AffineRows:
    """The rows of part(inner(h)): the product, without the bias of the outer node."""
    matrix = part.sparse()
    bias = matrix.times(inner.bias) if inner.bias.any() else Exact.zeros(part.outputs)
    return AffineRows(product(matrix, inner.matrix), bias)


def added(parts: Sequence[AffineRows], bias: Constant | None, rows: int, width: int) -> AffineRows:
    """The sum of affine maps with `rows` rows over h of `width` entries, and a bias."""
    total = Exact.zeros(rows)
    if bias is not None:
        total = total + exact(bias).reshape(-1)
    matrix = parts[0].matrix if parts else ExactSparse.zeros((rows, width))
    for part in parts[1:]:
        matrix = matrix + part.matrix
    for part in parts:
        total = total + part.bias
    return AffineRows(matrix.reduced(), total.reduced())


def stacked(parts: Sequence[AffineRows]) -> AffineRows:
    """The rows of all parts (equal widths), one below the other."""
    if len(parts) == 1:
        return parts[0]
    return AffineRows(
        stack([part.matrix for part in parts]), concatenate([part.bias for part in parts])
    )


def product(left: ExactSparse, right: ExactSparse) -> ExactSparse:
    """left @ right; a right factor with at most one entry a row only renames columns."""
    counts = np.diff(right.starts)
    if counts.size and counts.max() > 1:
        return left @ right
    held = counts[left.columns] > 0
    source = right.starts[:-1][left.columns[held]]
    data = left.data[held]
    if not np.all(right.data == 1):
        data = data * right.data[source]
    return ExactSparse.of_triplets(
        (left.shape[0], right.shape[1]), left.row_numbers()[held], right.columns[source], data,
        left.denominator * right.denominator,
    )


def as_constant(values: Exact) -> Constant:
    """float32 or float64 where every entry is one, else the reduced Exact."""
    denominator = values.denominator
    if denominator & (denominator - 1):
        values = values.reduced()
        denominator = values.denominator
        if denominator & (denominator - 1):
            return values
    floats = dyadic_floats(values.numerator, denominator.bit_length() - 1)
    if floats is None:
        return values.reduced()
    narrow = narrowed(floats)
    return floats if narrow is None else narrow


def dyadic_floats(numerator: np.ndarray, exponent: int) -> np.ndarray | None:
    """numerator / 2^exponent as float64 if that loses nothing (and meets no subnormal number)."""
    probe = numerator.ravel()[:16].tolist()
    if any(n and (abs(n) // (n & -n)).bit_length() > 53 for n in probe):
        return None
    try:
        floats = numerator.astype(np.float64)
    except OverflowError:
        return None
    if not np.all(numerator == floats):
        return None
    floats = np.ldexp(floats, -exponent) if exponent < 2000 else np.zeros_like(floats)
    lowest = 2.0**FLOAT64_LOWEST
    nonzero = np.asarray(numerator != 0, dtype=bool)
    return floats if np.all(np.abs(floats[nonzero]) >= lowest) else None


def narrowed(floats: np.ndarray) -> np.ndarray | None:
    """The float32 array of the same numbers, if there is one without subnormal numbers."""
    with np.errstate(over="ignore", under="ignore"):
        narrow = floats.astype(np.float32)
    if not np.array_equal(narrow.astype(np.float64), floats):
        return None
    small = np.abs(narrow[narrow != 0])
    return None if small.size and small.min() < np.finfo(np.float32).tiny else narrow


def as_map(matrix: ExactSparse) -> LinearMap:
    """A gather if every row has one entry (or they are all ones), compressed rows if fewer than
    half of the entries are there, else dense. Nothing is rounded."""
    matrix = matrix.reduced()
    rows, columns = matrix.shape
    counts = np.diff(matrix.starts)
    single = not counts.size or counts.max() <= 1
    ones = matrix.denominator == 1 and bool(np.all(matrix.data == 1))
    if single and (ones or matrix.nonzeros == rows):
        return gather_of(matrix, counts, ones)
    if single or 2 * matrix.nonzeros < rows * columns:
        values = as_constant(Exact(matrix.data, matrix.denominator))
        return Csr(
            starts=matrix.starts.astype(np.int64), columns=matrix.columns.astype(np.int64),
            values=values, inputs=columns,
        )
    return Dense(as_constant(matrix.dense()))


def gather_of(matrix: ExactSparse, counts: np.ndarray, ones: bool) -> Gather:
    """A matrix with at most one entry a row, all of them one or one in every row."""
    indices = np.full(matrix.shape[0], -1, dtype=np.int64)
    indices[counts > 0] = matrix.columns
    scale = None if ones else as_constant(Exact(matrix.data, matrix.denominator))
    return Gather(indices=indices, scale=scale, inputs=matrix.shape[1])


def as_bias(bias: Exact) -> Constant | None:
    """The constant of a bias; None where it is zero."""
    return as_constant(bias) if bias.any() else None


def identity_map(n: int) -> Gather:
    """y = x."""
    return Gather(indices=np.arange(n, dtype=np.int64), scale=None, inputs=n)


def is_identity(part: LinearMap) -> bool:
    """Whether a map is written as the identity (a gather of everything, in order, scale one)."""
    if not isinstance(part, Gather) or part.outputs != part.inputs:
        return False
    if not np.array_equal(part.indices, np.arange(part.inputs)):
        return False
    if part.scale is None:
        return True
    scale = exact(part.scale)
    return bool(np.all(scale.numerator == scale.denominator))


def is_zero(constant: Constant | None) -> bool:
    """Whether a bias is absent or zero."""
    if constant is None:
        return True
    return not (constant.any() if isinstance(constant, Exact) else np.any(constant))


def widest_row(part: LinearMap) -> int:
    """An upper bound on the entries of any row of a map."""
    match part:
        case Dense():
            return part.inputs
        case Csr():
            return int(np.diff(part.starts).max(initial=0))
        case Gather():
            return 1
        case Conv():
            return math.prod(part.kernel.shape[1:])


def entries(part: LinearMap) -> int:
    """An upper bound on the entries of the matrix of a map."""
    match part:
        case Conv():
            return part.outputs * math.prod(part.kernel.shape[1:])
        case Gather():
            return part.outputs
        case _:
            return part.nonzeros
