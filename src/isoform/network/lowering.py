# SPDX-License-Identifier: Apache-2.0
"""A builder of primitive networks that adds no node it can avoid.

Identity selections vanish, selections of selections are one, sums absorb selections and constants.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from isoform.network.constants import is_zero, number_vector, tidy
from isoform.network.linear_map import Constant, Gather, LinearMap, exact
from isoform.network.network import Builder, Network, prune
from isoform.network.operators import (
    Linear,
    Opaque,
    Operator,
    Product,
    Relu,
    Round,
    Select,
    Step,
)
from isoform.numerics.enclosure import nearest_integers
from isoform.numerics.exact import Exact

LARGEST_BASE = 1 << 16  # a float32 keeps 7 bits after the point of such a number
Number = int | float | Fraction
Term = tuple[int, Number | Constant]  # a value and its factor, one number or one an entry


class Lowering:
    """Collects flat nodes on one flat input of `size` entries; every method returns a value."""

    def __init__(self, size: int):
        self.builder = Builder((size,))
        self.selected: dict[tuple[int, bytes], int] = {}  # selections, for reuse

    def size(self, value: int) -> int:
        return self.builder.size_of(value)

    def operator(self, value: int) -> Operator | None:
        """The operator behind a value; None for the input."""
        return None if value == 0 else self.builder.nodes[value - 1].operator

    def add(self, operator: Operator, operands: Sequence[int], size: int) -> int:
        return self.builder.add(operator, operands, size)

    def finish(self, value: int) -> Network:
        return prune(Network(self.builder.inputs, tuple(self.builder.nodes), (value,)))

    # --- constants ----------------------------------------------------------------------------

    def constant(self, numbers: Constant) -> int:
        return self.builder.linear((), (), numbers.reshape(-1))

    def constant_of(self, value: int) -> Constant | None:
        """The numbers behind a value that depends on no input."""
        operator = self.operator(value)
        if isinstance(operator, Linear) and not operator.maps:
            return operator.bias
        return None

    # --- linear -------------------------------------------------------------------------------

    def origin(self, value: int, indices: np.ndarray) -> tuple[int, np.ndarray]:
        """Value and indices (-1: zero) with the selections behind the value taken out."""
        operator = self.operator(value)
        if not isinstance(operator, Select):
            return value, indices
        held = operator.indices[np.maximum(indices, 0)]
        source = self.builder.nodes[value - 1].operands[0]
        return source, np.where(indices >= 0, held, -1)

    def select(self, value: int, indices: np.ndarray) -> int:
        """y_i = value[indices_i]; all indices are at least 0."""
        fixed = self.constant_of(value)
        if fixed is not None:
            return self.constant(fixed[indices])
        value, indices = self.origin(value, indices)
        if is_identity(indices, self.size(value)):
            return value
        key = (value, indices.tobytes())
        if key not in self.selected:
            self.selected[key] = self.add(Select(indices), (value,), len(indices))
        return self.selected[key]

    def linear(
        self, parts: Sequence[tuple[LinearMap, int]], bias: Constant | None = None
    ) -> int:
        """sum of map(value) + bias, constants folded into the bias, selections into gathers."""
        maps: list[LinearMap] = []
        operands: list[int] = []
        size = parts[0][0].outputs if parts else (0 if bias is None else bias.size)
        for part, value in parts:
            fixed = self.constant_of(value)
            if fixed is not None:
                bias = plus(bias, part.sparse().times(exact(fixed)))
                continue
            if isinstance(part, Gather):
                value, indices = self.origin(value, part.indices)
                part = Gather(indices=indices, scale=part.scale, inputs=self.size(value))
            maps.append(part)
            operands.append(value)
        if bias is not None and is_zero(bias):
            bias = None
        if not maps:
            return self.constant(number_vector(0, size) if bias is None else bias)
        if len(maps) == 1 and bias is None and is_selection(maps[0]):
            return self.select(operands[0], maps[0].indices)  # type: ignore[union-attr]
        return self.builder.linear(tuple(maps), tuple(operands), bias)

    def affine(self, terms: Sequence[Term], bias: Number | Constant | None = None) -> int:
        """sum of factor * value (equal sizes) + bias, entry by entry."""
        size = self.size(terms[0][0])
        parts: list[tuple[LinearMap, int]] = []
        for value, factor in terms:
            scale: Constant | None
            if isinstance(factor, np.ndarray | Exact):
                scale = factor
            elif factor == 0:
                continue
            else:
                scale = None if factor == 1 else number_vector(factor, size)
            everywhere = np.arange(size, dtype=np.int64)
            parts.append((Gather(indices=everywhere, scale=scale, inputs=size), value))
        if bias is not None and not isinstance(bias, np.ndarray | Exact):
            bias = None if bias == 0 else number_vector(bias, size)
        if not parts:
            return self.constant(number_vector(0, size) if bias is None else bias)
        return self.linear(parts, bias)

    # --- the rest -----------------------------------------------------------------------------

    def relu(self, value: int) -> int:
        fixed = self.constant_of(value)
        if fixed is not None:
            return self.constant(tidy(exact(fixed).relu()))
        if isinstance(self.operator(value), Relu):
            return value
        return self.add(Relu(), (value,), self.size(value))

    def step(self, value: int) -> int:
        """1 where value >= 0, else 0."""
        fixed = self.constant_of(value)
        if fixed is not None:
            return self.constant((exact(fixed).sign() >= 0).astype(np.float32))
        return self.add(Step(), (value,), self.size(value))

    def round(self, value: int) -> int:
        """The nearest integer, ties to even."""
        fixed = self.constant_of(value)
        if fixed is not None:
            return self.constant(tidy(nearest_integers(exact(fixed))))
        if isinstance(self.operator(value), Round):
            return value
        return self.add(Round(), (value,), self.size(value))

    def product(self, left: int, right: int) -> int:
        for value, other in ((left, right), (right, left)):
            fixed = self.constant_of(value)
            if fixed is not None:
                return self.affine([(other, fixed)])
        return self.add(Product(), (left, right), self.size(left))

    def opaque(self, name: str, value: int, group: int = 0) -> int:
        return self.add(Opaque(name, group), (value,), self.size(value))

    def as_base(self, value: int) -> bool:
        """Whether b + relu(a - b) is best written with this value as b: constants save a wire."""
        return self.constant_of(value) is not None and not self.too_large(value)

    def too_large(self, value: int) -> bool:
        """Whether a constant is so large that adding it would drown the other operand in floats
        (a bound that is there to never matter)."""
        fixed = self.constant_of(value)
        return fixed is not None and exact(fixed).max_abs() > LARGEST_BASE

    def maximum(self, left: int, right: int) -> int:
        """max(a, b) = b + relu(a - b), written with a constant, if any, as b (see `as_base`)."""
        if self.as_base(left) or self.too_large(right):
            left, right = right, left
        gap = self.relu(self.affine([(left, 1), (right, -1)]))
        return self.affine([(right, 1), (gap, 1)])


def is_identity(indices: np.ndarray, size: int) -> bool:
    return len(indices) == size and bool(np.all(indices == np.arange(size)))


def is_selection(part: LinearMap) -> bool:
    """Whether a map only picks entries."""
    return isinstance(part, Gather) and part.scale is None and bool(np.all(part.indices >= 0))


def plus(bias: Constant | None, more: Exact) -> Constant:
    return tidy(more if bias is None else exact(bias) + more)
