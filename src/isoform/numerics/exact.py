# SPDX-License-Identifier: Apache-2.0
"""Exact tensors: integers over one positive denominator.

A floating-point array means exactly the numbers that it holds (dyadic rationals), so it turns into
an `Exact` without loss. Products of matrices go through python-flint's integer matrices: a 256x256
by 256x784 product takes tens of milliseconds, where arrays of rational objects take seconds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import flint
import numpy as np

from isoform.numerics.nearest import nearest_floats

Scalar = int | Fraction
Index = Any
LARGEST_EXPONENT = 10_000  # of a decimal: ten to a billion would fill the memory
FLINT_FROM = 512  # multiplications below which a plain object product beats the conversion to flint


@dataclass(frozen=True, slots=True, eq=False)
class Exact:
    """The tensor `numerator / denominator`.

    numerator: object array of Python integers, any shape; never changed in place.
    denominator: one positive integer for the whole tensor (normally a power of two).
    Two tensors are equal (`==` gives one bool) iff they have the same shape and the same numbers.
    """

    numerator: np.ndarray
    denominator: int = 1

    def __post_init__(self) -> None:
        if self.numerator.dtype != object:
            raise TypeError("the numerator of an Exact is an object array of integers")
        if self.denominator <= 0:
            raise ValueError("the denominator of an Exact is positive")

    @staticmethod
    def of(values: Any) -> Exact:
        """The exact tensor that `values` means.

        Takes an Exact, an integer or Fraction, a numpy array of any numeric dtype (floats mean
        their dyadic value), or nested sequences of integers and Fractions.
        Raises ValueError on NaN and infinities, TypeError on other objects.
        """
        if isinstance(values, Exact):
            return values
        if isinstance(values, Fraction):
            return Exact(integers([values.numerator], ()), values.denominator)
        array = values if isinstance(values, np.ndarray) else np.asarray(values)
        if array.dtype.kind == "f":
            return exact_floats(array)
        if array.dtype.kind in "iub":
            return Exact(integers(array.ravel().tolist(), array.shape), 1)
        if array.dtype == object:
            return exact_fractions(array.ravel().tolist(), array.shape)
        raise TypeError(f"no exact value for dtype {array.dtype}")

    @staticmethod
    def zeros(shape: int | tuple[int, ...]) -> Exact:
        """Zeros of the given shape."""
        count = shape if isinstance(shape, int) else math.prod(shape)
        return Exact(integers([0] * count, (shape,) if isinstance(shape, int) else shape))

    @staticmethod
    def eye(n: int) -> Exact:
        """The n x n identity."""
        entries = np.zeros((n, n), dtype=object)
        entries[np.diag_indices(n)] = 1
        return Exact(entries)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.numerator.shape

    @property
    def size(self) -> int:
        return self.numerator.size

    @property
    def ndim(self) -> int:
        return self.numerator.ndim

    @property
    def T(self) -> Exact:  # the letter of the mathematics
        return Exact(self.numerator.T, self.denominator)

    def __len__(self) -> int:
        return len(self.numerator)

    def __getitem__(self, index: Index) -> Exact:
        part = self.numerator[index]
        if not isinstance(part, np.ndarray):
            part = integers([part], ())
        return Exact(part, self.denominator)

    def reshape(self, *shape: int) -> Exact:
        return Exact(self.numerator.reshape(*shape), self.denominator)

    def __neg__(self) -> Exact:
        return Exact(as_array(np.negative(self.numerator)), self.denominator)

    def __add__(self, other: Any) -> Exact:
        return combine(np.add, self, Exact.of(other))

    __radd__ = __add__

    def __sub__(self, other: Any) -> Exact:
        return combine(np.subtract, self, Exact.of(other))

    def __rsub__(self, other: Any) -> Exact:
        return combine(np.subtract, Exact.of(other), self)

    def __mul__(self, other: Any) -> Exact:
        other = Exact.of(other)
        numerator = as_array(self.numerator * other.numerator)
        return Exact(numerator, self.denominator * other.denominator)

    __rmul__ = __mul__

    def __matmul__(self, other: Any) -> Exact:
        other = Exact.of(other)
        return Exact(
            integer_product(self.numerator, other.numerator), self.denominator * other.denominator
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Exact) or self.shape != other.shape:
            return False
        if self.denominator == other.denominator:
            return bool(np.all(self.numerator == other.numerator))
        return bool(
            np.all(self.numerator * other.denominator == other.numerator * self.denominator)
        )

    __hash__ = None  # type: ignore[assignment]

    def abs(self) -> Exact:
        return Exact(as_array(np.abs(self.numerator)), self.denominator)

    def sum(self, axis: int | None = None) -> Exact:
        if self.size == 0:
            shape = () if axis is None else tuple(np.delete(self.shape, axis))
            return Exact.zeros(shape)
        return Exact(as_array(self.numerator.sum(axis=axis)), self.denominator)

    def relu(self) -> Exact:
        return Exact(as_array(np.maximum(self.numerator, 0)), self.denominator)

    def sign(self) -> np.ndarray:
        """-1, 0 or 1 for each entry (int8 array)."""
        return (self.numerator > 0).astype(np.int8) - (self.numerator < 0).astype(np.int8)

    def any(self) -> bool:
        """Whether some entry is not zero."""
        return bool(np.any(self.numerator != 0))

    def max_abs(self) -> Fraction:
        """The largest absolute value (0 for an empty tensor)."""
        if self.size == 0:
            return Fraction(0)
        return Fraction(int(np.max(np.abs(self.numerator))), self.denominator)

    def reduced(self) -> Exact:
        """The same numbers over the least denominator."""
        if self.denominator == 1:
            return self
        common = math.gcd(self.denominator, *self.numerator.ravel().tolist())
        if common == 1:
            return self
        return Exact(as_array(self.numerator // common), self.denominator // common)

    def fractions(self) -> list[Fraction]:
        """All entries, flattened, as Fractions."""
        return [Fraction(n, self.denominator) for n in self.numerator.ravel().tolist()]

    def item(self) -> Fraction:
        """The single entry as a Fraction; ValueError if there are more."""
        if self.size != 1:
            raise ValueError(f"item() of an Exact of shape {self.shape}")
        return Fraction(self.numerator.ravel()[0], self.denominator)

    def is_dyadic(self) -> bool:
        """Whether every entry is m * 2^e."""
        denominator = self.reduced().denominator
        return denominator & (denominator - 1) == 0

    def to_float(self, dtype: Any = np.float64) -> np.ndarray:
        """The nearest floats, ties to even; values beyond the largest float become infinities."""
        return nearest_floats(self.numerator, self.denominator, dtype)

    def is_representable(self, dtype: Any) -> bool:
        """Whether every entry is exactly a finite float of `dtype`."""
        floats = self.to_float(dtype)
        return bool(np.all(np.isfinite(floats))) and Exact.of(floats) == self

    def __repr__(self) -> str:
        if self.size > 16:
            return f"Exact(shape={self.shape}, denominator of {self.denominator.bit_length()} bits)"
        return f"Exact({[shown(f) for f in self.fractions()]}, shape={self.shape})"


def rational(text: str) -> Fraction:
    """The exact value of a decimal ("0.6" is 3/5), fraction or integer. ValueError on other text
    and on an exponent beyond 10,000, ZeroDivisionError on a zero below the line."""
    _, mark, exponent = text.lower().partition("e")
    if mark and exponent.lstrip("+-").isdecimal() and (
        len(exponent) > 9 or abs(int(exponent)) > LARGEST_EXPONENT
    ):
        raise ValueError(f"the exponent {exponent:.20} is beyond {LARGEST_EXPONENT:,}")
    return Fraction(text)


def shown(value: Fraction) -> str:
    """A rational as text, in full where it is short (Python writes no integer of 4,301 digits)."""
    if max(value.numerator.bit_length(), value.denominator.bit_length()) <= 4096:
        return str(value)
    return f"about {approximately(value):.6g}"


def approximately(value: Fraction) -> float:
    """The nearest double; infinite beyond the largest."""
    try:
        return value.numerator / value.denominator
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def longest(values: np.ndarray) -> int:
    """Bits of the largest integer of an object array."""
    listed = values.ravel().tolist()
    return max(max(listed, default=0), -min(listed, default=0)).bit_length()


def integers(values: Iterable[int], shape: tuple[int, ...]) -> np.ndarray:
    """Object array of the given Python integers, row-major."""
    listed = list(values)
    array = np.empty(len(listed), dtype=object)
    array[:] = listed
    return array.reshape(shape)


def as_array(value: Any) -> np.ndarray:
    """numpy's object reductions return bare integers for 0-d results; keep them arrays."""
    if isinstance(value, np.ndarray):
        return value if value.dtype == object else value.astype(object)
    return integers([int(value)], ())


def combine(operation: Any, left: Exact, right: Exact) -> Exact:
    """`operation` (add or subtract) on a common denominator, with numpy's broadcasting."""
    if left.denominator == right.denominator:
        return Exact(as_array(operation(left.numerator, right.numerator)), left.denominator)
    common = math.lcm(left.denominator, right.denominator)
    scaled = (
        left.numerator * (common // left.denominator),
        right.numerator * (common // right.denominator),
    )
    return Exact(as_array(operation(*scaled)), common)


def integer_product(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Matrix product of object arrays of integers (1-D operands as in numpy)."""
    if left.ndim > 2 or right.ndim > 2 or left.ndim == 0 or right.ndim == 0:
        raise ValueError("exact products take vectors and matrices")
    rows = left if left.ndim == 2 else left[None, :]
    columns = right if right.ndim == 2 else right[:, None]
    if rows.shape[1] != columns.shape[0]:
        raise ValueError(f"shapes {left.shape} and {right.shape} do not multiply")
    (m, k), n = rows.shape, columns.shape[1]
    if m * k * n == 0:
        product = integers([0] * (m * n), (m, n))
    elif m * k * n < FLINT_FROM:
        product = rows.dot(columns)
    else:
        product = from_flint(to_flint(rows) * to_flint(columns))
    if left.ndim == 1:
        product = product[0]
    return as_array(product[..., 0] if right.ndim == 1 else product)


def to_flint(matrix: np.ndarray) -> flint.fmpz_mat:
    """flint's integer matrix with the entries of a 2-D object array."""
    return flint.fmpz_mat(matrix.shape[0], matrix.shape[1], matrix.ravel().tolist())


def from_flint(matrix: flint.fmpz_mat) -> np.ndarray:
    """2-D object array of Python integers."""
    return integers(map(int, matrix.entries()), (matrix.nrows(), matrix.ncols()))


def exact_floats(array: np.ndarray) -> Exact:
    """The dyadic rationals that a float array holds, over the least power of two."""
    flat = array.astype(np.float64).ravel()
    if array.dtype.itemsize > 8:
        raise TypeError(f"{array.dtype} is wider than float64")
    if not np.all(np.isfinite(flat)):
        raise ValueError("NaN or infinity has no exact value")
    mantissa, exponent = np.frexp(flat)
    whole = (mantissa * 2.0**53).astype(np.int64)  # exact: 53 bits
    nonzero = whole != 0
    if not nonzero.any():
        return Exact(integers([0] * flat.size, array.shape))
    low_bit = whole & -whole
    trailing = np.where(nonzero, np.frexp(low_bit.astype(np.float64))[1] - 1, 0)
    whole = whole >> trailing
    shift = exponent.astype(np.int64) - 53 + trailing
    lowest = min(0, int(shift[nonzero].min()))
    raise_by = np.where(nonzero, shift - lowest, 0)
    bits = np.frexp(np.abs(whole).astype(np.float64))[1] + raise_by
    if int(bits.max()) <= 62:
        numerator = (whole << raise_by).astype(object)
    else:
        pairs = zip(whole.tolist(), raise_by.tolist(), strict=True)
        numerator = integers((m << s for m, s in pairs), flat.shape)
    return Exact(numerator.reshape(array.shape), 1 << -lowest)


def exact_fractions(values: Sequence[Any], shape: tuple[int, ...]) -> Exact:
    """Integers and Fractions over their least common denominator."""
    for value in values:
        if not isinstance(value, int | Fraction) or isinstance(value, bool):
            raise TypeError(f"{value!r} is neither an integer nor a Fraction")
    common = math.lcm(1, *(value.denominator for value in values))
    numerators = (value.numerator * (common // value.denominator) for value in values)
    return Exact(integers(numerators, shape), common)


def concatenate(parts: Sequence[Exact], axis: int = 0) -> Exact:
    """The parts joined along an axis, over one denominator."""
    common = math.lcm(1, *(part.denominator for part in parts))
    scaled = [
        part.numerator if part.denominator == common
        else part.numerator * (common // part.denominator)
        for part in parts
    ]
    return Exact(np.concatenate(scaled, axis=axis), common)
