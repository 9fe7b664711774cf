# SPDX-License-Identifier: Apache-2.0
"""Operations entry by entry: sums, products, comparisons, activations, normalisations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from isoform.assemble.assembler import (
    Assembler,
    Computed,
    Known,
    NotTaken,
    Value,
    fold,
    is_permutation,
    joint_shape,
)
from isoform.errors import FormatError
from isoform.network.constants import (
    inverse,
    number_vector,
    real_array,
)
from isoform.network.linear_map import Gather, LinearMap
from isoform.network.operators import (
    Clip,
    Divide,
    Opaque,
    Operator,
    Power,
    PRelu,
    Product,
    Relu,
)
from isoform.network.primitive_unary import LARGEST_POWER, power_parts


def folded(function: Callable[..., Any], left: Known, right: Known) -> Known:
    """A binary numpy function of constants, with the size of its result checked beforehand."""
    joint_shape(left.shape, right.shape)
    return fold(function, left, right)


def constant_first(left: Value, right: Value) -> tuple[Known, Computed] | None:
    """(constant, computed) where exactly one operand is constant."""
    if isinstance(left, Known) and isinstance(right, Computed):
        return left, right
    if isinstance(right, Known) and isinstance(left, Computed):
        return right, left
    return None


# --- linear -------------------------------------------------------------------------------------


def combined(
    asm: Assembler, left: Computed, right: Computed, sign: int
) -> Computed:
    """left + sign * right, one linear node with two gathers."""
    left, right = asm.meet(left, right)
    shape, index = left.shape, None
    sizes = [asm.builder.size_of(value.source) for value in (left, right)]
    places = [value.index.reshape(-1) for value in (left, right)]
    alike = sizes[0] == sizes[1] and np.array_equal(places[0], places[1])
    if alike and is_permutation(places[0], sizes[0]):
        everywhere = np.arange(sizes[0], dtype=np.int64)
        if not np.array_equal(places[0], everywhere):  # add in the order of the sources
            shape, index = asm.builder.shape_of(left.source), left.index
        places = [everywhere, everywhere]
    scale = None if sign == 1 else number_vector(sign, len(places[1]))
    parts: list[tuple[LinearMap, int]] = [
        (Gather(indices=places[0], scale=None, inputs=sizes[0]), left.source),
        (Gather(indices=places[1], scale=scale, inputs=sizes[1]), right.source),
    ]
    made = asm.linear(parts, None, shape, left)
    return made if index is None else Computed(made.source, index, left.batched, left.dtype)


def add(asm: Assembler, left: Value, right: Value) -> Value:
    """left + right."""
    if isinstance(left, Known) and isinstance(right, Known):
        return folded(np.add, left, right)
    pair = constant_first(left, right)
    if pair is not None:
        return asm.affine(pair[1], None, asm.numbers(pair[0], pair[1]))
    return combined(asm, left, right, 1)  # type: ignore[arg-type]


def subtract(asm: Assembler, left: Value, right: Value) -> Value:
    """left - right."""
    if isinstance(right, Known):
        if isinstance(left, Known):
            return folded(np.subtract, left, right)
        return asm.affine(left, None, -asm.numbers(right, left))
    if isinstance(left, Known):
        return asm.affine(right, number_vector(-1, 1), asm.numbers(left, right))
    return combined(asm, left, right, -1)


def negative(asm: Assembler, value: Value) -> Value:
    """-value."""
    if isinstance(value, Known):
        return fold(np.negative, value)
    return asm.affine(value, number_vector(-1, 1), None)


def scaled(asm: Assembler, value: Value, factor: Any) -> Value:
    """An exact number times a value."""
    if isinstance(value, Known):
        return fold(lambda a: np.asarray(a * np.asarray(factor, dtype=a.dtype)), value)
    return asm.affine(value, number_vector(factor, 1), None)


def multiply(asm: Assembler, left: Value, right: Value) -> Value:
    """left * right."""
    if isinstance(left, Known) and isinstance(right, Known):
        return folded(np.multiply, left, right)
    pair = constant_first(left, right)
    if pair is not None:
        return asm.affine(pair[1], asm.numbers(pair[0], pair[1]), None)
    return paired(asm, Product(), left, right)  # type: ignore[arg-type]


def paired(asm: Assembler, operator: Operator, left: Computed, right: Computed) -> Computed:
    """An operator that acts on pairs of entries; both operands broadcast to one shape."""
    left, right = asm.meet(left, right)
    if np.array_equal(left.index, right.index):
        sizes = [asm.builder.size_of(value.source) for value in (left, right)]
        shape = asm.builder.shape_of(left.source)
        if sizes[0] == sizes[1] and is_permutation(left.index.reshape(-1), sizes[0]) \
                and shape == asm.builder.shape_of(right.source):
            made = asm.place(operator, (left.source, right.source), shape, left)
            return Computed(made.source, left.index, left.batched, left.dtype)
    nodes = (asm.shaped(left), asm.shaped(right))
    return asm.place(operator, nodes, left.shape, left)


def divide(asm: Assembler, left: Value, right: Value) -> Value:
    """left / right; a constant divisor is an exact rational factor."""
    if isinstance(left, Known) and isinstance(right, Known):
        return folded(quotient, left, right)
    if left.dtype.kind in "iu" or right.dtype.kind in "iu":
        raise NotTaken("an integer division of computed values")
    if isinstance(right, Known):
        factor = inverse(asm.numbers(right, left))  # type: ignore[arg-type]
        if not isinstance(factor, np.ndarray):
            asm.note("division by a constant is multiplication by the exact rational")
        return asm.affine(left, factor, None)  # type: ignore[arg-type]
    if isinstance(left, Known):
        reciprocal = asm.entrywise(Opaque("reciprocal"), right)
        return asm.affine(reciprocal, asm.numbers(left, right), None)
    return paired(asm, Divide(), left, right)


def quotient(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Division as in the file formats: of integers, towards zero."""
    if a.dtype.kind not in "iu":
        return np.divide(a, b).astype(np.result_type(a, b))
    if np.any(b == 0):
        raise FormatError("an integer division by zero")
    rest = np.fmod(a, b)
    return ((a - rest) // b).astype(a.dtype)


# --- activations --------------------------------------------------------------------------------


def opaque(asm: Assembler, name: str, value: Value) -> Value:
    """A named real function, entry by entry."""
    if isinstance(value, Known):
        return fold(lambda a: FOLDED[name](a).astype(a.dtype), value)
    return asm.entrywise(Opaque(name), value)


def error_function(a: np.ndarray) -> np.ndarray:
    from scipy.special import erf

    return erf(a)


FOLDED: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "exp": np.exp,
    "log": np.log,
    "sqrt": np.sqrt,
    "reciprocal": np.reciprocal,
    "tanh": np.tanh,
    "sigmoid": lambda a: 1 / (1 + np.exp(-a)),
    "erf": error_function,
    "softplus": lambda a: np.logaddexp(a, np.zeros((), a.dtype)),
    "sin": np.sin,
    "cos": np.cos,
}


def unary(asm: Assembler, operator: Operator, value: Value) -> Value:
    """A surface or primitive operator of one operand that treats every entry alike."""
    return asm.entrywise(operator, live(asm, value))


def live(asm: Assembler, value: Value) -> Computed:
    """A constant as a computed value, for operators that have no folding of their own."""
    if isinstance(value, Computed):
        return value
    array = asm.row_of(value, "a constant") if asm.batched else value.array
    node = asm.constant(real_array(array), array.shape)
    return asm.wrap(node, value.dtype)


def relu(asm: Assembler, value: Value) -> Value:
    if isinstance(value, Known):
        return fold(lambda a: np.maximum(a, np.zeros((), a.dtype)), value)
    return asm.entrywise(Relu(), value)


def clip(asm: Assembler, value: Value, low: float | None, high: float | None) -> Value:
    """min(max(value, low), high); infinite bounds are none."""
    low = None if low is None or low == -np.inf else float(low)
    high = None if high is None or high == np.inf else float(high)
    if not np.isfinite([bound for bound in (low, high) if bound is not None]).all():
        raise FormatError(f"a clip between {low} and {high}")
    if isinstance(value, Known):
        return fold(lambda a: clipped(a, low, high), value)
    if low is None and high is None:
        return value
    if low == 0 and high is None:
        return asm.entrywise(Relu(), value)
    return asm.entrywise(Clip(low, high), value)


def clipped(array: np.ndarray, low: float | None, high: float | None) -> np.ndarray:
    if low is not None:
        array = np.maximum(array, np.asarray(low, dtype=array.dtype))
    return array if high is None else np.minimum(array, np.asarray(high, dtype=array.dtype))


def parametric_relu(asm: Assembler, value: Value, slope: Value) -> Value:
    """value where it is not negative, slope * value below."""
    value = live(asm, value)
    if isinstance(slope, Computed):
        below = multiply(asm, slope, relu(asm, negative(asm, value)))
        return subtract(asm, relu(asm, value), below)
    numbers = asm.numbers(slope, value, "a slope")
    if joint_shape(value.shape, numbers.shape) != value.shape:
        raise FormatError(f"a slope of shape {numbers.shape} for a value of shape {value.shape}")
    return asm.place(PRelu(numbers), (asm.shaped(value),), value.shape, value)


def power(asm: Assembler, value: Value, exponent: Value) -> Value:
    """value ** exponent, with one constant exponent for all entries."""
    if isinstance(value, Known) and isinstance(exponent, Known):
        return folded(lambda a, b: np.power(a, b).astype(a.dtype), value, exponent)
    if isinstance(exponent, Computed):
        raise NotTaken("a power with a computed exponent")
    numbers = np.unique(asm.plain(exponent, "an exponent"))
    if numbers.size != 1:
        raise NotTaken("a power with several exponents")
    number = float(numbers[0])
    if power_parts(number) is None:
        raise NotTaken(
            f"a power with exponent {number}: only multiples of 1/2 up to {LARGEST_POWER}"
        )
    if value.dtype.kind in "iu" and (number < 0 or number != int(number)):
        raise NotTaken(f"a power of computed integers with exponent {number}")
    asm.numbers(exponent, value)  # type: ignore[arg-type]
    if number == 1:
        return value
    return asm.entrywise(Power(number), value)  # type: ignore[arg-type]
