# SPDX-License-Identifier: Apache-2.0
"""Rows up to positive scale: the primitive integer row of [w | b] and the factor taken out.

Two ReLU units with one primitive row are parallel, whatever their scales; with opposite primitive
rows they are antiparallel. The chain of a form is turned into rows and back here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from isoform.algebra.affine_rows import AffineRows, as_bias, as_map, entries, product
from isoform.network.linear_map import Constant, LinearMap, exact
from isoform.network.network import Network
from isoform.network.operators import Linear
from isoform.network.size import Size, constants_of, measure
from isoform.numerics.exact import Exact, integers
from isoform.numerics.sparse import ExactSparse

Key = tuple[tuple[int, ...], tuple[int, ...], int]


@dataclass(frozen=True, slots=True, eq=False)
class PrimitiveRows:
    """row i = factors[i] * (keys[i] as a row): columns, integers there, and the integer bias.

    The integers of a row have greatest common divisor 1; a zero row has the factor 1.
    """

    keys: list[Key]
    factors: Exact


def primitive_rows(rows: AffineRows) -> PrimitiveRows:
    """The primitive rows of [matrix | bias] with their positive factors."""
    common = math.lcm(rows.matrix.denominator, rows.bias.denominator)
    matrix = rows.matrix.over(common)
    biases = (rows.bias.numerator * (common // rows.bias.denominator)).tolist()
    data, columns, starts = matrix.data.tolist(), matrix.columns.tolist(), matrix.starts.tolist()
    keys: list[Key] = []
    factors: list[int] = []
    for i, bias in enumerate(biases):
        part = data[starts[i] : starts[i + 1]]
        divisor = math.gcd(bias, *part)
        if divisor == 0:
            keys.append(((), (), 0))
            factors.append(common)
            continue
        weights = tuple(part) if divisor == 1 else tuple(value // divisor for value in part)
        keys.append((tuple(columns[starts[i] : starts[i + 1]]), weights, bias // divisor))
        factors.append(divisor)
    return PrimitiveRows(keys, Exact(integers(factors, (len(factors),)), common).reduced())


def negated(key: Key) -> Key:
    """The key of the antiparallel row."""
    return key[0], tuple(-value for value in key[1]), -key[2]


def rows_of_keys(
    keys: Sequence[Key], exponents: Sequence[int], width: int, denominator: int = 1
) -> AffineRows:
    """Row i = keys[i] / (2^exponents[i] * denominator)."""
    top = max(exponents, default=0)
    scale = [1 << (top - e) for e in exponents]
    counts = [len(key[0]) for key in keys]
    data = [value * s for key, s in zip(keys, scale, strict=True) for value in key[1]]
    columns = [column for key in keys for column in key[0]]
    common = denominator << top
    matrix = ExactSparse.of_triplets(
        (len(keys), width), np.repeat(np.arange(len(keys)), counts),
        np.array(columns, dtype=np.int64), integers(data, (len(data),)), common,
    )
    bias = [key[2] * s for key, s in zip(keys, scale, strict=True)]
    return AffineRows(matrix.reduced(), Exact(integers(bias, (len(keys),)), common).reduced())


def through(outer: AffineRows, inner: AffineRows) -> AffineRows:
    """outer(inner(h)), reduced."""
    bias = outer.bias
    if inner.bias.any():
        bias = (bias + outer.matrix.times(inner.bias)).reduced()
    return AffineRows(product(outer.matrix, inner.matrix).reduced(), bias)


def rows_of_layers(layers: Sequence[tuple[LinearMap, Constant | None]]) -> list[AffineRows]:
    """Affine layers as exact rows."""
    chain = []
    for part, bias in layers:
        vector = Exact.zeros(part.outputs)
        chain.append(AffineRows(part.sparse(), vector if bias is None
                                else vector + exact(bias).reshape(-1)))
    return chain


def layers_of_rows(chain: Sequence[AffineRows]) -> tuple[tuple[LinearMap, Constant | None], ...]:
    """The inverse of `rows_of_layers`, each map in its most compact form."""
    return tuple((as_map(rows.matrix), as_bias(rows.bias)) for rows in chain)


def bounded_size(chain: Network) -> Size:
    """What a chain takes at most when its units become fewer, no matrix gets more entries than it
    has, and every bias is written out."""
    before = measure(chain)
    weights = parameters = 0
    for node in chain.nodes:
        if isinstance(node.operator, Linear):
            for part in node.operator.maps:
                weights += min(2 * entries(part), part.inputs * part.outputs)
            parameters += node.shape[0]
        else:
            parameters += sum(constant.size for constant in constants_of(node.operator))
    parameters += weights
    return replace(before, parameters=parameters, nonzeros=parameters, flops=2 * weights,
                   bytes=8 * parameters)
