# SPDX-License-Identifier: Apache-2.0
"""What may be done to a hidden unit without changing it: the symmetries of its activation.

Every unit is written as s(row x) = factor * s(key x) + offset with a key that all equivalent rows
share:

  relu, leaky ReLU, |z|    s(c z) = c s(z) for c > 0      key: primitive row, factor: the scale
  step                     s(c z) = s(z) for c > 0        key: primitive row, factor: 1
  tanh, erf, sine          s(-z) = -s(z)                  key: first entry positive, factor: +-1
  sigmoid                  s(-z) = 1 - s(z)               the same, offset: 1 where flipped
  any other                none                           key: the row itself
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from isoform.algebra.affine_rows import AffineRows
from isoform.algebra.primitive_rows import Key, negated, primitive_rows
from isoform.network.operators import Abs, LeakyRelu, Opaque, Operator, PRelu, Relu, Step
from isoform.numerics.exact import Exact, integers

ODD = ("tanh", "erf", "sin")


@dataclass(frozen=True, slots=True, eq=False)
class UnitRows:
    """unit i = factors[i] * s(keys[i] / denominator . x) + offsets[i]; keys are integer rows.

    scaled: whether keys stand for all their positive multiples (the denominator is then 1).
    """

    keys: list[Key]
    factors: Exact
    offsets: Exact
    denominator: int
    scaled: bool


def is_uniform(operator: Operator) -> bool:
    """Whether all units of a layer have the same activation, so that they may change places."""
    return not isinstance(operator, PRelu) or operator.slope.size == 1


def unit_rows(rows: AffineRows, operator: Operator) -> UnitRows:
    """The units of a hidden layer by key, factor and offset."""
    n = rows.rows
    zeros = Exact.zeros(n)
    if isinstance(operator, Relu | LeakyRelu | PRelu | Abs):
        found = primitive_rows(rows)
        return UnitRows(found.keys, found.factors, zeros, 1, True)
    ones = Exact(integers([1] * n, (n,)))
    if isinstance(operator, Step):
        return UnitRows(primitive_rows(rows).keys, ones, zeros, 1, True)
    keys, common = integer_rows(rows)
    name = operator.name if isinstance(operator, Opaque) else ""
    if name not in (*ODD, "sigmoid"):
        return UnitRows(keys, ones, zeros, common, False)
    signs = [leading_sign(key) for key in keys]
    flipped = [key if sign > 0 else negated(key) for key, sign in zip(keys, signs, strict=True)]
    shift = [int(sign < 0) if name == "sigmoid" else 0 for sign in signs]
    return UnitRows(flipped, Exact(integers(signs, (n,))), Exact(integers(shift, (n,))), common,
                    False)


def integer_rows(rows: AffineRows) -> tuple[list[Key], int]:
    """The rows [w | b] as integers over one least denominator."""
    matrix, bias = rows.matrix.reduced(), rows.bias.reduced()
    common = math.lcm(matrix.denominator, bias.denominator)
    matrix = matrix.over(common)
    biases = (bias.numerator * (common // bias.denominator)).tolist()
    data, columns, starts = matrix.data.tolist(), matrix.columns.tolist(), matrix.starts.tolist()
    keys: list[Key] = [
        (tuple(columns[a:b]), tuple(data[a:b]), last)
        for a, b, last in zip(starts, starts[1:], biases, strict=False)
    ]
    return keys, common


def leading_sign(key: Key) -> int:
    """The sign of the first entry that is not zero (weights, then bias); 1 for a zero row."""
    first = next((value for value in (*key[1], key[2]) if value), 1)
    return 1 if first > 0 else -1
